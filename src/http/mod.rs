//! What every operation shares: who calls, what comes in and goes out, how it is refused, and the document that says so.
//!
//! A request passes [`caller`] (its credential, tenant and headers), [`body`] and [`params`] (its shape), the code of its
//! operation, and, where it changes something, the one door for writing ([`door`]). What an operation is, is in its row of
//! the table of operations ([`operations`]); from the rows and poem-openapi's derives comes the document ([`document`]).
//!
//! Files here form one circle, on purpose: a body, a parameter or a credential is refused with an [`error`], an operation in the
//! table has examples of errors, and the request carries its row of the table to the body, the parameters and the caller.

pub mod answers;
pub mod any_object;
mod app;
pub mod body;
pub mod caller;
pub mod codes;
pub mod details;
pub mod document;
pub mod door;
pub mod error;
pub mod error_body;
pub mod etag;
pub mod explanation;
pub mod idempotency;
pub mod kept_answers;
mod mistakes;
pub mod operations;
pub mod page;
pub mod params;
pub mod readiness;
pub mod refusals;
mod tidy;

pub use app::{App, Tag};
