//! How policy decides: section 4 of the contract, as a caller sees it.

use crate::harness::{Aka, Caller, Uuid, json, on_both_stores};

on_both_stores![
    a_forbid_refuses_with_its_notice,
    a_refusal_names_the_rules_to_callers_who_may_read_them,
    a_refusal_tells_other_callers_only_what_they_can_do_about_it,
    github_accounts_can_be_limited_to_the_domain_of_the_company,
    the_notices_of_all_determining_forbids_are_shown,
    a_new_forbid_applies_to_the_next_request,
    a_removed_rule_no_longer_applies_to_the_next_request,
    a_disabled_policy_decides_nothing,
    within_a_level_forbid_wins,
    a_higher_level_decides_before_a_lower_one,
    if_no_rule_of_the_tenant_decides_the_scopes_do,
    a_permit_allows_what_the_scopes_do_not,
    a_rule_can_match_one_key,
    a_rule_can_use_attributes_of_the_user,
    a_rule_that_cannot_be_evaluated_refuses,
    policy_also_decides_on_resources_that_do_not_exist,
    a_rule_can_use_attributes_of_the_key_to_revoke,
    a_rule_can_use_the_provider_of_a_bound_key,
    a_forbid_of_another_tenant_has_no_effect,
    a_permit_for_everything_does_not_permit_managing_tenants,
];

const FORBID_READING: &str = "@notice(\"Not today.\") forbid(principal, action == Action::\"getUser\", resource);";
const PERMIT_READING: &str = "permit(principal, action == Action::\"getUser\", resource);";

/// Reads a user, which policy may or may not allow.
async fn read_user(caller: &Caller, user: Uuid) -> u16 {
    caller.get(format!("/v1/users/{user}")).await.status
}

async fn a_forbid_refuses_with_its_notice(aka: Aka) {
    let acme = aka.tenant().await;
    let user = acme.user().await;
    acme.policy(0, FORBID_READING).await;

    let refusal = acme.get(format!("/v1/users/{user}")).await.refused(403, "forbidden");

    assert_eq!(refusal.notices(), ["Not today."]);
    assert_eq!(refusal["details"]["action"], "getUser");
    acme.get("/v1/users").await.expect(200);
}

/// A rule that permits more than a scope does, and with a condition.
const PERMIT_LINKING: &str = "permit(principal is ApiKey, action == Action::\"createUserIdentity\", resource) \
    when { context has external_email && context.external_email like \"*@example.com\" && resource.name like \"A*\" };";

async fn a_refusal_names_the_rules_to_callers_who_may_read_them(aka: Aka) {
    let acme = aka.tenant().await;
    let (user, github) = (acme.user().await, acme.provider("github").await);
    let linking = acme.policy(3, PERMIT_LINKING).await;
    let reading = acme.policy(5, FORBID_READING).await;
    let author = acme.limited_to(&["users:read", "policies:read"]).await;

    let forbidden = author.get(format!("/v1/users/{user}")).await.refused(403, "forbidden");
    let details = &forbidden["details"];
    assert_eq!(
        (&details["kind"], &details["priority"], &details["matching_policy_ids"]),
        (&json!("forbidden"), &json!(5), &json!([reading])),
        "{forbidden}"
    );
    assert_eq!(details["matching_rule_ids"][0], details["explanations"][0]["rule_id"]);

    let refusal = author.link(user, github, "583231").await.refused(403, "forbidden");
    let details = &refusal["details"];
    assert_eq!(
        (&details["kind"], &details["missing_scope"]),
        (&json!("not_permitted"), &json!("identities:write"))
    );
    let near = details["explanations"].as_array().expect("explanations");
    let near = near.iter().find(|one| one["policy_id"] == json!(linking));
    let clauses = near.map(|near| near["unsatisfied"].to_string()).unwrap_or_default();
    assert!(clauses.contains("context has external_email"), "{refusal}");
}

