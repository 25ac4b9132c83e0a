//! Invalid parameters in path and query.

use crate::harness::{
    Aka, Answer, Caller, Uuid, on_both_stores,
    operations::{OPERATIONS, lists},
};

on_both_stores![
    an_id_in_a_path_must_be_a_uuid,
    an_id_in_a_path_may_be_in_upper_case,
    a_path_that_is_not_utf_8_is_refused,
    a_query_that_is_not_utf_8_is_refused,
    a_limit_must_be_between_1_and_250,
    a_limit_of_1_or_250_is_accepted,
    a_cursor_must_come_from_the_server,
    a_cursor_of_another_list_is_refused,
    a_cursor_of_another_user_or_policy_is_refused,
    a_cursor_of_another_tenant_is_refused,
    a_changed_cursor_is_refused_or_harmless,
    a_filter_must_be_true_or_false,
    a_parameter_that_appears_twice_is_refused,
    an_unknown_parameter_is_refused_by_every_operation,
    an_unknown_parameter_of_a_page_or_document_is_ignored,
    every_unknown_parameter_is_listed,
    unknown_parameters_are_checked_after_credential_and_tenant,
    a_lookup_requires_both_parameters,
    a_lookup_accepts_only_valid_external_ids,
];

async fn an_id_in_a_path_must_be_a_uuid(aka: Aka) {
    let acme = aka.tenant().await;
    let cut = Uuid::now_v7().to_string()[..35].to_owned();
    for operation in OPERATIONS.iter().filter(|operation| operation.path.contains("/{")) {
        let caller = operation.caller(&acme);
        for text in ["not-a-uuid", "5", "null", "%00", "a%20b", &cut] {
            let path = operation.path_with(|_| text.to_owned());
            let refusal = operation.request_at(&caller, path).await.refused(400, "invalid_input");
            assert_eq!(refusal["details"]["in"], "path", "{refusal}");
            let field = refusal["details"]["field"].as_str().unwrap_or_default();
            let documented = aka.document().operations.iter().find(|one| one.id == operation.id);
            let template = &documented.expect("the operation is documented").path;
            assert!(
                template.contains(&format!("{{{field}}}")),
                "{field} is not in {template}\n{refusal}"
            );
        }
    }
}

async fn an_id_in_a_path_may_be_in_upper_case(aka: Aka) {
    let acme = aka.tenant().await;
    let user = acme.user().await.to_string();

    let read = acme.get(format!("/v1/users/{}", user.to_uppercase())).await.expect(200);

    assert_eq!(read["id"], user);
}

async fn a_path_that_is_not_utf_8_is_refused(aka: Aka) {
    let acme = aka.tenant().await;

    acme.get("/v1/users/%ff").await.expect(400);
}

async fn a_query_that_is_not_utf_8_is_refused(aka: Aka) {
    let acme = aka.tenant().await;
    let provider = acme.provider("github").await;
    let path = |id: &str| format!("/v1/identities/lookup?identity_provider_id={provider}&external_id={id}");

    for id in ["%ff", "a%c0%afb", "%ed%a0%80"] {
        acme.get(path(id)).await.refused_input("query", "external_id");
    }
    acme.get(path("%ef%bf%bd")).await.refused_as_unknown("identity");
}

async fn a_limit_must_be_between_1_and_250(aka: Aka) {
    let acme = aka.tenant().await;
    for list in lists() {
        let caller = list.caller(&acme);
        for limit in [
            "0",
            "-1",
            "251",
            "abc",
            "",
            "1.5",
            "1e2",
            "0x10",
            "99999999999999999999",
            "１",
        ] {
            let refusal = caller
                .get(list.path_to_nothing())
                .query("limit", limit)
                .await
                .refused_input("query", "limit");
            assert!(
                refusal["message"]
                    .as_str()
                    .is_some_and(|message| message.contains("limit")),
                "{refusal}"
            );
        }
    }
}

async fn a_limit_of_1_or_250_is_accepted(aka: Aka) {
    let acme = aka.tenant().await;
    for list in lists() {
        let caller = list.caller(&acme);
        for limit in ["1", "250"] {
            let answer = caller.get(list.path_to_nothing()).query("limit", limit).await;
            assert!([200, 404].contains(&answer.status), "{answer}");
        }
    }
}

async fn a_cursor_must_come_from_the_server(aka: Aka) {
    let acme = aka.tenant().await;
    let long = "a".repeat(5000);
    let id = Uuid::now_v7().to_string();
    for list in lists() {
        let caller = list.caller(&acme);
        for cursor in [
            "x",
            "garbage",
            "MQ",
            "eyJpZCI6MX0",
            "%",
            "../..",
            "\u{0}",
            "' OR 1=1",
            &id,
            &long,
        ] {
            caller
                .get(list.path_to_nothing())
                .query("cursor", cursor)
                .await
                .refused_input("query", "cursor");
        }
    }
}

