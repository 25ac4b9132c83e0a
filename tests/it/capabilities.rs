//! What a key may do: the reported capabilities agree with the decisions.

use crate::harness::{Aka, Answer, Caller, Value, json, on_both_stores, unique};

on_both_stores![
    a_key_can_do_what_its_scopes_allow,
    rules_and_their_conditions_are_listed,
    a_higher_level_decides_before_a_lower_one,
    an_action_that_rules_exclude_is_never_reported_as_possible,
    rules_about_the_provider_of_a_bound_key_are_applied,
    a_revoked_or_expired_key_can_do_nothing,
    only_the_master_tenant_manages_tenants,
    certain_capabilities_agree_with_the_decisions,
];

/// What a caller's own key can do.
async fn own(acme: &Caller, of: &Caller) -> Answer {
    acme.get(format!("/v1/api-keys/{}/capabilities", of.key_id()))
        .await
        .expect(200)
}

/// What is said of one action.
fn of<'a>(answer: &'a Answer, action: &str) -> &'a Value {
    let all = answer["capabilities"].as_array().expect("capabilities");
    let mut found = all.iter().filter(|one| one["action"] == action);
    let first = found
        .next()
        .unwrap_or_else(|| panic!("nothing is said of {action}\n{answer}"));
    assert!(found.next().is_none(), "{action} appears more than once\n{answer}");
    first
}

async fn a_key_can_do_what_its_scopes_allow(aka: Aka) {
    let acme = aka.tenant().await;
    let reader = acme.limited_to(&["users:read", "api-keys:write"]).await;

    let can = own(&acme, &reader).await;

    assert_eq!((&can["usable"], &can["reason"]), (&json!(true), &Value::Null));
    assert_eq!(of(&can, "getUser")["verdict"], "allow");
    assert_eq!(of(&can, "getUser")["rules"][0]["rule_id"], "users:read");
    assert_eq!(of(&can, "deleteUser")["verdict"], "deny");
    assert_eq!(of(&can, "deleteUser")["rules"], json!([]));
    // It can make keys, but only with scopes that it has.
    let makes = of(&can, "createApiKey");
    assert_eq!(makes["verdict"], "depends", "{makes}");
    assert_eq!(makes["rules"][0]["rule_id"], "no-scopes-that-the-caller-lacks");
    assert!(
        makes["condition"]
            .as_str()
            .is_some_and(|text| text.contains("context.scopes")),
        "{makes}"
    );
}

async fn rules_and_their_conditions_are_listed(aka: Aka) {
    let acme = aka.tenant().await;
    let reader = acme.limited_to(&["users:read"]).await;
    let rule = "forbid(principal is ApiKey, action == Action::\"getUser\", resource is User) \
                when { principal.name == \"limited\" && resource.name like \"A*\" } unless { resource.active };";
    let policy = acme.policy(3, rule).await;

    let can = own(&acme, &reader).await;

    let reads = of(&can, "getUser");
    assert_eq!(reads["verdict"], "depends", "{reads}");
    let rule = &reads["rules"][0];
    assert_eq!(
        (&rule["policy_id"], &rule["priority"], &rule["effect"]),
        (&json!(policy), &json!(3), &json!("forbid"))
    );
    // What is known of the key is no condition any more.
    assert_eq!(
        rule["conditions"],
        json!(["resource.name like \"A*\"", "not (resource.active)"]),
        "{rule}"
    );
    let condition = reads["condition"].as_str().unwrap_or_default();
    for part in [
        "forbidden by",
        "at priority 3",
        "resource.name like \"A*\"",
        "Else it is permitted by users:read",
    ] {
        assert!(condition.contains(part), "{condition}");
    }
    assert_eq!(of(&can, "listUsers")["verdict"], "allow");
}

async fn a_higher_level_decides_before_a_lower_one(aka: Aka) {
    let acme = aka.tenant().await;
    let reader = acme.limited_to(&["users:read"]).await;
    acme.policy(1, "forbid(principal, action == Action::\"getUser\", resource);")
        .await;
    assert_eq!(of(&own(&acme, &reader).await, "getUser")["verdict"], "deny");

    acme.policy(
        2,
        "permit(principal is ApiKey, action == Action::\"getUser\", resource);",
    )
    .await;
    assert_eq!(of(&own(&acme, &reader).await, "getUser")["verdict"], "allow");

    let sometimes = "forbid(principal, action == Action::\"getUser\", resource) when { resource.active };";
    acme.policy(2, sometimes).await;
    assert_eq!(of(&own(&acme, &reader).await, "getUser")["verdict"], "depends");
}

async fn an_action_that_rules_exclude_is_never_reported_as_possible(aka: Aka) {
    let acme = aka.tenant().await;
    let reader = acme.limited_to(&["users:read"]).await;
    // None of these is about this key, or about this action's resource.
    for rule in [
        "forbid(principal is User, action, resource);",
        "forbid(principal in Role::\"admin\", action, resource);",
        "forbid(principal, action, resource is Policy);",
        "forbid(principal is ApiKey, action == Action::\"getUser\", resource) when { principal.name == \"other\" && resource.active };",
        "forbid(principal is ApiKey, action == Action::\"getUser\", resource) when { principal has identity_provider };",
    ] {
        acme.policy(1, rule).await;
    }
    let can = own(&acme, &reader).await;
    assert_eq!(of(&can, "getUser")["verdict"], "allow", "{}", of(&can, "getUser"));

    // A rule that can fail to be evaluated makes a no possible, though it permits.
    let fails = "permit(principal is User, action == Action::\"listUsers\", resource); \
                 permit(principal is ApiKey, action == Action::\"getUser\", resource) \
                 when { resource.scopes.contains(\"x\") || 9223372036854775807 + (if resource.active then 1 else 0) > 0 };";
    acme.policy(2, fails).await;
    let can = own(&acme, &reader).await;
    assert_eq!(of(&can, "getUser")["verdict"], "depends");
    assert_eq!(of(&can, "listUsers")["verdict"], "allow");
}

