//! Tokens of strangers: the cost of refusing them, and whom that delays.

use std::time::{Duration, Instant};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, Header};

use super::{Clients, Victim};
use crate::harness::{
    Aka, Answer, Caller, Uuid, Value, eventually,
    issuer::{AUDIENCE, Issuer, KeyServer, NEXT_RSA, RSA, by_hand},
    json, on_both_stores, unique,
};

on_both_stores![
    keys_that_are_slow_to_verify_with_are_refused,
    slow_keys_in_a_fetched_set_are_ignored,
    only_a_few_keys_are_tried_per_token,
    a_flood_of_tokens_of_strangers_delays_nobody,
    a_slow_issuer_does_not_delay_tokens_with_known_keys,
    tokens_with_unknown_keys_do_not_cause_repeated_fetches,
    an_issuer_that_fails_is_not_asked_for_each_token,
];

/// An RSA key of so many bits. Nobody has its private half, and it need not have one.
fn rsa_key(kid: &str, bits: usize, exponent: &str) -> Value {
    let mut modulus = vec![0xff; bits.div_ceil(8)];
    modulus[0] >>= (8 - bits % 8) % 8;
    json!({ "kty": "RSA", "kid": kid, "n": BASE64_URL_SAFE_NO_PAD.encode(modulus), "e": exponent })
}

/// 65,537, which nearly all keys have.
const USUAL: &str = "AQAB";

/// The configuration of an issuer with these keys.
fn config(keys: &[Value]) -> Value {
    let name = format!("https://{}.example.com", unique("issuer"));
    json!({ "issuer": name, "audience": AUDIENCE, "jwks": { "keys": keys } })
}

async fn create(caller: &Caller, config: &Value) -> Answer {
    let provider = json!({ "name": unique("sign-in"), "provider_type": "oidc", "config": config });
    caller.post("/v1/identity-providers").json(provider).await
}

async fn read_users(caller: &Caller, token: &str) -> Answer {
    caller.with_bearer(token).get("/v1/users").await
}

/// A token that nobody has signed, with a signature of the right length for a key.
fn bogus(issuer: &str, kid: Option<&str>, bits: usize) -> String {
    let issuer = Issuer {
        name: issuer.to_owned(),
        provider: Uuid::nil(),
    };
    let header = json!({ "alg": "RS256", "kid": kid });
    by_hand(&header, &issuer.claims("eve", "users:read"), &vec![1; bits / 8])
}

async fn keys_that_are_slow_to_verify_with_are_refused(aka: Aka) {
    let acme = aka.tenant().await;
    for key in [
        rsa_key("long", 8192, USUAL),
        rsa_key("long", 4104, USUAL),
        rsa_key("short", 1024, USUAL),
        rsa_key("short", 2047, USUAL),
        // 2^17 + 1, 2^32 + 1, 2^255 - 1 and one.
        rsa_key("exponent", 2048, "AgAB"),
        rsa_key("exponent", 2048, "AQAAAAE"),
        rsa_key("exponent", 2048, &BASE64_URL_SAFE_NO_PAD.encode([0x7f; 32])),
        rsa_key("exponent", 2048, "AQ"),
    ] {
        // Also beside keys that are good.
        let refusal = create(&acme, &config(&[RSA.jwk(), key])).await;
        refusal.refused_input("body", "config.jwks");
    }
    let many = (0..100).map(|number| rsa_key(&number.to_string(), 2048, USUAL));
    create(&acme, &config(&many.collect::<Vec<_>>()))
        .await
        .refused(400, "invalid_input");
    let good = [
        rsa_key("a", 2048, USUAL),
        rsa_key("b", 4096, USUAL),
        rsa_key("c", 3072, "Aw"),
    ];
    create(&acme, &config(&good)).await.expect(201);
}

async fn slow_keys_in_a_fetched_set_are_ignored(aka: Aka) {
    let acme = aka.tenant().await;
    let server = KeyServer::start(&[]).await;
    server.publish_set(json!({ "keys": [rsa_key("long", 8192, USUAL), RSA.jwk()] }));
    let issuer = Issuer::with_keys_at(&acme, &server.address()).await;

    read_users(&acme, &RSA.sign(&issuer.claims("ada", "users:read")))
        .await
        .expect(200);
    read_users(&acme, &bogus(&issuer.name, Some("long"), 8192))
        .await
        .refused(401, "unauthenticated");
}

