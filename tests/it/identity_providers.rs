//! Identity providers: creating, reading, changing and deleting them. Their secrets are tested in `attacks::unseen`.

use crate::harness::{Aka, Uuid, issuer, json, on_both_stores};

on_both_stores![
    a_provider_of_every_type_can_be_created,
    a_new_provider_is_enabled_and_waits_for_its_first_sync,
    an_unknown_provider_is_not_found,
    providers_are_listed_and_filtered,
    an_update_changes_only_the_given_fields,
    the_type_of_a_provider_does_not_change,
    two_providers_cannot_have_the_same_name,
    rules_compare_domains_ignoring_case,
    a_provider_with_linked_accounts_is_not_deleted,
    a_provider_without_accounts_can_be_deleted,
    a_configuration_with_a_private_key_is_refused,
    a_configuration_that_half_describes_an_issuer_is_refused,
];

const TYPES: [&str; 9] = [
    "aws_identity_center",
    "okta",
    "azure_ad",
    "google_workspace",
    "slack",
    "github",
    "pagerduty",
    "custom_scim",
    "oidc",
];

async fn a_provider_of_every_type_can_be_created(aka: Aka) {
    let acme = aka.tenant().await;
    for provider_type in TYPES {
        let provider = json!({ "name": provider_type, "provider_type": provider_type });

        let created = acme.post("/v1/identity-providers").json(provider).await.expect(201);

        assert_eq!(created["provider_type"], provider_type);
        assert_eq!(
            acme.get(format!("/v1/identity-providers/{}", created.id()))
                .await
                .expect(200)
                .json,
            created.json
        );
    }
    assert_eq!(
        acme.get("/v1/identity-providers")
            .await
            .expect(200)
            .column("provider_type"),
        TYPES.map(|one| json!(one))
    );
}

async fn a_new_provider_is_enabled_and_waits_for_its_first_sync(aka: Aka) {
    let acme = aka.tenant().await;

    let created = acme
        .post("/v1/identity-providers")
        .json(json!({ "name": "GitHub", "provider_type": "github" }))
        .await
        .expect(201);

    assert_eq!(
        created.json,
        json!({
            "id": created["id"],
            "name": "GitHub",
            "provider_type": "github",
            "config": {},
            "config_secrets": [],
            "enabled": true,
            "last_synced_at": null,
            "sync_status": "pending",
            "sync_error": null,
            "created_at": created["created_at"],
            "updated_at": created["created_at"],
        })
    );
    assert_eq!(
        created.header("location"),
        Some(&*format!("/v1/identity-providers/{}", created.id()))
    );
}

async fn an_unknown_provider_is_not_found(aka: Aka) {
    let acme = aka.tenant().await;
    let unknown = format!("/v1/identity-providers/{}", Uuid::now_v7());

    acme.get(&unknown).await.refused_as_unknown("identity_provider");
    acme.put(&unknown)
        .json(json!({ "name": "GitHub" }))
        .await
        .refused_as_unknown("identity_provider");
    acme.delete(&unknown).await.refused_as_unknown("identity_provider");
}

async fn providers_are_listed_and_filtered(aka: Aka) {
    let acme = aka.tenant().await;
    let (on, off) = (acme.provider("github").await, acme.provider("slack").await);
    acme.put(format!("/v1/identity-providers/{off}"))
        .json(json!({ "enabled": false }))
        .await
        .expect(200);

    let listed = async |query: &str| {
        acme.get(format!("/v1/identity-providers{query}"))
            .await
            .expect(200)
            .column("id")
    };

    assert_eq!(listed("").await, [json!(on), json!(off)]);
    assert_eq!(listed("?enabled=true").await, [json!(on)]);
    assert_eq!(listed("?enabled=false").await, [json!(off)]);
}

async fn an_update_changes_only_the_given_fields(aka: Aka) {
    let acme = aka.tenant().await;
    let provider = json!({ "name": "GitHub", "provider_type": "github", "config": { "organization": "acme" } });
    let created = acme.post("/v1/identity-providers").json(provider).await.expect(201);
    let path = format!("/v1/identity-providers/{}", created.id());

    let renamed = acme
        .put(&path)
        .json(json!({ "name": "GitHub of Acme" }))
        .await
        .expect(200);
    assert_eq!(
        (&renamed["config"], &renamed["enabled"]),
        (&json!({ "organization": "acme" }), &json!(true))
    );

    let disabled = acme.put(&path).json(json!({ "enabled": false })).await.expect(200);
    assert_eq!(
        (&disabled["name"], &disabled["enabled"]),
        (&json!("GitHub of Acme"), &json!(false))
    );

    let moved = acme
        .put(&path)
        .json(json!({ "config": { "organization": "acme-labs" } }))
        .await
        .expect(200);
    assert_eq!(moved["config"], json!({ "organization": "acme-labs" }));
    assert_eq!(moved["enabled"], false);
    assert_eq!(moved["created_at"], created["created_at"]);
    assert_eq!(acme.get(&path).await.expect(200).json, moved.json);
}

async fn the_type_of_a_provider_does_not_change(aka: Aka) {
    let acme = aka.tenant().await;
    let path = format!("/v1/identity-providers/{}", acme.provider("github").await);

    acme.put(&path)
        .json(json!({ "provider_type": "slack" }))
        .await
        .refused_input("body", "provider_type");
}

