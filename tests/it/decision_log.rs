//! The decision log: what policy refuses is recorded, in the background, and kept for a while.

use std::time::Duration;

use crate::harness::{Aka, Answer, Caller, Value, eventually, json, on_both_stores};

on_both_stores![
    a_refusal_is_in_the_log_with_its_reasons,
    a_request_that_no_rule_permits_is_in_the_log,
    a_request_that_cannot_be_evaluated_is_in_the_log,
    permitted_and_hypothetical_requests_are_not_in_the_log,
    decisions_are_listed_newest_first_and_page_by_page,
    decisions_can_be_filtered,
    decisions_can_be_filtered_by_resource_and_request,
    an_invalid_filter_is_refused,
    a_logged_decision_can_be_evaluated_again_unchanged,
    a_refusal_on_one_node_is_in_the_log_of_the_other,
    waiting_decisions_are_written_when_the_server_stops,
    a_tenant_neither_fills_nor_delays_the_log_of_another,
    the_oldest_decisions_are_deleted_when_there_are_too_many,
    erasing_a_user_erases_their_data_in_decisions,
];

/// How long a refusal may take to be in the log.
const WRITTEN_WITHIN: Duration = Duration::from_secs(5);

const COMPANY: &str = "@notice(\"Use the company's address.\") \
    forbid(principal, action == Action::\"createUserIdentity\", resource) \
    unless { context has external_email && context.external_email like \"*@example.com\" };";

/// Waits until a tenant's log has so many decisions.
async fn decisions(acme: &Caller, number: usize) -> Answer {
    eventually(WRITTEN_WITHIN, "the refusals are in the log", async || {
        let listed = acme.get("/v1/decisions").query("limit", "250").await.expect(200);
        if listed.column("id").len() == number {
            Ok(listed)
        } else {
            Err(listed)
        }
    })
    .await
}

async fn a_refusal_is_in_the_log_with_its_reasons(aka: Aka) {
    let acme = aka.tenant().await;
    let (user, github) = (acme.user().await, acme.provider("github").await);
    let policy = acme.policy(7, COMPANY).await;
    let rules = acme.get(format!("/v1/policies/{policy}/rules")).await.expect(200);
    let account = json!({
        "identity_provider_id": github, "external_id": "583231", "external_email": "octocat@elsewhere.example",
    });

    acme.post(format!("/v1/users/{user}/identities"))
        .json(account)
        .await
        .refused(403, "forbidden");

    let decision = acme.decision(&acme).await;
    let expected = json!({
        "actor_id": acme.key_id(),
        "actor_type": "api_key",
        "action": "createUserIdentity",
        "resource": format!("user:{user}"),
        "context": {
            "identity_provider": github, "external_id": "583231", "external_email": "octocat@elsewhere.example",
            "external_email_domain": "elsewhere.example",
        },
        "kind": "forbidden",
        "priority": 7,
        "matching_policy_ids": [policy],
        "matching_rule_ids": rules.column("id"),
        "notices": ["Use the company's address."],
    });
    for (name, value) in expected.as_object().expect("members") {
        assert_eq!(&decision[name.as_str()], value, "{name}\n{decision}");
    }
    assert!(
        decision["scopes"]
            .as_array()
            .is_some_and(|scopes| scopes.contains(&json!("identities:write")))
    );
    assert!(decision["policy_version"].as_i64().is_some_and(|version| version > 0));
}

async fn a_request_that_no_rule_permits_is_in_the_log(aka: Aka) {
    let acme = aka.tenant().await;
    let reader = acme.limited_to(&["users:read"]).await;

    // The second time nothing is evaluated: the answer is known.
    for _ in 0..2 {
        reader.get("/v1/policies").await.refused(403, "forbidden");
    }

    let listed = decisions(&acme, 2).await;
    for decision in listed["data"].as_array().expect("rows") {
        assert_eq!(decision["kind"], "not_permitted");
        assert_eq!(decision["action"], "listPolicies");
        assert_eq!(decision["resource"], format!("tenant:{}", acme.tenant()));
        assert_eq!(
            (&decision["priority"], &decision["context"]),
            (&Value::Null, &json!({}))
        );
        assert_eq!(decision["matching_rule_ids"], json!([]));
    }
}

