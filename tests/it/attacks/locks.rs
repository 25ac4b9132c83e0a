//! Rows that stay locked: by a server that freezes in the middle of a transaction, or by an operator with an open
//! session.

use std::time::{Duration, Instant};

use sea_orm::{
    ConnectionTrait as _, DatabaseConnection, DatabaseTransaction, DbBackend, SqliteTransactionMode, Statement,
    TransactionOptions, TransactionTrait as _,
};

use tokio::task::JoinSet;

use super::{Clients, Stopped, Victim};
use crate::harness::{Aka, Caller, Store, caller::Request, eventually, json, rows, run, unique};

/// How long a tenant may wait for rows that a frozen node holds: PostgreSQL ends its session after two seconds of silence,
/// and the change is tried again within a second.
const HELD_UP_FOR: Duration = Duration::from_secs(4);
/// How long others may wait at most, on a busy machine.
const OTHERS_WITHIN: Duration = Duration::from_secs(1);

#[test]
fn a_lock_on_the_rows_of_one_tenant_does_not_delay_others() {
    const CLIENTS: usize = 8;
    run(async {
        let aka = Aka::alone(Store::Postgres).await;
        let (attacker, bystander) = (aka.tenant().await, aka.tenant().await);
        let victim = Victim::at(&aka).await;
        let reference = links_of(&bystander).await;
        let attack = links_of(&attacker).await;
        let elsewhere = rows::connect(aka.database_url()).await;
        let lock = elsewhere.begin().await.expect("a transaction");
        lock.execute_unprepared(&format!(
            "SELECT 1 FROM tenants WHERE id = '{}' FOR UPDATE",
            attacker.tenant()
        ))
        .await
        .expect("the lock");

        victim
            .is_unharmed(
                &Clients::new(CLIENTS, reference).pausing(Duration::from_millis(100)),
                &Clients::new(CLIENTS, attack).pausing(Duration::from_millis(100)),
            )
            .await;

        let (user, provider) = (attacker.get("/v1/users"), attacker.get("/v1/identity-providers"));
        let user = user.await.expect(200)["data"][0]["id"].clone();
        let provider = provider.await.expect(200)["data"][0]["id"].clone();
        let link = attacker
            .post(format!("/v1/users/{}/identities", user.as_str().expect("an id")))
            .json(json!({ "identity_provider_id": provider, "external_id": "while-locked" }));
        let asked = Instant::now();
        link.await.refused(503, "unavailable");
        assert!(
            asked.elapsed() < Duration::from_secs(8),
            "told after {:?}",
            asked.elapsed()
        );

        lock.rollback().await.expect("the lock can be given back");

        eventually(
            Duration::from_secs(5),
            "the tenant's changes are made again",
            async || {
                let answer = attacker
                    .post("/v1/users")
                    .json(json!({ "email": "grace@example.com", "name": "Grace" }))
                    .await;
                if answer.status == 201 { Ok(()) } else { Err(answer) }
            },
        )
        .await;
    });
}

/// Requests that link accounts of a tenant.
async fn links_of(caller: &Caller) -> impl Fn(usize) -> Request + Send + Sync + 'static {
    let (user, provider, caller) = (caller.user().await, caller.provider("github").await, caller.clone());
    move |number| caller.link(user, provider, &format!("beside-{number}"))
}

#[test]
fn a_node_that_is_frozen_in_a_transaction_does_not_stop_the_others() {
    run(async {
        let aka = Aka::alone(Store::Postgres).await;
        let other = aka.second_node().await;
        let (acme, neighbour) = (aka.tenant().await, aka.tenant().await);
        let (user, provider) = (neighbour.user().await, neighbour.provider("github").await);
        neighbour.link(user, provider, "before").await.expect(201);
        acme.policy(0, "permit(principal, action, resource);").await;
        // The other node is busy with changes of the tenant, each of which locks the tenant's row.
        let mut traffic = JoinSet::new();
        for _ in 0..4 {
            let busy = acme.at(&other);
            traffic.spawn(async move {
                loop {
                    let provider = json!({ "name": unique("busy"), "provider_type": "github" });
                    let _ = busy.post("/v1/identity-providers").json(provider).try_send().await;
                }
            });
        }
        let frozen = freeze_in_a_transaction(&aka, &other).await;

        let began = Instant::now();
        let provider_of_acme = json!({ "name": "GitHub", "provider_type": "github" });
        let of_acme = tokio::spawn(acme.post("/v1/identity-providers").json(provider_of_acme).into_future());
        let mut slowest = Duration::ZERO;
        while !of_acme.is_finished() {
            let asked = Instant::now();
            let external_id = unique("beside");
            neighbour.link(user, provider, &external_id).await.expect(201);
            slowest = slowest.max(asked.elapsed());
        }
        of_acme.await.expect("an answer").expect(201);
        println!("the tenant waited {:?}, others at most {slowest:?}", began.elapsed());
        assert!(began.elapsed() < HELD_UP_FOR, "after {:?}", began.elapsed());
        assert!(slowest < OTHERS_WITHIN, "others waited {slowest:?}");

        drop(frozen);
        eventually(Duration::from_secs(10), "the node serves again", async || {
            let answer = neighbour.at(&other).link(user, provider, "afterwards").await;
            if answer.status < 300 { Ok(()) } else { Err(answer) }
        })
        .await;
    });
}

/// Stops a node while it has a transaction open.
async fn freeze_in_a_transaction<'a>(aka: &Aka, node: &'a Aka) -> Stopped<'a> {
    const OPEN: &str = "SELECT COUNT(*) FROM pg_stat_activity \
        WHERE datname = current_database() AND state = 'idle in transaction' AND query NOT ILIKE 'begin%'";
    let db = rows::connect(aka.database_url()).await;
    for _ in 0..200 {
        let frozen = Stopped::new(node);
        tokio::time::sleep(Duration::from_millis(30)).await;
        let row = db
            .query_one_raw(Statement::from_string(DbBackend::Postgres, OPEN))
            .await
            .expect("a query")
            .expect("a row");
        if row.try_get_by_index::<i64>(0).expect("a number") > 0 {
            return frozen;
        }
        drop(frozen);
        tokio::time::sleep(Duration::from_millis(7)).await;
    }
    panic!("the node was never in a transaction");
}

/// Keeps everybody from writing until the transaction ends.
pub async fn stop_writing(db: &DatabaseConnection, store: Store) -> DatabaseTransaction {
    let exclusive = TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..TransactionOptions::default()
    };
    let transaction = db.begin_with_options(exclusive).await.expect("nobody else writes");
    if store == Store::Postgres {
        transaction
            .execute_unprepared("LOCK TABLE tenants IN EXCLUSIVE MODE")
            .await
            .expect("the lock");
    }
    transaction
}
