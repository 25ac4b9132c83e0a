//! Users: creating, reading, changing, suspending and erasing them.

use crate::harness::{Aka, Uuid, json, on_both_stores, unique};

on_both_stores![
    a_new_user_is_active_and_the_address_is_not_verified,
    a_user_can_be_created_without_roles,
    a_user_can_be_read_by_their_id,
    an_unknown_user_is_not_found,
    users_are_listed_oldest_first,
    an_address_belongs_to_one_user_ignoring_case,
    an_address_is_free_again_when_its_user_has_been_erased,
    an_update_changes_only_the_given_fields,
    a_user_is_found_by_their_address,
    a_taken_address_names_its_user_to_those_who_may_read_them,
    a_changed_address_is_not_verified,
    errors_name_the_id_that_they_are_about,
    suspending_and_activating_can_be_repeated,
    deleting_a_user_erases_them_and_their_identities,
    deleting_a_user_twice_is_not_found,
];

async fn a_new_user_is_active_and_the_address_is_not_verified(aka: Aka) {
    let acme = aka.tenant().await;
    let email = format!("{}@Example.com", unique("Ada"));

    let created = acme
        .post("/v1/users")
        .json(json!({ "email": email, "name": "Ada Lovelace", "roles": ["admin", "on call"] }))
        .await
        .expect(201);

    assert_eq!(
        created.json,
        json!({
            "id": created["id"],
            "email": email,
            "name": "Ada Lovelace",
            "roles": ["admin", "on call"],
            "active": true,
            "email_verified": false,
            "created_at": created["created_at"],
            "updated_at": created["created_at"],
        })
    );
    assert_eq!(
        created.header("location"),
        Some(&*format!("/v1/users/{}", created.id()))
    );
}

async fn a_user_can_be_created_without_roles(aka: Aka) {
    let acme = aka.tenant().await;

    let created = acme
        .post("/v1/users")
        .json(json!({ "email": "ada@example.com", "name": "Ada" }))
        .await
        .expect(201);

    assert_eq!(created["roles"], json!([]));
}

async fn a_user_can_be_read_by_their_id(aka: Aka) {
    let acme = aka.tenant().await;
    let created = acme
        .post("/v1/users")
        .json(json!({ "email": "ada@example.com", "name": "Ada" }))
        .await
        .expect(201);

    let read = acme.get(format!("/v1/users/{}", created.id())).await.expect(200);

    assert_eq!(read.json, created.json);
}

async fn an_unknown_user_is_not_found(aka: Aka) {
    let acme = aka.tenant().await;
    let unknown = format!("/v1/users/{}", Uuid::now_v7());

    acme.get(&unknown).await.refused_as_unknown("user");
    acme.put(&unknown)
        .json(json!({ "name": "Ada" }))
        .await
        .refused_as_unknown("user");
    acme.post(format!("{unknown}/suspend"))
        .json(json!({ "active": false }))
        .await
        .refused_as_unknown("user");
    acme.delete(&unknown).await.refused_as_unknown("user");
}

async fn users_are_listed_oldest_first(aka: Aka) {
    let acme = aka.tenant().await;
    let (ada, grace) = (acme.user().await, acme.user().await);

    let listed = acme.get("/v1/users").await.expect(200);

    assert_eq!(listed.column("id"), [json!(ada), json!(grace)]);
    assert_eq!(
        (&listed["next_cursor"], &listed["has_more"]),
        (&json!(null), &json!(false))
    );
}

async fn an_address_belongs_to_one_user_ignoring_case(aka: Aka) {
    let acme = aka.tenant().await;
    acme.post("/v1/users")
        .json(json!({ "email": "Ada@Example.com", "name": "Ada" }))
        .await
        .expect(201);

    for email in ["Ada@Example.com", "ada@example.com", "ADA@EXAMPLE.COM"] {
        let same = json!({ "email": email, "name": "Another Ada" });
        acme.post("/v1/users")
            .json(same)
            .await
            .refused(409, "user_already_exists");
    }
    assert_eq!(
        acme.get("/v1/users").await.expect(200).column("email"),
        [json!("Ada@Example.com")]
    );
}

