//! Changes of policies that nobody could undo: refused unless they are forced.

use crate::harness::{
    Aka, Answer, Caller, Store, Uuid,
    issuer::{AUDIENCE, RSA, jwks},
    json, on_both_stores, run_on, unique,
};

on_both_stores![
    a_policy_that_locks_everybody_out_is_refused,
    every_way_into_a_lockout_is_refused,
    a_lockout_can_be_forced,
    a_key_or_user_who_can_undo_the_change_prevents_a_lockout,
    keys_that_do_not_work_do_not_count,
    a_rule_that_cannot_be_evaluated_also_locks_out,
    a_replayed_request_is_answered_as_it_was,
    existence_is_checked_before_lockouts,
    two_changes_that_lock_out_together_do_not_both_pass,
];

const NOBODY: &str = "forbid (principal, action in Action::\"policies:write\", resource);";
const AUTHORS: &str =
    "permit (principal in Scope::\"policies:write\", action in Action::\"policies:write\", resource);";

fn policy(enabled: bool, priority: i32, rules: &str) -> serde_json::Value {
    json!({ "name": "Policy", "enabled": enabled, "priority": priority, "cedar_policy_set": rules })
}

async fn create(acme: &Caller, enabled: bool, priority: i32, rules: &str) -> Answer {
    acme.post("/v1/policies").json(policy(enabled, priority, rules)).await
}

/// That somebody can still change policies.
async fn is_open(acme: &Caller) {
    let open = create(acme, true, -5, AUTHORS).await.expect(201);
    acme.delete(format!("/v1/policies/{}", open.id())).await.expect(204);
}

async fn a_policy_that_locks_everybody_out_is_refused(aka: Aka) {
    let acme = aka.tenant().await;
    for (priority, rule) in [
        (7, NOBODY),
        (7, "forbid (principal, action, resource);"),
        // Below the highest priority a policy above it could permit what these forbid.
        (1_000_000, "forbid (principal is ApiKey, action, resource is Policy);"),
        (
            1_000_000,
            "forbid (principal, action in [Action::\"updatePolicy\", Action::\"deletePolicy\"], resource);",
        ),
    ] {
        let refusal = create(&acme, true, priority, rule)
            .await
            .refused(409, "policies_locked");
        assert!(refusal.text().contains("force=true"), "{refusal}");
        assert_eq!(refusal["details"]["policy_texts"], json!([rule]), "{refusal}");
        assert_eq!(refusal["details"]["kind"], "forbidden", "{refusal}");
    }
    assert!(acme.get("/v1/policies").await.expect(200).column("id").is_empty());
    // With an exception for those who manage policies it is none.
    let rule = format!(
        "{} unless {{ principal in Scope::\"policies:write\" }};",
        NOBODY.trim_end_matches(';')
    );
    create(&acme, true, 7, &rule).await.expect(201);
    is_open(&acme).await;
}

