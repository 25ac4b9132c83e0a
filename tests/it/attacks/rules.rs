//! The cost of one tenant's rules for others: rules that are expensive to evaluate, many or large, texts that are
//! expensive to check, explanations and previews, and small changes of large policies.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use sea_orm::{ConnectionTrait as _, Statement};

use super::{Clients, Victim};
use crate::harness::{Aka, Answer, Caller, Store, Value, json, on_both_stores, rows, run};

on_both_stores![
    a_rule_that_is_too_expensive_is_refused_with_the_reason,
    rules_that_are_too_expensive_together_are_refused,
    expensive_decisions_of_a_tenant_do_not_slow_down_others,
    nothing_is_parsed_for_a_caller_without_permission,
    rejected_texts_do_not_slow_down_others,
    checking_texts_does_not_slow_down_others,
    explanations_do_not_slow_down_others,
    previews_do_not_slow_down_others,
    a_change_of_a_large_policy_writes_what_changed,
    changes_of_a_large_policy_do_not_slow_down_others,
    a_change_without_effect_writes_nothing,
    a_tenant_with_rules_over_the_limits_is_refused_immediately,
    the_rules_of_a_large_tenant_are_loaded_once_per_version,
];

/// Clients of an attacker.
const CLIENTS: usize = 4;
/// Between requests whose bodies or answers alone take much of the machine.
const PAUSE: Duration = Duration::from_millis(200);

/// A rule that takes most of what one may: patterns that nearly match at each place of the longest external id.
fn expensive_rule(number: usize) -> String {
    let pattern = "a".repeat(123);
    let like = |clause: usize| format!("context.external_id like \"*{pattern}{number:03}{clause:02}b\"");
    let clauses: Vec<String> = (0..28).map(like).collect();
    format!(
        "permit (principal, action == Action::\"lookupIdentity\", resource) when {{ {} }};\n",
        clauses.join(" || ")
    )
}

/// Many rules that no request of these tests satisfies, but which all of a user's look-ups must evaluate.
fn many_rules(number: usize) -> String {
    (0..number).fold(String::new(), |mut rules, rule| {
        let _ = writeln!(
            rules,
            "permit (principal, action == Action::\"getUser\", resource is User) when {{ resource.name like \
             \"team-{rule}-*\" && resource.email like \"*@team-{rule}.example.com\" && principal has name }};"
        );
        rules
    })
}

async fn make_policy(acme: &Caller, rules: &str) -> Answer {
    let policy = json!({ "name": "Many", "cedar_policy_set": rules });
    acme.post("/v1/policies").json(policy).await
}

async fn a_rule_that_is_too_expensive_is_refused_with_the_reason(aka: Aka) {
    let acme = aka.tenant().await;
    let (text, pattern) = ("a".repeat(8_000), "a".repeat(3_900));
    let policy = acme
        .policy(0, "permit (principal, action == Action::\"getUser\", resource);")
        .await;
    let policy = format!("/v1/policies/{policy}");
    let rules = acme.get(format!("{policy}/rules")).await.expect(200);
    let rule = format!("{policy}/rules/{}", rules["data"][0]["id"].as_str().expect("an id"));
    for condition in [
        format!("\"{text}\" like \"*{pattern}b\""),
        format!("(if true then {{ a: \"{text}\" }} else {{ a: \"\" }}).a like \"*{pattern}b\""),
        format!("principal has name && principal.name like \"*{pattern}{pattern}b\""),
    ] {
        let rule_text = format!("permit (principal, action, resource) when {{ {condition} }};");
        let set = format!("permit (principal, action, resource);\n{rule_text}");
        let single = json!({ "policy_text": rule_text });
        let conditions = json!({ "effect": "permit", "conditions": format!("when {{ {condition} }}") });
        for (refusal, field) in [
            (acme.post(format!("{policy}/rules")).json(&single).await, "policy_text"),
            (
                acme.post(format!("{policy}/rules")).json(&conditions).await,
                "conditions",
            ),
            (acme.patch(&rule).json(&single).await, "policy_text"),
            (make_policy(&acme, &set).await, "cedar_policy_set"),
            (
                acme.patch(&policy).json(json!({ "cedar_policy_set": set })).await,
                "cedar_policy_set",
            ),
            (
                acme.post("/v1/policies/preview")
                    .json(json!({ "with": [{ "cedar_policy_set": set }] }))
                    .await,
                "with[0].cedar_policy_set",
            ),
        ] {
            let refusal = refusal.refused(400, "invalid_rule");
            assert_eq!(refusal["details"]["field"], field, "{refusal}");
            let reason = refusal["details"]["reason"].as_str().expect("a reason");
            assert!(reason.contains("the limit for a rule is 1000000"), "{reason}");
            if field.ends_with("cedar_policy_set") {
                assert_eq!(refusal["details"]["line"], 2, "{refusal}");
            }
        }
    }
    // What people write is far below the limit.
    let addresses: Vec<String> = (0..450)
        .map(|number| format!("\"person-{number:03}@example.com\""))
        .collect();
    let useful = format!(
        "permit (principal is User, action, resource) when {{ [{}].contains(principal.email) || principal.email like \
         \"*@*.example.com\" }};",
        addresses.join(", ")
    );
    acme.post(format!("{policy}/rules"))
        .json(json!({ "policy_text": useful }))
        .await
        .expect(201);
}

