//! Evaluating hypothetical requests: the result agrees with the actual decision, and explains it.

use crate::harness::{Aka, Caller, Uuid, Value, json, on_both_stores};

on_both_stores![
    an_evaluation_shows_what_would_be_decided,
    a_denial_lists_the_unsatisfied_clauses_and_their_values,
    a_principal_can_be_given_groups,
    the_built_in_rules_are_explained,
    an_evaluation_agrees_with_the_decision,
    a_request_that_does_not_match_the_schema_is_refused,
    an_unknown_principal_is_not_found,
    the_schema_is_served,
];

const COMPANY: &str = r#"
    @notice("GitHub accounts must use an address of the company.")
    forbid(principal, action == Action::"createUserIdentity", resource)
    when { context.identity_provider.provider_type == "github" }
    unless { context has external_email && context.external_email like "*@example.com" };
"#;

/// The id of a caller's key, as a principal.
async fn own_key(acme: &Caller) -> String {
    let keys = acme.get("/v1/api-keys").await.expect(200);
    format!("api_key:{}", keys.column("id")[0].as_str().expect("an id"))
}

fn question(principal: &str, action: &str, resource: &str, context: &Value) -> Value {
    json!({ "principal": principal, "action": action, "resource": resource, "context": context })
}

async fn an_evaluation_shows_what_would_be_decided(aka: Aka) {
    let acme = aka.tenant().await;
    let (user, github) = (acme.user().await, acme.provider("github").await);
    let policy = acme.policy(3, COMPANY).await;
    let (key, user) = (own_key(&acme).await, format!("user:{user}"));
    let ask = async |email: &str| {
        let context = json!({ "identity_provider": github, "external_id": "1", "external_email": email });
        let question = question(&key, "createUserIdentity", &user, &context);
        acme.post("/v1/policies/evaluate").json(question).await.expect(200)
    };

    let no = ask("octocat@elsewhere.example").await;
    assert_eq!(
        (
            &no["permitted"],
            &no["kind"],
            &no["priority"],
            &no["matching_policy_ids"]
        ),
        (&json!(false), &json!("forbidden"), &json!(3), &json!([policy]))
    );
    assert_eq!(no.notices(), ["GitHub accounts must use an address of the company."]);
    assert_eq!(no["explanations"][0]["effect"], "forbid");

    let yes = ask("octocat@example.com").await;
    assert_eq!(
        (
            &yes["permitted"],
            &yes["kind"],
            &yes["priority"],
            &yes["matching_rule_ids"]
        ),
        (
            &json!(true),
            &json!("permitted"),
            &Value::Null,
            &json!(["identities:write"])
        )
    );
}

async fn a_denial_lists_the_unsatisfied_clauses_and_their_values(aka: Aka) {
    let acme = aka.tenant().await;
    let user = acme.user().await;
    let address = acme.get(format!("/v1/users/{user}")).await.expect(200)["email"].clone();
    let rule = "permit(principal is User, action == Action::\"getUser\", resource) \
                when { principal.email_verified && principal.email like \"*@example.org\" };";
    acme.policy(0, rule).await;

    let question = question(&format!("user:{user}"), "getUser", &format!("user:{user}"), &json!({}));
    let no = acme.post("/v1/policies/evaluate").json(question).await.expect(200);

    assert_eq!(
        (&no["permitted"], &no["kind"]),
        (&json!(false), &json!("not_permitted"))
    );
    let near = no["explanations"].as_array().expect("explanations");
    let near = near
        .iter()
        .find(|one| !one["policy_id"].is_null())
        .unwrap_or_else(|| panic!("{no}"));
    let clauses = near["unsatisfied"].as_array().expect("clauses");
    let seen = |expression: &str| {
        let all = clauses
            .iter()
            .flat_map(|clause| clause["values"].as_array().into_iter().flatten());
        all.into_iter()
            .find(|value| value["expression"] == expression)
            .map(|value| value["value"].clone())
    };
    assert_eq!(seen("principal.email_verified"), Some(json!("false")), "{no}");
    assert_eq!(
        seen("principal.email"),
        Some(json!(format!("\"{}\"", address.as_str().expect("a text")))),
        "{no}"
    );
    assert!(
        near["message"]
            .as_str()
            .is_some_and(|text| text.contains("example.org")),
        "{no}"
    );
}

async fn a_principal_can_be_given_groups(aka: Aka) {
    let acme = aka.tenant().await;
    let user = format!("user:{}", acme.user().await);
    acme.policy(
        0,
        "permit(principal in Role::\"auditor\", action == Action::\"getUser\", resource);",
    )
    .await;
    let ask = async |groups: Value| {
        let question = json!({ "principal": user, "groups": groups, "action": "getUser", "resource": user });
        acme.post("/v1/policies/evaluate").json(question).await.expect(200)["permitted"].clone()
    };

    assert_eq!(ask(json!([])).await, false);
    assert_eq!(ask(json!(["auditor"])).await, true);
}

