//! The kept answers of a batch as they are stored: the statements that many requests share. `$1` and those that follow are
//! arrays on PostgreSQL; on SQLite `$1` is a JSON text, and bytes, which JSON does not have, follow one after the other.

use std::collections::HashSet;

use sea_orm::{ConnectionTrait as _, DatabaseBackend, Statement, Value};
use uuid::Uuid;

use super::{KEPT_SECONDS, KeyId, Request};
use crate::{
    store::{StoreError, Tx, rows},
    types::ids::UserId,
};

/// The keys of many requests as values of a statement: on PostgreSQL `$1` to `$3` are arrays, on SQLite `$1` is a JSON text
/// and `$2` has the hashes one after the other, because JSON has no bytes.
fn keys<'a>(
    backend: DatabaseBackend,
    requests: impl Iterator<Item = &'a Request> + Clone,
) -> Result<Vec<Value>, StoreError> {
    if backend == DatabaseBackend::Postgres {
        return Ok(vec![
            rows::uuids(requests.clone().map(|request| request.tenant.0)),
            rows::texts(requests.clone().map(|request| request.actor_id.clone())),
            rows::bytes(requests.map(|request| request.key_hash.to_vec())),
        ]);
    }
    let rows: Vec<_> = requests
        .clone()
        .map(|request| (request.tenant.0.simple(), &request.actor_id))
        .collect();
    Ok(vec![rows::json(&rows)?.into(), hashes(requests).into()])
}

fn hashes<'a>(requests: impl Iterator<Item = &'a Request>) -> Vec<u8> {
    requests.flat_map(|request| request.key_hash).collect()
}

/// Takes the keys that nobody has with one statement; tells for each request whether it has its key now. Of requests with
/// equal keys only the first can have it. Waits for whoever is about to take one of them.
pub async fn take_together(requests: &[&Request], tx: &Tx<'_>) -> Result<Vec<bool>, StoreError> {
    const TAKE_POSTGRES: &str = "\
        INSERT INTO idempotency_keys (tenant_id, actor_id, key_hash, answer, created_at)
        SELECT tenant_id, actor_id, key_hash, ''::bytea, $4
        FROM UNNEST($1::uuid[], $2::text[], $3::bytea[]) AS request (tenant_id, actor_id, key_hash)
        ON CONFLICT (tenant_id, actor_id, key_hash) DO UPDATE SET created_at = excluded.created_at
        WHERE idempotency_keys.created_at <= $5
        RETURNING tenant_id, actor_id, key_hash";
    const TAKE_SQLITE: &str = "\
        INSERT INTO idempotency_keys (tenant_id, actor_id, key_hash, answer, created_at)
        SELECT unhex(value ->> 0), value ->> 1, substr($2, key * 32 + 1, 32), x'', $3
        FROM json_each($1) WHERE true
        ON CONFLICT (tenant_id, actor_id, key_hash) DO UPDATE SET created_at = excluded.created_at
        WHERE idempotency_keys.created_at <= $4
        RETURNING tenant_id, actor_id, key_hash";
    // A statement cannot write a row twice.
    let mut seen = HashSet::with_capacity(requests.len());
    let distinct: Vec<&Request> = requests.iter().copied().filter(|one| seen.insert(one.id())).collect();
    let backend = tx.db.get_database_backend();
    let mut values = keys(backend, distinct.iter().copied())?;
    values.extend([tx.now.0.into(), tx.now.plus_seconds(-KEPT_SECONDS).0.into()]);
    let take = if backend == DatabaseBackend::Postgres {
        TAKE_POSTGRES
    } else {
        TAKE_SQLITE
    };
    let mut taken: HashSet<KeyId> = HashSet::with_capacity(distinct.len());
    for row in tx
        .db
        .query_all_raw(Statement::from_sql_and_values(backend, take, values))
        .await?
    {
        taken.insert((
            row.try_get_by_index(0)?,
            row.try_get_by_index(1)?,
            row.try_get_by_index(2)?,
        ));
    }
    Ok(requests.iter().map(|request| taken.remove(&request.id())).collect())
}

/// Gives keys back that were taken in this transaction.
pub async fn release_together(requests: &[&Request], tx: &Tx<'_>) -> Result<(), StoreError> {
    /// The limit makes one search of the index of each key, whatever the planner believes of the table.
    const RELEASE_POSTGRES: &str = "\
        DELETE FROM idempotency_keys WHERE ctid = ANY (ARRAY(
            SELECT held.ctid
            FROM UNNEST($1::uuid[], $2::text[], $3::bytea[]) AS request (tenant_id, actor_id, key_hash)
            CROSS JOIN LATERAL (
                SELECT kept.ctid FROM idempotency_keys AS kept
                WHERE kept.tenant_id = request.tenant_id AND kept.actor_id = request.actor_id
                    AND kept.key_hash = request.key_hash
                LIMIT 1
            ) AS held
        ))";
    const RELEASE_SQLITE: &str = "\
        DELETE FROM idempotency_keys WHERE (tenant_id, actor_id, key_hash) IN (
            SELECT unhex(value ->> 0), value ->> 1, substr($2, key * 32 + 1, 32) FROM json_each($1)
        )";
    if requests.is_empty() {
        return Ok(());
    }
    let backend = tx.db.get_database_backend();
    let release = if backend == DatabaseBackend::Postgres {
        RELEASE_POSTGRES
    } else {
        RELEASE_SQLITE
    };
    let values = keys(backend, requests.iter().copied())?;
    tx.db
        .execute_raw(Statement::from_sql_and_values(backend, release, values))
        .await?;
    Ok(())
}

