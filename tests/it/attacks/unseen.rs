//! What must not be visible: secrets of providers, data of erased users, and what tags and logs reveal.

use std::{fs, time::Duration};

use futures_util::future::join_all;
use sea_orm::ConnectionTrait as _;
use sha2::{Digest as _, Sha256};

use crate::harness::{
    Aka, Caller, Store, Value, eventually,
    issuer::{Issuer, RSA},
    json, on_both_stores, rows, unique,
};

on_both_stores![
    a_secret_of_a_provider_appears_nowhere,
    the_public_configuration_of_a_provider_is_shown,
    a_secret_stays_until_it_is_removed,
    secrets_of_an_older_version_are_sealed_at_the_next_start,
    an_etag_cannot_be_computed_without_the_key_of_the_servers,
    no_byte_of_an_erased_user_remains_in_the_store,
    a_user_with_many_accounts_is_erased_with_all_of_them,
    accounts_that_look_the_same_are_refused,
    domains_are_compared_in_their_ascii_form,
];

/// How long what is erased may stay in the files. Refusals that other nodes have in memory take the longest.
const SOON: Duration = Duration::from_secs(15);

/// Everything that a store holds: on SQLite the bytes of its files, on PostgreSQL every row of every table. What is binary
/// there stands in hexadecimal digits.
async fn everything_in(aka: &Aka) -> Vec<u8> {
    let mut bytes = Vec::new();
    match aka.store() {
        Store::Sqlite => {
            let file = aka.database_file();
            let directory = file.parent().expect("a file is in a directory");
            for entry in fs::read_dir(directory).expect("the directory is there") {
                let path = entry.expect("an entry").path();
                if path.to_string_lossy().contains("aka.db") {
                    bytes.extend(fs::read(path).expect("a file of the store"));
                }
            }
        }
        Store::Postgres => {
            let rows = aka.rows().await;
            for table in rows
                .names("pg_tables", "tablename", &[("schemaname", "public".into())])
                .await
            {
                bytes.extend(rows.names(&table, &table, &[]).await.join("\n").into_bytes());
            }
        }
    }
    bytes
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// The first of some texts that are in some bytes, as they are or in hexadecimal digits.
fn found<'a>(texts: &[&'a str], bytes: &[u8]) -> Option<&'a str> {
    let lower = bytes.to_ascii_lowercase();
    let has = |text: &[u8]| lower.windows(text.len()).any(|window| window == text);
    texts.iter().copied().find(|text| {
        let text = text.to_lowercase();
        let digits = hexadecimal(text.as_bytes());
        has(text.as_bytes()) || has(digits.as_bytes())
    })
}

/// Configurations with a secret in each, as people have written them.
fn with_secrets() -> Vec<(&'static str, Value)> {
    vec![
        ("pagerduty", json!({ "routing_key": "hush-01" })),
        ("pagerduty", json!({ "integration_key": "hush-02" })),
        ("github", json!({ "pat": "hush-03" })),
        ("okta", json!({ "cookie": "hush-04" })),
        ("azure_ad", json!({ "connection_string": "Endpoint=sb://hush-05/" })),
        (
            "oidc",
            json!({ "settings": [{ "name": "client_secret", "value": "hush-06" }] }),
        ),
        (
            "slack",
            json!({ "webhook": "https://hooks.slack.com/services/T0/B0/hush-07" }),
        ),
        (
            "slack",
            json!({ "base_url": "https://hooks.slack.com/services/T0/B0/hush-08" }),
        ),
        ("github", json!({ "organization": "ghp_hush09AAAAAAAAAAAAAAAAAAAAAA" })),
        (
            "github",
            json!({ "api_url": "https://user:hush-10@github.example.com" }),
        ),
        (
            "custom_scim",
            json!({ "scim_url": "https://scim.example.com/v2?key=hush-11" }),
        ),
        (
            "custom_scim",
            json!({ "anything": { "deep": [{ "deeper": "hush-12" }] } }),
        ),
        (
            "okta",
            json!({ "domain": ["okta.example.com", "https://x:hush-13@okta.example.com"] }),
        ),
        ("slack", json!({ "team_id": "xoxb-hush14-1234567890" })),
        ("aws_identity_center", json!({ "region": { "secret": "hush-15" } })),
        (
            "google_workspace",
            json!({ "customer_id": "-----BEGIN PRIVATE KEY----- hush-16" }),
        ),
        ("oidc", json!({ "hush17AAAAAAAAAAAAAAAAAAAAAAAA0123": true })),
        ("oidc", json!({ "client_id": "hush18a1b2c3d4e5f6a7b8c9d0e1f2a3b4" })),
    ]
}

