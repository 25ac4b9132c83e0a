//! Credentials: invalid API keys, the tenant header, and the order in which a request is checked.

use crate::harness::{
    Aka, Answer, Caller, Uuid, json, on_both_stores,
    operations::{self, OPERATIONS},
    raw::Connection,
    samples,
};

on_both_stores![
    every_operation_requires_a_credential,
    every_operation_refuses_a_key_that_does_not_exist,
    text_that_is_not_a_key_is_refused_as_malformed,
    a_key_with_a_wrong_checksum_is_refused_as_malformed,
    an_invented_key_is_refused_as_unknown,
    a_bearer_credential_that_is_not_a_token_is_refused,
    a_scheme_other_than_bearer_is_not_a_credential,
    a_request_with_two_credentials_is_refused,
    a_duplicate_or_garbled_credential_is_refused,
    every_operation_refuses_a_key_of_another_tenant,
    every_operation_requires_a_tenant_header,
    a_tenant_header_that_is_not_a_uuid_is_invalid_input,
    an_unknown_tenant_is_refused_as_a_mismatch,
    a_tenant_header_may_be_in_upper_case,
    the_credential_is_checked_first,
    the_tenant_is_checked_before_the_input,
    the_input_is_checked_before_policy,
    policy_is_checked_before_existence,
    health_needs_no_credential,
];

fn assert_unauthenticated(answer: Answer, reason: &str) {
    let refusal = answer.refused(401, "unauthenticated");
    assert_eq!(refusal["details"]["reason"], reason, "{refusal}");
}

async fn every_operation_requires_a_credential(aka: Aka) {
    let anybody = aka.tenant().await.without_credential();
    for operation in OPERATIONS {
        assert_unauthenticated(operation.request(&anybody).await, "missing_credential");
    }
}

async fn every_operation_refuses_a_key_that_does_not_exist(aka: Aka) {
    let acme = aka.tenant().await;
    let made_up = acme.with_key(&samples::with_other_secret(acme.key()));
    for operation in OPERATIONS {
        assert_unauthenticated(operation.request(&made_up).await, "unknown_key");
    }
}

async fn text_that_is_not_a_key_is_refused_as_malformed(aka: Aka) {
    let acme = aka.tenant().await;
    let cut = &acme.key()[..acme.key().len() - 1];
    let doubled = format!("{0}{0}", acme.key());
    let longer = format!("{}1", acme.key());
    let upper = acme.key().to_uppercase();
    let long = "aka_".to_owned() + &"1".repeat(4096);
    for text in [
        "x",
        "aka_",
        "aka_0OIl",
        "Bearer",
        cut,
        &doubled,
        &longer,
        &upper,
        &long,
        &acme.key()[4..],
    ] {
        assert_unauthenticated(acme.with_key(text).get("/v1/users").await, "malformed_key");
    }
}

async fn a_key_with_a_wrong_checksum_is_refused_as_malformed(aka: Aka) {
    let acme = aka.tenant().await;
    let mistyped = acme.with_key(&samples::with_wrong_checksum(acme.key()));

    assert_unauthenticated(mistyped.get("/v1/users").await, "malformed_key");
}

async fn an_invented_key_is_refused_as_unknown(aka: Aka) {
    let acme = aka.tenant().await;
    let other = aka.tenant().await.tenant();
    acme.get("/v1/users").await.expect(200);

    for key in [
        samples::with_other_secret(acme.key()),
        samples::with_other_id(acme.key()),
        samples::with_tenant(acme.key(), other),
        samples::with_tenant(acme.key(), Uuid::now_v7()),
    ] {
        assert_unauthenticated(acme.with_key(&key).get("/v1/users").await, "unknown_key");
    }
    acme.get("/v1/users").await.expect(200);
}

async fn a_bearer_credential_that_is_not_a_token_is_refused(aka: Aka) {
    let acme = aka.tenant().await;
    for text in ["x", "a.b.c", "....", "e30.e30.e30", acme.key()] {
        assert_unauthenticated(acme.with_bearer(text).get("/v1/users").await, "invalid_token");
    }
}

async fn a_scheme_other_than_bearer_is_not_a_credential(aka: Aka) {
    let acme = aka.tenant().await.without_credential();
    for text in ["Basic YWRhOmxvdmVsYWNl", "Digest x", "Bearer"] {
        acme.get("/v1/users")
            .header("authorization", text)
            .await
            .refused(401, "unauthenticated");
    }
}

async fn a_request_with_two_credentials_is_refused(aka: Aka) {
    let acme = aka.tenant().await;

    // Which of them counts would be a guess.
    acme.get("/v1/users")
        .header("authorization", "Bearer x")
        .await
        .refused(401, "unauthenticated");
}

async fn a_duplicate_or_garbled_credential_is_refused(aka: Aka) {
    let acme = aka.tenant().await;
    let (tenant, key) = (acme.tenant(), acme.key());
    for headers in [
        format!("x-api-key: {key}\r\nx-api-key: {key}\r\nx-tenant-id: {tenant}"),
        format!("x-api-key: {key}\u{e9}\r\nx-tenant-id: {tenant}"),
        format!("x-api-key: {key}\r\nx-api-key: x"),
        "authorization: Bearer a.b.c\r\nauthorization: Bearer a.b.c".into(),
        "authorization: Bearer \u{e9}".into(),
    ] {
        let request = format!("GET /v1/users HTTP/1.1\r\nhost: aka\r\n{headers}\r\n\r\n");
        let answer = Connection::open(&aka).await.exchange(request.into_bytes()).await;
        answer.check(aka.document(), "GET", "/v1/users");
        assert_unauthenticated(answer, "malformed_credential");
    }
    for tenants in [
        format!("x-tenant-id: {tenant}\r\nx-tenant-id: {tenant}"),
        "x-tenant-id: \u{e9}".into(),
    ] {
        let request = format!("GET /v1/users HTTP/1.1\r\nhost: aka\r\nx-api-key: {key}\r\n{tenants}\r\n\r\n");
        let answer = Connection::open(&aka).await.exchange(request.into_bytes()).await;
        answer.refused_input("header", "X-Tenant-ID");
    }
}

