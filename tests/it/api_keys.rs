//! API keys: shown once, limited by scopes, and ended by expiry, revocation and rotation.

use std::time::Duration;

use crate::harness::{
    Aka, Caller, Store, Uuid, eventually, issuer, json, on_both_stores,
    operations::{OPERATIONS, SCOPES},
};

on_both_stores![
    a_key_can_be_rotated_without_a_body,
    a_new_key_works_and_is_shown_once,
    only_the_hash_of_a_key_is_stored,
    a_key_can_be_bound_to_a_provider,
    a_key_cannot_be_bound_to_an_unknown_provider,
    a_scope_permits_its_own_operations,
    without_its_scope_an_operation_is_refused,
    a_key_cannot_be_given_scopes_that_its_creator_lacks,
    a_key_cannot_be_rotated_by_one_that_lacks_its_scopes,
    an_expired_key_is_refused,
    a_key_can_expire_at_the_latest_possible_time,
    a_revoked_key_is_refused_immediately,
    revoking_can_be_repeated,
    an_unknown_key_cannot_be_revoked_or_rotated,
    both_keys_work_for_a_while_after_a_rotation,
    rotation_without_overlap_ends_the_old_key_immediately,
    a_revoked_key_cannot_be_rotated,
    a_key_can_be_rotated_only_once,
    the_last_use_of_a_key_is_recorded_soon,
];

/// `last_used_at` is not written by the request that uses the key, but soon after.
const NOTED_WITHIN: Duration = Duration::from_secs(20);

async fn a_new_key_works_and_is_shown_once(aka: Aka) {
    let acme = aka.tenant().await;

    let created = acme
        .post("/v1/api-keys")
        .json(json!({ "name": "Slack bot", "scopes": ["users:read", "identities:read"] }))
        .await
        .expect(201);

    let raw_key = created["raw_key"].as_str().expect("a new key is shown");
    assert_eq!(
        created.json,
        json!({
            "id": created["id"],
            "name": "Slack bot",
            "scopes": ["identities:read", "users:read"],
            "identity_provider_id": null,
            "created_by": acme.key_id(),
            "last_used_at": null,
            "expires_at": null,
            "revoked_at": null,
            "revoked_by": null,
            "created_at": created["created_at"],
            "raw_key": raw_key,
        })
    );
    assert!(raw_key.starts_with("aka_"), "{raw_key}");
    acme.with_key(raw_key).get("/v1/users").await.expect(200);
    let listed = acme.get("/v1/api-keys").await.expect(200);
    assert!(listed.column("id").contains(&created["id"]), "{listed}");
    assert!(!listed.text().contains(raw_key), "{listed}");
}

async fn only_the_hash_of_a_key_is_stored(aka: Aka) {
    let acme = aka.tenant().await;
    let created = acme
        .post("/v1/api-keys")
        .json(json!({ "name": "bot", "scopes": ["users:read"] }))
        .await
        .expect(201);
    let raw_key = created["raw_key"].as_str().expect("a new key is shown");

    let rows = aka.rows().await;
    let of_key = [("tenant_id", acme.tenant().into()), ("id", created.id().into())];
    let stored: Vec<Vec<u8>> = rows.column("api_keys", "hash", &of_key).await;

    assert_eq!(stored.len(), 1);
    assert_eq!(stored[0].len(), 32, "a hash of 256 bits");
    if aka.store() == Store::Sqlite {
        for suffix in ["", "-wal"] {
            let file = format!("{}{suffix}", aka.database_file().display());
            let bytes = std::fs::read(&file).expect("the database is a file");
            assert!(
                !bytes.windows(raw_key.len()).any(|window| window == raw_key.as_bytes()),
                "{file} has the key"
            );
        }
    }
}

async fn a_key_can_be_bound_to_a_provider(aka: Aka) {
    let acme = aka.tenant().await;
    let provider = acme.provider("custom_scim").await;
    let key = json!({ "name": "SCIM", "scopes": ["users:write"], "identity_provider_id": provider });

    let created = acme.post("/v1/api-keys").json(key).await.expect(201);

    assert_eq!(created["identity_provider_id"], json!(provider));
    let read = find(&acme, created.id()).await;
    assert_eq!(read["identity_provider_id"], json!(provider));
}

