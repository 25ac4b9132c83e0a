//! `ETag`, `If-None-Match` and `If-Match` on single resources (RFC 9110 §13.1): an unchanged resource is not sent
//! again, and nobody overwrites changes that they have not seen.

use crate::harness::{Aka, Caller, Uuid, Value, json, on_both_stores};

on_both_stores![
    an_unchanged_resource_is_not_sent_again,
    an_etag_does_not_depend_on_how_the_resource_was_read,
    a_change_based_on_an_outdated_version_is_refused,
    a_resource_that_has_changed_is_not_deleted,
    existence_is_checked_before_if_match,
];

/// A resource of each kind: its path, and a change of it.
async fn resources(acme: &Caller) -> Vec<(String, Value)> {
    let (user, github) = (acme.user().await, acme.provider("github").await);
    let config = json!({ "config": { "zone": "b", "area": "a" } });
    let path = format!("/v1/identity-providers/{github}");
    acme.put(&*path).json(config).await.expect(200);
    vec![
        (format!("/v1/users/{user}"), json!({ "name": "Another Name" })),
        (path, json!({ "name": "Another Name" })),
    ]
}

async fn an_unchanged_resource_is_not_sent_again(aka: Aka) {
    let acme = aka.tenant().await;
    let (user, github) = (acme.user().await, acme.provider("github").await);
    let linked = acme.link(user, github, "583231").await.expect(201);
    let key = acme.limited_to(&["users:read"]).await.key_id();
    let policy = acme
        .policy(1, "permit(principal, action == Action::\"getUser\", resource);")
        .await;
    let rule = acme.get(format!("/v1/policies/{policy}/rules")).await["data"][0]["id"].clone();
    let rule = rule.as_str().expect("an id").to_owned();
    let master = aka.master();
    for (caller, path) in [
        (&acme, format!("/v1/users/{user}")),
        (&acme, format!("/v1/users/{user}/identities/{}", linked.id())),
        (&acme, format!("/v1/identity-providers/{github}")),
        (&acme, format!("/v1/api-keys/{key}")),
        (&acme, format!("/v1/policies/{policy}")),
        (&acme, format!("/v1/policies/{policy}/rules/{rule}")),
        (&master, format!("/v1/tenants/{}", acme.tenant())),
    ] {
        let read = caller.get(&*path).await.expect(200);
        let tag = read.header("ETag").expect("a tag").to_owned();
        for known in [tag.clone(), format!("\"other\", W/{tag}"), "*".into()] {
            let again = caller.get(&*path).header("If-None-Match", &known).await.expect(304);
            assert_eq!(
                (again.text().as_str(), again.header("ETag")),
                ("", Some(tag.as_str())),
                "{path}"
            );
        }
        for unknown in ["\"other\"", "nonsense", ""] {
            let again = caller.get(&*path).header("If-None-Match", unknown).await.expect(200);
            assert_eq!(again.json, read.json, "{path}");
        }
    }
    let nobody = format!("/v1/users/{}", Uuid::now_v7());
    acme.get(nobody)
        .header("If-None-Match", "*")
        .await
        .refused_as_unknown("user");
}

async fn an_etag_does_not_depend_on_how_the_resource_was_read(aka: Aka) {
    let acme = aka.tenant().await;
    let body = json!({
        "name": "Company sign-in",
        "provider_type": "okta",
        "config": { "zone": "b", "area": { "y": 1, "x": 2 } },
    });
    let made = acme.post("/v1/identity-providers").json(body).await.expect(201);
    let path = made.header("Location").expect("a path").to_owned();
    let read = acme.get(&*path).await.expect(200);
    assert_eq!(read.header("ETag"), made.header("ETag"));

    let changed = acme.put(&*path).json(json!({ "enabled": false })).await.expect(200);
    assert_ne!(changed.header("ETag"), made.header("ETag"));
    assert_eq!(acme.get(&*path).await.header("ETag"), changed.header("ETag"));

    let key = json!({ "name": "bot", "scopes": ["users:read"] });
    let made = acme.post("/v1/api-keys").json(key).await.expect(201);
    let read = acme.get(made.header("Location").expect("a path")).await.expect(200);
    assert_eq!((read.id(), &read["raw_key"]), (made.id(), &Value::Null));
}

async fn a_change_based_on_an_outdated_version_is_refused(aka: Aka) {
    let acme = aka.tenant().await;
    let master = aka.master();
    let mut resources = resources(&acme).await;
    resources.push((
        format!("/v1/tenants/{}", acme.tenant()),
        json!({ "name": "Another Name" }),
    ));
    for (path, change) in resources {
        let caller = if path.contains("tenants") { &master } else { &acme };
        let read = caller.get(&*path).await.expect(200);
        let tag = read.header("ETag").expect("a tag");
        let update = |tag: &str| caller.put(&*path).json(&change).header("If-Match", tag);

        update("\"other\"").await.refused(412, "precondition_failed");
        assert_eq!(caller.get(&*path).await.json, read.json, "{path}");
        let changed = update(tag).await.expect(200);
        assert_eq!(changed["name"], "Another Name");
        update(tag).await.refused(412, "precondition_failed");
        update("*").await.expect(200);
        update("no tag").await.refused_input("header", "If-Match");
    }
}

async fn a_resource_that_has_changed_is_not_deleted(aka: Aka) {
    let acme = aka.tenant().await;
    for (path, change) in resources(&acme).await {
        let read = acme.get(&*path).await.expect(200);
        let seen = read.header("ETag").expect("a tag");
        let changed = acme.put(&*path).json(change).await.expect(200);
        let delete = |tag: &str| acme.delete(&*path).header("If-Match", tag);

        delete(seen).await.refused(412, "precondition_failed");
        acme.get(&*path).await.expect(200);
        delete(changed.header("ETag").expect("a tag")).await.expect(204);
        acme.get(&*path).await.expect(404);
    }
}

async fn existence_is_checked_before_if_match(aka: Aka) {
    let acme = aka.tenant().await;
    let nobody = format!("/v1/users/{}", Uuid::now_v7());
    for tag in ["*", "\"other\""] {
        let change = acme
            .put(&*nobody)
            .json(json!({ "name": "Nobody" }))
            .header("If-Match", tag);
        change.await.refused_as_unknown("user");
    }
}