async fn an_address_is_free_again_when_its_user_has_been_erased(aka: Aka) {
    let acme = aka.tenant().await;
    let ada = json!({ "email": "ada@example.com", "name": "Ada" });
    let first = acme.post("/v1/users").json(&ada).await.expect(201).id();
    acme.delete(format!("/v1/users/{first}")).await.expect(204);

    let second = acme.post("/v1/users").json(ada).await.expect(201).id();

    assert_ne!(first, second);
}

async fn an_update_changes_only_the_given_fields(aka: Aka) {
    let acme = aka.tenant().await;
    let user = json!({ "email": "ada@example.com", "name": "Ada", "roles": ["admin"] });
    let created = acme.post("/v1/users").json(user).await.expect(201);
    let path = format!("/v1/users/{}", created.id());

    let renamed = acme.put(&path).json(json!({ "name": "Ada King" })).await.expect(200);
    assert_eq!(
        (&renamed["name"], &renamed["roles"]),
        (&json!("Ada King"), &json!(["admin"]))
    );

    let demoted = acme.put(&path).json(json!({ "roles": [] })).await.expect(200);
    assert_eq!((&demoted["name"], &demoted["roles"]), (&json!("Ada King"), &json!([])));

    assert_eq!(demoted["email"], created["email"]);
    assert_eq!(demoted["created_at"], created["created_at"]);
    assert!(
        demoted["updated_at"].as_str() > created["updated_at"].as_str(),
        "{demoted}"
    );
    assert_eq!(acme.get(&path).await.expect(200).json, demoted.json);
}

async fn a_user_is_found_by_their_address(aka: Aka) {
    let acme = aka.tenant().await;
    let (email, other) = (format!("{}@example.com", unique("ada")), acme.user().await);
    let ada = acme
        .post("/v1/users")
        .json(json!({ "email": email, "name": "Ada" }))
        .await
        .expect(201)
        .id();

    let found = acme
        .get("/v1/users")
        .query("email", &email.to_uppercase())
        .await
        .expect(200);
    assert_eq!(found.column("id"), [json!(ada)]);
    let nobody = acme
        .get("/v1/users")
        .query("email", "nobody@example.com")
        .await
        .expect(200);
    assert_eq!(nobody.column("id"), Vec::<serde_json::Value>::new());
    acme.get("/v1/users")
        .query("email", "ada")
        .await
        .refused_input("query", "email");
    assert!(
        acme.get("/v1/users")
            .await
            .expect(200)
            .column("id")
            .contains(&json!(other))
    );
}

async fn a_taken_address_names_its_user_to_those_who_may_read_them(aka: Aka) {
    let acme = aka.tenant().await;
    let ada = json!({ "email": format!("{}@example.com", unique("ada")), "name": "Ada" });
    let id = acme.post("/v1/users").json(&ada).await.expect(201).id();
    let grace = acme.user().await;

    let told = acme
        .post("/v1/users")
        .json(&ada)
        .await
        .refused(409, "user_already_exists");
    assert_eq!(told["details"]["user_id"], json!(id));
    let change = json!({ "email": ada["email"] });
    let told = acme
        .put(format!("/v1/users/{grace}"))
        .json(&change)
        .await
        .refused(409, "user_already_exists");
    assert_eq!(told["details"]["user_id"], json!(id));
    let writer = acme.limited_to(&["users:write"]).await;
    let not_told = writer
        .post("/v1/users")
        .json(&ada)
        .await
        .refused(409, "user_already_exists");
    assert!(!not_told.text().contains(&id.to_string()), "{not_told}");
}

