//! What was deleted must not stay in the files of SQLite either.
//!
//! SQLite overwrites what it deletes (`secure_delete`), but does so in its log first, and older pages stay in the log until
//! it begins again. So after an erasure the log is written into the database file and emptied. That waits for readers that
//! still need it, and holds up writers for the time of its last pages; most of it is done before, without holding anybody.
//!
//! PostgreSQL reuses the space of deleted rows after its own `VACUUM`, and its log after its own checkpoints.

use std::{sync::Arc, time::Duration};

use sea_orm::{ConnectionTrait as _, DatabaseBackend, Statement};
use tokio::sync::Notify;

use super::{DatabaseUrl, StoreError, connect};

/// Erasures within this time share the work.
const GATHER: Duration = Duration::from_millis(100);
/// How long to wait before trying again, where readers are in the way.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(500);
/// How often it is tried for one erasure. Readers are done within milliseconds.
const TRIES: u32 = 60;

/// Removes the traces of what was deleted, beside the requests.
#[derive(Clone, Default)]
pub struct Traces {
    asked: Arc<Notify>,
}

impl Traces {
    /// Asks for them to be removed soon.
    pub fn ask(&self) {
        self.asked.notify_one();
    }

    /// Removes them now, since nobody knows what the process before this one has left, and whenever it is asked for.
    pub async fn remove_when_asked(&self, url: &DatabaseUrl) {
        if !url.is_sqlite() {
            return std::future::pending().await;
        }
        loop {
            remove(url).await;
            self.asked.notified().await;
            tokio::time::sleep(GATHER).await;
        }
    }
}

async fn remove(url: &DatabaseUrl) {
    for attempt in 1..=TRIES {
        match empty_log(url).await {
            Ok(true) => return,
            outcome if attempt == TRIES => {
                let error = outcome.err().map(|error| error.to_string());
                tracing::warn!(
                    error,
                    "erased data may still be in the log of SQLite; the next erasure tries again"
                );
            }
            _ => tokio::time::sleep(TRY_AGAIN_AFTER).await,
        }
    }
}

/// Writes the log into the database file and empties it. False: a reader still needs it.
async fn empty_log(url: &DatabaseUrl) -> Result<bool, StoreError> {
    /// How long writers may be held up by readers that are waited for.
    const PATIENCE: &str = "PRAGMA busy_timeout = 100";
    let db = connect::one(url).await?;
    let emptied = async {
        db.execute_unprepared(PATIENCE).await?;
        // This does not hold up anybody; what is left for the second is little.
        db.execute_unprepared("PRAGMA wal_checkpoint(PASSIVE)").await?;
        let empty = Statement::from_string(DatabaseBackend::Sqlite, "PRAGMA wal_checkpoint(TRUNCATE)");
        let row = db.query_one_raw(empty).await?;
        let busy = row.map(|row| row.try_get_by_index::<i64>(0)).transpose()?;
        Ok::<_, StoreError>(busy == Some(0))
    };
    let emptied = emptied.await;
    db.close().await?;
    emptied
}
