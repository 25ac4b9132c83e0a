//! Connections below HTTP: clients that are slow, that stop in the middle, or that do not send HTTP at all. None of
//! them delays the server, and none affects more than its own connection.

use std::time::{Duration, Instant};

use crate::harness::{
    Aka, Answer, Uuid, json, on_both_stores,
    raw::{self, Connection},
};

on_both_stores![
    waiting_for_a_body_times_out,
    a_response_before_the_body_was_read_closes_the_connection,
    a_response_after_the_body_was_read_keeps_the_connection_open,
    a_content_length_that_is_too_large_is_refused_before_the_body_arrives,
    a_connection_without_a_request_is_closed,
    malformed_http_is_refused_with_an_error_of_the_contract,
    http_2_is_supported,
    the_host_header_must_be_valid,
    waiting_for_the_head_of_a_request_times_out,
    headers_that_are_too_large_are_refused_on_http_2,
    a_client_that_disconnects_neither_loses_nor_repeats_a_change,
];

async fn http_2_is_supported(aka: Aka) {
    let acme = aka.tenant().await;
    let client = reqwest::Client::builder()
        .no_proxy()
        .http2_prior_knowledge()
        .build()
        .expect("a client");
    let send = async |number: usize| {
        let body = json!({ "email": format!("ada-{number}@example.com"), "name": "Ada" });
        let request = client
            .post(format!("{}/v1/users", aka.address()))
            .header("X-API-Key", acme.key())
            .header("X-Tenant-ID", acme.tenant().to_string())
            .header("Content-Type", "application/json")
            .body(body.to_string());
        let answer = request.send().await.expect("an answer");
        (answer.version(), answer.status().as_u16())
    };
    // Many at a time on one connection.
    let answers = futures_util::future::join_all((0..20).map(send)).await;
    assert_eq!(answers, [(reqwest::Version::HTTP_2, 201); 20]);
}

/// The head of a call that links an account, with a body of this length, and its path.
fn link(acme: &crate::harness::Caller, user: Uuid, length: usize) -> String {
    let head = raw::head(acme, "POST", &format!("/v1/users/{user}/identities"));
    format!("{head}content-type: application/json\r\ncontent-length: {length}\r\n\r\n")
}

async fn waiting_for_a_body_times_out(aka: Aka) {
    let acme = aka.tenant().await;
    let mut connection = Connection::open(&aka).await;
    let head = link(&acme, Uuid::now_v7(), 100);

    assert!(connection.send(format!("{head}{{\"external_id\":").as_bytes()).await);
    let began = Instant::now();
    let answer = connection.answer().await.expect("an answer");

    answer.check(aka.document(), "POST", "/v1/users/{id}/identities");
    assert_eq!(answer.header("connection"), Some("close"), "{answer}");
    answer.refused(408, "body_timed_out");
    assert!(began.elapsed() < Duration::from_secs(14));
}

async fn a_response_before_the_body_was_read_closes_the_connection(aka: Aka) {
    let acme = aka.tenant().await;
    let stranger = acme.with_key("x");
    let mut connection = Connection::open(&aka).await;

    assert!(
        connection
            .send(link(&stranger, Uuid::now_v7(), 50_000).as_bytes())
            .await
    );
    let answer = connection.answer().await.expect("an answer");

    assert_eq!(answer.header("connection"), Some("close"), "{answer}");
    answer.refused(401, "unauthenticated");
    connection.send(&vec![b' '; 50_000]).await;
    assert!(connection.answer().await.is_none(), "the connection is closed");
}

async fn a_response_after_the_body_was_read_keeps_the_connection_open(aka: Aka) {
    let acme = aka.tenant().await;
    let (user, provider) = (acme.user().await, acme.provider("github").await);
    let mut connection = Connection::open(&aka).await;
    for (number, status) in [("1", 201), ("", 400), ("1", 200), ("2", 201)] {
        let body = json!({ "identity_provider_id": provider, "external_id": number }).to_string();
        assert!(
            connection
                .send(format!("{}{body}", link(&acme, user, body.len())).as_bytes())
                .await
        );
        let answer = connection.answer().await.expect("an answer");
        assert_eq!(answer.header("connection"), None, "{answer}");
        answer.expect(status);
    }
}

