//! Invalid bodies: each is refused with a message that names the error, by every operation. The cases are generated
//! from the table of operations, so that none is forgotten.

use crate::harness::{
    Aka, Answer, Caller, Uuid, Value, json, on_both_stores,
    operations::{Field, Operation, Takes, named, with_body},
    raw::{self, Connection},
};

on_both_stores![
    a_body_is_required,
    a_body_must_be_json,
    a_body_must_be_an_object,
    a_field_with_an_invalid_value_is_named,
    a_missing_field_is_named,
    an_unknown_field_is_named,
    a_duplicate_field_is_named,
    null_means_that_an_optional_text_is_absent,
    the_caller_cannot_choose_how_an_account_was_linked,
    other_media_types_are_refused,
    a_body_without_a_content_type_is_refused,
    the_content_type_may_have_a_charset,
    ten_megabytes_are_refused_before_they_are_read,
    deep_nesting_is_refused,
    text_that_is_not_utf_8_is_refused,
    the_longest_texts_are_accepted,
    a_refused_body_stores_nothing,
    every_error_in_a_body_is_listed,
    every_missing_field_is_listed,
    the_number_of_listed_errors_is_limited,
];

/// Sends a text as the JSON body of an operation, on things that do not exist: the body is looked at before them.
async fn send(operation: &Operation, tenant: &Caller, body: impl Into<Vec<u8>>) -> Answer {
    let caller = operation.caller(tenant);
    caller
        .request(operation.method.clone(), operation.path_to_nothing())
        .body("application/json", body)
        .await
}

/// The sample of an operation with one member changed.
fn sample_with(operation: &Operation, name: &str, value: Value) -> Value {
    let mut body = operation.sample().expect("the operation has a body");
    body[name] = value;
    body
}

/// An object whose text has the same member twice.
fn doubled(operation: &Operation, field: &Field) -> String {
    let sample = operation.sample().expect("the operation has a body");
    let text = sample.to_string();
    let member = format!("\"{}\":{}", field.name, sample[field.name]);
    format!("{{{member},{}", &text[1..])
}

async fn a_body_is_required(aka: Aka) {
    let acme = aka.tenant().await;
    for (operation, _) in with_body() {
        let caller = operation.caller(&acme);
        // Rotation has nothing that must be said; whether it may be called without a body is its own affair.
        if operation.id == "rotateApiKey" {
            continue;
        }
        send(operation, &acme, "").await.expect(400);
        let without = caller
            .request(operation.method.clone(), operation.path_to_nothing())
            .await;
        assert!([400, 415].contains(&without.status), "{without}");
    }
}

async fn a_body_must_be_json(aka: Aka) {
    let acme = aka.tenant().await;
    for (operation, _) in with_body() {
        let cut = operation.sample().expect("a body").to_string();
        let cut = &cut[..cut.len() - 1];
        for text in [
            cut,
            "{",
            "name=Ada",
            "{'name': 'Ada'}",
            "{\"name\": \"Ada\",}",
            "{} {}",
            "\u{feff}{}",
            "NaN",
        ] {
            send(operation, &acme, text).await.refused(400, "malformed_json");
        }
    }
}

async fn a_body_must_be_an_object(aka: Aka) {
    let acme = aka.tenant().await;
    for (operation, _) in with_body() {
        for text in ["[]", "[{}]", "\"Ada\"", "5", "true", "null"] {
            let refusal = send(operation, &acme, text).await.refused(400, "invalid_input");
            assert_eq!(refusal["details"]["in"], "body", "{refusal}");
        }
    }
}

async fn a_field_with_an_invalid_value_is_named(aka: Aka) {
    let acme = aka.tenant().await;
    for (operation, fields) in with_body() {
        let caller = operation.caller(&acme);
        for field in fields {
            for value in field.takes.refuses() {
                // An optional field may be null.
                if value.is_null() && !field.required {
                    continue;
                }
                let is_rule = matches!(field.takes, Takes::Rule | Takes::Rules) && value.is_string();
                let body = sample_with(operation, field.name, value);
                let refusal = operation.request_with(&caller, &body).await;
                let refusal = if is_rule {
                    refusal.refused_rule(field.name)
                } else {
                    refusal.refused_input("body", field.name)
                };
                assert!(
                    refusal["message"].as_str().is_some_and(|text| text.len() > 20),
                    "it says why\n{refusal}"
                );
            }
        }
    }
}

async fn a_missing_field_is_named(aka: Aka) {
    let acme = aka.tenant().await;
    for (operation, fields) in with_body() {
        let caller = operation.caller(&acme);
        for field in fields.iter().filter(|field| field.required) {
            let mut body = operation.sample().expect("a body");
            body.as_object_mut().expect("a body is an object").remove(field.name);
            let refusal = operation
                .request_with(&caller, &body)
                .await
                .refused_input("body", field.name);
            assert!(
                refusal["message"]
                    .as_str()
                    .is_some_and(|message| message.contains(field.name)),
                "{refusal}"
            );

            let null = sample_with(operation, field.name, Value::Null);
            operation
                .request_with(&caller, &null)
                .await
                .refused_input("body", field.name);
        }
    }
}