/// An answer that is about to be kept.
pub struct SealedAnswer<'a> {
    pub request: &'a Request,
    pub sealed: Vec<u8>,
    pub about: Option<UserId>,
}

/// [`Request::hold`] for the users of many answers.
async fn hold_together(answers: &[SealedAnswer<'_>], tx: &Tx<'_>) -> Result<(), StoreError> {
    const HOLD: &str = "\
        SELECT held.id FROM UNNEST($1::uuid[], $2::uuid[]) AS about (tenant_id, id)
        CROSS JOIN LATERAL (
            SELECT users.id FROM users WHERE users.tenant_id = about.tenant_id AND users.id = about.id
            LIMIT 1 FOR KEY SHARE
        ) AS held";
    if tx.db.get_database_backend() != DatabaseBackend::Postgres {
        return Ok(());
    }
    let mut users: Vec<(Uuid, Uuid)> = answers
        .iter()
        .filter_map(|answer| Some((answer.request.tenant.0, answer.about?.0)))
        .collect();
    users.sort_unstable();
    users.dedup();
    let values = [
        rows::uuids(users.iter().map(|(tenant, _)| *tenant)),
        rows::uuids(users.iter().map(|(_, user)| *user)),
    ];
    let hold = Statement::from_sql_and_values(DatabaseBackend::Postgres, HOLD, values);
    if tx.db.query_all_raw(hold).await?.len() < users.len() {
        // One by one it shows whose.
        return Err(StoreError::Locked("a user was being erased at the same time".into()));
    }
    Ok(())
}

/// Keeps the answers to requests that have taken their keys in this transaction.
pub async fn keep_together(answers: &[SealedAnswer<'_>], tx: &Tx<'_>) -> Result<(), StoreError> {
    /// The rows are there. Inserted again they are found by their key, whatever the planner believes of the table.
    const KEEP_POSTGRES: &str = "\
        INSERT INTO idempotency_keys (tenant_id, actor_id, key_hash, answer, user_id, created_at)
        SELECT tenant_id, actor_id, key_hash, answer, NULLIF(user_id, '00000000-0000-0000-0000-000000000000'), $6
        FROM UNNEST($1::uuid[], $2::text[], $3::bytea[], $4::bytea[], $5::uuid[])
            AS request (tenant_id, actor_id, key_hash, answer, user_id)
        ON CONFLICT (tenant_id, actor_id, key_hash) DO UPDATE SET answer = excluded.answer, user_id = excluded.user_id";
    /// `$3` has the answers one after the other, like the hashes.
    const KEEP_SQLITE: &str = "\
        INSERT INTO idempotency_keys (tenant_id, actor_id, key_hash, answer, user_id, created_at)
        SELECT unhex(value ->> 0), value ->> 1, substr($2, key * 32 + 1, 32), substr($3, value ->> 2, value ->> 3),
            unhex(value ->> 4), $4
        FROM json_each($1) WHERE true
        ON CONFLICT (tenant_id, actor_id, key_hash) DO UPDATE SET answer = excluded.answer, user_id = excluded.user_id";
    if answers.is_empty() {
        return Ok(());
    }
    hold_together(answers, tx).await?;
    let backend = tx.db.get_database_backend();
    let requests = answers.iter().map(|answer| answer.request);
    let keep = if backend == DatabaseBackend::Postgres {
        let about = |answer: &SealedAnswer<'_>| answer.about.map_or(Uuid::nil(), |user| user.0);
        let mut values = keys(backend, requests)?;
        values.extend([
            rows::bytes(answers.iter().map(|answer| answer.sealed.clone())),
            rows::uuids(answers.iter().map(about)),
            tx.now.0.into(),
        ]);
        Statement::from_sql_and_values(backend, KEEP_POSTGRES, values)
    } else {
        let mut sealed: Vec<u8> = Vec::new();
        let mut kept = Vec::with_capacity(answers.len());
        for answer in answers {
            let Request { tenant, actor_id, .. } = answer.request;
            let about = answer.about.map(|user| user.0.simple());
            // SQL counts from 1.
            kept.push((
                tenant.0.simple(),
                actor_id,
                sealed.len() + 1,
                answer.sealed.len(),
                about,
            ));
            sealed.extend(&answer.sealed);
        }
        let values = [
            rows::json(&kept)?.into(),
            hashes(requests).into(),
            sealed.into(),
            tx.now.0.into(),
        ];
        Statement::from_sql_and_values(backend, KEEP_SQLITE, values)
    };
    tx.db.execute_raw(keep).await?;
    Ok(())
}