async fn a_content_length_that_is_too_large_is_refused_before_the_body_arrives(aka: Aka) {
    let acme = aka.tenant().await;
    let mut connection = Connection::open(&aka).await;

    assert!(
        connection
            .send(link(&acme, Uuid::now_v7(), 10_000_000_000).as_bytes())
            .await
    );
    let began = Instant::now();
    let answer = connection.answer().await.expect("an answer");

    answer.refused(413, "payload_too_large");
    assert!(began.elapsed() < Duration::from_secs(5));
}

async fn a_connection_without_a_request_is_closed(aka: Aka) {
    let acme = aka.tenant().await;
    for begun in ["", "G", "GET /healthz HTTP/1.1\r\nhost: a\r\nx-slow: "] {
        let mut connection = Connection::open(&aka).await;
        assert!(connection.send(begun.as_bytes()).await);
        assert!(connection.answer().await.is_none_or(|answer| answer.status == 408));
    }
    acme.get("/v1/users").await.expect(200);
}

async fn the_host_header_must_be_valid(aka: Aka) {
    for (version, host, valid) in [
        ("1.1", "", false),
        ("1.1", "host: a\r\nhost: a\r\n", false),
        ("1.1", "host:\r\n", false),
        ("1.1", "host: a b\r\n", false),
        ("1.1", "host: a/b\r\n", false),
        ("1.1", "host: ada@a\r\n", false),
        ("1.1", "host: a:b\r\n", false),
        ("1.1", "host: a:99999\r\n", false),
        ("1.1", "host: [::1\r\n", false),
        ("1.1", "host: aka.example.com\r\n", true),
        ("1.1", "host: 127.0.0.1:8080\r\n", true),
        ("1.1", "host: [::1]:8080\r\n", true),
        ("1.1", "host: a:\r\n", true),
        ("1.0", "", true),
        ("1.0", "host: a\r\nhost: b\r\n", false),
    ] {
        let mut connection = Connection::open(&aka).await;
        let request = format!("GET /healthz HTTP/{version}\r\n{host}\r\n");
        assert!(connection.send(request.as_bytes()).await);
        let answer = connection.answer().await.expect("an answer");
        if valid {
            answer.expect(200);
        } else {
            assert!(answer.header("x-request-id").is_some(), "{answer}");
            answer.refused_input("header", "Host");
        }
    }
}

