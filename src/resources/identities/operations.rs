//! The operations on identities.

use super::{errors::IDENTITY_ALREADY_LINKED, examples};
use crate::resources::{identity_providers::errors::IDENTITY_PROVIDER_DISABLED, users::errors::USER_SUSPENDED};
use crate::{
    http::operations::{Operation, Resource},
    types::actions::{Action, TargetKind},
};

/// What this folder brings to the whole.
pub static RESOURCE: Resource = Resource {
    operations: &OPERATIONS,
    codes: &[&IDENTITY_ALREADY_LINKED],
    schema_example: examples::of_schema,
    parameter_example: examples::of_parameter,
};

/// The operations.
const OPERATIONS: [Operation; 7] = [
    Operation::post(Action::CreateUserIdentity, "/v1/users/{id}/identities")
        .on(TargetKind::User)
        .finds("user")
        .conflicts(
            const { &[&IDENTITY_ALREADY_LINKED, &IDENTITY_PROVIDER_DISABLED, &USER_SUSPENDED] },
            examples::already_linked,
        ),
    Operation::get(Action::ListUserIdentities, "/v1/users/{id}/identities")
        .on(TargetKind::User)
        .finds("user")
        .answers(examples::list),
    Operation::get(Action::GetUserIdentity, "/v1/users/{id}/identities/{identityId}")
        .on(TargetKind::User)
        .finds("identity")
        .answers(examples::found),
    Operation::delete(Action::DeleteUserIdentity, "/v1/users/{id}/identities/{identityId}")
        .on(TargetKind::User)
        .finds("identity"),
    Operation::get(Action::GetIdentity, "/v1/identities/{identityId}")
        .on(TargetKind::User)
        .finds("identity")
        .answers(examples::found),
    Operation::patch(Action::UpdateIdentity, "/v1/identities/{identityId}")
        .on(TargetKind::User)
        .finds("identity")
        .if_match()
        .answers(examples::updated),
    Operation::get(Action::LookupIdentity, "/v1/identities/lookup")
        .on(TargetKind::IdentityProvider)
        .finds("identity")
        .misses(examples::not_found)
        .answers(examples::found),
];
