//! Tenants are isolated: for a tenant, the resources of another do not exist.

use crate::harness::{
    Aka, Answer, Caller, Uuid, json, on_both_stores,
    operations::{OPERATIONS, named},
};

on_both_stores![
    resources_of_another_tenant_seem_not_to_exist,
    a_provider_of_another_tenant_cannot_be_named_in_a_body,
    lists_show_nothing_of_another_tenant,
    two_tenants_can_know_the_same_account_and_address,
    ids_of_another_tenant_change_nothing_there,
];

/// One of each kind of thing, in a tenant.
struct Things {
    user: Uuid,
    provider: Uuid,
    identity: Uuid,
    key: Uuid,
    policy: Uuid,
    rule: Uuid,
    decision: Uuid,
}

impl Things {
    async fn of(tenant: &Caller) -> Self {
        let (user, provider) = (tenant.user().await, tenant.provider("github").await);
        let policy = tenant
            .policy(0, "forbid(principal == User::\"nobody\", action, resource);")
            .await;
        let rules = tenant.get(format!("/v1/policies/{policy}/rules")).await.expect(200);
        let limited = tenant.limited_to(&["users:read"]).await;
        limited.get("/v1/policies").await.expect(403);
        Self {
            user,
            provider,
            identity: tenant.link(user, provider, "583231").await.expect(201).id(),
            key: limited.key_id(),
            decision: tenant.decision(&limited).await.id(),
            policy,
            rule: rules.column("id")[0]
                .as_str()
                .and_then(|id| id.parse().ok())
                .expect("an id"),
        }
    }

    fn id(&self, kind: &str) -> String {
        let id = match kind {
            "user" => self.user,
            "provider" => self.provider,
            "identity" => self.identity,
            "key" => self.key,
            "policy" => self.policy,
            "rule" => self.rule,
            "decision" => self.decision,
            other => panic!("there are no things of the kind {other}"),
        };
        id.to_string()
    }
}

/// Status, headers and body, without what differs between any two answers.
fn comparable(answer: &Answer, ids: &[String]) -> (u16, Vec<(String, String)>, String) {
    let mut headers: Vec<(String, String)> = answer
        .headers
        .iter()
        .filter(|(name, _)| !["x-request-id", "date"].contains(&name.as_str()))
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    headers.sort();
    let body = ids.iter().fold(answer.text(), |text, id| text.replace(id, "<id>"));
    (answer.status, headers, body)
}

async fn resources_of_another_tenant_seem_not_to_exist(aka: Aka) {
    let (acme, other) = (aka.tenant().await, aka.tenant().await);
    let things = Things::of(&other).await;
    for operation in OPERATIONS
        .iter()
        .filter(|one| one.path.contains('{') && !one.is_of_master())
    {
        let (mut theirs, mut nobodys) = (Vec::new(), Vec::new());
        let path_of_theirs = operation.path_with(|kind| {
            theirs.push(things.id(kind));
            things.id(kind)
        });
        let path_of_nobodys = operation.path_with(|_| {
            nobodys.push(Uuid::now_v7().to_string());
            nobodys.last().expect("an id").clone()
        });
        // The same body for both.
        let body = operation.sample();
        let request = |path: String| {
            let request = acme.request(operation.method.clone(), path);
            body.clone()
                .map_or_else(|| request.clone(), |body| request.clone().json(body))
        };

        let of_theirs = request(path_of_theirs).await.expect(404);
        let of_nobodys = request(path_of_nobodys).await.expect(404);

        assert_eq!(
            comparable(&of_theirs, &theirs),
            comparable(&of_nobodys, &nobodys),
            "{}",
            operation.id
        );
    }
}

async fn a_provider_of_another_tenant_cannot_be_named_in_a_body(aka: Aka) {
    let (acme, other) = (aka.tenant().await, aka.tenant().await);
    let (user, theirs) = (acme.user().await, other.provider("github").await);
    let nobodys = Uuid::now_v7();
    let key = |provider: Uuid| json!({ "name": "SCIM", "scopes": ["users:read"], "identity_provider_id": provider });

    let linked_there = acme
        .link(user, theirs, "583231")
        .await
        .refused_as_unknown("identity_provider");
    let linked_nowhere = acme
        .link(user, nobodys, "583231")
        .await
        .refused_as_unknown("identity_provider");
    let bound_there = acme
        .post("/v1/api-keys")
        .json(key(theirs))
        .await
        .refused_as_unknown("identity_provider");
    let bound_nowhere = acme
        .post("/v1/api-keys")
        .json(key(nobodys))
        .await
        .refused_as_unknown("identity_provider");

    let ids = [theirs.to_string(), nobodys.to_string(), user.to_string()];
    assert_eq!(comparable(&linked_there, &ids), comparable(&linked_nowhere, &ids));
    assert_eq!(comparable(&bound_there, &ids), comparable(&bound_nowhere, &ids));
}

async fn lists_show_nothing_of_another_tenant(aka: Aka) {
    let (acme, other) = (aka.tenant().await, aka.tenant().await);
    Things::of(&other).await;

    for list in ["listUsers", "listIdentityProviders", "listPolicies", "listDecisions"] {
        let listed = named(list).request(&acme).await.expect(200);
        assert_eq!(listed["data"], json!([]), "{listed}");
    }
    assert_eq!(
        acme.get("/v1/api-keys").await.expect(200).column("id"),
        [json!(acme.key_id())]
    );
}

async fn two_tenants_can_know_the_same_account_and_address(aka: Aka) {
    for tenant in [aka.tenant().await, aka.tenant().await] {
        let user = json!({ "email": "ada@example.com", "name": "Ada" });
        let user = tenant.post("/v1/users").json(user).await.expect(201).id();
        let provider = tenant.provider("github").await;
        let linked = tenant.link(user, provider, "583231").await.expect(201);
        assert_eq!(tenant.lookup(provider, "583231").await.expect(200).json, linked.json);
    }
}

async fn ids_of_another_tenant_change_nothing_there(aka: Aka) {
    let (acme, other) = (aka.tenant().await, aka.tenant().await);
    let things = Things::of(&other).await;
    let look = async || {
        let mut seen = Vec::new();
        for path in ["/v1/users", "/v1/identity-providers", "/v1/policies"] {
            seen.push(other.get(path).await.expect(200)["data"].clone());
        }
        let keys = other.get("/v1/api-keys").await.expect(200);
        seen.push(json!([
            keys.column("id"),
            keys.column("revoked_at"),
            keys.column("expires_at")
        ]));
        seen.push(other.lookup(things.provider, "583231").await.expect(200).json);
        seen
    };
    let before = look().await;

    for operation in OPERATIONS
        .iter()
        .filter(|one| one.path.contains('{') && one.changes() && !one.is_of_master())
    {
        let path = operation.path_with(|kind| things.id(kind));
        operation.request_at(&acme, path).await.expect(404);
    }

    assert_eq!(look().await, before);
}
