//! The references on the stores: the same rows, written and read without the server.

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use rusqlite::{Connection, TransactionBehavior, params};
use uuid::Uuid;

use super::{
    Outcome,
    data::{
        self, Data, EMAIL, FIRST_NEW_ACCOUNT_OF_PGBENCH, MADE_AT, Random, Tenant, USERNAME, UUID_PREFIX, WITHOUT_SIGN,
        external_id, user_number,
    },
    postgres::{Cluster, database_of},
    requests::new_account,
};

/// Clients of `pgbench`.
const CLIENTS: u16 = 10;
/// Numbers reserved for each run of `pgbench`.
const NUMBERS_PER_RUN: u64 = 1 << 36;
/// Each tenant is a script of `pgbench`, and each connection prepares the statements of each script. With more scripts, the
/// benchmark would measure the preparation.
const SCRIPTS: usize = 10;
/// What permitted a link, in its audit entry.
const REASONING: &str = "permitted by scope-of-action";

/// Links accounts in a plain loop. Returns the number per second.
pub fn sqlite_links(file: &Path, data: &Data, warm_up: Duration, measured: Duration) -> Outcome<f64> {
    let mut db = Connection::open(file)?;
    // With the same settings as the server.
    db.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA cache_size = -4096; \
         PRAGMA temp_store = memory;",
    )?;
    let mut random = Random::new(new_account());
    let began = Instant::now();
    let (from, to) = (began + warm_up, began + warm_up + measured);
    let mut links = 0_u32;
    loop {
        sqlite_link(&mut db, data, &mut random)?;
        let now = Instant::now();
        if now >= to {
            return Ok(f64::from(links) / measured.as_secs_f64());
        }
        if now >= from {
            links += 1;
        }
    }
}

fn sqlite_link(db: &mut Connection, data: &Data, random: &mut Random) -> rusqlite::Result<()> {
    let place = usize::try_from(random.below(data.tenants.len() as u64)).unwrap_or_default();
    let Tenant {
        id: tenant, provider, ..
    } = &data.tenants[place];
    let user = data::user(
        place,
        data.linked_user_numbers().start + random.below(data.linked_users()),
    );
    let (id, external_id) = (Uuid::now_v7(), external_id(new_account()).to_string());
    let metadata = format!(r#"{{"user_id":"{user}","identity_provider_id":"{provider}"}}"#);
    let payload = format!(
        r#"{{"identity_id":"{id}","user_id":"{user}","identity_provider_id":"{provider}","external_id":"{external_id}","linked_by":"manual"}}"#
    );
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    tx.prepare_cached(
        "INSERT INTO identities (tenant_id, id, user_id, identity_provider_id, external_id, external_username, \
         external_email, linked_by, linked_at, created_at, updated_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'manual', ?8, ?8, ?8)",
    )?
    .execute(params![
        tenant.as_bytes(),
        id.as_bytes(),
        user.as_bytes(),
        provider.as_bytes(),
        external_id,
        USERNAME,
        EMAIL,
        MADE_AT
    ])?;
    tx.prepare_cached(
        "INSERT INTO audit_log_entries (tenant_id, id, actor_id, actor_type, action, resource_type, resource_id, metadata, \
         reasoning, created_at) VALUES (?1, ?2, ?3, 'api_key', 'createUserIdentity', 'identity', ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        tenant.as_bytes(),
        Uuid::now_v7().as_bytes(),
        tenant.to_string(),
        id.as_bytes(),
        metadata,
        REASONING,
        MADE_AT
    ])?;
    tx.prepare_cached(
        "INSERT INTO outbox_events (tenant_id, id, event_type, resource_type, resource_id, payload, created_at) \
         VALUES (?1, ?2, 'identity.linked', 'identity', ?3, ?4, ?5)",
    )?
    .execute(params![
        tenant.as_bytes(),
        Uuid::now_v7().as_bytes(),
        id.as_bytes(),
        payload,
        MADE_AT
    ])?;
    tx.commit()
}

/// `pgbench` with its scripts.
pub struct Pgbench<'a> {
    pub cluster: &'a Cluster,
    pub data: &'a Data,
    pub directory: &'a Path,
    pub measured: Duration,
}

