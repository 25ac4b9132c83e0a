//! Each token issuer in a column of its own, so that no two providers of a tenant can be the same issuer.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

/// Until now two providers could name one issuer. The first keeps it: tokens of the other are no longer accepted until its
/// configuration is changed. Longer names do not fit into an index of PostgreSQL. The statement is the same on both
/// databases.
const FILL: &str = "\
UPDATE identity_providers SET token_issuer = config ->> 'issuer'
WHERE length(config ->> 'issuer') BETWEEN 1 AND 512 AND NOT EXISTS (
    SELECT 1 FROM identity_providers AS earlier
    WHERE earlier.tenant_id = identity_providers.tenant_id AND earlier.id < identity_providers.id
        AND earlier.config ->> 'issuer' = identity_providers.config ->> 'issuer'
)";

const INDEX: &str = "identity_providers_token_issuer";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let column = ColumnDef::new("token_issuer").text().to_owned();
        let table = Table::alter().table("identity_providers").add_column(column).to_owned();
        manager.alter_table(table).await?;
        manager.get_connection().execute_unprepared(FILL).await?;
        let index = Index::create()
            .name(INDEX)
            .table("identity_providers")
            .col("tenant_id")
            .col("token_issuer")
            .unique()
            .to_owned();
        manager.create_index(index).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let index = Index::drop().name(INDEX).table("identity_providers").to_owned();
        manager.drop_index(index).await?;
        let table = Table::alter()
            .table("identity_providers")
            .drop_column("token_issuer")
            .to_owned();
        manager.alter_table(table).await
    }
}
