//! Policies and rules as resources: what is stored, what is derived from the text of a rule, and what is refused.

use sea_orm::{ConnectionTrait as _, Statement};

use crate::harness::{Aka, Uuid, Value, json, on_both_stores, rows};

on_both_stores![
    a_policy_can_be_created_without_rules,
    a_policy_can_be_created_with_a_set_of_rules,
    rules_are_added_read_and_removed,
    a_rule_shows_the_parts_of_its_text,
    the_notice_of_a_rule_is_in_its_text_or_in_a_field,
    deleting_a_policy_deletes_its_rules,
    unknown_policies_and_rules_are_not_found,
    an_invalid_rule_is_refused_with_the_message_of_cedar,
    a_set_with_one_wrong_rule_is_refused_as_a_whole,
    an_invalid_rule_in_the_database_blocks_only_its_own_tenant,
];

const PERMIT: &str = "permit(principal, action == Action::\"getUser\", resource);";
const FORBID: &str = "forbid(principal, action == Action::\"deleteUser\", resource);";

async fn a_policy_can_be_created_without_rules(aka: Aka) {
    let acme = aka.tenant().await;

    let created = acme
        .post("/v1/policies")
        .json(json!({ "name": "Contractors" }))
        .await
        .expect(201);

    assert_eq!(
        created.json,
        json!({
            "id": created["id"],
            "name": "Contractors",
            "description": null,
            "enabled": true,
            "priority": 0,
            "rules": [],
            "created_at": created["created_at"],
            "updated_at": created["created_at"],
        })
    );
    assert_eq!(
        created.header("location"),
        Some(&*format!("/v1/policies/{}", created.id()))
    );
    assert_eq!(
        acme.get(format!("/v1/policies/{}", created.id()))
            .await
            .expect(200)
            .json,
        created.json
    );
    assert_eq!(
        acme.get("/v1/policies").await.expect(200)["data"],
        json!([created.json])
    );
}

async fn a_policy_can_be_created_with_a_set_of_rules(aka: Aka) {
    let acme = aka.tenant().await;

    let created = acme
        .post("/v1/policies")
        .json(json!({
            "name": "Contractors",
            "description": "What contractors may do.",
            "enabled": false,
            "priority": -7,
            "cedar_policy_set": format!("// Two of them.\n{PERMIT}\n\n{FORBID}"),
        }))
        .await
        .expect(201);

    assert_eq!(
        (&created["description"], &created["enabled"], &created["priority"]),
        (&json!("What contractors may do."), &json!(false), &json!(-7))
    );
    let rules = created["rules"].as_array().expect("rules");
    let of_each = |member: &str| rules.iter().map(|rule| rule[member].clone()).collect::<Vec<_>>();
    assert_eq!(of_each("effect"), ["permit", "forbid"]);
    assert_eq!(of_each("ordinal"), [0, 1]);
    assert_eq!(
        acme.get(format!("/v1/policies/{}", created.id()))
            .await
            .expect(200)
            .json,
        created.json
    );
}

async fn rules_are_added_read_and_removed(aka: Aka) {
    let acme = aka.tenant().await;
    let policy = format!("/v1/policies/{}", acme.policy(0, PERMIT).await);

    let added = acme
        .post(format!("{policy}/rules"))
        .json(json!({ "policy_text": FORBID }))
        .await
        .expect(201);

    assert_eq!((&added["policy_text"], &added["ordinal"]), (&json!(FORBID), &json!(1)));
    let path = format!("{policy}/rules/{}", added.id());
    assert_eq!(added.header("location"), Some(&*path));
    assert_eq!(acme.get(&path).await.expect(200).json, added.json);
    let listed = acme.get(format!("{policy}/rules")).await.expect(200);
    assert_eq!(listed.column("policy_text"), [json!(PERMIT), json!(FORBID)]);
    assert_eq!(acme.get(&policy).await.expect(200)["rules"], listed["data"]);

    acme.delete(&path).await.expect(204);

    acme.get(&path).await.refused_as_unknown("policy_rule");
    acme.delete(&path).await.refused_as_unknown("policy_rule");
    assert_eq!(
        acme.get(format!("{policy}/rules"))
            .await
            .expect(200)
            .column("policy_text"),
        [json!(PERMIT)]
    );
}

