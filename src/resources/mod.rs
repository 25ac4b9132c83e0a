//! What the API is about: a folder a resource. In each, `mod.rs` says what it means and how it changes, `rows.rs` is its
//! SQL, `api.rs` its operations and what they look like on the wire, and `examples.rs` the examples in the document.

pub mod api_keys;
pub mod decisions;
pub mod demo;
pub mod examples;
pub mod health;
pub mod identities;
pub mod identity_providers;
pub mod policies;
pub mod tenants;
pub mod users;
