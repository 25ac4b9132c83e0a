//! Accounts of suspended and erased users, so that their tokens stay refused when the accounts are no longer linked.

use sea_orm_migration::{prelude::*, sea_orm::DatabaseBackend};

#[derive(DeriveMigrationName)]
pub struct Migration;

/// What SQLite's planner is to believe of the new table; the first step says why.
const STATISTICS: &str =
    "INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES ('barred_accounts', 'barred_accounts', '100000 1000 100 1');";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let sqlite = manager.get_database_backend() == DatabaseBackend::Sqlite;
        let mut table = barred_accounts();
        if sqlite {
            table.extra("WITHOUT ROWID");
        }
        manager.create_table(table).await?;
        if sqlite {
            manager.get_connection().execute_unprepared(STATISTICS).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table("barred_accounts").to_owned())
            .await
    }
}

fn barred_accounts() -> TableCreateStatement {
    Table::create()
        .table("barred_accounts")
        .col(ColumnDef::new("tenant_id").uuid().not_null())
        .col(ColumnDef::new("identity_provider_id").uuid().not_null())
        .col(ColumnDef::new("account_hash").blob().not_null())
        .col(ColumnDef::new("reason").text().not_null())
        .col(ColumnDef::new("created_at").big_integer().not_null())
        .primary_key(
            Index::create()
                .col("tenant_id")
                .col("identity_provider_id")
                .col("account_hash"),
        )
        // Without its provider, no token of the account can be accepted.
        .foreign_key(
            ForeignKey::create()
                .name("barred_accounts_identity_provider_id")
                .from("barred_accounts", ("tenant_id", "identity_provider_id"))
                .to("identity_providers", ("tenant_id", "id"))
                .on_delete(ForeignKeyAction::Cascade),
        )
        .to_owned()
}
