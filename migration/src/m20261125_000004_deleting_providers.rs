//! Identity providers are deleted in the background: `deleted_at` marks those whose accounts are still being removed.

use sea_orm_migration::{prelude::*, sea_orm::DatabaseBackend};

#[derive(DeriveMigrationName)]
pub struct Migration;

/// Finds the linked accounts of a provider, or that there are none, however many accounts it has that are linked to
/// nobody. The statements are the same on both databases; sea-query has no partial indexes for both.
const LINKED: &str = "\
    CREATE INDEX identities_linked ON identities (tenant_id, identity_provider_id) WHERE user_id IS NOT NULL";
/// Finds the providers that are being deleted. There are hardly ever any.
const DELETED: &str = "\
    CREATE INDEX identity_providers_deleted ON identity_providers (deleted_at) WHERE deleted_at IS NOT NULL";
/// What SQLite's planner is to believe of the index, as in the first step.
const STATISTICS: &str = "\
    INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES ('identities', 'identities_linked', '1000000 10000 2000');";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::alter()
            .table("identity_providers")
            .add_column(ColumnDef::new("deleted_at").big_integer())
            .to_owned();
        manager.alter_table(table).await?;
        let db = manager.get_connection();
        db.execute_unprepared(LINKED).await?;
        db.execute_unprepared(DELETED).await?;
        if manager.get_database_backend() == DatabaseBackend::Sqlite {
            db.execute_unprepared(STATISTICS).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let db = manager.get_connection();
        for statement in [
            "DROP INDEX identity_providers_deleted",
            "DROP INDEX identities_linked",
            // Without the column these would come back to life.
            "DELETE FROM identities WHERE (tenant_id, identity_provider_id) IN \
                (SELECT tenant_id, id FROM identity_providers WHERE deleted_at IS NOT NULL)",
            "DELETE FROM identity_providers WHERE deleted_at IS NOT NULL",
        ] {
            db.execute_unprepared(statement).await?;
        }
        let table = Table::alter()
            .table("identity_providers")
            .drop_column("deleted_at")
            .to_owned();
        manager.alter_table(table).await
    }
}
