//! Previews of policy changes: a preview changes nothing, and agrees with what the change then does.

use std::time::Duration;

use crate::harness::{
    Aka, Answer, Caller, Uuid, Value, eventually,
    issuer::{Issuer, RSA},
    json, on_both_stores,
};

on_both_stores![
    removing_a_rule_permits_what_it_forbade,
    adding_a_rule_forbids_what_was_permitted,
    a_candidate_can_replace_everything,
    a_disabled_policy_can_be_tried,
    logged_decisions_are_repeated_with_their_context,
    a_decision_that_already_differs_is_marked,
    only_the_latest_decisions_are_examined,
    decisions_about_deleted_resources_are_not_repeated,
    a_token_is_decided_with_its_scopes,
    a_preview_changes_nothing,
    a_preview_on_one_node_knows_the_decisions_of_the_other,
    a_change_that_cannot_be_made_is_refused,
    other_tenants_are_neither_examined_nor_named,
];

const COMPANY: &str = r#"
    @notice("GitHub accounts must use an address of the company.")
    forbid(principal, action == Action::"createUserIdentity", resource)
    when { context.identity_provider.provider_type == "github" }
    unless { context has external_email && context.external_email like "*@example.com" };
"#;

async fn preview(acme: &Caller, change: Value) -> Answer {
    acme.post("/v1/policies/preview").json(change).await.expect(200)
}

/// Waits until the refusals of a tenant are in the decision log.
async fn refusals_written(acme: &Caller, number: usize) {
    eventually(Duration::from_secs(5), "the refusals are in the log", async || {
        let listed = acme.get("/v1/decisions").await.expect(200);
        if listed.column("id").len() == number {
            Ok(())
        } else {
            Err(listed)
        }
    })
    .await;
}

fn link(acme: &Caller, user: Uuid, provider: Uuid, number: usize, email: &str) -> crate::harness::caller::Request {
    let account = json!({
        "identity_provider_id": provider, "external_id": number.to_string(), "external_email": email,
    });
    acme.post(format!("/v1/users/{user}/identities")).json(account)
}

async fn removing_a_rule_permits_what_it_forbade(aka: Aka) {
    let acme = aka.tenant().await;
    let (user, github) = (acme.user().await, acme.provider("github").await);
    let policy = acme.policy(3, COMPANY).await;
    let rule = acme
        .get(format!("/v1/policies/{policy}/rules"))
        .await
        .expect(200)
        .column("id")[0]
        .clone();
    link(&acme, user, github, 1, "octocat@elsewhere.example")
        .await
        .refused(403, "forbidden");
    link(&acme, user, github, 2, "octocat@example.com").await.expect(201);
    refusals_written(&acme, 1).await;

    for change in [
        json!({ "without_policy_ids": [policy] }),
        json!({ "without_rule_ids": [rule] }),
    ] {
        let told = preview(&acme, change).await;

        assert_eq!(
            (&told["changed"], &told["undecidable"], &told["complete"]),
            (&json!(1), &json!(0), &json!(true))
        );
        let one = &told["decisions"][0];
        assert_eq!(
            (&one["source"], &one["action"]),
            (&json!("decision_log"), &json!("createUserIdentity"))
        );
        assert_eq!(one["resource"], format!("user:{user}"));
        assert_eq!(
            one["before"],
            json!({ "permitted": false, "kind": "forbidden", "matching_rule_ids": [rule] })
        );
        let after = &one["after"];
        assert_eq!(
            (&after["permitted"], &after["matching_rule_ids"], &one["already"]),
            (&json!(true), &json!(["identities:write"]), &json!(false))
        );
        let message = one["message"].as_str().unwrap_or_default();
        assert!(
            message.contains("was forbidden by") && message.contains("would be permitted"),
            "{message}"
        );
        acme.get(format!("/v1/decisions/{}", one["id"].as_str().expect("an id")))
            .await
            .expect(200);
    }
}

