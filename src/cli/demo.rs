//! `aka demo`: a server with a temporary database that contains an example company.

use clap::Args;
use serde_json::json;

use super::{Outcome, print};
use crate::{
    access::{api_keys::RawKey, caller::Permit, decision_log::WriteDecisions, provider_config::Config},
    config::Serving,
    policy::rules::check_rule,
    resources::{
        api_keys::{CreateApiKey, NewApiKey},
        demo,
        identities::{Account, Link},
        identity_providers::CreateIdentityProvider,
        policies::changes::{CreatePolicy, NewRule},
        tenants::CreateTenant,
        users::CreateUser,
    },
    server::{self, Server},
    store::{
        self, Change, DatabaseUrl, Store,
        root_key::{RootKey, RootKeySource},
    },
    types::{
        actions::Action,
        clock::{self, Timestamp},
        ids::{ApiKeyId, IdentityId, IdentityProviderId, PolicyId, PolicyRuleId, TenantId, UserId},
        scopes::Scope,
    },
};
use aka_entity::{
    audit_log_entry::ActorType,
    decision::{self, DecisionKind},
    identity_provider::ProviderType,
};

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    serving: Serving,
}

pub async fn run(arguments: Arguments) -> Outcome {
    let serving = arguments.serving;
    let bound = serving.listen.bind().await?;
    let directory = tempfile::Builder::new().prefix("aka-demo-").tempdir()?;
    let url: DatabaseUrl = format!("sqlite://{}", directory.path().join("aka.db").display()).parse()?;
    store::migrate(&url).await?;
    let server = Server::open(&url, &RootKeySource::Given(RootKey::random()?), true).await?;
    let key = seed(server.store()).await?;
    let listening = server.listen(bound, serving.limits.clone(), serving.cross_origin())?;
    let asked_to_stop = server::asked_to_stop()?;
    let address = listening.address();
    print(&format!(
        r#"listening on {address}
All data is in a temporary database, which is deleted when the server stops (Ctrl-C).

Link a GitHub account to a user:

curl -i -X POST {address}/v1/users/{user}/identities -H 'X-API-Key: {key}' -H 'X-Tenant-ID: {tenant}' -H 'Content-Type: application/json' -d '{{"identity_provider_id":"{github}","external_id":"583231","external_username":"octocat"}}'

Or try it in the browser: open {address}/docs, press Authorize, and enter as apiKey

{key}
"#,
        user = demo::USER,
        key = key.reveal(),
        tenant = demo::TENANT,
        github = demo::GITHUB,
    ))?;
    listening.run(asked_to_stop).await;
    directory.close()?;
    Ok(())
}

/// Writes the example company to a store. Returns a key with every scope in its tenant.
async fn seed(store: &Store) -> Seeded<RawKey> {
    tenant(store).await?;
    users(store).await?;
    identity_providers(store).await?;
    identity(store).await?;
    policy(store).await?;
    let chat_bot = NewApiKey {
        id: ApiKeyId(demo::API_KEY),
        name: "chat bot".parse()?,
        scopes: vec![Scope::IdentitiesRead],
        identity_provider_id: None,
        expires_at: Timestamp::parse_rfc3339("2030-01-31T12:00:00Z"),
    };
    api_key(store, chat_bot).await?;
    decision(store).await?;
    let own = NewApiKey {
        id: ApiKeyId(demo::CALLER),
        name: "demo".parse()?,
        scopes: Scope::ALL.to_vec(),
        identity_provider_id: None,
        // It does not outlive the store. A key that expires could not create the keys of the examples, which expire later.
        expires_at: None,
    };
    api_key(store, own).await
}

type Seeded<T = ()> = Result<T, Box<dyn std::error::Error>>;

fn permit(action: Action) -> Permit {
    Permit::of_operator(TenantId(demo::TENANT), action)
}

/// Writes one change of the example company.
async fn write<C: Change>(store: &Store, change: C) -> Seeded<C::Done>
where
    C::Refusal: std::fmt::Debug,
{
    let written = store.write(change).await;
    written.map_err(|refusal| format!("the example company cannot be created: {refusal:?}").into())
}