async fn a_secret_of_a_provider_appears_nowhere(shared: Aka) {
    let settings = [("AKA_LOG", "trace")];
    let aka = Aka::alone_with(shared.store(), &settings).await;
    let acme = aka.tenant().await;
    for (number, (provider_type, config)) in with_secrets().into_iter().enumerate() {
        let shown_nowhere = |answer: &crate::harness::Answer| {
            assert_eq!(answer["config"], json!({}), "{config}");
            assert!(!answer.text().contains("hush"), "{answer}");
        };
        let provider =
            json!({ "name": format!("Provider {number}"), "provider_type": provider_type, "config": config });
        let key = format!("key-{number}");
        let create = || {
            acme.post("/v1/identity-providers")
                .json(&provider)
                .header("Idempotency-Key", &key)
        };
        let created = create().await.expect(201);
        let path = format!("/v1/identity-providers/{}", created.id());
        shown_nowhere(&created);
        shown_nowhere(&create().await.expect(201));
        shown_nowhere(&acme.get(&*path).await.expect(200));
        let change = json!({ "config": config });
        shown_nowhere(&acme.put(&*path).json(change).await.expect(200));
    }
    let answers = [
        acme.get("/v1/identity-providers?limit=250").await.expect(200).text(),
        acme.get("/v1/decisions").await.expect(200).text(),
        aka.log(),
    ];
    for answer in answers {
        assert!(!answer.contains("hush"), "{answer}");
    }
    assert_eq!(found(&["hush"], &everything_in(&aka).await), None);
}

async fn the_public_configuration_of_a_provider_is_shown(aka: Aka) {
    let acme = aka.tenant().await;
    for (provider_type, config) in [
        (
            "github",
            json!({ "organization": "acme", "app_id": 12345, "client_id": "Iv1.8a61f9b3a7aba766" }),
        ),
        ("github", json!({ "api_url": "https://github.example.com/api/v3" })),
        (
            "okta",
            json!({ "domain": "acme.okta.com", "org_url": "https://acme.okta.com", "client_id": "0oa1gjh63g214q0Hq0g4" }),
        ),
        (
            "azure_ad",
            json!({ "tenant_id": "0198c5a0-0000-7000-8000-000000000001" }),
        ),
        (
            "google_workspace",
            json!({ "domain": "example.com", "customer_id": "C01abc234" }),
        ),
        ("slack", json!({ "team_id": "T024BE7LD", "workspace": "acme" })),
        (
            "aws_identity_center",
            json!({
                "region": "eu-central-1",
                "instance_arn": "arn:aws:sso:::instance/ssoins-1234567890abcdef",
                "scim_endpoint": "https://scim.eu-central-1.amazonaws.com/0198c5a0-0000-7000-8000-000000000001/scim/v2",
            }),
        ),
        ("pagerduty", json!({ "subdomain": "acme", "region": "eu" })),
        ("custom_scim", json!({ "scim_url": "https://scim.example.com/v2" })),
    ] {
        let provider = json!({ "name": unique("provider"), "provider_type": provider_type, "config": config });

        let created = acme.post("/v1/identity-providers").json(provider).await.expect(201);

        assert_eq!(created["config"], config);
        assert_eq!(created["config_secrets"], json!([]));
    }
}

async fn a_secret_stays_until_it_is_removed(aka: Aka) {
    let acme = aka.tenant().await;
    let config = json!({
        "organization": "acme", "pat": "hush", "webhook": { "url": "hush", "secret": "hush" }, "cookie": "hush",
    });
    let provider = json!({ "name": "GitHub", "provider_type": "github", "config": config });
    let path = acme.post("/v1/identity-providers").json(provider).await.expect(201);
    let path = format!("/v1/identity-providers/{}", path.id());
    let put = async |config: Value| {
        let changed = acme.put(&*path).json(json!({ "config": config })).await.expect(200);
        (changed["config"].clone(), changed["config_secrets"].clone())
    };

    // What was read is changed in one place and sent back: the usual way to edit a configuration.
    let read = acme.get(&*path).await.expect(200);
    assert_eq!(read["config"], json!({ "organization": "acme" }));
    assert_eq!(read["config_secrets"], json!(["cookie", "pat", "webhook"]));
    assert_eq!(
        put(json!({ "organization": "acme-labs" })).await,
        (
            json!({ "organization": "acme-labs" }),
            json!(["cookie", "pat", "webhook"])
        )
    );
    assert_eq!(
        put(json!({ "pat": null })).await,
        (json!({}), json!(["cookie", "webhook"]))
    );
    assert_eq!(
        put(json!({ "webhook": { "secret": null }, "token": "hush" })).await,
        (json!({}), json!(["cookie", "token", "webhook"]))
    );
    // A field that could not be shown and now can.
    assert_eq!(
        put(json!({ "api_url": "https://a:hush@github.example.com" })).await.1,
        json!(["api_url", "cookie", "token", "webhook"])
    );
    assert_eq!(
        put(json!({ "api_url": "https://github.example.com" })).await,
        (
            json!({ "api_url": "https://github.example.com" }),
            json!(["cookie", "token", "webhook"])
        )
    );
}