/// The cursor to the second page of a list that has one.
async fn cursor_of(caller: &Caller, path: &str) -> String {
    let page = caller.get(path).query("limit", "1").await.expect(200);
    let cursor = page["next_cursor"].as_str();
    cursor
        .unwrap_or_else(|| panic!("the list has one page only\n{page}"))
        .to_owned()
}

/// A tenant with two users and two providers.
async fn with_two_of_each(aka: &Aka) -> Caller {
    let tenant = aka.tenant().await;
    for _ in 0..2 {
        tenant.user().await;
        tenant.provider("github").await;
    }
    tenant
}

async fn a_cursor_of_another_list_is_refused(aka: Aka) {
    let acme = with_two_of_each(&aka).await;
    let cursor = cursor_of(&acme, "/v1/users").await;

    for list in lists().filter(|list| list.id != "listUsers") {
        let caller = list.caller(&acme);
        caller
            .get(list.path_to_nothing())
            .query("cursor", &cursor)
            .await
            .refused_input("query", "cursor");
    }
    // A list with another filter is another list.
    let cursor = cursor_of(&acme, "/v1/identity-providers").await;
    let filtered = acme
        .get("/v1/identity-providers?enabled=true")
        .query("cursor", &cursor)
        .await;
    filtered.refused_input("query", "cursor");
}

async fn a_cursor_of_another_user_or_policy_is_refused(aka: Aka) {
    let acme = aka.tenant().await;
    let (ada, grace, provider) = (acme.user().await, acme.user().await, acme.provider("github").await);
    let rule = "permit(principal, action, resource);";
    let (one, other) = (
        acme.policy(0, &rule.repeat(2)).await,
        acme.policy(0, &rule.repeat(2)).await,
    );
    for (number, user) in [(1, ada), (2, ada), (3, grace), (4, grace)] {
        acme.link(user, provider, &number.to_string()).await.expect(201);
    }

    let of_ada = cursor_of(&acme, &format!("/v1/users/{ada}/identities")).await;
    let of_one = cursor_of(&acme, &format!("/v1/policies/{one}/rules")).await;

    let of_grace = acme
        .get(format!("/v1/users/{grace}/identities"))
        .query("cursor", &of_ada)
        .await;
    of_grace.refused_input("query", "cursor");
    let of_other = acme
        .get(format!("/v1/policies/{other}/rules"))
        .query("cursor", &of_one)
        .await;
    of_other.refused_input("query", "cursor");
}

async fn a_cursor_of_another_tenant_is_refused(aka: Aka) {
    let (acme, other) = (with_two_of_each(&aka).await, with_two_of_each(&aka).await);
    let cursor = cursor_of(&other, "/v1/users").await;

    acme.get("/v1/users")
        .query("cursor", &cursor)
        .await
        .refused_input("query", "cursor");
    other.get("/v1/users").query("cursor", &cursor).await.expect(200);
}

async fn a_changed_cursor_is_refused_or_harmless(aka: Aka) {
    let acme = with_two_of_each(&aka).await;
    let other = with_two_of_each(&aka).await;
    let cursor = cursor_of(&acme, "/v1/users").await;
    let of_other = other.get("/v1/users").await.expect(200).column("id");
    for place in 0..cursor.len() {
        let mut changed = cursor.clone().into_bytes();
        changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).expect("a cursor is ASCII");
        if changed == cursor {
            continue;
        }
        let answer = acme.get("/v1/users").query("cursor", &changed).await;
        match answer.status {
            200 => assert!(answer.column("id").iter().all(|id| !of_other.contains(id)), "{answer}"),
            _ => drop(answer.refused_input("query", "cursor")),
        }
    }
    for cut in [&cursor[1..], &cursor[..cursor.len() - 1], &format!("{cursor}{cursor}")] {
        acme.get("/v1/users")
            .query("cursor", cut)
            .await
            .refused_input("query", "cursor");
    }
}

async fn a_filter_must_be_true_or_false(aka: Aka) {
    let acme = aka.tenant().await;
    for text in ["yes", "1", "TRUE", "", "null"] {
        acme.get("/v1/identity-providers")
            .query("enabled", text)
            .await
            .refused_input("query", "enabled");
    }
}

