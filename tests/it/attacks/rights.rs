//! Rights that somebody might gain: what a credential cannot do, whatever the rules of its tenant permit.
//!
//! Each attack runs with [`EVERYTHING`] at the highest priority, so that only the built-in rules prevent it.

use crate::harness::{
    Aka, Answer, Caller, Uuid, issuer,
    issuer::{Issuer, RSA},
    json, on_both_stores,
};

on_both_stores![
    a_bound_key_acts_only_on_its_provider,
    a_bound_key_creates_only_keys_like_itself,
    a_bound_key_has_no_access_to_policies_and_tenants,
    a_bound_key_sees_only_resources_of_its_provider,
    no_key_can_do_more_than_its_creator,
    no_key_outlives_its_creator,
    a_rotation_grants_nobody_more_rights,
    a_token_creates_no_key_that_can_do_more,
    managing_tenants_requires_the_scope_itself,
    a_key_for_another_tenant_can_do_no_more_than_its_creator,
];

/// A rule that permits whatever the built-in rules do not forbid.
const EVERYTHING: &str = "permit (principal, action, resource);";
/// The highest priority that a policy can have.
const HIGHEST: i32 = 1_000_000;

/// A tenant in which everything is permitted that can be.
async fn lenient_tenant(aka: &Aka) -> Caller {
    let acme = aka.tenant().await;
    acme.policy(HIGHEST, EVERYTHING).await;
    acme
}

/// Makes a key, and returns the caller who has it.
async fn key(maker: &Caller, key: serde_json::Value) -> Caller {
    let made = make(maker, key).await.expect(201);
    maker.with_key(made["raw_key"].as_str().expect("a new key is shown"))
}

async fn make(maker: &Caller, mut key: serde_json::Value) -> Answer {
    key["name"] = json!("made");
    maker.post("/v1/api-keys").json(key).await
}

/// That the built-in rule of this id is what refuses it, where the caller may know.
fn refused_by(answer: Answer, rule: &str) {
    let refusal = answer.refused(403, "forbidden");
    assert_eq!(refusal["details"]["kind"], "forbidden", "{refusal}");
    assert!(!refusal.notices().is_empty(), "{refusal}");
    let known = &refusal["details"]["matching_rule_ids"];
    assert!(known.is_null() || *known == json!([rule]), "{refusal}");
}

/// The time so many seconds from now, as RFC 3339 has it.
fn time_in(seconds: u64) -> String {
    let seconds = i64::try_from(issuer::now() + seconds).expect("a time of this century");
    let time = time::OffsetDateTime::from_unix_timestamp(seconds).expect("a time of this century");
    time.format(&time::format_description::well_known::Rfc3339)
        .expect("a time of this century")
}

async fn a_bound_key_acts_only_on_its_provider(aka: Aka) {
    let acme = lenient_tenant(&aka).await;
    let (slack, github) = (acme.provider("slack").await, acme.provider("github").await);
    let user = acme.user().await;
    let at_github = acme.link(user, github, "583231").await.expect(201).id();
    let bound = key(
        &acme,
        json!({ "scopes": ["users:read"], "identity_provider_id": slack }),
    )
    .await;

    let at_slack = bound.link(user, slack, "U024").await.expect(201).id();
    bound.lookup(slack, "U024").await.expect(200);
    bound
        .get(format!("/v1/users/{user}/identities/{at_slack}"))
        .await
        .expect(200);
    bound.get(format!("/v1/identity-providers/{slack}")).await.expect(200);

    let act = "bound-keys-act-at-their-provider";
    refused_by(bound.link(user, github, "1").await, act);
    refused_by(bound.link(user, Uuid::now_v7(), "1").await, act);
    refused_by(bound.unlink(user, at_github).await, act);
    let read = async |identity: Uuid| bound.get(format!("/v1/users/{user}/identities/{identity}")).await;
    refused_by(read(at_github).await, act);
    // Whether there is such an identity somewhere else cannot be told, either.
    refused_by(read(Uuid::now_v7()).await, act);
    let see = "bound-keys-see-their-provider";
    refused_by(bound.lookup(github, "583231").await, see);
    let path = format!("/v1/identity-providers/{github}");
    refused_by(bound.get(&path).await, see);
    refused_by(bound.put(&path).json(json!({ "enabled": false })).await, see);
    refused_by(bound.delete(&path).await, see);
    bound.unlink(user, at_slack).await.expect(204);
    acme.lookup(github, "583231").await.expect(200);
}

