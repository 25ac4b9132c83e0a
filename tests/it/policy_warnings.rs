//! Rules that permit more than their author may have intended: stored with a warning.

use crate::harness::{Aka, Caller, Value, json, on_both_stores};

on_both_stores![
    a_warning_names_what_a_broad_permit_allows_and_to_whom,
    a_narrow_rule_causes_no_warning,
    a_rule_that_relies_on_a_name_causes_a_warning,
    a_preview_warns_about_what_a_rule_would_permit,
];

/// The warnings of a rule that is added, and of one that is changed into it.
async fn warnings(acme: &Caller, rule: &str) -> Vec<String> {
    let harmless = "permit(principal, action == Action::\"getUser\", resource);";
    let policy = json!({ "name": "One", "enabled": false, "cedar_policy_set": harmless });
    let policy = acme.post("/v1/policies").json(policy).await.expect(201);
    assert_eq!(policy["rules"][0]["warnings"], json!([]), "{policy}");
    let path = format!("/v1/policies/{}/rules", policy.id());
    let text = json!({ "policy_text": rule });
    let added = acme.post(&path).json(&text).await.expect(201);
    let first = policy["rules"][0]["id"].as_str().expect("an id");
    let changed = acme.patch(format!("{path}/{first}")).json(&text).await.expect(200);
    assert_eq!(added["warnings"], changed["warnings"]);
    let warnings = added["warnings"].as_array().into_iter().flatten();
    let message = |warning: &Value| warning["message"].as_str().unwrap_or_default().to_owned();
    warnings.map(message).collect()
}

async fn a_warning_names_what_a_broad_permit_allows_and_to_whom(aka: Aka) {
    let acme = aka.tenant().await;
    for (rule, whom, opens) in [
        (
            "permit (principal, action, resource);",
            "every caller",
            vec![
                "API keys",
                "createApiKey",
                "identity providers",
                "policies",
                "createPolicyRule",
                "token issuers",
                "tenants",
            ],
        ),
        (
            "permit (principal is ApiKey, action, resource) when { resource has name };",
            "every API key",
            vec![
                "API keys (createApiKey, rotateApiKey, revokeApiKey)",
                "wherever its conditions hold",
            ],
        ),
        (
            "permit (principal in Role::\"support\", action in Action::\"policies:write\", resource is Policy);",
            "every caller in Role::\"support\"",
            vec!["policies (updatePolicy"],
        ),
        (
            "permit (principal in Scope::\"users:write\", action in [Action::\"getUser\", Action::\"createApiKey\"], resource);",
            "every caller in Scope::\"users:write\"",
            vec!["API keys (createApiKey)"],
        ),
        (
            "permit (principal == ApiKey::\"0198c5a0-0000-7000-8000-0000000000d1\", action, resource);",
            "ApiKey::\"0198c5a0-0000-7000-8000-0000000000d1\"",
            vec!["API keys", "policies"],
        ),
    ] {
        let told = warnings(&acme, rule).await;
        assert_eq!(told.len(), 1, "{rule}: {told:?}");
        assert!(told[0].contains(&format!("lets {whom} change")), "{rule}: {told:?}");
        for what in opens {
            assert!(told[0].contains(what), "{what}: {rule}: {told:?}");
        }
    }
}

async fn a_narrow_rule_causes_no_warning(aka: Aka) {
    let acme = aka.tenant().await;
    for rule in [
        "forbid (principal, action, resource);",
        "permit (principal, action, resource is User);",
        "permit (principal, action in Action::\"users:write\", resource);",
        "permit (principal in Scope::\"api-keys:write\", action in Action::\"api-keys:write\", resource);",
        "permit (principal == ApiKey::\"0198c5a0-0000-7000-8000-0000000000d1\", action == Action::\"createApiKey\", resource);",
        "permit (principal, action in Action::\"api-keys:write\", resource in Group::\"staff\");",
    ] {
        let told = warnings(&acme, rule).await;
        // Of one that can never apply Cedar warns, too.
        let ours: Vec<_> = told.iter().filter(|told| told.starts_with("this rule")).collect();
        assert!(ours.is_empty(), "{rule}: {told:?}");
    }
}

async fn a_rule_that_relies_on_a_name_causes_a_warning(aka: Aka) {
    let acme = aka.tenant().await;
    let on = |principal: &str, condition: &str| {
        format!("permit (principal{principal}, action == Action::\"getUser\", resource) {condition};")
    };
    for (rule, told_of) in [
        (on(" is ApiKey", "when { principal.name == \"deploy\" }"), true),
        (on(" is User", "unless { [\"Eve\"].contains(principal.name) }"), true),
        (
            on("", "when { principal is ApiKey && principal.name like \"deploy-*\" }"),
            true,
        ),
        (
            on(" is User", "when { principal.active && principal.name == \"Ada\" }"),
            true,
        ),
        (on(" is ApiKey", "when { resource.name == \"deploy\" }"), false),
        (on(" in Role::\"admin\"", "when { principal.name == \"Ada\" }"), false),
        (
            on(
                " is ApiKey",
                "when { principal.name == \"deploy\" && principal == ApiKey::\"0198c5a0-0000-7000-8000-0000000000d1\" }",
            ),
            false,
        ),
        (
            on(
                " is ApiKey",
                "when { principal has identity_provider && principal.identity_provider.enabled && principal.name == \"x\" }",
            ),
            false,
        ),
    ] {
        let told = warnings(&acme, &rule).await;
        let trusts = told
            .iter()
            .any(|told| told.contains("trusts the name of its principal alone"));
        assert_eq!(trusts, told_of, "{rule}: {told:?}");
    }
}

async fn a_preview_warns_about_what_a_rule_would_permit(aka: Aka) {
    let acme = aka.tenant().await;
    let rules = "permit (principal, action == Action::\"getUser\", resource);\npermit (principal, action, resource);";

    for within in ["with", "policies"] {
        let change = json!({ within: [{ "cedar_policy_set": rules }] });
        let told = acme.post("/v1/policies/preview").json(change).await.expect(200);
        let warnings = told["warnings"].as_array().expect("a list");
        assert_eq!(warnings.len(), 1, "{told}");
        assert_eq!(warnings[0]["rule_id"], format!("{within}/0/1"));
        let message = warnings[0]["message"].as_str().unwrap_or_default();
        assert!(
            message.contains("every caller") && message.contains("API keys"),
            "{message}"
        );
    }
}
