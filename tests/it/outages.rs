//! Outages of the database: requests fail quickly, and succeed again when it is back.

use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait as _, SqliteTransactionMode, TransactionOptions, TransactionTrait as _};
use tokio::task::JoinSet;

use crate::harness::{Aka, Answer, Caller, Store, Uuid, eventually, json, postgres::Cluster, rows, run};

/// How long a caller may wait to be told that PostgreSQL is away.
const TOLD_WITHIN: Duration = Duration::from_millis(1500);
/// How long a caller may wait to be told that SQLite is locked by another process: its busy timeout, and a little.
const LOCKED_FOR: Duration = Duration::from_secs(8);
/// How long the server may take to serve again.
const BACK_WITHIN: Duration = Duration::from_secs(5);

#[track_caller]
fn unavailable(answer: Answer) {
    let answer = answer.refused(503, "unavailable");
    assert!(
        !answer.text().contains("127.0.0.1"),
        "callers are not told where the database is\n{answer}"
    );
}

/// Requests of every kind: what is known in memory, what is read, and what is written.
fn requests(caller: &Caller, user: Uuid, provider: Uuid) -> Vec<crate::harness::caller::Request> {
    vec![
        caller.get("/v1/users"),
        caller.get(format!("/v1/users/{user}")),
        caller.lookup(provider, "583231"),
        caller.get(format!("/v1/users/{user}/identities")),
        caller.link(user, provider, "583232"),
        caller
            .post("/v1/users")
            .json(json!({ "email": "grace@example.com", "name": "Grace" })),
        caller.get("/v1/api-keys"),
    ]
}

#[test]
fn requests_fail_while_postgres_is_down_and_succeed_afterwards() {
    run(async {
        let mut cluster = Cluster::start().await;
        let aka = Aka::alone_on(&cluster).await;
        let acme = aka.tenant().await;
        let (user, provider) = (acme.user().await, acme.provider("github").await);
        let linked = acme.link(user, provider, "583231").await.expect(201);
        let nobody = aka.nobody();

        cluster.stop();

        for request in requests(&acme, user, provider) {
            let asked = Instant::now();
            unavailable(request.await);
            assert!(asked.elapsed() < TOLD_WITHIN, "told after {:?}", asked.elapsed());
        }
        for path in ["/healthz", "/readyz"] {
            unavailable(nobody.get(path).await);
        }
        // Many at once wait for one attempt, not each for its own.
        let mut calls = JoinSet::new();
        for request in (0..50).map(|number| acme.link(user, provider, &format!("at-once-{number}"))) {
            calls.spawn(request.into_future());
        }
        let asked = Instant::now();
        for answer in calls.join_all().await {
            unavailable(answer);
        }
        assert!(asked.elapsed() < 2 * TOLD_WITHIN, "told after {:?}", asked.elapsed());

        cluster.resume().await;

        eventually(BACK_WITHIN, "links are made again", async || {
            let answer = acme.link(user, provider, "583233").await;
            if answer.status == 201 { Ok(()) } else { Err(answer) }
        })
        .await;
        eventually(BACK_WITHIN, "the server is healthy again", async || {
            let answer = nobody.get("/readyz").await;
            if answer.status == 200 { Ok(()) } else { Err(answer) }
        })
        .await;
        assert_eq!(
            acme.lookup(provider, "583231").await.expect(200).json,
            linked.json,
            "what was answered is kept"
        );
        nobody.get("/healthz").await.expect(200);
    });
}

#[test]
fn a_restart_of_postgres_between_requests_goes_unnoticed() {
    run(async {
        let mut cluster = Cluster::start().await;
        let aka = Aka::alone_on(&cluster).await;
        let acme = aka.tenant().await;
        let (user, provider) = (acme.user().await, acme.provider("github").await);

        cluster.stop();
        cluster.resume().await;

        eventually(BACK_WITHIN, "links are made again", async || {
            let answer = acme.link(user, provider, "583231").await;
            if answer.status == 201 { Ok(()) } else { Err(answer) }
        })
        .await;
        for request in requests(&acme, user, provider) {
            let answer = request.await;
            assert!(answer.status < 300, "{answer}");
        }
    });
}

