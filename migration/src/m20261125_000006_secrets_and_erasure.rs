//! What must not be seen: the check value of the root key, sealed secrets of identity providers, and what it takes to
//! erase everything about a user.

use sea_orm_migration::{
    prelude::*,
    sea_orm::{DatabaseBackend, Statement},
};

#[derive(DeriveMigrationName)]
pub struct Migration;

/// What SQLite's planner is to believe of the new tables and indexes; the first step says why.
const STATISTICS: &str = "\
    INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
        ('former_links', 'former_links', '100000 1000 2 1'),
        ('former_links', 'former_links_identity', '100000 1000 2'),
        ('idempotency_keys', 'idempotency_keys_user', '100000 1000 20');";

/// Accounts that were unlinked before this step: the audit log knows whose they were.
const FORMER_LINKS_POSTGRES: &str = "\
    INSERT INTO former_links (tenant_id, user_id, identity_id)
    SELECT DISTINCT users.tenant_id, users.id, identities.id
    FROM audit_log_entries AS entry
    JOIN identities ON identities.tenant_id = entry.tenant_id AND identities.id = entry.resource_id
    JOIN users ON users.tenant_id = entry.tenant_id AND users.id = (entry.metadata ->> 'user_id')::uuid
    WHERE entry.action = 'deleteUserIdentity'";
const FORMER_LINKS_SQLITE: &str = "\
    INSERT INTO former_links (tenant_id, user_id, identity_id)
    SELECT DISTINCT users.tenant_id, users.id, identities.id
    FROM audit_log_entries AS entry
    JOIN identities ON identities.tenant_id = entry.tenant_id AND identities.id = entry.resource_id
    JOIN users ON users.tenant_id = entry.tenant_id AND users.id = unhex(replace(entry.metadata ->> 'user_id', '-', ''))
    WHERE entry.action = 'deleteUserIdentity'";

/// Events name accounts by the id of their identity only: an event outlives the erasure of a user.
const EVENTS_POSTGRES: &str =
    "UPDATE outbox_events SET payload = payload - 'external_id' WHERE resource_type = 'identity'";
const EVENTS_SQLITE: &str =
    "UPDATE outbox_events SET payload = json_remove(payload, '$.external_id') WHERE resource_type = 'identity'";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let backend = manager.get_database_backend();
        let db = manager.get_connection();
        for mut table in [root_key_check(), former_links()] {
            if backend == DatabaseBackend::Sqlite {
                table.extra("WITHOUT ROWID");
            }
            manager.create_table(table).await?;
        }
        for table in [
            Table::alter()
                .table("identity_providers")
                .add_column(ColumnDef::new("secrets").blob())
                .to_owned(),
            Table::alter()
                .table("idempotency_keys")
                .add_column(ColumnDef::new("user_id").uuid())
                .to_owned(),
        ] {
            manager.alter_table(table).await?;
        }
        for index in [
            Index::create()
                .name("former_links_identity")
                .table("former_links")
                .col("tenant_id")
                .col("identity_id")
                .to_owned(),
            Index::create()
                .name("idempotency_keys_user")
                .table("idempotency_keys")
                .col("tenant_id")
                .col("user_id")
                .to_owned(),
        ] {
            manager.create_index(index).await?;
        }
        let statements = match backend {
            DatabaseBackend::Sqlite => vec![FORMER_LINKS_SQLITE, EVENTS_SQLITE, STATISTICS],
            _ => vec![FORMER_LINKS_POSTGRES, EVENTS_POSTGRES],
        };
        for statement in statements {
            db.execute_unprepared(statement).await?;
        }
        compare_domains_in_ascii(db).await
    }

    /// The secrets of providers go with their column. The sealing cannot be undone here, where there is no root key.
    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (index, table) in [
            ("idempotency_keys_user", "idempotency_keys"),
            ("former_links_identity", "former_links"),
        ] {
            manager
                .drop_index(Index::drop().name(index).table(table).to_owned())
                .await?;
        }
        for (table, column) in [("idempotency_keys", "user_id"), ("identity_providers", "secrets")] {
            manager
                .alter_table(Table::alter().table(table).drop_column(column).to_owned())
                .await?;
        }
        for table in ["former_links", "root_key_check"] {
            manager.drop_table(Table::drop().table(table).to_owned()).await?;
        }
        Ok(())
    }
}

/// E-mail addresses are compared with their domain in ASCII form. Rewrites the keys that were made before; where two users
/// of a tenant have the same address by now, both stay as they are.
async fn compare_domains_in_ascii(db: &SchemaManagerConnection<'_>) -> Result<(), DbErr> {
    const UPDATE: &str = "\
        UPDATE users SET email_key = $1 WHERE tenant_id = $2 AND id = $3
        AND NOT EXISTS (SELECT 1 FROM users AS other WHERE other.tenant_id = $2 AND other.email_key = $1)";
    let backend = db.get_database_backend();
    let beyond_ascii = match backend {
        DatabaseBackend::Sqlite => "email_key GLOB '*[^' || char(1) || '-' || char(127) || ']*'",
        _ => "email_key ~ '[^[:ascii:]]'",
    };
    let select = format!("SELECT tenant_id, id, email_key FROM users WHERE {beyond_ascii}");
    for row in db.query_all_raw(Statement::from_string(backend, select)).await? {
        let (tenant, id): (uuid::Uuid, uuid::Uuid) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
        let key: String = row.try_get_by_index(2)?;
        let Some((local, domain)) = key.rsplit_once('@') else {
            continue;
        };
        if let Ok(domain) = idna::domain_to_ascii(domain) {
            let values = [format!("{local}@{domain}").into(), tenant.into(), id.into()];
            db.execute_raw(Statement::from_sql_and_values(backend, UPDATE, values))
                .await?;
        }
    }
    Ok(())
}

fn root_key_check() -> TableCreateStatement {
    Table::create()
        .table("root_key_check")
        .col(ColumnDef::new("id").integer().not_null().primary_key())
        .col(ColumnDef::new("check_value").blob().not_null())
        .to_owned()
}

/// Which accounts a user has had that are linked to them no more.
fn former_links() -> TableCreateStatement {
    let reference = |column: &'static str, to: &'static str| {
        ForeignKey::create()
            .name(format!("former_links_{column}"))
            .from("former_links", ("tenant_id", column))
            .to(to, ("tenant_id", "id"))
            .on_delete(ForeignKeyAction::Cascade)
            .to_owned()
    };
    Table::create()
        .table("former_links")
        .col(ColumnDef::new("tenant_id").uuid().not_null())
        .col(ColumnDef::new("user_id").uuid().not_null())
        .col(ColumnDef::new("identity_id").uuid().not_null())
        .primary_key(Index::create().col("tenant_id").col("user_id").col("identity_id"))
        .foreign_key(&mut reference("user_id", "users"))
        .foreign_key(&mut reference("identity_id", "identities"))
        .to_owned()
}
