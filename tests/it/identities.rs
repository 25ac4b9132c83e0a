//! The identities of a user: reading, listing, unlinking, and looking up accounts.

use crate::harness::{Aka, Uuid, json, on_both_stores};

on_both_stores![
    an_identity_can_be_read_by_its_id,
    an_identity_is_read_only_below_its_own_user,
    the_identities_of_a_user_are_listed_oldest_first,
    a_user_without_accounts_has_an_empty_list,
    listing_the_identities_of_an_unknown_user_is_not_found,
    an_account_is_looked_up_by_provider_and_external_id,
    looking_up_an_unknown_account_is_not_found,
    an_unlinked_account_is_still_known,
    unlinking_twice_is_not_found,
    unlinking_below_another_user_is_not_found_and_changes_nothing,
    an_account_that_was_unlinked_and_linked_again_is_listed_once,
    identities_show_the_current_name_of_their_provider,
];

async fn an_identity_can_be_read_by_its_id(aka: Aka) {
    let acme = aka.tenant().await;
    let (user, provider) = (acme.user().await, acme.provider("github").await);
    let linked = acme.link(user, provider, "583231").await.expect(201);

    let read = acme
        .get(format!("/v1/users/{user}/identities/{}", linked.id()))
        .await
        .expect(200);

    assert_eq!(read.json, linked.json);
    acme.get(format!("/v1/users/{user}/identities/{}", Uuid::now_v7()))
        .await
        .refused_as_unknown("identity");
}

async fn an_identity_is_read_only_below_its_own_user(aka: Aka) {
    let acme = aka.tenant().await;
    let (ada, grace, provider) = (acme.user().await, acme.user().await, acme.provider("github").await);
    let of_ada = acme.link(ada, provider, "583231").await.expect(201).id();

    acme.get(format!("/v1/users/{grace}/identities/{of_ada}"))
        .await
        .refused_as_unknown("identity");
}

async fn the_identities_of_a_user_are_listed_oldest_first(aka: Aka) {
    let acme = aka.tenant().await;
    let (ada, grace) = (acme.user().await, acme.user().await);
    let (github, slack) = (acme.provider("github").await, acme.provider("slack").await);
    let at_slack = acme.link(ada, slack, "U1").await.expect(201);
    let at_github = acme.link(ada, github, "1").await.expect(201);
    acme.link(grace, github, "2").await.expect(201);

    let listed = acme.get(format!("/v1/users/{ada}/identities")).await.expect(200);

    assert_eq!(
        listed.json,
        json!({ "data": [at_slack.json, at_github.json], "next_cursor": null, "has_more": false })
    );
}

async fn a_user_without_accounts_has_an_empty_list(aka: Aka) {
    let acme = aka.tenant().await;
    let user = acme.user().await;

    let listed = acme.get(format!("/v1/users/{user}/identities")).await.expect(200);

    assert_eq!(
        listed.json,
        json!({ "data": [], "next_cursor": null, "has_more": false })
    );
}

async fn listing_the_identities_of_an_unknown_user_is_not_found(aka: Aka) {
    let acme = aka.tenant().await;

    acme.get(format!("/v1/users/{}/identities", Uuid::now_v7()))
        .await
        .refused_as_unknown("user");
}

async fn an_account_is_looked_up_by_provider_and_external_id(aka: Aka) {
    let acme = aka.tenant().await;
    let (user, provider) = (acme.user().await, acme.provider("pagerduty").await);
    let linked = acme.link(user, provider, "PXPGF42").await.expect(201);

    let found = acme.lookup(provider, "PXPGF42").await.expect(200);

    assert_eq!(found.json, linked.json);
}

async fn looking_up_an_unknown_account_is_not_found(aka: Aka) {
    let acme = aka.tenant().await;
    let (user, provider, other) = (
        acme.user().await,
        acme.provider("okta").await,
        acme.provider("okta").await,
    );
    acme.link(user, provider, "00u1").await.expect(201);

    acme.lookup(provider, "00u2").await.refused_as_unknown("identity");
    acme.lookup(other, "00u1").await.refused_as_unknown("identity");
    acme.lookup(Uuid::now_v7(), "00u1").await.expect(404);
}

async fn an_unlinked_account_is_still_known(aka: Aka) {
    let acme = aka.tenant().await;
    let (user, provider) = (acme.user().await, acme.provider("github").await);
    let linked = acme.link(user, provider, "583231").await.expect(201);

    acme.unlink(user, linked.id()).await.expect(204);

    let known = acme.lookup(provider, "583231").await.expect(200);
    assert_eq!(known.id(), linked.id());
    assert!(known["user_id"].is_null(), "{known}");
    let listed = acme.get(format!("/v1/users/{user}/identities")).await.expect(200);
    assert_eq!(listed["data"], json!([]));
    acme.get(format!("/v1/users/{user}/identities/{}", linked.id()))
        .await
        .refused_as_unknown("identity");
}

async fn unlinking_twice_is_not_found(aka: Aka) {
    let acme = aka.tenant().await;
    let (user, provider) = (acme.user().await, acme.provider("github").await);
    let linked = acme.link(user, provider, "583231").await.expect(201).id();
    acme.unlink(user, linked).await.expect(204);

    acme.unlink(user, linked).await.refused_as_unknown("identity");
}

async fn unlinking_below_another_user_is_not_found_and_changes_nothing(aka: Aka) {
    let acme = aka.tenant().await;
    let (ada, grace, provider) = (acme.user().await, acme.user().await, acme.provider("github").await);
    let of_ada = acme.link(ada, provider, "583231").await.expect(201);

    acme.unlink(grace, of_ada.id()).await.refused_as_unknown("identity");

    assert_eq!(acme.lookup(provider, "583231").await.expect(200).json, of_ada.json);
}

async fn an_account_that_was_unlinked_and_linked_again_is_listed_once(aka: Aka) {
    let acme = aka.tenant().await;
    let (user, provider) = (acme.user().await, acme.provider("github").await);
    let first = acme.link(user, provider, "583231").await.expect(201).id();
    acme.unlink(user, first).await.expect(204);
    acme.link(user, provider, "583231").await.expect(201);

    let listed = acme.get(format!("/v1/users/{user}/identities")).await.expect(200);

    assert_eq!(listed.column("id"), [json!(first)]);
}

async fn identities_show_the_current_name_of_their_provider(aka: Aka) {
    let acme = aka.tenant().await;
    let (user, provider) = (acme.user().await, acme.provider("github").await);
    acme.link(user, provider, "583231").await.expect(201);

    acme.put(format!("/v1/identity-providers/{provider}"))
        .json(json!({ "name": "GitHub of Acme" }))
        .await
        .expect(200);

    assert_eq!(
        acme.lookup(provider, "583231").await.expect(200)["provider_name"],
        "GitHub of Acme"
    );
}