async fn rules_that_are_too_expensive_together_are_refused(aka: Aka) {
    let acme = aka.tenant().await;
    let rules: String = (0..50).map(expensive_rule).collect();
    let made = make_policy(&acme, &rules).await.expect(201);
    let others: String = (50..100).map(expensive_rule).collect();
    make_policy(&acme, &others).await.expect(201);
    let of_cost = |refusal: Answer| {
        let refusal = refusal.refused(409, "too_many_rules");
        assert_eq!(refusal["details"]["limit"], "cost_of_tenant", "{refusal}");
        assert_eq!(refusal["details"]["max"], 100_000_000, "{refusal}");
        assert!(refusal["details"]["found"].as_u64() > Some(100_000_000), "{refusal}");
    };
    let more: String = (100..120).map(expensive_rule).collect();
    let policy = format!("/v1/policies/{}", made.id());

    of_cost(make_policy(&acme, &more).await);
    of_cost(
        acme.patch(&policy)
            .json(json!({ "cedar_policy_set": format!("{rules}{more}") }))
            .await,
    );
    of_cost(
        acme.post("/v1/policies/preview")
            .json(json!({ "with": [{ "cedar_policy_set": more }] }))
            .await,
    );

    // Rules can be exchanged for others that are as expensive.
    let exchanged = rules.replacen("a00000b\"", "a00001c\"", 1);
    acme.patch(&policy)
        .json(json!({ "cedar_policy_set": exchanged }))
        .await
        .expect(200);
}

async fn expensive_decisions_of_a_tenant_do_not_slow_down_others(aka: Aka) {
    let (attacker, bystander) = (aka.tenant().await, aka.tenant().await);
    for rules in [0..50, 50..100] {
        let rules: String = rules.map(expensive_rule).collect();
        make_policy(&attacker, &rules).await.expect(201);
    }
    let longest = "a".repeat(256);
    let (at, of_bystander) = (attacker.provider("github").await, bystander.provider("github").await);
    let victim = Victim::at(&aka).await;
    let account = longest.clone();
    let reference = Clients::new(CLIENTS, move |_| bystander.lookup(of_bystander, &account));
    let attack = Clients::new(CLIENTS, move |_| attacker.lookup(at, &longest));

    victim.is_unharmed(&reference, &attack).await;

    println!("the attacker was answered {}", attack.answers());
}

async fn nothing_is_parsed_for_a_caller_without_permission(aka: Aka) {
    let acme = aka.tenant().await;
    let secret = "permit (principal, action == Action::\"getUser\", resource) when { principal has name };";
    let policy = acme.policy(0, secret).await;
    let policy = format!("/v1/policies/{policy}");
    let rules = acme.get(format!("{policy}/rules")).await.expect(200);
    let rule = format!("{policy}/rules/{}", rules["data"][0]["id"].as_str().expect("an id"));
    let nobody = acme.limited_to(&["identities:read"]).await;
    let wrong = "this is not Cedar";
    for request in [
        nobody
            .post("/v1/policies")
            .json(json!({ "name": "x", "cedar_policy_set": wrong })),
        nobody.patch(&policy).json(json!({ "cedar_policy_set": wrong })),
        nobody
            .post(format!("{policy}/rules"))
            .json(json!({ "policy_text": wrong })),
        nobody.patch(&rule).json(json!({ "policy_text": wrong })),
        nobody
            .patch(&rule)
            .json(json!({ "policy_text": secret, "effect": "forbid" })),
        nobody.patch(&rule).json(json!({ "conditions": "wrong" })),
        nobody
            .post("/v1/policies/preview")
            .json(json!({ "with": [{ "cedar_policy_set": wrong }] })),
    ] {
        let refusal = request.await.refused(403, "forbidden");
        assert!(!refusal.text().contains("has name"), "{refusal}");
    }
    // The shape of a request needs no parsing.
    nobody
        .post("/v1/policies")
        .json(json!({ "name": "x", "cedar_policy_set": 7 }))
        .await
        .refused_input("body", "cedar_policy_set");
}

