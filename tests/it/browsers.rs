//! What browsers need: pages, the methods of a path, caching, and which pages may call the server.

use crate::harness::{Aka, Store, json, node::CLIENT, on_both_stores, run};
use reqwest::{Method, Response, header::HeaderMap};

on_both_stores![
    the_start_page_links_to_all_others,
    pages_are_html_with_security_headers,
    an_unknown_path_is_a_page_for_browsers_and_an_error_for_programs,
    the_icon_is_served,
    options_lists_the_methods_of_a_path,
    responses_to_changes_are_not_cached,
    pages_of_other_origins_may_not_call_the_server_by_default,
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

/// What a browser says that it takes.
const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

struct Visit {
    status: u16,
    headers: HeaderMap,
    page: String,
}

impl Visit {
    async fn of(aka: &Aka, path: &str) -> Self {
        let request = CLIENT.get(format!("{}{path}", aka.address())).header("accept", BROWSER);
        let answer = request.send().await.expect("an answer");
        Self {
            status: answer.status().as_u16(),
            headers: answer.headers().clone(),
            page: answer.text().await.expect("a text"),
        }
    }

    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().expect("a text"))
    }
}

async fn the_start_page_links_to_all_others(aka: Aka) {
    let Visit { status, page, .. } = Visit::of(&aka, "/").await;

    assert_eq!(status, 200);
    assert!(page.contains(env!("CARGO_PKG_VERSION")), "{page}");
    let links: Vec<&str> = page
        .split("href=\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect();
    for path in [
        "/docs",
        "/reference",
        "/docs/errors",
        "/openapi.yaml",
        "/openapi.json",
        "/healthz",
        "/readyz",
    ] {
        assert!(links.contains(&path), "{path}: {links:?}");
    }
    for link in links {
        assert_eq!(Visit::of(&aka, link).await.status, 200, "{link}");
    }
}

async fn pages_are_html_with_security_headers(aka: Aka) {
    for path in [
        "/",
        "/docs",
        "/docs/",
        "/reference",
        "/reference/",
        "/docs/errors",
        "/docs/errors/",
        "/docs/errors/not_found",
        "/nothing/here",
    ] {
        let visit = Visit::of(&aka, path).await;
        let page = &visit.page;
        assert_eq!(visit.header("content-type"), "text/html; charset=utf-8", "{path}");
        assert!(page.starts_with("<!doctype html><html lang=\"en\">"), "{path}");
        assert!(
            page.contains("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"),
            "{path}"
        );
        for link in ["/", "/docs", "/reference", "/docs/errors"] {
            assert!(page.contains(&format!("<a href=\"{link}\"")), "{path} links to {link}");
        }
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
        ] {
            assert_eq!(visit.header(name), value, "{path}");
        }
        let policy = visit.header("content-security-policy");
        let directives: Vec<&str> = policy.split("; ").collect();
        assert!(directives.contains(&"default-src 'none'"), "{path}: {policy}");
        assert!(directives.contains(&"frame-ancestors 'none'"), "{path}: {policy}");
        // Scripts by their hashes, or none.
        let scripts = directives
            .iter()
            .find_map(|directive| directive.strip_prefix("script-src "));
        let hashes = scripts
            .unwrap_or_default()
            .split(' ')
            .filter(|source| !source.is_empty());
        let hashes: Vec<&str> = hashes.collect();
        assert!(
            hashes.iter().all(|source| source.starts_with("'sha256-")),
            "{path}: {policy}"
        );
        assert_eq!(hashes.len(), page.matches("</script>").count(), "{path}");
    }
}

async fn an_unknown_path_is_a_page_for_browsers_and_an_error_for_programs(aka: Aka) {
    let acme = aka.tenant().await;
    for path in ["/nothing", "/v1/cakes", "/docs/errors/no_such_code"] {
        let Visit { status, page, .. } = Visit::of(&aka, path).await;
        assert_eq!(status, 404, "{path}");
        assert!(page.contains("<h1>Not found</h1>"), "{path}: {page}");
        for accept in [
            "*/*",
            "application/json",
            "application/json, text/html",
            "application/json, text/html;q=0.5",
            "text/html;q=0, */*",
        ] {
            acme.get(path)
                .header("accept", accept)
                .await
                .refused_as_unknown("route");
        }
        acme.get(path).await.refused_as_unknown("route");
    }
    // What is there answers as it always does.
    acme.get("/v1/users").header("accept", BROWSER).await.expect(200);
    aka.nobody()
        .get("/v1/users")
        .header("accept", BROWSER)
        .await
        .refused(401, "unauthenticated");
}

async fn the_icon_is_served(aka: Aka) {
    let icon = CLIENT
        .get(format!("{}/favicon.ico", aka.address()))
        .send()
        .await
        .expect("an answer");
    assert_eq!(header(&icon, "content-type"), Some("image/x-icon"));
    let bytes = icon.bytes().await.expect("its bytes");
    assert!(
        bytes.starts_with(&[0, 0, 1, 0]) && bytes.len() < 5_000,
        "an icon, and a small one"
    );
}

async fn options_lists_the_methods_of_a_path(aka: Aka) {
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

async fn responses_to_changes_are_not_cached(aka: Aka) {
    let acme = aka.tenant().await;

    let key = json!({ "name": "sync", "scopes": ["users:read"] });
    let made = acme.post("/v1/api-keys").json(key).await.expect(201);
    assert_eq!(made.header("cache-control"), Some("no-store"));
    let list = acme.get("/v1/api-keys").await.expect(200);
    assert_eq!(list.header("cache-control"), Some("private, no-cache"));
}

async fn pages_of_other_origins_may_not_call_the_server_by_default(aka: Aka) {
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
fn pages_of_configured_origins_may_call_the_server() {
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
