//! Bearer tokens, of issuers that a tenant has configured and of others.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};

use crate::harness::{
    Aka, Answer, Caller, Uuid, Value, eventually,
    issuer::{AUDIENCE, EDWARDS, ELLIPTIC, Issuer, KeyServer, NEXT_RSA, RSA, RSA_PUBLIC_PEM, by_hand, now, with},
    json, on_both_stores,
};

on_both_stores![
    a_token_may_do_what_its_scope_allows,
    scopes_are_also_read_from_scp,
    tokens_signed_with_every_kind_of_key_are_accepted,
    one_matching_audience_is_enough,
    a_token_of_a_linked_subject_acts_as_the_user,
    a_token_of_a_suspended_user_is_refused,
    an_unsigned_token_is_refused,
    a_token_signed_with_the_public_key_as_a_secret_is_refused,
    a_token_for_another_audience_is_refused,
    a_token_of_an_unknown_issuer_is_refused,
    a_token_outside_its_validity_period_is_refused,
    a_token_without_expiry_or_subject_is_refused,
    a_subject_that_is_not_a_valid_external_id_is_refused,
    a_token_signed_with_an_unknown_key_is_refused,
    a_modified_token_is_refused,
    a_token_of_another_tenants_issuer_is_refused,
    a_token_of_a_disabled_provider_is_refused,
    keys_are_fetched_once_and_cached,
    new_keys_of_an_issuer_are_picked_up,
    tokens_are_refused_if_the_keys_of_their_issuer_cannot_be_fetched,
    requests_wait_only_once_for_an_issuer_that_hangs,
    a_token_with_a_critical_extension_is_refused,
    keys_for_other_purposes_are_ignored,
    a_redirect_to_keys_is_not_followed,
];

/// How long a new key of an issuer may go unnoticed.
const PICKED_UP_WITHIN: Duration = Duration::from_secs(20);

async fn read_users(caller: &Caller, token: &str) -> Answer {
    caller.with_bearer(token).get("/v1/users").await
}

async fn a_token_may_do_what_its_scope_allows(aka: Aka) {
    let acme = aka.tenant().await;
    let issuer = Issuer::with_keys(&acme, &[RSA]).await;

    // A name that no hexadecimal number has in it by chance.
    let ruth = acme.with_bearer(&RSA.sign(&issuer.claims("ruth", "openid users:read identities:write")));

    ruth.get("/v1/users").await.expect(200);
    ruth.get("/v1/policies").await.refused(403, "forbidden");
    let (user, provider) = (acme.user().await, acme.provider("github").await);
    let linked = ruth.link(user, provider, "583231").await.expect(201);
    let rows = aka.rows().await;
    let of_link = [("tenant_id", acme.tenant().into()), ("resource_id", linked.id().into())];
    assert_eq!(
        rows.column::<String>("audit_log_entries", "actor_type", &of_link).await,
        ["oidc"]
    );
    // Not the subject, which may be an address, but a pseudonym that is always the same.
    let actors: Vec<String> = rows.column("audit_log_entries", "actor_id", &of_link).await;
    let pseudonym = actors[0].strip_prefix(&format!("{}|", issuer.provider));
    assert!(
        pseudonym.is_some_and(|pseudonym| pseudonym.len() == 32 && !pseudonym.contains("ruth")),
        "{actors:?}"
    );
    let again = ruth.link(user, provider, "583232").await.expect(201).id();
    let of_again = [("tenant_id", acme.tenant().into()), ("resource_id", again.into())];
    assert_eq!(
        rows.column::<String>("audit_log_entries", "actor_id", &of_again).await,
        actors
    );
}

async fn scopes_are_also_read_from_scp(aka: Aka) {
    let acme = aka.tenant().await;
    let issuer = Issuer::with_keys(&acme, &[RSA]).await;
    let without = with(issuer.claims("ada", ""), "scope", Value::Null);

    read_users(&acme, &RSA.sign(&without)).await.refused(403, "forbidden");
    for scp in [json!("openid users:read"), json!(["openid", "users:read"])] {
        read_users(&acme, &RSA.sign(&with(without.clone(), "scp", scp)))
            .await
            .expect(200);
    }
}