impl Pgbench<'_> {
    /// Links accounts in a database, one per transaction. Returns the number per second. Each run needs a different number.
    pub fn links(&self, url: &str, run: u64) -> Outcome<f64> {
        let start = FIRST_NEW_ACCOUNT_OF_PGBENCH + run * NUMBERS_PER_RUN;
        self.run(url, start, |place, tenant| self.link(place, tenant))
    }

    /// Looks up accounts. Returns the number per second.
    pub fn lookups(&self, url: &str) -> Outcome<f64> {
        self.run(url, 0, |place, tenant| self.lookup(place, tenant))
    }

    /// As on the server, new ids are greater than existing ones, so that an index grows at its end. Each client has its own
    /// counter, so that its numbers are in the order of time.
    fn link(&self, place: usize, tenant: &Tenant) -> String {
        let Tenant {
            id: tenant, provider, ..
        } = tenant;
        let users = self.data.linked_user_numbers();
        let id = "('ffffffff-ffff-7fff-8000-' || lpad(to_hex(:number::bigint), 12, '0'))";
        let user = format!("('{UUID_PREFIX}' || lpad(to_hex(:user::bigint), 12, '0'))");
        format!(
            "\\set n :n + 1\n\
             \\set number :start + :n * 16 + :client_id\n\
             \\set external_id hash_fnv1a(:number, 0) & {WITHOUT_SIGN}\n\
             \\set user random({first}, {last})\n\
             BEGIN;\n\
             INSERT INTO identities (tenant_id, id, user_id, identity_provider_id, external_id, external_username, \
             external_email, linked_by, linked_at, created_at, updated_at) VALUES ('{tenant}', {id}::uuid, {user}::uuid, \
             '{provider}', :external_id::text, '{USERNAME}', '{EMAIL}', 'manual', {MADE_AT}, {MADE_AT}, {MADE_AT});\n\
             INSERT INTO audit_log_entries (tenant_id, id, actor_id, actor_type, action, resource_type, resource_id, metadata, \
             reasoning, created_at) VALUES ('{tenant}', {id}::uuid, '{tenant}', 'api_key', 'createUserIdentity', 'identity', \
             {id}::uuid, ('{{\"user_id\": \"' || {user} || '\", \"identity_provider_id\": \"{provider}\"}}')::jsonb, \
             '{REASONING}', {MADE_AT});\n\
             INSERT INTO outbox_events (tenant_id, id, event_type, resource_type, resource_id, payload, created_at) \
             VALUES ('{tenant}', {id}::uuid, 'identity.linked', 'identity', {id}::uuid, ('{{\"identity_id\": \"' || {id} || \
             '\", \"user_id\": \"' || {user} || '\", \"identity_provider_id\": \"{provider}\", \"external_id\": \"' || \
             :external_id::text || '\", \"linked_by\": \"manual\"}}')::jsonb, {MADE_AT});\n\
             COMMIT;\n",
            first = user_number(place, users.start),
            last = user_number(place, users.end - 1),
        )
    }

    fn lookup(&self, place: usize, tenant: &Tenant) -> String {
        let tenants = self.data.tenants.len() as u64;
        format!(
            "\\set row random(0, {last}) * {tenants} + {place}\n\
             \\set external_id hash_fnv1a(:row, 0) & {WITHOUT_SIGN}\n\
             SELECT tenant_id, id, user_id, identity_provider_id, external_id, external_username, external_email, \
             external_display_name, linked_by, linked_at, last_synced_at, created_at, updated_at FROM identities \
             WHERE tenant_id = '{}' AND identity_provider_id = '{}' AND external_id = :external_id::text;\n",
            tenant.id,
            tenant.provider,
            last = self.data.rows / tenants - 1,
        )
    }

    fn run(&self, url: &str, start: u64, script: impl Fn(usize, &Tenant) -> String) -> Outcome<f64> {
        let mut pgbench = self.cluster.pgbench();
        pgbench.args(["--no-vacuum", "--protocol=prepared", "--jobs=1", "-D", "n=0"]);
        pgbench.arg(format!("--client={CLIENTS}"));
        pgbench.arg(format!("--time={}", self.measured.as_secs()));
        pgbench.arg(format!("--define=start={start}"));
        for (place, tenant) in self.data.tenants.iter().take(SCRIPTS).enumerate() {
            let file = self.directory.join(format!("script-{place}.sql"));
            fs::write(&file, script(place, tenant))?;
            pgbench.arg("--file").arg(file);
        }
        pgbench.arg(database_of(url));
        let output = pgbench.output()?;
        let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
        let per_second = said
            .lines()
            .find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
        match per_second {
            Some(per_second) if output.status.success() => Ok(per_second),
            _ => {
                write!(said, "{}", String::from_utf8_lossy(&output.stderr))?;
                Err(format!("pgbench failed: {said}").into())
            }
        }
    }
}