async fn a_request_that_cannot_be_evaluated_is_in_the_log(aka: Aka) {
    let acme = aka.tenant().await;
    let user = acme.user().await;
    let overflow = "permit(principal, action == Action::\"getUser\", resource) \
                    when { 9223372036854775807 + (if resource.active then 1 else 0) > 0 };";
    acme.policy(0, overflow).await;

    acme.get(format!("/v1/users/{user}")).await.refused(403, "forbidden");

    assert_eq!(acme.decision(&acme).await["kind"], "error");
}

async fn permitted_and_hypothetical_requests_are_not_in_the_log(aka: Aka) {
    let acme = aka.tenant().await;
    let (ada, grace, github) = (acme.user().await, acme.user().await, acme.provider("github").await);
    let linker = acme.limited_to(&["identities:write"]).await;
    let reader = acme.limited_to(&["users:read"]).await;
    acme.link(ada, github, "583231").await.expect(201);

    // Whether the caller may look the account up is asked for the answer's sake, and is a no.
    linker
        .link(grace, github, "583231")
        .await
        .refused(409, "identity_already_linked");
    let question = json!({
        "principal": format!("api_key:{}", reader.key_id()), "action": "deleteUser", "resource": format!("user:{ada}"),
    });
    let no = acme.post("/v1/policies/evaluate").json(question).await.expect(200);
    assert_eq!(no["permitted"], false);
    reader.get(format!("/v1/users/{ada}")).await.expect(200);
    // What comes last is there, so that the others would be.
    reader.get("/v1/policies").await.expect(403);

    let listed = decisions(&acme, 1).await;
    assert_eq!(listed.column("action"), [json!("listPolicies")]);
}

async fn decisions_are_listed_newest_first_and_page_by_page(aka: Aka) {
    let acme = aka.tenant().await;
    let reader = acme.limited_to(&["users:read"]).await;
    let paths = ["/v1/policies", "/v1/api-keys", "/v1/identity-providers"];
    for path in paths.iter().cycle().take(7) {
        reader.get(*path).await.expect(403);
    }
    let all = decisions(&acme, 7).await.column("id");
    let mut sorted: Vec<String> = all.iter().map(ToString::to_string).collect();
    sorted.sort_by(|left, right| right.cmp(left));
    assert_eq!(all.iter().map(ToString::to_string).collect::<Vec<_>>(), sorted);

    let mut seen = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut request = acme.get("/v1/decisions").query("limit", "3");
        if let Some(cursor) = &cursor {
            request = request.query("cursor", cursor);
        }
        let page = request.await.expect(200);
        seen.extend(page.column("id"));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    assert_eq!(seen, all);
}

async fn decisions_can_be_filtered(aka: Aka) {
    let acme = aka.tenant().await;
    let (one, other) = (
        acme.limited_to(&["users:read"]).await,
        acme.limited_to(&["users:read"]).await,
    );
    one.get("/v1/policies").await.expect(403);
    other.get("/v1/api-keys").await.expect(403);
    acme.policy(0, "forbid(principal, action == Action::\"listUsers\", resource);")
        .await;
    decisions(&acme, 2).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    one.get("/v1/users").await.expect(403);
    let all = decisions(&acme, 3).await;
    let (ids, times) = (all.column("id"), all.column("created_at"));
    let last = times[0].as_str().expect("a time");
    let find = async |filters: &[(&str, &str)]| {
        let request = filters
            .iter()
            .fold(acme.get("/v1/decisions"), |request, (name, value)| {
                request.query(name, value)
            });
        request.await.expect(200).column("id")
    };

    let actor = one.key_id().to_string();
    assert_eq!(find(&[("actor_id", &actor)]).await, [ids[0].clone(), ids[2].clone()]);
    assert_eq!(find(&[("action", "listApiKeys")]).await, [ids[1].clone()]);
    assert_eq!(find(&[("kind", "forbidden")]).await, [ids[0].clone()]);
    assert_eq!(
        find(&[("kind", "not_permitted"), ("actor_id", &actor)]).await,
        [ids[2].clone()]
    );
    assert_eq!(find(&[("kind", "error")]).await, Vec::<Value>::new());
    assert_eq!(find(&[("from", last)]).await, [ids[0].clone()]);
    assert_eq!(find(&[("to", last)]).await, ids[1..]);
}

