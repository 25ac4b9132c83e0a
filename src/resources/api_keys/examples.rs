//! Examples of API keys in the document. Those that can be sent work as they stand on a server that `aka demo` has started.

use serde_json::{Value, json};

use crate::resources::{
    demo,
    examples::{TIME, but, page},
};

/// An example of a schema.
#[must_use]
pub fn of_schema(name: &str) -> Option<Value> {
    Some(match name {
        "ApiKeyCreate" => json!({
            "name": "chat bot",
            "scopes": ["identities:read"],
            "expires_at": "2030-01-31T12:00:00Z",
        }),
        "Rotation" => json!({ "overlap_seconds": 3600 }),
        "ApiKey" => api_key(),
        "CreatedApiKey" => created_api_key(),
        "Page_ApiKey" => page(&api_key()),
        "ApiKeyCapabilities" => json!({
            "id": demo::API_KEY,
            "usable": true,
            "reason": null,
            "capabilities": [{
                "action": "lookupIdentity",
                "verdict": "allow",
                "condition": "Always permitted. It is permitted by identities:read.",
                "rules": [{
                    "rule_id": "identities:read",
                    "policy_id": null,
                    "priority": null,
                    "effect": "permit",
                    "conditions": [],
                }],
            }],
        }),
        _ => return None,
    })
}

/// An example of a parameter.
#[must_use]
pub fn of_parameter(name: &str) -> Option<Value> {
    Some(match name {
        "id" => json!(demo::API_KEY),
        _ => return None,
    })
}

/// What an operation answers that makes a key.
#[must_use]
pub fn created() -> Value {
    but(created_api_key(), json!({ "created_by": demo::CALLER }))
}

fn api_key() -> Value {
    json!({
        "id": demo::API_KEY,
        "name": "chat bot",
        "scopes": ["identities:read"],
        "identity_provider_id": null,
        "created_by": "command line",
        "last_used_at": null,
        "expires_at": "2030-01-31T12:00:00.000000Z",
        "revoked_at": null,
        "revoked_by": null,
        "created_at": TIME,
    })
}

fn created_api_key() -> Value {
    let mut key = api_key();
    key["raw_key"] = json!("aka_<the key itself, shown only here>");
    key
}
