//! Operating a store at the command line while a server runs: tenants, keys, and policies that lock everybody out.

use std::{process::Command, time::Duration};

use crate::harness::{
    Aka, Value, eventually, json, on_both_stores,
    program::{Run, run_with},
    unique,
};

on_both_stores![
    tenants_are_listed,
    a_new_key_is_printed_with_a_request_that_works,
    a_key_is_created_with_scopes_and_an_expiry,
    a_list_of_keys_does_not_contain_the_keys_themselves,
    a_key_can_be_revoked,
    a_policy_that_locks_everybody_out_can_be_disabled,
];

/// Within this time a running server follows the command line.
const FOLLOWS_WITHIN: Duration = Duration::from_secs(2);

fn at(server: &Aka, arguments: &[&str]) -> Run {
    run_with(arguments, &[("DATABASE_URL", server.database_url())])
}

/// The element of an array with this id.
#[track_caller]
fn with_id<'a>(array: &'a Value, id: &str) -> &'a Value {
    let found = array.as_array().into_iter().flatten().find(|one| one["id"] == id);
    found.unwrap_or_else(|| panic!("{id} is not in {array:#}"))
}

async fn tenants_are_listed(server: Aka) {
    let (acme, bolt) = (server.tenant().await, server.tenant().await);

    let listed = at(&server, &["tenant", "list"]).json();

    for tenant in [&acme, &bolt, &server.master()] {
        let id = tenant.tenant().to_string();
        let expected = server.master().get(format!("/v1/tenants/{id}")).await.expect(200);
        assert_eq!(with_id(&listed, &id), &expected.json);
    }
}

async fn a_new_key_is_printed_with_a_request_that_works(server: Aka) {
    let acme = server.tenant().await;
    let tenant = acme.tenant().to_string();
    for scopes in ["all", "users:read", "policies:read,identities:write"] {
        let key = at(
            &server,
            &[
                "key",
                "create",
                "--tenant",
                &tenant,
                "--scopes",
                scopes,
                "--server",
                server.address(),
            ],
        )
        .json();

        assert_eq!(key["tenant_id"], tenant.as_str(), "{key}");
        let line = key["curl"].as_str().expect("a line for a shell");
        let output = Command::new("/bin/sh").args(["-c", line]).output().expect("a shell");
        let answer = String::from_utf8_lossy(&output.stdout);
        assert!(answer.starts_with("HTTP/1.1 200"), "{line}\n{answer}");
    }
    // Where nothing can be listed, the line shows what to fill in.
    for (scope, expected) in [
        (
            "identities:read",
            "/v1/identities/lookup?identity_provider_id=PROVIDER_ID",
        ),
        ("identities:write", "/v1/users/USER_ID/identities"),
    ] {
        let key = at(&server, &["key", "create", "--tenant", &tenant, "--scopes", scope]).json();
        let line = key["curl"].as_str().expect("a line for a shell");
        assert!(
            line.contains(expected) && line.contains("http://127.0.0.1:8080"),
            "{line}"
        );
    }
}

async fn a_key_is_created_with_scopes_and_an_expiry(server: Aka) {
    let tenant = server.tenant().await.tenant().to_string();
    let create = |arguments: &[&str]| at(&server, &[&["key", "create", "--tenant", &tenant], arguments].concat());

    let careless = create(&[]);
    assert!(
        careless.stderr.contains("--scopes") && careless.stderr.contains("--expires-in-days"),
        "{}",
        careless.stderr
    );
    assert_eq!(careless.json()["expires_at"], Value::Null);
    let told = create(&["--scopes", "all", "--never-expires", "--expires-in-days", "3"]).failed();
    assert!(told.contains("--never-expires"), "{told}");

    let days = |key: &Value| {
        let day = |member: &str| {
            key[member]
                .as_str()
                .map(|time| time.split_once('T').expect("a time").0.to_owned())
        };
        (day("created_at").expect("a time"), day("expires_at"))
    };
    let for_ever = create(&["--scopes", "users:read", "--never-expires"]);
    assert_eq!(for_ever.stderr, "", "what was asked for is no reason for a warning");
    let for_ever = for_ever.json();
    assert_eq!(for_ever["expires_at"], Value::Null);
    assert_eq!(for_ever["scopes"], json!(["users:read"]));
    let (created, expires) = days(&create(&["--scopes", "users:read", "--expires-in-days", "90"]).json());
    let expires = expires.expect("it expires");
    let between = Command::new("date")
        .args(["-u", "-d", &format!("{created} + 90 days"), "+%F"])
        .output()
        .expect("date, which every Unix has");
    assert_eq!(String::from_utf8_lossy(&between.stdout).trim(), expires);
}

