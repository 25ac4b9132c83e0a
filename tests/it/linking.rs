//! Linking: section 3 of the contract, row by row, also under concurrent requests.

use tokio::task::JoinSet;

use crate::harness::{Aka, Answer, Caller, Uuid, json, on_both_stores};

on_both_stores![
    linking_an_account_that_nobody_knows_creates_an_identity,
    linking_requires_only_provider_and_external_id,
    linking_an_account_that_is_known_but_unlinked_keeps_its_id,
    linking_again_changes_nothing,
    linking_again_with_new_profile_fields_updates_them,
    every_identity_shows_whether_its_user_is_active,
    linking_an_account_of_another_user_is_a_conflict,
    a_conflict_names_the_other_user_only_to_those_who_may_see_them,
    linking_to_a_user_who_does_not_exist_is_not_found,
    linking_an_account_of_a_provider_that_does_not_exist_is_not_found,
    linking_at_a_disabled_provider_is_a_conflict,
    linking_to_a_suspended_user_is_a_conflict,
    a_reactivated_user_can_be_linked_again,
    external_ids_are_compared_exactly,
    the_same_external_id_at_another_provider_is_another_account,
    a_user_can_have_many_accounts_at_one_provider,
    texts_are_returned_as_they_were_sent,
    of_64_identical_concurrent_links_one_creates_the_identity,
    of_64_concurrent_links_of_one_account_to_different_users_one_succeeds,
    concurrent_links_are_consistent_while_ten_thousand_others_are_made,
];

/// As many as the connections of the benchmark.
const PARALLEL: usize = 64;

async fn linking_an_account_that_nobody_knows_creates_an_identity(aka: Aka) {
    let acme = aka.tenant().await;
    let (user, provider) = (acme.user().await, acme.provider("github").await);

    let answer = acme
        .post(format!("/v1/users/{user}/identities"))
        .json(json!({
            "identity_provider_id": provider,
            "external_id": "583231",
            "external_username": "octocat",
            "external_email": "octocat@example.com",
            "external_display_name": "The Octocat",
        }))
        .await
        .expect(201);

    let name = acme.get(format!("/v1/identity-providers/{provider}")).await.expect(200)["name"].clone();
    assert_eq!(
        answer.json,
        json!({
            "id": answer["id"],
            "user_id": user,
            "user_active": true,
            "identity_provider_id": provider,
            "provider_name": name,
            "provider_type": "github",
            "external_id": "583231",
            "external_username": "octocat",
            "external_email": "octocat@example.com",
            "external_display_name": "The Octocat",
            "linked_by": "manual",
            "last_synced_at": null,
            "created_at": answer["created_at"],
            "updated_at": answer["created_at"],
        })
    );
    let location = answer.header("location").expect("a new thing has a Location");
    assert_eq!(location, format!("/v1/users/{user}/identities/{}", answer.id()));
    assert_eq!(acme.get(location).await.expect(200).json, answer.json);
}

async fn linking_requires_only_provider_and_external_id(aka: Aka) {
    let acme = aka.tenant().await;
    let (user, provider) = (acme.user().await, acme.provider("slack").await);

    let least = acme.link(user, provider, "U012AB3CD").await.expect(201);

    for name in ["external_username", "external_email", "external_display_name"] {
        assert!(least[name].is_null(), "{least}");
    }
    let with_nulls = json!({
        "identity_provider_id": provider,
        "external_id": "U012AB3CE",
        "external_username": null,
        "external_email": null,
        "external_display_name": null,
    });
    acme.post(format!("/v1/users/{user}/identities"))
        .json(with_nulls)
        .await
        .expect(201);
}