#[test]
fn a_change_in_progress_when_postgres_stops_is_made_once_or_not_at_all() {
    run(async {
        let mut cluster = Cluster::start().await;
        let aka = Aka::alone_on(&cluster).await;
        let acme = aka.tenant().await;
        let (user, provider) = (acme.user().await, acme.provider("github").await);

        // Links follow one another while the database is stopped.
        let linking = tokio::spawn({
            let acme = acme.clone();
            async move {
                let mut linked = Vec::new();
                for number in 0.. {
                    let answer = acme.link(user, provider, &number.to_string()).await;
                    if answer.status != 201 {
                        unavailable(answer);
                        break;
                    }
                    linked.push(number.to_string());
                }
                linked
            }
        });
        tokio::time::sleep(Duration::from_millis(300)).await;
        cluster.stop();
        let linked = linking.await.expect("every link had an answer");
        cluster.resume().await;

        assert!(!linked.is_empty());
        let db = rows::connect(aka.database_url()).await;
        let rows = rows::Rows::new(&db);
        let of_tenant = [("tenant_id", acme.tenant().into())];
        let stored: Vec<String> = rows.column("identities", "external_id", &of_tenant).await;
        assert!(
            linked.iter().all(|external_id| stored.contains(external_id)),
            "{linked:?} {stored:?}"
        );
        assert!(
            stored.len() <= linked.len() + 1,
            "the last one may have been made without an answer"
        );
        let linking = [
            ("tenant_id", acme.tenant().into()),
            ("action", "createUserIdentity".into()),
        ];
        assert_eq!(rows.count("audit_log_entries", &linking).await, stored.len());
    });
}

#[test]
fn while_sqlite_is_locked_reads_succeed_and_writes_are_refused() {
    run(async {
        let aka = Aka::alone(Store::Sqlite).await;
        let acme = aka.tenant().await;
        let (user, provider) = (acme.user().await, acme.provider("github").await);
        let linked = acme.link(user, provider, "583231").await.expect(201);
        let another_process = rows::connect(aka.database_url()).await;
        let exclusive = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Exclusive),
            ..TransactionOptions::default()
        };
        let lock = another_process
            .begin_with_options(exclusive)
            .await
            .expect("nobody else writes");
        // The lock is a real one.
        lock.execute_unprepared("UPDATE tenants SET name = name")
            .await
            .expect("the lock is held");

        assert_eq!(acme.lookup(provider, "583231").await.expect(200).json, linked.json);
        let asked = Instant::now();
        unavailable(acme.link(user, provider, "583232").await);
        assert!(asked.elapsed() < LOCKED_FOR, "told after {:?}", asked.elapsed());
        acme.get("/v1/users").await.expect(200);

        lock.rollback().await.expect("the lock can be given back");

        acme.link(user, provider, "583232").await.expect(201);
        acme.lookup(provider, "583232").await.expect(200);
    });
}

#[test]
fn while_the_disk_is_full_reads_succeed_and_writes_are_refused() {
    run(async {
        let aka = Aka::alone(Store::Sqlite).await;
        let acme = aka.tenant().await;
        let (user, provider) = (acme.user().await, acme.provider("github").await);
        let first = acme.link(user, provider, "first").await.expect(201);
        let database = aka.database_file();
        let size = |suffix: &str| {
            let file = std::path::PathBuf::from(format!("{}{suffix}", database.display()));
            file.metadata().map_or(0, |metadata| metadata.len())
        };
        let mut linked = vec!["first".to_owned()];

        for _ in 0..2 {
            aka.limit_files(Some(size("").max(size("-wal")) + 64 * 1024));
            let (external_id, refused) = loop {
                let external_id = linked.len().to_string();
                let answer = acme.link(user, provider, &external_id).await;
                if answer.status != 201 {
                    break (external_id, answer);
                }
                linked.push(external_id);
                assert!(linked.len() < 5_000, "the limit holds for the files of the database");
            };
            unavailable(refused);
            for request in requests(&acme, user, provider).into_iter().take(2) {
                request.await.expect(200);
            }
            assert_eq!(acme.lookup(provider, "first").await.expect(200).json, first.json);
            acme.lookup(provider, &external_id).await.refused_as_unknown("identity");

            aka.limit_files(None);
            acme.link(user, provider, &external_id).await.expect(201);
            linked.push(external_id);
        }

        let rows = aka.rows().await;
        let of_tenant = [("tenant_id", acme.tenant().into())];
        let mut stored: Vec<String> = rows.column("identities", "external_id", &of_tenant).await;
        stored.sort();
        linked.sort();
        assert_eq!(stored, linked, "what was answered is there, and nothing else");
        let linking = [of_tenant[0].clone(), ("action", "createUserIdentity".into())];
        assert_eq!(rows.count("audit_log_entries", &linking).await, linked.len());
    });
}

#[test]
fn a_short_lock_on_sqlite_only_delays_a_write() {
    run(async {
        let aka = Aka::alone(Store::Sqlite).await;
        let acme = aka.tenant().await;
        let (user, provider) = (acme.user().await, acme.provider("github").await);
        let another_process = rows::connect(aka.database_url()).await;
        let exclusive = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Exclusive),
            ..TransactionOptions::default()
        };
        let lock = another_process
            .begin_with_options(exclusive)
            .await
            .expect("nobody else writes");

        let link = tokio::spawn(acme.link(user, provider, "583231").into_future());
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(!link.is_finished(), "it waits for its turn");
        lock.rollback().await.expect("the lock can be given back");

        link.await.expect("an answer").expect(201);
    });
}