async fn every_operation_refuses_a_key_of_another_tenant(aka: Aka) {
    let (acme, other) = (aka.tenant().await, aka.tenant().await);
    let stranger = acme.claiming_tenant(&other.tenant().to_string());
    for operation in OPERATIONS {
        operation.request(&stranger).await.refused(403, "tenant_mismatch");
    }
}

async fn every_operation_requires_a_tenant_header(aka: Aka) {
    let acme = aka.tenant().await.without_tenant_header();
    for operation in OPERATIONS {
        operation.request(&acme).await.refused_input("header", "X-Tenant-ID");
    }
}

async fn a_tenant_header_that_is_not_a_uuid_is_invalid_input(aka: Aka) {
    let acme = aka.tenant().await;
    let cut = acme.tenant().to_string()[..35].to_owned();
    for text in ["", " ", "acme", "5", "null", &cut] {
        acme.claiming_tenant(text)
            .get("/v1/users")
            .await
            .refused_input("header", "X-Tenant-ID");
    }
}

async fn an_unknown_tenant_is_refused_as_a_mismatch(aka: Aka) {
    let (acme, other) = (aka.tenant().await, aka.tenant().await);
    let claiming = async |tenant: Uuid| {
        let refusal = acme
            .claiming_tenant(&tenant.to_string())
            .get("/v1/users")
            .await
            .refused(403, "tenant_mismatch");
        refusal.text().replace(&tenant.to_string(), "")
    };

    assert_eq!(claiming(other.tenant()).await, claiming(Uuid::now_v7()).await);
}

async fn a_tenant_header_may_be_in_upper_case(aka: Aka) {
    let acme = aka.tenant().await;
    let upper = acme.claiming_tenant(&acme.tenant().to_string().to_uppercase());

    upper.get("/v1/users").await.expect(200);
}

/// A link call in which everything is wrong that is not put right: the input, and the user.
async fn link_nonsense(caller: &Caller) -> Answer {
    caller
        .post(format!("/v1/users/{}/identities", Uuid::now_v7()))
        .json(json!({ "external_id": "" }))
        .await
}

async fn the_credential_is_checked_first(aka: Aka) {
    let acme = aka.tenant().await;
    let mut callers = Vec::new();
    for nobody in [acme.without_credential(), acme.with_key("x")] {
        callers.extend([nobody.claiming_tenant("acme"), nobody.without_tenant_header(), nobody]);
    }
    let no_token = acme.with_bearer("x");
    callers.extend([
        no_token.without_tenant_header(),
        no_token.claiming_tenant("acme"),
        no_token,
    ]);
    for caller in callers.clone() {
        callers.push(caller.claiming_tenant(&Uuid::now_v7().to_string()));
    }
    for caller in callers {
        link_nonsense(&caller).await.refused(401, "unauthenticated");
        caller.get("/v1/users/not-a-uuid").await.refused(401, "unauthenticated");
        caller.get("/v1/users?limit=abc").await.refused(401, "unauthenticated");
    }
}

async fn the_tenant_is_checked_before_the_input(aka: Aka) {
    let acme = aka.tenant().await;
    let stranger = acme.claiming_tenant(&Uuid::now_v7().to_string());

    link_nonsense(&stranger).await.refused(403, "tenant_mismatch");
    stranger
        .get("/v1/users/not-a-uuid")
        .await
        .refused(403, "tenant_mismatch");
    stranger
        .get("/v1/users?limit=abc")
        .await
        .refused(403, "tenant_mismatch");
    stranger
        .post("/v1/users")
        .body("text/plain", "hello")
        .await
        .refused(403, "tenant_mismatch");
}

async fn the_input_is_checked_before_policy(aka: Aka) {
    let nobody = aka.tenant().await.limited_to(&["policies:read"]).await;

    link_nonsense(&nobody).await.refused(400, "invalid_input");
    nobody.get("/v1/users/not-a-uuid").await.refused_input("path", "id");
    nobody.get("/v1/users?limit=abc").await.refused_input("query", "limit");
    nobody
        .post("/v1/users")
        .body("application/json", "{")
        .await
        .refused(400, "malformed_json");
}

async fn policy_is_checked_before_existence(aka: Aka) {
    let acme = aka.tenant().await;
    let nobody = acme.limited_to(&["policies:read"]).await;
    let (ada, provider) = (acme.user().await, acme.provider("github").await);
    acme.link(ada, provider, "583231").await.expect(201);
    let grace = acme.user().await;

    nobody
        .link(Uuid::now_v7(), provider, "583231")
        .await
        .refused(403, "forbidden");
    nobody.link(grace, provider, "583231").await.refused(403, "forbidden");
    for operation in OPERATIONS
        .iter()
        .filter(|one| one.path.contains('{') && one.scope != "policies:read")
    {
        operation.request(&nobody).await.refused(403, "forbidden");
    }
    operations::named("getPolicy")
        .request(&nobody)
        .await
        .refused_as_unknown("policy");
}

async fn health_needs_no_credential(aka: Aka) {
    for path in ["/healthz", "/readyz"] {
        let answer = aka.nobody().get(path).await.expect(200);
        assert_eq!(answer.json, json!({ "status": "ok" }));
    }
}
