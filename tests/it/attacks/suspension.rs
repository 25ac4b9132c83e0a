//! Suspended and erased users who return: their token is still valid, but their account is no longer linked.

use crate::harness::{
    Aka, Answer, Caller, Uuid,
    issuer::{Issuer, RSA},
    json, on_both_stores,
};

on_both_stores![
    a_suspended_user_stays_out_when_the_account_is_unlinked,
    an_erased_user_stays_out,
    an_active_user_whose_account_is_unlinked_is_a_stranger,
    an_account_of_an_active_user_is_let_in_again,
    an_account_that_was_unlinked_from_an_active_user_is_not_barred,
    another_account_and_another_tenant_are_not_barred,
    two_nodes_do_not_let_an_erased_user_in,
];

async fn read_users(caller: &Caller, issuer: &Issuer, subject: &str) -> Answer {
    let token = RSA.sign(&issuer.claims(subject, "users:read"));
    caller.with_bearer(&token).get("/v1/users").await
}

async fn set_active(acme: &Caller, user: Uuid, active: bool) {
    let path = format!("/v1/users/{user}/suspend");
    acme.post(path).json(json!({ "active": active })).await.expect(200);
}

async fn a_suspended_user_stays_out_when_the_account_is_unlinked(aka: Aka) {
    let acme = aka.tenant().await;
    let issuer = Issuer::with_keys(&acme, &[RSA]).await;
    let eve = acme.user().await;
    let identity = acme.link(eve, issuer.provider, "eve").await.expect(201).id();
    set_active(&acme, eve, false).await;

    acme.unlink(eve, identity).await.expect(204);

    let refusal = read_users(&acme, &issuer, "eve").await.refused(401, "unauthenticated");
    assert_eq!(refusal["details"]["reason"], "user_suspended");
    // Nor when the user is erased after that, or active again: the account is not theirs any more.
    set_active(&acme, eve, true).await;
    read_users(&acme, &issuer, "eve").await.refused(401, "unauthenticated");
    acme.delete(format!("/v1/users/{eve}")).await.expect(204);
    read_users(&acme, &issuer, "eve").await.refused(401, "unauthenticated");
}

async fn an_erased_user_stays_out(aka: Aka) {
    let acme = aka.tenant().await;
    let issuer = Issuer::with_keys(&acme, &[RSA]).await;
    for (subject, suspended) in [("eve", true), ("ada", false)] {
        let user = acme.user().await;
        acme.link(user, issuer.provider, subject).await.expect(201);
        set_active(&acme, user, !suspended).await;

        acme.delete(format!("/v1/users/{user}")).await.expect(204);

        let refusal = read_users(&acme, &issuer, subject)
            .await
            .refused(401, "unauthenticated");
        assert_eq!(refusal["details"]["reason"], "user_erased");
    }
}

async fn an_active_user_whose_account_is_unlinked_is_a_stranger(aka: Aka) {
    let acme = aka.tenant().await;
    let issuer = Issuer::with_keys(&acme, &[RSA]).await;
    let ada = acme.user().await;
    let identity = acme.link(ada, issuer.provider, "ada").await.expect(201).id();

    acme.unlink(ada, identity).await.expect(204);

    read_users(&acme, &issuer, "ada").await.expect(200);
}

async fn an_account_of_an_active_user_is_let_in_again(aka: Aka) {
    let acme = aka.tenant().await;
    let issuer = Issuer::with_keys(&acme, &[RSA]).await;
    let (eve, ada) = (acme.user().await, acme.user().await);
    acme.link(eve, issuer.provider, "eve").await.expect(201);
    acme.delete(format!("/v1/users/{eve}")).await.expect(204);
    read_users(&acme, &issuer, "eve").await.refused(401, "unauthenticated");

    acme.link(ada, issuer.provider, "eve").await.expect(201);

    read_users(&acme, &issuer, "eve").await.expect(200);
    set_active(&acme, ada, false).await;
    read_users(&acme, &issuer, "eve").await.refused(401, "unauthenticated");
}

async fn an_account_that_was_unlinked_from_an_active_user_is_not_barred(aka: Aka) {
    let acme = aka.tenant().await;
    let issuer = Issuer::with_keys(&acme, &[RSA]).await;
    let (eve, ada) = (acme.user().await, acme.user().await);
    let identity = acme.link(eve, issuer.provider, "shared").await.expect(201).id();
    set_active(&acme, eve, false).await;
    acme.unlink(eve, identity).await.expect(204);

    let identity = acme.link(ada, issuer.provider, "shared").await.expect(201).id();
    acme.unlink(ada, identity).await.expect(204);

    read_users(&acme, &issuer, "shared").await.expect(200);
}

async fn another_account_and_another_tenant_are_not_barred(aka: Aka) {
    let (acme, other) = (aka.tenant().await, aka.tenant().await);
    let issuer = Issuer::with_keys(&acme, &[RSA]).await;
    let there = Issuer::with_keys(&other, &[RSA]).await;
    let eve = acme.user().await;
    acme.link(eve, issuer.provider, "eve").await.expect(201);
    acme.delete(format!("/v1/users/{eve}")).await.expect(204);

    for subject in ["Eve", "eve2"] {
        read_users(&acme, &issuer, subject).await.expect(200);
    }
    read_users(&other, &there, "eve").await.expect(200);
}

async fn two_nodes_do_not_let_an_erased_user_in(aka: Aka) {
    let node = aka.second_node().await;
    let acme = aka.tenant().await;
    let issuer = Issuer::with_keys(&acme, &[RSA]).await;
    let there = acme.at(&node);
    for number in 0..5 {
        let eve = acme.user().await;
        let accounts: Vec<String> = (0..4).map(|account| format!("eve-{number}-{account}")).collect();
        let links = accounts.iter().map(|account| there.link(eve, issuer.provider, account));

        // Some links come before the erasure and some after it.
        let links = futures_util::future::join_all(links.map(IntoFuture::into_future));
        let erasure = acme.delete(format!("/v1/users/{eve}")).into_future();
        let (links, erasure) = tokio::join!(links, erasure);

        erasure.expect(204);
        for (link, account) in links.iter().zip(&accounts) {
            if link.status == 201 {
                read_users(&acme, &issuer, account)
                    .await
                    .refused(401, "unauthenticated");
            }
        }
    }
}