async fn a_refusal_tells_other_callers_only_what_they_can_do_about_it(aka: Aka) {
    let acme = aka.tenant().await;
    let (user, github) = (acme.user().await, acme.provider("github").await);
    acme.policy(3, PERMIT_LINKING).await;
    acme.policy(5, FORBID_READING).await;
    let bot = acme.limited_to(&["users:read"]).await;

    let forbidden = bot.get(format!("/v1/users/{user}")).await.refused(403, "forbidden");
    let expected = json!({
        "action": "getUser", "kind": "forbidden", "priority": 5, "documentation": "/docs/errors/forbidden",
    });
    assert_eq!(forbidden["details"], expected, "{forbidden}");
    assert_eq!(forbidden.notices(), ["Not today."]);

    let refusal = bot.link(user, github, "583231").await.refused(403, "forbidden");
    let (details, text) = (&refusal["details"], refusal.text());
    assert_eq!(
        (&details["kind"], &details["missing_scope"]),
        (&json!("not_permitted"), &json!("identities:write"))
    );
    assert!(
        details["explanation"].as_str().is_some_and(|text| !text.is_empty()),
        "{refusal}"
    );
    for secret in ["example.com", "A*", "rule_id", "policy_id", "like"] {
        assert!(!text.contains(secret), "{secret}\n{refusal}");
    }
}

async fn github_accounts_can_be_limited_to_the_domain_of_the_company(aka: Aka) {
    let acme = aka.tenant().await;
    let (user, github, slack) = (
        acme.user().await,
        acme.provider("github").await,
        acme.provider("slack").await,
    );
    let rule = r#"
        @notice("GitHub accounts must use the company's domain")
        forbid(principal, action == Action::"createUserIdentity", resource)
        when {
            context.identity_provider.provider_type == "github"
            && !(context has external_email && context.external_email like "*@example.com")
        };
    "#;
    acme.policy(0, rule).await;
    let link = |provider: Uuid, email: Option<&str>| {
        let account = json!({ "identity_provider_id": provider, "external_id": "583231", "external_email": email });
        acme.post(format!("/v1/users/{user}/identities")).json(account)
    };

    for email in [None, Some("octocat@github.com"), Some("octocat@example.com.evil.org")] {
        let refusal = link(github, email).await.refused(403, "forbidden");
        assert_eq!(refusal.notices(), ["GitHub accounts must use the company's domain"]);
    }
    acme.lookup(github, "583231").await.refused_as_unknown("identity");
    link(slack, None).await.expect(201);
    link(github, Some("octocat@example.com")).await.expect(201);
}

async fn the_notices_of_all_determining_forbids_are_shown(aka: Aka) {
    let acme = aka.tenant().await;
    let user = acme.user().await;
    acme.policy(0, FORBID_READING).await;
    acme.policy(
        0,
        "@notice(\"Nor tomorrow.\") forbid(principal, action, resource is User);",
    )
    .await;
    acme.policy(
        0,
        "@notice(\"This is another matter.\") forbid(principal, action, resource is Policy);",
    )
    .await;

    let refusal = acme.get(format!("/v1/users/{user}")).await.refused(403, "forbidden");

    let mut notices = refusal.notices();
    notices.sort_unstable();
    assert_eq!(notices, ["Nor tomorrow.", "Not today."]);
}

async fn a_new_forbid_applies_to_the_next_request(aka: Aka) {
    let acme = aka.tenant().await;
    let user = acme.user().await;
    let policy = acme
        .post("/v1/policies")
        .json(json!({ "name": "Later" }))
        .await
        .expect(201)
        .id();
    assert_eq!(read_user(&acme, user).await, 200);

    let rule = json!({ "policy_text": FORBID_READING });
    acme.post(format!("/v1/policies/{policy}/rules"))
        .json(rule)
        .await
        .expect(201);

    assert_eq!(read_user(&acme, user).await, 403);
}

async fn a_removed_rule_no_longer_applies_to_the_next_request(aka: Aka) {
    let acme = aka.tenant().await;
    let user = acme.user().await;
    let policy = format!("/v1/policies/{}", acme.policy(0, FORBID_READING).await);
    let rule = acme.get(format!("{policy}/rules")).await.expect(200).column("id")[0].clone();
    assert_eq!(read_user(&acme, user).await, 403);

    acme.delete(format!("{policy}/rules/{}", rule.as_str().expect("an id")))
        .await
        .expect(204);
    assert_eq!(read_user(&acme, user).await, 200);

    acme.post(format!("{policy}/rules"))
        .json(json!({ "policy_text": FORBID_READING }))
        .await
        .expect(201);
    assert_eq!(read_user(&acme, user).await, 403);
    acme.delete(&policy).await.expect(204);
    assert_eq!(read_user(&acme, user).await, 200);
}

