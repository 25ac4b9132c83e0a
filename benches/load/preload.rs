//! Writes users and identities to a store with SQL, without the server: a million of them in a few seconds.

use std::{fmt::Write as _, fs::File, path::Path};

use rusqlite::{Connection, params};
use sea_orm::sqlx::{Connection as _, Executor as _, PgConnection};

use super::{
    Outcome,
    data::{self, Data, EMAIL, MADE_AT, USERNAME},
};

/// Bytes of rows sent to PostgreSQL at a time.
const CHUNK: usize = 1 << 20;

/// Fills a SQLite file that is not in use.
pub fn sqlite(file: &Path, data: &Data) -> Outcome<()> {
    let mut db = Connection::open(file)?;
    // Durability does not matter, because the benchmark can start again; the rows are known to satisfy all constraints.
    db.execute_batch(
        "PRAGMA synchronous = OFF; PRAGMA foreign_keys = OFF; PRAGMA cache_size = -524288; PRAGMA temp_store = memory;",
    )?;
    let tx = db.transaction()?;
    {
        let mut insert = tx.prepare(
            "INSERT INTO users (tenant_id, id, email, email_key, name, roles, active, email_verified, created_at, updated_at) \
             VALUES (?1, ?2, ?3, ?3, 'Somebody', '[]', TRUE, FALSE, ?4, ?4)",
        )?;
        for (tenant, user) in users(data) {
            let id = data::user(tenant, user);
            insert.execute(params![
                data.tenants[tenant].id.as_bytes(),
                id.as_bytes(),
                email(user),
                MADE_AT
            ])?;
        }
        let mut insert = tx.prepare(
            "INSERT INTO identities (tenant_id, id, user_id, identity_provider_id, external_id, external_username, \
             external_email, linked_by, linked_at, created_at, updated_at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'manual', ?8, ?8, ?8)",
        )?;
        for row in data.rows() {
            let tenant = &data.tenants[row.tenant];
            insert.execute(params![
                tenant.id.as_bytes(),
                row.id.as_bytes(),
                row.user.as_bytes(),
                tenant.provider.as_bytes(),
                row.external_id.to_string(),
                USERNAME,
                EMAIL,
                MADE_AT
            ])?;
        }
    }
    tx.commit()?;
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    db.close().map_err(|(_, error)| error)?;
    File::open(file)?.sync_all()?;
    Ok(())
}

/// Fills a PostgreSQL database.
pub async fn postgres(url: &str, data: &Data) -> Outcome<()> {
    let mut db = PgConnection::connect(url).await?;
    // Without the triggers of foreign keys: the rows are known to satisfy them.
    db.execute("SET session_replication_role = replica").await?;
    let of_user = users(data).map(|(tenant, user)| {
        let (tenant, id, email) = (data.tenants[tenant].id, data::user(tenant, user), email(user));
        format!("{tenant}\t{id}\t{email}\t{email}\tSomebody\t[]\tt\tf\t{MADE_AT}\t{MADE_AT}\n")
    });
    let columns = "tenant_id, id, email, email_key, name, roles, active, email_verified, created_at, updated_at";
    copy(&mut db, &format!("COPY users ({columns}) FROM STDIN"), of_user).await?;
    let of_identity = data.rows().map(|row| {
        let tenant = &data.tenants[row.tenant];
        format!(
            "{}\t{}\t{}\t{}\t{}\t{USERNAME}\t{EMAIL}\tmanual\t{MADE_AT}\t{MADE_AT}\t{MADE_AT}\n",
            tenant.id, row.id, row.user, tenant.provider, row.external_id
        )
    });
    let columns = "tenant_id, id, user_id, identity_provider_id, external_id, external_username, external_email, \
                   linked_by, linked_at, created_at, updated_at";
    copy(&mut db, &format!("COPY identities ({columns}) FROM STDIN"), of_identity).await?;
    // Maintenance that the server would otherwise run after so many rows, during the measurement.
    db.execute("VACUUM ANALYZE").await?;
    db.close().await?;
    Ok(())
}

async fn copy(db: &mut PgConnection, statement: &str, lines: impl Iterator<Item = String>) -> Outcome<()> {
    let mut copy = db.copy_in_raw(statement).await?;
    let mut chunk = String::with_capacity(CHUNK + 1024);
    for line in lines {
        chunk.write_str(&line)?;
        if chunk.len() >= CHUNK {
            copy.send(chunk.as_bytes()).await?;
            chunk.clear();
        }
    }
    copy.send(chunk.as_bytes()).await?;
    copy.finish().await?;
    Ok(())
}

/// Every user: a tenant, and a number in it.
fn users(data: &Data) -> impl Iterator<Item = (usize, u64)> {
    let numbers = 0..data.linked_user_numbers().end;
    (0..data.tenants.len()).flat_map(move |tenant| numbers.clone().map(move |number| (tenant, number)))
}

fn email(user: u64) -> String {
    format!("user-{user}@example.com")
}