async fn linking_an_account_that_is_known_but_unlinked_keeps_its_id(aka: Aka) {
    let acme = aka.tenant().await;
    let (ada, grace, provider) = (acme.user().await, acme.user().await, acme.provider("github").await);
    let first = acme.link(ada, provider, "583231").await.expect(201);
    acme.unlink(ada, first.id()).await.expect(204);

    let again = acme.link(grace, provider, "583231").await.expect(201);

    assert_eq!(again.id(), first.id());
    assert_eq!(again["user_id"], json!(grace));
    assert_eq!(again["created_at"], first["created_at"]);
    assert_eq!(
        again.header("location"),
        Some(&*format!("/v1/users/{grace}/identities/{}", first.id()))
    );
    acme.get(format!("/v1/users/{ada}/identities/{}", first.id()))
        .await
        .refused_as_unknown("identity");
}

async fn linking_again_with_new_profile_fields_updates_them(aka: Aka) {
    let acme = aka.tenant().await;
    let (user, provider) = (acme.user().await, acme.provider("github").await);
    let link = async |profile: [(&str, &str); 2]| {
        let mut body = json!({ "identity_provider_id": provider, "external_id": "583231" });
        for (name, value) in profile {
            body[name] = json!(value);
        }
        acme.post(format!("/v1/users/{user}/identities")).json(body).await
    };
    let first = link([("external_username", "octocat"), ("external_email", "o@example.com")])
        .await
        .expect(201);
    // What was decided and written is the same, whoever is suspended since.
    acme.post(format!("/v1/users/{user}/suspend"))
        .json(json!({ "active": false }))
        .await
        .expect(200);

    let renamed = [("external_username", "renamed"), ("external_display_name", "Mona")];
    let again = link(renamed).await.expect(200);
    let same = link(renamed).await.expect(200);

    assert_eq!(again["id"], first["id"]);
    assert_eq!(again["external_username"], "renamed");
    assert_eq!(again["external_display_name"], "Mona");
    assert_eq!(again["external_email"], "o@example.com", "what was not sent stays");
    assert_eq!(again["user_active"], false);
    assert_ne!(again["updated_at"], first["updated_at"]);
    assert_eq!(same.json, again.json);
    assert_eq!(acme.lookup(provider, "583231").await.expect(200).json, again.json);
    let rows = aka.rows().await;
    let of_identity = [("tenant_id", acme.tenant().into()), ("resource_id", first.id().into())];
    assert_eq!(
        rows.count("audit_log_entries", &of_identity).await,
        2,
        "the same fields again write nothing"
    );
    let updates = [
        of_identity[0].clone(),
        of_identity[1].clone(),
        ("event_type", "identity.updated".into()),
    ];
    assert_eq!(rows.count("outbox_events", &updates).await, 1);
}

async fn every_identity_shows_whether_its_user_is_active(aka: Aka) {
    let acme = aka.tenant().await;
    let (user, provider) = (acme.user().await, acme.provider("github").await);
    let linked = acme.link(user, provider, "583231").await.expect(201);
    assert_eq!(linked["user_active"], true);
    let seen = async || {
        let list = acme.get(format!("/v1/users/{user}/identities")).await.expect(200);
        let one = acme
            .get(format!("/v1/users/{user}/identities/{}", linked.id()))
            .await
            .expect(200);
        let found = acme.lookup(provider, "583231").await.expect(200);
        [
            list["data"][0]["user_active"].clone(),
            one["user_active"].clone(),
            found["user_active"].clone(),
        ]
    };

    assert_eq!(seen().await, [true, true, true].map(|active| json!(active)));
    acme.post(format!("/v1/users/{user}/suspend"))
        .json(json!({ "active": false }))
        .await
        .expect(200);
    assert_eq!(seen().await, [false, false, false].map(|active| json!(active)));
    acme.unlink(user, linked.id()).await.expect(204);

    let unlinked = acme.lookup(provider, "583231").await.expect(200);
    assert_eq!(
        (&unlinked["user_id"], &unlinked["user_active"]),
        (&json!(null), &json!(null))
    );
}

