//! What browsers ask of a server: what a path can do, what may be kept, and which pages may call it.

use crate::harness::{Aka, Store, json, node::CLIENT, on_both_stores, run};
use reqwest::{Method, Response};

on_both_stores![
    options_name_the_methods_of_a_path,
    nothing_that_a_change_answers_is_kept,
    pages_of_other_origins_may_not_call_the_server_unasked,
];

async fn options(aka: &Aka, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = CLIENT.request(Method::OPTIONS, format!("{}{path}", aka.address()));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.expect("an answer")
}

fn header<'a>(answer: &'a Response, name: &str) -> Option<&'a str> {
    answer.headers().get(name).map(|value| value.to_str().expect("a text"))
}

async fn options_name_the_methods_of_a_path(aka: Aka) {
    for (path, methods) in [
        ("/v1/users", "GET, POST, HEAD, OPTIONS"),
        ("/v1/identities/lookup", "GET, HEAD, OPTIONS"),
        ("/docs", "GET, HEAD, OPTIONS"),
    ] {
        let answer = options(&aka, path, &[]).await;

        assert_eq!(
            (answer.status().as_u16(), header(&answer, "allow")),
            (204, Some(methods)),
            "{path}"
        );
    }
    assert_eq!(options(&aka, "/v1/cakes", &[]).await.status(), 404);
}

async fn nothing_that_a_change_answers_is_kept(aka: Aka) {
    let acme = aka.tenant().await;

    let key = json!({ "name": "sync", "scopes": ["users:read"] });
    let made = acme.post("/v1/api-keys").json(key).await.expect(201);
    assert_eq!(made.header("cache-control"), Some("no-store"));
    let list = acme.get("/v1/api-keys").await.expect(200);
    assert_eq!(list.header("cache-control"), Some("private, no-cache"));
}

async fn pages_of_other_origins_may_not_call_the_server_unasked(aka: Aka) {
    let asked = [
        ("origin", "https://app.example.com"),
        ("access-control-request-method", "POST"),
    ];

    let answer = options(&aka, "/v1/users", &asked).await;

    assert!(
        answer
            .headers()
            .keys()
            .all(|name| !name.as_str().starts_with("access-control-")),
        "{answer:?}"
    );
}

#[test]
fn pages_of_the_origins_that_were_named_may() {
    run(async {
        let origins = [("AKA_CORS_ORIGINS", "https://app.example.com,http://localhost:3000")];
        let aka = Aka::alone_with(Store::Sqlite, &origins).await;
        let acme = aka.tenant().await;
        for origin in ["https://app.example.com", "http://localhost:3000"] {
            let asked = [("origin", origin), ("access-control-request-method", "POST")];
            let answer = options(&aka, "/v1/users", &asked).await;
            assert_eq!(header(&answer, "access-control-allow-origin"), Some(origin));
            assert_eq!(header(&answer, "vary"), Some("Origin"));
            let may_send = header(&answer, "access-control-allow-headers").unwrap_or_default();
            assert!(
                may_send.contains("X-API-Key") && may_send.contains("X-Tenant-ID"),
                "{may_send}"
            );
            let methods = header(&answer, "access-control-allow-methods").unwrap_or_default();
            assert!(methods.contains("POST"), "{methods}");

            let users = acme.get("/v1/users").header("origin", origin).await.expect(200);
            assert_eq!(users.header("access-control-allow-origin"), Some(origin));
            // A refusal can be read, too.
            let refused = aka.nobody().get("/v1/users").header("origin", origin).await.expect(401);
            assert_eq!(refused.header("access-control-allow-origin"), Some(origin));
        }
        for origin in ["https://evil.example", "https://app.example.com.evil.example", "null"] {
            let users = acme.get("/v1/users").header("origin", origin).await.expect(200);
            assert_eq!(users.header("access-control-allow-origin"), None, "{origin}");
        }
    });
}