async fn a_changed_address_is_not_verified(aka: Aka) {
    let acme = aka.tenant().await;
    let user = acme.user().await;
    let path = format!("/v1/users/{user}");
    let put = async |change| acme.put(&path).json(change).await.expect(200);
    let (first, second) = (
        format!("{}@example.com", unique("a")),
        format!("{}@example.com", unique("b")),
    );

    let verified = put(json!({ "email": first, "email_verified": true })).await;
    assert_eq!(
        (&verified["email"], &verified["email_verified"]),
        (&json!(first), &json!(true))
    );
    let other_case = put(json!({ "email": first.to_uppercase() })).await;
    assert_eq!(other_case["email_verified"], true, "it is the same address");
    let changed = put(json!({ "email": second })).await;
    assert_eq!(
        (&changed["email"], &changed["email_verified"]),
        (&json!(second), &json!(false))
    );
    let named = put(json!({ "name": "Ada" })).await;
    assert_eq!(named["email"], json!(second));
    // The old address is free.
    acme.post("/v1/users")
        .json(json!({ "email": first, "name": "Grace" }))
        .await
        .expect(201);
}

async fn errors_name_the_id_that_they_are_about(aka: Aka) {
    let acme = aka.tenant().await;
    let (user, provider, nobody) = (acme.user().await, acme.provider("github").await, Uuid::now_v7());
    let id = |id: Uuid| json!(id);

    let unknown = acme.get(format!("/v1/users/{nobody}")).await.refused_as_unknown("user");
    assert_eq!(unknown["details"]["id"], id(nobody));
    let unknown = acme
        .link(user, nobody, "1")
        .await
        .refused_as_unknown("identity_provider");
    assert_eq!(unknown["details"]["id"], id(nobody));
    acme.put(format!("/v1/identity-providers/{provider}"))
        .json(json!({ "enabled": false }))
        .await
        .expect(200);
    let disabled = acme
        .link(user, provider, "1")
        .await
        .refused(409, "identity_provider_disabled");
    assert_eq!(disabled["details"]["identity_provider_id"], id(provider));
    acme.post(format!("/v1/users/{user}/suspend"))
        .json(json!({ "active": false }))
        .await
        .expect(200);
    let suspended = acme.link(user, provider, "1").await.refused(409, "user_suspended");
    assert_eq!(suspended["details"]["user_id"], id(user));
}

async fn suspending_and_activating_can_be_repeated(aka: Aka) {
    let acme = aka.tenant().await;
    let path = format!("/v1/users/{}", acme.user().await);

    for active in [false, false, true, true] {
        let answer = acme
            .post(format!("{path}/suspend"))
            .json(json!({ "active": active }))
            .await
            .expect(200);
        assert_eq!(answer["active"], active);
        assert_eq!(acme.get(&path).await.expect(200).json, answer.json);
    }
}

async fn deleting_a_user_erases_them_and_their_identities(aka: Aka) {
    let acme = aka.tenant().await;
    let (ada, grace, provider) = (acme.user().await, acme.user().await, acme.provider("github").await);
    let identity = acme.link(ada, provider, "583231").await.expect(201).id();

    acme.delete(format!("/v1/users/{ada}")).await.expect(204);

    acme.get(format!("/v1/users/{ada}")).await.refused_as_unknown("user");
    acme.get(format!("/v1/users/{ada}/identities"))
        .await
        .refused_as_unknown("user");
    acme.lookup(provider, "583231").await.refused_as_unknown("identity");
    let rows = aka.rows().await;
    assert_eq!(rows.count("users", &[("id", ada.into())]).await, 0);
    assert_eq!(rows.count("identities", &[("id", identity.into())]).await, 0);
    let anew = acme.link(grace, provider, "583231").await.expect(201).id();
    assert_ne!(anew, identity, "what was erased does not come back");
}

async fn deleting_a_user_twice_is_not_found(aka: Aka) {
    let acme = aka.tenant().await;
    let path = format!("/v1/users/{}", acme.user().await);
    acme.delete(&path).await.expect(204);

    acme.delete(&path).await.refused_as_unknown("user");
}