async fn an_unknown_field_is_named(aka: Aka) {
    let acme = aka.tenant().await;
    for (operation, _) in with_body() {
        let caller = operation.caller(&acme);
        for name in ["colour", "Name", "id", "tenant_id", ""] {
            let body = sample_with(operation, name, json!("blue"));
            let refusal = operation
                .request_with(&caller, &body)
                .await
                .refused(400, "invalid_input");
            assert_eq!(
                (&refusal["details"]["in"], &refusal["details"]["field"]),
                (&json!("body"), &json!(name)),
                "{refusal}"
            );
        }
    }
}

async fn a_duplicate_field_is_named(aka: Aka) {
    let acme = aka.tenant().await;
    for (operation, fields) in with_body() {
        for field in fields {
            let refusal = send(operation, &acme, doubled(operation, field)).await;
            refusal.refused_input("body", field.name);
        }
    }
}

async fn null_means_that_an_optional_text_is_absent(aka: Aka) {
    let acme = aka.tenant().await;
    for (operation, fields) in with_body() {
        let caller = operation.caller(&acme);
        for field in fields.iter().filter(|field| !field.required) {
            if !matches!(field.takes, Takes::Text(_) | Takes::Email) {
                continue;
            }
            let body = sample_with(operation, field.name, Value::Null);
            let answer = operation.request_with(&caller, &body).await;
            assert_ne!(answer.status, 400, "{answer}");
        }
    }
}

async fn the_caller_cannot_choose_how_an_account_was_linked(aka: Aka) {
    let acme = aka.tenant().await;
    let (user, provider) = (acme.user().await, acme.provider("github").await);
    for linked_by in ["manual", "auto", "scim"] {
        let account = json!({ "identity_provider_id": provider, "external_id": "583231", "linked_by": linked_by });
        let answer = acme.post(format!("/v1/users/{user}/identities")).json(account).await;
        answer.refused_input("body", "linked_by");
    }
}

async fn other_media_types_are_refused(aka: Aka) {
    let acme = aka.tenant().await;
    for (operation, _) in with_body() {
        let caller = operation.caller(&acme);
        let body = operation.sample().expect("a body").to_string();
        for media_type in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/xml",
            "application/jsonp",
            "x",
        ] {
            let request = caller.request(operation.method.clone(), operation.path_to_nothing());
            request
                .body(media_type, body.clone())
                .await
                .refused(415, "unsupported_media_type");
        }
    }
}

async fn a_body_without_a_content_type_is_refused(aka: Aka) {
    let acme = aka.tenant().await;
    for (operation, _) in with_body() {
        let caller = operation.caller(&acme);
        let request = caller.request(operation.method.clone(), operation.path_to_nothing());
        let body = operation.sample().expect("a body").to_string();
        request.untyped_body(body).await.refused(415, "unsupported_media_type");
    }
}

async fn the_content_type_may_have_a_charset(aka: Aka) {
    let acme = aka.tenant().await;
    for media_type in [
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8",
        "Application/JSON",
    ] {
        let user = Takes::Email.sample();
        let user = json!({ "email": user, "name": "Ada" }).to_string();
        acme.post("/v1/users").body(media_type, user).await.expect(201);
    }
}

/// Ten megabytes of JSON whose head is right.
fn ten_megabytes() -> String {
    format!(
        "{{\"email\":\"ada@example.com\",\"name\":\"{}\"}}",
        "a".repeat(10 * 1024 * 1024)
    )
}

async fn ten_megabytes_are_refused_before_they_are_read(aka: Aka) {
    let acme = aka.tenant().await;
    let body = ten_megabytes();
    for path in ["/v1/users", "/v1/policies"] {
        let head = format!("{}content-type: application/json\r\n", raw::head(&acme, "POST", path));
        let with_length = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
        let in_chunks = format!("{head}transfer-encoding: chunked\r\n\r\n{}0\r\n\r\n", chunks(&body));
        for request in [with_length, in_chunks] {
            let answer = Connection::open(&aka).await.exchange(request.into_bytes()).await;
            answer.check(aka.document(), "POST", path);
            answer.refused(413, "payload_too_large");
        }
    }
    acme.get("/v1/users").await.expect(200);
}

fn chunks(body: &str) -> String {
    /// As large as a client might send.
    const BYTES: usize = 64 * 1024;
    let chunks = body.as_bytes().chunks(BYTES);
    let chunks = chunks.map(|chunk| format!("{:x}\r\n{}\r\n", chunk.len(), String::from_utf8_lossy(chunk)));
    chunks.collect::<Vec<_>>().concat()
}

async fn deep_nesting_is_refused(aka: Aka) {
    let acme = aka.tenant().await;
    // As deep as fits into the limit of a body: enough to exhaust the stack of a parser that recurses.
    let depth = 30_000;
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let (open, close) = (open.repeat(depth / open.len()), close.repeat(depth / open.len()));
        for (operation, fields) in with_body() {
            let name = fields[0].name;
            send(operation, &acme, format!("{{\"{name}\":{open}1{close}}}"))
                .await
                .expect(400);
            send(operation, &acme, open.clone()).await.expect(400);
        }
        let config = format!("{{\"name\":\"x\",\"provider_type\":\"github\",\"config\":{{\"a\":{open}1{close}}}}}");
        send(named("createIdentityProvider"), &acme, config).await.expect(400);
    }
    acme.get("/v1/users").await.expect(200);
}