async fn linking_again_changes_nothing(aka: Aka) {
    let acme = aka.tenant().await;
    let (user, provider) = (acme.user().await, acme.provider("github").await);
    let first = acme.link(user, provider, "583231").await.expect(201);

    let again = acme.link(user, provider, "583231").await.expect(200);

    assert_eq!(again.json, first.json);
    let rows = aka.rows().await;
    let of_identity = [("tenant_id", acme.tenant().into()), ("resource_id", first.id().into())];
    assert_eq!(
        rows.count("audit_log_entries", &of_identity).await,
        1,
        "nothing was changed the second time"
    );
    assert_eq!(
        rows.count("outbox_events", &of_identity).await,
        1,
        "nothing was changed the second time"
    );
}

async fn linking_an_account_of_another_user_is_a_conflict(aka: Aka) {
    let acme = aka.tenant().await;
    let (ada, grace, provider) = (acme.user().await, acme.user().await, acme.provider("github").await);
    let of_ada = acme.link(ada, provider, "583231").await.expect(201);

    let refusal = acme
        .link(grace, provider, "583231")
        .await
        .refused(409, "identity_already_linked");

    let details = refusal["details"].to_string();
    assert!(
        details.contains(&of_ada.id().to_string()),
        "details has the identity's id\n{refusal}"
    );
    assert!(
        details.contains("\"manual\""),
        "details says how it was linked\n{refusal}"
    );
    let linked_at = of_ada["created_at"].as_str().expect("a time");
    assert!(
        details.contains(linked_at),
        "details says when it was linked\n{refusal}"
    );
    assert_eq!(
        acme.lookup(provider, "583231").await.expect(200).json,
        of_ada.json,
        "nothing has changed"
    );
}

async fn a_conflict_names_the_other_user_only_to_those_who_may_see_them(aka: Aka) {
    let acme = aka.tenant().await;
    let (ada, grace, provider) = (acme.user().await, acme.user().await, acme.provider("github").await);
    acme.link(ada, provider, "583231").await.expect(201);
    let linker = acme.limited_to(&["identities:write"]).await;

    let to_all_knowing = acme
        .link(grace, provider, "583231")
        .await
        .refused(409, "identity_already_linked");
    let to_linker = linker
        .link(grace, provider, "583231")
        .await
        .refused(409, "identity_already_linked");

    assert!(to_all_knowing.text().contains(&ada.to_string()), "{to_all_knowing}");
    assert!(!to_linker.text().contains(&ada.to_string()), "{to_linker}");
}

async fn linking_to_a_user_who_does_not_exist_is_not_found(aka: Aka) {
    let acme = aka.tenant().await;
    let provider = acme.provider("github").await;

    acme.link(Uuid::now_v7(), provider, "583231")
        .await
        .refused_as_unknown("user");

    acme.lookup(provider, "583231").await.refused_as_unknown("identity");
}

async fn linking_an_account_of_a_provider_that_does_not_exist_is_not_found(aka: Aka) {
    let acme = aka.tenant().await;
    let user = acme.user().await;

    acme.link(user, Uuid::now_v7(), "583231")
        .await
        .refused_as_unknown("identity_provider");
}

async fn linking_at_a_disabled_provider_is_a_conflict(aka: Aka) {
    let acme = aka.tenant().await;
    let (user, provider) = (acme.user().await, acme.provider("github").await);
    acme.put(format!("/v1/identity-providers/{provider}"))
        .json(json!({ "enabled": false }))
        .await
        .expect(200);

    acme.link(user, provider, "583231")
        .await
        .refused(409, "identity_provider_disabled");

    acme.put(format!("/v1/identity-providers/{provider}"))
        .json(json!({ "enabled": true }))
        .await
        .expect(200);
    acme.link(user, provider, "583231").await.expect(201);
}

async fn linking_to_a_suspended_user_is_a_conflict(aka: Aka) {
    let acme = aka.tenant().await;
    let (user, provider) = (acme.user().await, acme.provider("github").await);
    acme.post(format!("/v1/users/{user}/suspend"))
        .json(json!({ "active": false }))
        .await
        .expect(200);

    acme.link(user, provider, "583231").await.refused(409, "user_suspended");

    acme.lookup(provider, "583231").await.refused_as_unknown("identity");
}

