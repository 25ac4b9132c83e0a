//! The tables of aka as SeaORM entities, a file each. No logic lives here.
//!
//! Rules that hold for every table:
//!
//! * The tenant leads every primary key, foreign key and unique index, so that no row can point into another
//!   tenant whatever the code does, and so that the tables can be distributed by tenant.
//! * An id is a UUIDv7 (RFC 9562 §5.7): the order of ids is the order of creation.
//! * A time is the number of microseconds since the Unix epoch, UTC. SQLite has no type for time, and text does
//!   not sort when its number of digits varies.

#![expect(
    missing_docs,
    reason = "a table or column is called what it is; what is not plain has a comment"
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