async fn decisions_can_be_filtered_by_resource_and_request(aka: Aka) {
    let acme = aka.tenant().await;
    let (ada, grace, github) = (acme.user().await, acme.user().await, acme.provider("github").await);
    let reader = acme.limited_to(&["policies:read"]).await;
    let mut requests = Vec::new();
    for user in [ada, grace, ada] {
        let refused = reader.link(user, github, "583231").await.refused(403, "forbidden");
        requests.push(refused.header("x-request-id").expect("an id").to_owned());
    }
    let provider = reader.get(format!("/v1/identity-providers/{github}"));
    provider
        .header("x-request-id", "the-provider")
        .await
        .refused(403, "forbidden");
    reader.get("/v1/users").await.refused(403, "forbidden");

    let all = decisions(&acme, 5).await;
    let ids = all.column("id");
    assert_eq!(
        all.column("request_id")[1..],
        ["the-provider", &*requests[2], &*requests[1], &*requests[0]]
    );
    let find = async |name: &str, value: String| acme.get("/v1/decisions").query(name, &value).await.expect(200);
    for (resource, expected) in [
        (format!("user:{ada}"), vec![ids[2].clone(), ids[4].clone()]),
        (
            format!("user:{}", grace.to_string().to_uppercase()),
            vec![ids[3].clone()],
        ),
        (format!("identity_provider:{github}"), vec![ids[1].clone()]),
        (format!("tenant:{}", acme.tenant()), vec![ids[0].clone()]),
        (format!("policy:{ada}"), vec![]),
    ] {
        assert_eq!(
            find("resource", resource.clone()).await.column("id"),
            expected,
            "{resource}"
        );
    }
    assert_eq!(
        find("request_id", "the-provider".into()).await.column("id"),
        [ids[1].clone()]
    );
    assert_eq!(
        find("request_id", requests[1].clone()).await.column("id"),
        [ids[3].clone()]
    );

    // Filters go together, and with pages.
    let page = |cursor: Option<String>| {
        let request = acme
            .get("/v1/decisions")
            .query("limit", "1")
            .query("action", "createUserIdentity");
        let request = request.query("resource", &format!("user:{ada}"));
        cursor
            .into_iter()
            .fold(request, |request, cursor| request.query("cursor", &cursor))
    };
    let first = page(None).await.expect(200);
    let cursor = first["next_cursor"].as_str().map(str::to_owned);
    let second = page(cursor).await.expect(200);
    assert_eq!(
        [first.column("id"), second.column("id")].concat(),
        [ids[2].clone(), ids[4].clone()]
    );
    assert_eq!(second["has_more"], false);
}

async fn an_invalid_filter_is_refused(aka: Aka) {
    let acme = aka.tenant().await;
    for (name, value) in [
        ("action", "eatCake"),
        ("action", ""),
        ("actor_id", ""),
        ("actor_id", "a\u{0}b"),
        ("kind", "permitted"),
        ("resource", "user"),
        ("resource", "cake:018f2a4e-7c3b-7e21-9d55-0c4f8b1a2d3e"),
        ("resource", "user:ada@example.com"),
        ("request_id", ""),
        ("request_id", "a b"),
        ("from", "yesterday"),
        ("to", "2026-13-01T00:00:00Z"),
    ] {
        acme.get("/v1/decisions")
            .query(name, value)
            .await
            .refused_input("query", name);
    }
    acme.get(format!("/v1/decisions/{}", acme.key_id()))
        .await
        .refused_as_unknown("decision");
}

async fn a_logged_decision_can_be_evaluated_again_unchanged(aka: Aka) {
    let acme = aka.tenant().await;
    let (user, github) = (acme.user().await, acme.provider("github").await);
    acme.policy(0, COMPANY).await;
    acme.link(user, github, "583231").await.expect(403);
    let decision = acme.decision(&acme).await;

    let question = json!({
        "principal": format!("api_key:{}", decision["actor_id"].as_str().expect("an id")),
        "action": decision["action"],
        "resource": decision["resource"],
        "context": decision["context"],
    });
    let again = acme.post("/v1/policies/evaluate").json(question).await.expect(200);

    for member in [
        "kind",
        "matching_rule_ids",
        "matching_policy_ids",
        "notices",
        "priority",
    ] {
        assert_eq!(again[member], decision[member], "{member}\n{decision}\n{again}");
    }
}

