//! `Idempotency-Key`: a repeated request is carried out once, and gets the first response again.

use std::{collections::BTreeSet, time::Duration};

use futures_util::{FutureExt as _, future::join_all};
use reqwest::Method;
use sea_orm::{ConnectionTrait as _, Statement};

use crate::harness::{
    Aka, Answer, Caller, Store, Uuid, Value,
    caller::Request,
    eventually, json, on_both_stores,
    raw::{self, Connection},
    rows::connect,
    unique,
};

on_both_stores![
    the_same_request_gets_the_first_answer_again,
    every_post_and_patch_that_changes_something_can_be_repeated,
    white_space_and_the_order_of_fields_make_no_difference,
    a_different_request_with_the_same_key_is_refused,
    each_credential_has_its_own_keys,
    of_many_concurrent_requests_one_is_carried_out,
    two_nodes_carry_out_a_request_once,
    concurrent_links_with_different_keys_are_all_made,
    of_many_links_with_one_key_one_is_made,
    links_that_are_refused_among_others_leave_their_keys_free,
    two_nodes_make_a_link_with_one_key_once,
    a_response_survives_a_crash_of_the_server,
    a_refusal_is_not_kept,
    policy_is_checked_again,
    a_kept_api_key_cannot_be_read_in_the_database,
    a_key_can_be_used_again_after_a_day,
    an_invalid_key_is_refused,
    a_key_has_no_effect_on_requests_that_are_idempotent_anyway,
];

const KEY: &str = "Idempotency-Key";
const REPLAYED: &str = "Idempotent-Replayed";

fn key() -> String {
    Uuid::new_v4().to_string()
}

fn new_user(caller: &Caller, key: &str, email: &str) -> Request {
    let body = json!({ "email": email, "name": "Ada Example" });
    caller.post("/v1/users").json(body).header(KEY, key)
}

/// Checks that an answer is one that was given before.
fn assert_replayed(again: &Answer, first: &Answer) {
    assert_eq!(again.header(REPLAYED), Some("true"), "{again}");
    assert_eq!(first.header(REPLAYED), None, "{first}");
    assert_eq!((again.status, &again.json), (first.status, &first.json));
    for name in ["Location", "ETag", "Content-Type"] {
        assert_eq!(again.header(name), first.header(name), "{name}");
    }
    assert_ne!(again.header("X-Request-ID"), first.header("X-Request-ID"));
}

async fn users(caller: &Caller) -> usize {
    let all = caller.get("/v1/users").await.expect(200);
    all["data"].as_array().expect("a page").len()
}

async fn the_same_request_gets_the_first_answer_again(aka: Aka) {
    let acme = aka.tenant().await;
    let (key, email) = (key(), unique("ada"));
    let email = format!("{email}@example.com");

    let first = new_user(&acme, &key, &email).await.expect(201);
    let again = new_user(&acme, &key, &email).await.expect(201);

    assert_replayed(&again, &first);
    assert_eq!(users(&acme).await, 1);
    let rows = aka.rows().await;
    let made = [("tenant_id", acme.tenant().into()), ("action", "createUser".into())];
    assert_eq!(rows.count("audit_log_entries", &made).await, 1);

    let (user, github) = (first.id(), acme.provider("github").await);
    let link = || acme.link(user, github, "583231").header(KEY, &key[1..]);
    let linked = link().await.expect(201);
    acme.unlink(user, linked.id()).await.expect(204);
    // Without the key it would be linked again.
    assert_replayed(&link().await.expect(201), &linked);
    acme.lookup(github, "583231").await.expect(200);
    assert!(acme.lookup(github, "583231").await["user_id"].is_null());
}

