//! The examples of the document. Where one can be sent it works as it stands on a server that `aka demo` has started.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use uuid::{Uuid, uuid};

use super::{
    body::MAX_BODY_BYTES,
    error::{Error, In},
};
use crate::{
    demo,
    policy::{Action, DecidedAt, Decision, Verdict, rules::RuleError},
};

const TIME: &str = "2026-11-23T09:30:00.000000Z";
const IDENTITY: Uuid = uuid!("0198c5a0-0000-7000-8000-0000000000c1");
const API_KEY: Uuid = uuid!("0198c5a0-0000-7000-8000-0000000000d1");
const POLICY: Uuid = uuid!("0198c5a0-0000-7000-8000-0000000000e1");
const POLICY_RULE: Uuid = uuid!("0198c5a0-0000-7000-8000-0000000000f1");
const DECISION: Uuid = uuid!("0198c5a0-0000-7000-8000-0000000000a1");
const RULE: &str = "@notice(\"GitHub accounts must use an address of the company.\")\n\
    forbid (principal, action == Action::\"createUserIdentity\", resource)\n\
    when { context.identity_provider.provider_type == \"github\" }\n\
    unless { context has external_email && context.external_email like \"*@example.com\" };";

/// An example of a schema.
#[expect(clippy::too_many_lines, reason = "it is a list")]
pub fn of_schema(name: &str) -> Option<Value> {
    Some(match name {
        "NewUserIdentity" => json!({
            "identity_provider_id": demo::GITHUB,
            "external_id": "583231",
            "external_username": "octocat",
            "external_email": "octocat@example.com",
            "external_display_name": "The Octocat",
        }),
        "UserIdentity" => identity(),
        "Page_UserIdentity" => page(&identity()),
        "NewUser" => json!({ "email": "sam@example.com", "name": "Sam Example", "roles": ["engineer"] }),
        "UserUpdate" => json!({ "name": "Ada Example", "roles": ["engineer", "on-call"] }),
        "Suspension" => json!({ "active": true }),
        "User" => user(),
        "Page_User" => page(&user()),
        "NewIdentityProvider" => json!({
            "name": "Company sign-in",
            "provider_type": "oidc",
            "config": {
                "issuer": "https://login.example.com",
                "audience": "https://aka.example.com",
                "jwks_uri": "https://login.example.com/keys",
            },
        }),
        "IdentityProviderUpdate" => json!({ "name": "GitHub", "enabled": true }),
        "IdentityProvider" => provider(),
        "Page_IdentityProvider" => page(&provider()),
        "NewApiKey" => json!({
            "name": "chat bot",
            "scopes": ["identities:read"],
            "expires_at": "2030-01-31T12:00:00Z",
        }),
        "Rotation" => json!({ "overlap_seconds": 3600 }),
        "ApiKey" => api_key(),
        "CreatedApiKey" => {
            let mut key = api_key();
            key["raw_key"] = json!("aka_<the key itself, shown only here>");
            key
        }
        "Page_ApiKey" => page(&api_key()),
        "ApiKeyCapabilities" => json!({
            "id": API_KEY,
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
        "NewPolicy" => json!({
            "name": "Accounts of the company",
            "description": "Only accounts with an address of the company may be linked.",
            "priority": 100,
            "cedar_policy_set": RULE,
        }),
        "PolicyRuleInput" => json!({ "policy_text": RULE }),
        "PolicyUpdate" => json!({ "enabled": true, "priority": 200 }),
        "PolicyOrder" => json!({ "ids": [POLICY] }),
        "PolicyRuleOrder" => json!({ "ids": [POLICY_RULE] }),
        "PolicyExport" => json!({ "cedar_policy_set": RULE }),
        "PolicyQuestion" => json!({
            "principal": "user:ada@example.com",
            "action": "createUserIdentity",
            "resource": format!("user:{}", demo::USER),
            "context": {
                "identity_provider": demo::GITHUB,
                "external_id": "583231",
                "external_email": "octocat@elsewhere.example",
            },
        }),
        "PolicyEvaluation" => json!({
            "permitted": false,
            "kind": "forbidden",
            "matching_policy_ids": [POLICY],
            "matching_rule_ids": [POLICY_RULE],
            "priority": 100,
            "reason": format!("Forbidden by {POLICY_RULE}."),
            "notices": ["GitHub accounts must use an address of the company."],
            "explanations": [{
                "rule_id": POLICY_RULE,
                "policy_id": POLICY,
                "effect": "forbid",
                "message": format!("The rule {POLICY_RULE} forbids it."),
                "unsatisfied": [],
            }],
        }),
        "PolicyChange" => json!({
            "with": [{ "priority": 100, "cedar_policy_set": RULE }],
            "last": 200,
        }),
        "PolicyPreview" => json!({
            "examined": 200,
            "changed": 1,
            "undecidable": 0,
            "complete": true,
            "decisions": [{
                "id": DECISION,
                "source": "audit_log",
                "actor_id": API_KEY,
                "actor_type": "api_key",
                "action": "createUserIdentity",
                "resource": format!("user:{}", demo::USER),
                "created_at": TIME,
                "before": { "permitted": true, "kind": "permitted", "matching_rule_ids": ["identities:write"] },
                "after": {
                    "permitted": false,
                    "kind": "forbidden",
                    "matching_policy_ids": [],
                    "matching_rule_ids": ["with/0/0"],
                    "priority": 100,
                    "reason": "Forbidden by with/0/0.",
                    "notices": ["GitHub accounts must use an address of the company."],
                },
                "already": false,
                "message": format!(
                    "createUserIdentity on user:{} was permitted by identities:write. It would be forbidden: Forbidden by \
                     with/0/0.",
                    demo::USER
                ),
            }],
        }),
        "Decision" => decision(),
        "Page_Decision" => page(&decision()),
        "Policy" => policy(),
        "Page_Policy" => page(&policy()),
        "PolicyRule" => rule(),
        "Page_PolicyRule" => page(&rule()),
        "NewTenant" => json!({ "name": "Another Company", "slug": "another-company" }),
        "TenantUpdate" => json!({ "name": "Example Company" }),
        "Tenant" => tenant(),
        "Page_Tenant" => page(&tenant()),
        "Health" => json!({ "status": "ok" }),
        _ => return None,
    })
}

/// An example of a parameter.
pub fn of_parameter(path: &str, name: &str) -> Option<Value> {
    let resource = path.trim_start_matches("/v1/").split('/').next().unwrap_or_default();
    Some(match (name, resource) {
        ("X-Tenant-ID", _) | ("id", "tenants") => json!(demo::TENANT),
        ("id", "users") => json!(demo::USER),
        ("id", "identity-providers") | ("identity_provider_id", _) => json!(demo::GITHUB),
        ("id", "api-keys") | ("actor_id", _) => json!(API_KEY),
        ("id", "decisions") => json!(DECISION),
        ("action", _) => json!("createUserIdentity"),
        ("kind", _) => json!("forbidden"),
        ("from" | "to", _) => json!(TIME),
        ("identityId", _) => json!(IDENTITY),
        ("policyId", _) => json!(POLICY),
        ("ruleId", _) => json!(POLICY_RULE),
        ("external_id", _) => json!("583231"),
        ("limit", _) => json!(50),
        _ => return None,
    })
}

/// An example of an error, as the server words it.
pub fn of_error(operation: &str, status: &str) -> Option<Value> {
    let error = match (status, operation) {
        ("400", "createPolicy" | "updatePolicy" | "createPolicyRule" | "updatePolicyRule") => Error::InvalidRule {
            field: "policy_text".into(),
            error: RuleError {
                message: "unrecognized action `Action::\"eatCake\"`".into(),
                help: None,
                position: Some((1, 44)),
            },
        },
        ("400", _) => Error::field(In::Header, "X-Tenant-ID", "is missing; it is the id of the tenant"),
        ("401", _) => Error::no_credential(),
        ("403", _) => Error::Forbidden {
            action: Action::CreateUserIdentity,
            decision: Arc::new(Decision {
                verdict: Verdict::Forbidden,
                notices: vec!["GitHub accounts must use an address of the company.".into()],
                level: Some(DecidedAt::Priority(100)),
                ..Decision::error()
            }),
            lacks: None,
            may_evaluate: false,
        },
        ("404", _) => Error::not_found(resource_of(operation)),
        ("408", _) => Error::BodyTimedOut,
        ("409", "createUserIdentity") => Error::IdentityAlreadyLinked {
            details: members(json!({
                "identity_id": IDENTITY,
                "linked_by": "manual",
                "linked_at": TIME,
                "linked_to_user_id": demo::OTHER_USER,
            })),
        },
        ("409", "createUser") => Error::UserAlreadyExists,
        ("409", "createTenant") => Error::TenantAlreadyExists,
        ("409", "deleteIdentityProvider") => Error::IdentityProviderInUse { linked: 3 },
        ("409", "rotateApiKey") => Error::ApiKeyEnded,
        ("409", "createPolicy" | "updatePolicy" | "createPolicyRule") => Error::TooManyRules { max: 1000 },
        ("412", _) => Error::PreconditionFailed,
        ("413", _) => Error::PayloadTooLarge {
            max_bytes: MAX_BODY_BYTES,
        },
        ("415", _) => Error::UnsupportedMediaType {
            found: Some("text/plain".into()),
        },
        ("500", _) => Error::Internal { reason: String::new() },
        ("503", _) => Error::Unavailable { reason: String::new() },
        _ => return None,
    };
    serde_json::to_value(error.into_body()).ok()
}

fn members(object: Value) -> Map<String, Value> {
    match object {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

/// What an operation does not find.
fn resource_of(operation: &str) -> &'static str {
    match operation {
        "getUserIdentity" | "deleteUserIdentity" | "lookupIdentity" => "identity",
        "getPolicyRule" | "updatePolicyRule" | "deletePolicyRule" => "policy_rule",
        "getDecision" => "decision",
        _ if operation.contains("Polic") => "policy",
        _ if operation.contains("Tenant") => "tenant",
        _ if operation.contains("ApiKey") => "api_key",
        _ if operation.contains("IdentityProvider") => "identity_provider",
        _ => "user",
    }
}

fn page(row: &Value) -> Value {
    json!({ "data": [row], "next_cursor": null, "has_more": false })
}

fn identity() -> Value {
    json!({
        "id": IDENTITY,
        "user_id": demo::USER,
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

fn user() -> Value {
    json!({
        "id": demo::USER,
        "email": "ada@example.com",
        "name": "Ada Example",
        "roles": ["engineer"],
        "active": true,
        "email_verified": false,
        "created_at": TIME,
        "updated_at": TIME,
    })
}

fn provider() -> Value {
    json!({
        "id": demo::GITHUB,
        "name": "GitHub",
        "provider_type": "github",
        "config": { "organization": "example" },
        "enabled": true,
        "last_synced_at": null,
        "sync_status": "pending",
        "sync_error": null,
        "created_at": TIME,
        "updated_at": TIME,
    })
}

fn api_key() -> Value {
    json!({
        "id": API_KEY,
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

fn tenant() -> Value {
    json!({
        "id": demo::TENANT,
        "name": "Example Company",
        "slug": "example",
        "is_master": true,
        "created_at": TIME,
        "updated_at": TIME,
    })
}

fn rule() -> Value {
    json!({
        "id": POLICY_RULE,
        "ordinal": 0,
        "effect": "forbid",
        "policy_text": RULE,
        "principal_scope_type": "any",
        "principal_entity_type": null,
        "principal_entity_id": null,
        "action_scope_type": "eq",
        "action_ids": ["createUserIdentity"],
        "resource_scope_type": "any",
        "resource_entity_type": null,
        "resource_entity_id": null,
        "conditions": "when { context.identity_provider.provider_type == \"github\" }\nunless { context has external_email && context.external_email like \"*@example.com\" }",
        "notice": "GitHub accounts must use an address of the company.",
        "warnings": [],
        "created_at": TIME,
    })
}

fn policy() -> Value {
    json!({
        "id": POLICY,
        "name": "Accounts of the company",
        "description": "Only accounts with an address of the company may be linked.",
        "enabled": true,
        "priority": 100,
        "rules": [rule()],
        "created_at": TIME,
        "updated_at": TIME,
    })
}

fn decision() -> Value {
    json!({
        "id": DECISION,
        "actor_id": API_KEY,
        "actor_type": "api_key",
        "scopes": ["identities:read", "identities:write"],
        "action": "createUserIdentity",
        "resource": format!("user:{}", demo::USER),
        "context": {
            "identity_provider": demo::GITHUB,
            "external_id": "583231",
            "external_email": "octocat@elsewhere.example",
        },
        "kind": "forbidden",
        "priority": 100,
        "matching_policy_ids": [POLICY],
        "matching_rule_ids": [POLICY_RULE],
        "notices": ["GitHub accounts must use an address of the company."],
        "policy_version": 7,
        "created_at": TIME,
    })
}
