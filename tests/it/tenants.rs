//! Tenants are managed only with keys of the master tenant.

use crate::harness::{Aka, Uuid, json, on_both_stores, unique};

on_both_stores![
    a_new_tenant_is_not_a_master,
    a_tenant_can_be_read_and_renamed,
    a_slug_belongs_to_one_tenant,
    an_unknown_tenant_is_not_found,
    the_first_key_of_a_tenant_comes_from_the_master_tenant,
    a_key_for_an_unknown_tenant_is_not_found,
    the_master_tenant_creates_no_key_with_scopes_that_the_caller_lacks,
    keys_of_other_tenants_do_not_manage_tenants,
];

async fn a_new_tenant_is_not_a_master(aka: Aka) {
    let slug = unique("acme");

    let created = aka
        .master()
        .post("/v1/tenants")
        .json(json!({ "name": "Acme", "slug": slug }))
        .await
        .expect(201);

    assert_eq!(
        created.json,
        json!({
            "id": created["id"],
            "name": "Acme",
            "slug": slug,
            "is_master": false,
            "created_at": created["created_at"],
            "updated_at": created["created_at"],
        })
    );
    assert_eq!(
        created.header("location"),
        Some(&*format!("/v1/tenants/{}", created.id()))
    );
}

async fn a_tenant_can_be_read_and_renamed(aka: Aka) {
    let acme = aka.tenant().await.tenant();
    let master = aka.master();
    let read = master.get(format!("/v1/tenants/{acme}")).await.expect(200);

    let renamed = master
        .put(format!("/v1/tenants/{acme}"))
        .json(json!({ "name": "Acme Labs" }))
        .await
        .expect(200);

    assert_eq!(
        (&renamed["name"], &renamed["slug"]),
        (&json!("Acme Labs"), &read["slug"])
    );
    assert!(
        renamed["updated_at"].as_str() > read["updated_at"].as_str(),
        "{renamed}"
    );
    assert_eq!(
        master.get(format!("/v1/tenants/{acme}")).await.expect(200).json,
        renamed.json
    );
    let own = master.get(format!("/v1/tenants/{}", master.tenant())).await.expect(200);
    assert_eq!(own["is_master"], true);
}

async fn a_slug_belongs_to_one_tenant(aka: Aka) {
    let master = aka.master();
    let tenant = json!({ "name": "Acme", "slug": unique("acme") });
    master.post("/v1/tenants").json(&tenant).await.expect(201);

    master
        .post("/v1/tenants")
        .json(tenant)
        .await
        .refused(409, "tenant_already_exists");
}

async fn an_unknown_tenant_is_not_found(aka: Aka) {
    let unknown = format!("/v1/tenants/{}", Uuid::now_v7());

    aka.master().get(&unknown).await.refused_as_unknown("tenant");
    aka.master()
        .put(&unknown)
        .json(json!({ "name": "Acme" }))
        .await
        .refused_as_unknown("tenant");
}

async fn the_first_key_of_a_tenant_comes_from_the_master_tenant(aka: Aka) {
    let acme = aka.tenant().await;

    let key = aka
        .key_of(acme.tenant(), &json!({ "name": "Slack bot", "scopes": ["users:read"] }))
        .await;

    assert_eq!(
        (&key["name"], &key["scopes"]),
        (&json!("Slack bot"), &json!(["users:read"]))
    );
    let bot = acme.with_key(key["raw_key"].as_str().expect("a new key is shown"));
    bot.get("/v1/users").await.expect(200);
    let listed = acme.get("/v1/api-keys").await.expect(200);
    assert!(
        listed.column("id").contains(&key["id"]),
        "the tenant sees its key\n{listed}"
    );
    let of_master = aka.master().get("/v1/api-keys?limit=250").await.expect(200);
    assert!(
        !of_master.column("id").contains(&key["id"]),
        "it is not a key of the master tenant\n{of_master}"
    );
}

async fn the_master_tenant_creates_no_key_with_scopes_that_the_caller_lacks(aka: Aka) {
    let limited = aka.master().limited_to(&["tenants:write", "tenants:read"]).await;
    let path = format!("/v1/tenants/{}/api-keys", limited.tenant());

    let more = json!({ "name": "more", "scopes": ["users:read"] });
    limited.post(&path).json(more).await.refused(403, "forbidden");
}

async fn a_key_for_an_unknown_tenant_is_not_found(aka: Aka) {
    let key = json!({ "name": "Slack bot", "scopes": ["users:read"] });

    let path = format!("/v1/tenants/{}/api-keys", Uuid::now_v7());
    aka.master().post(path).json(key).await.refused_as_unknown("tenant");
}

async fn keys_of_other_tenants_do_not_manage_tenants(aka: Aka) {
    // Its key has the scopes `tenants:read` and `tenants:write`.
    let acme = aka.tenant().await;
    let own = format!("/v1/tenants/{}", acme.tenant());
    let tenant = json!({ "name": "Acme", "slug": unique("acme") });
    let key = json!({ "name": "more", "scopes": ["users:read"] });

    for request in [
        acme.get("/v1/tenants"),
        acme.post("/v1/tenants").json(tenant),
        acme.get(&own),
        acme.put(&own).json(json!({ "name": "Acme" })),
        acme.post(format!("{own}/api-keys")).json(key),
    ] {
        let refusal = request.await.refused(403, "forbidden");
        assert!(!refusal.notices().is_empty(), "the refusal says why\n{refusal}");
    }
}