async fn every_way_into_a_lockout_is_refused(aka: Aka) {
    let acme = aka.tenant().await;
    let locked = |answer: Answer| answer.refused(409, "policies_locked");
    let permits = create(&acme, true, 9, AUTHORS).await.expect(201);
    let forbids = create(&acme, true, 5, NOBODY).await.expect(201);
    let off = create(&acme, false, 20, NOBODY).await.expect(201);
    let open = create(
        &acme,
        true,
        30,
        "permit (principal, action == Action::\"getUser\", resource);",
    )
    .await;
    let open = open.expect(201);
    let path = |policy: &Answer| format!("/v1/policies/{}", policy.id());
    let rule = |policy: &Answer| {
        format!(
            "{}/rules/{}",
            path(policy),
            policy["rules"][0]["id"].as_str().expect("an id")
        )
    };

    // Enabled, raised, made to forbid, or without what permits it.
    locked(acme.patch(path(&off)).json(json!({ "enabled": true })).await);
    locked(acme.patch(path(&forbids)).json(json!({ "priority": 10 })).await);
    locked(acme.patch(path(&permits)).json(json!({ "priority": 4 })).await);
    locked(acme.patch(path(&permits)).json(json!({ "enabled": false })).await);
    locked(
        acme.patch(path(&open))
            .json(json!({ "cedar_policy_set": NOBODY }))
            .await,
    );
    locked(
        acme.post(format!("{}/rules", path(&open)))
            .json(json!({ "policy_text": NOBODY }))
            .await,
    );
    locked(acme.patch(rule(&open)).json(json!({ "policy_text": NOBODY })).await);
    locked(acme.delete(rule(&permits)).await);
    let refusal = locked(acme.delete(path(&permits)).await);
    assert_eq!(
        refusal["details"]["matching_rule_ids"],
        json!([forbids["rules"][0]["id"]]),
        "{refusal}"
    );
    let order: Vec<Uuid> = [&open, &forbids, &permits, &off]
        .iter()
        .map(|policy| policy.id())
        .collect();
    locked(acme.patch("/v1/policies/reorder").json(json!({ "ids": order })).await);

    is_open(&acme).await;
    assert_eq!(acme.get(path(&permits)).await.expect(200)["priority"], 9);
    // What locks nobody out goes through.
    acme.patch(path(&forbids))
        .json(json!({ "priority": 6 }))
        .await
        .expect(200);
    acme.delete(path(&forbids)).await.expect(204);
    acme.delete(path(&permits)).await.expect(204);
}

async fn a_lockout_can_be_forced(aka: Aka) {
    let acme = aka.tenant().await;

    acme.post("/v1/policies?force=true")
        .json(policy(true, 7, NOBODY))
        .await
        .expect(201);

    create(&acme, true, 8, AUTHORS).await.refused(403, "forbidden");
    acme.get("/v1/policies").await.expect(200);
}

async fn a_key_or_user_who_can_undo_the_change_prevents_a_lockout(aka: Aka) {
    let acme = aka.tenant().await;
    let other = acme.limited_to(&["policies:write"]).await;
    let unable = acme.limited_to(&["users:read"]).await;
    let but = |principal: &str| {
        format!("forbid (principal, action in Action::\"policies:write\", resource) unless {{ {principal} }};")
    };
    let key = |key: &Caller| format!("principal == ApiKey::\"{}\"", key.key_id());

    // The caller themselves cannot, but another key can.
    let made = create(&acme, true, 7, &but(&key(&other))).await.expect(201);
    let path = format!("/v1/policies/{}", made.id());
    acme.delete(&path).await.refused(403, "forbidden");
    other.delete(&path).await.expect(204);
    create(&acme, true, 7, &but(&key(&unable)))
        .await
        .refused(409, "policies_locked");

    let ada = acme.user().await;
    let only_ada = but(&format!("principal == User::\"{ada}\""));
    create(&acme, true, 7, &only_ada).await.refused(409, "policies_locked");
    for (grants, status) in [("users:read", 409), ("policies:write", 201)] {
        let config = json!({
            "issuer": format!("https://{}.example.com", unique("issuer")),
            "audience": AUDIENCE,
            "jwks": jwks(&[RSA]),
            "scopes": [grants],
        });
        let provider = json!({ "name": unique("Sign-in"), "provider_type": "oidc", "config": config });
        let provider = acme
            .post("/v1/identity-providers")
            .json(provider)
            .await
            .expect(201)
            .id();
        acme.link(ada, provider, "ada").await.expect(201);
        let answer = create(&acme, true, 7, &only_ada).await;
        assert_eq!(answer.status, status, "{grants}: {answer}");
    }
}

