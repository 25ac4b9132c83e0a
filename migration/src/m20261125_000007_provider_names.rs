//! No two identity providers of a tenant have the same name, ignoring case. Of those that do, the oldest keeps its name,
//! and the others get a number.

use std::collections::HashSet;

use sea_orm_migration::{
    prelude::*,
    sea_orm::{Statement, prelude::Uuid},
};

#[derive(DeriveMigrationName)]
pub struct Migration;

/// The greatest length of a name, in characters.
const MAX_NAME: usize = 256;

/// In the messages of both databases about a doubled name: the one tells the column, the other the index.
const INDEX: &str = "identity_providers_name_key";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let column = ColumnDef::new("name_key").text().not_null().default("").to_owned();
        let add = Table::alter().table("identity_providers").add_column(column).to_owned();
        manager.alter_table(add).await?;
        name_apart(manager.get_connection()).await?;
        let index = Index::create()
            .name(INDEX)
            .table("identity_providers")
            .col("tenant_id")
            .col("name_key")
            .unique()
            .to_owned();
        manager.create_index(index).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_index(Index::drop().name(INDEX).table("identity_providers").to_owned())
            .await?;
        let drop = Table::alter()
            .table("identity_providers")
            .drop_column("name_key")
            .to_owned();
        manager.alter_table(drop).await
    }
}

/// Gives every provider the key of its name, and another name to those whose name is not theirs alone.
async fn name_apart(db: &SchemaManagerConnection<'_>) -> Result<(), DbErr> {
    let backend = db.get_database_backend();
    let all = "SELECT tenant_id, id, name FROM identity_providers ORDER BY tenant_id, id";
    let rows = db.query_all_raw(Statement::from_string(backend, all)).await?;
    let mut providers: Vec<(Uuid, Uuid, String)> = Vec::with_capacity(rows.len());
    for row in rows {
        providers.push((
            row.try_get("", "tenant_id")?,
            row.try_get("", "id")?,
            row.try_get("", "name")?,
        ));
    }
    // Names that a provider has already are not given to another one.
    let mut taken: HashSet<(Uuid, String)> = providers
        .iter()
        .map(|(tenant, _, name)| (*tenant, name.to_lowercase()))
        .collect();
    let mut kept: HashSet<(Uuid, String)> = HashSet::new();
    for (tenant, id, mut name) in providers {
        if !kept.insert((tenant, name.to_lowercase())) {
            name = numbered(&name, |key| taken.insert((tenant, key)));
        }
        let update = "UPDATE identity_providers SET name = $1, name_key = $2 WHERE tenant_id = $3 AND id = $4";
        let values = [
            name.clone().into(),
            name.to_lowercase().into(),
            tenant.into(),
            id.into(),
        ];
        db.execute_raw(Statement::from_sql_and_values(backend, update, values))
            .await?;
    }
    Ok(())
}

/// A name with the first number with which it can be had.
fn numbered(name: &str, mut can_be_had: impl FnMut(String) -> bool) -> String {
    let mut number: u64 = 2;
    loop {
        let suffix = format!(" ({number})");
        let base: String = name.chars().take(MAX_NAME - suffix.len()).collect();
        let numbered = format!("{}{suffix}", base.trim_end());
        if can_be_had(numbered.to_lowercase()) {
            return numbered;
        }
        number += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_numbered_name_is_free_and_no_longer_than_a_name_may_be() {
        let mut taken = HashSet::from(["github (2)".to_owned()]);
        assert_eq!(numbered("GitHub", |key| taken.insert(key)), "GitHub (3)");
        let long = "é".repeat(MAX_NAME);
        let name = numbered(&long, |_| true);
        assert_eq!(name.chars().count(), MAX_NAME);
        assert!(name.ends_with(" (2)"));
    }
}