async fn rejected_texts_do_not_slow_down_others(aka: Aka) {
    let attacker = aka.tenant().await.limited_to(&["identities:read"]).await;
    let bystander = aka.tenant().await.limited_to(&["identities:read"]).await;
    let rules = many_rules(500);
    let harmless = json!({ "name": "x", "cedar_policy_set": format!("// {}", "x".repeat(rules.len())) });
    let expensive = json!({ "name": "x", "cedar_policy_set": rules });
    let victim = Victim::at(&aka).await;
    let reference = Clients::new(CLIENTS, move |_| bystander.post("/v1/policies").json(&harmless)).pausing(PAUSE);
    let attack = Clients::new(CLIENTS, move |_| attacker.post("/v1/policies").json(&expensive)).pausing(PAUSE);

    victim.is_unharmed(&reference, &attack).await;

    assert!(attack.answers().starts_with("403 x "), "{}", attack.answers());
}

async fn checking_texts_does_not_slow_down_others(aka: Aka) {
    let (attacker, bystander) = (aka.tenant().await, aka.tenant().await);
    // The last one is wrong, so that nothing is stored.
    let rules = format!(
        "{}permit (principal, action, resource) when {{ nothing }};",
        many_rules(500)
    );
    let harmless = json!({ "name": "x", "cedar_policy_set": "nothing", "description": " " });
    let expensive = json!({ "name": "x", "cedar_policy_set": rules });
    let victim = Victim::at(&aka).await;
    let reference = Clients::new(CLIENTS, move |_| bystander.post("/v1/policies").json(&harmless)).pausing(PAUSE);
    let attack = Clients::new(CLIENTS, move |_| attacker.post("/v1/policies").json(&expensive)).pausing(PAUSE);

    victim.is_unharmed(&reference, &attack).await;

    println!("the attacker was answered {}", attack.answers());
}

async fn explanations_do_not_slow_down_others(aka: Aka) {
    let (attacker, bystander) = (aka.tenant().await, aka.tenant().await);
    make_policy(&attacker, &many_rules(300)).await.expect(201);
    let user = attacker.user().await;
    let key = attacker.limited_to(&["identities:read"]).await.key_id();
    let question =
        json!({ "principal": format!("api_key:{key}"), "resource": format!("user:{user}"), "action": "getUser" });
    let victim = Victim::at(&aka).await;
    let reference = Clients::new(CLIENTS, move |_| bystander.get("/v1/users"));
    let attack = Clients::new(CLIENTS, move |_| attacker.post("/v1/policies/evaluate").json(&question));

    victim.is_unharmed(&reference, &attack).await;

    println!("the attacker was answered {}", attack.answers());
}

async fn previews_do_not_slow_down_others(aka: Aka) {
    let (attacker, bystander) = (aka.tenant().await, aka.tenant().await);
    for _ in 0..50 {
        attacker.user().await;
    }
    let change = json!({ "with": [{ "cedar_policy_set": many_rules(200) }], "last": 1_000 });
    let victim = Victim::at(&aka).await;
    let reference = Clients::new(CLIENTS, move |_| bystander.get("/v1/users"));
    let attack = Clients::new(CLIENTS, move |_| attacker.post("/v1/policies/preview").json(&change));

    victim.is_unharmed(&reference, &attack).await;

    println!("the attacker was answered {}", attack.answers());
}

/// The newest audit entry and event of a tenant.
async fn newest_records(aka: &Aka, acme: &Caller) -> (String, String) {
    let rows = aka.rows().await;
    let of_tenant = [("tenant_id", acme.tenant().into())];
    let newest = async |table: &str, column: &str| {
        let values: Vec<Value> = rows.column(table, column, &of_tenant).await;
        let ids: Vec<crate::harness::Uuid> = rows.column(table, "id", &of_tenant).await;
        let newest = ids.iter().zip(values).max_by_key(|(id, _)| **id);
        newest.expect("there is one").1.to_string()
    };
    (
        newest("audit_log_entries", "metadata").await,
        newest("outbox_events", "payload").await,
    )
}

