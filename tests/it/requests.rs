//! Requests in general: unknown paths, unsupported methods, and request ids.

use reqwest::Method;

use crate::harness::{Aka, json, on_both_stores};

on_both_stores![
    an_unknown_path_is_not_found,
    a_path_with_a_trailing_slash_is_a_different_path,
    an_unsupported_method_names_the_supported_ones,
    head_answers_like_get_without_a_body,
    a_request_keeps_the_id_that_the_client_sent,
    a_request_without_a_valid_id_gets_one,
    an_error_has_the_id_of_its_request,
];

async fn an_unknown_path_is_not_found(aka: Aka) {
    let acme = aka.tenant().await;
    for caller in [acme.clone(), acme.without_credential(), aka.nobody()] {
        for path in [
            "/v1",
            "/v2/users",
            "/v1/cakes",
            "/v1/users/a/b/c",
            "//v1/users",
            "/v1/../etc/passwd",
            "/%2f",
        ] {
            for method in [Method::GET, Method::POST, Method::DELETE] {
                caller.request(method, path).await.refused_as_unknown("route");
            }
        }
    }
}

async fn a_path_with_a_trailing_slash_is_a_different_path(aka: Aka) {
    let acme = aka.tenant().await;

    acme.get("/v1/users/").await.refused_as_unknown("route");
}

async fn an_unsupported_method_names_the_supported_ones(aka: Aka) {
    let acme = aka.tenant().await;
    let user = acme.user().await;
    for (method, path, allowed) in [
        (Method::DELETE, "/v1/users".to_owned(), &["GET", "POST"][..]),
        (Method::PATCH, format!("/v1/users/{user}"), &["GET", "PUT", "DELETE"]),
        (Method::GET, format!("/v1/users/{user}/suspend"), &["POST"]),
        (Method::PUT, format!("/v1/users/{user}/identities"), &["GET", "POST"]),
        (Method::POST, "/v1/identities/lookup".to_owned(), &["GET"]),
        (Method::POST, "/healthz".to_owned(), &["GET"]),
    ] {
        let refusal = acme.request(method, path).await.refused(405, "method_not_allowed");

        let named: Vec<&str> = refusal.header("allow").unwrap_or_default().split(", ").collect();
        assert!(allowed.iter().all(|method| named.contains(method)), "{refusal}");
        // Where there is GET there is HEAD, and every path may have OPTIONS.
        assert!(
            named
                .iter()
                .all(|one| allowed.contains(one) || ["HEAD", "OPTIONS"].contains(one)),
            "{refusal}"
        );
    }
}

async fn head_answers_like_get_without_a_body(aka: Aka) {
    let acme = aka.tenant().await;
    let user = acme.user().await;

    let head = acme
        .request(Method::HEAD, format!("/v1/users/{user}"))
        .await
        .expect(200);

    assert!(head.bytes.is_empty());
    assert_eq!(head.header("content-type"), Some("application/json"));
}

async fn a_request_keeps_the_id_that_the_client_sent(aka: Aka) {
    let acme = aka.tenant().await;
    for id in ["0198c5a0-0000-7000-8000-000000000001", "req_42", "abc.DEF-123"] {
        let answer = acme.get("/v1/users").header("x-request-id", id).await.expect(200);
        assert_eq!(answer.header("x-request-id"), Some(id));
    }
}

async fn a_request_without_a_valid_id_gets_one(aka: Aka) {
    let acme = aka.tenant().await;
    let first = acme.get("/v1/users").await.expect(200);
    let second = acme.get("/v1/users").await.expect(200);
    assert_ne!(first.header("x-request-id"), second.header("x-request-id"));

    let long = "a".repeat(1000);
    for id in ["", "a b", "a\tb", "<script>", "\"quoted\"", &long] {
        let answer = acme.get("/v1/users").header("x-request-id", id).await.expect(200);
        let given = answer.header("x-request-id").unwrap_or_default();
        assert!(given != id && !given.is_empty() && given.len() < 100, "{answer}");
    }
}

async fn an_error_has_the_id_of_its_request(aka: Aka) {
    let acme = aka.tenant().await;
    for request in [
        acme.get("/v1/cakes"),
        acme.request(Method::PATCH, "/v1/users"),
        acme.without_credential().get("/v1/users"),
        acme.post("/v1/users").json(json!({})),
    ] {
        let answer = request.header("x-request-id", "req_42").await;
        assert!(answer.status >= 400, "{answer}");
        assert_eq!(answer.header("x-request-id"), Some("req_42"), "{answer}");
    }
}
