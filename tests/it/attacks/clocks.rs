//! Servers whose clocks are wrong, with the help of `libfaketime`.

use std::{fs, path::PathBuf, time::Duration};

use crate::harness::{Aka, Caller, Store, caller::Request, eventually, json, run, unique};

/// The library that shows a process another time.
fn library() -> PathBuf {
    let of_architectures = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let mut libraries = of_architectures.map(|directory| directory.path().join("faketime/libfaketime.so.1"));
    libraries.find(|library| library.is_file()).expect(
        "the tests need libfaketime below /usr/lib; on Debian and Ubuntu install it with `apt-get install libfaketime`",
    )
}

/// What makes a server believe that it is so much later, as in `+25h`. Only the time of day is shifted: how much of it has
/// passed is counted by another clock.
fn shifted(by: &str) -> [(&'static str, String); 3] {
    [
        ("LD_PRELOAD", library().display().to_string()),
        ("FAKETIME", by.to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
    ]
}

async fn second_node(aka: &Aka, by: &str) -> Aka {
    let settings = shifted(by);
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    aka.second_node_with(&settings).await
}

fn new_user(caller: &Caller, name: &str) -> Request {
    let email = format!("{}@example.com", unique("user"));
    caller.post("/v1/users").json(json!({ "email": email, "name": name }))
}

#[test]
fn a_node_whose_clock_is_25_hours_ahead_refuses_changes_and_says_why() {
    run(async {
        let aka = Aka::alone(Store::Postgres).await;
        let acme = aka.tenant().await;
        let once = |caller: &Caller| {
            caller
                .post("/v1/api-keys")
                .header("Idempotency-Key", "3f2f0c9e")
                .json(json!({ "name": "made once", "scopes": ["users:read"] }))
        };
        let key = once(&acme).await.expect(201).id();
        let wrong = second_node(&aka, "+25h").await;
        let there = acme.at(&wrong);

        // With a clock of its own this node would take the key for a day old, and create another one.
        let refused = once(&there).await.refused(503, "unavailable");
        assert!(refused.text().contains("clock"), "{refused}");
        let not_ready = wrong.nobody().get("/readyz").await.refused(503, "unavailable");
        assert!(not_ready.text().contains("clock"), "{not_ready}");
        there.get("/v1/users").await.expect(200);
        aka.nobody().get("/readyz").await.expect(200);
        assert!(
            wrong.log().contains("s ahead of that of the database"),
            "{}",
            wrong.log()
        );

        // Nor did it forget the key on its own account.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let again = once(&acme).await;
        assert_eq!(again.id(), key, "the Idempotency-Key counts once: {again}");
    });
}

#[test]
fn a_node_whose_clock_is_a_little_off_hides_no_rows_from_paging() {
    run(async {
        let aka = Aka::alone(Store::Postgres).await;
        let acme = aka.tenant().await;
        let ahead = second_node(&aka, "+40s").await;
        ahead.nobody().get("/readyz").await.expect(200);
        assert!(ahead.log().contains("clock of this server is"), "{}", ahead.log());

        new_user(&acme.at(&ahead), "first").await.expect(201);
        let page = acme.get("/v1/users?limit=1").await.expect(200);
        new_user(&acme, "second").await.expect(201);

        let all = acme.get("/v1/users").await.expect(200);
        assert_eq!(all.column("name"), ["first", "second"].map(|name| json!(name)));
        assert_eq!(page.column("name"), [json!("first")]);
        let created = all.column("created_at");
        assert!(created[0].as_str() < created[1].as_str(), "{all}");
    });
}

#[test]
fn on_sqlite_a_clock_that_is_set_back_hides_no_rows_from_paging() {
    run(async {
        let settings = shifted("+1h");
        let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let aka = Aka::alone_with(Store::Sqlite, &settings).await;
        let acme = aka.tenant().await;
        new_user(&acme, "first").await.expect(201);
        aka.stop();

        let again = aka.second_node().await;
        let acme = acme.at(&again);
        new_user(&acme, "second").await.expect(201);

        let all = acme.get("/v1/users").await.expect(200);
        assert_eq!(all.column("name"), ["first", "second"].map(|name| json!(name)));
        eventually(Duration::from_secs(2), "the log tells it", async || {
            if again.log().contains("later than the clock of this server") {
                Ok(())
            } else {
                Err(again.log())
            }
        })
        .await;
    });
}