async fn a_key_cannot_be_bound_to_an_unknown_provider(aka: Aka) {
    let acme = aka.tenant().await;
    let key = json!({ "name": "SCIM", "scopes": ["users:write"], "identity_provider_id": Uuid::now_v7() });

    acme.post("/v1/api-keys")
        .json(key)
        .await
        .refused_as_unknown("identity_provider");
}

async fn a_scope_permits_its_own_operations(aka: Aka) {
    for caller in [aka.tenant().await, aka.master()] {
        for scope in SCOPES {
            // Whoever makes a key must have the scopes that it is to have, which are those of the sample.
            let limited = caller.limited_to(&[scope, "users:read"]).await;
            for operation in OPERATIONS.iter().filter(|operation| operation.scope == *scope) {
                // Tenants are for the master tenant. Only there are its other operations left alone, because the
                // tests share it.
                if operation.is_of_master() != (caller.tenant() == aka.master().tenant()) {
                    continue;
                }
                let answer = operation.request(&limited).await;
                // Most of the things that are asked for do not exist, and an order must name the policy that was made.
                let an_order_of_others = operation.id == "reorderPolicies" && answer["details"]["field"] == "ids";
                assert!(
                    [200, 201, 404].contains(&answer.status) || an_order_of_others,
                    "{} with {scope}\n{answer}",
                    operation.id
                );
            }
        }
    }
}

async fn without_its_scope_an_operation_is_refused(aka: Aka) {
    for caller in [aka.tenant().await, aka.master()] {
        for scope in SCOPES {
            let others: Vec<&str> = SCOPES.iter().copied().filter(|other| other != scope).collect();
            let limited = caller.limited_to(&others).await;
            for operation in OPERATIONS.iter().filter(|operation| operation.scope == *scope) {
                let refusal = operation.request(&limited).await.refused(403, "forbidden");
                assert_eq!(refusal["details"]["action"], operation.id, "{refusal}");
                assert!(
                    operation.is_of_master() || refusal.text().contains(scope),
                    "says what it lacks\n{refusal}"
                );
            }
        }
    }
}

async fn a_key_cannot_be_given_scopes_that_its_creator_lacks(aka: Aka) {
    let acme = aka.tenant().await;
    let maker = acme.limited_to(&["api-keys:write", "users:read"]).await;
    let key = |scopes: &[&str]| json!({ "name": "bot", "scopes": scopes });

    let refusal = maker
        .post("/v1/api-keys")
        .json(key(&["users:read", "users:write"]))
        .await
        .refused(403, "forbidden");
    assert_eq!(refusal.notices().len(), 1, "{refusal}");
    assert_eq!(refusal["details"]["action"], "createApiKey");

    maker.post("/v1/api-keys").json(key(&["users:read"])).await.expect(201);
}

async fn a_key_cannot_be_rotated_by_one_that_lacks_its_scopes(aka: Aka) {
    let acme = aka.tenant().await;
    let rotator = acme.limited_to(&["api-keys:write"]).await;

    // Else whoever may rotate keys could get one that may do everything.
    let path = format!("/v1/api-keys/{}/rotate", acme.key_id());
    rotator.post(path).json(json!({})).await.refused(403, "forbidden");
}

async fn an_expired_key_is_refused(aka: Aka) {
    let acme = aka.tenant().await;
    let in_two_seconds = time_in(2);
    let key = json!({ "name": "brief", "scopes": ["users:read"], "expires_at": in_two_seconds });
    let created = acme.post("/v1/api-keys").json(key).await.expect(201);
    let brief = acme.with_key(created["raw_key"].as_str().expect("a new key is shown"));
    brief.get("/v1/users").await.expect(200);

    let refusal = eventually(Duration::from_secs(10), "the key expires", async || {
        let answer = brief.get("/v1/users").await;
        if answer.status == 401 { Ok(answer) } else { Err(answer) }
    })
    .await;

    let refusal = refusal.refused(401, "unauthenticated");
    assert_eq!(refusal["details"]["reason"], "expired_key");
}