async fn adding_a_rule_forbids_what_was_permitted(aka: Aka) {
    let acme = aka.tenant().await;
    let (user, github) = (acme.user().await, acme.provider("github").await);
    let slack = acme.provider("slack").await;
    link(&acme, user, github, 1, "octocat@elsewhere.example")
        .await
        .expect(201);
    link(&acme, user, github, 2, "octocat@example.com").await.expect(201);
    link(&acme, user, slack, 3, "octocat@elsewhere.example")
        .await
        .expect(201);

    let told = preview(
        &acme,
        json!({ "with": [{ "priority": 9, "cedar_policy_set": COMPANY }] }),
    )
    .await;

    // Two providers, a user and three links.
    assert_eq!((&told["examined"], &told["changed"]), (&json!(6), &json!(1)), "{told}");
    let one = &told["decisions"][0];
    assert_eq!(one["source"], "audit_log");
    assert_eq!(one["before"]["matching_rule_ids"], json!(["identities:write"]));
    assert_eq!(
        one["after"],
        json!({
            "permitted": false,
            "kind": "forbidden",
            "matching_policy_ids": [],
            "matching_rule_ids": ["with/0/0"],
            "priority": 9,
            "reason": "Forbidden by with/0/0.",
            "notices": ["GitHub accounts must use an address of the company."],
        })
    );
    // What is not to be in force has no effect.
    let disabled = json!({ "with": [{ "enabled": false, "cedar_policy_set": COMPANY }] });
    assert_eq!(preview(&acme, disabled).await["changed"], 0);
}

async fn a_candidate_can_replace_everything(aka: Aka) {
    let acme = aka.tenant().await;
    acme.policy(1, "forbid(principal, action == Action::\"listUsers\", resource);")
        .await;
    acme.get("/v1/users").await.refused(403, "forbidden");
    refusals_written(&acme, 1).await;

    let nothing = preview(&acme, json!({ "policies": [] })).await;
    assert_eq!(nothing["changed"], 1, "{nothing}");
    assert_eq!(nothing["decisions"][0]["after"]["permitted"], true);

    let two = json!({ "policies": [
        { "priority": 1, "cedar_policy_set": "permit(principal, action == Action::\"listUsers\", resource);" },
        { "priority": 2, "cedar_policy_set": "permit(principal is User, action, resource); forbid(principal, action, resource);" },
    ] });
    let two = preview(&acme, two).await;
    let after: Vec<&Value> = two["decisions"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|one| &one["after"])
        .collect();
    // Making the policy would be forbidden, too; listing users is forbidden as before.
    assert_eq!(after.len(), 1, "{two}");
    assert_eq!(
        (&after[0]["matching_rule_ids"], &two["decisions"][0]["action"]),
        (&json!(["policies/1/1"]), &json!("createPolicy"))
    );
}

async fn a_disabled_policy_can_be_tried(aka: Aka) {
    let acme = aka.tenant().await;
    let (user, github) = (acme.user().await, acme.provider("github").await);
    link(&acme, user, github, 1, "octocat@elsewhere.example")
        .await
        .expect(201);
    let policy = json!({ "name": "Later", "enabled": false, "priority": 4, "cedar_policy_set": COMPANY });
    let policy = acme.post("/v1/policies").json(policy).await.expect(201);

    let told = preview(&acme, json!({ "with_policy_ids": [policy.id()] })).await;

    assert_eq!(told["changed"], 1, "{told}");
    assert_eq!(
        told["decisions"][0]["after"]["matching_policy_ids"],
        json!([policy.id()])
    );
    assert_eq!(
        told["decisions"][0]["after"]["matching_rule_ids"],
        json!([policy["rules"][0]["id"]])
    );
}

async fn logged_decisions_are_repeated_with_their_context(aka: Aka) {
    let acme = aka.tenant().await;
    let user = acme.user().await;
    for active in [false, true] {
        acme.post(format!("/v1/users/{user}/suspend"))
            .json(json!({ "active": active }))
            .await
            .expect(200);
    }
    acme.limited_to(&["users:write"]).await;
    acme.provider("okta").await;
    let ada = json!({ "email": "ada@elsewhere.example", "name": "Ada", "roles": ["admin"] });
    acme.post("/v1/users").json(ada).await.expect(201);
    acme.put(format!("/v1/users/{user}"))
        .json(json!({ "roles": ["boss"] }))
        .await
        .expect(200);

    for (rule, action) in [
        (
            "action == Action::\"suspendUser\", resource) when { !context.active }",
            "suspendUser",
        ),
        (
            "action == Action::\"createApiKey\", resource) when { context.scopes.contains(\"users:write\") }",
            "createApiKey",
        ),
        (
            "action == Action::\"createIdentityProvider\", resource) when { context.provider_type == \"okta\" }",
            "createIdentityProvider",
        ),
        (
            "action == Action::\"createUser\", resource) when { context.email like \"*@elsewhere.example\" && context.roles.contains(\"admin\") }",
            "createUser",
        ),
        (
            "action == Action::\"updateUser\", resource) when { context has roles && context.roles.contains(\"boss\") }",
            "updateUser",
        ),
    ] {
        let change = json!({ "with": [{ "cedar_policy_set": format!("forbid(principal, {rule};") }] });
        let told = preview(&acme, change).await;
        assert_eq!(
            (&told["changed"], &told["undecidable"]),
            (&json!(1), &json!(0)),
            "{action}\n{told}"
        );
        assert_eq!(told["decisions"][0]["action"], action);
    }
}