async fn a_refusal_on_one_node_is_in_the_log_of_the_other(aka: Aka) {
    let other = aka.second_node().await;
    let acme = aka.tenant().await;
    let reader = acme.limited_to(&["users:read"]).await;

    reader.at(&other).get("/v1/policies").await.expect(403);
    reader.get("/v1/api-keys").await.expect(403);

    let mut actions = decisions(&acme, 2).await.column("action");
    actions.sort_by_key(ToString::to_string);
    assert_eq!(actions, [json!("listApiKeys"), json!("listPolicies")]);
}

async fn waiting_decisions_are_written_when_the_server_stops(shared: Aka) {
    let node = shared.second_node().await;
    let acme = shared.tenant().await;
    let reader = acme.limited_to(&["users:read"]).await;

    for _ in 0..20 {
        reader.at(&node).get("/v1/policies").await.expect(403);
    }
    node.stop();

    let listed = acme.get("/v1/decisions").await.expect(200);
    assert_eq!(listed.column("id").len(), 20, "{listed}");
}

async fn a_tenant_neither_fills_nor_delays_the_log_of_another(aka: Aka) {
    /// More than may wait for a tenant.
    const REFUSALS: usize = 400;
    let (loud, quiet) = (aka.tenant().await, aka.tenant().await);
    let noise = loud.limited_to(&["users:read"]).await;
    let reader = quiet.limited_to(&["users:read"]).await;

    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..REFUSALS {
        calls.spawn(noise.get("/v1/policies").into_future());
    }
    reader.get("/v1/policies").await.expect(403);
    let user = quiet.user().await;
    quiet.get(format!("/v1/users/{user}")).await.expect(200);
    for answer in calls.join_all().await {
        answer.refused(403, "forbidden");
    }

    decisions(&quiet, 1).await;
    let kept = aka
        .rows()
        .await
        .count("decisions", &[("tenant_id", loud.tenant().into())])
        .await;
    assert!((1..=REFUSALS).contains(&kept), "{kept}");
}

async fn the_oldest_decisions_are_deleted_when_there_are_too_many(aka: Aka) {
    /// What is kept.
    const KEPT: usize = 10_000;
    let (acme, other) = (aka.tenant().await, aka.tenant().await);
    let reader = acme.limited_to(&["users:read"]).await;
    for tenant in [&acme, &other] {
        let reader = tenant.limited_to(&["users:read"]).await;
        reader.get("/v1/policies").await.expect(403);
        decisions(tenant, 1).await;
    }
    let rows = aka.rows().await;
    rows.multiply("decisions", acme.tenant(), KEPT + 50).await;

    reader.get("/v1/api-keys").await.expect(403);
    acme.decision(&reader).await;

    assert_eq!(
        rows.count("decisions", &[("tenant_id", acme.tenant().into())]).await,
        KEPT
    );
    let newest = acme.get("/v1/decisions").query("limit", "2").await.expect(200);
    assert_eq!(newest.column("action"), [json!("listApiKeys"), json!("listPolicies")]);
    decisions(&other, 1).await;
}

async fn erasing_a_user_erases_their_data_in_decisions(aka: Aka) {
    let acme = aka.tenant().await;
    let github = acme.provider("github").await;
    let rules = format!(
        "{COMPANY} forbid(principal, action == Action::\"createUser\", resource) when {{ context.roles.contains(\"admin\") }};"
    );
    acme.policy(0, &rules).await;
    let ada = json!({ "email": "Ada.Lovelace@example.com", "name": "Ada Lovelace" });
    let mut admin = ada.clone();
    admin["roles"] = json!(["admin"]);
    acme.post("/v1/users").json(admin).await.expect(403);
    let user = acme.post("/v1/users").json(ada).await.expect(201).id();
    let account = json!({
        "identity_provider_id": github, "external_id": "1", "external_email": "lovelace@elsewhere.example",
    });
    acme.post(format!("/v1/users/{user}/identities"))
        .json(&account)
        .await
        .expect(403);
    decisions(&acme, 2).await;

    acme.post(format!("/v1/users/{user}/identities"))
        .json(&account)
        .await
        .expect(403);
    acme.delete(format!("/v1/users/{user}")).await.expect(204);

    // What waited when the user was erased is written without what it saw of them, and what comes later after it.
    let reader = acme.limited_to(&["users:read"]).await;
    reader.get("/v1/policies").await.expect(403);
    acme.decision(&reader).await;
    let listed = acme.get("/v1/decisions").await.expect(200);
    assert!(!listed.text().to_lowercase().contains("lovelace"), "{listed}");
    assert!(!listed.column("action").contains(&json!("createUser")), "{listed}");
}
