//! The first tables: tenants and what belongs to them.
//!
//! The names of tables and columns stand here as text and not as the entities' constants: a step of the history
//! must not change when an entity does.

use sea_orm_migration::{prelude::*, sea_orm::DatabaseBackend};

#[derive(DeriveMigrationName)]
pub struct Migration;

/// What SQLite's planner is to believe of the tables: rows of the index, then rows for each further column that is given
/// (SQLite's "The `sqlite_stat1` Table"). Without it the planner believes that a tenant has ten identities, and reads all of
/// them in the order of the primary key to find those of one user. Statistics of the real tables would be right until the
/// tables grow, and nobody would notice; these are right for large tables, and small ones do not need any.
const STATISTICS: &str = "\
    ANALYZE;
    INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
        ('users', 'users', '100000 1000 1'),
        ('users', 'users_email', '100000 1000 1'),
        ('identities', 'identities', '1000000 10000 1'),
        ('identities', 'identities_account', '1000000 10000 2000 1'),
        ('identities', 'identities_user', '1000000 10000 10 1'),
        ('api_keys', 'api_keys', '10000 100 1'),
        ('api_keys', 'api_keys_identity_provider', '10000 100 20'),
        ('policy_rules', 'policy_rules', '100000 1000 1'),
        ('policy_rules', 'policy_rules_policy', '100000 1000 20 1'),
        ('audit_log_entries', 'audit_log_entries', '10000000 100000 1'),
        ('decisions', 'decisions', '1000000 10000 1'),
        ('outbox_events', 'outbox_events', '10000000 100000 1'),
        ('idempotency_keys', 'idempotency_keys', '100000 1000 100 1'),
        ('idempotency_keys', 'idempotency_keys_created_at', '100000 1');";

/// Every table that this step makes, parents first.
const TABLES: [&str; 11] = [
    "tenants",
    "users",
    "identity_providers",
    "identities",
    "api_keys",
    "policies",
    "policy_rules",
    "audit_log_entries",
    "decisions",
    "outbox_events",
    "idempotency_keys",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let backend = manager.get_database_backend();
        for table in [
            tenants(),
            users(),
            identity_providers(),
            identities(),
            api_keys(),
            policies(),
            policy_rules(),
            audit_log_entries(),
            decisions(),
            outbox_events(),
            idempotency_keys(),
        ] {
            manager.create_table(clustered(table, backend)).await?;
        }
        for index in [
            unique("tenants_slug", "tenants", &["slug"]),
            unique("users_email", "users", &["tenant_id", "email_key"]),
            unique(
                "identities_account",
                "identities",
                &["tenant_id", "identity_provider_id", "external_id"],
            ),
            index("identities_user", "identities", &["tenant_id", "user_id", "id"]),
            index(
                "api_keys_identity_provider",
                "api_keys",
                &["tenant_id", "identity_provider_id"],
            ),
            index(
                "policy_rules_policy",
                "policy_rules",
                &["tenant_id", "policy_id", "ordinal"],
            ),
            index("idempotency_keys_created_at", "idempotency_keys", &["created_at"]),
        ] {
            manager.create_index(index).await?;
        }
        // sea-query has no partial indexes for both databases; the statement is the same on both.
        manager
            .get_connection()
            .execute_unprepared("CREATE UNIQUE INDEX tenants_master ON tenants (is_master) WHERE is_master")
            .await?;
        if backend == DatabaseBackend::Sqlite {
            manager.get_connection().execute_unprepared(STATISTICS).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in TABLES.into_iter().rev() {
            manager.drop_table(Table::drop().table(table).to_owned()).await?;
        }
        Ok(())
    }
}

/// Keeps the rows of a SQLite table in its primary key, the tenant first: one tree less for each insert to write.
/// On PostgreSQL there is no such choice.
fn clustered(mut table: TableCreateStatement, backend: DatabaseBackend) -> TableCreateStatement {
    if backend == DatabaseBackend::Sqlite {
        table.extra("WITHOUT ROWID");
    }
    table
}

fn tenants() -> TableCreateStatement {
    Table::create()
        .table("tenants")
        .col(ColumnDef::new("id").uuid().not_null().primary_key())
        .col(text("name"))
        .col(text("slug"))
        .col(boolean("is_master"))
        .col(integer("version"))
        .col(integer("created_at"))
        .col(integer("updated_at"))
        .to_owned()
}

fn users() -> TableCreateStatement {
    of_tenant("users")
        .col(text("email"))
        .col(text("email_key"))
        .col(text("name"))
        .col(json("roles"))
        .col(boolean("active"))
        .col(boolean("email_verified"))
        .col(integer("created_at"))
        .col(integer("updated_at"))
        .to_owned()
}

fn identity_providers() -> TableCreateStatement {
    of_tenant("identity_providers")
        .col(text("name"))
        .col(text("provider_type"))
        .col(json("config"))
        .col(boolean("enabled"))
        .col(ColumnDef::new("last_synced_at").big_integer())
        .col(text("sync_status"))
        .col(ColumnDef::new("sync_error").text())
        .col(integer("created_at"))
        .col(integer("updated_at"))
        .to_owned()
}

fn identities() -> TableCreateStatement {
    of_tenant("identities")
        .col(ColumnDef::new("user_id").uuid())
        .col(uuid("identity_provider_id"))
        .col(text("external_id"))
        .col(ColumnDef::new("external_username").text())
        .col(ColumnDef::new("external_email").text())
        .col(ColumnDef::new("external_display_name").text())
        .col(text("linked_by"))
        .col(ColumnDef::new("linked_at").big_integer())
        .col(ColumnDef::new("last_synced_at").big_integer())
        .col(integer("created_at"))
        .col(integer("updated_at"))
        // The erasure of a user erases their accounts.
        .foreign_key(&mut reference(
            "identities",
            "user_id",
            "users",
            ForeignKeyAction::Cascade,
        ))
        // A provider with accounts is not deleted by accident.
        .foreign_key(&mut reference(
            "identities",
            "identity_provider_id",
            "identity_providers",
            ForeignKeyAction::Restrict,
        ))
        .to_owned()
}