async fn rules_about_the_provider_of_a_bound_key_are_applied(aka: Aka) {
    let acme = aka.tenant().await;
    let okta = acme.provider("okta").await;
    let key = json!({ "name": "scim", "scopes": ["users:read"], "identity_provider_id": okta });
    let key = acme.post("/v1/api-keys").json(key).await.expect(201);
    let bound = acme.with_key(key["raw_key"].as_str().expect("a key"));
    let rule = "permit(principal is ApiKey, action == Action::\"createUser\", resource) \
                when { principal has identity_provider && principal.identity_provider.provider_type == \"okta\" };";
    acme.policy(0, rule).await;

    assert_eq!(of(&own(&acme, &bound).await, "createUser")["verdict"], "allow");
    let free = acme.limited_to(&["users:read"]).await;
    assert_eq!(of(&own(&acme, &free).await, "createUser")["verdict"], "deny");
}

async fn a_revoked_or_expired_key_can_do_nothing(aka: Aka) {
    let acme = aka.tenant().await;
    let reader = acme.limited_to(&["users:read"]).await;
    acme.delete(format!("/v1/api-keys/{}", reader.key_id()))
        .await
        .expect(204);

    let can = own(&acme, &reader).await;

    assert_eq!(can["usable"], false);
    assert!(
        can["reason"].as_str().is_some_and(|reason| reason.contains("revoked")),
        "{can}"
    );
    let all = can["capabilities"].as_array().expect("capabilities");
    assert!(
        !all.is_empty() && all.iter().all(|one| one["verdict"] == "deny"),
        "{can}"
    );
}

async fn only_the_master_tenant_manages_tenants(aka: Aka) {
    let (master, acme) = (aka.master(), aka.tenant().await);

    assert_eq!(of(&own(&master, &master).await, "createTenant")["verdict"], "allow");
    let other = own(&acme, &acme).await;
    assert_eq!(of(&other, "createTenant")["verdict"], "deny");
    assert_eq!(
        of(&other, "createTenant")["rules"][0]["rule_id"],
        "tenants-are-managed-by-the-master-tenant"
    );
}

/// Rules of every kind, in levels, and what each evaluation of a question says: never another thing than what was said to
/// be certain.
async fn certain_capabilities_agree_with_the_decisions(aka: Aka) {
    let acme = aka.tenant().await;
    let github = acme.provider("github").await;
    let users = [acme.user().await, acme.user().await];
    acme.post(format!("/v1/users/{}/suspend", users[1]))
        .json(json!({ "active": false }))
        .await
        .expect(200);
    let keys = [
        acme.limited_to(&["users:read"]).await,
        acme.limited_to(&["users:write", "identities:write", "api-keys:write"])
            .await,
    ];
    let actions = [
        ("getUser", json!({})),
        ("deleteUser", json!({})),
        ("suspendUser", json!({ "active": true })),
        (
            "createUserIdentity",
            json!({ "identity_provider": github, "external_id": "1" }),
        ),
        (
            "createUserIdentity",
            json!({ "identity_provider": github, "external_id": "2", "external_email": "a@example.com" }),
        ),
    ];
    let conditions = [
        "",
        "when { resource.active }",
        "unless { resource.active }",
        "when { principal.scopes.contains(\"users:read\") }",
        "when { principal.scopes.contains(\"users:read\") && resource.active }",
        "when { resource.active && principal.name == \"nobody\" }",
        "when { 9223372036854775807 + (if resource.active then 1 else 0) > 0 }",
    ];
    let mut certain = 0;
    for (number, condition) in conditions.iter().enumerate() {
        for (effect, principal, action) in [
            ("forbid", "principal is ApiKey", "action == Action::\"getUser\""),
            (
                "permit",
                "principal is ApiKey",
                "action in [Action::\"users:write\", Action::\"createUserIdentity\"]",
            ),
        ] {
            let rule = format!("{effect}({principal}, {action}, resource is User) {condition};");
            let policy = json!({ "name": unique("rule"), "priority": number % 3, "cedar_policy_set": rule });
            acme.post("/v1/policies").json(policy).await.expect(201);
        }
        for key in &keys {
            let can = own(&acme, key).await;
            for (action, context) in &actions {
                let verdict = &of(&can, action)["verdict"];
                certain += usize::from(verdict != "depends");
                for user in &users {
                    let question = json!({
                        "principal": format!("api_key:{}", key.key_id()),
                        "action": action,
                        "resource": format!("user:{user}"),
                        "context": context,
                    });
                    let decided = acme.post("/v1/policies/evaluate").json(question).await.expect(200);
                    match verdict.as_str() {
                        Some("allow") => assert_eq!(decided["permitted"], true, "{can}\n{decided}"),
                        Some("deny") => assert_eq!(decided["permitted"], false, "{can}\n{decided}"),
                        _ => {}
                    }
                }
            }
        }
    }
    assert!(certain > 20, "only {certain} were certain");
}