async fn tokens_signed_with_every_kind_of_key_are_accepted(aka: Aka) {
    let acme = aka.tenant().await;
    let keys = [RSA, ELLIPTIC, EDWARDS];
    let issuer = Issuer::with_keys(&acme, &keys).await;
    let claims = issuer.claims("ada", "users:read");

    for key in keys {
        read_users(&acme, &key.sign(&claims)).await.expect(200);
        let unnamed = key.sign_with(&Header::new(key.algorithm), &claims);
        read_users(&acme, &unnamed).await.expect(200);
    }
}

async fn one_matching_audience_is_enough(aka: Aka) {
    let acme = aka.tenant().await;
    let issuer = Issuer::with_keys(&acme, &[RSA]).await;
    let claims = with(
        issuer.claims("ada", "users:read"),
        "aud",
        json!(["https://other.example.com", AUDIENCE]),
    );

    read_users(&acme, &RSA.sign(&claims)).await.expect(200);
}

async fn a_token_of_a_linked_subject_acts_as_the_user(aka: Aka) {
    let acme = aka.tenant().await;
    let issuer = Issuer::with_keys(&acme, &[RSA]).await;
    let (ada, grace) = (acme.user().await, acme.user().await);
    acme.link(ada, issuer.provider, "sub-of-ada").await.expect(201);
    let rule = format!("permit(principal == User::\"{ada}\", action == Action::\"getUser\", resource);");
    acme.policy(0, &rule).await;

    let as_ada = acme.with_bearer(&RSA.sign(&issuer.claims("sub-of-ada", "")));
    let as_stranger = acme.with_bearer(&RSA.sign(&issuer.claims("sub-of-eve", "")));

    as_ada.get(format!("/v1/users/{grace}")).await.expect(200);
    as_stranger
        .get(format!("/v1/users/{grace}"))
        .await
        .refused(403, "forbidden");
}

async fn a_token_of_a_suspended_user_is_refused(aka: Aka) {
    let acme = aka.tenant().await;
    let issuer = Issuer::with_keys(&acme, &[RSA]).await;
    let ada = acme.user().await;
    acme.link(ada, issuer.provider, "ada").await.expect(201);
    let token = RSA.sign(&issuer.claims("ada", "users:read"));
    read_users(&acme, &token).await.expect(200);

    acme.post(format!("/v1/users/{ada}/suspend"))
        .json(json!({ "active": false }))
        .await
        .expect(200);

    read_users(&acme, &token).await.refused(401, "unauthenticated");
}

async fn an_unsigned_token_is_refused(aka: Aka) {
    let acme = aka.tenant().await;
    let issuer = Issuer::with_keys(&acme, &[RSA]).await;
    let claims = issuer.claims("ada", "users:read");

    for algorithm in ["none", "None", "NONE", ""] {
        for kid in [json!(null), json!(RSA.kid())] {
            let token = by_hand(&json!({ "alg": algorithm, "typ": "JWT", "kid": kid }), &claims, b"");
            read_users(&acme, &token).await.refused(401, "unauthenticated");
        }
    }
    let stripped = RSA.sign(&claims);
    let stripped = stripped.rsplit_once('.').expect("a token has three parts").0;
    read_users(&acme, &format!("{stripped}."))
        .await
        .refused(401, "unauthenticated");
    read_users(&acme, stripped).await.refused(401, "unauthenticated");
}