/// Each operation that changes something by `POST` or `PATCH`, with a request that works once in this tenant.
async fn changes(acme: &Caller) -> Vec<(&'static str, Caller, Method, String, Value)> {
    const RULE: &str = "forbid(principal, action == Action::\"deleteUser\", resource);";
    let (user, github) = (acme.user().await, acme.provider("github").await);
    let policy = acme.policy(7, RULE).await;
    let rule = acme.get(format!("/v1/policies/{policy}/rules")).await["data"][0]["id"].clone();
    let rule = rule.as_str().expect("an id").to_owned();
    let api_key = acme.limited_to(&["users:read"]).await.key_id();
    let identity = acme.link(user, github, "583230").await.expect(201).id();
    let master = acme.aka().master();
    let of_master = acme.aka().tenant().await.tenant();
    let new_key = json!({ "name": "bot", "scopes": ["users:read"] });
    let made = |id, method, path: String, body| (id, acme.clone(), method, path, body);
    vec![
        made(
            "createUserIdentity",
            Method::POST,
            format!("/v1/users/{user}/identities"),
            json!({ "identity_provider_id": github, "external_id": "583231" }),
        ),
        made(
            "updateIdentity",
            Method::PATCH,
            format!("/v1/identities/{identity}"),
            json!({ "external_username": "octocat" }),
        ),
        made(
            "createUser",
            Method::POST,
            "/v1/users".into(),
            json!({ "email": format!("{}@example.com", unique("sam")), "name": "Sam" }),
        ),
        made(
            "suspendUser",
            Method::POST,
            format!("/v1/users/{user}/suspend"),
            json!({ "active": false }),
        ),
        made(
            "createIdentityProvider",
            Method::POST,
            "/v1/identity-providers".into(),
            json!({ "name": "Slack", "provider_type": "slack" }),
        ),
        made("createApiKey", Method::POST, "/v1/api-keys".into(), new_key.clone()),
        made(
            "rotateApiKey",
            Method::POST,
            format!("/v1/api-keys/{api_key}/rotate"),
            json!({}),
        ),
        made(
            "createPolicy",
            Method::POST,
            "/v1/policies".into(),
            json!({ "name": "More", "cedar_policy_set": RULE }),
        ),
        made(
            "updatePolicy",
            Method::PATCH,
            format!("/v1/policies/{policy}"),
            json!({ "name": "Other" }),
        ),
        made(
            "createPolicyRule",
            Method::POST,
            format!("/v1/policies/{policy}/rules"),
            json!({ "policy_text": RULE }),
        ),
        made(
            "updatePolicyRule",
            Method::PATCH,
            format!("/v1/policies/{policy}/rules/{rule}"),
            json!({ "notice": "Ask first." }),
        ),
        (
            "createTenant",
            master.clone(),
            Method::POST,
            "/v1/tenants".into(),
            json!({ "name": "Another", "slug": unique("another") }),
        ),
        (
            "createTenantApiKey",
            master,
            Method::POST,
            format!("/v1/tenants/{of_master}/api-keys"),
            new_key,
        ),
    ]
}

/// The same for those that need what others have made: they name all policies, and all rules of one.
async fn orders(acme: &Caller) -> Vec<(&'static str, Caller, Method, String, Value)> {
    let policies = acme.get("/v1/policies").await.expect(200);
    let mut ids = policies.column("id");
    ids.reverse();
    let policy = policies["data"][0].clone();
    let rules: Vec<&Value> = policy["rules"].as_array().expect("rules").iter().collect();
    let rules: Vec<&Value> = rules.into_iter().rev().map(|rule| &rule["id"]).collect();
    vec![
        (
            "reorderPolicies",
            acme.clone(),
            Method::PATCH,
            "/v1/policies/reorder".into(),
            json!({ "ids": ids }),
        ),
        (
            "reorderPolicyRules",
            acme.clone(),
            Method::PATCH,
            format!("/v1/policies/{}/rules/reorder", policy["id"].as_str().expect("an id")),
            json!({ "ids": rules }),
        ),
    ]
}

