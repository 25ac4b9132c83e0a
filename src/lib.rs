//! aka records which external accounts belong to which user.
//!
//! The modules depend on each other in one direction only:
//! [`cli`] → [`server`] → [`resources`] → [`http`] → [`access`] → [`policy`] → [`types`], and [`store`]. [`outbound`]
//! depends on none of them.

pub mod access;
pub mod cli;
pub mod config;
pub mod http;
pub mod outbound;
pub mod policy;
pub mod resources;
pub mod server;
pub mod store;
pub mod telemetry;
pub mod types;
