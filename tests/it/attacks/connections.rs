//! Connections that are kept open without need, and responses that are not read. The store does not matter here, so
//! these tests use only one.

use std::{net::Ipv4Addr, sync::Mutex, time::Duration};

use bytes::Bytes;
use h2::client::{self, SendRequest};
use tokio::{io::AsyncWriteExt as _, net::TcpStream, task::JoinHandle, time::timeout};

use super::{Clients, Load, Victim};
use crate::harness::{
    Aka, Answer, Store, eventually,
    raw::{self, Connection},
    run,
};

/// Where the attacker is. To the server another client than the tests.
const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
const HEALTH: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: aka\r\n\r\n";

/// Opens a connection and asks for the server's health on it. `None`: it was closed without an answer.
async fn connect(aka: &Aka, from: Ipv4Addr) -> (Connection, Option<Answer>) {
    let mut connection = Connection::open_from(aka, from).await;
    connection.send(HEALTH).await;
    let answer = connection.answer().await;
    (connection, answer)
}

/// Whether a client gets a place again.
async fn gets_a_place(aka: &Aka, from: Ipv4Addr, within: Duration) {
    eventually(within, "a place is free again", async || {
        match connect(aka, from).await {
            (_, Some(answer)) if answer.status == 200 => Ok(()),
            (_, Some(answer)) => Err(answer.to_string()),
            (_, None) => Err("closed".to_owned()),
        }
    })
    .await;
}

/// Takes as many places as it can get, and holds them. Remembers what each of its connections was told.
struct TakesPlaces(Aka, Mutex<Vec<u16>>);

impl Load for TakesPlaces {
    async fn run(&self) {
        let mut held = Vec::new();
        for _ in 0..200 {
            let (connection, answer) = connect(&self.0, ATTACKER).await;
            let status = answer.map_or(0, |answer| answer.status);
            self.1.lock().expect("nobody panics").push(status);
            held.push(connection);
        }
        std::future::pending::<()>().await;
    }
}

#[test]
fn one_client_cannot_use_all_connections() {
    run(async {
        let aka = Aka::alone_with(Store::Sqlite, &[("AKA_MAX_CONNECTIONS", "80")]).await;
        let bystander = aka.tenant().await;
        let victim = Victim::at(&aka).await;
        let reference = Clients::new(1, move |_| bystander.get("/v1/users")).pausing(Duration::from_millis(20));
        let attack = TakesPlaces(aka.clone(), Mutex::default());

        victim.is_unharmed(&reference, &attack).await;

        let statuses = attack.1.into_inner().expect("nobody panics");
        assert_eq!(statuses[..20], [200; 20], "a quarter of 80");
        assert!(statuses.contains(&503), "{statuses:?}");
        assert!(aka.log().contains("connections were refused"), "{}", aka.log());
    });
}

#[test]
fn a_client_over_the_limit_gets_an_error() {
    run(async {
        let aka = Aka::alone_with(Store::Sqlite, &[("AKA_MAX_CONNECTIONS_PER_CLIENT", "2")]).await;
        let held = [connect(&aka, ATTACKER).await, connect(&aka, ATTACKER).await];

        let (mut refused, answer) = connect(&aka, ATTACKER).await;

        let answer = answer.expect("an answer").refused(503, "too_many_connections");
        assert!(answer.header("x-request-id").is_some(), "{answer}");
        assert_eq!(answer.header("retry-after"), Some("1"), "{answer}");
        assert!(refused.is_closed_within(Duration::from_secs(5)).await);
        drop(held);
        gets_a_place(&aka, ATTACKER, Duration::from_secs(5)).await;
    });
}

