//! Types that all other modules use: ids, checked texts, scopes, actions, time. They depend on nothing else in this crate.

pub mod actions;
pub mod clock;
pub mod ids;
pub mod request_id;
pub mod scopes;
pub mod text;
mod timestamp;
