//! `aka key`

use clap::{Args, Subcommand};
use serde::Serialize;

use super::{Outcome, print_json, tenant, with_store};
use crate::{
    access::{self, caller::Permit},
    config::Database,
    resources::api_keys::{
        self, ApiKeyRefusal, CreateApiKey, NewApiKey, RevokeApiKey,
        api::{ApiKey, CreatedApiKey},
    },
    types::{
        actions::Action,
        clock,
        ids::{ApiKeyId, TenantId},
        scopes::Scope,
        text::Name,
    },
};

#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const SECONDS_PER_DAY: i64 = 24 * 60 * 60;
/// Ten years.
const MAX_DAYS: i64 = 3650;

#[derive(Subcommand)]
enum Command {
    /// Create an API key, and print it as JSON with a `curl` command that uses it
    ///
    /// `raw_key` is the key itself. It is not shown again.
    Create(Create),
    /// Print all API keys of a tenant as a JSON array, oldest first. The keys themselves are not stored, so they are not
    /// shown
    List {
        /// The tenant: its id or its slug
        #[arg(long, value_name = "ID|SLUG")]
        tenant: String,
        #[command(flatten)]
        database: Database,
    },
    /// Revoke an API key, and print it as JSON. Running servers refuse it within two seconds
    Revoke {
        /// The id of the key as shown by `aka key list`, not the key itself
        #[arg(value_name = "KEY_ID")]
        id: ApiKeyId,
        /// The tenant of the key: its id or its slug
        #[arg(long, value_name = "ID|SLUG")]
        tenant: String,
        #[command(flatten)]
        database: Database,
    },
}

#[derive(Args)]
struct Create {
    /// The tenant that gets the key: its id or its slug
    #[arg(long, value_name = "ID|SLUG")]
    tenant: String,
    /// A name for the key, to be read by people
    #[arg(long, default_value = "command line")]
    name: Name,
    /// What the key may do: `all`, or a comma-separated list of scopes, such as `identities:read,identities:write`. Default:
    /// `all`, with a warning
    #[arg(long, value_parser = Scopes::parse, value_name = "SCOPES")]
    scopes: Option<Scopes>,
    /// Number of days after which the key expires. Default: the key never expires, with a warning
    #[arg(
        long,
        value_name = "DAYS",
        value_parser = clap::value_parser!(i64).range(1..=MAX_DAYS),
        allow_negative_numbers = true
    )]
    expires_in_days: Option<i64>,
    /// Create a key that never expires, without a warning
    #[arg(long, conflicts_with = "expires_in_days")]
    never_expires: bool,
    /// The address of the server, for the `curl` command
    #[arg(long, default_value = "http://127.0.0.1:8080", value_name = "URL")]
    server: String,
    #[command(flatten)]
    database: Database,
}

/// Scopes at the command line.
#[derive(Clone)]
struct Scopes(Vec<Scope>);

impl Scopes {
    fn parse(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self(Scope::ALL.to_vec()));
        }
        text.split(',').map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

pub async fn run(arguments: Arguments) -> Outcome {
    match arguments.command {
        Command::Create(arguments) => create(arguments).await,
        Command::List { tenant, database } => {
            let keys = with_store(&database, async |store| {
                let tenant = tenant::find(store, &tenant).await?;
                let page = async |after, limit| api_keys::list(store, tenant, None, after, limit).await;
                super::all(page, |key| key.id).await
            })
            .await?;
            let keys: Vec<_> = keys.into_iter().map(ApiKey::from).collect();
            print_json(&keys)
        }
        Command::Revoke { id, tenant, database } => revoke(id, &tenant, &database).await,
    }
}

/// A key that was just created, with what a person needs to use it.
#[derive(Serialize)]
struct Created {
    /// The value for `X-Tenant-ID`.
    tenant_id: TenantId,
    #[serde(flatten)]
    key: CreatedApiKey,
    /// A request that the key may send.
    #[serde(skip_serializing_if = "Option::is_none")]
    curl: Option<String>,
}