async fn every_post_and_patch_that_changes_something_can_be_repeated(aka: Aka) {
    let acme = aka.tenant().await;
    let mut tried = BTreeSet::new();
    for together in [changes(&acme).boxed(), orders(&acme).boxed()] {
        for (operation, caller, method, path, body) in together.await {
            let key = key();
            let send = || caller.request(method.clone(), &*path).json(&body).header(KEY, &key);
            let first = send().await;
            assert!((200..300).contains(&first.status), "{operation}: {first}");
            assert_replayed(&send().await, &first);
            tried.insert(operation.to_owned());
        }
    }
    let documented: Value = serde_json::from_str(&aka.nobody().get("/openapi.json").await.text()).expect("JSON");
    let documented: BTreeSet<String> = documented["paths"]
        .as_object()
        .into_iter()
        .flatten()
        .flat_map(|(_, item)| item.as_object().into_iter().flatten())
        .filter(|(method, operation)| {
            ["post", "patch"].contains(&method.as_str()) && !operation["responses"]["422"].is_null()
        })
        .map(|(_, operation)| operation["operationId"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(tried, documented);
}

async fn white_space_and_the_order_of_fields_make_no_difference(aka: Aka) {
    let acme = aka.tenant().await;
    let key = format!("\"{}\"", key());
    let email = format!("{}@example.com", unique("ada"));
    let send = |body: String, key: &str| acme.post("/v1/users").body("application/json", body).header(KEY, key);

    let first = send(format!(r#"{{"email":"{email}","name":"Ada"}}"#), &key)
        .await
        .expect(201);
    let again = send(format!("{{ \"name\": \"Ada\",\n\"email\": \"{email}\" }}"), &key);

    assert_replayed(&again.await, &first);
    // Quotation marks around a key are not part of it.
    let again = send(format!(r#"{{"email":"{email}","name":"Ada"}}"#), key.trim_matches('"'));
    assert_replayed(&again.await, &first);
}

async fn a_different_request_with_the_same_key_is_refused(aka: Aka) {
    let acme = aka.tenant().await;
    let key = key();
    let (one, other) = (unique("one"), unique("other"));
    new_user(&acme, &key, &format!("{one}@example.com")).await.expect(201);

    let body = new_user(&acme, &key, &format!("{other}@example.com")).await;
    body.refused(422, "idempotency_key_reused");
    let provider = json!({ "name": "GitHub", "provider_type": "github" });
    let path = acme.post("/v1/identity-providers").json(&provider).header(KEY, &key);
    path.await.refused(422, "idempotency_key_reused");

    assert_eq!(users(&acme).await, 1);
    new_user(&acme, &self::key(), &format!("{other}@example.com"))
        .await
        .expect(201);
}

async fn each_credential_has_its_own_keys(aka: Aka) {
    let (acme, other) = (aka.tenant().await, aka.tenant().await);
    let clerk = acme.limited_to(&["users:read", "users:write"]).await;
    let key = key();

    for (number, caller) in [&acme, &other, &clerk].into_iter().enumerate() {
        let made = new_user(caller, &key, &format!("{number}@example.com"))
            .await
            .expect(201);
        assert_eq!(made.header(REPLAYED), None);
    }
    assert_eq!((users(&acme).await, users(&other).await), (2, 1));
}

async fn of_many_concurrent_requests_one_is_carried_out(aka: Aka) {
    let acme = aka.tenant().await;
    let key = key();
    let email = format!("{}@example.com", unique("ada"));

    let answers = join_all((0..20).map(async |_| new_user(&acme, &key, &email).await.expect(201))).await;

    let ids: BTreeSet<Uuid> = answers.iter().map(Answer::id).collect();
    assert_eq!(ids.len(), 1);
    let first = answers.iter().filter(|answer| answer.header(REPLAYED).is_none());
    assert_eq!(first.count(), 1);
    assert_eq!(users(&acme).await, 1);
}

async fn two_nodes_carry_out_a_request_once(aka: Aka) {
    let other = aka.second_node().await;
    let acme = aka.tenant().await;
    let there = acme.at(&other);
    for round in 0..10 {
        let key = key();
        let email = format!("ada-{round}@example.com");
        let send = async |number: usize| {
            let caller = if number.is_multiple_of(2) { &acme } else { &there };
            // On SQLite two processes wait for one another, and the one may give up.
            eventually(Duration::from_secs(20), "it is answered", async || {
                let answer = new_user(caller, &key, &email).await;
                if answer.status == 503 {
                    Err(answer)
                } else {
                    Ok(answer.expect(201))
                }
            })
            .await
        };
        let answers = join_all((0..8).map(send)).await;
        let ids: BTreeSet<Uuid> = answers.iter().map(Answer::id).collect();
        assert_eq!(ids.len(), 1, "round {round}");
        assert_eq!(users(&acme).await, round + 1);
    }
}

/// Links these accounts concurrently, each with its own key.
async fn link_all(acme: &Caller, user: Uuid, provider: Uuid, accounts: &[String]) -> Vec<Answer> {
    let link = async |account: &String| {
        let link = acme.link(user, provider, account);
        link.header(KEY, &format!("key-of-{account}")).await
    };
    join_all(accounts.iter().map(link)).await
}

/// The number of a tenant's kept responses.
async fn kept(acme: &Caller) -> usize {
    let rows = acme.aka().rows().await;
    rows.count("idempotency_keys", &[("tenant_id", acme.tenant().into())])
        .await
}

async fn concurrent_links_with_different_keys_are_all_made(aka: Aka) {
    const LINKS: usize = 64;
    let acme = aka.tenant().await;
    let (user, github) = (acme.user().await, acme.provider("github").await);
    let accounts: Vec<String> = (0..LINKS).map(|number| format!("account-{number}")).collect();

    let first = link_all(&acme, user, github, &accounts).await;
    let again = link_all(&acme, user, github, &accounts).await;

    let mut ids = BTreeSet::new();
    for ((account, first), again) in accounts.iter().zip(first).zip(again) {
        let first = first.expect(201);
        assert_eq!(first["external_id"], *account);
        assert_replayed(&again, &first);
        ids.insert(first.id());
    }
    assert_eq!(ids.len(), LINKS);
    let rows = aka.rows().await;
    let made = [
        ("tenant_id", acme.tenant().into()),
        ("action", "createUserIdentity".into()),
    ];
    assert_eq!(rows.count("audit_log_entries", &made).await, LINKS);
    assert_eq!(kept(&acme).await, LINKS);

    acme.delete(format!("/v1/users/{user}")).await.expect(204);
    assert_eq!(kept(&acme).await, 0, "responses about an erased user are erased");
}

async fn of_many_links_with_one_key_one_is_made(aka: Aka) {
    const REQUESTS: usize = 32;
    let acme = aka.tenant().await;
    let (user, github) = (acme.user().await, acme.provider("github").await);
    let key = key();

    let link = || async { acme.link(user, github, "583231").header(KEY, &key).await.expect(201) };
    let answers = join_all((0..REQUESTS).map(|_| link())).await;

    let (replayed, first): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.header(REPLAYED).is_some());
    assert_eq!((first.len(), replayed.len()), (1, REQUESTS - 1));
    for again in replayed {
        assert_replayed(again, first[0]);
    }
    assert_eq!(kept(&acme).await, 1);
}

async fn links_that_are_refused_among_others_leave_their_keys_free(aka: Aka) {
    const LINKS: usize = 60;
    let acme = aka.tenant().await;
    let (user, other, github) = (acme.user().await, acme.user().await, acme.provider("github").await);
    let accounts: Vec<String> = (0..LINKS).map(|number| format!("account-{number}")).collect();
    // One third of the accounts belongs to another user, one third is known but unlinked, and one third is new.
    let mut taken = Vec::new();
    for account in accounts.iter().step_by(3) {
        taken.push(acme.link(other, github, account).await.expect(201).id());
    }
    for account in accounts.iter().skip(1).step_by(3) {
        let linked = acme.link(other, github, account).await.expect(201);
        acme.unlink(other, linked.id()).await.expect(204);
    }

    let first = link_all(&acme, user, github, &accounts).await;

    for (number, answer) in first.iter().cloned().enumerate() {
        match number % 3 {
            0 => answer.refused(409, "identity_already_linked"),
            _ => answer.expect(201),
        };
    }
    assert_eq!(kept(&acme).await, LINKS / 3 * 2);

    // With the conflict resolved, the refused requests succeed, and the others are replayed.
    for identity in taken {
        acme.unlink(other, identity).await.expect(204);
    }
    let again = link_all(&acme, user, github, &accounts).await;
    for (number, (again, first)) in again.iter().zip(&first).enumerate() {
        match number % 3 {
            0 => assert_eq!((again.status, again.header(REPLAYED)), (201, None), "{again}"),
            _ => assert_replayed(again, first),
        }
    }
    assert_eq!(kept(&acme).await, LINKS);
}

async fn two_nodes_make_a_link_with_one_key_once(aka: Aka) {
    const ROUNDS: usize = 10;
    let other = aka.second_node().await;
    let acme = aka.tenant().await;
    let there = acme.at(&other);
    let (user, github) = (acme.user().await, acme.provider("github").await);
    for round in 0..ROUNDS {
        let key = key();
        let account = format!("account-{round}");
        let send = async |number: usize| {
            let caller = if number.is_multiple_of(2) { &acme } else { &there };
            // On SQLite two processes wait for one another, and the one may give up.
            eventually(Duration::from_secs(20), "it is answered", async || {
                let answer = caller.link(user, github, &account).header(KEY, &key).await;
                if answer.status == 503 {
                    Err(answer)
                } else {
                    Ok(answer.expect(201))
                }
            })
            .await
        };
        let answers = join_all((0..8).map(send)).await;
        let ids: BTreeSet<Uuid> = answers.iter().map(Answer::id).collect();
        assert_eq!(ids.len(), 1, "round {round}");
    }
    let rows = aka.rows().await;
    let made = [
        ("tenant_id", acme.tenant().into()),
        ("action", "createUserIdentity".into()),
    ];
    assert_eq!(rows.count("audit_log_entries", &made).await, ROUNDS);
    assert_eq!(kept(&acme).await, ROUNDS);
}

async fn a_response_survives_a_crash_of_the_server(aka: Aka) {
    let acme = aka.tenant().await;
    let node = aka.second_node_to_be_killed().await;
    let (key, email) = (key(), format!("{}@example.com", unique("ada")));
    let first = new_user(&acme.at(&node), &key, &email).await.expect(201);
    node.stop();
    drop(node);

    assert_replayed(&new_user(&acme, &key, &email).await, &first);
    assert_eq!(users(&acme).await, 1);
}

async fn a_refusal_is_not_kept(aka: Aka) {
    let acme = aka.tenant().await;
    let (one, other, github) = (acme.user().await, acme.user().await, acme.provider("github").await);
    let key = key();
    let linked = acme.link(one, github, "583231").await.expect(201);
    let link = || acme.link(other, github, "583231").header(KEY, &key);
    link().await.refused(409, "identity_already_linked");
    link().await.refused(409, "identity_already_linked");

    acme.unlink(one, linked.id()).await.expect(204);

    let first = link().await.expect(201);
    assert_replayed(&link().await, &first);
}

async fn policy_is_checked_again(aka: Aka) {
    let acme = aka.tenant().await;
    let (key, email) = (key(), format!("{}@example.com", unique("ada")));
    new_user(&acme, &key, &email).await.expect(201);

    acme.policy(1, "forbid(principal, action == Action::\"createUser\", resource);")
        .await;

    new_user(&acme, &key, &email).await.refused(403, "forbidden");
}

async fn a_kept_api_key_cannot_be_read_in_the_database(aka: Aka) {
    let acme = aka.tenant().await;
    let key = key();
    let create = || {
        let body = json!({ "name": "a bot with a name", "scopes": ["users:read"] });
        acme.post("/v1/api-keys").json(body).header(KEY, &key)
    };
    let first = create().await.expect(201);
    let raw = first["raw_key"].as_str().expect("a key").to_owned();

    let again = create().await.expect(201);
    assert_replayed(&again, &first);
    acme.with_key(&raw).get("/v1/users").await.expect(200);

    let sql = format!(
        "SELECT answer, key_hash FROM idempotency_keys WHERE tenant_id = {}",
        literal(&aka, acme.tenant())
    );
    let db = connect(aka.database_url()).await;
    let rows = db
        .query_all_raw(Statement::from_string(db.get_database_backend(), sql))
        .await;
    let rows = rows.expect("the table is there");
    assert_eq!(rows.len(), 1);
    let answer: Vec<u8> = rows[0].try_get_by_index(0).expect("bytes");
    let hash: Vec<u8> = rows[0].try_get_by_index(1).expect("bytes");
    for secret in [raw.as_bytes(), b"a bot with a name", key.as_bytes()] {
        for kept in [&answer, &hash] {
            assert!(!kept.windows(secret.len()).any(|bytes| bytes == secret));
        }
    }
    db.close().await.expect("a connection closes");
}

async fn a_key_can_be_used_again_after_a_day(aka: Aka) {
    const DAY: i64 = 24 * 60 * 60 * 1_000_000;
    let acme = aka.tenant().await;
    let (one, other) = (key(), key());
    let email = |name: &str| format!("{name}@example.com");
    let first = new_user(&acme, &one, &email("one")).await.expect(201);
    new_user(&acme, &other, &email("other")).await.expect(201);
    let age = async |micros: i64| {
        let tenant = literal(&aka, acme.tenant());
        let sql = format!("UPDATE idempotency_keys SET created_at = created_at - {micros} WHERE tenant_id = {tenant}");
        let db = connect(aka.database_url()).await;
        db.execute_unprepared(&sql).await.expect("it is older now");
        db.close().await.expect("a connection closes");
    };
    age(DAY - 60_000_000).await;
    assert_replayed(&new_user(&acme, &one, &email("one")).await, &first);

    age(60_000_000).await;
    new_user(&acme, &one, &email("again")).await.expect(201);
    assert_eq!(users(&acme).await, 3);

    // A server that starts removes what is too old: the other key's row.
    let node = aka.second_node().await;
    let rows = aka.rows().await;
    eventually(Duration::from_secs(5), "it is removed", async || {
        let left = rows
            .count("idempotency_keys", &[("tenant_id", acme.tenant().into())])
            .await;
        if left == 1 { Ok(()) } else { Err(format!("{left} rows")) }
    })
    .await;
    drop(node);
}

/// An id as SQL has it.
fn literal(aka: &Aka, id: Uuid) -> String {
    match aka.store() {
        Store::Sqlite => format!("x'{}'", id.simple()),
        Store::Postgres => format!("'{id}'"),
    }
}

async fn an_invalid_key_is_refused(aka: Aka) {
    let acme = aka.tenant().await;
    let too_long = "k".repeat(256);
    for wrong in ["", "\"\"", "a b", "\u{e9}t\u{e9}", too_long.as_str()] {
        let answer = new_user(&acme, wrong, "ada@example.com").await;
        answer.refused_input("header", KEY);
    }
    let twice = format!(
        "{}{KEY}: one\r\n{KEY}: two\r\nContent-Length: 0\r\n\r\n",
        raw::head(&acme, "POST", "/v1/users")
    );
    let twice = Connection::open(&aka).await.exchange(twice.into_bytes()).await;
    twice.refused_input("header", KEY);
    let without = acme.without_credential();
    new_user(&without, "", "ada@example.com")
        .await
        .refused(401, "unauthenticated");
    assert_eq!(users(&acme).await, 0);
    new_user(&acme, &too_long[1..], "ada@example.com").await.expect(201);
}

async fn a_key_has_no_effect_on_requests_that_are_idempotent_anyway(aka: Aka) {
    let acme = aka.tenant().await;
    let user = acme.user().await;
    let update = |name: &str| acme.put(format!("/v1/users/{user}")).json(json!({ "name": name }));
    for name in ["One", "Two"] {
        let updated = update(name).header(KEY, "same").await.expect(200);
        assert_eq!(updated["name"], name);
    }
    acme.get("/v1/users").header(KEY, "").await.expect(200);
    let question = json!({
        "principal": format!("user:{user}"),
        "action": "getUser",
        "resource": format!("user:{user}"),
    });
    for _ in 0..2 {
        let answer = acme
            .post("/v1/policies/evaluate")
            .json(&question)
            .header(KEY, "same")
            .await;
        assert_eq!(answer.expect(200).header(REPLAYED), None);
    }
}