/// The members that are derived from a rule's text.
fn derived(rule: &Value) -> Value {
    let names = [
        "effect",
        "principal_scope_type",
        "principal_entity_type",
        "principal_entity_id",
        "action_scope_type",
        "action_ids",
        "resource_scope_type",
        "resource_entity_type",
        "resource_entity_id",
    ];
    names.iter().map(|name| rule[*name].clone()).collect()
}

async fn a_rule_shows_the_parts_of_its_text(aka: Aka) {
    let acme = aka.tenant().await;
    let policy = acme
        .post("/v1/policies")
        .json(json!({ "name": "All forms" }))
        .await
        .expect(201)
        .id();
    let id = "0198c5a0-0000-7000-8000-000000000001";
    for (text, expected) in [
        (
            "permit(principal, action, resource);".to_owned(),
            json!(["permit", "any", null, null, "any", [], "any", null, null]),
        ),
        (
            format!("forbid(principal == User::\"{id}\", action == Action::\"getUser\", resource == User::\"{id}\");"),
            json!(["forbid", "eq", "User", id, "eq", ["getUser"], "eq", "User", id]),
        ),
        (
            "permit(principal in Role::\"admin\", action in Action::\"users:read\", resource is User);".to_owned(),
            json!([
                "permit",
                "in",
                "Role",
                "admin",
                "in",
                ["users:read"],
                "is",
                "User",
                null
            ]),
        ),
        (
            "permit(principal is ApiKey in Scope::\"users:read\", action in [Action::\"getUser\", \
             Action::\"suspendUser\"], resource);"
                .to_owned(),
            json!([
                "permit",
                "is_in",
                "ApiKey",
                "Scope::\"users:read\"",
                "in",
                ["getUser", "suspendUser"],
                "any",
                null,
                null
            ]),
        ),
    ] {
        let rule = acme
            .post(format!("/v1/policies/{policy}/rules"))
            .json(json!({ "policy_text": text }))
            .await;

        let rule = rule.expect(201);
        assert_eq!(rule["policy_text"], text);
        let found = derived(&rule.json);
        assert_eq!(found, expected, "{rule}");
        assert!(rule["conditions"].as_str().is_none_or(str::is_empty), "{rule}");
    }

    let when = "permit(principal, action, resource) when { principal has name } unless { principal.name == \"x\" };";
    let rule = acme
        .post(format!("/v1/policies/{policy}/rules"))
        .json(json!({ "policy_text": when }))
        .await;
    let rule = rule.expect(201);
    let conditions = rule["conditions"].as_str().unwrap_or_default();
    assert!(conditions.contains("when") && conditions.contains("unless"), "{rule}");
}

async fn the_notice_of_a_rule_is_in_its_text_or_in_a_field(aka: Aka) {
    let acme = aka.tenant().await;
    let policy = format!("/v1/policies/{}/rules", acme.policy(0, PERMIT).await);
    let annotated = format!("@notice(\"Ask IT.\")\n{FORBID}");

    let none = acme
        .post(&policy)
        .json(json!({ "policy_text": FORBID }))
        .await
        .expect(201);
    let in_text = acme
        .post(&policy)
        .json(json!({ "policy_text": annotated }))
        .await
        .expect(201);
    let beside = acme
        .post(&policy)
        .json(json!({ "policy_text": FORBID, "notice": "Ask HR." }))
        .await
        .expect(201);

    assert_eq!(none["notice"], Value::Null);
    assert_eq!(in_text["notice"], "Ask IT.");
    assert_eq!(beside["notice"], "Ask HR.");
}

async fn deleting_a_policy_deletes_its_rules(aka: Aka) {
    let acme = aka.tenant().await;
    let policy = acme.policy(0, &format!("{PERMIT}{FORBID}")).await;
    let path = format!("/v1/policies/{policy}");

    acme.delete(&path).await.expect(204);

    acme.get(&path).await.refused_as_unknown("policy");
    acme.get(format!("{path}/rules")).await.refused_as_unknown("policy");
    acme.delete(&path).await.refused_as_unknown("policy");
    assert_eq!(
        aka.rows()
            .await
            .count("policy_rules", &[("policy_id", policy.into())])
            .await,
        0
    );
}

