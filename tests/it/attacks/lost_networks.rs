//! A network between a server and its database that silently drops everything.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use super::locks::stop_writing;
use crate::harness::{
    Aka, Caller, Store, Uuid, caller::Request, eventually, json, network::Network, postgres, rows, run,
};

/// How long a request may take to be answered while nothing comes from the database: the limit of a statement, and a
/// little.
const TOLD_WITHIN: Duration = Duration::from_secs(9);
/// How long the server may take to serve again.
const BACK_WITHIN: Duration = Duration::from_secs(15);
/// How long the process may take to end.
const STOPPED_WITHIN: Duration = Duration::from_secs(25);

/// A server with a network to its database.
async fn server() -> (Aka, Network) {
    let database = postgres::shared().await.new_database().await;
    let network = Network::to(&database).await;
    (Aka::alone_at(network.url()).await, network)
}

/// Sends requests one after the other until told to stop. Returns the accounts whose link was acknowledged, and how long
/// the slowest answer took.
async fn traffic(
    acme: Caller,
    user: Uuid,
    provider: Uuid,
    name: usize,
    stop: Arc<AtomicBool>,
) -> (Vec<String>, Duration) {
    let (mut linked, mut slowest) = (Vec::new(), Duration::ZERO);
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let external_id = format!("{name}-{number}");
        let sent = Instant::now();
        let answer = acme.link(user, provider, &external_id).await;
        slowest = slowest.max(sent.elapsed());
        match answer.status {
            201 => linked.push(external_id),
            _ => drop(answer.refused(503, "unavailable")),
        }
        let sent = Instant::now();
        let answer = acme.get("/v1/users").await;
        slowest = slowest.max(sent.elapsed());
        if answer.status != 200 {
            answer.refused(503, "unavailable");
        }
    }
    (linked, slowest)
}

#[test]
fn requests_fail_quickly_while_the_network_is_lost_and_succeed_afterwards() {
    /// Connections are lost while they are in use, at rest, and on their way back into the pool.
    const CLIENTS: usize = 12;
    run(async {
        let (aka, network) = server().await;
        let acme = aka.tenant().await;
        let (user, provider) = (acme.user().await, acme.provider("github").await);
        let stop = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            clients.spawn(traffic(acme.clone(), user, provider, client, Arc::clone(&stop)));
        }
        tokio::time::sleep(Duration::from_millis(500)).await;

        network.lose();

        tokio::time::sleep(Duration::from_millis(200)).await;
        let requests: [Request; 3] = [
            acme.link(user, provider, "while-lost"),
            acme.get("/v1/users"),
            aka.nobody().get("/readyz"),
        ];
        for request in requests {
            let sent = Instant::now();
            request.await.refused(503, "unavailable");
            assert!(sent.elapsed() < TOLD_WITHIN, "told after {:?}", sent.elapsed());
        }

        network.restore();

        let back = Instant::now();
        eventually(BACK_WITHIN, "links are made again", async || {
            let answer = acme.link(user, provider, "afterwards").await;
            if answer.status < 300 { Ok(()) } else { Err(answer) }
        })
        .await;
        eventually(BACK_WITHIN, "lists are read again", async || {
            let answer = acme.get("/v1/users").await;
            if answer.status == 200 { Ok(()) } else { Err(answer) }
        })
        .await;
        eventually(BACK_WITHIN, "the server is ready again", async || {
            let answer = aka.nobody().get("/readyz").await;
            if answer.status == 200 { Ok(()) } else { Err(answer) }
        })
        .await;
        println!("served again {:?} after the network", back.elapsed());
        stop.store(true, Ordering::Relaxed);
        let (mut acknowledged, mut slowest) = (vec!["afterwards".to_owned()], Duration::ZERO);
        for (linked, took) in clients.join_all().await {
            acknowledged.extend(linked);
            slowest = slowest.max(took);
        }
        println!("the slowest answer took {slowest:?}");
        assert!(slowest < TOLD_WITHIN, "the slowest answer took {slowest:?}");
        let db = rows::connect(aka.database_url()).await;
        let of_tenant = [("tenant_id", acme.tenant().into())];
        let stored: Vec<String> = rows::Rows::new(&db)
            .column("identities", "external_id", &of_tenant)
            .await;
        assert!(acknowledged.len() > CLIENTS, "{acknowledged:?}");
        assert!(acknowledged.iter().all(|external_id| stored.contains(external_id)));
    });
}

#[test]
fn a_server_whose_database_never_responds_can_be_stopped() {
    run(async {
        let (aka, network) = server().await;
        let acme = aka.tenant().await;
        let (user, provider) = (acme.user().await, acme.provider("github").await);
        network.lose();
        let mut waiting = JoinSet::new();
        for request in (0..20).map(|number| acme.link(user, provider, &number.to_string())) {
            waiting.spawn(request.try_send());
        }
        waiting.spawn(
            acme.post("/v1/users")
                .json(json!({ "email": "grace@example.com", "name": "Grace" }))
                .try_send(),
        );
        tokio::time::sleep(Duration::from_millis(300)).await;

        let asked = Instant::now();
        let stopping = aka.clone();
        let (_, status) = tokio::task::spawn_blocking(move || stopping.stop())
            .await
            .expect("the server ends");

        println!("stopped after {:?}", asked.elapsed());
        assert_eq!(status, 0, "{}", aka.log());
        assert!(asked.elapsed() < STOPPED_WITHIN, "after {:?}", asked.elapsed());
    });
}

#[test]
fn a_server_that_cannot_write_is_not_ready() {
    run(async {
        let aka = Aka::alone(Store::Sqlite).await;
        let acme = aka.tenant().await;
        let nobody = aka.nobody();
        nobody.get("/readyz").await.expect(200);
        let another_process = rows::connect(aka.database_url()).await;

        let lock = stop_writing(&another_process, aka.store()).await;

        eventually(Duration::from_secs(5), "the server is not ready", async || {
            let answer = nobody.get("/readyz").await;
            if answer.status == 503 { Ok(()) } else { Err(answer) }
        })
        .await;
        nobody.get("/healthz").await.expect(200);
        acme.get("/v1/users").await.expect(200);
        lock.rollback().await.expect("the lock can be given back");
        eventually(Duration::from_secs(5), "the server is ready again", async || {
            let answer = nobody.get("/readyz").await;
            if answer.status == 200 { Ok(()) } else { Err(answer) }
        })
        .await;
    });
}
