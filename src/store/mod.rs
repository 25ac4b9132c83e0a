//! The store: opening a database, reading from it, and the one way of writing to it.
//!
//! The rest of the program sees one [`Store`], whether SQLite or PostgreSQL is behind it. It reads through
//! [`Store::reader_of`], or with what other requests read at the same time ([`Store::ask`], [`questions`]). It changes
//! things only by handing over a [`Change`] ([`change`] says what that is, [`writer`] how many of them share a commit).

pub mod backup;
mod batch;
pub mod change;
mod connect;
mod error;
mod group;
mod migrations;
mod pool;
mod probe;
mod questions;
mod records;
pub mod revision;
pub mod root_key;
mod root_key_check;
pub mod rows;
pub mod sealing;
mod shares;
mod time;
mod traces;
pub mod turns;
mod writer;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

pub use change::{Applied, Change, Record, Tx};
pub use connect::DatabaseUrl;
use connect::Purpose;
pub use error::StoreError;
pub use migrations::{Undone, migrate, migrate_down, migrations, pending_migrations};
use pool::Pool;
pub use pool::Reader;
use probe::Probe;
pub use questions::Question;
use questions::Questions;
use revision::Expectation;
use sea_orm::ConnectionTrait;
use shares::Shares;
use time::Time;
use tokio::sync::Mutex;

use crate::{
    store::root_key::{RootKey, RootKeySource},
    types::ids::TenantId,
};
use traces::Traces;
use writer::Writer;

/// What the store tells after a commit and before anybody is answered: that what nodes keep in memory for a tenant
/// has a new version.
pub type OnNewVersion = Arc<dyn Fn(TenantId, i64) + Send + Sync>;

/// For how long a probe of the writer counts. Whoever asks more often gets the same answer: the question needs no
/// credential, and must not cost a commit each time.
const PROBE_COUNTS_FOR: Duration = Duration::from_secs(1);
/// How long a probe may take.
const PROBE_WITHIN: Duration = Duration::from_secs(2);

/// A database with its queue of changes.
#[derive(Clone)]
pub struct Store {
    reader: Reader,
    shares: Arc<Shares>,
    questions: Arc<Questions>,
    writer: Writer,
    time: Time,
    root_key: RootKey,
    traces: Traces,
    url: DatabaseUrl,
    probed: Arc<Mutex<Option<Probed>>>,
}

/// What came of a probe of the writer, and when.
struct Probed {
    at: Instant,
    outcome: Result<(), StoreError>,
}

impl Store {
    /// Opens a database with its root key; a database that has none yet gets one. Its tables must be there: see
    /// [`migrate`].
    ///
    /// # Errors
    ///
    /// Where the database cannot be reached, or the root key is missing or another one.
    pub async fn open(
        url: &DatabaseUrl,
        root_key: &RootKeySource,
        on_new_version: OnNewVersion,
    ) -> Result<Self, StoreError> {
        let writing = Pool::open(url, Purpose::Writing).await?;
        let root_key = root_key_check::establish(&writing.connections(), root_key).await?;
        let reading = Pool::open(url, Purpose::Reading).await?;
        // Half of the connections: whatever one tenant reads, there is one for others.
        let reader = Reader::new(Arc::new(reading));
        let share = Purpose::Reading.connections(url.is_sqlite()).div_ceil(2);
        Ok(Self {
            time: Time::open(&reader).await?,
            reader,
            shares: Arc::new(Shares::new(usize::try_from(share).unwrap_or(1))),
            questions: Arc::default(),
            writer: Writer::start(Arc::new(writing), root_key.clone(), on_new_version),
            root_key,
            traces: Traces::default(),
            url: url.clone(),
            probed: Arc::default(),
        })
    }

    /// The key from which those are derived that protect what is in this store.
    #[must_use]
    pub const fn root_key(&self) -> &RootKey {
        &self.root_key
    }

    /// For the server's own queries, and for those that many tenants share. Reads do not wait for writes on either
    /// database.
    #[must_use]
    pub const fn reader(&self) -> &Reader {
        &self.reader
    }

    /// For the queries of one tenant, which can use a part of the connections only.
    #[must_use]
    pub fn reader_of(&self, tenant: TenantId) -> Reader {
        self.reader.of(&self.shares, tenant)
    }

    /// Asks a question, together with others of its kind that are asked at the same time.
    ///
    /// # Errors
    ///
    /// Where the database cannot be asked, or too many questions wait.
    pub async fn ask<Q: Question>(&self, question: Q) -> Result<Q::Answer, StoreError> {
        self.questions.ask(question, &self.reader).await
    }

    /// Carries out a change. When this returns a success, the change is durable, together with its audit entry and
    /// its event.
    ///
    /// # Errors
    ///
    /// The change's own refusals, and those of the store: [`StoreError`].
    pub async fn write<C: Change>(&self, change: C) -> Result<C::Done, C::Refusal> {
        self.write_if(change, None).await
    }

    /// Carries out a change only if its resource is as expected.
    ///
    /// # Errors
    ///
    /// Those of [`Self::write`]; where it is not as expected, the change's own refusal for that.
    pub async fn write_if<C: Change>(&self, change: C, expected: Option<Expectation>) -> Result<C::Done, C::Refusal> {
        self.time.check()?;
        self.writer.write(change, expected).await
    }

    /// Asks for what was deleted to be removed from the files of the database, too, soon: [`traces`] says how.
    pub fn remove_traces(&self) {
        self.traces.ask();
    }

    /// Removes what was deleted from the files of the database, now and whenever it is asked for, for ever.
    pub async fn remove_traces_when_asked(&self) {
        self.traces.remove_when_asked(&self.url).await;
    }

    /// Removes everything that is no row any more from the files of a table; on SQLite from the whole file. That copies it,
    /// and is for once in the life of a store.
    ///
    /// # Errors
    ///
    /// Where the database does not do it.
    pub async fn rewrite(&self, table: &'static str) -> Result<(), StoreError> {
        let sqlite = self.url.is_sqlite();
        let vacuum = if sqlite {
            "VACUUM".to_owned()
        } else {
            format!("VACUUM FULL {table}")
        };
        // On a connection of its own: it takes longer than a query may.
        let db = connect::one(&self.url).await?;
        let outcome = db.execute_unprepared(&vacuum).await;
        db.close().await?;
        outcome?;
        if sqlite {
            self.remove_traces();
        }
        Ok(())
    }

    /// Reads the time of the database once more: [`time`] says why.
    ///
    /// # Errors
    ///
    /// Where it cannot be read.
    pub async fn read_time(&self) -> Result<(), StoreError> {
        self.time.read(&self.reader).await
    }

    /// Whether changes can be made: the clock is right, and the database commits.
    ///
    /// # Errors
    ///
    /// Why they cannot.
    pub async fn can_write(&self) -> Result<(), StoreError> {
        self.time.check()?;
        let mut probed = self.probed.lock().await;
        if let Some(Probed { at, outcome }) = &*probed
            && at.elapsed() < PROBE_COUNTS_FOR
        {
            return outcome.clone();
        }
        let outcome = tokio::time::timeout(PROBE_WITHIN, self.writer.write(Probe, None)).await;
        let outcome = outcome.unwrap_or_else(|_| {
            Err(StoreError::Unavailable(format!(
                "the database did not commit within {PROBE_WITHIN:?}"
            )))
        });
        *probed = Some(Probed {
            at: Instant::now(),
            outcome: outcome.clone(),
        });
        outcome
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
        self.reader.close().await;
    }
}
