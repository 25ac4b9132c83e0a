//! The tables as SeaORM entities, one file per table, without any logic.
//!
//! All tables follow these rules:
//!
//! * Every primary key, foreign key and unique index begins with the tenant. Therefore no row can refer to another tenant,
//!   whatever the code does, and the tables can be distributed by tenant.
//! * An id is a UUIDv7 (RFC 9562 §5.7), so the order of ids is the order of creation.
//! * A time is the number of microseconds since the Unix epoch, UTC. SQLite has no type for times, and text with a varying
//!   number of digits does not sort correctly.

#![expect(
    missing_docs,
    reason = "the names of tables and columns are explanatory; those that are not have a comment"
)]

pub mod api_key;
pub mod audit_log_entry;
pub mod barred_account;
pub mod decision;
pub mod former_link;
pub mod idempotency_key;
pub mod identity;
pub mod identity_provider;
pub mod outbox_event;
pub mod policy;
pub mod policy_rule;
pub mod root_key_check;
pub mod tenant;
pub mod user;