async fn a_token_signed_with_the_public_key_as_a_secret_is_refused(aka: Aka) {
    let acme = aka.tenant().await;
    let issuer = Issuer::with_keys(&acme, &[RSA]).await;
    let claims = issuer.claims("ada", "users:read");
    let jwk = RSA.jwk();
    let modulus = BASE64_URL_SAFE_NO_PAD
        .decode(jwk["n"].as_str().expect("an RSA key"))
        .expect("base 64");

    for secret in [
        RSA_PUBLIC_PEM.as_bytes(),
        RSA_PUBLIC_PEM.trim().as_bytes(),
        jwk.to_string().as_bytes(),
        &modulus,
    ] {
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            let header = Header {
                kid: Some(RSA.kid()),
                ..Header::new(algorithm)
            };
            let token = encode(&header, &claims, &EncodingKey::from_secret(secret)).expect("any secret will do");
            read_users(&acme, &token).await.refused(401, "unauthenticated");
        }
    }
}

async fn a_token_for_another_audience_is_refused(aka: Aka) {
    let acme = aka.tenant().await;
    let issuer = Issuer::with_keys(&acme, &[RSA]).await;
    for audience in [json!("https://other.example.com"), json!([]), json!(""), Value::Null] {
        let claims = with(issuer.claims("ada", "users:read"), "aud", audience);
        read_users(&acme, &RSA.sign(&claims))
            .await
            .refused(401, "unauthenticated");
    }
}

async fn a_token_of_an_unknown_issuer_is_refused(aka: Aka) {
    let acme = aka.tenant().await;
    let issuer = Issuer::with_keys(&acme, &[RSA]).await;
    let slash = format!("{}/", issuer.name);
    for name in [json!("https://evil.example.com"), json!(slash), json!(""), Value::Null] {
        let claims = with(issuer.claims("ada", "users:read"), "iss", name);
        read_users(&acme, &RSA.sign(&claims))
            .await
            .refused(401, "unauthenticated");
    }
}

async fn a_token_outside_its_validity_period_is_refused(aka: Aka) {
    let acme = aka.tenant().await;
    let issuer = Issuer::with_keys(&acme, &[RSA]).await;
    let good = issuer.claims("ada", "users:read");

    let expired = with(good.clone(), "exp", json!(now() - 120));
    let refusal = read_users(&acme, &RSA.sign(&expired))
        .await
        .refused(401, "unauthenticated");
    assert_eq!(refusal["details"]["reason"], "expired_token");

    let early = with(good, "nbf", json!(now() + 120));
    read_users(&acme, &RSA.sign(&early))
        .await
        .refused(401, "unauthenticated");
}

async fn a_token_without_expiry_or_subject_is_refused(aka: Aka) {
    let acme = aka.tenant().await;
    let issuer = Issuer::with_keys(&acme, &[RSA]).await;
    for claim in ["exp", "sub"] {
        let claims = with(issuer.claims("ada", "users:read"), claim, Value::Null);
        read_users(&acme, &RSA.sign(&claims))
            .await
            .refused(401, "unauthenticated");
    }
}

async fn a_subject_that_is_not_a_valid_external_id_is_refused(aka: Aka) {
    let acme = aka.tenant().await;
    let issuer = Issuer::with_keys(&acme, &[RSA]).await;
    for subject in ["", " ", "a\0b", &"a".repeat(300)] {
        let token = RSA.sign(&issuer.claims(subject, "users:read"));
        read_users(&acme, &token).await.refused(401, "unauthenticated");
    }
}

async fn a_token_signed_with_an_unknown_key_is_refused(aka: Aka) {
    let acme = aka.tenant().await;
    let issuer = Issuer::with_keys(&acme, &[RSA]).await;
    let claims = issuer.claims("ada", "users:read");

    // Another key by its own name, and one that borrows the name of the right one.
    read_users(&acme, &NEXT_RSA.sign(&claims))
        .await
        .refused(401, "unauthenticated");
    let borrowed = Header {
        kid: Some(RSA.kid()),
        ..Header::new(Algorithm::RS256)
    };
    read_users(&acme, &NEXT_RSA.sign_with(&borrowed, &claims))
        .await
        .refused(401, "unauthenticated");
    // A key that the token itself brings along.
    let mut own: Header = borrowed;
    own.jwk = serde_json::from_value(NEXT_RSA.jwk()).ok();
    assert!(own.jwk.is_some(), "the fixture is a JWK");
    read_users(&acme, &NEXT_RSA.sign_with(&own, &claims))
        .await
        .refused(401, "unauthenticated");
}