async fn the_built_in_rules_are_explained(aka: Aka) {
    let acme = aka.tenant().await;
    let user = acme.user().await;
    let limited = acme
        .post("/v1/api-keys")
        .json(json!({ "name": "limited", "scopes": ["users:read"] }))
        .await
        .expect(201);

    let question = question(
        &format!("api_key:{}", limited.id()),
        "deleteUser",
        &format!("user:{user}"),
        &json!({}),
    );
    let no = acme.post("/v1/policies/evaluate").json(question).await.expect(200);

    assert_eq!(no["kind"], "not_permitted");
    assert_eq!(
        (&no["explanations"][0]["rule_id"], &no["explanations"][0]["policy_id"]),
        (&json!("users:write"), &Value::Null)
    );
    let clause = no["explanations"][0]["unsatisfied"][0]["clause"]
        .as_str()
        .unwrap_or_default();
    assert!(clause.contains("Scope::\"users:write\""), "{no}");
}

async fn an_evaluation_agrees_with_the_decision(aka: Aka) {
    let acme = aka.tenant().await;
    let (user, key) = (acme.user().await, own_key(&acme).await);
    for (priority, rule) in [
        (0, "forbid(principal, action == Action::\"getUser\", resource);"),
        (
            1,
            "permit(principal is ApiKey, action == Action::\"getUser\", resource) when { resource.active };",
        ),
        (
            2,
            "forbid(principal, action in Action::\"users:read\", resource is User) when { resource.name like \"A*\" };",
        ),
        (3, "permit(principal, action == Action::\"getUser\", resource);"),
    ] {
        acme.policy(priority, rule).await;

        let question = question(&key, "getUser", &format!("user:{user}"), &json!({}));
        let evaluated = acme.post("/v1/policies/evaluate").json(question).await.expect(200);
        let decided = acme.get(format!("/v1/users/{user}")).await;

        assert_eq!(
            evaluated["permitted"],
            json!(decided.status == 200),
            "{evaluated}\n{decided}"
        );
    }
}

async fn a_request_that_does_not_match_the_schema_is_refused(aka: Aka) {
    let acme = aka.tenant().await;
    let (user, github, key) = (acme.user().await, acme.provider("github").await, own_key(&acme).await);
    let (user, provider) = (format!("user:{user}"), format!("identity_provider:{github}"));
    for (question, named) in [
        (question(&key, "eatCake", &user, &json!({})), "action"),
        (question(&key, "getUser", &provider, &json!({})), "action"),
        (question(&key, "getUser", "user:5", &json!({})), "resource"),
        (
            question(&key, "getUser", &user, &json!({ "shoe_size": 1.5 })),
            "context",
        ),
        (
            question(&key, "createUserIdentity", &user, &json!({ "external_id": 5 })),
            "action",
        ),
        (question("robot:5", "getUser", &user, &json!({})), "principal"),
        (question("user:nobody", "getUser", &user, &json!({})), "principal"),
    ] {
        acme.post("/v1/policies/evaluate")
            .json(question)
            .await
            .refused_input("body", named);
    }
}

async fn an_unknown_principal_is_not_found(aka: Aka) {
    let (acme, other) = (aka.tenant().await, aka.tenant().await);
    let (user, of_other) = (format!("user:{}", acme.user().await), other.user().await);
    let of_other_key = own_key(&other).await;
    for (principal, resource) in [
        (format!("user:{}", Uuid::now_v7()), "user"),
        (format!("user:{of_other}"), "user"),
        ("user:nobody@example.com".into(), "user"),
        (format!("api_key:{}", Uuid::now_v7()), "api_key"),
        (of_other_key, "api_key"),
    ] {
        let question = question(&principal, "getUser", &user, &json!({}));
        acme.post("/v1/policies/evaluate")
            .json(question)
            .await
            .refused_as_unknown(resource);
    }
    let tenant = format!("tenant:{}", other.tenant());
    let question = question(&own_key(&acme).await, "listUsers", &tenant, &json!({}));
    acme.post("/v1/policies/evaluate")
        .json(question)
        .await
        .refused_as_unknown("tenant");
}

async fn the_schema_is_served(aka: Aka) {
    let acme = aka.tenant().await;

    let schema = acme.get("/v1/policies/schema").await.expect(200);

    assert!(
        schema["cedar"]
            .as_str()
            .is_some_and(|text| text.contains("entity ApiKey")),
        "{schema}"
    );
    assert!(
        schema["json"][""]["actions"]["createUserIdentity"].is_object(),
        "{schema}"
    );
}
