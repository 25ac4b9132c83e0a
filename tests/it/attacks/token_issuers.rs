//! Rights gained through token issuers: whoever chooses the keys of an issuer can sign a token for anybody, with any
//! scope.

use futures_util::future::join_all;

use crate::harness::{
    Aka, Answer, Caller, Uuid, Value,
    issuer::{AUDIENCE, Issuer, NEXT_RSA, RSA, jwks, with},
    json, on_both_stores, operations, unique,
};

on_both_stores![
    managing_providers_is_not_enough_to_configure_an_issuer,
    no_policy_replaces_the_scope_for_issuers,
    an_issuer_grants_no_scope_that_its_creator_lacks,
    scopes_that_give_rights_are_granted_only_if_they_are_named,
    managing_providers_is_not_enough_to_change_an_issuer,
    managing_providers_is_not_enough_to_enable_an_issuer,
    changing_an_issuer_requires_every_scope_that_it_grants,
    the_roles_of_its_user_limit_a_token,
    a_token_manages_tenants_only_if_that_was_granted,
    two_providers_cannot_have_the_same_issuer,
    two_nodes_cannot_configure_the_same_issuer_twice,
];

/// Scopes that whoever manages providers has, and no more.
const PROVIDERS: [&str; 2] = ["identity-providers:read", "identity-providers:write"];
/// A rule that lets everybody do everything.
const EVERYTHING: &str = "permit(principal, action, resource);";

/// The configuration of a new issuer whose keys the caller has.
fn own_issuer() -> (Issuer, Value) {
    let name = format!("https://{}.example.com", unique("issuer"));
    let config = json!({ "issuer": name, "audience": AUDIENCE, "jwks": jwks(&[RSA]) });
    let issuer = Issuer {
        name,
        provider: Uuid::nil(),
    };
    (issuer, config)
}

async fn create(caller: &Caller, config: &Value) -> Answer {
    let provider = json!({ "name": unique("sign-in"), "provider_type": "oidc", "config": config });
    caller.post("/v1/identity-providers").json(provider).await
}

/// A token with every scope that there is.
fn token_with_everything(issuer: &Issuer, subject: &str) -> String {
    RSA.sign(&issuer.claims(subject, &operations::SCOPES.join(" ")))
}

fn path(provider: Uuid) -> String {
    format!("/v1/identity-providers/{provider}")
}

async fn managing_providers_is_not_enough_to_configure_an_issuer(aka: Aka) {
    let acme = aka.tenant().await;
    let attacker = acme.limited_to(&PROVIDERS).await;
    let (issuer, config) = own_issuer();

    let refusal = create(&attacker, &config).await.refused(403, "forbidden");

    assert_eq!(refusal["details"]["action"], "configureTokenIssuer");
    assert!(
        refusal["notices"][0]
            .as_str()
            .is_some_and(|notice| notice.contains("token-issuers:write")),
        "{refusal}"
    );
    let by_token = acme.with_bearer(&token_with_everything(&issuer, "eve"));
    by_token.get("/v1/users").await.refused(401, "unauthenticated");
    assert_eq!(acme.get("/v1/identity-providers").await.expect(200)["data"], json!([]));
    // A provider that is no issuer needs no more than before.
    create(&attacker, &json!({ "organization": "acme", "scopes": ["repo"] }))
        .await
        .expect(201);
}

async fn no_policy_replaces_the_scope_for_issuers(aka: Aka) {
    let acme = aka.tenant().await;
    acme.policy(1000, EVERYTHING).await;
    let (_, config) = own_issuer();

    for scopes in [&PROVIDERS[..], &["token-issuers:write"]] {
        let attacker = acme.limited_to(scopes).await;
        let mut config = config.clone();
        config["scopes"] = json!(["users:write"]);

        create(&attacker, &config).await.refused(403, "forbidden");
    }
}

async fn an_issuer_grants_no_scope_that_its_creator_lacks(aka: Aka) {
    let acme = aka.tenant().await;
    let maker = ["identity-providers:write", "token-issuers:write", "users:read"];
    let maker = acme.limited_to(&maker).await;

    let (issuer, config) = own_issuer();
    let made = create(&maker, &config).await.expect(201);
    assert_eq!(made["config"]["scopes"], json!(["users:read"]));
    let by_token = acme.with_bearer(&token_with_everything(&issuer, "eve"));
    by_token.get("/v1/users").await.expect(200);
    for denied in ["/v1/policies", "/v1/api-keys", "/v1/identity-providers"] {
        by_token.get(denied).await.refused(403, "forbidden");
    }

    for more in [
        json!(["users:read", "users:write"]),
        json!(["policies:write"]),
        json!(["tenants:write"]),
    ] {
        let (_, mut config) = own_issuer();
        config["scopes"] = more;
        create(&maker, &config).await.refused(403, "forbidden");
    }
}