async fn unknown_policies_and_rules_are_not_found(aka: Aka) {
    let acme = aka.tenant().await;
    let (known, other) = (acme.policy(0, PERMIT).await, acme.policy(0, FORBID).await);
    let of_other = acme
        .get(format!("/v1/policies/{other}/rules"))
        .await
        .expect(200)
        .column("id")[0]
        .clone();
    let of_other = of_other.as_str().expect("an id").to_owned();
    let unknown = Uuid::now_v7();

    acme.get(format!("/v1/policies/{unknown}"))
        .await
        .refused_as_unknown("policy");
    let rule = json!({ "policy_text": PERMIT });
    acme.post(format!("/v1/policies/{unknown}/rules"))
        .json(rule)
        .await
        .refused_as_unknown("policy");
    acme.get(format!("/v1/policies/{known}/rules/{unknown}"))
        .await
        .refused_as_unknown("policy_rule");
    acme.get(format!("/v1/policies/{known}/rules/{of_other}"))
        .await
        .refused_as_unknown("policy_rule");
    acme.delete(format!("/v1/policies/{known}/rules/{of_other}"))
        .await
        .refused_as_unknown("policy_rule");
    acme.get(format!("/v1/policies/{other}/rules/{of_other}"))
        .await
        .expect(200);
}

async fn an_invalid_rule_is_refused_with_the_message_of_cedar(aka: Aka) {
    let acme = aka.tenant().await;
    let policy = acme
        .post("/v1/policies")
        .json(json!({ "name": "Wrong" }))
        .await
        .expect(201)
        .id();
    for (text, cedar_says) in [
        ("permit(principal, action, resource", "unexpected end of input"),
        ("permit(principal, action == Action::\"eatCake\", resource);", "eatCake"),
        ("permit(principal is Robot, action, resource);", "Robot"),
        (
            "permit(principal is ApiKey, action, resource) when { principal.shoe_size > 40 };",
            "shoe_size",
        ),
        (
            "permit(principal is ApiKey, action, resource) when { principal.name > 40 };",
            "Long",
        ),
    ] {
        let rule = json!({ "policy_text": text });

        let refusal = acme.post(format!("/v1/policies/{policy}/rules")).json(rule).await;

        let refusal = refusal.refused_rule("policy_text");
        assert!(refusal.text().contains(cedar_says), "{refusal}");
    }
    assert_eq!(
        acme.get(format!("/v1/policies/{policy}/rules")).await.expect(200)["data"],
        json!([])
    );
}

async fn a_set_with_one_wrong_rule_is_refused_as_a_whole(aka: Aka) {
    let acme = aka.tenant().await;
    let set = format!("{PERMIT}\nforbid(principal, action == Action::\"eatCake\", resource);");

    let policy = json!({ "name": "Half right", "cedar_policy_set": set });
    let refusal = acme
        .post("/v1/policies")
        .json(policy)
        .await
        .refused_rule("cedar_policy_set");

    assert!(refusal.text().contains("eatCake"), "{refusal}");
    assert_eq!(acme.get("/v1/policies").await.expect(200)["data"], json!([]));
}

async fn an_invalid_rule_in_the_database_blocks_only_its_own_tenant(aka: Aka) {
    let (acme, other) = (aka.tenant().await, aka.tenant().await);
    let policy = json!({ "name": "Contractors", "cedar_policy_set": PERMIT });
    acme.post("/v1/policies").json(policy).await.expect(201);
    let database = rows::connect(aka.database_url()).await;

    // The first is no Cedar; the others are, but speak of what there is not.
    for text in [
        "permit (everybody);",
        "permit (principal, action, resource) when { principal.shoe_size > 40 };",
        "permit (principal, action == Action::\"fly\", resource);",
    ] {
        for (statement, values) in [
            (
                "UPDATE policy_rules SET policy_text = $2 WHERE tenant_id = $1",
                vec![acme.tenant().into(), text.into()],
            ),
            (
                "UPDATE tenants SET version = version + 1 WHERE id = $1",
                vec![acme.tenant().into()],
            ),
        ] {
            let statement = Statement::from_sql_and_values(database.get_database_backend(), statement, values);
            database.execute_raw(statement).await.expect("a row can be changed");
        }
        // Another version is noticed within two seconds.
        tokio::time::sleep(std::time::Duration::from_millis(2_100)).await;

        let refused = acme.get("/v1/users").await.expect(403);
        assert_eq!(refused["details"]["kind"], "error", "{text}");
        other.get("/v1/users").await.expect(200);
    }
    assert!(aka.log().contains("a stored rule cannot be parsed"));
}