async fn a_change_of_a_large_policy_writes_what_changed(aka: Aka) {
    let acme = aka.tenant().await;
    let made = make_policy(&acme, &many_rules(300)).await.expect(201);
    let policy = format!("/v1/policies/{}", made.id());
    let entry = |records: (String, String)| {
        assert_eq!(records.0, records.1, "the entry and the event say the same");
        records.0
    };
    assert!(!entry(newest_records(&aka, &acme).await).contains("like"), "no texts");

    acme.get("/v1/users").await.expect(200);
    let began = Instant::now();
    let changed = acme.patch(&policy).json(json!({ "priority": 1 })).await.expect(200);
    println!("a priority was changed in {:?}", began.elapsed());

    assert_eq!(changed["rules"], made["rules"]);
    let written = entry(newest_records(&aka, &acme).await);
    assert!(written.len() < 500, "{written}");
    let written: Value = serde_json::from_str(&written).expect("JSON");
    assert_eq!(written["changed"], json!({ "priority": { "before": 0, "after": 1 } }));

    // Of new rules in place of the old ones, those that are the same stay.
    let mut rules = many_rules(300);
    rules.push_str("permit (principal, action == Action::\"listUsers\", resource);");
    let rules = rules.replacen("team-7-*", "team-seven-*", 1);
    let replaced = acme
        .patch(&policy)
        .json(json!({ "cedar_policy_set": rules }))
        .await
        .expect(200);
    let id = |answer: &Answer, place: usize| answer["rules"][place]["id"].clone();
    assert_eq!(id(&replaced, 8), id(&made, 8));
    let written: Value = serde_json::from_str(&entry(newest_records(&aka, &acme).await)).expect("JSON");
    assert_eq!(written["rules_added"], json!([id(&replaced, 7), id(&replaced, 300)]));
    assert_eq!(written["rules_removed"], json!([id(&made, 7)]));
    assert_eq!(written["changed"], Value::Null);
}

async fn changes_of_a_large_policy_do_not_slow_down_others(aka: Aka) {
    let (attacker, bystander) = (aka.tenant().await, aka.tenant().await);
    let large = make_policy(&attacker, &many_rules(500)).await.expect(201).id();
    let small = make_policy(&bystander, "").await.expect(201).id();
    let change = move |caller: &Caller, policy, number: usize| {
        let change = json!({ "priority": number % 1_000 });
        caller.patch(format!("/v1/policies/{policy}")).json(change)
    };
    let victim = Victim::at(&aka).await;
    let reference = Clients::new(2, move |number| change(&bystander, small, number)).pausing(PAUSE);
    let attack = Clients::new(2, move |number| change(&attacker, large, number)).pausing(PAUSE);

    victim.is_unharmed(&reference, &attack).await;

    println!("the attacker was answered {}", attack.answers());
}

async fn a_change_without_effect_writes_nothing(aka: Aka) {
    let acme = aka.tenant().await;
    let rules = many_rules(3);
    let made = make_policy(&acme, &rules).await.expect(201);
    let policy = format!("/v1/policies/{}", made.id());
    let rule = format!("{policy}/rules/{}", made["rules"][0]["id"].as_str().expect("an id"));
    let ids = |answer: &Answer| -> Vec<Value> {
        let rules = answer["rules"].as_array().expect("rules");
        rules.iter().map(|rule| rule["id"].clone()).collect()
    };
    let database = rows::connect(aka.database_url()).await;
    let written = async || {
        let statement = "SELECT (SELECT COUNT(*) FROM audit_log_entries WHERE tenant_id = $1) \
             + (SELECT COUNT(*) FROM outbox_events WHERE tenant_id = $1) + (SELECT version FROM tenants WHERE id = $1)";
        let values = [acme.tenant().into()];
        let statement = Statement::from_sql_and_values(database.get_database_backend(), statement, values);
        let row = database
            .query_one_raw(statement)
            .await
            .expect("a query")
            .expect("a row");
        row.try_get_by_index::<i64>(0).expect("a number")
    };
    let before = written().await;

    for request in [
        acme.patch(&policy).json(json!({})),
        acme.patch(&policy)
            .json(json!({ "priority": 0, "enabled": true, "name": "Many" })),
        acme.patch(&policy).json(json!({ "cedar_policy_set": rules })),
        acme.patch(&rule)
            .json(json!({ "policy_text": made["rules"][0]["policy_text"] })),
        acme.patch(&rule).json(json!({ "effect": "permit" })),
        acme.patch(format!("{policy}/rules/reorder"))
            .json(json!({ "ids": ids(&made) })),
    ] {
        request.await.expect(200);
    }

    assert_eq!(written().await, before);
    assert_eq!(acme.get(&policy).await.expect(200).json, made.json);
}