async fn only_a_few_keys_are_tried_per_token(aka: Aka) {
    let acme = aka.tenant().await;
    let mut keys: Vec<Value> = (0..8).map(|number| rsa_key(&number.to_string(), 4096, USUAL)).collect();
    keys.push(RSA.jwk());
    let config = config(&keys);
    create(&acme, &config).await.expect(201);
    let issuer = Issuer {
        name: config["issuer"].as_str().expect("a text").to_owned(),
        provider: Uuid::nil(),
    };
    let claims = issuer.claims("ada", "users:read");

    read_users(&acme, &RSA.sign(&claims)).await.expect(200);
    let unnamed = RSA.sign_with(&Header::new(Algorithm::RS256), &claims);
    let refusal = read_users(&acme, &unnamed).await.refused(401, "unauthenticated");
    assert!(
        refusal["message"].as_str().is_some_and(|text| text.contains("kid")),
        "{refusal}"
    );
}

async fn a_flood_of_tokens_of_strangers_delays_nobody(aka: Aka) {
    /// As many as one token may be tried with.
    const KEYS: usize = 2;
    /// Clients that flood the server.
    const CLIENTS: usize = 8;
    let aka = Aka::alone(aka.store()).await;
    let (attacker, bystander) = (aka.tenant().await, aka.tenant().await);
    let keys: Vec<Value> = (0..KEYS)
        .map(|number| rsa_key(&number.to_string(), 4096, USUAL))
        .collect();
    let config = config(&keys);
    create(&attacker, &config).await.expect(201);
    let name = config["issuer"].as_str().expect("a text").to_owned();
    let victim = Victim::at(&aka).await;
    let token = bogus(&name, None, 4096);
    let eve = attacker.with_bearer(&token);
    eve.get("/v1/users").await.refused(401, "unauthenticated");

    let harmless = Clients::new(CLIENTS, move |_| bystander.get("/v1/users"));
    let attack = Clients::new(CLIENTS, move |_| eve.get("/v1/users"));
    victim.is_unharmed(&harmless, &attack).await;
    println!("attack: {}", attack.answers());
}

async fn a_slow_issuer_does_not_delay_tokens_with_known_keys(aka: Aka) {
    /// Longer than the server waits for an issuer.
    const TAKES: Duration = Duration::from_secs(10);
    /// Far less than that, and enough for a machine that has much to do.
    const AT_ONCE: Duration = Duration::from_millis(1500);
    /// Longer than the server leaves between two questions to an issuer.
    const MAY_ASK_AGAIN: Duration = Duration::from_secs(6);
    let acme = aka.tenant().await;
    let server = KeyServer::start(&[RSA]).await;
    let issuer = Issuer::with_keys_at(&acme, &server.address()).await;
    let claims = issuer.claims("ada", "users:read");
    read_users(&acme, &RSA.sign(&claims)).await.expect(200);
    server.take(TAKES);
    tokio::time::sleep(MAY_ASK_AGAIN).await;

    // A token with an unknown key makes the server ask, and the issuer hangs.
    let (eve, token) = (acme.clone(), NEXT_RSA.sign(&claims));
    let strange = tokio::spawn(async move { read_users(&eve, &token).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(server.asked() > 1, "the issuer is being asked");
    for _ in 0..5 {
        let began = Instant::now();
        read_users(&acme, &RSA.sign(&claims)).await.expect(200);
        assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    }

    assert!(!strange.is_finished(), "the unknown key is still being asked for");
    strange.await.expect("no panic").refused(401, "unauthenticated");
}

async fn tokens_with_unknown_keys_do_not_cause_repeated_fetches(aka: Aka) {
    let acme = aka.tenant().await;
    let server = KeyServer::start(&[RSA]).await;
    let issuer = Issuer::with_keys_at(&acme, &server.address()).await;
    let claims = issuer.claims("ada", "users:read");
    read_users(&acme, &RSA.sign(&claims)).await.expect(200);

    for number in 0..30 {
        let header = Header {
            kid: Some(format!("unknown-{number}")),
            ..Header::new(Algorithm::RS256)
        };
        let answer = read_users(&acme, &NEXT_RSA.sign_with(&header, &claims)).await;
        answer.refused(401, "unauthenticated");
    }

    assert!(server.asked() <= 4, "{} questions", server.asked());
}

async fn an_issuer_that_fails_is_not_asked_for_each_token(aka: Aka) {
    let acme = aka.tenant().await;
    let server = KeyServer::start(&[RSA]).await;
    server.answer_with("500 Internal Server Error");
    let issuer = Issuer::with_keys_at(&acme, &server.address()).await;
    let token = RSA.sign(&issuer.claims("ada", "users:read"));

    for _ in 0..20 {
        read_users(&acme, &token).await.refused(503, "issuer_unavailable");
    }

    assert!(server.asked() <= 3, "{} questions", server.asked());
    // When it answers again it is asked again.
    server.answer_with("200 OK");
    eventually(Duration::from_secs(20), "the issuer is asked again", async || {
        let answer = read_users(&acme, &token).await;
        if answer.status == 200 { Ok(()) } else { Err(answer) }
    })
    .await;
}
