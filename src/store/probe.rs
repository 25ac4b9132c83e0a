//! Whether the store can write: a commit that changes nothing, so that it can be made at any time.

use async_trait::async_trait;
use sea_orm::{ConnectionTrait as _, DatabaseBackend};

use super::{Applied, Change, StoreError, Tx};
use crate::types::ids::TenantId;

/// A change that writes to the database's log what nobody reads, and so goes the whole way of a change: through the queue,
/// to the disk and back.
pub struct Probe;

#[async_trait]
impl Change for Probe {
    type Done = ();
    type Refusal = StoreError;

    fn tenant(&self) -> Option<TenantId> {
        None
    }

    async fn apply(&self, tx: &Tx<'_>) -> Result<Applied<()>, StoreError> {
        let write = match tx.db.get_database_backend() {
            DatabaseBackend::Postgres => "SELECT pg_logical_emit_message(true, 'aka', '')",
            // A number in the head of the file that is the program's own to set, and that this program does not use.
            _ => "PRAGMA user_version = 0",
        };
        tx.db.execute_unprepared(write).await?;
        Ok(Applied::unchanged(()))
    }
}
