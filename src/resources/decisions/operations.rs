//! The operations on the decision log.

use super::examples;
use crate::{
    http::operations::{Operation, Resource},
    types::actions::Action,
};

/// What this folder brings to the whole.
pub static RESOURCE: Resource = Resource {
    operations: &OPERATIONS,
    codes: &[],
    schema_example: examples::of_schema,
    parameter_example: examples::of_parameter,
};

/// The operations.
const OPERATIONS: [Operation; 2] = [
    Operation::get(Action::ListDecisions, "/v1/decisions"),
    Operation::get(Action::GetDecision, "/v1/decisions/{id}").finds("decision"),
];
