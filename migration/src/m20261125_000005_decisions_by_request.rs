//! Decisions name the request that they refused, and are found by resource, by actor and by time without reading the
//! others of the tenant.

use sea_orm_migration::{prelude::*, sea_orm::DatabaseBackend};

/// This step.
#[derive(DeriveMigrationName)]
pub struct Migration;

/// The indexes that this step makes. Each ends with the order in which decisions are listed.
const INDEXES: [(&str, [&str; 3]); 3] = [
    ("decisions_resource", ["tenant_id", "resource", "id"]),
    ("decisions_actor", ["tenant_id", "actor_id", "id"]),
    ("decisions_created_at", ["tenant_id", "created_at", "id"]),
];

/// What SQLite's planner is to believe of them, as of all indexes (see the first step). SQLite forgets it with the index.
const STATISTICS: &str = "\
    INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
        ('decisions', 'decisions_resource', '1000000 10000 20 1'),
        ('decisions', 'decisions_actor', '1000000 10000 200 1'),
        ('decisions', 'decisions_created_at', '1000000 10000 1 1');";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // Null for decisions from before this step.
        let column = ColumnDef::new("request_id").text().to_owned();
        let table = Table::alter().table("decisions").add_column(column).to_owned();
        manager.alter_table(table).await?;
        for (name, columns) in INDEXES {
            let mut index = Index::create().name(name).table("decisions").to_owned();
            for column in columns {
                index.col(column);
            }
            manager.create_index(index).await?;
        }
        if manager.get_database_backend() == DatabaseBackend::Sqlite {
            manager.get_connection().execute_unprepared(STATISTICS).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (name, _) in INDEXES {
            let index = Index::drop().name(name).table("decisions").to_owned();
            manager.drop_index(index).await?;
        }
        let table = Table::alter().table("decisions").drop_column("request_id").to_owned();
        manager.alter_table(table).await
    }
}
