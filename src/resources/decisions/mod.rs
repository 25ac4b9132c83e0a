//! Decisions: what policy has refused lately, and why.

pub mod api;
mod examples;
mod operations;
pub mod rows;

pub use operations::RESOURCE;