fn api_keys() -> TableCreateStatement {
    of_tenant("api_keys")
        .col(text("name"))
        .col(ColumnDef::new("hash").blob().not_null())
        .col(json("scopes"))
        .col(ColumnDef::new("identity_provider_id").uuid())
        .col(text("created_by"))
        .col(ColumnDef::new("last_used_at").big_integer())
        .col(ColumnDef::new("expires_at").big_integer())
        .col(ColumnDef::new("revoked_at").big_integer())
        .col(ColumnDef::new("revoked_by").text())
        .col(ColumnDef::new("rotated_at").big_integer())
        .col(integer("created_at"))
        // A key that is bound to a provider has no use without it.
        .foreign_key(&mut reference(
            "api_keys",
            "identity_provider_id",
            "identity_providers",
            ForeignKeyAction::Cascade,
        ))
        .to_owned()
}

fn policies() -> TableCreateStatement {
    of_tenant("policies")
        .col(text("name"))
        .col(ColumnDef::new("description").text())
        .col(boolean("enabled"))
        .col(ColumnDef::new("priority").integer().not_null())
        .col(integer("created_at"))
        .col(integer("updated_at"))
        .to_owned()
}

fn policy_rules() -> TableCreateStatement {
    of_tenant("policy_rules")
        .col(uuid("policy_id"))
        .col(ColumnDef::new("ordinal").integer().not_null())
        .col(text("policy_text"))
        .col(ColumnDef::new("checked").blob().not_null())
        .col(ColumnDef::new("notice").text())
        .col(integer("created_at"))
        .foreign_key(&mut reference(
            "policy_rules",
            "policy_id",
            "policies",
            ForeignKeyAction::Cascade,
        ))
        .to_owned()
}

fn audit_log_entries() -> TableCreateStatement {
    of_tenant("audit_log_entries")
        .col(text("actor_id"))
        .col(text("actor_type"))
        .col(text("action"))
        .col(text("resource_type"))
        .col(uuid("resource_id"))
        .col(json("metadata"))
        .col(ColumnDef::new("reasoning").text())
        .col(ColumnDef::new("decision").json_binary())
        .col(integer("created_at"))
        .to_owned()
}

fn decisions() -> TableCreateStatement {
    of_tenant("decisions")
        .col(text("actor_id"))
        .col(text("actor_type"))
        .col(json("scopes"))
        .col(text("action"))
        .col(text("resource"))
        .col(text("kind"))
        .col(ColumnDef::new("priority").integer())
        .col(json("rule_ids"))
        .col(json("policy_ids"))
        .col(json("notices"))
        .col(integer("policy_version"))
        .col(ColumnDef::new("context").json_binary())
        .col(integer("created_at"))
        .to_owned()
}

fn outbox_events() -> TableCreateStatement {
    of_tenant("outbox_events")
        .col(text("event_type"))
        .col(text("resource_type"))
        .col(uuid("resource_id"))
        .col(json("payload"))
        .col(integer("created_at"))
        .to_owned()
}

fn idempotency_keys() -> TableCreateStatement {
    Table::create()
        .table("idempotency_keys")
        .col(uuid("tenant_id"))
        .col(text("actor_id"))
        .col(ColumnDef::new("key_hash").blob().not_null())
        .col(ColumnDef::new("answer").blob().not_null())
        .col(integer("created_at"))
        .primary_key(Index::create().col("tenant_id").col("actor_id").col("key_hash"))
        .foreign_key(
            ForeignKey::create()
                .name("idempotency_keys_tenant")
                .from("idempotency_keys", "tenant_id")
                .to("tenants", "id"),
        )
        .to_owned()
}

/// A table whose rows belong to a tenant: key `(tenant_id, id)`.
fn of_tenant(table: &'static str) -> TableCreateStatement {
    Table::create()
        .table(table)
        .col(uuid("tenant_id"))
        .col(uuid("id"))
        .primary_key(Index::create().col("tenant_id").col("id"))
        .foreign_key(
            ForeignKey::create()
                .name(format!("{table}_tenant"))
                .from(table, "tenant_id")
                .to("tenants", "id"),
        )
        .to_owned()
}

/// A reference to a row of the same tenant.
fn reference(
    from: &'static str,
    column: &'static str,
    to: &'static str,
    on_delete: ForeignKeyAction,
) -> ForeignKeyCreateStatement {
    ForeignKey::create()
        .name(format!("{from}_{column}"))
        .from(from, ("tenant_id", column))
        .to(to, ("tenant_id", "id"))
        .on_delete(on_delete)
        .to_owned()
}

fn uuid(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).uuid().not_null().to_owned()
}

fn text(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).text().not_null().to_owned()
}

fn boolean(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).boolean().not_null().to_owned()
}

fn integer(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).big_integer().not_null().to_owned()
}

fn json(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).json_binary().not_null().to_owned()
}

fn unique(name: &'static str, table: &'static str, columns: &[&'static str]) -> IndexCreateStatement {
    let mut statement = index(name, table, columns);
    statement.unique();
    statement
}

fn index(name: &'static str, table: &'static str, columns: &[&'static str]) -> IndexCreateStatement {
    let mut statement = Index::create().name(name).table(table).to_owned();
    for column in columns {
        statement.col(*column);
    }
    statement
}
