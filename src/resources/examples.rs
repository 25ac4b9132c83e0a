//! The examples of the document. Where one can be sent it works as it stands on a server that `aka demo` has started.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use uuid::uuid;

use super::{demo, policies::lockout::LockedOut};
use crate::{
    access::rule_limits::Excess,
    http::{
        body::MAX_BODY_BYTES,
        error::{Error, InputLocation},
    },
    policy::{DecidedAt, Decision, Verdict, rules::RuleError},
    types::{
        actions::Action,
        ids::{IdentityProviderId, UserId},
    },
};

const TIME: &str = "2026-11-23T09:30:00.000000Z";

/// An example of a schema.
#[expect(clippy::too_many_lines, reason = "it is a list")]
pub fn of_schema(name: &str) -> Option<Value> {
    Some(match name {
        "UserIdentityCreate" => json!({
            "identity_provider_id": demo::GITHUB,
            "external_id": "583231",
            "external_username": "octocat",
            "external_email": "octocat@example.com",
            "external_display_name": "The Octocat",
        }),
        "UserIdentity" => identity(),
        "Page_UserIdentity" => page(&identity()),
        "UserCreate" => json!({ "email": "sam@example.com", "name": "Sam Example", "roles": ["engineer"] }),
        "UserUpdate" => json!({ "name": "Ada Example", "roles": ["engineer", "on-call"] }),
        "Suspension" => json!({ "active": true }),
        "User" => user(),
        "Page_User" => page(&user()),
        "IdentityProviderCreate" => sign_in(),
        "IdentityProviderUpdate" => json!({ "name": "GitHub", "enabled": true }),
        "IdentityProvider" => provider(),
        "Page_IdentityProvider" => page(&provider()),
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
        "PolicyCreate" => json!({
            "name": "Accounts of the company",
            "description": "Only accounts with an address of the company may be linked.",
            "priority": 100,
            "cedar_policy_set": demo::RULE,
        }),
        "PolicyRuleInput" => json!({ "policy_text": demo::RULE }),
        "PolicyUpdate" => json!({ "enabled": true, "priority": 200 }),
        "PolicyOrder" => json!({ "ids": [demo::POLICY] }),
        "PolicyRuleOrder" => json!({ "ids": [demo::POLICY_RULE] }),
        "PolicyExport" => json!({ "cedar_policy_set": demo::RULE }),
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
            "matching_policy_ids": [demo::POLICY],
            "matching_rule_ids": [demo::POLICY_RULE],
            "priority": 100,
            "reason": format!("Forbidden by {}.", demo::POLICY_RULE),
            "notices": [demo::NOTICE],
            "explanations": [{
                "rule_id": demo::POLICY_RULE,
                "policy_id": demo::POLICY,
                "effect": "forbid",
                "message": format!("The rule {} forbids it.", demo::POLICY_RULE),
                "unsatisfied": [],
            }],
            "facts_withheld": [],
        }),
        "PolicyChange" => json!({
            "without_rule_ids": [demo::POLICY_RULE],
            "last": 200,
        }),
        "PolicyPreview" => {
            let reason = "No rule permits createUserIdentity here: neither a policy nor the scopes of the principal.";
            let (user, rule) = (demo::USER, demo::POLICY_RULE);
            json!({
                "examined": 1,
                "changed": 1,
                "undecidable": 0,
                "withheld": 0,
                "complete": true,
                "warnings": [],
                "decisions": [{
                    "id": demo::DECISION,
                    "source": "decision_log",
                    "actor_id": demo::API_KEY,
                    "actor_type": "api_key",
                    "action": "createUserIdentity",
                    "resource": format!("user:{user}"),
                    "created_at": TIME,
                    "before": { "permitted": false, "kind": "forbidden", "matching_rule_ids": [rule] },
                    "after": {
                        "permitted": false,
                        "kind": "not_permitted",
                        "matching_policy_ids": [],
                        "matching_rule_ids": [],
                        "priority": null,
                        "reason": reason,
                        "notices": [],
                    },
                    "already": false,
                    "message": format!(
                        "createUserIdentity on user:{user} was forbidden by {rule}. It would be not permitted: {reason}"
                    ),
                }],
            })
        }
        "Decision" => decision(),
        "Page_Decision" => page(&decision()),
        "Policy" => policy(),
        "Page_Policy" => page(&policy()),
        "PolicyRule" => rule(),
        "Page_PolicyRule" => page(&rule()),
        "TenantCreate" => json!({ "name": "Another Company", "slug": "another-company" }),
        "TenantUpdate" => json!({ "name": "Example Company" }),
        "Tenant" => tenant(),
        "Page_Tenant" => page(&tenant()),
        "PolicySchema" => json!({
            "cedar": "entity Tenant = {\n  slug: String,\n  is_master: Bool,\n};\n",
            "json": {
                "": {
                    "entityTypes": {
                        "Tenant": {
                            "shape": {
                                "type": "Record",
                                "attributes": {
                                    "slug": { "type": "EntityOrCommon", "name": "String" },
                                    "is_master": { "type": "EntityOrCommon", "name": "Bool" },
                                },
                            },
                        },
                    },
                    "actions": {},
                },
            },
        }),
        "Health" => json!({ "status": "ok" }),
        _ => return None,
    })
}

