//! The catalogue of errors: the codes in the document, the pages, and the links in responses agree.

use crate::harness::{Aka, Value, node::CLIENT, on_both_stores};

on_both_stores![
    every_code_of_the_document_has_a_page,
    a_page_for_an_unknown_code_is_not_found,
    an_error_links_to_its_page,
    the_page_of_a_code_and_the_document_list_the_same_details,
    the_page_explains_that_a_look_up_also_finds_unlinked_accounts,
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
            "<code>documentation</code>",
        ] {
            assert!(page.contains(part), "{code}: {part}");
        }
        assert!(!page.contains("http"), "{code}: nothing is fetched from elsewhere");
    }
}

async fn a_page_for_an_unknown_code_is_not_found(aka: Aka) {
    let (status, body) = page(&aka, "/docs/errors/no_such_code").await;

    let body: Value = serde_json::from_str(&body).expect("the contract's error");
    assert_eq!((status, &body["code"]), (404, &Value::from("not_found")));
}

async fn an_error_links_to_its_page(aka: Aka) {
    let acme = aka.tenant().await;

    let refused = acme.get("/v1/users/nobody").await.refused(400, "invalid_input");

    let path = refused["details"]["documentation"].as_str().expect("a path");
    let (status, text) = page(&aka, path).await;
    assert_eq!(status, 200);
    assert!(text.contains("<code>invalid_input</code>"));
}

async fn the_page_of_a_code_and_the_document_list_the_same_details(aka: Aka) {
    let schemas = &aka.document().json["components"]["schemas"];
    let properties = schemas["ErrorDetails"]["properties"].as_object().expect("properties");
    for code in schemas["ErrorCode"]["enum"].as_array().expect("codes") {
        let code = code.as_str().expect("a name");
        let (_, text) = page(&aka, &format!("/docs/errors/{code}")).await;
        for (name, schema) in properties {
            let description = schema["description"].as_str().expect("a description");
            let told = description.contains(&format!("`{code}`")) || description.contains("every code");
            assert_eq!(
                text.contains(&format!("<td><code>{name}</code></td>")),
                told,
                "{code} {name}"
            );
        }
    }
    for (name, format) in [
        ("user_id", "uuid"),
        ("id", "uuid"),
        ("identity_provider_id", "uuid"),
        ("linked_to_user_id", "uuid"),
        ("linked_at", "date-time"),
    ] {
        assert_eq!(properties[name]["format"], format, "{name}");
    }
    assert_eq!(properties["ways_out"]["items"]["$ref"], "#/components/schemas/WayOut");
    let way_out: Vec<&String> = schemas["WayOut"]["properties"]
        .as_object()
        .expect("properties")
        .keys()
        .collect();
    assert_eq!(way_out, ["way", "description", "method", "path"]);
}

async fn the_page_explains_that_a_look_up_also_finds_unlinked_accounts(aka: Aka) {
    let acme = aka.tenant().await;
    let (user, provider) = (acme.user().await, acme.provider("github").await);
    let linked = acme.link(user, provider, "583231").await.expect(201);
    acme.unlink(user, linked.id()).await.expect(204);

    acme.lookup(provider, "583231").await.expect(200);
    let (_, text) = page(&aka, "/docs/errors/not_found").await;

    assert!(text.contains("linked or not"), "an unlinked account is found: {text}");
}
