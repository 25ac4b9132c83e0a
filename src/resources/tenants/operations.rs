//! The operations on tenants: for credentials of the master tenant.

use super::{
    errors::{TENANT_ALREADY_EXISTS, tenant_already_exists},
    examples,
};
use crate::resources::api_keys;
use crate::{
    http::operations::{Operation, Resource},
    types::actions::Action,
};

/// What this folder brings to the whole.
pub static RESOURCE: Resource = Resource {
    operations: &OPERATIONS,
    codes: &[&TENANT_ALREADY_EXISTS],
    schema_example: examples::of_schema,
    parameter_example: examples::of_parameter,
};

/// The operations.
const OPERATIONS: [Operation; 5] = [
    Operation::get(Action::ListTenants, "/v1/tenants"),
    Operation::post(Action::CreateTenant, "/v1/tenants")
        .conflicts(const { &[&TENANT_ALREADY_EXISTS] }, tenant_already_exists)
        .answers(examples::created),
    Operation::get(Action::GetTenant, "/v1/tenants/{id}").finds("tenant"),
    Operation::put(Action::UpdateTenant, "/v1/tenants/{id}")
        .finds("tenant")
        .if_match(),
    Operation::post(Action::CreateTenantApiKey, "/v1/tenants/{id}/api-keys")
        .finds("tenant")
        .answers(api_keys::examples::created),
];
