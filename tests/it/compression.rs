//! Compression: which responses are compressed, and which are not.

use crate::harness::{Aka, Answer, Caller, answer::unpacked, json, on_both_stores};

on_both_stores![
    pages_are_compressed_for_clients_that_accept_it,
    long_lists_are_compressed_and_short_ones_are_not,
    responses_with_an_etag_or_a_key_are_not_compressed,
];

async fn ask(caller: &Caller, path: &str, takes: &str) -> Answer {
    caller.get(path).header("Accept-Encoding", takes).await.expect(200)
}

fn is_packed(answer: &Answer) -> bool {
    assert!(answer.header("Content-Encoding").is_none_or(|coding| coding == "gzip"));
    answer.header("Content-Encoding").is_some()
}

async fn pages_are_compressed_for_clients_that_accept_it(aka: Aka) {
    let nobody = aka.nobody();
    for path in ["/docs", "/reference", "/openapi.json", "/openapi.yaml", "/docs/errors"] {
        let plain = ask(&nobody, path, "identity").await;
        assert!(!is_packed(&plain), "{path}");
        for takes in ["gzip", "br, GZIP;q=0.5", "*"] {
            let packed = ask(&nobody, path, takes).await;
            assert!(
                is_packed(&packed) && packed.bytes.len() * 2 < plain.bytes.len(),
                "{path}"
            );
            assert_eq!(packed.header("Vary"), Some("Accept-Encoding"));
            assert_eq!(unpacked(&packed.bytes), plain.text(), "{path}");
        }
        for takes in ["", "br", "gzip;q=0, *", "*, gzip; q=0.0", "*;q=0"] {
            assert!(!is_packed(&ask(&nobody, path, takes).await), "{path} {takes}");
        }
    }
}

async fn long_lists_are_compressed_and_short_ones_are_not(aka: Aka) {
    let acme = aka.tenant().await;
    acme.user().await;
    let list = "/v1/users?limit=250";
    assert!(!is_packed(&ask(&acme, list, "gzip").await));
    for _ in 0..10 {
        acme.user().await;
    }
    let plain = ask(&acme, list, "identity").await;
    let packed = ask(&acme, list, "gzip").await;
    assert!(is_packed(&packed) && packed.bytes.len() < plain.bytes.len());
    assert_eq!(unpacked(&packed.bytes), plain.text());
    assert_eq!(packed.header("Cache-Control"), Some("private, no-cache"));
}

async fn responses_with_an_etag_or_a_key_are_not_compressed(aka: Aka) {
    let acme = aka.tenant().await;
    let roles: Vec<String> = (0..50)
        .map(|number| format!("a-role-with-a-long-name-{number}"))
        .collect();
    let body = json!({ "email": "ada@example.com", "name": "Ada", "roles": roles });
    let made = acme
        .post("/v1/users")
        .json(body)
        .header("Accept-Encoding", "gzip")
        .await
        .expect(201);
    assert!(made.bytes.len() > 1024 && !is_packed(&made));
    let read = ask(&acme, made.header("Location").expect("a path"), "gzip").await;
    assert!(!is_packed(&read));
    let update = acme
        .put(made.header("Location").expect("a path"))
        .json(json!({ "name": "Grace" }));
    update
        .header("If-Match", read.header("ETag").expect("a tag"))
        .await
        .expect(200);
}
