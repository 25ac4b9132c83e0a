//! The history of the tables: updating them, undoing that, and what an undo would delete.

use std::collections::{BTreeMap, BTreeSet};

use aka_migration::Migrator;
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, Statement, TransactionTrait,
};
use sea_orm_migration::MigratorTrait as _;
use tracing::{instrument::WithSubscriber as _, subscriber::NoSubscriber};

use super::{DatabaseUrl, StoreError, connect};

/// Brings the tables to this program's version. Nodes that start together wait for one another.
///
/// # Errors
///
/// Where the database cannot be reached, or a step fails; on PostgreSQL and SQLite a failed step leaves nothing behind.
pub async fn migrate(url: &DatabaseUrl) -> Result<(), StoreError> {
    with_turn(url, async |db| {
        if Migrator::get_pending_migrations_read_only(db).await?.is_empty() {
            return Ok(());
        }
        Migrator::up(db, None).await
    })
    .await
}

/// The names of the steps of the tables' history, in their order.
#[must_use]
pub fn migrations() -> Vec<String> {
    Migrator::migrations()
        .iter()
        .map(|step| step.name().to_owned())
        .collect()
}

/// The names of the steps that the tables' history has and this database lacks. Changes nothing.
///
/// # Errors
///
/// Where the database cannot be reached, or there is no such file.
pub async fn pending_migrations(url: &DatabaseUrl) -> Result<Vec<String>, StoreError> {
    let db = connect::for_looking(url).await?;
    let pending = Migrator::get_pending_migrations_read_only(&db).await;
    db.close().await?;
    Ok(pending?.iter().map(|step| step.name().to_owned()).collect())
}

/// What an undo did, or would do.
#[derive(Debug)]
pub struct Undone {
    /// The names of the steps, the newest first.
    pub steps: Vec<String>,
    /// The data that went with them: what it is, and how many rows have it.
    pub deleted: BTreeMap<String, u64>,
    /// Whether it was done. It is not where that would delete data and nobody has agreed to it.
    pub is_done: bool,
}

/// Undoes the last `steps` steps of the tables' history (all of them, where none is given): all or nothing. Where that
/// deletes data, it is only done if `data_may_go`.
///
/// # Errors
///
/// As for [`migrate`].
pub async fn migrate_down(url: &DatabaseUrl, steps: Option<u32>, data_may_go: bool) -> Result<Undone, StoreError> {
    with_turn(url, async |db| {
        let tx = db.begin().await?;
        let applied = Migrator::get_applied_migrations_read_only(&tx).await?;
        let count = steps.map_or(applied.len(), |steps| usize::try_from(steps).unwrap_or(usize::MAX));
        let steps_undone = applied.iter().rev().take(count);
        let mut undone = Undone {
            steps: steps_undone.map(|step| step.name().to_owned()).collect(),
            deleted: BTreeMap::new(),
            is_done: false,
        };
        let before = tables(&tx).await?;
        let rows = rows(&tx, before.keys()).await?;
        // Its log would tell of steps that were undone, which is not so where all of it is taken back.
        Migrator::down(&tx, steps)
            .with_subscriber(NoSubscriber::default())
            .await?;
        let after = tables(&tx).await?;
        for (table, columns) in &before {
            let rows = rows.get(table).copied().unwrap_or_default();
            let Some(left) = after.get(table) else {
                undone.deleted.insert(format!("table {table}"), rows);
                continue;
            };
            for column in columns.difference(left) {
                undone.deleted.insert(format!("column {table}.{column}"), rows);
            }
        }
        undone.deleted.retain(|_, rows| *rows > 0);
        undone.is_done = data_may_go || undone.deleted.is_empty();
        if undone.is_done {
            tx.commit().await?;
        } else {
            tx.rollback().await?;
        }
        Ok(undone)
    })
    .await
}

/// Works on the tables while no other node does.
async fn with_turn<T>(
    url: &DatabaseUrl,
    work: impl AsyncFnOnce(&DatabaseConnection) -> Result<T, DbErr>,
) -> Result<T, StoreError> {
    let db = connect::for_migration(url).await?;
    let outcome = work(&db).await;
    db.close().await?;
    Ok(outcome?)
}

/// The tables that hold data, with their columns.
async fn tables(tx: &DatabaseTransaction) -> Result<BTreeMap<String, BTreeSet<String>>, DbErr> {
    let columns = match tx.get_database_backend() {
        DbBackend::Postgres => {
            "SELECT table_name, column_name FROM information_schema.columns \
             JOIN information_schema.tables USING (table_schema, table_name) \
             WHERE table_schema = current_schema() AND table_type = 'BASE TABLE'"
        }
        _ => {
            "SELECT tables.name, columns.name FROM sqlite_schema AS tables, pragma_table_info(tables.name) AS columns \
             WHERE tables.type = 'table' AND tables.name NOT LIKE 'sqlite_%'"
        }
    };
    let mut tables = BTreeMap::<String, BTreeSet<String>>::new();
    for row in tx
        .query_all_raw(Statement::from_string(tx.get_database_backend(), columns))
        .await?
    {
        let (table, column): (String, String) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
        tables.entry(table).or_default().insert(column);
    }
    // The list of the steps themselves.
    tables.remove("seaql_migrations");
    Ok(tables)
}

/// How many rows these tables have.
async fn rows(tx: &DatabaseTransaction, tables: impl Iterator<Item = &String>) -> Result<BTreeMap<String, u64>, DbErr> {
    let mut rows = BTreeMap::new();
    for table in tables {
        let count = Statement::from_string(tx.get_database_backend(), format!("SELECT COUNT(*) FROM \"{table}\""));
        let count: i64 = match tx.query_one_raw(count).await? {
            Some(row) => row.try_get_by_index(0)?,
            None => 0,
        };
        rows.insert(table.clone(), u64::try_from(count).unwrap_or_default());
    }
    Ok(rows)
}
