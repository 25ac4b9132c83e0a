//! The store: opening a database, reading from it, and the one way of writing to it.
//!
//! The rest of the program sees one [`Store`], whether SQLite or PostgreSQL is behind it. It reads through
//! [`Store::reader`], and it changes things only by handing over a [`Change`] ([`change`] says what that is,
//! [`writer`] how many of them share a commit).

pub mod backup;
pub mod change;
mod coalesced;
mod connect;
mod error;
mod migrations;
mod records;
mod root_key_check;
pub mod rows;
mod traces;
mod writer;

use std::sync::Arc;

pub use change::{Applied, Change, Record, Tx};
pub use coalesced::{Coalesced, Question};
pub use connect::DatabaseUrl;
pub use error::StoreError;
pub use migrations::{Undone, migrate, migrate_down, migrations, pending_migrations};
use sea_orm::{ConnectionTrait, DatabaseConnection};

use crate::{
    domain::ids::TenantId,
    root_key::{RootKey, Source},
};
use traces::Traces;
use writer::Writer;

/// What the store tells after a commit and before anybody is answered: that what nodes keep in memory for a tenant
/// has a new version.
pub type OnNewVersion = Arc<dyn Fn(TenantId, i64) + Send + Sync>;

/// A database with its queue of changes.
#[derive(Clone)]
pub struct Store {
    reader: DatabaseConnection,
    writer: Writer,
    root_key: RootKey,
    traces: Traces,
    url: DatabaseUrl,
}

impl Store {
    /// Opens a database with its root key; a database that has none yet gets one. Its tables must be there: see
    /// [`migrate`].
    ///
    /// # Errors
    ///
    /// Where the database cannot be reached, or the root key is missing or another one.
    pub async fn open(url: &DatabaseUrl, root_key: &Source, on_new_version: OnNewVersion) -> Result<Self, StoreError> {
        let connections = connect::open(url).await?;
        let root_key = root_key_check::establish(&connections.writer, root_key).await?;
        let writer = Writer::start(connections.writer, root_key.clone(), on_new_version);
        Ok(Self {
            reader: connections.reader,
            writer,
            root_key,
            traces: Traces::start(url.clone()),
            url: url.clone(),
        })
    }

    /// The key from which those are derived that protect what is in this store.
    #[must_use]
    pub const fn root_key(&self) -> &RootKey {
        &self.root_key
    }

    /// For queries. Reads do not wait for writes on either database.
    #[must_use]
    pub const fn reader(&self) -> &DatabaseConnection {
        &self.reader
    }

    /// Carries out a change. When this returns a success, the change is durable, together with its audit entry and
    /// its event.
    ///
    /// # Errors
    ///
    /// The change's own refusals, and those of the store: [`StoreError`].
    pub async fn write<C: Change>(&self, change: C) -> Result<C::Done, C::Refusal> {
        self.writer.write(change).await
    }

    /// Asks for what was deleted to be removed from the files of the database, too, soon: [`traces`] says how.
    pub fn remove_traces(&self) {
        self.traces.remove();
    }

    /// Removes everything that is no row any more from the files of a table; on SQLite from the whole file. That copies it,
    /// and is for once in the life of a store.
    ///
    /// # Errors
    ///
    /// Where the database does not do it.
    pub async fn rewrite(&self, table: &'static str) -> Result<(), StoreError> {
        if self.url.is_sqlite() {
            self.reader.execute_unprepared("VACUUM").await?;
            self.remove_traces();
        } else {
            self.reader.execute_unprepared(&format!("VACUUM FULL {table}")).await?;
        }
        Ok(())
    }

    /// Asks the database for a sign of life.
    ///
    /// # Errors
    ///
    /// Where it gives none.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.reader.execute_unprepared("SELECT 1").await?;
        Ok(())
    }

    /// Ends the writer when everything in its queue is committed, then closes the connections.
    pub async fn close(self) {
        self.writer.finish().await;
        self.traces.end();
        if let Err(error) = self.reader.close().await {
            tracing::warn!(%error, "the connections to the database did not close cleanly");
        }
    }
}