async fn text_that_is_not_utf_8_is_refused(aka: Aka) {
    let acme = aka.tenant().await;
    // A byte that UTF-8 never has, an overlong slash, half of a pair of surrogates, and that half as an escape.
    for bytes in [&b"\xff"[..], b"\xc0\xaf", b"\xed\xa0\x80", b"\\ud800"] {
        let body = [b"{\"email\":\"ada@example.com\",\"name\":\"", bytes, b"\"}"].concat();
        acme.post("/v1/users")
            .body("application/json", body)
            .await
            .refused(400, "malformed_json");
    }
}

async fn the_longest_texts_are_accepted(aka: Aka) {
    let acme = aka.tenant().await;
    let email = format!(
        "{}@{}.com",
        "a".repeat(64),
        ["b".repeat(60), "c".repeat(60), "d".repeat(60)].join(".")
    );
    assert!(email.len() <= 254 && email.len() > 250);

    let created = acme
        .post("/v1/users")
        .json(json!({ "email": email, "name": "é".repeat(256) }))
        .await
        .expect(201);

    assert_eq!(
        acme.get(format!("/v1/users/{}", created.id())).await.expect(200).json,
        created.json
    );
}

async fn a_refused_body_stores_nothing(aka: Aka) {
    let acme = aka.tenant().await;
    let (user, provider) = (acme.user().await, acme.provider("github").await);
    let path = format!("/v1/users/{user}/identities");
    for (name, value) in [
        ("external_email", json!("nobody")),
        ("colour", json!("blue")),
        ("external_username", json!(5)),
    ] {
        let mut account = json!({ "identity_provider_id": provider, "external_id": "583231" });
        account[name] = value;
        acme.post(&path).json(account).await.refused(400, "invalid_input");
    }

    acme.lookup(provider, "583231").await.refused_as_unknown("identity");
    let of_tenant = [
        ("tenant_id", acme.tenant().into()),
        ("action", "createUserIdentity".into()),
    ];
    assert_eq!(aka.rows().await.count("audit_log_entries", &of_tenant).await, 0);
    acme.link(Uuid::now_v7(), provider, "583231")
        .await
        .refused_as_unknown("user");
    assert_eq!(aka.rows().await.count("audit_log_entries", &of_tenant).await, 0);
}

/// The fields that a refusal lists, in their order.
fn listed(refusal: &Answer) -> Vec<&str> {
    let mistakes = refusal["details"]["errors"].as_array().expect("a list of mistakes");
    mistakes
        .iter()
        .map(|mistake| mistake["field"].as_str().expect("a name"))
        .collect()
}

async fn every_error_in_a_body_is_listed(aka: Aka) {
    let acme = aka.tenant().await;

    let body = json!({ "email": "ada", "roles": ["ok", "", 5], "nmae": "Ada" });
    let refusal = acme.post("/v1/users").json(body).await.refused(400, "invalid_input");

    let mut fields = listed(&refusal);
    assert_eq!(refusal["details"]["field"], fields[0], "{refusal}");
    fields.sort_unstable();
    assert_eq!(fields, ["email", "name", "nmae", "roles[1]", "roles[2]"], "{refusal}");
    for mistake in refusal["details"]["errors"].as_array().expect("a list") {
        assert_eq!(mistake["in"], "body", "{refusal}");
        assert!(
            mistake["reason"].as_str().is_some_and(|reason| reason.len() > 8),
            "{refusal}"
        );
    }
    let one = acme
        .post("/v1/users")
        .json(json!({ "email": "ada", "name": "Ada" }))
        .await;
    assert_eq!(listed(&one.refused(400, "invalid_input")), ["email"]);
}

async fn every_missing_field_is_listed(aka: Aka) {
    let acme = aka.tenant().await;
    for (operation, fields) in with_body() {
        let caller = operation.caller(&acme);
        let mut required: Vec<&str> = fields
            .iter()
            .filter(|field| field.required)
            .map(|field| field.name)
            .collect();
        if required.is_empty() {
            continue;
        }

        let refusal = operation
            .request_with(&caller, &json!({}))
            .await
            .refused(400, "invalid_input");

        let mut fields = listed(&refusal);
        fields.sort_unstable();
        required.sort_unstable();
        assert_eq!(fields, required, "{refusal}");
    }
}

async fn the_number_of_listed_errors_is_limited(aka: Aka) {
    let acme = aka.tenant().await;
    let many: serde_json::Map<String, Value> = (0..5_000).map(|number| (format!("x{number}"), json!(1))).collect();

    let refusal = acme
        .post("/v1/users")
        .json(Value::Object(many))
        .await
        .refused(400, "invalid_input");

    assert!(
        (10..100).contains(&listed(&refusal).len()),
        "{}",
        listed(&refusal).len()
    );
}