async fn a_reactivated_user_can_be_linked_again(aka: Aka) {
    let acme = aka.tenant().await;
    let (user, provider) = (acme.user().await, acme.provider("github").await);
    for active in [false, true] {
        acme.post(format!("/v1/users/{user}/suspend"))
            .json(json!({ "active": active }))
            .await
            .expect(200);
    }

    acme.link(user, provider, "583231").await.expect(201);
}

async fn external_ids_are_compared_exactly(aka: Aka) {
    let acme = aka.tenant().await;
    let (ada, grace, provider) = (acme.user().await, acme.user().await, acme.provider("okta").await);
    // The last two look the same: one code point, and two that are combined.
    for external_id in ["abc", "ABC", "Abc", "caf\u{e9}", "cafe\u{301}"] {
        acme.link(ada, provider, external_id).await.expect(201);
    }

    for external_id in ["abc", "ABC", "Abc", "caf\u{e9}", "cafe\u{301}"] {
        acme.link(grace, provider, external_id)
            .await
            .refused(409, "identity_already_linked");
        assert_eq!(
            acme.lookup(provider, external_id).await.expect(200)["external_id"],
            external_id
        );
    }
    acme.lookup(provider, "aBC").await.refused_as_unknown("identity");
}

async fn the_same_external_id_at_another_provider_is_another_account(aka: Aka) {
    let acme = aka.tenant().await;
    let (ada, grace) = (acme.user().await, acme.user().await);
    let (github, slack) = (acme.provider("github").await, acme.provider("slack").await);

    let at_github = acme.link(ada, github, "583231").await.expect(201);
    let at_slack = acme.link(grace, slack, "583231").await.expect(201);

    assert_ne!(at_github.id(), at_slack.id());
}

async fn a_user_can_have_many_accounts_at_one_provider(aka: Aka) {
    let acme = aka.tenant().await;
    let (user, provider) = (acme.user().await, acme.provider("github").await);

    let work = acme.link(user, provider, "583231").await.expect(201);
    let home = acme.link(user, provider, "583232").await.expect(201);

    let listed = acme.get(format!("/v1/users/{user}/identities")).await.expect(200);
    assert_eq!(listed["data"], json!([work.json, home.json]));
}

async fn texts_are_returned_as_they_were_sent(aka: Aka) {
    let acme = aka.tenant().await;
    let (user, provider) = (acme.user().await, acme.provider("custom_scim").await);
    let longest = "é".repeat(256);
    for text in [
        "O'Brien; DROP TABLE users --",
        "\"quoted\" \\ back",
        "日本語 🦀",
        "%00 &amp; <b>",
        "{}",
        &longest,
    ] {
        let account = json!({
            "identity_provider_id": provider,
            "external_id": text,
            "external_username": text,
            "external_display_name": text,
        });

        let linked = acme
            .post(format!("/v1/users/{user}/identities"))
            .json(account)
            .await
            .expect(201);

        let found = acme.lookup(provider, text).await.expect(200);
        assert_eq!(found.json, linked.json);
        for name in ["external_id", "external_username", "external_display_name"] {
            assert_eq!(found[name], text, "{found}");
        }
    }
}

async fn of_64_identical_concurrent_links_one_creates_the_identity(aka: Aka) {
    let acme = aka.tenant().await;
    let (user, provider) = (acme.user().await, acme.provider("github").await);

    let answers = link_at_once(&acme, &[user; PARALLEL], provider, "583231").await;

    assert_eq!(statuses(&answers, 201), 1, "one creates it");
    assert_eq!(statuses(&answers, 200), PARALLEL - 1, "the others find it created");
    let identity = answers[0].id();
    assert!(
        answers.iter().all(|answer| answer.id() == identity),
        "all are answered the same identity"
    );
    assert_linked_once(&acme, provider, "583231", identity).await;
}