async fn a_tenant_with_rules_over_the_limits_is_refused_immediately(aka: Aka) {
    let (acme, other) = (aka.tenant().await, aka.tenant().await);
    make_policy(&acme, &many_rules(3)).await.expect(201);
    let database = rows::connect(aka.database_url()).await;
    for statement in [
        "UPDATE policy_rules SET bytes = 10000000 WHERE tenant_id = $1",
        "UPDATE tenants SET version = version + 1 WHERE id = $1",
    ] {
        let values = [acme.tenant().into()];
        let statement = Statement::from_sql_and_values(database.get_database_backend(), statement, values);
        database.execute_raw(statement).await.expect("a row can be changed");
    }
    // Another version is noticed within two seconds.
    tokio::time::sleep(Duration::from_millis(2_100)).await;

    for _ in 0..10 {
        let refused = acme.get("/v1/users").await.refused(403, "forbidden");
        assert_eq!(refused["details"]["kind"], "error");
    }

    other.get("/v1/users").await.expect(200);
    let tenant = acme.tenant().to_string();
    let log = aka.log();
    let lines = log
        .lines()
        .filter(|line| line.contains("exceed the limits") && line.contains(&tenant));
    assert_eq!(lines.count(), 1, "it is found out once for each version");
}

async fn the_rules_of_a_large_tenant_are_loaded_once_per_version(aka: Aka) {
    let acme = aka.tenant().await;
    make_policy(&acme, &many_rules(500)).await.expect(201);
    let database = rows::connect(aka.database_url()).await;
    let statement = "UPDATE tenants SET version = version + 1 WHERE id = $1 RETURNING version";
    let statement = Statement::from_sql_and_values(database.get_database_backend(), statement, [acme.tenant().into()]);
    let row = database
        .query_one_raw(statement)
        .await
        .expect("a query")
        .expect("a row");
    let version: i64 = row.try_get_by_index(0).expect("a number");
    // Another version is noticed within two seconds.
    tokio::time::sleep(Duration::from_millis(2_100)).await;

    let mut requests = tokio::task::JoinSet::new();
    for number in 0..20 {
        let acme = acme.clone();
        requests.spawn(async move {
            let patience = Duration::from_millis(5 * number);
            // Some do not wait for the answer.
            let asked = tokio::time::timeout(patience, acme.get("/v1/users")).await;
            if asked.is_err() {
                acme.get("/v1/users").await.expect(200);
            }
        });
    }
    requests.join_all().await;

    let log = aka.log();
    let of_tenant = |line: &&str| line.contains("were loaded") && line.contains(&acme.tenant().to_string());
    let read: Vec<&str> = log.lines().filter(of_tenant).collect();
    let of_version = read
        .iter()
        .filter(|line| line.contains(&format!("\"version\":{version},")));
    assert_eq!(of_version.count(), 1, "{read:#?}");
}

#[test]
fn a_policy_just_disabled_by_another_node_can_be_previewed() {
    run(async {
        let one = Aka::alone(Store::Postgres).await;
        let other = one.second_node().await;
        let acme = one.tenant().await;
        for _ in 0..5 {
            let policy = make_policy(&acme, &many_rules(3)).await.expect(201).id();
            // The other node has the policy in memory, as one that is in force.
            acme.at(&other).get("/v1/users").await.expect(200);
            let disabled = json!({ "enabled": false });
            acme.patch(format!("/v1/policies/{policy}"))
                .json(disabled)
                .await
                .expect(200);

            let change = json!({ "with_policy_ids": [policy] });
            acme.at(&other)
                .post("/v1/policies/preview")
                .json(change)
                .await
                .expect(200);
        }
    });
}
