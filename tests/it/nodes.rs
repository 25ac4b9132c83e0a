//! Several servers on one database: each sees the changes of the others within moments.

use std::time::Duration;

use tokio::task::JoinSet;

use crate::harness::{Aka, Answer, Caller, eventually, json, on_both_stores};

on_both_stores![
    a_change_on_one_node_is_visible_on_another,
    a_key_that_was_revoked_on_one_node_stops_working_on_the_others,
    a_forbid_that_was_added_on_one_node_applies_on_the_others,
    a_provider_that_was_disabled_on_one_node_is_disabled_on_the_others,
    a_provider_just_created_on_one_node_is_shown_correctly_by_the_others,
    two_nodes_do_not_link_one_account_twice,
];

/// How long another node may trust what it knows.
const KNOWN_WITHIN: Duration = Duration::from_secs(3);

/// Waits until the answers of a node have a status.
async fn until(status: u16, mut ask: impl AsyncFnMut() -> Answer) {
    eventually(KNOWN_WITHIN, "the other node knows", async || {
        let answer = ask().await;
        if answer.status == status { Ok(()) } else { Err(answer) }
    })
    .await;
}

async fn a_change_on_one_node_is_visible_on_another(aka: Aka) {
    let other = aka.second_node().await;
    let acme = aka.tenant().await;
    let there = acme.at(&other);
    let (user, provider) = (acme.user().await, acme.provider("github").await);

    let linked = acme.link(user, provider, "583231").await.expect(201);

    assert_eq!(there.lookup(provider, "583231").await.expect(200).json, linked.json);
    there.link(user, provider, "583231").await.expect(200);
    there.unlink(user, linked.id()).await.expect(204);
    assert!(acme.lookup(provider, "583231").await.expect(200)["user_id"].is_null());
}

async fn a_key_that_was_revoked_on_one_node_stops_working_on_the_others(aka: Aka) {
    let other = aka.second_node().await;
    let acme = aka.tenant().await;
    let bot = acme.limited_to(&["users:read"]).await;
    bot.at(&other).get("/v1/users").await.expect(200);

    acme.delete(format!("/v1/api-keys/{}", bot.key_id())).await.expect(204);

    bot.get("/v1/users").await.refused(401, "unauthenticated");
    until(401, async || bot.at(&other).get("/v1/users").await).await;
}

async fn a_forbid_that_was_added_on_one_node_applies_on_the_others(aka: Aka) {
    let other = aka.second_node().await;
    let acme = aka.tenant().await;
    let there: Caller = acme.at(&other);
    there.get("/v1/users").await.expect(200);

    let policy = acme
        .policy(0, "forbid(principal, action == Action::\"listUsers\", resource);")
        .await;
    acme.get("/v1/users").await.refused(403, "forbidden");
    until(403, async || there.get("/v1/users").await).await;

    acme.delete(format!("/v1/policies/{policy}")).await.expect(204);
    acme.get("/v1/users").await.expect(200);
    until(200, async || there.get("/v1/users").await).await;
}

async fn a_provider_that_was_disabled_on_one_node_is_disabled_on_the_others(aka: Aka) {
    let other = aka.second_node().await;
    let acme = aka.tenant().await;
    let there = acme.at(&other);
    let (user, provider) = (acme.user().await, acme.provider("github").await);
    there.link(user, provider, "583231").await.expect(201);

    acme.put(format!("/v1/identity-providers/{provider}"))
        .json(json!({ "enabled": false }))
        .await
        .expect(200);

    // The store says so, not what the node has in memory.
    there
        .link(user, provider, "583232")
        .await
        .refused(409, "identity_provider_disabled");
}

async fn a_provider_just_created_on_one_node_is_shown_correctly_by_the_others(aka: Aka) {
    let other = aka.second_node().await;
    let acme = aka.tenant().await;
    let there = acme.at(&other);
    let user = acme.user().await;
    // From here on the other node has the tenant in memory, without the provider.
    there.get("/v1/identity-providers").await.expect(200);
    let provider = json!({ "name": "GitHub of Acme", "provider_type": "github" });
    let provider = acme
        .post("/v1/identity-providers")
        .json(provider)
        .await
        .expect(201)
        .id();

    let linked = there.link(user, provider, "583231").await.expect(201);

    assert_eq!(
        (&linked["provider_name"], &linked["provider_type"]),
        (&json!("GitHub of Acme"), &json!("github"))
    );
    assert_eq!(acme.lookup(provider, "583231").await.expect(200).json, linked.json);
}

async fn two_nodes_do_not_link_one_account_twice(aka: Aka) {
    /// Enough for the batches of both nodes to meet.
    const USERS: usize = 32;
    let other = aka.second_node().await;
    let acme = aka.tenant().await;
    let provider = acme.provider("github").await;
    let mut users = Vec::new();
    for _ in 0..USERS {
        users.push(acme.user().await);
    }

    let mut calls = JoinSet::new();
    for (number, user) in users.into_iter().enumerate() {
        let node = if number % 2 == 0 { acme.clone() } else { acme.at(&other) };
        calls.spawn(node.link(user, provider, "583231").into_future());
    }
    let answers = calls.join_all().await;

    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
    for answer in answers.into_iter().filter(|answer| answer.status != 201) {
        answer.refused(409, "identity_already_linked");
    }
    let at_provider = [
        ("tenant_id", acme.tenant().into()),
        ("identity_provider_id", provider.into()),
    ];
    assert_eq!(aka.rows().await.count("identities", &at_provider).await, 1);
}
