//! The operations on API keys.

use super::{
    errors::{API_KEY_ENDED, API_KEY_ROTATED, api_key_ended},
    examples,
};
use crate::{
    http::operations::{Operation, Resource},
    types::actions::{Action, TargetKind},
};

/// What this folder brings to the whole.
pub static RESOURCE: Resource = Resource {
    operations: &OPERATIONS,
    codes: &[&API_KEY_ENDED, &API_KEY_ROTATED],
    schema_example: examples::of_schema,
    parameter_example: examples::of_parameter,
};

/// The operations.
const OPERATIONS: [Operation; 6] = [
    Operation::get(Action::ListApiKeys, "/v1/api-keys"),
    Operation::post(Action::CreateApiKey, "/v1/api-keys")
        .finds("api_key")
        .answers(examples::created),
    Operation::get(Action::GetApiKey, "/v1/api-keys/{id}")
        .on(TargetKind::ApiKey)
        .finds("api_key"),
    Operation::get(Action::GetApiKeyCapabilities, "/v1/api-keys/{id}/capabilities")
        .on(TargetKind::ApiKey)
        .finds("api_key"),
    Operation::delete(Action::RevokeApiKey, "/v1/api-keys/{id}")
        .on(TargetKind::ApiKey)
        .finds("api_key"),
    Operation::post(Action::RotateApiKey, "/v1/api-keys/{id}/rotate")
        .on(TargetKind::ApiKey)
        .finds("api_key")
        .conflicts(const { &[&API_KEY_ENDED, &API_KEY_ROTATED] }, api_key_ended)
        .answers(examples::created),
];
