//! Keeping time with the database.
//!
//! On PostgreSQL the time comes from the database ([`clock::follow_database`]), read at the start and again
//! every few seconds. So rows that several servers write are in order, and a key lasts equally long on all of them, whatever
//! their own clocks say. A server whose own clock is far off takes no changes nevertheless and says that it is not ready:
//! such a machine is in no state to be trusted, and certificates and tokens are checked by that clock.
//!
//! On SQLite there is no other clock to compare with. The time never falls behind the newest audit entry, so that what is
//! written after a correction of the clock is listed after what was written before.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use sea_orm::{ConnectionTrait as _, DatabaseBackend, Statement};
use uuid::Uuid;

use super::{Reader, StoreError};
use crate::types::clock::{self, Timestamp};

/// A reading that took longer says too little about the time at which it was made.
const READ_WITHIN: Duration = Duration::from_millis(500);
/// From this difference on there is a warning.
const WARN_MICROS: i64 = 5_000_000;
/// From this difference on the server takes no changes.
const REFUSE_MICROS: i64 = 60_000_000;

/// What is known of the system's clock.
#[derive(Clone, Default)]
pub struct Time {
    /// How far the system's clock is ahead of the database's, in microseconds.
    ahead: Arc<AtomicI64>,
}

impl Time {
    /// Reads the time of the database for the first time.
    pub async fn open(db: &Reader) -> Result<Self, StoreError> {
        let time = Self::default();
        if db.get_database_backend() == DatabaseBackend::Postgres {
            time.follow(db).await?;
        } else {
            begin_after_the_newest(db).await?;
        }
        Ok(time)
    }

    /// Whether the server may change anything: its clock must not be far off.
    pub fn check(&self) -> Result<(), StoreError> {
        let ahead = self.ahead.load(Ordering::Relaxed);
        if ahead.abs() < REFUSE_MICROS {
            return Ok(());
        }
        Err(StoreError::ClockOff(difference(ahead)))
    }

    /// Reads the time again.
    pub async fn read(&self, db: &Reader) -> Result<(), StoreError> {
        if db.get_database_backend() == DatabaseBackend::Postgres {
            return self.follow(db).await;
        }
        // The system's clock may have been set back.
        clock::not_before(clock::latest());
        Ok(())
    }

    async fn follow(&self, db: &Reader) -> Result<(), StoreError> {
        const NOW: &str = "SELECT (EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::bigint";
        let asked = Instant::now();
        let row = db
            .query_one_raw(Statement::from_string(DatabaseBackend::Postgres, NOW))
            .await?;
        let took = asked.elapsed();
        let row = row.ok_or_else(|| StoreError::Fault("the database did not tell the time".into()))?;
        let time = Timestamp(row.try_get_by_index(0)?);
        let first = !clock::is_of_database();
        if took > READ_WITHIN && !first {
            return Ok(());
        }
        // Half of the way there, half of the way back.
        let read = asked + took / 2;
        let system = clock::system();
        clock::follow_database(read, time);
        self.note(system.0.saturating_sub(clock::now().0));
        Ok(())
    }

    /// Takes down the difference, and tells the operator when it begins or ends to matter.
    fn note(&self, ahead: i64) {
        let level = |ahead: i64| (ahead.abs() >= WARN_MICROS, ahead.abs() >= REFUSE_MICROS);
        let before = self.ahead.swap(ahead, Ordering::Relaxed);
        if level(before) == level(ahead) {
            return;
        }
        let difference = difference(ahead);
        match level(ahead) {
            (_, true) => tracing::error!(
                "the clock of this server is {difference} that of the database; it accepts no changes and is not ready \
                 until its clock is corrected"
            ),
            (true, _) => tracing::warn!(
                "the clock of this server is {difference} that of the database; synchronize it (for example with NTP)"
            ),
            _ => tracing::info!("the clock of this server agrees with that of the database again"),
        }
    }
}

/// `90 s ahead of`
fn difference(ahead: i64) -> String {
    let direction = if ahead < 0 { "behind" } else { "ahead of" };
    format!("{} s {direction}", ahead.abs() / 1_000_000)
}

/// Goes on from the newest audit entry of the database, where that is later than the system's clock says.
async fn begin_after_the_newest(db: &Reader) -> Result<(), StoreError> {
    // One search of the primary key for each tenant.
    const NEWEST: &str = "\
        SELECT MAX((SELECT MAX(id) FROM audit_log_entries WHERE tenant_id = tenants.id)) FROM tenants";
    let row = db
        .query_one_raw(Statement::from_string(DatabaseBackend::Sqlite, NEWEST))
        .await?;
    let newest = row.map(|row| row.try_get_by_index::<Option<Uuid>>(0)).transpose()?;
    let Some(newest) = newest.flatten().and_then(clock::made_at) else {
        return Ok(());
    };
    let ahead = newest.0.saturating_sub(clock::system().0);
    if ahead >= WARN_MICROS {
        tracing::warn!(
            "the newest entry in the database is {} s later than the clock of this server; times continue from there. \
             Check the clock",
            ahead / 1_000_000
        );
    }
    clock::not_before(newest);
    Ok(())
}
