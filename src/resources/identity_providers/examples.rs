//! Examples of identity providers in the document. Those that can be sent work as they stand on a server that `aka demo` has started.

use serde_json::{Value, json};

use crate::resources::{
    demo,
    examples::{TIME, but, page},
};

/// An example of a schema.
pub fn of_schema(name: &str) -> Option<Value> {
    Some(match name {
        "IdentityProviderCreate" => sign_in(),
        "IdentityProviderUpdate" => json!({ "name": "GitHub", "enabled": true }),
        "IdentityProvider" => provider(),
        "Page_IdentityProvider" => page(&provider()),
        _ => return None,
    })
}

/// An example of a parameter.
pub fn of_parameter(name: &str) -> Option<Value> {
    Some(match name {
        "id" => json!(demo::GITHUB),
        _ => return None,
    })
}

/// What `createIdentityProvider` answers.
pub fn created() -> Value {
    but(provider(), sign_in())
}

fn provider() -> Value {
    json!({
        "id": demo::GITHUB,
        "name": "GitHub",
        "provider_type": "github",
        "config": {},
        "config_secrets": [],
        "enabled": true,
        "last_synced_at": null,
        "sync_status": "pending",
        "sync_error": null,
        "created_at": TIME,
        "updated_at": TIME,
    })
}

/// What a provider is to be that issues tokens.
fn sign_in() -> Value {
    json!({
        "name": "Company sign-in",
        "provider_type": "oidc",
        "config": {
            "issuer": "https://login.example.com",
            "audience": "https://aka.example.com",
            "jwks_uri": "https://login.example.com/keys",
        },
    })
}
