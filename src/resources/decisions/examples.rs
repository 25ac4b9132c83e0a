//! Examples of decisions in the document. Those that can be sent work as they stand on a server that `aka demo` has started.

use serde_json::{Value, json};

use crate::resources::{
    demo,
    examples::{TIME, page},
};

/// An example of a schema.
pub fn of_schema(name: &str) -> Option<Value> {
    Some(match name {
        "Decision" => decision(),
        "Page_Decision" => page(&decision()),
        _ => return None,
    })
}

/// An example of a parameter.
pub fn of_parameter(name: &str) -> Option<Value> {
    Some(match name {
        "id" => json!(demo::DECISION),
        "actor_id" => json!(demo::API_KEY),
        "action" => json!("createUserIdentity"),
        "kind" => json!("forbidden"),
        "resource" => json!(format!("user:{}", demo::USER)),
        "request_id" => json!(demo::REQUEST),
        "from" => json!("2026-01-01T00:00:00Z"),
        "to" => json!("2100-01-01T00:00:00Z"),
        _ => return None,
    })
}

fn decision() -> Value {
    json!({
        "id": demo::DECISION,
        "actor_id": demo::API_KEY,
        "actor_type": "api_key",
        "scopes": ["identities:read"],
        "action": "createUserIdentity",
        "resource": format!("user:{}", demo::USER),
        "context": {
            "identity_provider": demo::GITHUB,
            "external_id": "583231",
            "external_email": "octocat@elsewhere.example",
        },
        "kind": "forbidden",
        "priority": 100,
        "matching_policy_ids": [demo::POLICY],
        "matching_rule_ids": [demo::POLICY_RULE],
        "notices": [demo::NOTICE],
        "policy_version": 1,
        "request_id": demo::REQUEST,
        "created_at": TIME,
    })
}
