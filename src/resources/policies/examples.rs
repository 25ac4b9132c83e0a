//! Examples of policies, rules and decisions on them in the document. Those that can be sent work as they stand on a server that `aka demo` has started.

use serde_json::{Value, json};

use super::{
    errors::{invalid_rule, policies_locked, too_many_rules},
    lockout::LockedOut,
};
use crate::{
    access::rule_limits::Excess,
    http::error::Error,
    policy::{Decision, Verdict, rules::RuleError},
    resources::{
        demo,
        examples::{TIME, but, page},
    },
    types::actions::Action,
};

/// An example of a schema.
pub fn of_schema(name: &str) -> Option<Value> {
    Some(match name {
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
        "Policy" => policy(),
        "Page_Policy" => page(&policy()),
        "PolicyRule" => rule(),
        "Page_PolicyRule" => page(&rule()),
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
        _ => return of_question(name),
    })
}

/// An example of what is asked of policies, or answered.
fn of_question(name: &str) -> Option<Value> {
    Some(match name {
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
        _ => return None,
    })
}

/// An example of a parameter.
pub fn of_parameter(name: &str) -> Option<Value> {
    Some(match name {
        "policyId" => json!(demo::POLICY),
        "ruleId" => json!(demo::POLICY_RULE),
        _ => return None,
    })
}

/// What `createPolicyRule` answers.
pub fn created_rule() -> Value {
    but(rule(), json!({ "ordinal": 1 }))
}

/// What `updatePolicy` answers.
pub fn updated() -> Value {
    but(policy(), json!({ "priority": 200 }))
}

/// A refusal of a text that is no rule.
pub fn invalid() -> Error {
    let error = RuleError {
        message: "unrecognized action `Action::\"eatCake\"`".into(),
        help: None,
        position: Some((1, 44)),
    };
    invalid_rule("policy_text", &error)
}

/// A refusal of more rules than a policy may have.
pub fn too_many() -> Error {
    too_many_rules(Excess {
        limit: "rules_of_policy",
        what: "rules in a policy",
        max: 1_000,
        found: 1_001,
    })
}

/// A refusal of a change that nobody could take back.
pub fn locked() -> Error {
    policies_locked(&LockedOut {
        action: Action::UpdatePolicy,
        decision: Decision {
            verdict: Verdict::Forbidden,
            ..Decision::error()
        },
        texts: vec!["forbid (principal, action, resource);".into()],
        rules: Vec::new(),
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