async fn scopes_that_give_rights_are_granted_only_if_they_are_named(aka: Aka) {
    let acme = aka.tenant().await;
    let (issuer, config) = own_issuer();

    let made = create(&acme, &config).await.expect(201);

    let granted = json!([
        "identities:read",
        "identities:write",
        "users:read",
        "users:write",
        "identity-providers:read",
        "api-keys:read",
        "policies:read",
    ]);
    assert_eq!(made["config"]["scopes"], granted);
    assert_eq!(acme.get(path(made.id())).await.expect(200)["config"]["scopes"], granted);
    let by_token = acme.with_bearer(&token_with_everything(&issuer, "eve"));
    by_token.get("/v1/api-keys").await.expect(200);
    let key = json!({ "name": "mine", "scopes": ["users:read"] });
    by_token.post("/v1/api-keys").json(&key).await.refused(403, "forbidden");

    let named = json!(["users:read", "api-keys:write"]);
    for (scopes, expected) in [
        (Some(named.clone()), &named),
        // What is granted stays where it is left out.
        (None, &named),
        (Some(Value::Null), &granted),
    ] {
        let mut config = config.clone();
        if let Some(scopes) = scopes {
            config["scopes"] = scopes;
        }
        let changed = acme
            .put(path(made.id()))
            .json(json!({ "config": config }))
            .await
            .expect(200);
        assert_eq!(&changed["config"]["scopes"], expected);
        let status = if expected == &named { 201 } else { 403 };
        assert_eq!(by_token.post("/v1/api-keys").json(&key).await.status, status);
    }
}

async fn managing_providers_is_not_enough_to_change_an_issuer(aka: Aka) {
    let acme = aka.tenant().await;
    let attacker = acme.limited_to(&PROVIDERS).await;
    let (issuer, mut config) = own_issuer();
    config["role_scopes"] = json!({ "reader": ["users:read"] });
    let provider = create(&acme, &config).await.expect(201).id();
    let victim = acme.user().await;
    acme.link(victim, provider, "victim").await.expect(201);
    let known = acme.get(path(provider)).await.expect(200);

    let set = |setting: &str, value: Value| {
        let mut changed = config.clone();
        changed[setting] = value;
        changed
    };
    for changed in [
        set("jwks", jwks(&[NEXT_RSA])),
        // The keys are then found by discovery.
        with(config.clone(), "jwks", Value::Null),
        set("issuer", json!("https://evil.example.com")),
        set("audience", json!(["https://evil.example.com", AUDIENCE])),
        set("scopes", json!(["users:read", "users:write"])),
        set("scopes", Value::Null),
        set("role_scopes", json!({ "reader": ["users:write"] })),
        set("role_scopes", Value::Null),
        json!({}),
    ] {
        let changed = json!({ "config": changed });
        attacker
            .put(path(provider))
            .json(changed)
            .await
            .refused(403, "forbidden");
    }
    assert_eq!(acme.get(path(provider)).await.expect(200)["config"], known["config"]);
    let as_victim = acme.with_bearer(&NEXT_RSA.sign(&issuer.claims("victim", "users:read")));
    as_victim.get("/v1/users").await.refused(401, "unauthenticated");

    // What does not concern tokens can be changed as before, and what is granted stays where it is left out.
    let renamed = json!({ "name": "Renamed", "config": with(config, "role_scopes", Value::Null) });
    let renamed = attacker.put(path(provider)).json(renamed).await.expect(200);
    assert_eq!(renamed["config"], known["config"]);
}

async fn managing_providers_is_not_enough_to_enable_an_issuer(aka: Aka) {
    let acme = aka.tenant().await;
    let attacker = acme.limited_to(&PROVIDERS).await;
    let (_, config) = own_issuer();
    let provider = create(&acme, &config).await.expect(201).id();
    let enable = |yes: bool| json!({ "enabled": yes });

    attacker.put(path(provider)).json(enable(false)).await.expect(200);
    attacker
        .put(path(provider))
        .json(enable(true))
        .await
        .refused(403, "forbidden");

    attacker.delete(path(provider)).await.expect(204);
    create(&attacker, &config).await.refused(403, "forbidden");
    create(&acme, &config).await.expect(201);
}

async fn changing_an_issuer_requires_every_scope_that_it_grants(aka: Aka) {
    let acme = aka.tenant().await;
    let (_, config) = own_issuer();
    let config = with(config, "scopes", json!(["users:read", "policies:write"]));
    let provider = create(&acme, &config).await.expect(201).id();
    let maker = ["identity-providers:write", "token-issuers:write", "users:read"];
    let maker = acme.limited_to(&maker).await;
    let own_keys = with(config, "jwks", jwks(&[NEXT_RSA]));

    let kept = json!({ "config": with(own_keys.clone(), "scopes", Value::Null) });
    maker.put(path(provider)).json(kept).await.refused(403, "forbidden");
    let fewer = json!({ "config": with(own_keys, "scopes", json!(["users:read"])) });
    maker.put(path(provider)).json(fewer).await.expect(200);
}