async fn a_list_of_keys_does_not_contain_the_keys_themselves(server: Aka) {
    let acme = server.tenant().await;
    let id = acme.tenant().to_string();
    let bolt = server.tenant().await;

    let told = at(&server, &["key", "list", "--tenant", &id]).succeeded();

    assert!(!told.contains(acme.key()), "{told}");
    assert!(
        !told.contains(&bolt.key_id().to_string()),
        "of this tenant alone\n{told}"
    );
    let listed: Value = serde_json::from_str(&told).expect("JSON");
    let listed = with_id(&listed, &acme.key_id().to_string());
    assert_eq!((&listed["name"], &listed["revoked_at"]), (&json!("all"), &Value::Null));
}

async fn a_key_can_be_revoked(server: Aka) {
    let acme = server.tenant().await;
    let tenant = acme.tenant().to_string();
    let leaked = acme.limited_to(&["users:read"]).await;
    leaked.get("/v1/users").await.expect(200);
    let id = leaked.key_id().to_string();

    let revoked = at(&server, &["key", "revoke", &id, "--tenant", &tenant]).json();

    assert_eq!(
        (&revoked["id"], &revoked["revoked_by"]),
        (&json!(id), &json!("command line"))
    );
    eventually(FOLLOWS_WITHIN, "the server refuses the key", async || {
        let answer = leaked.get("/v1/users").await;
        if answer.status == 401 { Ok(()) } else { Err(answer) }
    })
    .await;
    let rows = server.rows().await;
    let like = [
        ("resource_id", leaked.key_id().into()),
        ("action", "revokeApiKey".into()),
        ("actor_id", "command line".into()),
    ];
    assert_eq!(rows.count("audit_log_entries", &like).await, 1);
    // Again, it stays as it was.
    let mut again = at(&server, &["key", "revoke", &id, "--tenant", &tenant]).json();
    // The server notes its last use in the background, which may be only now.
    again["last_used_at"] = revoked["last_used_at"].clone();
    assert_eq!(again, revoked);

    let bolt = server.tenant().await.tenant().to_string();
    let told = at(&server, &["key", "revoke", &id, "--tenant", &bolt]).failed();
    assert!(told.contains("no API key"), "{told}");
    let told = at(&server, &["key", "revoke", "5", "--tenant", &tenant]).failed();
    assert!(told.contains("UUID"), "{told}");
}

async fn a_policy_that_locks_everybody_out_can_be_disabled(server: Aka) {
    const RULE: &str = "forbid (principal, action, resource);";
    let acme = server.tenant().await;
    let tenant = acme.tenant().to_string();
    let policy = json!({ "name": unique("policy"), "priority": 7, "enabled": false, "cedar_policy_set": RULE });
    let id = acme.post("/v1/policies").json(policy).await.expect(201).id();
    let policy = id.to_string();
    let set = |way: &str| at(&server, &["policy", way, &policy, "--tenant", &tenant]).json();

    assert_eq!(set("enable")["enabled"], true);
    eventually(FOLLOWS_WITHIN, "everybody is locked out", async || {
        let answer = acme.get("/v1/users").await;
        if answer.status == 403 { Ok(()) } else { Err(answer) }
    })
    .await;
    let path = format!("/v1/policies/{policy}");
    let off = json!({ "enabled": false });
    acme.patch(path).json(&off).await.refused(403, "forbidden");

    let listed = at(&server, &["policy", "list", "--tenant", &tenant]).json();
    let listed = with_id(&listed, &policy);
    assert_eq!((&listed["enabled"], &listed["priority"]), (&json!(true), &json!(7)));
    assert_eq!(listed["rules"][0]["policy_text"], RULE);

    let disabled = set("disable");
    assert_eq!((&disabled["id"], &disabled["enabled"]), (&json!(policy), &json!(false)));
    eventually(FOLLOWS_WITHIN, "nobody is locked out", async || {
        let answer = acme.get("/v1/users").await;
        if answer.status == 200 { Ok(()) } else { Err(answer) }
    })
    .await;
    let like = [
        ("resource_id", id.into()),
        ("action", "updatePolicy".into()),
        ("actor_id", "command line".into()),
    ];
    assert_eq!(server.rows().await.count("audit_log_entries", &like).await, 2);

    let told = at(&server, &["policy", "disable", &tenant, "--tenant", &tenant]).failed();
    assert!(told.contains("no policy"), "{told}");
}
