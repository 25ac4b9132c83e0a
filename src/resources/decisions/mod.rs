//! Decisions: what policy has refused lately, and why.

pub mod api;
pub mod rows;