async fn a_provider_with_linked_accounts_is_not_deleted(aka: Aka) {
    let acme = aka.tenant().await;
    let (user, provider) = (acme.user().await, acme.provider("github").await);
    acme.link(user, provider, "583231").await.expect(201);

    acme.delete(format!("/v1/identity-providers/{provider}"))
        .await
        .refused(409, "identity_provider_in_use");

    acme.get(format!("/v1/identity-providers/{provider}")).await.expect(200);
}

async fn a_provider_without_accounts_can_be_deleted(aka: Aka) {
    let acme = aka.tenant().await;
    let path = format!("/v1/identity-providers/{}", acme.provider("github").await);

    acme.delete(&path).await.expect(204);

    acme.get(&path).await.refused_as_unknown("identity_provider");
    acme.delete(&path).await.refused_as_unknown("identity_provider");
}

async fn a_configuration_with_a_private_key_is_refused(aka: Aka) {
    let acme = aka.tenant().await;
    let mut keys = issuer::jwks(&[issuer::RSA]);
    keys["keys"][0]["d"] = json!("c2VjcmV0");
    let config = json!({ "issuer": "https://id.example.com", "audience": issuer::AUDIENCE, "jwks": keys });

    let provider = json!({ "name": "Sign-in", "provider_type": "oidc", "config": config });
    acme.post("/v1/identity-providers")
        .json(provider)
        .await
        .refused_input("body", "config.jwks");
}

async fn a_configuration_that_half_describes_an_issuer_is_refused(aka: Aka) {
    let acme = aka.tenant().await;
    let keys = issuer::jwks(&[issuer::RSA]);
    for config in [
        json!({ "issuer": "https://id.example.com" }),
        json!({ "issuer": "https://id.example.com", "jwks": keys }),
        json!({ "issuer": "https://id.example.com", "audience": issuer::AUDIENCE, "jwks": { "keys": [] } }),
        json!({ "issuer": "https://id.example.com", "audience": issuer::AUDIENCE, "jwks_uri": "file:///etc/passwd" }),
        json!({ "issuer": 5, "audience": issuer::AUDIENCE, "jwks": keys }),
        json!({ "issuer": "i".repeat(513), "audience": issuer::AUDIENCE, "jwks": keys }),
        json!({
            "issuer": "https://id.example.com", "audience": issuer::AUDIENCE, "jwks": keys,
            "jwks_uri": "https://id.example.com/keys",
        }),
        json!({ "issuer": "https://id.example.com", "audience": issuer::AUDIENCE, "jwks": keys, "scopes": "users:read" }),
        json!({ "issuer": "https://id.example.com", "audience": issuer::AUDIENCE, "jwks": keys, "scopes": ["openid"] }),
        json!({
            "issuer": "https://id.example.com", "audience": issuer::AUDIENCE, "jwks": keys, "role_scopes": ["users:read"],
        }),
        json!({
            "issuer": "https://id.example.com", "audience": issuer::AUDIENCE, "jwks": keys,
            "role_scopes": { "": ["users:read"] },
        }),
    ] {
        let provider = json!({ "name": "Sign-in", "provider_type": "oidc", "config": config });
        acme.post("/v1/identity-providers")
            .json(provider)
            .await
            .refused_input("body", "config");
    }
}

async fn two_providers_cannot_have_the_same_name(aka: Aka) {
    let (acme, other) = (aka.tenant().await, aka.tenant().await);
    let named = |name: &str| json!({ "name": name, "provider_type": "github" });
    let first = acme
        .post("/v1/identity-providers")
        .json(named("GitHub"))
        .await
        .expect(201)
        .id();
    let second = acme.provider("slack").await;

    let code = "identity_provider_already_exists";
    let refusal = acme
        .post("/v1/identity-providers")
        .json(named("GITHUB"))
        .await
        .refused(409, code);
    assert_eq!(refusal["details"]["identity_provider_id"], json!(first));
    let rename = json!({ "name": "github" });
    let renamed = acme
        .put(format!("/v1/identity-providers/{second}"))
        .json(&rename)
        .await
        .refused(409, code);
    assert_eq!(renamed["details"]["identity_provider_id"], json!(first));
    acme.put(format!("/v1/identity-providers/{first}"))
        .json(&rename)
        .await
        .expect(200);
    other
        .post("/v1/identity-providers")
        .json(named("GitHub"))
        .await
        .expect(201);
    let writer = acme.limited_to(&["identity-providers:write"]).await;
    let not_told = writer
        .post("/v1/identity-providers")
        .json(named("GitHub"))
        .await
        .refused(409, code);
    assert!(!not_told.text().contains(&first.to_string()), "{not_told}");
}

async fn rules_compare_domains_ignoring_case(aka: Aka) {
    let acme = aka.tenant().await;
    let (user, provider) = (acme.user().await, acme.provider("github").await);
    acme.policy(
        100,
        "forbid(principal, action == Action::\"createUserIdentity\", resource)
         unless { context has external_email_domain && context.external_email_domain == \"xn--bcher-kva.example\" };",
    )
    .await;
    let link = |number: &str, email: &str| {
        let account = json!({ "identity_provider_id": provider, "external_id": number, "external_email": email });
        acme.post(format!("/v1/users/{user}/identities")).json(account)
    };

    for (number, email) in [("1", "a@B\u{fc}cher.Example"), ("2", "b@XN--BCHER-KVA.example")] {
        let linked = link(number, email).await.expect(201);
        assert_eq!(linked["external_email"], email, "as it was sent");
    }
    link("3", "c@elsewhere.example").await.refused(403, "forbidden");
}