async fn secrets_of_an_older_version_are_sealed_at_the_next_start(shared: Aka) {
    let aka = Aka::alone(shared.store()).await;
    let acme = aka.tenant().await;
    let provider = acme.provider("github").await;
    let path = format!("/v1/identity-providers/{provider}");
    let db = rows::connect(aka.database_url()).await;
    let old =
        r#"UPDATE identity_providers SET secrets = NULL, config = '{"organization": "acme", "pat": "hush-before"}'"#;
    db.execute_unprepared(old).await.expect("a row of an older version");
    db.close().await.expect("a connection can be closed");
    let read = acme.get(&*path).await.expect(200);
    assert_eq!(
        (&read["config"], &read["config_secrets"]),
        (&json!({ "organization": "acme" }), &json!(["pat"]))
    );
    assert_eq!(found(&["hush-before"], &everything_in(&aka).await), Some("hush-before"));

    let (one, other) = (aka.second_node().await, aka.second_node().await);

    eventually(SOON, "nothing of it is left", async || {
        let left = found(&["hush-before"], &everything_in(&aka).await);
        left.map_or(Ok(()), Err)
    })
    .await;
    for node in [&aka, &one, &other] {
        let read = acme.at(node).get(&*path).await.expect(200);
        assert_eq!(
            (&read["config"], &read["config_secrets"]),
            (&json!({ "organization": "acme" }), &json!(["pat"]))
        );
    }
}

/// The tag that a resource had before: a hash of nothing but what its reader sees.
fn hash_of_user(user: &Value) -> String {
    let micros = |name: &str| {
        let text = user[name].as_str().expect("a time");
        let format = &time::format_description::well_known::Rfc3339;
        let time = time::OffsetDateTime::parse(text, format).expect("RFC 3339");
        i64::try_from(time.unix_timestamp_nanos() / 1_000).expect("a time of today")
    };
    let text = |name: &str| user[name].as_str().expect("a text").to_owned();
    let id: uuid::Uuid = text("id").parse().expect("an id");
    let flags = [
        u8::from(user["active"] == true),
        u8::from(user["email_verified"] == true),
    ];
    let parts: [Vec<u8>; 6] = [
        id.as_bytes().to_vec(),
        text("email").into_bytes(),
        text("name").into_bytes(),
        user["roles"].to_string().into_bytes(),
        flags.to_vec(),
        micros("updated_at").to_be_bytes().to_vec(),
    ];
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let hash = hash.finalize();
    format!("\"{}\"", hexadecimal(&hash[..12]))
}

async fn an_etag_cannot_be_computed_without_the_key_of_the_servers(shared: Aka) {
    let aka = Aka::alone(shared.store()).await;
    let acme = aka.tenant().await;
    let path = format!("/v1/users/{}", acme.user().await);
    let read = acme.get(&*path).await.expect(200);
    let tag = read.header("ETag").expect("a tag").to_owned();

    assert_ne!(tag, hash_of_user(&read.json));
    let change = acme.put(&*path).json(json!({ "name": "Another" }));
    change
        .header("If-Match", &hash_of_user(&read.json))
        .await
        .refused(412, "precondition_failed");
    let other = acme.at(&aka.second_node().await);
    assert_eq!(other.get(&*path).await.expect(200).header("ETag"), Some(&*tag));
    let change = other.put(&*path).json(json!({ "name": "Another" }));
    change.header("If-Match", &tag).await.expect(200);
}

/// What somebody leaves behind: every text about them has one of these in it.
const MARKS: [&str; 6] = [
    "quokka-mail",
    "quokka-name",
    "quokka-account",
    "quokka-former",
    "quokka-shown",
    "quokka-sub",
];