async fn keys_that_do_not_work_do_not_count(aka: Aka) {
    let acme = aka.tenant().await;
    let slack = acme.provider("slack").await;
    let revoked = acme.limited_to(&["policies:write"]).await.key_id();
    acme.delete(format!("/v1/api-keys/{revoked}")).await.expect(204);
    let bound = json!({ "name": "bound", "scopes": ["policies:write"], "identity_provider_id": slack });
    let bound = acme.post("/v1/api-keys").json(bound).await.expect(201).id();

    for key in [revoked, bound] {
        let rule = format!(
            "forbid (principal, action in Action::\"policies:write\", resource) unless {{ principal == ApiKey::\"{key}\" }};"
        );
        create(&acme, true, 7, &rule).await.refused(409, "policies_locked");
    }
}

async fn a_rule_that_cannot_be_evaluated_also_locks_out(aka: Aka) {
    let acme = aka.tenant().await;
    let rule = "permit (principal is ApiKey, action in Action::\"policies:write\", resource) \
                when { 9223372036854775807 + (if principal.name == \"\" then 0 else 1) > 0 };";

    let refusal = create(&acme, true, 7, rule).await.refused(409, "policies_locked");

    assert_eq!(refusal["details"]["kind"], "error", "{refusal}");
}

async fn a_replayed_request_is_answered_as_it_was(aka: Aka) {
    let acme = aka.tenant().await;
    let key = Uuid::now_v7().to_string();
    let send = || {
        let request = acme.post("/v1/policies").json(policy(true, 3, NOBODY));
        request.header("idempotency-key", &key)
    };
    let above = create(&acme, true, 9, AUTHORS).await.expect(201);
    let made = send().await.expect(201);
    acme.delete(format!("/v1/policies/{}", made.id())).await.expect(204);
    acme.delete(format!("/v1/policies/{}", above.id())).await.expect(204);

    // It was carried out when it locked nobody out.
    assert_eq!(send().await.expect(201)["id"], made["id"]);
    create(&acme, true, 3, NOBODY).await.refused(409, "policies_locked");
}

async fn existence_is_checked_before_lockouts(aka: Aka) {
    let acme = aka.tenant().await;
    let nowhere = format!("/v1/policies/{}", Uuid::now_v7());

    acme.post(format!("{nowhere}/rules"))
        .json(json!({ "policy_text": NOBODY }))
        .await
        .refused_as_unknown("policy");
    let stale = acme.policy(1, AUTHORS).await;
    acme.patch(format!("/v1/policies/{stale}"))
        .header("if-match", "\"stale\"")
        .json(json!({ "cedar_policy_set": NOBODY }))
        .await
        .refused(412, "precondition_failed");
    acme.post("/v1/policies?force=yes")
        .json(policy(true, 1, AUTHORS))
        .await
        .refused_input("query", "force");
}

/// Two policies permit what a third forbids. Either can go, but not both.
async fn one_of_two_must_stay(here: &Caller, there: &Caller) {
    let first = create(here, true, 9, AUTHORS).await.expect(201).id();
    let second = create(here, true, 8, AUTHORS).await.expect(201).id();
    let third = create(here, true, 7, NOBODY).await.expect(201).id();

    let (one, other) = tokio::join!(
        here.delete(format!("/v1/policies/{first}")),
        there.delete(format!("/v1/policies/{second}")),
    );

    let mut statuses = [one.status, other.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 409], "{one}\n{other}");
    here.delete(format!("/v1/policies/{third}")).await.expect(204);
}

async fn two_changes_that_lock_out_together_do_not_both_pass(aka: Aka) {
    for _ in 0..10 {
        let acme = aka.tenant().await;
        one_of_two_must_stay(&acme, &acme).await;
    }
}

#[test]
fn two_changes_on_two_nodes_that_lock_out_together_do_not_both_pass() {
    run_on(Store::Postgres, async |aka| {
        let other_node = aka.second_node().await;
        for _ in 0..5 {
            let acme = aka.tenant().await;
            one_of_two_must_stay(&acme, &acme.at(&other_node)).await;
        }
    });
}