async fn a_decision_that_already_differs_is_marked(aka: Aka) {
    let acme = aka.tenant().await;
    let policy = acme
        .policy(1, "forbid(principal, action == Action::\"listUsers\", resource);")
        .await;
    acme.get("/v1/users").await.refused(403, "forbidden");
    refusals_written(&acme, 1).await;
    acme.delete(format!("/v1/policies/{policy}")).await.expect(204);

    let told = preview(&acme, json!({})).await;

    assert_eq!(
        (&told["changed"], &told["decisions"][0]["already"]),
        (&json!(1), &json!(true)),
        "{told}"
    );
}

async fn only_the_latest_decisions_are_examined(aka: Aka) {
    let acme = aka.tenant().await;
    let mut users = Vec::new();
    for _ in 0..5 {
        users.push(acme.user().await);
    }
    let reader = acme.limited_to(&["users:read"]).await;
    reader.get("/v1/policies").await.expect(403);
    refusals_written(&acme, 1).await;
    let forbid = |last: u32| {
        let rule = "forbid(principal, action == Action::\"createUser\", resource);";
        json!({ "with": [{ "cedar_policy_set": rule }], "last": last })
    };

    // The newest are the refusal, the key, and then the users.
    let told = preview(&acme, forbid(4)).await;
    assert_eq!((&told["examined"], &told["changed"]), (&json!(4), &json!(2)), "{told}");
    let told = preview(&acme, forbid(1000)).await;
    assert_eq!((&told["examined"], &told["changed"]), (&json!(7), &json!(5)), "{told}");
    let times: Vec<&str> = told["decisions"]
        .as_array()
        .expect("rows")
        .iter()
        .filter_map(|one| one["created_at"].as_str())
        .collect();
    assert!(times.is_sorted_by(|newer, older| newer >= older), "{times:?}");
}

async fn decisions_about_deleted_resources_are_not_repeated(aka: Aka) {
    let acme = aka.tenant().await;
    let (user, github) = (acme.user().await, acme.provider("github").await);
    link(&acme, user, github, 1, "octocat@example.com").await.expect(201);
    acme.delete(format!("/v1/users/{user}")).await.expect(204);

    let told = preview(&acme, json!({ "with": [{ "cedar_policy_set": COMPANY }] })).await;

    // The user and the account, of whom nothing is kept; the provider and the erasure can be decided again.
    assert_eq!(
        (&told["undecidable"], &told["examined"], &told["changed"]),
        (&json!(2), &json!(2), &json!(0)),
        "{told}"
    );
}

async fn a_token_is_decided_with_its_scopes(aka: Aka) {
    let acme = aka.tenant().await;
    let issuer = Issuer::with_keys(&acme, &[RSA]).await;
    let user = acme.user().await;
    acme.link(user, issuer.provider, "ada").await.expect(201);
    let token = RSA.sign(&issuer.claims("ada", "users:write"));
    let stranger = RSA.sign(&issuer.claims("nobody", "users:write"));
    for token in [&token, &stranger] {
        acme.with_bearer(token)
            .post("/v1/users")
            .json(json!({ "email": format!("{}@example.com", Uuid::now_v7()), "name": "New" }))
            .await
            .expect(201);
    }

    let nothing = preview(&acme, json!({})).await;
    assert_eq!(
        (&nothing["changed"], &nothing["undecidable"]),
        (&json!(0), &json!(1)),
        "{nothing}"
    );
    let rule = "forbid(principal is User in Scope::\"users:write\", action == Action::\"createUser\", resource);";
    let told = preview(&acme, json!({ "with": [{ "cedar_policy_set": rule }] })).await;
    assert_eq!(
        (&told["changed"], &told["decisions"][0]["actor_id"]),
        (&json!(1), &json!(user)),
        "{told}"
    );
}