async fn the_roles_of_its_user_limit_a_token(aka: Aka) {
    let acme = aka.tenant().await;
    let (issuer, config) = own_issuer();
    let role_scopes = json!({ "reader": ["users:read"], "linker": ["identities:write"], "more": ["policies:write"] });
    let provider = create(&acme, &with(config, "role_scopes", role_scopes))
        .await
        .expect(201)
        .id();
    let by_token = async |roles: Value| {
        let name = unique("user");
        let user = json!({ "email": format!("{name}@example.com"), "name": name, "roles": roles });
        let user = acme.post("/v1/users").json(user).await.expect(201).id();
        acme.link(user, provider, &name).await.expect(201);
        acme.with_bearer(&token_with_everything(&issuer, &name))
    };

    by_token(json!(["reader"])).await.get("/v1/users").await.expect(200);
    for roles in [json!([]), json!(["linker"]), json!(["unknown"])] {
        by_token(roles).await.get("/v1/users").await.refused(403, "forbidden");
    }
    let both = by_token(json!(["linker", "reader"])).await;
    both.get("/v1/users").await.expect(200);
    both.link(acme.user().await, acme.provider("github").await, "583231")
        .await
        .expect(201);
    // The roles allow no more than the issuer grants.
    let more = by_token(json!(["more"])).await;
    let policy = json!({ "name": "Mine", "cedar_policy_set": EVERYTHING });
    more.post("/v1/policies").json(policy).await.refused(403, "forbidden");
    // Nor has a token more than it claims.
    let claims_nothing = acme.with_bearer(&RSA.sign(&issuer.claims("somebody", "")));
    claims_nothing.get("/v1/users").await.refused(403, "forbidden");
    // Whoever is linked to nobody has no roles.
    let stranger = acme.with_bearer(&token_with_everything(&issuer, "stranger"));
    stranger.get("/v1/users").await.refused(403, "forbidden");
}

async fn a_token_manages_tenants_only_if_that_was_granted(aka: Aka) {
    let aka = Aka::alone(aka.store()).await;
    let (master, other) = (aka.master(), aka.tenant().await);
    let (issuer, config) = own_issuer();
    let provider = create(&master, &config).await.expect(201).id();
    let by_token = master.with_bearer(&token_with_everything(&issuer, "eve"));
    let key = json!({ "name": "mine", "scopes": operations::SCOPES });
    let keys_of_other = format!("/v1/tenants/{}/api-keys", other.tenant());

    by_token.get("/v1/users").await.expect(200);
    by_token.get("/v1/tenants").await.refused(403, "forbidden");
    by_token.post(&keys_of_other).json(&key).await.refused(403, "forbidden");

    let maker = ["identity-providers:write", "token-issuers:write"];
    let maker = master.limited_to(&maker).await;
    let tenants = json!({ "config": with(config, "scopes", json!(["tenants:read"])) });
    maker.put(path(provider)).json(&tenants).await.refused(403, "forbidden");
    master.put(path(provider)).json(&tenants).await.expect(200);
    by_token.get("/v1/tenants").await.expect(200);
    by_token.post(&keys_of_other).json(&key).await.refused(403, "forbidden");
}

async fn two_providers_cannot_have_the_same_issuer(aka: Aka) {
    let (acme, other) = (aka.tenant().await, aka.tenant().await);
    let (_, config) = own_issuer();
    let first = create(&acme, &config).await.expect(201).id();
    let (_, second) = own_issuer();
    let second = create(&acme, &second).await.expect(201).id();

    let refusal = create(&acme, &config)
        .await
        .refused(409, "identity_provider_already_exists");
    assert_eq!(refusal["details"]["field"], "config.issuer");
    acme.put(path(second))
        .json(json!({ "config": config }))
        .await
        .refused(409, "identity_provider_already_exists");
    // One that is disabled could be enabled again.
    acme.put(path(first))
        .json(json!({ "enabled": false }))
        .await
        .expect(200);
    create(&acme, &config)
        .await
        .refused(409, "identity_provider_already_exists");

    create(&other, &config).await.expect(201);
    acme.delete(path(first)).await.expect(204);
    acme.put(path(second))
        .json(json!({ "config": config }))
        .await
        .expect(200);
}

async fn two_nodes_cannot_configure_the_same_issuer_twice(aka: Aka) {
    let node = aka.second_node().await;
    let acme = aka.tenant().await;
    let there = acme.at(&node);
    for _ in 0..5 {
        let (_, config) = own_issuer();

        let answers = join_all([&acme, &there, &acme, &there].map(|caller| create(caller, &config))).await;

        let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 409, 409, 409]);
    }
}