async fn a_disabled_policy_decides_nothing(aka: Aka) {
    let acme = aka.tenant().await;
    let user = acme.user().await;
    let policy = json!({ "name": "Draft", "enabled": false, "cedar_policy_set": FORBID_READING });
    acme.post("/v1/policies").json(policy).await.expect(201);

    assert_eq!(read_user(&acme, user).await, 200);
}

async fn within_a_level_forbid_wins(aka: Aka) {
    let acme = aka.tenant().await;
    let user = acme.user().await;
    acme.policy(5, FORBID_READING).await;
    acme.policy(5, PERMIT_READING).await;

    assert_eq!(read_user(&acme, user).await, 403);
}

async fn a_higher_level_decides_before_a_lower_one(aka: Aka) {
    let acme = aka.tenant().await;
    let user = acme.user().await;
    acme.policy(10, FORBID_READING).await;
    assert_eq!(read_user(&acme, user).await, 403);

    let permit = acme.policy(11, PERMIT_READING).await;
    assert_eq!(read_user(&acme, user).await, 200);

    acme.policy(12, FORBID_READING).await;
    assert_eq!(read_user(&acme, user).await, 403);
    acme.delete(format!("/v1/policies/{permit}")).await.expect(204);
    assert_eq!(read_user(&acme, user).await, 403);
}

async fn if_no_rule_of_the_tenant_decides_the_scopes_do(aka: Aka) {
    let acme = aka.tenant().await;
    let user = acme.user().await;
    acme.policy(10, "forbid(principal, action == Action::\"deleteUser\", resource);")
        .await;
    acme.policy(5, "permit(principal, action == Action::\"suspendUser\", resource);")
        .await;
    let reader = acme.limited_to(&["users:read"]).await;
    let linker = acme.limited_to(&["identities:write"]).await;

    assert_eq!(read_user(&reader, user).await, 200);
    assert_eq!(read_user(&linker, user).await, 403);
}

async fn a_permit_allows_what_the_scopes_do_not(aka: Aka) {
    let acme = aka.tenant().await;
    let user = acme.user().await;
    let linker = acme.limited_to(&["identities:write"]).await;
    assert_eq!(read_user(&linker, user).await, 403);

    acme.policy(0, PERMIT_READING).await;

    assert_eq!(read_user(&linker, user).await, 200);
    linker.get("/v1/users").await.refused(403, "forbidden");
}

async fn a_rule_can_match_one_key(aka: Aka) {
    let acme = aka.tenant().await;
    let user = acme.user().await;
    let (bot, other) = (
        acme.limited_to(&["users:read"]).await,
        acme.limited_to(&["users:read"]).await,
    );

    let rule = format!("forbid(principal == ApiKey::\"{}\", action, resource);", bot.key_id());
    acme.policy(0, &rule).await;

    assert_eq!(read_user(&bot, user).await, 403);
    assert_eq!(read_user(&other, user).await, 200);
}

async fn a_rule_can_use_attributes_of_the_user(aka: Aka) {
    let acme = aka.tenant().await;
    let create = async |name: &str, roles: &[&str]| {
        let user = json!({ "email": format!("{name}@example.com"), "name": name, "roles": roles });
        acme.post("/v1/users").json(user).await.expect(201).id()
    };
    let (ada, grace) = (create("ada", &["admin"]).await, create("grace", &[]).await);

    acme.policy(
        0,
        "forbid(principal, action == Action::\"getUser\", resource in Role::\"admin\");",
    )
    .await;
    assert_eq!((read_user(&acme, ada).await, read_user(&acme, grace).await), (403, 200));

    acme.put(format!("/v1/users/{grace}"))
        .json(json!({ "roles": ["admin"] }))
        .await
        .expect(200);
    assert_eq!(read_user(&acme, grace).await, 403, "what a rule looks at is not stale");
}

async fn a_rule_that_cannot_be_evaluated_refuses(aka: Aka) {
    let acme = aka.tenant().await;
    let user = acme.user().await;
    let overflow = "forbid(principal, action == Action::\"getUser\", resource) when { 9223372036854775807 + 1 == 0 };";
    acme.policy(0, overflow).await;

    let refusal = acme.get(format!("/v1/users/{user}")).await.refused(403, "forbidden");

    assert_eq!(refusal["details"]["kind"], "error");
}