async fn of_64_concurrent_links_of_one_account_to_different_users_one_succeeds(aka: Aka) {
    let acme = aka.tenant().await;
    let provider = acme.provider("github").await;
    let mut users = Vec::new();
    for _ in 0..PARALLEL {
        users.push(acme.user().await);
    }

    let answers = link_at_once(&acme, &users, provider, "583231").await;

    assert_eq!(statuses(&answers, 201), 1, "one gets it");
    let (winners, losers): (Vec<Answer>, Vec<Answer>) = answers.into_iter().partition(|answer| answer.status == 201);
    for loser in losers {
        loser.refused(409, "identity_already_linked");
    }
    let winner = &winners[0];
    assert_eq!(acme.lookup(provider, "583231").await.expect(200).json, winner.json);
    assert_linked_once(&acme, provider, "583231", winner.id()).await;
}

async fn concurrent_links_are_consistent_while_ten_thousand_others_are_made(aka: Aka) {
    /// Callers, each with links of its own that follow one another.
    const CALLERS: usize = 50;
    const LINKS: usize = 200;
    let acme = aka.tenant().await;
    let (github, slack) = (acme.provider("github").await, acme.provider("slack").await);
    let mut users = Vec::new();
    for _ in 0..PARALLEL {
        users.push(acme.user().await);
    }
    let mut others = JoinSet::new();
    for (caller, user) in users.iter().copied().enumerate().take(CALLERS) {
        let acme = acme.clone();
        others.spawn(async move {
            for number in 0..LINKS {
                let external_id = format!("{caller}-{number}");
                acme.link(user, slack, &external_id).await.expect(201);
            }
        });
    }

    let mut rounds = Vec::new();
    while others.len() > CALLERS / 2 {
        let (same, competing) = (format!("same-{}", rounds.len()), format!("competing-{}", rounds.len()));
        let identical = [users[0]; PARALLEL];
        let (same_answers, competing_answers) = tokio::join!(
            link_at_once(&acme, &identical, github, &same),
            link_at_once(&acme, &users, github, &competing),
        );
        rounds.extend([(same, same_answers, 200), (competing, competing_answers, 409)]);
        while others.try_join_next().is_some_and(|other| other.is_ok()) {}
    }
    others.join_all().await;

    assert!(
        rounds.len() >= 4,
        "{} rounds while others were linked",
        rounds.len() / 2
    );
    for (external_id, answers, otherwise) in rounds {
        assert_eq!(statuses(&answers, 201), 1, "{external_id}");
        assert_eq!(statuses(&answers, otherwise), PARALLEL - 1, "{external_id}");
        let made = answers.iter().find(|answer| answer.status == 201);
        let identity = made.expect("one made it").id();
        assert_linked_once(&acme, github, &external_id, identity).await;
    }
    let rows = aka.rows().await;
    let others = [
        ("tenant_id", acme.tenant().into()),
        ("identity_provider_id", slack.into()),
    ];
    assert_eq!(rows.count("identities", &others).await, CALLERS * LINKS);
}

/// Links one account to many users, all at the same time.
async fn link_at_once(caller: &Caller, users: &[Uuid], provider: Uuid, external_id: &str) -> Vec<Answer> {
    let mut calls = JoinSet::new();
    for user in users {
        calls.spawn(caller.link(*user, provider, external_id).into_future());
    }
    calls.join_all().await
}

fn statuses(answers: &[Answer], status: u16) -> usize {
    answers.iter().filter(|answer| answer.status == status).count()
}

/// One row, one audit entry, one event: in the database itself.
async fn assert_linked_once(tenant: &Caller, provider: Uuid, external_id: &str, identity: Uuid) {
    let rows = tenant.aka().rows().await;
    let of_tenant = ("tenant_id", tenant.tenant().into());
    let account = [
        of_tenant.clone(),
        ("identity_provider_id", provider.into()),
        ("external_id", external_id.into()),
    ];
    assert_eq!(rows.column::<Uuid>("identities", "id", &account).await, [identity]);
    for table in ["audit_log_entries", "outbox_events"] {
        let of_identity = [of_tenant.clone(), ("resource_id", identity.into())];
        assert_eq!(rows.count(table, &of_identity).await, 1, "{table}");
    }
}
