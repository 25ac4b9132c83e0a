//! The operations on users.

use super::{
    errors::{USER_ALREADY_EXISTS, USER_SUSPENDED, user_already_exists},
    examples,
};
use crate::{http::error::Error, resources::demo, types::ids::UserId};
use crate::{
    http::operations::{Operation, Resource},
    types::actions::{Action, TargetKind},
};

/// What this folder brings to the whole.
pub static RESOURCE: Resource = Resource {
    operations: &OPERATIONS,
    codes: &[&USER_SUSPENDED, &USER_ALREADY_EXISTS],
    schema_example: examples::of_schema,
    parameter_example: examples::of_parameter,
};

/// The operations.
const OPERATIONS: [Operation; 6] = [
    Operation::get(Action::ListUsers, "/v1/users"),
    Operation::post(Action::CreateUser, "/v1/users")
        .conflicts(const { &[&USER_ALREADY_EXISTS] }, taken)
        .answers(examples::created),
    Operation::get(Action::GetUser, "/v1/users/{id}")
        .on(TargetKind::User)
        .finds("user"),
    Operation::put(Action::UpdateUser, "/v1/users/{id}")
        .on(TargetKind::User)
        .finds("user")
        .if_match()
        .conflicts(const { &[&USER_ALREADY_EXISTS] }, taken)
        .answers(examples::updated),
    Operation::post(Action::SuspendUser, "/v1/users/{id}/suspend")
        .on(TargetKind::User)
        .finds("user"),
    Operation::delete(Action::DeleteUser, "/v1/users/{id}")
        .on(TargetKind::User)
        .finds("user")
        .if_match(),
];

fn taken() -> Error {
    user_already_exists(Some(UserId(demo::USER)))
}