async fn a_modified_token_is_refused(aka: Aka) {
    let acme = aka.tenant().await;
    let issuer = Issuer::with_keys(&acme, &[RSA]).await;
    let token = RSA.sign(&issuer.claims("ada", "identities:read"));
    let parts: Vec<&str> = token.split('.').collect();
    let more = issuer.claims("ada", "users:read");

    let with_more = BASE64_URL_SAFE_NO_PAD.encode(more.to_string());
    read_users(&acme, &format!("{}.{with_more}.{}", parts[0], parts[2]))
        .await
        .refused(401, "unauthenticated");

    let mut signature = BASE64_URL_SAFE_NO_PAD.decode(parts[2]).expect("base 64");
    signature[0] ^= 1;
    let good = RSA.sign(&more);
    let good = good.rsplit_once('.').expect("a token has three parts").0;
    let broken = BASE64_URL_SAFE_NO_PAD.encode(signature);
    read_users(&acme, &format!("{good}.{broken}"))
        .await
        .refused(401, "unauthenticated");
}

async fn a_token_of_another_tenants_issuer_is_refused(aka: Aka) {
    let (acme, other) = (aka.tenant().await, aka.tenant().await);
    let issuer = Issuer::with_keys(&acme, &[RSA]).await;
    let token = RSA.sign(&issuer.claims("ada", "users:read"));
    read_users(&acme, &token).await.expect(200);

    read_users(&other, &token).await.refused(401, "unauthenticated");
    let nowhere = acme.claiming_tenant(&Uuid::now_v7().to_string());
    read_users(&nowhere, &token).await.refused(401, "unauthenticated");
}

async fn a_token_of_a_disabled_provider_is_refused(aka: Aka) {
    let acme = aka.tenant().await;
    let issuer = Issuer::with_keys(&acme, &[RSA]).await;
    let token = RSA.sign(&issuer.claims("ada", "users:read"));
    read_users(&acme, &token).await.expect(200);

    let path = format!("/v1/identity-providers/{}", issuer.provider);
    acme.put(path).json(json!({ "enabled": false })).await.expect(200);

    read_users(&acme, &token).await.refused(401, "unauthenticated");
}

async fn keys_are_fetched_once_and_cached(aka: Aka) {
    let acme = aka.tenant().await;
    let server = KeyServer::start(&[RSA]).await;
    let issuer = Issuer::with_keys_at(&acme, &server.address()).await;

    for _ in 0..10 {
        read_users(&acme, &RSA.sign(&issuer.claims("ada", "users:read")))
            .await
            .expect(200);
    }

    assert_eq!(server.asked(), 1);
}

async fn new_keys_of_an_issuer_are_picked_up(aka: Aka) {
    let acme = aka.tenant().await;
    let server = KeyServer::start(&[RSA]).await;
    let issuer = Issuer::with_keys_at(&acme, &server.address()).await;
    let claims = issuer.claims("ada", "users:read");
    read_users(&acme, &RSA.sign(&claims)).await.expect(200);
    read_users(&acme, &NEXT_RSA.sign(&claims))
        .await
        .refused(401, "unauthenticated");

    server.publish(&[NEXT_RSA]);

    eventually(PICKED_UP_WITHIN, "the new key is accepted", async || {
        let answer = read_users(&acme, &NEXT_RSA.sign(&claims)).await;
        if answer.status == 200 { Ok(()) } else { Err(answer) }
    })
    .await;
    read_users(&acme, &RSA.sign(&claims))
        .await
        .refused(401, "unauthenticated");
    assert!(
        server.asked() < 10,
        "whoever sends unknown tokens cannot make the server ask each time"
    );
}