async fn a_bound_key_creates_only_keys_like_itself(aka: Aka) {
    let acme = lenient_tenant(&aka).await;
    let (slack, github) = (acme.provider("slack").await, acme.provider("github").await);
    let like = |provider: Option<Uuid>| json!({ "scopes": ["users:read"], "identity_provider_id": provider });
    let bound = key(&acme, like(Some(slack))).await;
    let (unbound, elsewhere) = (key(&acme, like(None)).await, key(&acme, like(Some(github))).await);

    key(&bound, like(Some(slack))).await.get("/v1/users").await.expect(200);
    let rotate = async |key: Uuid| bound.post(format!("/v1/api-keys/{key}/rotate")).await;
    let successor = rotate(bound.key_id()).await.expect(201);
    assert_eq!(successor["identity_provider_id"], json!(slack));

    let makes = "bound-keys-make-only-keys-of-their-provider";
    refused_by(make(&bound, like(None)).await, makes);
    refused_by(make(&bound, like(Some(github))).await, makes);
    for other in [unbound.key_id(), elsewhere.key_id(), Uuid::now_v7()] {
        refused_by(rotate(other).await, makes);
        let manages = "bound-keys-manage-only-keys-of-their-provider";
        refused_by(bound.get(format!("/v1/api-keys/{other}")).await, manages);
        refused_by(bound.get(format!("/v1/api-keys/{other}/capabilities")).await, manages);
        refused_by(bound.delete(format!("/v1/api-keys/{other}")).await, manages);
    }
    unbound.get("/v1/users").await.expect(200);
}

async fn a_bound_key_has_no_access_to_policies_and_tenants(aka: Aka) {
    let acme = lenient_tenant(&aka).await;
    let slack = acme.provider("slack").await;
    let everything = json!({ "scopes": crate::harness::operations::SCOPES, "identity_provider_id": slack });
    let bound = key(&acme, everything).await;

    for operation in crate::harness::operations::OPERATIONS {
        let of_others = ["policies:read", "policies:write", "tenants:read", "tenants:write"].contains(&operation.scope)
            || operation.id == "createIdentityProvider";
        if of_others {
            let refusal = operation.request(&bound).await.refused(403, "forbidden");
            assert_eq!(refusal["details"]["kind"], "forbidden", "{}: {refusal}", operation.id);
        }
    }
}

async fn a_bound_key_sees_only_resources_of_its_provider(aka: Aka) {
    let acme = lenient_tenant(&aka).await;
    let (slack, github) = (acme.provider("slack").await, acme.provider("github").await);
    let user = acme.user().await;
    for number in 0..3 {
        acme.link(user, github, &number.to_string()).await.expect(201);
        acme.link(user, slack, &number.to_string()).await.expect(201);
    }
    let bound = key(
        &acme,
        json!({ "scopes": ["users:read"], "identity_provider_id": slack }),
    )
    .await;

    let keys = bound.get("/v1/api-keys").await.expect(200);
    assert_eq!(keys.column("id"), [json!(bound.key_id())]);
    let providers = bound.get("/v1/identity-providers").await.expect(200);
    assert_eq!(providers.column("id"), [json!(slack)]);
    let first = bound
        .get(format!("/v1/users/{user}/identities?limit=2"))
        .await
        .expect(200);
    assert_eq!(first.column("external_id"), [json!("0"), json!("1")]);
    let cursor = first["next_cursor"].as_str().expect("there is more");
    let second = bound
        .get(format!("/v1/users/{user}/identities?limit=2"))
        .query("cursor", cursor)
        .await
        .expect(200);
    assert_eq!(second.column("identity_provider_id"), [json!(slack)]);
    assert_eq!(second["has_more"], false);
}

async fn no_key_can_do_more_than_its_creator(aka: Aka) {
    let acme = lenient_tenant(&aka).await;
    let maker = key(&acme, json!({ "scopes": ["users:read"] })).await;

    make(&maker, json!({ "scopes": ["users:read"] })).await.expect(201);
    let more = json!({ "scopes": ["users:read", "policies:write"] });
    refused_by(make(&maker, more).await, "no-scopes-that-the-caller-lacks");
}

async fn no_key_outlives_its_creator(aka: Aka) {
    let acme = lenient_tenant(&aka).await;
    let (sooner, end, later) = (time_in(1_800), time_in(3_600), time_in(7_200));
    let ending = |at: &str| json!({ "scopes": ["users:read"], "expires_at": at });
    let maker = key(&acme, ending(&end)).await;

    make(&maker, ending(&sooner)).await.expect(201);
    make(&maker, ending(&end)).await.expect(201);
    let rule = "no-key-outlives-its-maker";
    refused_by(make(&maker, ending(&later)).await, rule);
    refused_by(make(&maker, json!({ "scopes": ["users:read"] })).await, rule);
    // A key that was rotated ends with the overlap, and so does what it makes.
    let rotated = key(&acme, json!({ "scopes": ["users:read"] })).await;
    let path = format!("/v1/api-keys/{}/rotate", rotated.key_id());
    acme.post(path).json(json!({ "overlap_seconds": 60 })).await.expect(201);
    refused_by(make(&rotated, ending(&sooner)).await, rule);
}

