//! An identity by its id alone, and correcting what is known of its account.

use futures_util::future::join_all;

use crate::harness::{Aka, Caller, Uuid, json, on_both_stores};

on_both_stores![
    an_identity_is_read_by_its_id_alone_linked_or_not,
    what_is_sent_changes_and_what_is_absent_stays,
    null_removes_a_field,
    an_account_that_is_linked_to_nobody_can_be_corrected,
    a_correction_that_changes_nothing_leaves_no_trace,
    a_correction_is_made_only_if_the_identity_is_as_expected,
    of_two_corrections_of_one_state_one_is_made,
    a_repeated_correction_is_answered_as_the_first_time,
    policy_decides_by_the_new_values,
    a_key_bound_to_a_provider_corrects_only_accounts_there,
    correcting_an_unknown_identity_is_not_found,
];

/// An account with a profile, of a new user.
async fn account(acme: &Caller, external_id: &str) -> (Uuid, Uuid) {
    let (user, provider) = (acme.user().await, acme.provider("github").await);
    let linked = acme.post(format!("/v1/users/{user}/identities")).json(json!({
        "identity_provider_id": provider,
        "external_id": external_id,
        "external_username": "octocat",
        "external_email": "octocat@example.com",
    }));
    (linked.await.expect(201).id(), user)
}

async fn an_identity_is_read_by_its_id_alone_linked_or_not(aka: Aka) {
    let acme = aka.tenant().await;
    let (id, user) = account(&acme, "583231").await;
    let below_user = acme.get(format!("/v1/users/{user}/identities/{id}")).await.expect(200);

    let linked = acme.get(format!("/v1/identities/{id}")).await.expect(200);

    assert_eq!(linked.json, below_user.json);
    assert_eq!(linked.header("ETag"), below_user.header("ETag"));
    acme.unlink(user, id).await.expect(204);
    let unlinked = acme.get(format!("/v1/identities/{id}")).await.expect(200);
    assert_eq!((&unlinked["id"], &unlinked["user_id"]), (&json!(id), &json!(null)));
    assert_ne!(linked.header("ETag"), unlinked.header("ETag"));
    acme.get(format!("/v1/identities/{}", Uuid::now_v7()))
        .await
        .refused_as_unknown("identity");
}

async fn what_is_sent_changes_and_what_is_absent_stays(aka: Aka) {
    let acme = aka.tenant().await;
    let (id, user) = account(&acme, "583231").await;

    let corrected = acme
        .patch(format!("/v1/identities/{id}"))
        .json(json!({ "external_display_name": "The Octocat", "external_email": "cat@example.com" }))
        .await
        .expect(200);

    assert_eq!(corrected["external_display_name"], "The Octocat");
    assert_eq!(corrected["external_email"], "cat@example.com");
    assert_eq!(corrected["external_username"], "octocat");
    assert_eq!(
        (&corrected["user_id"], &corrected["linked_by"]),
        (&json!(user), &json!("manual"))
    );
    let read = acme.get(format!("/v1/identities/{id}")).await.expect(200);
    assert_eq!(read.json, corrected.json);
    assert_eq!(read.header("ETag"), corrected.header("ETag"));
}

async fn null_removes_a_field(aka: Aka) {
    let acme = aka.tenant().await;
    let (id, _) = account(&acme, "583231").await;

    let corrected = acme
        .patch(format!("/v1/identities/{id}"))
        .body(
            "application/merge-patch+json",
            json!({ "external_email": null }).to_string(),
        )
        .await
        .expect(200);

    assert_eq!(
        (&corrected["external_email"], &corrected["external_username"]),
        (&json!(null), &json!("octocat"))
    );
}

async fn an_account_that_is_linked_to_nobody_can_be_corrected(aka: Aka) {
    let acme = aka.tenant().await;
    let (id, user) = account(&acme, "583231").await;
    acme.unlink(user, id).await.expect(204);

    let corrected = acme
        .patch(format!("/v1/identities/{id}"))
        .json(json!({ "external_username": "monalisa" }))
        .await
        .expect(200);

    assert_eq!(
        (
            &corrected["external_username"],
            &corrected["user_id"],
            &corrected["user_active"]
        ),
        (&json!("monalisa"), &json!(null), &json!(null))
    );
}

async fn a_correction_that_changes_nothing_leaves_no_trace(aka: Aka) {
    let acme = aka.tenant().await;
    let (id, _) = account(&acme, "583231").await;
    let before = acme.get(format!("/v1/identities/{id}")).await.expect(200);

    for body in [json!({}), json!({ "external_username": "octocat" })] {
        let same = acme.patch(format!("/v1/identities/{id}")).json(body).await.expect(200);

        assert_eq!(same.json, before.json, "not even the time of the last change");
    }
}

