//! The words that everybody speaks: ids, checked texts, scopes, actions, time. Nothing here knows anything else of this
//! program.

pub mod actions;
pub mod clock;
pub mod ids;
pub mod request_id;
pub mod scopes;
pub mod text;
mod timestamp;