/// A connection of HTTP/2, and what becomes of it.
async fn http2(aka: &Aka, window: Option<u32>) -> (SendRequest<Bytes>, JoinHandle<Result<(), h2::Error>>) {
    let stream: TcpStream = raw::connect_from(aka, ATTACKER, None).await;
    let mut builder = client::Builder::new();
    if let Some(window) = window {
        builder.initial_window_size(window);
    }
    let (requests, mut connection) = builder.handshake(stream).await.expect("HTTP/2");
    let mut pings = connection.ping_pong().expect("the first who asks gets it");
    tokio::spawn(async move {
        while pings.ping(h2::Ping::opaque()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    (requests, tokio::spawn(connection))
}

fn request(method: &str, path: &str) -> http::Request<()> {
    let request = http::Request::builder().method(method).uri(format!("http://aka{path}"));
    request.body(()).expect("a request")
}

#[test]
fn pings_do_not_keep_a_connection_open() {
    run(async {
        let aka = Aka::alone_with(Store::Sqlite, &[("AKA_IDLE_TIMEOUT", "2")]).await;
        let (requests, connection) = http2(&aka, None).await;
        let mut requests = requests.ready().await.expect("it takes requests");
        let (answer, _) = requests
            .send_request(request("GET", "/healthz"), true)
            .expect("a request");
        assert_eq!(answer.await.expect("an answer").status(), 200);

        let ended = timeout(Duration::from_secs(15), connection).await;

        ended
            .expect("the server closes it")
            .expect("no panic")
            .expect("with GOAWAY");
    });
}

#[test]
fn responses_blocked_by_flow_control_do_not_keep_a_connection_open() {
    run(async {
        let settings = [("AKA_MAX_CONNECTIONS_PER_CLIENT", "1"), ("AKA_IDLE_TIMEOUT", "2")];
        let aka = Aka::alone_with(Store::Sqlite, &settings).await;
        let (requests, _connection) = http2(&aka, Some(0)).await;
        let mut requests = requests.ready().await.expect("it takes requests");
        let mut held = Vec::new();
        for _ in 0..20 {
            held.push(requests.send_request(request("GET", "/docs"), true).expect("a request"));
        }

        gets_a_place(&aka, ATTACKER, Duration::from_secs(70)).await;
    });
}

#[test]
fn unread_responses_do_not_keep_a_connection_open() {
    run(async {
        let aka = Aka::alone_with(Store::Sqlite, &[("AKA_MAX_CONNECTIONS_PER_CLIENT", "1")]).await;
        let mut stream = raw::connect_from(&aka, ATTACKER, Some(4096)).await;
        for _ in 0..20 {
            let request = b"GET /docs HTTP/1.1\r\nhost: aka\r\n\r\n";
            stream.write_all(request).await.expect("the server reads");
        }
        let (_, answer) = connect(&aka, ATTACKER).await;
        answer.expect("an answer").refused(503, "too_many_connections");

        gets_a_place(&aka, ATTACKER, Duration::from_secs(70)).await;
    });
}

#[test]
fn a_client_that_only_resets_its_requests_is_disconnected() {
    run(async {
        let aka = Aka::alone(Store::Sqlite).await;
        let (mut requests, connection) = http2(&aka, None).await;
        let attack = async {
            // Each waits for a body, until it is reset.
            for _ in 0..100_000 {
                let Ok(ready) = requests.ready().await else {
                    return;
                };
                requests = ready;
                let Ok((_, mut body)) = requests.send_request(request("POST", "/v1/users"), false) else {
                    return;
                };
                tokio::task::yield_now().await;
                body.send_reset(h2::Reason::CANCEL);
            }
        };

        let (attack, ended) = tokio::join!(timeout(Duration::from_secs(30), attack), async {
            timeout(Duration::from_secs(30), connection).await
        });

        assert!(attack.is_ok() && ended.is_ok(), "the server closes it");
        aka.nobody().get("/healthz").await.expect(200);
    });
}

#[test]
fn the_limit_of_files_is_raised_and_respected() {
    /// More than the server keeps for its database, and 40 connections beyond that.
    const FILES: u32 = 296;
    run(async {
        let settings = [("AKA_MAX_CONNECTIONS_PER_CLIENT", "1000")];
        let aka = Aka::alone_with_files(64, FILES, &settings).await;
        let mut held = Vec::new();
        let mut statuses = Vec::new();
        for _ in 0..60 {
            let (connection, answer) = connect(&aka, ATTACKER).await;
            statuses.push(answer.map_or(0, |answer| answer.status));
            held.push(connection);
        }
        assert!(statuses[..35].iter().all(|status| *status == 200), "{statuses:?}");
        assert!(statuses[40..].iter().all(|status| *status == 503), "{statuses:?}");
        let log = aka.log();
        assert!(
            log.contains("the limit of open files allows fewer connections"),
            "{log}"
        );
        assert!(!log.contains("could not be accepted"), "{log}");
        drop(held);
        gets_a_place(&aka, ATTACKER, Duration::from_secs(5)).await;
    });
}
