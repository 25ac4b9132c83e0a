//! `aka demo`: a server on a throw-away store with an example company in it.

use clap::Args;

use super::{Outcome, print};
use crate::{
    clock,
    config::Serving,
    demo,
    domain::{
        api_keys::{ApiKeyRefusal, CreateApiKey, NewApiKey, RawKey},
        caller::Permit,
        identity_providers::{Config, CreateIdentityProvider},
        ids::{IdentityProviderId, TenantId, UserId},
        scopes::Scope,
        tenants::CreateTenant,
        text::{Email, Name, RoleName, Slug},
        users::CreateUser,
    },
    policy::Action,
    server::{self, Server},
    store::{self, DatabaseUrl, Store},
};
use aka_entity::identity_provider::ProviderType;

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    serving: Serving,
}

/// The key of a demo works for a day, in case the line that shows it goes further than it should.
const KEY_SECONDS: i64 = 24 * 60 * 60;

pub async fn run(arguments: Arguments) -> Outcome {
    let serving = arguments.serving;
    let directory = tempfile::Builder::new().prefix("aka-demo-").tempdir()?;
    let url: DatabaseUrl = format!("sqlite://{}", directory.path().join("aka.db").display()).parse()?;
    store::migrate(&url).await?;
    let server = Server::open(&url, true).await?;
    let key = seed(server.store()).await?;
    let listening = server.listen(serving.listen, serving.cross_origin()).await?;
    let address = listening.address();
    print(&format!(
        r#"listening on {address}
Everything is in a throw-away store that goes when this ends (Ctrl-C).

Link a GitHub account to a user:

curl -i -X POST {address}/v1/users/{user}/identities -H 'X-API-Key: {key}' -H 'X-Tenant-ID: {tenant}' -H 'Content-Type: application/json' -d '{{"identity_provider_id":"{github}","external_id":"583231","external_username":"octocat"}}'

Or try it in the browser: open {address}/docs, press Authorize, and give as apiKey

{key}
"#,
        user = demo::USER,
        key = key.reveal(),
        tenant = demo::TENANT,
        github = demo::GITHUB,
    ))?;
    listening.run(server::asked_to_stop()?).await;
    directory.close()?;
    Ok(())
}

/// Puts the example company into a store. Returns a key that may do everything in it.
async fn seed(store: &Store) -> Result<RawKey, Box<dyn std::error::Error>> {
    let tenant = TenantId(demo::TENANT);
    let permit = |action| Permit::of_operator(tenant, action);
    let refused = |what: &str| format!("the demo's {what} cannot be made");
    let (name, slug): (Name, Slug) = ("Example Company".parse()?, "example".parse()?);
    let change = CreateTenant {
        permit: permit(Action::CreateTenant),
        id: tenant,
        name,
        slug,
        is_master: true,
    };
    store.write(change).await.map_err(|_| refused("tenant"))?;
    for (id, email, name) in [
        (demo::USER, "ada@example.com", "Ada Example"),
        (demo::OTHER_USER, "grace@example.com", "Grace Example"),
    ] {
        let (email, name): (Email, Name) = (email.parse()?, name.parse()?);
        let roles: Vec<RoleName> = vec!["engineer".parse()?];
        let change = CreateUser {
            permit: permit(Action::CreateUser),
            id: UserId(id),
            email,
            name,
            roles,
        };
        store.write(change).await.map_err(|_| refused("user"))?;
    }
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
        store.write(change).await.map_err(|_| refused("identity provider"))?;
    }
    let key = NewApiKey {
        name: "demo".parse()?,
        scopes: Scope::ALL.to_vec(),
        identity_provider_id: None,
        expires_at: Some(clock::now().plus_seconds(KEY_SECONDS)),
    };
    let made = store.write(CreateApiKey::new(permit(Action::CreateApiKey), key)).await;
    let (_, key) = made.map_err(|_: ApiKeyRefusal| refused("key"))?;
    Ok(key)
}