async fn a_key_can_expire_at_the_latest_possible_time(aka: Aka) {
    let acme = aka.tenant().await;
    let ending = |time: &str| json!({ "name": "late", "scopes": ["users:read"], "expires_at": time });

    let last = acme
        .post("/v1/api-keys")
        .json(ending("9999-12-31T23:59:59Z"))
        .await
        .expect(201);
    assert!(
        last["expires_at"]
            .as_str()
            .is_some_and(|time| time.starts_with("9999-12-31T23:59:59")),
        "{last}"
    );
    let with_offset = acme
        .post("/v1/api-keys")
        .json(ending("2099-01-01T01:00:00.5+02:00"))
        .await
        .expect(201);
    assert_eq!(with_offset["expires_at"], "2098-12-31T23:00:00.500000Z");
    // In UTC this is in the year 10000, for which RFC 3339 has no words.
    acme.post("/v1/api-keys")
        .json(ending("9999-12-31T23:59:59-23:00"))
        .await
        .refused_input("body", "expires_at");
    acme.get("/v1/api-keys").await.expect(200);
    acme.user().await;
}

async fn a_revoked_key_is_refused_immediately(aka: Aka) {
    let acme = aka.tenant().await;
    let bot = acme.limited_to(&["users:read"]).await;
    bot.get("/v1/users").await.expect(200);

    acme.delete(format!("/v1/api-keys/{}", bot.key_id())).await.expect(204);

    let refusal = bot.get("/v1/users").await.refused(401, "unauthenticated");
    assert_eq!(refusal["details"]["reason"], "revoked_key");
    let read = find(&acme, bot.key_id()).await;
    assert!(read["revoked_at"].is_string(), "{read}");
    assert_eq!(read["revoked_by"], json!(acme.key_id()));
}

async fn revoking_can_be_repeated(aka: Aka) {
    let acme = aka.tenant().await;
    let bot = acme.limited_to(&["users:read"]).await.key_id();
    acme.delete(format!("/v1/api-keys/{bot}")).await.expect(204);
    let revoked_at = find(&acme, bot).await["revoked_at"].clone();

    acme.delete(format!("/v1/api-keys/{bot}")).await.expect(204);

    assert_eq!(find(&acme, bot).await["revoked_at"], revoked_at);
}

async fn an_unknown_key_cannot_be_revoked_or_rotated(aka: Aka) {
    let acme = aka.tenant().await;
    let unknown = format!("/v1/api-keys/{}", Uuid::now_v7());

    acme.delete(&unknown).await.refused_as_unknown("api_key");
    acme.post(format!("{unknown}/rotate"))
        .json(json!({}))
        .await
        .refused_as_unknown("api_key");
}

async fn both_keys_work_for_a_while_after_a_rotation(aka: Aka) {
    let acme = aka.tenant().await;
    let provider = acme.provider("custom_scim").await;
    let key = json!({ "name": "SCIM", "scopes": ["users:read"], "identity_provider_id": provider });
    let old = acme.post("/v1/api-keys").json(key).await.expect(201);

    let new = acme
        .post(format!("/v1/api-keys/{}/rotate", old.id()))
        .json(json!({ "overlap_seconds": 2 }))
        .await
        .expect(201);

    assert_ne!((&new["id"], &new["raw_key"]), (&old["id"], &old["raw_key"]));
    for same in ["name", "scopes", "identity_provider_id"] {
        assert_eq!(new[same], old[same], "{new}");
    }
    let (old, new) = (acme.with_key(raw(&old)), acme.with_key(raw(&new)));
    new.get("/v1/users").await.expect(200);
    old.get("/v1/users").await.expect(200);
    eventually(Duration::from_secs(10), "the old key ends", async || {
        let answer = old.get("/v1/users").await;
        if answer.status == 401 { Ok(()) } else { Err(answer) }
    })
    .await;
    new.get("/v1/users").await.expect(200);
}

