//! Where the keys of a token issuer are found, and which addresses they are not fetched from.

use crate::harness::{
    Aka, Answer, Caller, Uuid,
    issuer::{AUDIENCE, Issuer, KeyServer, RSA, jwks},
    json, on_both_stores, unique,
};

on_both_stores![
    keys_are_discovered_by_the_name_of_the_issuer,
    the_configuration_of_another_issuer_is_not_used,
    keys_are_fetched_only_from_permitted_addresses,
    forbidden_addresses_are_refused_when_they_are_stored,
];

async fn create(caller: &Caller, config: &serde_json::Value) -> Answer {
    let provider = json!({ "name": unique("sign-in"), "provider_type": "oidc", "config": config });
    caller.post("/v1/identity-providers").json(provider).await
}

/// Makes an issuer of which nothing but its name is configured, and asks with one of its tokens.
async fn read_users(acme: &Caller, server: &KeyServer) -> Answer {
    let config = json!({ "issuer": server.issuer(), "audience": AUDIENCE });
    create(acme, &config).await.expect(201);
    let issuer = Issuer {
        name: server.issuer().to_owned(),
        provider: Uuid::nil(),
    };
    let token = RSA.sign(&issuer.claims("ada", "users:read"));
    acme.with_bearer(&token).get("/v1/users").await
}

async fn keys_are_discovered_by_the_name_of_the_issuer(aka: Aka) {
    let acme = aka.tenant().await;
    let server = KeyServer::start(&[RSA]).await;

    read_users(&acme, &server).await.expect(200);

    // Its configuration, and its keys.
    assert_eq!(server.asked(), 2);
}

async fn the_configuration_of_another_issuer_is_not_used(aka: Aka) {
    let acme = aka.tenant().await;
    let server = KeyServer::start(&[RSA]).await;
    let keys = server.address();
    server.publish_configuration(json!({ "issuer": format!("{}/", server.issuer()), "jwks_uri": keys }));

    read_users(&acme, &server).await.refused(503, "issuer_unavailable");
}

async fn keys_are_fetched_only_from_permitted_addresses(aka: Aka) {
    let acme = aka.tenant().await;
    for mut configuration in [json!({}), json!([]), json!({ "jwks_uri": "file:///etc/passwd" })] {
        let server = KeyServer::start(&[RSA]).await;
        if configuration.is_object() {
            configuration["issuer"] = json!(server.issuer());
        }
        server.publish_configuration(configuration);

        read_users(&acme, &server).await.refused(503, "issuer_unavailable");
    }
}

async fn forbidden_addresses_are_refused_when_they_are_stored(aka: Aka) {
    let aka = Aka::alone_with(aka.store(), &[("AKA_JWKS_ALLOW_PRIVATE", "false")]).await;
    let acme = aka.tenant().await;
    let public = json!({ "issuer": "https://issuer.example.com", "audience": AUDIENCE });
    for address in [
        "http://localhost:9999/keys",
        "https://localhost/keys",
        "https://127.0.0.1/keys",
        "https://10.1.2.3/keys",
        "https://[::1]/keys",
        "https://169.254.169.254/keys",
        "https://vault.internal/keys",
        "http://issuer.example.com/keys",
        "https://somebody:secret@issuer.example.com/keys",
        "ftp://issuer.example.com/keys",
        "keys",
        "",
    ] {
        let mut config = public.clone();
        config["jwks_uri"] = json!(address);
        let refusal = create(&acme, &config).await.refused_input("body", "config.jwks_uri");
        let message = refusal["message"].as_str().expect("a text");
        assert!(message.starts_with("The field `config.jwks_uri` must "), "{message}");
        assert!(!message.contains("secret"), "{message}");
    }
    for issuer in [
        "http://localhost:9999",
        "https://localhost",
        "https://10.1.2.3",
        "acme",
        "https://issuer.example.com?a",
    ] {
        let mut config = public.clone();
        config["issuer"] = json!(issuer);
        create(&acme, &config).await.refused_input("body", "config.issuer");
        // What is only compared with the tokens can be anything.
        config["jwks"] = jwks(&[RSA]);
        create(&acme, &config).await.expect(201);
    }
    create(&acme, &public).await.expect(201);
}