async fn a_rotation_grants_nobody_more_rights(aka: Aka) {
    let acme = lenient_tenant(&aka).await;
    let end = time_in(3_600);
    let brief = json!({ "scopes": ["users:read"], "expires_at": end });
    let rotator = key(&acme, brief.clone()).await;
    let lasting = key(&acme, json!({ "scopes": ["users:read"] })).await;
    let able = key(
        &acme,
        json!({ "scopes": ["users:read", "users:write"], "expires_at": end }),
    )
    .await;
    let rotate = async |key: &Caller| rotator.post(format!("/v1/api-keys/{}/rotate", key.key_id())).await;

    refused_by(rotate(&lasting).await, "no-key-outlives-its-maker");
    refused_by(rotate(&able).await, "no-scopes-that-the-caller-lacks");
    let successor = rotate(&rotator).await.expect(201);
    let ends = |answer: &Answer| answer["expires_at"].clone();
    let read = acme.get(format!("/v1/api-keys/{}", successor.id())).await.expect(200);
    assert_eq!(ends(&read), ends(&successor));
    assert!(
        ends(&successor)
            .as_str()
            .is_some_and(|at| at.get(..19) == end.get(..19)),
        "{successor}"
    );
}

async fn a_token_creates_no_key_that_can_do_more(aka: Aka) {
    let acme = lenient_tenant(&aka).await;
    let issuer = Issuer::with_keys(&acme, &[RSA]).await;
    let user = acme.user().await;
    acme.link(user, issuer.provider, "linked").await.expect(201);

    for subject in ["linked", "stranger"] {
        let bearer = acme.with_bearer(&RSA.sign(&issuer.claims(subject, "users:read")));
        make(&bearer, json!({ "scopes": ["users:read"] })).await.expect(201);
        let more = json!({ "scopes": ["users:write"] });
        refused_by(make(&bearer, more).await, "no-scopes-that-the-caller-lacks");
        let rotate = bearer.post(format!("/v1/api-keys/{}/rotate", acme.key_id())).await;
        refused_by(rotate, "no-scopes-that-the-caller-lacks");
    }
}

async fn managing_tenants_requires_the_scope_itself(aka: Aka) {
    let master = aka.master();
    let limited = key(&master, json!({ "scopes": ["users:read", "tenants:read"] })).await;
    // The master tenant is that of all tests: nobody else is permitted anything.
    let rule = format!(
        "permit (principal == ApiKey::\"{}\", action, resource);",
        limited.key_id()
    );
    let policy = master.policy(HIGHEST, &rule).await;
    let other = aka.tenant().await.tenant();

    for operation in crate::harness::operations::OPERATIONS {
        if operation.scope == "tenants:write" {
            let refusal = operation.request(&limited).await.refused(403, "forbidden");
            assert_eq!(refusal["details"]["kind"], "forbidden", "{}: {refusal}", operation.id);
            assert!(refusal.text().contains("tenants:write"), "{refusal}");
        }
    }
    limited.get(format!("/v1/tenants/{other}")).await.expect(200);
    limited.get("/v1/api-keys").await.expect(200);
    master.delete(format!("/v1/policies/{policy}")).await.expect(204);
}

async fn a_key_for_another_tenant_can_do_no_more_than_its_creator(aka: Aka) {
    let end = time_in(3_600);
    let scopes = ["tenants:write", "users:read"];
    let maker = key(&aka.master(), json!({ "scopes": scopes, "expires_at": end })).await;
    let other = aka.tenant().await.tenant();
    let make = async |scopes: &[&str], end: Option<&str>| {
        let key = json!({ "name": "first", "scopes": scopes, "expires_at": end });
        maker.post(format!("/v1/tenants/{other}/api-keys")).json(key).await
    };

    make(&["users:read"], Some(&end)).await.expect(201);
    let more = make(&["users:read", "users:write"], Some(&end)).await;
    refused_by(more, "no-scopes-that-the-caller-lacks");
    refused_by(make(&["users:read"], None).await, "no-key-outlives-its-maker");
    refused_by(
        make(&["users:read"], Some(&time_in(7_200))).await,
        "no-key-outlives-its-maker",
    );
}