async fn rotation_without_overlap_ends_the_old_key_immediately(aka: Aka) {
    let acme = aka.tenant().await;
    let old = acme.limited_to(&["users:read"]).await;
    old.get("/v1/users").await.expect(200);

    let path = format!("/v1/api-keys/{}/rotate", old.key_id());
    let new = acme.post(path).json(json!({ "overlap_seconds": 0 })).await.expect(201);

    old.get("/v1/users").await.refused(401, "unauthenticated");
    acme.with_key(raw(&new)).get("/v1/users").await.expect(200);
}

async fn a_revoked_key_cannot_be_rotated(aka: Aka) {
    let acme = aka.tenant().await;
    let bot = acme.limited_to(&["users:read"]).await.key_id();
    acme.delete(format!("/v1/api-keys/{bot}")).await.expect(204);

    // Else whoever was shut out could be let in again by mistake.
    let rotate = acme.post(format!("/v1/api-keys/{bot}/rotate")).json(json!({}));
    rotate.await.refused(409, "api_key_ended");
}

async fn a_key_can_be_rotated_only_once(aka: Aka) {
    let acme = aka.tenant().await;
    let first = acme.limited_to(&["users:read"]).await.key_id();
    let rotate = |key: Uuid| {
        acme.post(format!("/v1/api-keys/{key}/rotate"))
            .json(json!({ "overlap_seconds": 60 }))
    };

    let second = rotate(first).await.expect(201);
    assert_eq!(
        second["expires_at"],
        json!(null),
        "the successor lasts as long as its predecessor did"
    );

    // A second successor would end with the overlap of the first one, long before anybody expects it.
    rotate(first).await.refused(409, "api_key_rotated");
    rotate(second.id()).await.expect(201);
}

async fn the_last_use_of_a_key_is_recorded_soon(aka: Aka) {
    let acme = aka.tenant().await;
    let bot = acme.limited_to(&["users:read"]).await;
    assert!(
        find(&acme, bot.key_id()).await["last_used_at"].is_null(),
        "nobody has used it yet"
    );

    bot.get("/v1/users").await.expect(200);

    eventually(NOTED_WITHIN, "the use is noted", async || {
        let noted = find(&acme, bot.key_id()).await["last_used_at"].clone();
        if noted.is_string() { Ok(()) } else { Err(noted) }
    })
    .await;
}

/// A key as the list shows it.
async fn find(caller: &Caller, id: Uuid) -> serde_json::Value {
    let listed = caller.get("/v1/api-keys?limit=250").await.expect(200);
    let rows = listed["data"].as_array().into_iter().flatten();
    let found = rows.clone().find(|row| row["id"] == json!(id));
    found.unwrap_or_else(|| panic!("{id} is not listed\n{listed}")).clone()
}

fn raw(created: &crate::harness::Answer) -> &str {
    created["raw_key"].as_str().expect("a new key is shown")
}

/// The time so many seconds from now, as RFC 3339 has it.
fn time_in(seconds: u64) -> String {
    let seconds = i64::try_from(issuer::now() + seconds).expect("a time of this century");
    let time = time::OffsetDateTime::from_unix_timestamp(seconds).expect("a time of this century");
    time.format(&time::format_description::well_known::Rfc3339)
        .expect("a time of this century")
}

async fn a_key_can_be_rotated_without_a_body(aka: Aka) {
    let acme = aka.tenant().await;
    let bot = acme.limited_to(&["users:read"]).await;

    let successor = acme
        .post(format!("/v1/api-keys/{}/rotate", bot.key_id()))
        .await
        .expect(201);

    let raw = successor["raw_key"].as_str().expect("a key");
    acme.with_key(raw).get("/v1/users").await.expect(200);
    bot.get("/v1/users").await.expect(200);
    let old = acme.get(format!("/v1/api-keys/{}", bot.key_id())).await.expect(200);
    assert!(old["expires_at"].is_string(), "it works for a day more");
}