/// A user who has done and suffered whatever leaves something somewhere.
async fn somebody_with_a_past(acme: &Caller) -> String {
    let (github, slack) = (acme.provider("github").await, acme.provider("slack").await);
    let issuer = Issuer::with_keys(acme, &[RSA]).await;
    // Before they were known here they have tried what their token does not allow, and done what it does.
    let token = acme.with_bearer(&RSA.sign(&issuer.claims("quokka-sub", "users:write")));
    token.get("/v1/policies").await.refused(403, "forbidden");
    let made = json!({ "email": unique("grace") + "@example.com", "name": "Grace" });
    let grace = token.post("/v1/users").json(made).await.expect(201).id();

    let ada = json!({ "email": "Quokka-Mail@example.com", "name": "quokka-name" });
    let ada = acme
        .post("/v1/users")
        .json(ada)
        .header("Idempotency-Key", "the-user")
        .await
        .expect(201)
        .id();
    let user = format!("/v1/users/{ada}");
    let account = |provider, id: &str| {
        json!({
            "identity_provider_id": provider,
            "external_id": id,
            "external_username": "quokka-shown",
            "external_email": format!("{id}@example.com"),
            "external_display_name": "quokka-shown",
        })
    };
    let link = |account: Value| acme.post(format!("{user}/identities")).json(account);
    link(account(github, "quokka-account"))
        .header("Idempotency-Key", "the-link")
        .await
        .expect(201);
    link(account(github, "quokka-account"))
        .header("Idempotency-Key", "the-same-link")
        .await
        .expect(200);
    acme.link(ada, issuer.provider, "quokka-sub").await.expect(201);
    let former = link(account(slack, "quokka-former")).await.expect(201).id();
    acme.unlink(ada, former).await.expect(204);
    let suspend = |active: bool| acme.post(format!("{user}/suspend")).json(json!({ "active": active }));
    suspend(false)
        .header("Idempotency-Key", "the-suspension")
        .await
        .expect(200);
    suspend(true).await.expect(200);

    // Refused requests that name them.
    let bot = acme.limited_to(&["policies:read"]).await;
    for user in [ada, grace] {
        bot.post(format!("/v1/users/{user}/identities"))
            .json(account(github, "quokka-account"))
            .await
            .refused(403, "forbidden");
    }
    bot.lookup(slack, "quokka-former").await.refused(403, "forbidden");
    let twin = json!({ "email": "QUOKKA-MAIL@EXAMPLE.COM", "name": "quokka-name" });
    bot.post("/v1/users").json(twin).await.refused(403, "forbidden");
    user
}

async fn no_byte_of_an_erased_user_remains_in_the_store(shared: Aka) {
    let settings = [("AKA_LOG", "info,aka=trace,sqlx=debug,sea_orm=debug")];
    let aka = Aka::alone_with(shared.store(), &settings).await;
    let (acme, other) = (aka.tenant().await, aka.tenant().await);
    let theirs = somebody_with_a_past(&acme).await;
    let decisions = async || acme.get("/v1/decisions").await.expect(200).text();
    eventually(SOON, "the refusals are written", async || {
        let text = decisions().await;
        if text.contains("quokka-former") {
            Ok(())
        } else {
            Err(text)
        }
    })
    .await;
    assert!(found(&["quokka-mail"], &everything_in(&aka).await).is_some());
    let somebody_else = json!({ "email": "somebody@example.com", "name": "Somebody Else" });
    let stays = other
        .post("/v1/users")
        .json(somebody_else)
        .header("Idempotency-Key", "stays");
    stays.await.expect(201);

    // On its way when they are erased.
    let bot = acme.limited_to(&["policies:read"]).await;
    let twin = json!({ "email": "quokka-mail@example.com", "name": "quokka-name" });
    bot.post("/v1/users").json(twin).await.refused(403, "forbidden");
    acme.delete(&*theirs).await.expect(204);

    eventually(SOON, "nothing of them is left", async || {
        match found(&MARKS, &everything_in(&aka).await) {
            None => Ok(()),
            Some(mark) => Err(mark),
        }
    })
    .await;
    assert!(!decisions().await.contains("quokka"));
    let rows = aka.rows().await;
    for (tenant, kept) in [(&acme, 0), (&other, 1)] {
        let of_tenant = [("tenant_id", tenant.tenant().into())];
        assert_eq!(rows.count("idempotency_keys", &of_tenant).await, kept);
    }
    assert!(!aka.log().to_lowercase().contains("quokka"), "{}", aka.log());
}

