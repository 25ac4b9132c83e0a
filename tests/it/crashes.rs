//! Killing the server while it is busy: every acknowledged change is stored, completely and once.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::task::JoinSet;

use crate::harness::{Aka, Caller, Store, Uuid, eventually, run};

/// How often the server is killed, on each store.
const KILLS: usize = 20;
/// How many links it has answered before, each time, and how long that may take on a slow machine.
const ANSWERED: usize = 64;
const WITHIN: Duration = Duration::from_secs(20);
/// How many callers keep it busy.
const CALLERS: usize = 32;

/// Links accounts one after the other until there is no answer. Returns those of which the answer was 201.
async fn link_until_the_end(
    caller: Caller,
    user: Uuid,
    provider: Uuid,
    prefix: String,
    answered: Arc<AtomicUsize>,
) -> Vec<String> {
    let mut linked = Vec::new();
    for number in 0.. {
        let external_id = format!("{prefix}-{number}");
        match caller.link(user, provider, &external_id).try_send().await {
            Ok(answer) => {
                answer.expect(201);
                linked.push(external_id);
                answered.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) => break,
        }
    }
    linked
}

async fn acknowledged_changes_survive_a_crash(store: Store) {
    let aka = Aka::alone(store).await;
    let acme = aka.tenant().await;
    let (user, provider) = (acme.user().await, acme.provider("github").await);

    let mut answered = BTreeSet::new();
    for kill in 0..KILLS {
        let node = aka.second_node_to_be_killed().await;
        let in_this_round = Arc::new(AtomicUsize::new(0));
        let mut callers = JoinSet::new();
        for caller in 0..CALLERS {
            callers.spawn(link_until_the_end(
                acme.at(&node),
                user,
                provider,
                format!("{kill}-{caller}"),
                Arc::clone(&in_this_round),
            ));
        }
        eventually(WITHIN, "the server is busy", async || {
            match in_this_round.load(Ordering::Relaxed) {
                enough if enough >= ANSWERED => Ok(()),
                few => Err(format!("{few} links")),
            }
        })
        .await;
        // The harness waits for the end of the process, which must not keep the callers waiting.
        let killed = tokio::task::spawn_blocking(move || node.stop());
        answered.extend(callers.join_all().await.into_iter().flatten());
        let (_, status) = killed.await.expect("the server can be killed");
        assert_eq!(status, 128 + 9, "it was killed");
    }

    assert!(answered.len() >= KILLS * ANSWERED);
    let rows = aka.rows().await;
    let of_tenant = [("tenant_id", acme.tenant().into())];
    let external_ids: Vec<String> = rows.column("identities", "external_id", &of_tenant).await;
    let stored: BTreeSet<String> = external_ids.iter().cloned().collect();
    assert_eq!(external_ids.len(), stored.len(), "none is stored twice");
    let lost: Vec<&String> = answered.difference(&stored).collect();
    assert!(lost.is_empty(), "answered with 201, but not there: {lost:?}");
    let mut ids: Vec<Uuid> = rows.column("identities", "id", &of_tenant).await;
    ids.sort();
    for (table, column, kind) in [
        ("audit_log_entries", "action", "createUserIdentity"),
        ("outbox_events", "event_type", "identity.linked"),
    ] {
        let like = [of_tenant[0].clone(), (column, kind.into())];
        let mut recorded: Vec<Uuid> = rows.column(table, "resource_id", &like).await;
        recorded.sort();
        assert_eq!(recorded, ids, "each link has one row in {table}");
    }
}

#[test]
fn acknowledged_changes_survive_a_crash_on_sqlite() {
    run(acknowledged_changes_survive_a_crash(Store::Sqlite));
}

#[test]
fn acknowledged_changes_survive_a_crash_on_postgres() {
    run(acknowledged_changes_survive_a_crash(Store::Postgres));
}
