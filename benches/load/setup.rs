//! Making a store with everything in it that is measured.

use std::{
    fs,
    path::{Path, PathBuf},
};

use sea_orm::{ConnectionTrait as _, DatabaseConnection, Statement};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    Outcome,
    aka::{self, Aka, Caller},
    child::Directory,
    cores::Cores,
    data::{Data, Tenant},
    options::{LookAt, Options, Store},
    postgres::{Cluster, connect},
    preload,
};

/// A store, and a copy of it for the references to write to.
pub struct Subject<'a> {
    pub store: Store,
    pub data: Data,
    pub directory: Directory,
    pub place: Place<'a>,
}

/// Where a store is.
pub enum Place<'a> {
    Sqlite {
        file: PathBuf,
        copy: PathBuf,
    },
    Postgres {
        cluster: &'a Cluster,
        url: String,
        copy: String,
    },
}

impl Subject<'_> {
    /// As the program takes it.
    pub fn url(&self) -> String {
        self.place.url()
    }

    /// Checks that the store holds what was there and one row of each kind for every link that was answered, and the
    /// answers to those that had a key.
    pub async fn check(&self, links: u64, keyed: u64) -> Outcome<()> {
        let db = connect(&self.url()).await?;
        for (what, query, expected) in [
            ("identities", "SELECT count(*) FROM identities", self.data.rows + links),
            (
                "audit entries",
                "SELECT count(*) FROM audit_log_entries WHERE action = 'createUserIdentity'",
                links,
            ),
            (
                "events",
                "SELECT count(*) FROM outbox_events WHERE event_type = 'identity.linked'",
                links,
            ),
            ("kept answers", "SELECT count(*) FROM idempotency_keys", keyed),
        ] {
            let found: i64 = number(&db, query).await?;
            if u64::try_from(found)? != expected {
                return Err(format!("the store holds {found} {what}, and not {expected}").into());
            }
        }
        db.close().await?;
        Ok(())
    }
}

impl Place<'_> {
    fn url(&self) -> String {
        match self {
            Self::Sqlite { file, .. } => format!("sqlite://{}", file.display()),
            Self::Postgres { url, .. } => url.clone(),
        }
    }

    /// The process of which the database's processes are children, where it has its own.
    pub const fn database_pid(&self) -> Option<u32> {
        match self {
            Self::Sqlite { .. } => None,
            Self::Postgres { cluster, .. } => Some(cluster.pid),
        }
    }
}

async fn number<T: sea_orm::TryGetable>(db: &DatabaseConnection, query: &str) -> Outcome<T> {
    let row = db.query_one_raw(Statement::from_string(db.get_database_backend(), query));
    Ok(row.await?.ok_or("no row")?.try_get_by_index(0)?)
}

/// Makes a store and its copy.
pub async fn prepare<'a>(
    store: Store,
    rows: u64,
    options: &Options,
    cores: &Cores,
    cluster: Option<&'a Cluster>,
) -> Outcome<Subject<'a>> {
    let directory = Directory::new();
    let mut place = match (store, cluster) {
        (Store::Postgres, Some(cluster)) => Place::Postgres {
            cluster,
            url: cluster.new_database().await?,
            copy: String::new(),
        },
        _ => Place::Sqlite {
            file: directory.path().join("aka.db"),
            copy: directory.path().join("copy.db"),
        },
    };
    let tenants = tenants(&place.url(), options, cores, directory.path()).await?;
    let data = Data { tenants, rows };
    match &mut place {
        Place::Sqlite { file, copy } => {
            preload::sqlite(file, &data)?;
            fs::copy(&*file, &*copy)?;
        }
        Place::Postgres { cluster, url, copy } => {
            preload::postgres(url, &data).await?;
            *copy = cluster.copy(url).await?;
        }
    }
    Ok(Subject {
        store,
        data,
        directory,
        place,
    })
}

/// Makes the tables by the program's commands, and tenants, keys, providers and policies by the server's operations.
async fn tenants(url: &str, options: &Options, cores: &Cores, directory: &Path) -> Outcome<Vec<Tenant>> {
    aka::run(url, &["migrate", "up"])?;
    let create = ["tenant", "create", "--name", "Master", "--slug", "master", "--master"];
    let master: Value = serde_json::from_str(&aka::run(url, &create)?)?;
    let key: Value = serde_json::from_str(&aka::run(
        url,
        &["key", "create", "--tenant", "master", "--scopes", "all"],
    )?)?;
    let server = Aka::start(url, &options.server_log, cores, directory).await?;
    let mut operator = Caller::new(&server, text(&key, "raw_key")?, text(&master, "id")?).await?;
    let mut tenants = Vec::new();
    for number in 0..options.tenants {
        let tenant = json!({ "name": format!("Tenant {number}"), "slug": format!("tenant-{number}") });
        let tenant = operator.make("/v1/tenants", &tenant).await?;
        let id = text(&tenant, "id")?;
        let scopes = [
            "identities:read",
            "identities:write",
            "users:read",
            "identity-providers:write",
            "policies:write",
        ];
        let key = json!({ "name": "load", "scopes": scopes });
        let key = operator.make(&format!("/v1/tenants/{id}/api-keys"), &key).await?;
        let key = text(&key, "raw_key")?;
        let mut admin = Caller::new(&server, key, id).await?;
        let provider = json!({ "name": "GitHub", "provider_type": "github" });
        let provider = admin.make("/v1/identity-providers", &provider).await?;
        let rules: String = (0..options.rules)
            .map(|rule| rule_that_does_not_apply(rule, options.rules_look_at))
            .collect();
        let policy = json!({ "name": "Load", "cedar_policy_set": rules });
        admin.make("/v1/policies", &policy).await?;
        tenants.push(Tenant {
            id: id.parse()?,
            key: key.to_owned(),
            provider: text(&provider, "id")?.parse()?,
        });
    }
    server.stop()?;
    Ok(tenants)
}

fn text<'a>(value: &'a Value, member: &str) -> Outcome<&'a str> {
    Ok(value[member]
        .as_str()
        .ok_or_else(|| format!("no {member} in {value}"))?)
}

/// A rule like those that people write, but for another action, another caller, or another account.
fn rule_that_does_not_apply(number: u64, look_at: LookAt) -> String {
    let somebody = Uuid::from_u128(u128::from(number));
    match (number % 4, look_at) {
        (0, _) => r#"forbid(principal, action == Action::"deleteUser", resource);"#.into(),
        (1, _) => format!(r#"forbid(principal == User::"{somebody}", action, resource);"#),
        (2, _) => r#"permit(principal in Role::"support", action in Action::"identities:read", resource);"#.into(),
        (_, LookAt::Caller) => {
            r#"forbid(principal is Subject, action in Action::"identities:write", resource) unless { principal.email_verified };"#
                .into()
        }
        (_, LookAt::Request) => match number % 3 {
            0 => {
                r#"forbid(principal, action == Action::"createUserIdentity", resource) when { context.identity_provider.provider_type == "slack" && !(context has external_email && context.external_email like "*@example.com") };"#.into()
            }
            1 => {
                r#"forbid(principal, action == Action::"lookupIdentity", resource) when { context.external_id like "internal-*" };"#.into()
            }
            _ => format!(
                r#"forbid(principal, action == Action::"listUserIdentities", resource == User::"{somebody}");"#
            ),
        },
    }
}
