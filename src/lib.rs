//! aka knows which external accounts belong to which user.
//!
//! A room for each thing, and arrows between rooms point one way:
//! [`cli`] → [`server`] → [`resources`] → [`http`] → [`access`] → [`policy`] → [`types`], and [`store`] beside them.

pub mod access;
pub mod cli;
pub mod config;
pub mod http;
pub mod policy;
pub mod resources;
pub mod server;
pub mod store;
pub mod telemetry;
pub mod types;
