//! The history of the tables, with one file per migration. A migration that is on the main branch is never edited: each change of
//! the tables is a new migration, and `tests/it/migrations` tests it on a store with rows of all earlier ones.

use sea_orm_migration::prelude::*;

mod m20261123_000001_initial;
mod m20261125_000001_weights_of_rules;
mod m20261125_000002_policies_version;
mod m20261125_000003_token_issuers;
mod m20261125_000004_deleting_providers;
mod m20261125_000005_decisions_by_request;
mod m20261125_000006_secrets_and_erasure;
mod m20261125_000007_provider_names;
mod m20261125_000013_barred_accounts;

/// All migrations, in order.
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261123_000001_initial::Migration),
            Box::new(m20261125_000001_weights_of_rules::Migration),
            Box::new(m20261125_000002_policies_version::Migration),
            Box::new(m20261125_000003_token_issuers::Migration),
            Box::new(m20261125_000004_deleting_providers::Migration),
            Box::new(m20261125_000005_decisions_by_request::Migration),
            Box::new(m20261125_000006_secrets_and_erasure::Migration),
            Box::new(m20261125_000007_provider_names::Migration),
            Box::new(m20261125_000013_barred_accounts::Migration),
        ]
    }
}
