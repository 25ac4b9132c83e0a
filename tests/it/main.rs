//! Black-box tests over HTTP: every operation and every error of the contract, on SQLite and on a real PostgreSQL.
//!
//! A single binary, so that it is linked once. Each module tests one subject; the list at its head says what it
//! asserts. [`harness`] starts the servers and checks what every response must satisfy.

mod error_codes;
mod etags;
mod harness;

mod api_keys;
mod architecture;
mod attacks;
mod backups;
mod bearer_tokens;
mod bodies;
mod browsers;
mod capabilities;
mod command_line;
mod compatibility;
mod compression;
mod connections;
mod crashes;
mod credentials;
mod decision_log;
mod decisions;
mod demo;
mod idempotency;
mod identities;
mod identity_profiles;
mod identity_providers;
mod isolation;
mod issuer_discovery;
mod linking;
mod migrations;
mod nodes;
mod operators;
mod outages;
mod paging;
mod parameters;
mod policies;
mod policy_corpus;
mod policy_editing;
mod policy_evaluation;
mod policy_lockout;
mod policy_preview;
mod policy_warnings;
mod readme;
mod recorded_exchange;
mod records;
mod requests;
mod root_key;
mod secrecy;
mod shutdown;
mod specification;
mod tenants;
mod users;