async fn create(arguments: Create) -> Outcome {
    let Create {
        tenant,
        name,
        scopes,
        expires_in_days,
        never_expires,
        server,
        database,
    } = arguments;
    // On standard error, so that scripts still read one JSON object.
    if scopes.is_none() {
        eprintln!("warning: this key has every scope. Limit it to the scopes that it needs with --scopes");
    }
    if expires_in_days.is_none() && !never_expires {
        eprintln!(
            "warning: this key never expires. Set an expiry with --expires-in-days, or confirm with --never-expires"
        );
    }
    let Scopes(scopes) = scopes.unwrap_or_else(|| Scopes(Scope::ALL.to_vec()));
    let expires_at = expires_in_days.map(|days| clock::now().plus_seconds(days * SECONDS_PER_DAY));
    let key = NewApiKey {
        id: ApiKeyId::new(),
        name,
        scopes: scopes.clone(),
        identity_provider_id: None,
        expires_at,
    };
    let (tenant_id, key, raw) = with_store(&database, async |store| {
        let id = tenant::find(store, &tenant).await?;
        let change = CreateApiKey::new(Permit::of_operator(id, Action::CreateApiKey), key);
        let (key, raw) = store.write(change).await.map_err(|refusal| told(refusal, &tenant))?;
        Ok((id, key, raw))
    })
    .await?;
    let curl = request(&scopes).map(|request| {
        format!(
            "curl -i '{}{request} -H 'X-API-Key: {}' -H 'X-Tenant-ID: {tenant_id}'",
            server.trim_end_matches('/'),
            raw.reveal(),
        )
    });
    print_json(&Created {
        tenant_id,
        key: CreatedApiKey::new(key, &raw),
        curl,
    })
}

/// A request that a key with these scopes may send, as the end of a command whose quote is open. The reader replaces the
/// words in capitals.
fn request(scopes: &[Scope]) -> Option<&'static str> {
    let requests = [
        (Scope::UsersRead, "/v1/users'"),
        (Scope::IdentityProvidersRead, "/v1/identity-providers'"),
        (Scope::ApiKeysRead, "/v1/api-keys'"),
        (Scope::PoliciesRead, "/v1/policies'"),
        (Scope::TenantsRead, "/v1/tenants'"),
        (
            Scope::IdentitiesRead,
            "/v1/identities/lookup?identity_provider_id=PROVIDER_ID&external_id=ACCOUNT_ID'",
        ),
        (
            Scope::IdentitiesWrite,
            r#"/v1/users/USER_ID/identities' --json '{"identity_provider_id":"PROVIDER_ID","external_id":"ACCOUNT_ID"}'"#,
        ),
    ];
    let request = requests.into_iter().find(|(scope, _)| scopes.contains(scope));
    request.map(|(_, request)| request)
}

async fn revoke(id: ApiKeyId, tenant: &str, database: &Database) -> Outcome {
    let key = with_store(database, async |store| {
        let tenant_id = tenant::find(store, tenant).await?;
        let change = RevokeApiKey::new(Permit::of_operator(tenant_id, Action::RevokeApiKey), id);
        store.write(change).await.map_err(|refusal| told(refusal, tenant))?;
        let key = access::api_keys::find(store, tenant_id, id).await?;
        key.ok_or_else(|| told(ApiKeyRefusal::NoKey(id), tenant).into())
    })
    .await?;
    print_json(&ApiKey::from(key))
}

/// Why a key was not created or revoked, as a message for the operator.
fn told(refusal: ApiKeyRefusal, tenant: &str) -> String {
    match refusal {
        ApiKeyRefusal::Store(error) => error.to_string(),
        ApiKeyRefusal::Randomness => "the operating system provides no random numbers".into(),
        ApiKeyRefusal::NoKey(id) => {
            format!("tenant {tenant} has no API key {id}; `aka key list --tenant {tenant}` lists all keys")
        }
        _ => format!("--tenant {tenant}: the tenant no longer exists"),
    }
}
