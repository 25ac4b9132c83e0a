//! Paging, tested the same way for every list: all rows once, in order, for every page size.

use crate::harness::{Aka, Caller, Value, json, on_both_stores, unique};

on_both_stores![
    users_are_paged,
    identities_are_paged,
    providers_are_paged,
    providers_are_paged_within_their_filter,
    tenants_are_paged,
    api_keys_are_paged,
    policies_are_paged,
    rules_are_paged,
    identities_are_one_page_if_no_limit_is_given,
    a_page_that_is_just_full_is_the_last_one,
    rows_that_are_added_meanwhile_do_not_move_others,
    a_row_that_is_deleted_meanwhile_does_not_hide_others,
];

/// More than the 50 of a page without a limit.
const ROWS: usize = 53;

/// Reads a list to its end, page by page, and returns the ids.
async fn read_all(caller: &Caller, path: &str, limit: Option<usize>) -> Vec<Value> {
    let mut ids = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut request = caller.get(path);
        if let Some(limit) = limit {
            request = request.query("limit", &limit.to_string());
        }
        if let Some(cursor) = &cursor {
            request = request.query("cursor", cursor);
        }
        let page = request.await.expect(200);
        let rows = page.column("id");
        let most = limit.unwrap_or(50);
        assert!(rows.len() <= most, "a page has no more than its limit\n{page}");
        ids.extend(rows.iter().cloned());
        match page["next_cursor"].as_str() {
            None => return ids,
            Some(next) => {
                assert_eq!(rows.len(), most, "only the last page is not full\n{page}");
                cursor = Some(next.to_owned());
            }
        }
    }
}

/// Asserts that a list has exactly these rows, in this order, whatever the size of a page.
async fn assert_paged(caller: &Caller, path: &str, expected: &[Value]) {
    for limit in [Some(7), Some(20), Some(ROWS - 1), Some(ROWS), Some(250), None] {
        assert_eq!(
            read_all(caller, path, limit).await,
            expected,
            "with a limit of {limit:?}"
        );
    }
}

async fn users_are_paged(aka: Aka) {
    let acme = aka.tenant().await;
    let mut expected = Vec::new();
    for _ in 0..ROWS {
        expected.push(json!(acme.user().await));
    }

    assert_paged(&acme, "/v1/users", &expected).await;
}

async fn identities_are_paged(aka: Aka) {
    let acme = aka.tenant().await;
    let (user, other, provider) = (acme.user().await, acme.user().await, acme.provider("github").await);
    let mut expected = Vec::new();
    for number in 0..ROWS {
        expected.push(json!(
            acme.link(user, provider, &format!("account-{number}"))
                .await
                .expect(201)
                .id()
        ));
        acme.link(other, provider, &format!("other-{number}")).await.expect(201);
    }

    let path = format!("/v1/users/{user}/identities");
    for limit in [7, 20, ROWS - 1, ROWS, 250] {
        assert_eq!(
            read_all(&acme, &path, Some(limit)).await,
            expected,
            "with a limit of {limit}"
        );
    }
}

async fn providers_are_paged(aka: Aka) {
    let acme = aka.tenant().await;
    let mut expected = Vec::new();
    for _ in 0..ROWS {
        expected.push(json!(acme.provider("slack").await));
    }

    assert_paged(&acme, "/v1/identity-providers", &expected).await;
}

async fn providers_are_paged_within_their_filter(aka: Aka) {
    let acme = aka.tenant().await;
    let (mut on, mut off) = (Vec::new(), Vec::new());
    for number in 0..20 {
        let enabled = number % 3 != 0;
        let provider = json!({ "name": format!("GitHub {number}"), "provider_type": "github", "enabled": enabled });
        let id = acme.post("/v1/identity-providers").json(provider).await.expect(201)["id"].clone();
        if enabled { on.push(id) } else { off.push(id) }
    }

    assert_eq!(
        read_all(&acme, "/v1/identity-providers?enabled=true", Some(3)).await,
        on
    );
    assert_eq!(
        read_all(&acme, "/v1/identity-providers?enabled=false", Some(3)).await,
        off
    );
}

