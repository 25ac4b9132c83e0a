//! What was found out of each rule when it was checked: what its text says, how large it is, and what it can cost. Rows
//! that are there already are checked again when they are read, as they lack the mark that goes with these columns.

use sea_orm_migration::{prelude::*, sea_orm::DatabaseBackend};

#[derive(DeriveMigrationName)]
pub struct Migration;

/// The sizes of a tenant's rules are added up in the index, without touching their texts. Its statistics for SQLite's
/// planner are those of the index beside it, which serves other queries; see the first step.
const INDEX: &str = "policy_rules_weights";
const STATISTICS: &str = "\
    INSERT INTO sqlite_stat1 (tbl, idx, stat)
    VALUES ('policy_rules', 'policy_rules_weights', '100000 1000 20 2 2 1');
    ANALYZE sqlite_schema;";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in [
            ColumnDef::new("outline").text().not_null().default("").take(),
            ColumnDef::new("bytes").big_integer().not_null().default(0).take(),
            ColumnDef::new("nodes").big_integer().not_null().default(0).take(),
            ColumnDef::new("cost").big_integer().not_null().default(0).take(),
        ] {
            let table = Table::alter().table("policy_rules").add_column(column).to_owned();
            manager.alter_table(table).await?;
        }
        let (connection, backend) = (manager.get_connection(), manager.get_database_backend());
        connection
            .execute_unprepared("UPDATE policy_rules SET bytes = OCTET_LENGTH(policy_text)")
            .await?;
        let index = Index::create()
            .name(INDEX)
            .table("policy_rules")
            .col("tenant_id")
            .col("policy_id")
            .col("bytes")
            .col("nodes")
            .col("cost")
            .to_owned();
        manager.create_index(index).await?;
        if backend == DatabaseBackend::Sqlite {
            connection.execute_unprepared(STATISTICS).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_index(Index::drop().name(INDEX).table("policy_rules").to_owned())
            .await?;
        for column in ["outline", "bytes", "nodes", "cost"] {
            let table = Table::alter().table("policy_rules").drop_column(column).to_owned();
            manager.alter_table(table).await?;
        }
        Ok(())
    }
}
