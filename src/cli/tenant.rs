//! `aka tenant`

use clap::{Args, Subcommand};

use super::{Outcome, open, print};
use crate::{
    api,
    config::Database,
    domain::{
        caller::Permit,
        ids::TenantId,
        tenants::{CreateTenant, TenantRefusal},
        text::{Name, Slug},
    },
    policy::Action,
};

#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a tenant, and print it as JSON
    Create {
        /// What it is to be called
        #[arg(long)]
        name: Name,
        /// Its short name in commands: a-z, 0-9 and -
        #[arg(long)]
        slug: Slug,
        /// Whether its keys may manage tenants; one tenant may be so
        #[arg(long)]
        master: bool,
        #[command(flatten)]
        database: Database,
    },
}

pub async fn run(arguments: Arguments) -> Outcome {
    let Command::Create {
        name,
        slug,
        master,
        database,
    } = arguments.command;
    let store = open(&database).await?;
    let id = TenantId::new();
    let permit = Permit::of_operator(id, Action::CreateTenant);
    let change = CreateTenant {
        permit,
        id,
        name,
        slug: slug.clone(),
        is_master: master,
    };
    let made = store.write(change).await;
    store.close().await;
    let tenant = made.map_err(|refusal| match refusal {
        TenantRefusal::MasterTaken => "there is a master tenant already, and there can be only one".into(),
        TenantRefusal::SlugTaken => format!("--slug {slug}: another tenant has this slug"),
        TenantRefusal::Changed | TenantRefusal::NoTenant => "the tenant has gone".into(),
        TenantRefusal::Store(error) => error.to_string(),
    })?;
    print(&serde_json::to_string_pretty(&api::tenants::Tenant::from(tenant))?)
}