async fn tenant(store: &Store) -> Seeded {
    let change = CreateTenant {
        permit: permit(Action::CreateTenant),
        id: TenantId(demo::TENANT),
        name: "Example Company".parse()?,
        slug: "example".parse()?,
        is_master: true,
    };
    write(store, change).await?;
    Ok(())
}

async fn users(store: &Store) -> Seeded {
    for (id, email, name) in [
        (demo::USER, "ada@example.com", "Ada Example"),
        (demo::OTHER_USER, "grace@example.com", "Grace Example"),
    ] {
        let change = CreateUser {
            permit: permit(Action::CreateUser),
            id: UserId(id),
            email: email.parse()?,
            name: name.parse()?,
            roles: vec!["engineer".parse()?],
        };
        write(store, change).await?;
    }
    Ok(())
}

async fn identity_providers(store: &Store) -> Seeded {
    for (id, name, provider_type) in [
        (demo::GITHUB, "GitHub", ProviderType::Github),
        (demo::SLACK, "Slack", ProviderType::Slack),
    ] {
        let change = CreateIdentityProvider {
            permit: permit(Action::CreateIdentityProvider),
            id: IdentityProviderId(id),
            name: name.parse()?,
            provider_type,
            config: Config::default(),
            enabled: true,
        };
        write(store, change).await?;
    }
    Ok(())
}

async fn identity(store: &Store) -> Seeded {
    let account = Account {
        identity_provider_id: IdentityProviderId(demo::SLACK),
        external_id: demo::SLACK_ACCOUNT.parse()?,
        username: Some("ada".parse()?),
        email: Some("ada@example.com".parse()?),
        display_name: Some("Ada".parse()?),
    };
    let permit = permit(Action::CreateUserIdentity);
    let change = Link::manual(permit, IdentityId(demo::IDENTITY), UserId(demo::USER), account);
    write(store, change).await?;
    Ok(())
}

async fn policy(store: &Store) -> Seeded {
    let change = CreatePolicy {
        permit: permit(Action::CreatePolicy),
        id: PolicyId(demo::POLICY),
        name: "Accounts of the company".parse()?,
        description: Some("Only accounts with an address of the company may be linked.".parse()?),
        enabled: true,
        priority: 100,
        rules: vec![NewRule {
            id: PolicyRuleId(demo::POLICY_RULE),
            rule: check_rule(demo::RULE)?,
            notice: None,
        }],
    };
    write(store, change).await?;
    Ok(())
}

async fn api_key(store: &Store, key: NewApiKey) -> Seeded<RawKey> {
    let (_, raw) = write(store, CreateApiKey::new(permit(Action::CreateApiKey), key)).await?;
    Ok(raw)
}

/// A decision as if the policy had refused to let the key of the chat bot link an account.
async fn decision(store: &Store) -> Seeded {
    let decision = decision::Model {
        tenant_id: demo::TENANT,
        id: demo::DECISION,
        actor_id: demo::API_KEY.to_string(),
        actor_type: ActorType::ApiKey,
        scopes: json!([Scope::IdentitiesRead.as_str()]),
        action: Action::CreateUserIdentity.as_str().to_owned(),
        resource: format!("user:{}", demo::USER),
        kind: DecisionKind::Forbidden,
        priority: Some(100),
        rule_ids: json!([demo::POLICY_RULE]),
        policy_ids: json!([demo::POLICY]),
        notices: json!([demo::NOTICE]),
        policy_version: 1,
        context: Some(json!({
            "identity_provider": demo::GITHUB,
            "external_id": "583231",
            "external_email": "octocat@elsewhere.example",
        })),
        request_id: Some(demo::REQUEST.to_owned()),
        created_at: clock::now().0,
    };
    let change = WriteDecisions {
        tenant: TenantId(demo::TENANT),
        decisions: vec![decision],
    };
    write(store, change).await
}