async fn a_preview_changes_nothing(aka: Aka) {
    let acme = aka.tenant().await;
    acme.user().await;
    let rows = aka.rows().await;
    let of_tenant = [("tenant_id", acme.tenant().into())];
    let mut before = Vec::new();
    let tables = [
        "policies",
        "policy_rules",
        "audit_log_entries",
        "outbox_events",
        "decisions",
    ];
    for table in tables {
        before.push(rows.count(table, &of_tenant).await);
    }

    let everything = "forbid(principal, action, resource);";
    let told = preview(&acme, json!({ "policies": [{ "cedar_policy_set": everything }] })).await;
    assert_eq!(told["changed"], 1, "{told}");

    acme.get("/v1/users").await.expect(200);
    let mut after = Vec::new();
    for table in tables {
        after.push(rows.count(table, &of_tenant).await);
    }
    assert_eq!(after, before);
}

async fn a_preview_on_one_node_knows_the_decisions_of_the_other(aka: Aka) {
    let other = aka.second_node().await;
    let acme = aka.tenant().await;
    let (user, github) = (acme.user().await, acme.provider("github").await);
    let policy = acme.policy(3, COMPANY).await;
    let there = acme.at(&other);
    // The other node may take some time to know the provider and the rule.
    eventually(Duration::from_secs(3), "the other node knows the rule", async || {
        let answer = link(&there, user, github, 1, "octocat@elsewhere.example").await;
        if answer.status == 403 { Ok(()) } else { Err(answer) }
    })
    .await;
    acme.decision(&acme).await;

    for node in [&acme, &there] {
        let told = preview(node, json!({ "without_policy_ids": [policy] })).await;
        let refused = told["decisions"].as_array().expect("rows").iter();
        assert!(
            refused
                .clone()
                .any(|one| one["source"] == "decision_log" && one["after"]["permitted"] == true),
            "{told}"
        );
    }
}

async fn a_change_that_cannot_be_made_is_refused(aka: Aka) {
    let acme = aka.tenant().await;
    let ask = |change: Value| acme.post("/v1/policies/preview").json(change);
    let rule = "permit(principal, action, resource);";

    for field in ["without_policy_ids", "without_rule_ids", "with_policy_ids", "with"] {
        let mut both = json!({ "policies": [{ "cedar_policy_set": rule }] });
        both[field] = json!([]);
        ask(both).await.refused_input("body", field);
    }
    let wrong = "forbid(principal, action == Action::\"eatCake\", resource);";
    let refusal = ask(json!({ "with": [{ "cedar_policy_set": rule }, { "cedar_policy_set": wrong }] })).await;
    let refusal = refusal.refused_rule("with");
    assert_eq!(refusal["details"]["field"], "with[1].cedar_policy_set");
    ask(json!({ "policies": [{ "cedar_policy_set": wrong }] }))
        .await
        .refused_rule("policies");
    ask(json!({ "without_policy_ids": [Uuid::now_v7()] }))
        .await
        .refused_as_unknown("policy");
    ask(json!({ "with_policy_ids": [Uuid::now_v7()] }))
        .await
        .refused_as_unknown("policy");
    ask(json!({ "without_rule_ids": [Uuid::now_v7()] }))
        .await
        .refused_as_unknown("policy_rule");
}

async fn other_tenants_are_neither_examined_nor_named(aka: Aka) {
    let (acme, other) = (aka.tenant().await, aka.tenant().await);
    let policy = other.policy(0, COMPANY).await;
    let rule = other
        .get(format!("/v1/policies/{policy}/rules"))
        .await
        .expect(200)
        .column("id")[0]
        .clone();
    other.user().await;
    let ask = |change: Value| acme.post("/v1/policies/preview").json(change);

    ask(json!({ "without_policy_ids": [policy] }))
        .await
        .refused_as_unknown("policy");
    ask(json!({ "with_policy_ids": [policy] }))
        .await
        .refused_as_unknown("policy");
    ask(json!({ "without_rule_ids": [rule] }))
        .await
        .refused_as_unknown("policy_rule");
    let told = preview(
        &acme,
        json!({ "policies": [{ "cedar_policy_set": "forbid(principal, action, resource);" }] }),
    )
    .await;
    assert_eq!((&told["examined"], &told["changed"]), (&json!(0), &json!(0)), "{told}");
}