async fn policy_also_decides_on_resources_that_do_not_exist(aka: Aka) {
    let acme = aka.tenant().await;
    let (nobody, no_key) = (Uuid::now_v7(), Uuid::now_v7());
    let forbidding = |action: &str, of: &str| {
        format!("forbid(principal, action == Action::\"{action}\", resource) when {{ resource.{of} }};")
    };

    // What rules look at is empty then.
    acme.policy(0, &forbidding("getUser", "email == \"eve@example.com\""))
        .await;
    acme.policy(0, &forbidding("revokeApiKey", "name like \"prod*\"")).await;
    acme.get(format!("/v1/users/{nobody}")).await.refused_as_unknown("user");
    acme.delete(format!("/v1/api-keys/{no_key}"))
        .await
        .refused_as_unknown("api_key");

    acme.policy(0, &forbidding("getUser", "email == \"\"")).await;
    acme.get(format!("/v1/users/{nobody}")).await.refused(403, "forbidden");
}

async fn a_rule_can_use_attributes_of_the_key_to_revoke(aka: Aka) {
    let acme = aka.tenant().await;
    let rule = "forbid(principal, action == Action::\"revokeApiKey\", resource)
        when { resource.name like \"prod*\" || resource.scopes.contains(\"users:write\") };";
    acme.policy(0, rule).await;
    let create = async |name: &str, scope: &str| {
        let key = json!({ "name": name, "scopes": [scope] });
        acme.post("/v1/api-keys").json(key).await.expect(201).id()
    };

    for (name, scope, status) in [
        ("production", "users:read", 403),
        ("test", "users:write", 403),
        ("test", "users:read", 204),
    ] {
        let key = create(name, scope).await;
        acme.delete(format!("/v1/api-keys/{key}")).await.expect(status);
    }
}

async fn a_rule_can_use_the_provider_of_a_bound_key(aka: Aka) {
    let acme = aka.tenant().await;
    let user = acme.user().await;
    let provider = acme.provider("custom_scim").await;
    let key = json!({ "name": "SCIM", "scopes": ["users:read"], "identity_provider_id": provider });
    let key = acme.post("/v1/api-keys").json(key).await.expect(201);
    let bound = acme.with_key(key["raw_key"].as_str().expect("a new key"));
    let rule = "forbid(principal is ApiKey, action == Action::\"getUser\", resource)
        when { principal has identity_provider && !principal.identity_provider.enabled };";
    acme.policy(0, rule).await;

    assert_eq!(read_user(&bound, user).await, 200);
    acme.put(format!("/v1/identity-providers/{provider}"))
        .json(json!({ "enabled": false }))
        .await
        .expect(200);
    assert_eq!(read_user(&bound, user).await, 403);
}

async fn a_forbid_of_another_tenant_has_no_effect(aka: Aka) {
    let (acme, other) = (aka.tenant().await, aka.tenant().await);
    let user = acme.user().await;

    let everything = json!({ "name": "Closed", "cedar_policy_set": "forbid(principal, action, resource);" });
    // It leaves nobody who could take it back.
    other.post("/v1/policies?force=true").json(everything).await.expect(201);

    assert_eq!(read_user(&acme, user).await, 200);
    other.get("/v1/users").await.refused(403, "forbidden");
}

async fn a_permit_for_everything_does_not_permit_managing_tenants(aka: Aka) {
    let acme = aka.tenant().await;
    acme.policy(1_000_000, "permit(principal, action, resource);").await;
    let nothing_but_users = acme.limited_to(&["users:read"]).await;
    nothing_but_users.get("/v1/policies").await.expect(200);

    for caller in [acme, nothing_but_users] {
        caller.get("/v1/tenants").await.refused(403, "forbidden");
        let tenant = json!({ "name": "Mine", "slug": crate::harness::unique("mine") });
        caller.post("/v1/tenants").json(tenant).await.refused(403, "forbidden");
        let own = format!("/v1/tenants/{}", caller.tenant());
        caller
            .put(own)
            .json(json!({ "name": "Mine" }))
            .await
            .refused(403, "forbidden");
    }
}
