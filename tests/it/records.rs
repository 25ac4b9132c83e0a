//! What every change writes in the same transaction: an audit log entry and an event.

use std::collections::BTreeMap;

use crate::harness::{Aka, Answer, Caller, Uuid, Value, json, on_both_stores, rows::Condition};

on_both_stores![
    every_change_leaves_one_audit_entry_and_one_event,
    the_records_of_a_link_name_actor_action_and_resource,
    an_audit_entry_has_the_decision_that_allowed_it,
    a_request_that_changes_nothing_leaves_no_records,
    a_refused_request_leaves_no_records,
    erasing_a_user_leaves_no_personal_data_in_the_records,
];

/// How many audit entries and events a tenant has.
async fn records(tenant: &Caller) -> (usize, usize) {
    let rows = tenant.aka().rows().await;
    let of_tenant = [("tenant_id", tenant.tenant().into())];
    (
        rows.count("audit_log_entries", &of_tenant).await,
        rows.count("outbox_events", &of_tenant).await,
    )
}

/// Carries out changes one by one, and checks that each leaves one record of each kind.
struct Recorded<'a> {
    tenant: &'a Caller,
    actions: BTreeMap<&'static str, usize>,
}

impl Recorded<'_> {
    async fn change(&mut self, action: &'static str, request: crate::harness::caller::Request) -> Answer {
        let (entries, events) = records(self.tenant).await;
        let answer = request.await;
        assert!(answer.status < 300, "{answer}");
        assert_eq!(
            records(self.tenant).await,
            (entries + 1, events + 1),
            "{action}\n{answer}"
        );
        *self.actions.entry(action).or_default() += 1;
        answer
    }
}

async fn every_change_leaves_one_audit_entry_and_one_event(aka: Aka) {
    let acme = aka.tenant().await;
    let mut recorded = Recorded {
        tenant: &acme,
        actions: BTreeMap::new(),
    };

    let user = acme
        .post("/v1/users")
        .json(json!({ "email": "ada@example.com", "name": "Ada" }));
    let user = format!("/v1/users/{}", recorded.change("createUser", user).await.id());
    recorded
        .change("updateUser", acme.put(&user).json(json!({ "name": "Ada King" })))
        .await;
    let provider = acme
        .post("/v1/identity-providers")
        .json(json!({ "name": "GitHub", "provider_type": "github" }));
    let provider = recorded.change("createIdentityProvider", provider).await.id();
    let provider_path = format!("/v1/identity-providers/{provider}");
    recorded
        .change(
            "updateIdentityProvider",
            acme.put(&provider_path).json(json!({ "name": "Code" })),
        )
        .await;
    let account = json!({ "identity_provider_id": provider, "external_id": "583231" });
    let identity = acme.post(format!("{user}/identities")).json(account);
    let identity = recorded.change("createUserIdentity", identity).await.id();
    recorded
        .change(
            "deleteUserIdentity",
            acme.delete(format!("{user}/identities/{identity}")),
        )
        .await;
    let suspend = acme.post(format!("{user}/suspend")).json(json!({ "active": false }));
    recorded.change("suspendUser", suspend).await;
    recorded.change("deleteUser", acme.delete(&user)).await;
    let key = acme
        .post("/v1/api-keys")
        .json(json!({ "name": "bot", "scopes": ["users:read"] }));
    let key = recorded.change("createApiKey", key).await.id();
    recorded
        .change(
            "rotateApiKey",
            acme.post(format!("/v1/api-keys/{key}/rotate")).json(json!({})),
        )
        .await;
    recorded
        .change("revokeApiKey", acme.delete(format!("/v1/api-keys/{key}")))
        .await;
    let policy = acme.post("/v1/policies").json(json!({ "name": "Rules" }));
    let policy = format!("/v1/policies/{}", recorded.change("createPolicy", policy).await.id());
    let rule = json!({ "policy_text": "permit(principal, action == Action::\"getUser\", resource);" });
    let rule = recorded
        .change("createPolicyRule", acme.post(format!("{policy}/rules")).json(rule))
        .await
        .id();
    recorded
        .change("deletePolicyRule", acme.delete(format!("{policy}/rules/{rule}")))
        .await;
    recorded.change("deletePolicy", acme.delete(&policy)).await;
    let spare = acme
        .post("/v1/identity-providers")
        .json(json!({ "name": "Spare", "provider_type": "slack" }));
    let spare = recorded.change("createIdentityProvider", spare).await.id();
    recorded
        .change(
            "deleteIdentityProvider",
            acme.delete(format!("/v1/identity-providers/{spare}")),
        )
        .await;

    // Each entry names its operation, and the key that asked for it.
    let rows = aka.rows().await;
    for (action, times) in recorded.actions {
        let actor = acme.key_id().to_string();
        let like: [Condition<'_>; 4] = [
            ("tenant_id", acme.tenant().into()),
            ("action", action.into()),
            ("actor_type", "api_key".into()),
            ("actor_id", actor.into()),
        ];
        assert_eq!(rows.count("audit_log_entries", &like).await, times, "{action}");
    }
}

