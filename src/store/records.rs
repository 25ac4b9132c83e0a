//! The audit entries and events of a batch, written with one statement a table whatever their number: both databases
//! get the rows as one value and take it apart themselves, so that the statement's text never varies and stays
//! prepared.

use aka_entity::audit_log_entry::ActorType;
use sea_orm::{ActiveEnum as _, ConnectionTrait, DatabaseBackend, Statement};

use super::{
    Record, StoreError, Tx,
    rows::{json, optional_texts, texts, uuids},
};
use crate::types::clock;

const POSTGRES: &str = "\
WITH audit AS (
    INSERT INTO audit_log_entries
        (tenant_id, id, actor_id, actor_type, action, resource_type, resource_id, metadata, reasoning, decision, created_at)
    SELECT tenant_id, id, actor_id, actor_type, action, resource_type, resource_id, metadata::jsonb, reasoning,
        NULLIF(decision, '')::jsonb, $13
    FROM UNNEST($1::uuid[], $2::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::uuid[], $9::text[], $10::text[],
        $14::text[])
        AS record (tenant_id, id, actor_id, actor_type, action, resource_type, resource_id, metadata, reasoning, decision)
)
INSERT INTO outbox_events (tenant_id, id, event_type, resource_type, resource_id, payload, created_at)
SELECT tenant_id, id, event_type, resource_type, resource_id, payload::jsonb, $13
FROM UNNEST($1::uuid[], $3::uuid[], $11::text[], $7::text[], $8::uuid[], $12::text[])
    AS record (tenant_id, id, event_type, resource_type, resource_id, payload)";

const SQLITE_AUDIT: &str = "\
INSERT INTO audit_log_entries
    (tenant_id, id, actor_id, actor_type, action, resource_type, resource_id, metadata, reasoning, decision, created_at)
SELECT unhex(value ->> 0), unhex(value ->> 1), value ->> 2, value ->> 3, value ->> 4, value ->> 5,
    unhex(value ->> 6), value ->> 7, value ->> 8, value ->> 9, $2
FROM json_each($1)";

const SQLITE_EVENTS: &str = "\
INSERT INTO outbox_events (tenant_id, id, event_type, resource_type, resource_id, payload, created_at)
SELECT unhex(value ->> 0), unhex(value ->> 1), value ->> 2, value ->> 3, unhex(value ->> 4), value ->> 5, $2
FROM json_each($1)";

/// Writes the audit entries and events of a batch, with new ids in the batch's order.
pub async fn insert(tx: &Tx<'_>, records: &[&Record]) -> Result<(), StoreError> {
    if records.is_empty() {
        return Ok(());
    }
    match tx.db.get_database_backend() {
        DatabaseBackend::Postgres => insert_postgres(tx, records).await,
        _ => insert_sqlite(tx, records).await,
    }
}

async fn insert_postgres(tx: &Tx<'_>, records: &[&Record]) -> Result<(), StoreError> {
    let values = [
        uuids(records.iter().map(|r| r.tenant.0)),
        uuids(records.iter().map(|_| clock::new_id())),
        uuids(records.iter().map(|_| clock::new_id())),
        texts(records.iter().map(|r| r.actor_id.clone())),
        texts(records.iter().map(|r| actor_type(r.actor_type))),
        texts(records.iter().map(|r| r.action.to_owned())),
        texts(records.iter().map(|r| r.resource_type.to_owned())),
        uuids(records.iter().map(|r| r.resource_id)),
        texts(records.iter().map(|r| r.metadata.clone())),
        texts(records.iter().map(|r| r.reasoning.clone())),
        texts(records.iter().map(|r| r.event_type.to_owned())),
        texts(records.iter().map(|r| r.payload.clone())),
        tx.now.0.into(),
        optional_texts(records.iter().map(|r| r.decision.clone())),
    ];
    tx.db
        .execute_raw(Statement::from_sql_and_values(
            DatabaseBackend::Postgres,
            POSTGRES,
            values,
        ))
        .await?;
    Ok(())
}

async fn insert_sqlite(tx: &Tx<'_>, records: &[&Record]) -> Result<(), StoreError> {
    let audit: Vec<_> = records
        .iter()
        .map(|r| {
            (
                r.tenant.0.simple(),
                clock::new_id().simple(),
                &r.actor_id,
                actor_type(r.actor_type),
                r.action,
                r.resource_type,
                r.resource_id.simple(),
                &r.metadata,
                &r.reasoning,
                &r.decision,
            )
        })
        .collect();
    let events: Vec<_> = records
        .iter()
        .map(|r| {
            (
                r.tenant.0.simple(),
                clock::new_id().simple(),
                r.event_type,
                r.resource_type,
                r.resource_id.simple(),
                &r.payload,
            )
        })
        .collect();
    for (sql, rows) in [(SQLITE_AUDIT, json(&audit)?), (SQLITE_EVENTS, json(&events)?)] {
        let statement = Statement::from_sql_and_values(DatabaseBackend::Sqlite, sql, [rows.into(), tx.now.0.into()]);
        tx.db.execute_raw(statement).await?;
    }
    Ok(())
}

fn actor_type(actor_type: ActorType) -> String {
    actor_type.to_value()
}
