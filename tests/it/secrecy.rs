//! The log: enough to follow a request, and never a secret.

use crate::harness::{
    Aka, Value,
    issuer::{Issuer, RSA},
    json, on_both_stores, postgres,
};

on_both_stores![
    the_log_has_every_request_and_no_secret,
    a_log_line_has_the_caller_the_operation_and_the_result,
];

/// The line that the server has logged of the answer to a request.
fn line_of(log: &str, id: &str) -> Value {
    let lines = log.lines().filter_map(|line| serde_json::from_str(line).ok());
    let mut answered = lines.filter(|line: &Value| line["request"]["id"] == id && line["message"] == "answered");
    answered.next().unwrap_or_else(|| panic!("no line of {id}\n{log}"))
}

async fn a_log_line_has_the_caller_the_operation_and_the_result(shared: Aka) {
    let aka = Aka::alone_with(shared.store(), &[("AKA_LOG_FORMAT", "json")]).await;
    let (acme, other) = (aka.tenant().await, aka.tenant().await);
    let user = acme.user().await;
    let issuer = Issuer::with_keys(&acme, &[RSA]).await;
    let subject = acme.with_bearer(&RSA.sign(&issuer.claims("lovelace@example.com", "users:read")));
    let provider = issuer.provider;

    acme.get(format!("/v1/users/{user}"))
        .header("x-request-id", "found")
        .await
        .expect(200);
    acme.get("/v1/users/lovelace@example.com?email=lovelace@example.com")
        .header("x-request-id", "no-id")
        .await
        .expect(400);
    acme.get("/v1/lovelace@example.com")
        .header("x-request-id", "no-path")
        .await
        .expect(404);
    subject
        .get("/v1/users")
        .header("x-request-id", "subject")
        .await
        .expect(200);
    subject
        .get("/v1/policies")
        .header("x-request-id", "no-permit")
        .await
        .expect(403);
    aka.nobody()
        .get("/v1/users")
        .header("x-request-id", "nobody")
        .await
        .expect(401);
    acme.claiming_tenant(&other.tenant().to_string())
        .get("/v1/users")
        .header("x-request-id", "mismatch")
        .await
        .expect(403);
    aka.stop();

    let log = aka.log();
    let (tenant, key) = (json!(acme.tenant()), json!(acme.key_id()));
    let null = Value::Null;
    for (id, operation, tenant, actor, code) in [
        ("found", json!("getUser"), &tenant, &key, null.clone()),
        ("no-id", json!("getUser"), &tenant, &key, json!("invalid_input")),
        ("no-path", null.clone(), &null, &null, json!("not_found")),
        ("subject", json!("listUsers"), &tenant, &json!(provider), null.clone()),
        (
            "no-permit",
            json!("listPolicies"),
            &tenant,
            &json!(provider),
            json!("forbidden"),
        ),
        ("nobody", json!("listUsers"), &null, &null, json!("unauthenticated")),
        ("mismatch", json!("listUsers"), &tenant, &key, json!("tenant_mismatch")),
    ] {
        let line = line_of(&log, id);
        let request = &line["request"];
        assert_eq!(request["operation"], operation, "{line}");
        assert_eq!(&request["tenant"], tenant, "{line}");
        assert_eq!(&request["actor"], actor, "{line}");
        assert_eq!(request["code"], code, "{line}");
        assert!(line["status"].is_u64() && line["duration_us"].is_u64(), "{line}");
    }
    assert!(
        !log.contains("lovelace"),
        "neither subjects nor what a path should not have\n{log}"
    );
}

async fn the_log_has_every_request_and_no_secret(shared: Aka) {
    // Everything that the program itself can say.
    let settings = [
        ("AKA_LOG", "info,aka=trace,sqlx=debug,sea_orm=debug"),
        ("AKA_LOG_FORMAT", "json"),
    ];
    let aka = Aka::alone_with(shared.store(), &settings).await;
    let acme = aka.tenant().await;
    let user = acme.user().await;
    let provider = json!({
        "name": "GitHub",
        "provider_type": "github",
        "config": { "client_secret": "secret-of-the-provider", "webhook": { "token": "secret-of-the-webhook" } },
    });
    let provider = acme
        .post("/v1/identity-providers")
        .json(provider)
        .await
        .expect(201)
        .id();
    let bot = acme.limited_to(&["users:read", "identities:write"]).await;
    let rotated = acme
        .post(format!("/v1/api-keys/{}/rotate", bot.key_id()))
        .json(json!({}))
        .await
        .expect(201);
    let issuer = Issuer::with_keys(&acme, &[RSA]).await;
    let token = RSA.sign(&issuer.claims("ada", "users:read"));
    let account = json!({
        "identity_provider_id": provider,
        "external_id": "583231",
        "external_email": "lovelace@example.com",
        "external_display_name": "Ada Lovelace",
    });

    let account = bot.post(format!("/v1/users/{user}/identities")).json(account);
    account.header("x-request-id", "the-link").await.expect(201);
    acme.with_bearer(&token)
        .get("/v1/users")
        .header("x-request-id", "the-list")
        .await
        .expect(200);
    acme.with_bearer(&token).get("/v1/policies").await.expect(403);
    let wrong = crate::harness::samples::with_other_secret(bot.key());
    acme.with_key(&wrong)
        .get("/v1/users")
        .header("x-request-id", "the-refusal")
        .await
        .expect(401);
    acme.with_key("hunter2-is-not-a-key").get("/v1/users").await.expect(401);
    let tampered = format!("{token}x");
    acme.with_bearer(&tampered).get("/v1/users").await.expect(401);
    acme.post("/v1/users")
        .body("application/json", "{\"email\": \"hunter2-in-a-body")
        .await
        .expect(400);
    aka.stop();

    let log = aka.log();
    for id in ["the-link", "the-list", "the-refusal"] {
        let line = log
            .lines()
            .find(|line| line.contains(id))
            .unwrap_or_else(|| panic!("no line of {id}\n{log}"));
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("not JSON: {error}\n{line}"));
        assert!(line.is_object());
    }
    let signature = token.rsplit('.').next().expect("a token has a signature").to_owned();
    let secrets = [
        acme.key().to_owned(),
        bot.key().to_owned(),
        aka.master().key().to_owned(),
        rotated["raw_key"].as_str().expect("a new key is shown").to_owned(),
        wrong,
        token,
        signature,
        "secret-of-the-provider".to_owned(),
        "secret-of-the-webhook".to_owned(),
        "hunter2".to_owned(),
        postgres::PASSWORD.to_owned(),
        // No secrets, but nobody's business either.
        "lovelace@example.com".to_owned(),
        "Ada Lovelace".to_owned(),
    ];
    for secret in secrets {
        let line = log.lines().find(|line| line.contains(&secret));
        assert!(line.is_none(), "the log has {secret}\n{}", line.unwrap_or_default());
    }
}
