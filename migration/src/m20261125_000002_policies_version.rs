//! How often a tenant's policies have changed, so that a change can be tried before it is made and held to what it was
//! tried against.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut version = ColumnDef::new("policies_version");
        version.big_integer().not_null().default(0);
        let table = Table::alter().table("tenants").add_column(version).to_owned();
        manager.alter_table(table).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::alter()
            .table("tenants")
            .drop_column("policies_version")
            .to_owned();
        manager.alter_table(table).await
    }
}