async fn tenants_are_paged(aka: Aka) {
    let master = aka.master();
    let mut created = Vec::new();
    for _ in 0..ROWS {
        let slug = unique("paged");
        let tenant = json!({ "name": slug, "slug": slug });
        created.push(master.post("/v1/tenants").json(tenant).await.expect(201)["id"].clone());
    }

    for limit in [Some(7), Some(250), None] {
        // Other tests make tenants, too.
        let mut read = read_all(&master, "/v1/tenants", limit).await;
        read.retain(|id| created.contains(id));
        assert_eq!(read, created, "with a limit of {limit:?}");
    }
}

async fn api_keys_are_paged(aka: Aka) {
    let acme = aka.tenant().await;
    let mut expected = vec![json!(acme.key_id())];
    for _ in 1..ROWS {
        expected.push(json!(acme.limited_to(&["users:read"]).await.key_id()));
    }

    assert_paged(&acme, "/v1/api-keys", &expected).await;
}

async fn policies_are_paged(aka: Aka) {
    let acme = aka.tenant().await;
    let mut expected = Vec::new();
    for _ in 0..ROWS {
        expected.push(json!(acme.policy(0, "permit(principal, action, resource);").await));
    }

    assert_paged(&acme, "/v1/policies", &expected).await;
}

async fn rules_are_paged(aka: Aka) {
    let acme = aka.tenant().await;
    let rules = "permit(principal, action, resource);\n".repeat(ROWS);
    let path = format!("/v1/policies/{}", acme.policy(0, &rules).await);
    let policy = acme.get(&path).await.expect(200);
    let expected: Vec<Value> = policy["rules"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|rule| rule["id"].clone())
        .collect();
    assert_eq!(expected.len(), ROWS);

    assert_paged(&acme, &format!("{path}/rules"), &expected).await;
}

async fn identities_are_one_page_if_no_limit_is_given(aka: Aka) {
    let acme = aka.tenant().await;
    let (user, provider) = (acme.user().await, acme.provider("github").await);
    for number in 0..ROWS {
        acme.link(user, provider, &number.to_string()).await.expect(201);
    }

    // The published operation knows no pages, so that its clients do not ask for a second one.
    let page = acme.get(format!("/v1/users/{user}/identities")).await.expect(200);

    assert_eq!(page.column("id").len(), ROWS);
    assert_eq!((&page["next_cursor"], &page["has_more"]), (&json!(null), &json!(false)));
}

async fn a_page_that_is_just_full_is_the_last_one(aka: Aka) {
    let acme = aka.tenant().await;
    for _ in 0..2 {
        acme.user().await;
    }

    let full = acme.get("/v1/users?limit=2").await.expect(200);
    assert_eq!((&full["next_cursor"], &full["has_more"]), (&json!(null), &json!(false)));
    let first = acme.get("/v1/users?limit=1").await.expect(200);
    assert!(first["next_cursor"].is_string() && first["has_more"] == true, "{first}");
}

async fn rows_that_are_added_meanwhile_do_not_move_others(aka: Aka) {
    let acme = aka.tenant().await;
    let mut users = Vec::new();
    for _ in 0..3 {
        users.push(json!(acme.user().await));
    }
    let first = acme.get("/v1/users?limit=2").await.expect(200);
    users.push(json!(acme.user().await));

    let cursor = first["next_cursor"].as_str().expect("there is a second page");
    let second = acme.get("/v1/users?limit=2").query("cursor", cursor).await.expect(200);

    assert_eq!(
        (first.column("id"), second.column("id")),
        (users[..2].to_vec(), users[2..].to_vec())
    );
}

async fn a_row_that_is_deleted_meanwhile_does_not_hide_others(aka: Aka) {
    let acme = aka.tenant().await;
    let users = [acme.user().await, acme.user().await, acme.user().await];
    let first = acme.get("/v1/users?limit=2").await.expect(200);
    // The last row of the first page, where the second one begins.
    acme.delete(format!("/v1/users/{}", users[1])).await.expect(204);

    let cursor = first["next_cursor"].as_str().expect("there is a second page");
    let second = acme.get("/v1/users?limit=2").query("cursor", cursor).await.expect(200);

    assert_eq!(second.column("id"), [json!(users[2])]);
}
