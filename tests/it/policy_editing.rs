//! Changing policies and rules: by text and by parts, reordering, and concurrent changes.

use crate::harness::{Aka, Caller, Uuid, Value, json, on_both_stores};

on_both_stores![
    only_the_given_fields_of_a_policy_change,
    a_disabled_policy_does_not_apply,
    all_rules_are_replaced_or_none,
    an_export_can_be_imported,
    a_rule_can_be_given_by_its_parts,
    parts_that_contradict_the_text_are_refused,
    parts_that_do_not_go_together_are_refused,
    conditions_cannot_contain_a_second_statement,
    a_rule_can_be_changed_by_its_parts,
    rules_can_be_reordered,
    policies_can_be_reordered,
    a_new_order_must_contain_each_id_once,
    a_change_based_on_an_outdated_version_is_refused,
    an_if_match_must_be_an_etag,
    a_rule_that_cedar_warns_about_is_stored_with_the_warning,
];

const PERMIT: &str = "permit(principal, action == Action::\"getUser\", resource);";
const FORBID: &str = "forbid(principal, action == Action::\"getUser\", resource);";
const OTHER: &str = "forbid(principal, action == Action::\"deleteUser\", resource);";

async fn policy(acme: &Caller, rules: &str) -> String {
    format!("/v1/policies/{}", acme.policy(0, rules).await)
}

async fn only_the_given_fields_of_a_policy_change(aka: Aka) {
    let acme = aka.tenant().await;
    let policy = policy(&acme, PERMIT).await;
    let before = acme.get(&policy).await.expect(200);

    let named = json!({ "description": "What it is for.", "priority": 7 });
    let changed = acme.patch(&policy).json(named).await.expect(200);

    assert_eq!(
        (&changed["description"], &changed["priority"], &changed["name"]),
        (&json!("What it is for."), &json!(7), &before["name"])
    );
    assert_eq!(changed["rules"], before["rules"]);
    assert_ne!(changed.header("etag"), before.header("etag"));
    assert_eq!(acme.get(&policy).await.expect(200).json, changed.json);
    let cleared = acme
        .patch(&policy)
        .json(json!({ "description": null }))
        .await
        .expect(200);
    assert_eq!(cleared["description"], Value::Null);
    let same = acme.patch(&policy).json(json!({})).await.expect(200);
    assert_eq!(same.json, cleared.json, "nothing is changed by nothing");
    acme.patch(format!("/v1/policies/{}", Uuid::now_v7()))
        .json(json!({ "priority": 1 }))
        .await
        .refused_as_unknown("policy");
}

async fn a_disabled_policy_does_not_apply(aka: Aka) {
    let acme = aka.tenant().await;
    let user = format!("/v1/users/{}", acme.user().await);
    let policy = policy(&acme, FORBID).await;
    acme.get(&user).await.refused(403, "forbidden");

    acme.patch(&policy).json(json!({ "enabled": false })).await.expect(200);
    acme.get(&user).await.expect(200);

    acme.patch(&policy).json(json!({ "enabled": true })).await.expect(200);
    acme.get(&user).await.refused(403, "forbidden");
}