async fn a_correction_is_made_only_if_the_identity_is_as_expected(aka: Aka) {
    let acme = aka.tenant().await;
    let (id, user) = account(&acme, "583231").await;
    let path = format!("/v1/identities/{id}");
    let read = acme.get(&path).await.expect(200);
    let etag = read.header("ETag").expect("an ETag");
    acme.post(format!("/v1/users/{user}/suspend"))
        .json(json!({ "active": false }))
        .await
        .expect(200);

    let late = acme
        .patch(&path)
        .header("If-Match", etag)
        .json(json!({ "external_username": "late" }));

    late.await.refused(412, "precondition_failed");
    let now = acme.get(&path).await.expect(200);
    let etag = now.header("ETag").expect("an ETag");
    acme.patch(&path)
        .header("If-Match", etag)
        .json(json!({ "external_username": "in time" }))
        .await
        .expect(200);
}

async fn of_two_corrections_of_one_state_one_is_made(aka: Aka) {
    let acme = aka.tenant().await;
    for round in 0..10 {
        let (id, _) = account(&acme, &format!("account-{round}")).await;
        let path = format!("/v1/identities/{id}");
        let read = acme.get(&path).await.expect(200);
        let etag = read.header("ETag").expect("an ETag");
        let corrections = ["one", "other"].map(|name| {
            let correction = acme.patch(&path).header("If-Match", etag);
            async move { correction.json(json!({ "external_username": name })).await.status }
        });

        let mut statuses = join_all(corrections).await;

        statuses.sort_unstable();
        assert_eq!(statuses, [200, 412], "round {round}");
    }
}

async fn a_repeated_correction_is_answered_as_the_first_time(aka: Aka) {
    let acme = aka.tenant().await;
    let (id, _) = account(&acme, "583231").await;
    let key = Uuid::now_v7().to_string();
    let correct = |name: &str| {
        acme.patch(format!("/v1/identities/{id}"))
            .header("Idempotency-Key", &key)
            .json(json!({ "external_username": name }))
    };
    let first = correct("first").await.expect(200);
    acme.patch(format!("/v1/identities/{id}"))
        .json(json!({ "external_username": "second" }))
        .await
        .expect(200);

    let again = correct("first").await.expect(200);

    assert_eq!(again.json, first.json);
    assert_eq!(again.header("Idempotent-Replayed"), Some("true"));
    let now = acme.get(format!("/v1/identities/{id}")).await.expect(200);
    assert_eq!(now["external_username"], "second");
    correct("other").await.refused(422, "idempotency_key_reused");
}

async fn policy_decides_by_the_new_values(aka: Aka) {
    let acme = aka.tenant().await;
    let (id, user) = account(&acme, "583231").await;
    let path = format!("/v1/identities/{id}");
    acme.policy(
        10,
        "@notice(\"Only addresses of example.com.\") forbid (principal, action == Action::\"updateIdentity\", resource) \
         when { context has external_email_domain && context.external_email_domain != \"example.com\" };
         forbid (principal, action == Action::\"getIdentity\", resource is User) when { !resource.active };",
    )
    .await;

    let refused = acme
        .patch(&path)
        .json(json!({ "external_email": "cat@elsewhere.example" }));

    let refused = refused.await.refused(403, "forbidden");
    assert_eq!(refused.notices(), ["Only addresses of example.com."]);
    acme.patch(&path)
        .json(json!({ "external_email": "cat@example.com" }))
        .await
        .expect(200);
    acme.get(&path).await.expect(200);
    acme.post(format!("/v1/users/{user}/suspend"))
        .json(json!({ "active": false }))
        .await
        .expect(200);
    acme.get(&path).await.refused(403, "forbidden");
    let reader = acme.limited_to(&["identities:read"]).await;
    reader
        .patch(&path)
        .json(json!({ "external_username": "x" }))
        .await
        .refused(403, "forbidden");
}

async fn a_key_bound_to_a_provider_corrects_only_accounts_there(aka: Aka) {
    let acme = aka.tenant().await;
    let (there, _) = account(&acme, "583231").await;
    let (elsewhere, _) = account(&acme, "583232").await;
    let provider = acme.get(format!("/v1/identities/{there}")).await.expect(200)["identity_provider_id"].clone();
    let key = acme.post("/v1/api-keys").json(json!({
        "name": "directory",
        "scopes": ["identities:read", "identities:write"],
        "identity_provider_id": provider,
    }));
    let key = key.await.expect(201);
    let bound = acme.with_key(key["raw_key"].as_str().expect("a key"));

    for (id, status) in [(there, 200), (elsewhere, 403), (Uuid::now_v7(), 403)] {
        let path = format!("/v1/identities/{id}");
        let correction = bound.patch(&path).json(json!({ "external_username": "monalisa" }));
        assert_eq!(correction.await.status, status, "{id}");
        assert_eq!(bound.get(&path).await.status, status, "{id}");
    }
}

async fn correcting_an_unknown_identity_is_not_found(aka: Aka) {
    let acme = aka.tenant().await;
    let other = aka.tenant().await;
    let (of_other, _) = account(&other, "583231").await;
    for id in [Uuid::now_v7(), of_other] {
        acme.patch(format!("/v1/identities/{id}"))
            .json(json!({ "external_username": "x" }))
            .await
            .refused_as_unknown("identity");
    }
}