/// An example of what an operation answers, where that is another than of its schema in general.
pub fn of_answer(operation: &str) -> Option<Value> {
    let but = |mut answer: Value, other: Value| {
        for (name, value) in members(other) {
            answer[name] = value;
        }
        answer
    };
    let caller = demo::CALLER;
    Some(match operation {
        "getUserIdentity" | "lookupIdentity" => slack_identity(),
        "listUserIdentities" => page(&slack_identity()),
        "createUser" => but(user(), json!({ "email": "sam@example.com", "name": "Sam Example" })),
        "updateUser" => but(user(), json!({ "roles": ["engineer", "on-call"] })),
        "createIdentityProvider" => but(provider(), sign_in()),
        "createPolicyRule" => but(rule(), json!({ "ordinal": 1 })),
        "updatePolicy" => but(policy(), json!({ "priority": 200 })),
        "createApiKey" | "createTenantApiKey" | "rotateApiKey" => {
            but(created_api_key(), json!({ "created_by": caller }))
        }
        "createTenant" => but(
            tenant(),
            json!({ "name": "Another Company", "slug": "another-company", "is_master": false }),
        ),
        _ => return None,
    })
}

/// An example of a parameter.
pub fn of_parameter(path: &str, name: &str) -> Option<Value> {
    let resource = path.trim_start_matches("/v1/").split('/').next().unwrap_or_default();
    Some(match (name, resource) {
        ("X-Tenant-ID", _) | ("id", "tenants") => json!(demo::TENANT),
        ("id", "users") => json!(demo::USER),
        ("identity_provider_id", "identities") => json!(demo::SLACK),
        ("id", "identity-providers") => json!(demo::GITHUB),
        ("id", "api-keys") | ("actor_id", _) => json!(demo::API_KEY),
        ("id", "decisions") => json!(demo::DECISION),
        ("action", _) => json!("createUserIdentity"),
        ("kind", _) => json!("forbidden"),
        ("resource", _) => json!(format!("user:{}", demo::USER)),
        ("request_id", _) => json!(demo::REQUEST),
        ("from", _) => json!("2026-01-01T00:00:00Z"),
        ("to", _) => json!("2100-01-01T00:00:00Z"),
        ("identityId", _) => json!(demo::IDENTITY),
        ("policyId", _) => json!(demo::POLICY),
        ("ruleId", _) => json!(demo::POLICY_RULE),
        ("external_id", "identities") => json!(demo::SLACK_ACCOUNT),
        ("email", "users") => json!("ada@example.com"),
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
        ("400", _) => Error::field(
            InputLocation::Header,
            "X-Tenant-ID",
            "is missing; send the id of the tenant",
        ),
        ("401", _) => Error::no_credential(),
        ("403", _) => Error::Forbidden {
            action: Action::CreateUserIdentity,
            decision: Arc::new(Decision {
                verdict: Verdict::Forbidden,
                notices: vec![demo::NOTICE.into()],
                level: Some(DecidedAt::Priority(100)),
                ..Decision::error()
            }),
            lacks: None,
            may_evaluate: false,
        },
        ("404", "lookupIdentity") => Error::AccountNotFound {
            identity_provider: IdentityProviderId(demo::SLACK),
        },
        ("404", _) => Error::no_such(resource_of(operation), uuid!("0198c5a0-0000-7000-8000-00000000dead")),
        ("405", _) => Error::MethodNotAllowed {
            allowed: ["GET", "POST", "HEAD", "OPTIONS"].map(str::to_owned).to_vec(),
        },
        ("408", _) => Error::BodyTimedOut,
        ("409", "createUserIdentity") => Error::IdentityAlreadyLinked {
            details: members(json!({
                "identity_id": demo::IDENTITY,
                "linked_by": "manual",
                "linked_at": TIME,
                "linked_to_user_id": demo::OTHER_USER,
            })),
        },
        ("409", "createUser" | "updateUser") => Error::UserAlreadyExists {
            id: Some(UserId(demo::USER)),
        },
        ("409", "createIdentityProvider" | "updateIdentityProvider") => Error::IdentityProviderAlreadyExists {
            field: "name",
            id: Some(IdentityProviderId(demo::GITHUB)),
        },
        ("409", "createTenant") => Error::TenantAlreadyExists,
        ("409", "deleteIdentityProvider") => Error::IdentityProviderInUse {
            id: IdentityProviderId(demo::GITHUB),
            linked: 3,
        },
        ("409", "rotateApiKey") => Error::ApiKeyEnded,
        ("409", "createPolicy" | "updatePolicy" | "createPolicyRule" | "updatePolicyRule" | "previewPolicies") => {
            Error::TooManyRules(Excess {
                limit: "rules_of_policy",
                what: "rules in a policy",
                max: 1_000,
                found: 1_001,
            })
        }
        ("409", "deletePolicy" | "reorderPolicies" | "deletePolicyRule") => {
            Error::PoliciesLocked(Box::new(LockedOut {
                action: Action::UpdatePolicy,
                decision: Decision {
                    verdict: Verdict::Forbidden,
                    ..Decision::error()
                },
                texts: vec!["forbid (principal, action, resource);".into()],
                rules: Vec::new(),
            }))
        }
        ("412", _) => Error::PreconditionFailed,
        ("422", _) => Error::IdempotencyKeyReused,
        ("413", _) => Error::PayloadTooLarge {
            max_bytes: MAX_BODY_BYTES,
        },
        ("415", _) => Error::UnsupportedMediaType {
            found: Some("text/plain".into()),
        },
        ("429", _) => Error::TooManyRequests {
            limit: "changes that wait to be written",
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
        "id": demo::POLICY_RULE,
        "ordinal": 0,
        "effect": "forbid",
        "policy_text": demo::RULE,
        "principal_scope_type": "any",
        "principal_entity_type": null,
        "principal_entity_id": null,
        "action_scope_type": "eq",
        "action_ids": ["createUserIdentity"],
        "resource_scope_type": "any",
        "resource_entity_type": null,
        "resource_entity_id": null,
        "conditions": "when { context.identity_provider.provider_type == \"github\" && context has external_email }\nunless { context.external_email like \"*@example.com\" }",
        "notice": demo::NOTICE,
        "warnings": [],
        "created_at": TIME,
    })
}

fn policy() -> Value {
    json!({
        "id": demo::POLICY,
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
