//! The catalogue of errors: the codes of the document, the pages, and what answers point at are the same.

use crate::harness::{Aka, Value, node::CLIENT, on_both_stores};

on_both_stores![
    every_code_of_the_document_has_a_page,
    a_page_for_a_code_that_there_is_not_is_not_found,
    an_error_points_at_its_page,
];

async fn page(aka: &Aka, path: &str) -> (u16, String) {
    let answer = CLIENT.get(format!("{}{path}", aka.address())).send().await;
    let answer = answer.expect("an answer");
    (answer.status().as_u16(), answer.text().await.expect("a text"))
}

async fn every_code_of_the_document_has_a_page(aka: Aka) {
    let codes = aka.document().json["components"]["schemas"]["ErrorCode"]["enum"].clone();
    let codes: Vec<String> = serde_json::from_value(codes).expect("an enum of texts");
    assert!(codes.len() > 20, "{codes:?}");
    let (status, list) = page(&aka, "/docs/errors").await;
    assert_eq!(status, 200);
    assert_eq!(
        list.matches("href=\"/docs/errors/").count(),
        codes.len(),
        "the list has these and no others"
    );
    for code in codes {
        let path = format!("/docs/errors/{code}");
        assert!(list.contains(&format!("href=\"{path}\"")), "{code} is in the list");

        let (status, page) = page(&aka, &path).await;

        assert_eq!(status, 200, "{code}");
        for part in [
            &*format!("<code>{code}</code>"),
            "Status ",
            "Why it happens",
            "What to do",
        ] {
            assert!(page.contains(part), "{code}: {part}");
        }
        assert!(!page.contains("http"), "{code}: nothing is fetched from elsewhere");
    }
}

async fn a_page_for_a_code_that_there_is_not_is_not_found(aka: Aka) {
    let (status, body) = page(&aka, "/docs/errors/no_such_code").await;

    let body: Value = serde_json::from_str(&body).expect("the contract's error");
    assert_eq!((status, &body["code"]), (404, &Value::from("not_found")));
}

async fn an_error_points_at_its_page(aka: Aka) {
    let acme = aka.tenant().await;

    let refused = acme.get("/v1/users/nobody").await.refused(400, "invalid_input");

    let path = refused["details"]["documentation"].as_str().expect("a path");
    let (status, text) = page(&aka, path).await;
    assert_eq!(status, 200);
    assert!(text.contains("<code>invalid_input</code>"));
}