async fn the_records_of_a_link_name_actor_action_and_resource(aka: Aka) {
    let acme = aka.tenant().await;
    let (user, provider) = (acme.user().await, acme.provider("github").await);
    let identity = acme.link(user, provider, "583231").await.expect(201).id();

    let rows = aka.rows().await;
    let of_identity = [("tenant_id", acme.tenant().into()), ("resource_id", identity.into())];
    let entry = async |column: &str| rows.column::<String>("audit_log_entries", column, &of_identity).await;
    assert_eq!(entry("actor_id").await, [acme.key_id().to_string()]);
    assert_eq!(entry("actor_type").await, ["api_key"]);
    assert_eq!(entry("action").await, ["createUserIdentity"]);
    assert_eq!(entry("resource_type").await, ["identity"]);
    assert!(
        entry("reasoning").await[0].contains("identities:write"),
        "the rule that allowed it"
    );
    let metadata: Vec<Value> = rows.column("audit_log_entries", "metadata", &of_identity).await;
    assert!(metadata[0].to_string().contains(&user.to_string()), "{metadata:?}");
    let payload: Vec<Value> = rows.column("outbox_events", "payload", &of_identity).await;
    for part in [user.to_string(), provider.to_string(), identity.to_string()] {
        assert!(payload[0].to_string().contains(&part), "{payload:?}");
    }
    // Events stay when a user is erased.
    assert!(!payload[0].to_string().contains("583231"), "{payload:?}");
}

async fn an_audit_entry_has_the_decision_that_allowed_it(aka: Aka) {
    let acme = aka.tenant().await;
    let user = acme.user().await;
    let rule = "permit(principal, action == Action::\"suspendUser\", resource) when { !context.active };";
    let policy = acme.policy(1, rule).await;
    let rules = acme.get(format!("/v1/policies/{policy}/rules")).await.expect(200);

    acme.post(format!("/v1/users/{user}/suspend"))
        .json(json!({ "active": false }))
        .await
        .expect(200);

    let rows = aka.rows().await;
    let entry = [("tenant_id", acme.tenant().into()), ("action", "suspendUser".into())];
    let decisions: Vec<Value> = rows.column("audit_log_entries", "decision", &entry).await;
    let [decision] = decisions.as_slice() else {
        panic!("one entry, not {decisions:?}");
    };
    assert_eq!(
        (
            &decision["rule_ids"],
            &decision["policy_ids"],
            &decision["resource"],
            &decision["context"]
        ),
        (
            &json!(rules.column("id")),
            &json!([policy]),
            &json!(format!("user:{user}")),
            &json!({ "active": false })
        )
    );
    assert!(decision["policy_version"].is_i64(), "{decision}");
}

async fn a_request_that_changes_nothing_leaves_no_records(aka: Aka) {
    let acme = aka.tenant().await;
    let (user, provider) = (acme.user().await, acme.provider("github").await);
    acme.link(user, provider, "583231").await.expect(201);
    let bot = acme.limited_to(&["users:read"]).await.key_id();
    acme.delete(format!("/v1/api-keys/{bot}")).await.expect(204);
    let before = records(&acme).await;

    acme.link(user, provider, "583231").await.expect(200);
    acme.post(format!("/v1/users/{user}/suspend"))
        .json(json!({ "active": true }))
        .await
        .expect(200);
    acme.delete(format!("/v1/api-keys/{bot}")).await.expect(204);
    acme.get(format!("/v1/users/{user}/identities")).await.expect(200);
    acme.lookup(provider, "583231").await.expect(200);

    assert_eq!(records(&acme).await, before);
}

async fn a_refused_request_leaves_no_records(aka: Aka) {
    let acme = aka.tenant().await;
    let (ada, grace, provider) = (acme.user().await, acme.user().await, acme.provider("github").await);
    let identity = acme.link(ada, provider, "583231").await.expect(201).id();
    let reader = acme.limited_to(&["users:read"]).await;
    let email = acme.get(format!("/v1/users/{ada}")).await.expect(200)["email"].clone();
    let before = records(&acme).await;

    acme.link(grace, provider, "583231").await.expect(409);
    acme.link(Uuid::now_v7(), provider, "583232").await.expect(404);
    acme.link(ada, Uuid::now_v7(), "583231").await.expect(404);
    reader.link(grace, provider, "583232").await.expect(403);
    acme.unlink(grace, identity).await.expect(404);
    acme.post("/v1/users")
        .json(json!({ "email": email, "name": "Twin" }))
        .await
        .expect(409);
    acme.delete(format!("/v1/identity-providers/{provider}"))
        .await
        .expect(409);
    acme.delete(format!("/v1/users/{}", Uuid::now_v7())).await.expect(404);

    assert_eq!(records(&acme).await, before);
}

async fn erasing_a_user_leaves_no_personal_data_in_the_records(aka: Aka) {
    let acme = aka.tenant().await;
    let provider = acme.provider("github").await;
    let ada = json!({ "email": "ada.lovelace@example.com", "name": "Ada Lovelace" });
    let user = acme.post("/v1/users").json(ada).await.expect(201).id();
    let account = json!({
        "identity_provider_id": provider,
        "external_id": "583231",
        "external_username": "ada-lovelace",
        "external_email": "ada.lovelace@example.com",
        "external_display_name": "Ada Lovelace",
    });
    acme.post(format!("/v1/users/{user}/identities"))
        .json(account)
        .await
        .expect(201);

    acme.delete(format!("/v1/users/{user}")).await.expect(204);

    let rows = aka.rows().await;
    let of_tenant = [("tenant_id", acme.tenant().into())];
    let mut kept: Vec<Value> = rows.column("audit_log_entries", "metadata", &of_tenant).await;
    kept.extend(rows.column::<Value>("outbox_events", "payload", &of_tenant).await);
    kept.extend(rows.column::<Value>("audit_log_entries", "decision", &of_tenant).await);
    let kept = json!(kept).to_string().to_lowercase();
    assert!(!kept.contains("lovelace"), "{kept}");
}