async fn a_user_with_many_accounts_is_erased_with_all_of_them(shared: Aka) {
    const ACCOUNTS: usize = 1_100;
    const AT_A_TIME: usize = 20;
    let aka = Aka::alone(shared.store()).await;
    let acme = aka.tenant().await;
    let (user, provider) = (acme.user().await, acme.provider("github").await);
    let mut identities = Vec::new();
    for some in (0..ACCOUNTS).collect::<Vec<_>>().chunks(AT_A_TIME) {
        let links = some.iter().map(async |number| {
            let linked = acme.link(user, provider, &format!("quokka-{number}")).await;
            linked.expect(201).id()
        });
        identities.extend(join_all(links).await);
    }
    acme.unlink(user, identities[0]).await.expect(204);
    let path = format!("/v1/users/{user}");
    acme.delete(&*path)
        .header("If-Match", "\"other\"")
        .await
        .refused(412, "precondition_failed");
    assert_eq!(acme.get(&*path).await.expect(200)["active"], true);

    let tag = acme
        .get(&*path)
        .await
        .expect(200)
        .header("ETag")
        .expect("a tag")
        .to_owned();
    acme.delete(&*path).header("If-Match", &tag).await.expect(204);

    let rows = aka.rows().await;
    for table in ["identities", "former_links", "users"] {
        let of_tenant = [("tenant_id", acme.tenant().into())];
        assert_eq!(rows.count(table, &of_tenant).await, 0, "{table}");
    }
    eventually(SOON, "nothing of them is left", async || {
        let left = found(&["quokka"], &everything_in(&aka).await);
        left.map_or(Ok(()), Err)
    })
    .await;
}

async fn accounts_that_look_the_same_are_refused(aka: Aka) {
    let acme = aka.tenant().await;
    let (user, provider) = (acme.user().await, acme.provider("github").await);
    let invisible = [
        '\u{AD}',
        '\u{34F}',
        '\u{61C}',
        '\u{115F}',
        '\u{180B}',
        '\u{200B}',
        '\u{200D}',
        '\u{200E}',
        '\u{202E}',
        '\u{2060}',
        '\u{2066}',
        '\u{2069}',
        '\u{3164}',
        '\u{FE0F}',
        '\u{FEFF}',
        '\u{FFA0}',
        '\u{1D173}',
        '\u{E0001}',
        '\u{E0100}',
    ];
    for character in invisible {
        let id = format!("583{character}231");
        acme.link(user, provider, &id)
            .await
            .refused_input("body", "external_id");
        acme.lookup(provider, &id).await.refused_input("query", "external_id");
        let user = json!({ "email": "ada@example.com", "name": "Ada", "roles": [format!("adm{character}in")] });
        acme.post("/v1/users").json(user).await.refused_input("body", "roles");
        let user = json!({ "email": format!("a{character}da@example.com"), "name": "Ada" });
        acme.post("/v1/users").json(user).await.refused_input("body", "email");
    }
    let user = json!({ "email": "ada@example.com", "name": "Ada \u{202E}nimda" });
    acme.post("/v1/users").json(user).await.refused_input("body", "name");
    // Names in several scripts, and emoji, need some of them.
    let user = json!({ "email": "ada@example.com", "name": "نیما می\u{200C}خواهم \u{1F469}\u{200D}\u{1F4BB}" });
    acme.post("/v1/users").json(user).await.expect(201);
}

async fn domains_are_compared_in_their_ascii_form(aka: Aka) {
    let acme = aka.tenant().await;
    let create = |email: &str| acme.post("/v1/users").json(json!({ "email": email, "name": "Ada" }));

    let made = create("Ada@Bücher.example").await.expect(201);

    assert_eq!(made["email"], "Ada@Bücher.example");
    for same in [
        "ada@xn--bcher-kva.example",
        "ada@XN--BCHER-KVA.EXAMPLE",
        "ada@BÜCHER.example",
        "ada@bu\u{308}cher.example",
    ] {
        create(same).await.refused(409, "user_already_exists");
        let question = json!({
            "principal": format!("user:{same}"), "action": "getUser", "resource": format!("user:{}", made.id()),
        });
        acme.post("/v1/policies/evaluate").json(question).await.expect(200);
    }
    create("ada@buecher.example").await.expect(201);
}
