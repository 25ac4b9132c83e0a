//! `aka key`

use clap::{Args, Subcommand};

use super::{Outcome, open, print};
use crate::{
    api, clock,
    config::Database,
    domain::{
        api_keys::{ApiKeyRefusal, CreateApiKey, NewApiKey},
        caller::Permit,
        ids::{ApiKeyId, TenantId},
        scopes::Scope,
        tenants,
        text::Name,
    },
    policy::Action,
    store::{Store, StoreError},
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
    /// Make an API key, and print it as JSON. `raw_key` is the key itself; it is not shown again
    Create {
        /// The tenant that gets the key: its id or its slug
        #[arg(long, value_name = "ID|SLUG")]
        tenant: String,
        /// What the key is to be called
        #[arg(long, default_value = "command line")]
        name: Name,
        /// What the key may do: `all`, or scopes with commas between them
        #[arg(long, default_value = "all", value_parser = Scopes::parse, value_name = "SCOPES")]
        scopes: Scopes,
        /// After how many days the key stops working; never when it is not given
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(i64).range(1..=MAX_DAYS), allow_negative_numbers = true)]
        expires_in_days: Option<i64>,
        #[command(flatten)]
        database: Database,
    },
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
    let Command::Create {
        tenant,
        name,
        scopes: Scopes(scopes),
        expires_in_days,
        database,
    } = arguments.command;
    let store = open(&database).await?;
    let expires_at = expires_in_days.map(|days| clock::now().plus_seconds(days * SECONDS_PER_DAY));
    let key = NewApiKey {
        id: ApiKeyId::new(),
        name,
        scopes,
        identity_provider_id: None,
        expires_at,
    };
    let made = match find(&store, &tenant).await {
        Ok(Some(id)) => {
            let permit = Permit::of_operator(id, Action::CreateApiKey);
            store
                .write(CreateApiKey::new(permit, key))
                .await
                .map_err(|refusal| match refusal {
                    ApiKeyRefusal::Store(error) => error.to_string(),
                    ApiKeyRefusal::Randomness => "the operating system gives no randomness".into(),
                    _ => format!("--tenant {tenant}: there is no such tenant"),
                })
        }
        Ok(None) => Err(format!("--tenant {tenant}: there is no tenant with this id or slug")),
        Err(error) => Err(error.to_string()),
    };
    store.close().await;
    let (key, raw) = made?;
    print(&serde_json::to_string_pretty(&api::api_keys::CreatedApiKey::new(
        key, &raw,
    ))?)
}

async fn find(store: &Store, tenant: &str) -> Result<Option<TenantId>, StoreError> {
    let row = match tenant.parse() {
        Ok(id) => tenants::find(store, id).await?,
        Err(_) => tenants::find_by_slug(store, tenant).await?,
    };
    Ok(row.map(|row| TenantId(row.id)))
}
