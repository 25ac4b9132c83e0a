//! Examples of identities in the document. Those that can be sent work as they stand on a server that `aka demo` has started.

use serde_json::{Value, json};

use super::errors::{
    ALREADY_LINKED, IDENTITY_ALREADY_LINKED, IDENTITY_ID, LINKED_AT, LINKED_BY, LINKED_TO_USER_ID, account_not_found,
};
use crate::resources::{
    demo,
    examples::{TIME, but, page},
};
use crate::{http::error::Error, types::ids::IdentityProviderId};

/// An example of a schema.
pub fn of_schema(name: &str) -> Option<Value> {
    Some(match name {
        "UserIdentityCreate" => json!({
            "identity_provider_id": demo::GITHUB,
            "external_id": "583231",
            "external_username": "octocat",
            "external_email": "octocat@example.com",
            "external_display_name": "The Octocat",
        }),
        "IdentityUpdate" => json!({ "external_display_name": "Ada L." }),
        "UserIdentity" => identity(),
        "Page_UserIdentity" => page(&identity()),
        _ => return None,
    })
}

/// An example of a parameter.
pub fn of_parameter(name: &str) -> Option<Value> {
    Some(match name {
        "id" => json!(demo::USER),
        "identity_provider_id" => json!(demo::SLACK),
        "identityId" => json!(demo::IDENTITY),
        "external_id" => json!(demo::SLACK_ACCOUNT),
        _ => return None,
    })
}

fn identity() -> Value {
    json!({
        "id": "0198c5a0-0000-7000-8000-0000000000c2",
        "user_id": demo::USER,
        "user_active": true,
        "identity_provider_id": demo::GITHUB,
        "provider_name": "GitHub",
        "provider_type": "github",
        "external_id": "583231",
        "external_username": "octocat",
        "external_email": "octocat@example.com",
        "external_display_name": "The Octocat",
        "linked_by": "manual",
        "last_synced_at": null,
        "created_at": TIME,
        "updated_at": TIME,
    })
}

/// What is found of the account in the examples of look-ups.
pub fn found() -> Value {
    slack_identity()
}

/// What `updateIdentity` answers.
pub fn updated() -> Value {
    but(slack_identity(), json!({ "external_display_name": "Ada L." }))
}

/// What is found of the user in the examples of lists.
pub fn list() -> Value {
    page(&slack_identity())
}

/// A refusal of a link of another user's account.
pub fn already_linked() -> Error {
    Error::new(&IDENTITY_ALREADY_LINKED, ALREADY_LINKED)
        .with(&IDENTITY_ID, demo::IDENTITY)
        .with(&LINKED_BY, "manual")
        .with(&LINKED_AT, TIME)
        .with(&LINKED_TO_USER_ID, demo::OTHER_USER)
}

/// A refusal of a look-up of an account that nobody knows.
pub fn not_found() -> Error {
    account_not_found(IdentityProviderId(demo::SLACK))
}

fn slack_identity() -> Value {
    json!({
        "id": demo::IDENTITY,
        "user_id": demo::USER,
        "user_active": true,
        "identity_provider_id": demo::SLACK,
        "provider_name": "Slack",
        "provider_type": "slack",
        "external_id": demo::SLACK_ACCOUNT,
        "external_username": "ada",
        "external_email": "ada@example.com",
        "external_display_name": "Ada",
        "linked_by": "manual",
        "last_synced_at": null,
        "created_at": TIME,
        "updated_at": TIME,
    })
}
