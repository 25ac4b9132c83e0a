//! The operations on identity providers.

use super::{
    errors::{
        IDENTITY_PROVIDER_ALREADY_EXISTS, IDENTITY_PROVIDER_DISABLED, IDENTITY_PROVIDER_IN_USE,
        identity_provider_already_exists, identity_provider_in_use,
    },
    examples,
};
use crate::{http::error::Error, resources::demo, types::ids::IdentityProviderId};
use crate::{
    http::operations::{Operation, Resource},
    types::actions::{Action, TargetKind},
};

/// What this folder brings to the whole.
pub static RESOURCE: Resource = Resource {
    operations: &OPERATIONS,
    codes: &[
        &IDENTITY_PROVIDER_DISABLED,
        &IDENTITY_PROVIDER_ALREADY_EXISTS,
        &IDENTITY_PROVIDER_IN_USE,
    ],
    schema_example: examples::of_schema,
    parameter_example: examples::of_parameter,
};

/// The operations.
const OPERATIONS: [Operation; 5] = [
    Operation::get(Action::ListIdentityProviders, "/v1/identity-providers"),
    Operation::post(Action::CreateIdentityProvider, "/v1/identity-providers")
        .conflicts(const { &[&IDENTITY_PROVIDER_ALREADY_EXISTS] }, taken)
        .answers(examples::created),
    Operation::get(Action::GetIdentityProvider, "/v1/identity-providers/{id}")
        .on(TargetKind::IdentityProvider)
        .finds("identity_provider"),
    Operation::put(Action::UpdateIdentityProvider, "/v1/identity-providers/{id}")
        .on(TargetKind::IdentityProvider)
        .finds("identity_provider")
        .if_match()
        .conflicts(const { &[&IDENTITY_PROVIDER_ALREADY_EXISTS] }, taken),
    Operation::delete(Action::DeleteIdentityProvider, "/v1/identity-providers/{id}")
        .on(TargetKind::IdentityProvider)
        .finds("identity_provider")
        .if_match()
        .conflicts(const { &[&IDENTITY_PROVIDER_IN_USE] }, in_use),
];

fn taken() -> Error {
    identity_provider_already_exists("name", Some(IdentityProviderId(demo::GITHUB)))
}

fn in_use() -> Error {
    identity_provider_in_use(IdentityProviderId(demo::GITHUB), 3)
}
