//! aka knows which external accounts belong to which user.
//!
//! A request goes one way, with no step back: [`server`] (limits, request id) → [`api`] (who, what shape) →
//! [`policy`] (may they) → [`domain`] (what it means) → [`store`] (committed with others) → [`api`] (answer).

pub mod accept;
pub mod api;
pub mod cli;
pub mod clock;
pub mod compression;
pub mod config;
pub mod connections;
pub mod cross_origin;
pub mod demo;
pub mod domain;
pub mod listen;
pub mod pages;
pub mod policy;
pub mod pool;
pub mod request_id;
pub mod root_key;
pub mod sealing;
pub mod server;
pub mod store;
pub mod telemetry;
pub mod turns;
