//! `aka tenant`

use clap::{Args, Subcommand};

use super::{Outcome, print_json, with_store};
use crate::{
    access::caller::Permit,
    config::Database,
    resources::tenants::{self, CreateTenant, TenantRefusal},
    store::Store,
    types::{
        actions::Action,
        ids::TenantId,
        text::{Name, Slug},
    },
};

#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Create a tenant, and print it as JSON
    Create {
        /// The name of the tenant, to be read by people
        #[arg(long)]
        name: Name,
        /// The short name of the tenant in commands: a-z, 0-9 and -
        #[arg(long)]
        slug: Slug,
        /// Let the keys of this tenant manage tenants. There can be only one such tenant
        #[arg(long)]
        master: bool,
        #[command(flatten)]
        database: Database,
    },
    /// Print all tenants as a JSON array, oldest first
    List {
        #[command(flatten)]
        database: Database,
    },
}

pub async fn run(arguments: Arguments) -> Outcome {
    match arguments.command {
        Command::Create {
            name,
            slug,
            master,
            database,
        } => create(name, slug, master, &database).await,
        Command::List { database } => {
            let tenants = with_store(&database, async |store| {
                super::all(
                    async |after, limit| tenants::list(store, after, limit).await,
                    |tenant| tenant.id,
                )
                .await
            })
            .await?;
            let tenants: Vec<_> = tenants
                .into_iter()
                .map(crate::resources::tenants::api::Tenant::from)
                .collect();
            print_json(&tenants)
        }
    }
}

async fn create(name: Name, slug: Slug, is_master: bool, database: &Database) -> Outcome {
    let id = TenantId::new();
    let permit = Permit::of_operator(id, Action::CreateTenant);
    let change = CreateTenant {
        permit,
        id,
        name,
        slug: slug.clone(),
        is_master,
    };
    let tenant = with_store(database, async |store| {
        store.write(change).await.map_err(|refusal| match refusal {
            TenantRefusal::MasterTaken => "a master tenant already exists, and there can be only one".into(),
            TenantRefusal::SlugTaken => format!("--slug {slug}: another tenant has this slug").into(),
            TenantRefusal::RevisionMismatch | TenantRefusal::NoTenant(_) => "the tenant no longer exists".into(),
            TenantRefusal::Store(error) => error.into(),
        })
    })
    .await?;
    print_json(&crate::resources::tenants::api::Tenant::from(tenant))
}

/// The tenant with this id or slug, given as `--tenant`.
pub(super) async fn find(store: &Store, tenant: &str) -> Result<TenantId, Box<dyn std::error::Error>> {
    let row = match tenant.parse() {
        Ok(id) => tenants::find(store, id).await?,
        Err(_) => tenants::find_by_slug(store, tenant).await?,
    };
    row.map(|row| TenantId(row.id)).ok_or_else(|| {
        format!("--tenant {tenant}: no tenant has this id or slug; `aka tenant list` lists all tenants").into()
    })
}
