//! What the examples of all resources share. Those of a resource are in its folder.

use serde_json::{Value, json};
use uuid::uuid;

use super::demo;
use crate::{
    http::{
        error::{Error, InputLocation},
        operations::{BodyLimits, Operation},
        refusals::{forbidden, no_credential},
    },
    policy::{DecidedAt, Decision, Verdict},
    types::actions::Action,
};

/// The time of everything in the examples.
pub const TIME: &str = "2026-11-23T09:30:00.000000Z";

/// An example of a parameter that is the same for all resources.
pub fn of_parameter(name: &str) -> Option<Value> {
    Some(match name {
        "X-Tenant-ID" => json!(demo::TENANT),
        "limit" => json!(50),
        _ => return None,
    })
}

/// An example of a refusal, as the server words it, for operations that have none of their own.
pub fn of_refusal(operation: &Operation, status: &str) -> Option<Error> {
    Some(match status {
        "400" => Error::field(
            InputLocation::Header,
            "X-Tenant-ID",
            "is missing; send the id of the tenant",
        ),
        "401" => no_credential(),
        "403" => {
            let decision = Decision {
                verdict: Verdict::Forbidden,
                notices: vec![demo::NOTICE.into()],
                level: Some(DecidedAt::Priority(100)),
                ..Decision::error()
            };
            forbidden(Action::CreateUserIdentity, &decision, None, false)
        }
        "404" => Error::no_such(operation.finds?, uuid!("0198c5a0-0000-7000-8000-00000000dead")),
        "405" => Error::method_not_allowed(&["GET", "POST", "HEAD", "OPTIONS"].map(str::to_owned)),
        "408" => Error::body_timed_out(),
        "412" => Error::precondition_failed(),
        "413" => Error::payload_too_large(BodyLimits::DEFAULT.max_bytes),
        "415" => Error::unsupported_media_type(Some("text/plain")),
        "422" => Error::idempotency_key_reused(),
        "429" => Error::too_many_requests("changes that wait to be written"),
        "500" => Error::internal(""),
        "503" => Error::unavailable(""),
        _ => return None,
    })
}

/// A page with one row.
pub fn page(row: &Value) -> Value {
    json!({ "data": [row], "next_cursor": null, "has_more": false })
}

/// An example with some members replaced.
pub fn but(mut example: Value, other: Value) -> Value {
    if let Value::Object(members) = other {
        for (name, value) in members {
            example[name] = value;
        }
    }
    example
}