async fn waiting_for_the_head_of_a_request_times_out(aka: Aka) {
    for before in [0, 1] {
        let mut connection = Connection::open(&aka).await;
        for _ in 0..before {
            assert!(connection.send(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").await);
            connection.answer().await.expect("an answer").expect(200);
            // What comes before the server has let go of the answer is only held to the limit of an idle connection.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }

        assert!(connection.send(b"GET /healthz HTTP/1.1\r\nhost: a\r\n").await);
        let began = Instant::now();
        let answer = connection.answer().await.expect("an answer");

        below_http(answer).refused(408, "head_timed_out");
        assert!((9..16).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
        assert!(connection.answer().await.is_none(), "the connection is closed");
    }
}

/// The answer to something that was no request: it is like all errors, and the last one on its connection.
#[track_caller]
fn below_http(answer: Answer) -> Answer {
    assert_eq!(answer.header("content-type"), Some("application/json"), "{answer}");
    assert_eq!(answer.header("connection"), Some("close"), "{answer}");
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{answer}");
    assert!(
        answer.header("x-request-id").is_some_and(|id| !id.is_empty()),
        "{answer}"
    );
    assert!(
        answer["message"].is_string() && answer.header("date").is_some(),
        "{answer}"
    );
    let code = answer["code"].as_str().unwrap_or_default();
    assert_eq!(
        answer["details"]["documentation"],
        format!("/docs/errors/{code}"),
        "{answer}"
    );
    answer
}

async fn headers_that_are_too_large_are_refused_on_http_2(aka: Aka) {
    let client = reqwest::Client::builder()
        .no_proxy()
        .http2_prior_knowledge()
        .build()
        .expect("a client");
    let healthz = format!("{}/healthz", aka.address());
    let large = client.get(&healthz).header("x-large", "a".repeat(40_000));
    let many = (0..150).fold(client.get(&healthz), |request, number| {
        request.header(format!("x-{number}"), "1")
    });
    for request in [large, many] {
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), 431);
        assert!(answer.headers().contains_key("x-request-id"));
        let body = answer.bytes().await.expect("a body");
        let error: crate::harness::Value = serde_json::from_slice(&body).expect("the contract's error");
        assert_eq!(error["code"], "headers_too_large");
    }
}

async fn malformed_http_is_refused_with_an_error_of_the_contract(aka: Aka) {
    let acme = aka.tenant().await;
    let user = Uuid::now_v7();
    let good = link(&acme, user, 0);
    let with = |header: &str| good.replace("content-length: 0\r\n", header);
    let many = "x-many: 1\r\n".repeat(500);
    let cases = [
        "\r\n\r\nnonsense\r\n\r\n".to_owned(),
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}\u{3}".repeat(20) + "\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n".into(),
        "GET /\u{1} HTTP/1.1\r\nhost: a\r\n\r\n".into(),
        with("content-length: 1\r\ncontent-length: 2\r\n"),
        with("content-length: -1\r\n"),
        with("content-length: 1x\r\n"),
        with("transfer-encoding: chunked\r\n") + "zz\r\nhello\r\n0\r\n\r\n",
        with("transfer-encoding: chunked\r\n") + "FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n",
        with("transfer-encoding: identity\r\n") + "{}",
        with("content-length: 5\r\ntransfer-encoding: gzip\r\n") + "hello",
        with(&format!("x-large: {}\r\ncontent-length: 0\r\n", "a".repeat(100_000))),
        with(&format!("{many}content-length: 0\r\n")),
        with("no colon\r\n"),
        with("x: a\0b\r\n"),
        format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "a".repeat(100_000)),
    ];
    for case in cases {
        let mut connection = Connection::open(&aka).await;
        connection.send(case.as_bytes()).await;
        let shown = &case[..case.len().min(200)];
        let answer = connection.answer().await;
        let answer = answer.unwrap_or_else(|| panic!("no answer to {shown}"));
        let expected = match answer.status {
            400 => &["malformed_request", "malformed_json"][..],
            414 => &["uri_too_long"],
            431 => &["headers_too_large"],
            _ => panic!("{shown}\n{answer}"),
        };
        let code = answer["code"].as_str().unwrap_or_default().to_owned();
        assert!(expected.contains(&&*code), "{shown}\n{answer}");
        below_http(answer);
        assert_eq!(code == "uri_too_long", case.starts_with("GET /aaa"), "{shown}");
        acme.get("/v1/users").await.expect(200);
    }
}

async fn a_client_that_disconnects_neither_loses_nor_repeats_a_change(aka: Aka) {
    let acme = aka.tenant().await;
    let (user, provider) = (acme.user().await, acme.provider("github").await);
    for number in 0..50 {
        let body = json!({ "identity_provider_id": provider, "external_id": number.to_string() }).to_string();
        let mut connection = Connection::open(&aka).await;
        let request = format!("{}{body}", link(&acme, user, body.len()));
        // Some go before the end of their request, the others before its answer.
        let sent = if number % 5 == 0 {
            request.len() - 1
        } else {
            request.len()
        };
        assert!(connection.send(&request.as_bytes()[..sent]).await);
        drop(connection);
    }

    // What they had asked for whole is done once, or not at all; it is never half done, and can be asked for again.
    let rows = aka.rows().await;
    let of_tenant = [("tenant_id", acme.tenant().into())];
    for number in 0..50 {
        let again = acme.link(user, provider, &number.to_string()).await;
        assert!([200, 201].contains(&again.status), "{again}");
        if number % 5 == 0 {
            assert_eq!(again.status, 201, "half of a request is no request\n{again}");
        }
        let of_link = [("tenant_id", acme.tenant().into()), ("resource_id", again.id().into())];
        assert_eq!(rows.count("audit_log_entries", &of_link).await, 1);
        assert_eq!(rows.count("outbox_events", &of_link).await, 1);
    }
    assert_eq!(rows.count("identities", &of_tenant).await, 50);
}