async fn an_unknown_parameter_is_refused_by_every_operation(aka: Aka) {
    let acme = aka.tenant().await;
    let refused = |answer: Answer, known: &[&str]| {
        let answer = answer.refused_input("query", "limt");
        let message = answer["message"].as_str().expect("a message");
        for name in known {
            assert!(message.contains(&format!("`{name}`")), "{message} names {name}");
        }
        assert_eq!(
            known.is_empty(),
            message.contains("has no query parameters"),
            "{message}"
        );
    };
    for operation in OPERATIONS {
        let documented = aka.document().operations.iter().find(|one| one.id == operation.id);
        let path = &documented.expect("the operation is documented").path;
        let parameters = &aka.document().json["paths"][path][operation.method.as_str().to_lowercase()]["parameters"];
        let known: Vec<&str> = parameters
            .as_array()
            .into_iter()
            .flatten()
            .filter(|parameter| parameter["in"] == "query")
            .filter_map(|parameter| parameter["name"].as_str())
            .collect();

        let answer = operation.request(&operation.caller(&acme)).query("limt", "5").await;

        refused(answer, &known);
    }
    for path in ["/healthz", "/readyz"] {
        refused(aka.nobody().get(path).query("limt", "5").await, &[]);
    }
    let head = acme.request(reqwest::Method::HEAD, "/v1/users?limt=5").await;
    assert_eq!(head.status, 400);
    acme.request(reqwest::Method::HEAD, "/v1/users?limit=5")
        .await
        .expect(200);
}

async fn an_unknown_parameter_of_a_page_or_document_is_ignored(aka: Aka) {
    for path in ["/docs?a=b", "/openapi.json?v=1", "/docs/errors?x"] {
        assert_eq!(aka.nobody().get(path).await.status, 200, "{path}");
    }
}

async fn every_unknown_parameter_is_listed(aka: Aka) {
    let acme = aka.tenant().await;

    let refusal = acme.get("/v1/users?limt=5&emial=ada&limit=1&limit=2&emial=x&=1").await;

    let refusal = refusal.refused(400, "invalid_input");
    let listed: Vec<(&str, &str)> = refusal["details"]["errors"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|mistake| {
            (
                mistake["field"].as_str().expect("a name"),
                mistake["in"].as_str().expect("a place"),
            )
        })
        .collect();
    assert_eq!(
        listed,
        [("limt", "query"), ("emial", "query"), ("limit", "query"), ("", "query")],
        "{refusal}"
    );
    // A question mark alone, or an ampersand more, is no parameter.
    acme.get("/v1/users?").await.expect(200);
    acme.get("/v1/users?&limit=1&").await.expect(200);
    // Names are compared as they are meant, not as they are written.
    acme.get("/v1/users?%6Cimit=1").await.expect(200);
    acme.get("/v1/users?Limit=1").await.refused_input("query", "Limit");
}

async fn unknown_parameters_are_checked_after_credential_and_tenant(aka: Aka) {
    let (acme, other) = (aka.tenant().await, aka.tenant().await);
    let path = "/v1/users?limt=5";

    acme.without_credential()
        .get(path)
        .await
        .refused(401, "unauthenticated");
    acme.claiming_tenant(&other.tenant().to_string())
        .get(path)
        .await
        .refused(403, "tenant_mismatch");
    let without_scopes = acme.limited_to(&["policies:read"]).await;
    without_scopes.get(path).await.refused_input("query", "limt");
    without_scopes.get("/v1/users").await.refused(403, "forbidden");
}

async fn a_parameter_that_appears_twice_is_refused(aka: Aka) {
    let acme = aka.tenant().await;

    // Which of them counts would be a guess.
    acme.get("/v1/users?limit=1&limit=2")
        .await
        .refused_input("query", "limit");
    acme.get("/v1/identity-providers?enabled=true&enabled=true")
        .await
        .refused_input("query", "enabled");
}

async fn a_lookup_requires_both_parameters(aka: Aka) {
    let acme = aka.tenant().await;
    let lookup = "/v1/identities/lookup";
    let provider = Uuid::now_v7().to_string();

    acme.get(lookup).await.refused(400, "invalid_input");
    acme.get(lookup)
        .query("external_id", "1")
        .await
        .refused_input("query", "identity_provider_id");
    acme.get(lookup)
        .query("identity_provider_id", &provider)
        .await
        .refused_input("query", "external_id");
}

async fn a_lookup_accepts_only_valid_external_ids(aka: Aka) {
    let acme = aka.tenant().await;
    let provider = Uuid::now_v7();
    let long = "a".repeat(257);
    for text in ["", " ", " 1", "1 ", "\u{0}", "a\nb", &long] {
        acme.lookup(provider, text).await.refused_input("query", "external_id");
    }
    for text in ["", "not-a-uuid", "5"] {
        let lookup = acme
            .get("/v1/identities/lookup")
            .query("identity_provider_id", text)
            .query("external_id", "1");
        lookup.await.refused_input("query", "identity_provider_id");
    }
}