async fn all_rules_are_replaced_or_none(aka: Aka) {
    let acme = aka.tenant().await;
    let policy = policy(&acme, PERMIT).await;

    let wrong = json!({ "cedar_policy_set": format!("{FORBID} permit(principal is Robot, action, resource);") });
    acme.patch(&policy).json(wrong).await.refused_rule("cedar_policy_set");
    let texts = |policy: &Value| {
        let rules = policy["rules"].as_array().expect("rules");
        rules.iter().map(|rule| rule["policy_text"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(texts(&acme.get(&policy).await.expect(200).json), [PERMIT]);

    let right = json!({ "cedar_policy_set": format!("{FORBID}\n{OTHER}") });
    let changed = acme.patch(&policy).json(right).await.expect(200);
    assert_eq!(texts(&changed.json), [FORBID, OTHER]);
}

async fn an_export_can_be_imported(aka: Aka) {
    let acme = aka.tenant().await;
    let policy = policy(&acme, &format!("{PERMIT}{OTHER}")).await;
    let rule = json!({ "policy_text": FORBID, "notice": "Ask \"IT\"." });
    acme.post(format!("{policy}/rules")).json(rule).await.expect(201);

    let exported = acme.get(format!("{policy}/export")).await.expect(200);
    let again = json!({ "name": "Again", "cedar_policy_set": exported["cedar_policy_set"] });
    let imported = acme.post("/v1/policies").json(again).await.expect(201);

    let rules = imported["rules"].as_array().expect("rules");
    let effects: Vec<&Value> = rules.iter().map(|rule| &rule["effect"]).collect();
    assert_eq!(effects, ["permit", "forbid", "forbid"]);
    assert_eq!(rules[2]["notice"], "Ask \"IT\".");
}

async fn a_rule_can_be_given_by_its_parts(aka: Aka) {
    let acme = aka.tenant().await;
    // Not in force: some of these rules would forbid the next ones.
    let off = acme
        .post("/v1/policies")
        .json(json!({ "name": "Off", "enabled": false }))
        .await
        .expect(201);
    let rules = format!("/v1/policies/{}/rules", off.id());
    for parts in [
        json!({ "effect": "forbid" }),
        json!({ "effect": "permit", "principal_scope_type": "is", "principal_entity_type": "ApiKey" }),
        json!({
            "effect": "forbid",
            "principal_scope_type": "in",
            "principal_entity_type": "Role",
            "principal_entity_id": "on \"call\"",
            "action_scope_type": "eq",
            "action_ids": ["getUser"],
            "resource_scope_type": "eq",
            "resource_entity_type": "User",
            "resource_entity_id": "0198c5a0-0000-7000-8000-000000000001",
            "conditions": "when { principal has name }\nunless { 1 == 2 }",
        }),
        json!({
            "effect": "permit",
            "principal_scope_type": "is_in",
            "principal_entity_type": "ApiKey",
            "principal_entity_id": "Scope::\"users:read\"",
            "action_scope_type": "in",
            "action_ids": ["getUser", "users:write"],
            "notice": "By its parts.",
        }),
    ] {
        let made = acme.post(&rules).json(&parts).await.expect(201);

        for (name, value) in parts.as_object().expect("an object") {
            assert_eq!(&made[name.as_str()], value, "{made}");
        }
        // The text says the same.
        let text = json!({ "policy_text": made["policy_text"], "notice": made["notice"] });
        let again = acme.post(&rules).json(text).await.expect(201);
        for name in [
            "effect",
            "principal_entity_id",
            "action_ids",
            "resource_entity_type",
            "conditions",
        ] {
            assert_eq!(again[name], made[name], "{again}");
        }
    }
}

async fn parts_that_contradict_the_text_are_refused(aka: Aka) {
    let acme = aka.tenant().await;
    let rules = format!("{}/rules", policy(&acme, PERMIT).await);

    let agreeing =
        json!({ "policy_text": PERMIT, "effect": "permit", "action_scope_type": "eq", "action_ids": ["getUser"] });
    acme.post(&rules).json(agreeing).await.expect(201);
    for contradicting in [
        json!({ "policy_text": PERMIT, "effect": "forbid" }),
        json!({ "policy_text": PERMIT, "action_scope_type": "any" }),
        json!({ "policy_text": PERMIT, "conditions": "when { true }" }),
    ] {
        acme.post(&rules)
            .json(contradicting)
            .await
            .refused_input("body", "policy_text");
    }
}

async fn parts_that_do_not_go_together_are_refused(aka: Aka) {
    let acme = aka.tenant().await;
    let rules = format!("{}/rules", policy(&acme, PERMIT).await);
    for (parts, named) in [
        (json!({}), "policy_text"),
        (json!({ "action_ids": ["getUser"] }), "effect"),
        (
            json!({ "effect": "permit", "principal_scope_type": "eq" }),
            "principal_entity_id",
        ),
        (
            json!({ "effect": "permit", "principal_scope_type": "eq", "principal_entity_id": "x" }),
            "principal_entity_type",
        ),
        (
            json!({ "effect": "permit", "resource_scope_type": "any", "resource_entity_type": "User" }),
            "resource_entity_type",
        ),
        (
            json!({ "effect": "permit", "principal_entity_type": "User" }),
            "principal_scope_type",
        ),
        (
            json!({ "effect": "permit", "principal_scope_type": "is", "principal_entity_type": "no type" }),
            "principal_entity_type",
        ),
        (
            json!({ "effect": "permit", "principal_scope_type": "is_in", "principal_entity_type": "ApiKey", "principal_entity_id": "users:read" }),
            "principal_entity_id",
        ),
        (
            json!({ "effect": "permit", "action_scope_type": "eq", "action_ids": ["getUser", "deleteUser"] }),
            "action_ids",
        ),
        (
            json!({ "effect": "permit", "action_scope_type": "in", "action_ids": [] }),
            "action_ids",
        ),
    ] {
        acme.post(&rules).json(parts).await.refused_input("body", named);
    }
    let unknown = json!({ "effect": "permit", "action_scope_type": "eq", "action_ids": ["eatCake"] });
    acme.post(&rules).json(unknown).await.refused_rule("conditions");
}

async fn conditions_cannot_contain_a_second_statement(aka: Aka) {
    let acme = aka.tenant().await;
    let rules = format!("{}/rules", policy(&acme, PERMIT).await);
    for conditions in [
        "when { true }; permit(principal, action, resource)",
        "; permit(principal, action, resource)",
        ")",
    ] {
        let parts = json!({ "effect": "forbid", "action_scope_type": "eq", "action_ids": ["getUser"], "conditions": conditions });
        let answer = acme.post(&rules).json(parts).await;
        assert_eq!(answer.status, 400, "{answer}");
    }
    assert_eq!(
        acme.get(&rules).await.expect(200).column("policy_text"),
        [json!(PERMIT)]
    );
    // A comment at their end does not swallow the end of the statement.
    let parts = json!({ "effect": "forbid", "action_scope_type": "eq", "action_ids": ["getUser"], "conditions": "when { true } // always" });
    let rule = acme.post(&rules).json(parts).await.expect(201);
    assert_eq!(rule.json["conditions"], "when { true } // always", "{rule}");
}

async fn a_rule_can_be_changed_by_its_parts(aka: Aka) {
    let acme = aka.tenant().await;
    let text = "@notice(\"Ask IT.\")\nforbid(principal is ApiKey, action == Action::\"getUser\", resource) when { principal.name == \"x\" };";
    let rules = format!("{}/rules", policy(&acme, text).await);
    let id = acme.get(&rules).await.expect(200).json["data"][0]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let rule = format!("{rules}/{id}");

    let changed = acme.patch(&rule).json(json!({ "effect": "permit" })).await.expect(200);
    assert_eq!(
        (
            &changed["effect"],
            &changed["principal_entity_type"],
            &changed["notice"]
        ),
        (&json!("permit"), &json!("ApiKey"), &json!("Ask IT."))
    );
    assert!(
        changed["conditions"]
            .as_str()
            .is_some_and(|text| text.contains("principal.name")),
        "{changed}"
    );

    let changed = acme
        .patch(&rule)
        .json(json!({ "conditions": null, "notice": "Ask HR." }))
        .await
        .expect(200);
    assert_eq!(
        (&changed["conditions"], &changed["notice"]),
        (&Value::Null, &json!("Ask HR."))
    );
    let changed = acme
        .patch(&rule)
        .json(json!({ "policy_text": OTHER, "notice": null }))
        .await
        .expect(200);
    assert_eq!(
        (&changed["policy_text"], &changed["notice"]),
        (&json!(OTHER), &Value::Null)
    );
    assert_eq!(acme.get(&rule).await.expect(200).json, changed.json);
}

fn ids(values: &Value) -> Vec<String> {
    let values = values.as_array().expect("a list");
    values
        .iter()
        .map(|value| value["id"].as_str().expect("an id").to_owned())
        .collect()
}

async fn rules_can_be_reordered(aka: Aka) {
    let acme = aka.tenant().await;
    let policy = policy(&acme, &format!("{PERMIT}{FORBID}{OTHER}")).await;
    let mut wanted = ids(&acme.get(&policy).await.expect(200)["rules"]);
    wanted.rotate_left(1);

    let reorder = format!("{policy}/rules/reorder");
    let ordered = acme.patch(&reorder).json(json!({ "ids": wanted })).await.expect(200);

    assert_eq!(ids(&ordered["rules"]), wanted);
    let listed = acme.get(format!("{policy}/rules")).await.expect(200);
    assert_eq!(ids(&listed["data"]), wanted);
    assert_eq!(listed.column("ordinal"), [json!(0), json!(1), json!(2)]);
}

async fn policies_can_be_reordered(aka: Aka) {
    let acme = aka.tenant().await;
    let user = format!("/v1/users/{}", acme.user().await);
    let (permit, forbid) = (acme.policy(5, PERMIT).await, acme.policy(5, FORBID).await);
    acme.get(&user).await.refused(403, "forbidden");

    acme.patch("/v1/policies/reorder")
        .json(json!({ "ids": [permit, forbid] }))
        .await
        .expect(204);
    acme.get(&user).await.expect(200);

    acme.patch("/v1/policies/reorder")
        .json(json!({ "ids": [forbid, permit] }))
        .await
        .expect(204);
    acme.get(&user).await.refused(403, "forbidden");
}

async fn a_new_order_must_contain_each_id_once(aka: Aka) {
    let acme = aka.tenant().await;
    let (one, other) = (
        acme.policy(0, &format!("{PERMIT}{OTHER}")).await,
        acme.policy(0, FORBID).await,
    );
    let of_one = ids(&acme.get(format!("/v1/policies/{one}")).await.expect(200)["rules"]);
    let of_other = ids(&acme.get(format!("/v1/policies/{other}")).await.expect(200)["rules"]);
    for wrong in [
        json!([]),
        json!([of_one[0]]),
        json!([of_one[0], of_one[0]]),
        json!([of_one[0], of_one[1], of_other[0]]),
        json!([of_one[0], Uuid::now_v7()]),
    ] {
        let reorder = acme.patch(format!("/v1/policies/{one}/rules/reorder"));
        reorder.json(json!({ "ids": wrong })).await.refused_input("body", "ids");
    }
    for wrong in [
        json!([]),
        json!([one]),
        json!([one, one]),
        json!([one, other, Uuid::now_v7()]),
    ] {
        let reorder = acme.patch("/v1/policies/reorder").json(json!({ "ids": wrong }));
        reorder.await.refused_input("body", "ids");
    }
}

async fn a_change_based_on_an_outdated_version_is_refused(aka: Aka) {
    let acme = aka.tenant().await;
    let policy = policy(&acme, PERMIT).await;
    let read = acme.get(&policy).await.expect(200);
    let etag = read.header("etag").expect("an ETag").to_owned();
    let rules = format!("{policy}/rules");
    let rule = format!("{rules}/{}", read["rules"][0]["id"].as_str().expect("an id"));
    let rule_etag = acme
        .get(&rule)
        .await
        .expect(200)
        .header("etag")
        .expect("an ETag")
        .to_owned();

    // Another administrator is faster.
    acme.patch(&rule)
        .header("if-match", &rule_etag)
        .json(json!({ "policy_text": FORBID }))
        .await
        .expect(200);

    let late = acme
        .patch(&policy)
        .header("if-match", &etag)
        .json(json!({ "enabled": false }))
        .await;
    late.refused(412, "precondition_failed");
    let late = acme
        .patch(&rule)
        .header("if-match", &rule_etag)
        .json(json!({ "policy_text": OTHER }))
        .await;
    late.refused(412, "precondition_failed");
    acme.delete(&rule)
        .header("if-match", &rule_etag)
        .await
        .refused(412, "precondition_failed");
    acme.delete(&policy)
        .header("if-match", &etag)
        .await
        .refused(412, "precondition_failed");
    let reorder = acme.patch(format!("{rules}/reorder")).header("if-match", &etag);
    reorder
        .json(json!({ "ids": ids(&read["rules"]) }))
        .await
        .refused(412, "precondition_failed");
    assert_eq!(acme.get(&rule).await.expect(200)["policy_text"], FORBID);

    let now = acme
        .get(&policy)
        .await
        .expect(200)
        .header("etag")
        .expect("an ETag")
        .to_owned();
    let either = format!("{etag}, {now}");
    acme.patch(&policy)
        .header("if-match", &either)
        .json(json!({ "priority": 3 }))
        .await
        .expect(200);
    acme.delete(&policy).header("if-match", "*").await.expect(204);
}

async fn an_if_match_must_be_an_etag(aka: Aka) {
    let acme = aka.tenant().await;
    let policy = policy(&acme, PERMIT).await;
    for wrong in ["abc", "\"abc", "", "1, 2"] {
        let change = acme
            .patch(&policy)
            .header("if-match", wrong)
            .json(json!({ "priority": 3 }));
        change.await.refused_input("header", "If-Match");
    }
    let weak = acme
        .patch(&policy)
        .header("if-match", "W/\"abc\"")
        .json(json!({ "priority": 3 }));
    weak.await.refused(412, "precondition_failed");
}

async fn a_rule_that_cedar_warns_about_is_stored_with_the_warning(aka: Aka) {
    /// It can never apply: no principal is of both types.
    const IMPOSSIBLE: &str = "permit(principal, action == Action::\"getUser\", resource)\nwhen { principal is User && principal is ApiKey };";
    /// The second letter is Cyrillic.
    const CONFUSABLE: &str =
        "forbid(principal, action == Action::\"getUser\", resource)\nwhen { resource.name == \"A\u{501}a\" };";
    let acme = aka.tenant().await;
    let told = |rule: &Value, what: &str| {
        let warnings = rule["warnings"].as_array().cloned().unwrap_or_default();
        assert_eq!(warnings.len(), 1, "{rule}");
        let message = warnings[0]["message"].as_str().unwrap_or_default().to_owned();
        assert!(message.contains(what) && !message.contains("policy0"), "{message}");
        warnings[0].clone()
    };

    let policy = json!({ "name": "Odd", "cedar_policy_set": format!("{PERMIT}\n{IMPOSSIBLE}") });
    let made = acme.post("/v1/policies").json(policy).await.expect(201);
    assert_eq!(made["rules"][0]["warnings"], json!([]), "{made}");
    told(&made["rules"][1], "impossible");
    let path = format!("/v1/policies/{}", made.id());
    let changed = json!({ "cedar_policy_set": CONFUSABLE });
    let changed = acme.patch(&path).json(changed).await.expect(200);
    let warning = told(&changed["rules"][0], "mixed scripts");
    assert!(warning["line"].is_i64() && warning["column"].is_i64(), "{warning}");

    let rules = format!("{path}/rules");
    let added = acme
        .post(&rules)
        .json(json!({ "policy_text": IMPOSSIBLE }))
        .await
        .expect(201);
    told(&added.json, "impossible");
    let rule = format!("{rules}/{}", added.id());
    let mended = acme
        .patch(&rule)
        .json(json!({ "policy_text": PERMIT }))
        .await
        .expect(200);
    assert_eq!(mended["warnings"], json!([]));
    let conditions = json!({ "conditions": "when { resource.name == \"A\u{501}a\" }" });
    let changed = acme.patch(&rule).json(conditions).await.expect(200);
    told(&changed.json, "mixed scripts");
    assert_eq!(acme.get(&rule).await.expect(200).json, changed.json);
}