async fn tokens_are_refused_if_the_keys_of_their_issuer_cannot_be_fetched(aka: Aka) {
    let acme = aka.tenant().await;
    let server = KeyServer::start(&[RSA]).await;
    let issuer = Issuer::with_keys_at(&acme, &server.address()).await;
    drop(server);

    let answer = read_users(&acme, &RSA.sign(&issuer.claims("ada", "users:read"))).await;

    assert!([401, 503].contains(&answer.status), "{answer}");
    acme.get("/v1/users").await.expect(200);
}

async fn requests_wait_only_once_for_an_issuer_that_hangs(aka: Aka) {
    let acme = aka.tenant().await;
    // It accepts connections, and never answers.
    let hanging = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = hanging.local_addr().expect("a bound socket has an address");
    let issuer = Issuer::with_keys_at(&acme, &format!("http://{address}/keys")).await;
    let token = RSA.sign(&issuer.claims("ada", "users:read"));

    let began = std::time::Instant::now();
    let answers = futures_util::future::join_all((0..5).map(|_| read_users(&acme, &token))).await;

    for answer in answers {
        answer.refused(503, "issuer_unavailable");
    }
    // One wait of three seconds; five of them one after the other would be fifteen.
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    acme.get("/v1/users").await.expect(200);
}

async fn a_token_with_a_critical_extension_is_refused(aka: Aka) {
    let acme = aka.tenant().await;
    let issuer = Issuer::with_keys(&acme, &[RSA]).await;
    let claims = issuer.claims("ada", "users:read");
    for crit in [json!(["exp"]), json!([]), json!("b64")] {
        let header = json!({ "alg": "RS256", "kid": RSA.kid(), "crit": crit });

        read_users(&acme, &RSA.sign_by_hand(&header, &claims))
            .await
            .refused(401, "unauthenticated");
    }
    let header = json!({ "alg": "RS256", "kid": RSA.kid() });
    read_users(&acme, &RSA.sign_by_hand(&header, &claims)).await.expect(200);
}

async fn keys_for_other_purposes_are_ignored(aka: Aka) {
    let acme = aka.tenant().await;
    let provider = |keys: Value| {
        let config = json!({ "issuer": "https://issuer.example.com", "audience": AUDIENCE, "jwks": { "keys": keys } });
        let provider = json!({ "name": "Sign-in", "provider_type": "oidc", "config": config });
        acme.post("/v1/identity-providers").json(provider)
    };
    let other = |member: &str, value: Value| with(RSA.jwk(), member, value);
    let quantum = json!({ "kty": "AKP", "alg": "ML-DSA-65", "pub": "AAAA" });

    // Alone they could verify no token at all, which is said at once.
    for useless in [
        other("use", json!("enc")),
        other("key_ops", json!(["encrypt"])),
        other("alg", json!("RSA-OAEP")),
        quantum.clone(),
    ] {
        provider(json!([useless])).await.refused_input("body", "config.jwks");
    }
    provider(json!([])).await.refused_input("body", "config.jwks");
    // Beside others they do no harm.
    provider(json!([quantum, other("use", json!("enc")), EDWARDS.jwk()]))
        .await
        .expect(201);
    let claims = with(
        json!({ "aud": AUDIENCE, "sub": "ada", "scope": "users:read", "exp": now() + 600 }),
        "iss",
        json!("https://issuer.example.com"),
    );
    read_users(&acme, &EDWARDS.sign(&claims)).await.expect(200);
    read_users(&acme, &RSA.sign(&claims))
        .await
        .refused(401, "unauthenticated");
}

async fn a_redirect_to_keys_is_not_followed(aka: Aka) {
    let acme = aka.tenant().await;
    let server = KeyServer::start(&[RSA]).await;
    server.answer_with("302 Found");
    let issuer = Issuer::with_keys_at(&acme, &server.address()).await;

    read_users(&acme, &RSA.sign(&issuer.claims("ada", "users:read")))
        .await
        .refused(503, "issuer_unavailable");
}
