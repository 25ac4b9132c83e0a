//! Shutdown: requests in progress are finished, and acknowledged changes are kept.

use std::time::Duration;

use crate::harness::{
    Aka, eventually, json, on_both_stores,
    raw::{self, Connection},
};

on_both_stores![
    a_request_in_progress_is_finished,
    a_server_without_requests_stops_immediately,
    acknowledged_changes_survive_a_restart,
];

async fn a_request_in_progress_is_finished(shared: Aka) {
    let aka = Aka::alone(shared.store()).await;
    let acme = aka.tenant().await;
    let (user, provider) = (acme.user().await, acme.provider("github").await);
    let body = json!({ "identity_provider_id": provider, "external_id": "583231" }).to_string();
    let path = format!("/v1/users/{user}/identities");
    let head = raw::head(&acme, "POST", &path);
    let request = format!(
        "{head}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let (begun, rest) = request.split_at(request.len() - 10);
    let mut connection = Connection::open(&aka).await;
    assert!(connection.send(begun.as_bytes()).await);
    // Another request on its way through the server proves that the first one has reached it.
    acme.get("/v1/users").await.expect(200);

    aka.ask_to_stop();
    eventually(
        Duration::from_secs(5),
        "no new connections are taken",
        async || match tokio::net::TcpStream::connect(aka.address().trim_start_matches("http://")).await {
            Ok(_) => Err("it still listens"),
            Err(_) => Ok(()),
        },
    )
    .await;
    assert!(connection.send(rest.as_bytes()).await);
    let answer = connection.answer().await.expect("an answer");

    answer.check(aka.document(), "POST", &path);
    let linked = answer.expect(201);
    let rows = aka.rows().await;
    assert_eq!(rows.count("identities", &[("id", linked.id().into())]).await, 1);
    let (printed, status) = aka.stop();
    assert_eq!((printed, status), (Vec::new(), 0), "it prints nothing but its address");
}

async fn a_server_without_requests_stops_immediately(shared: Aka) {
    let aka = Aka::alone(shared.store()).await;
    let acme = aka.tenant().await;
    // This leaves an idle connection behind, which the server need not wait for.
    acme.get("/v1/users").await.expect(200);

    let asked = std::time::Instant::now();
    let (printed, status) = aka.stop();

    assert_eq!((printed, status), (Vec::new(), 0));
    assert!(
        asked.elapsed() < Duration::from_secs(5),
        "after {:?}\n{}",
        asked.elapsed(),
        aka.log()
    );
}

async fn acknowledged_changes_survive_a_restart(shared: Aka) {
    let aka = Aka::alone(shared.store()).await;
    let acme = aka.tenant().await;
    let (user, provider) = (acme.user().await, acme.provider("github").await);
    let linked = acme.link(user, provider, "583231").await.expect(201);
    acme.policy(0, "forbid(principal, action == Action::\"listUsers\", resource);")
        .await;
    let (_, status) = aka.stop();
    assert_eq!(status, 0);

    let again = acme.at(&aka.second_node().await);

    assert_eq!(again.lookup(provider, "583231").await.expect(200).json, linked.json);
    again.get("/v1/users").await.refused(403, "forbidden");
}
