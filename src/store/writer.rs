//! The writer: one task that commits the changes of many requests together.
//!
//! A durable commit costs the disk about as much for a hundred rows as for one. So changes wait in a queue; the
//! writer takes whatever is there, applies all of it in one transaction, commits, and answers. It never waits for
//! company: a lone change is committed at once, and while a commit is under way the next batch gathers by itself.
//!
//! * **One change does not disturb another.** Each is applied behind a savepoint, unless its kind can be applied to
//!   many at once ([`Change::apply_many`]) and so decides row by row. If such a statement fails as a whole, the batch
//!   is rolled back and done again one by one.
//! * **Success means durable.** Nobody is answered before the commit has returned.
//! * **A fault in one change stays its own.** A panic is answered as a fault; the writer goes on.
//! * **The queue is bounded.** When it is full, a change is refused at once ([`StoreError::Overloaded`]); when the
//!   database is away, everything that waits is refused, so that a caller waits for one attempt and not for many.
//! * **One connection.** On SQLite there can be only one writer anyway; on PostgreSQL a second would buy little (the
//!   rows of one batch already share a statement) and cost the order in which this node's changes happen.

use std::{
    any::TypeId,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use futures_util::FutureExt as _;
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, SqliteTransactionMode, Statement, TransactionOptions,
    TransactionTrait,
};
use tokio::{
    sync::{Mutex, Notify, mpsc, oneshot},
    task::JoinHandle,
};

use super::{Change, OnNewVersion, Record, StoreError, Tx, change::Outcome, records};
use crate::{clock, domain::ids::TenantId, root_key::RootKey};

/// Changes that may wait. At the rates that one node reaches, a full queue is a fraction of a second of work.
const QUEUE: usize = 4096;
/// Changes that share a commit at most: enough to make the commit's own cost vanish, few enough to answer within
/// milliseconds.
const BATCH: usize = 256;

/// The sending end of the queue.
#[derive(Clone)]
pub struct Writer {
    queue: mpsc::Sender<Box<dyn Job>>,
    stop: Arc<Notify>,
    task: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl Writer {
    /// Starts the task that writes.
    pub fn start(db: DatabaseConnection, root_key: RootKey, on_new_version: OnNewVersion) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let stop = Arc::new(Notify::new());
        let task = tokio::spawn(run(db, root_key, waiting, Arc::clone(&stop), on_new_version));
        Self {
            queue,
            stop,
            task: Arc::new(Mutex::new(Some(task))),
        }
    }

    /// Queues a change and waits for its outcome.
    pub async fn write<C: Change>(&self, change: C) -> Result<C::Done, C::Refusal> {
        let (reply, answer) = oneshot::channel();
        let job = Waiting {
            change,
            reply,
            since: Instant::now(),
        };
        self.queue.try_send(Box::new(job)).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => StoreError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => shutting_down(),
        })?;
        let answer = answer.await.map_err(|_| shutting_down())?;
        let span = tracing::Span::current();
        span.record("queue_us", micros(answer.queued));
        span.record("store_us", micros(answer.stored));
        answer.outcome
    }

    /// Commits what waits, refuses what comes later, and ends the task.
    pub async fn finish(&self) {
        self.stop.notify_one();
        if let Some(task) = self.task.lock().await.take()
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the writer ended with a fault");
        }
    }
}

fn shutting_down() -> StoreError {
    StoreError::Unavailable("the server is shutting down".into())
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Takes batches from the queue until it is closed and empty.
async fn run(
    db: DatabaseConnection,
    root_key: RootKey,
    mut waiting: mpsc::Receiver<Box<dyn Job>>,
    stop: Arc<Notify>,
    on_new_version: OnNewVersion,
) {
    let mut jobs = Vec::with_capacity(BATCH);
    loop {
        let taken = tokio::select! {
            taken = waiting.recv_many(&mut jobs, BATCH) => taken,
            () = stop.notified() => {
                waiting.close();
                continue;
            }
        };
        if taken == 0 {
            break;
        }
        let mut groups = group(jobs.drain(..));
        match write(&db, &root_key, &mut groups).await {
            Ok(versions) => {
                for (tenant, version) in versions {
                    on_new_version(tenant, version);
                }
                for group in groups {
                    group.answer();
                }
            }
            Err(error) => {
                tracing::warn!(%error, changes = taken, "a batch of changes could not be committed");
                for group in groups {
                    group.refuse(&error);
                }
                // Where the database is away, those who wait need not try one after the other.
                while matches!(error, StoreError::Unavailable(_))
                    && let Ok(job) = waiting.try_recv()
                {
                    job.group().refuse(&error);
                }
            }
        }
    }
    if let Err(error) = db.close().await {
        tracing::warn!(%error, "the writing connection did not close cleanly");
    }
}

/// Sorts a batch by kind of change; within a kind the order stays.
fn group(jobs: impl Iterator<Item = Box<dyn Job>>) -> Vec<Box<dyn Group>> {
    let mut groups: Vec<Box<dyn Group>> = Vec::new();
    for job in jobs {
        let kind = job.kind();
        match groups.iter_mut().find(|group| group.kind() == kind) {
            Some(group) => group.take(job),
            None => groups.push(job.group()),
        }
    }
    groups
}

/// Writes a batch: together where that goes, else one by one.
async fn write(
    db: &DatabaseConnection,
    root_key: &RootKey,
    groups: &mut [Box<dyn Group>],
) -> Result<Vec<(TenantId, i64)>, StoreError> {
    match surviving(transaction(db, root_key, groups, Way::Together)).await {
        Err(error) if !matches!(error, StoreError::Unavailable(_)) => {
            tracing::info!(%error, "a batch is written again, one change at a time");
            surviving(transaction(db, root_key, groups, Way::OneByOne)).await
        }
        outcome => outcome,
    }
}

/// Makes an error of a panic. A change with a fault in it must not take the writer with it, on which all others wait.
async fn surviving<T, E: From<StoreError>>(work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let outcome = AssertUnwindSafe(work).catch_unwind().await;
    outcome.unwrap_or_else(|_| Err(StoreError::Fault("a panic while a change was written".into()).into()))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Together,
    OneByOne,
}

async fn transaction(
    db: &DatabaseConnection,
    root_key: &RootKey,
    groups: &mut [Box<dyn Group>],
    way: Way,
) -> Result<Vec<(TenantId, i64)>, StoreError> {
    let transaction = begin(db).await?;
    let tx = Tx {
        db: &transaction,
        now: clock::now(),
        root_key,
    };
    for group in &mut *groups {
        group.apply(&tx, way).await?;
    }
    let mut written = Written::default();
    for group in groups {
        group.written(&mut written);
    }
    if way == Way::Together {
        records::insert(&tx, &written.records).await?;
    }
    let versions = new_versions(&tx, written.new_versions_of).await?;
    transaction.commit().await?;
    Ok(versions)
}

/// Begins a transaction that is going to write. A connection that died since its last use is found out here, where
/// trying again is harmless. That shows at once: what took longer (another process holds SQLite's lock, PostgreSQL cannot
/// be reached) would take as long again.
async fn begin(db: &DatabaseConnection) -> Result<DatabaseTransaction, StoreError> {
    const AT_ONCE: Duration = Duration::from_millis(200);
    let options = || TransactionOptions {
        // A SQLite transaction that begins by reading cannot wait for its turn to write.
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..TransactionOptions::default()
    };
    let began = Instant::now();
    match db.begin_with_options(options()).await.map_err(StoreError::from) {
        Err(StoreError::Unavailable(_)) if began.elapsed() < AT_ONCE => Ok(db.begin_with_options(options()).await?),
        outcome => outcome,
    }
}

async fn new_versions(tx: &Tx<'_>, mut tenants: Vec<TenantId>) -> Result<Vec<(TenantId, i64)>, StoreError> {
    // In order, so that two nodes cannot wait for one another.
    tenants.sort_unstable();
    tenants.dedup();
    let mut versions = Vec::with_capacity(tenants.len());
    for tenant in tenants {
        let statement = Statement::from_sql_and_values(
            tx.db.get_database_backend(),
            "UPDATE tenants SET version = version + 1 WHERE id = $1 RETURNING version",
            [tenant.into()],
        );
        if let Some(row) = tx.db.query_one_raw(statement).await? {
            versions.push((tenant, row.try_get_by_index::<i64>(0)?));
        }
    }
    Ok(versions)
}

/// What the changes of a batch leave behind beside their rows.
#[derive(Default)]
struct Written<'a> {
    records: Vec<&'a Record>,
    new_versions_of: Vec<TenantId>,
}

/// A change of any kind that waits in the queue.
trait Job: Send {
    fn kind(&self) -> TypeId;
    fn group(self: Box<Self>) -> Box<dyn Group>;
    /// Adds this job to a group of its own kind.
    fn join(self: Box<Self>, group: &mut dyn std::any::Any);
}

/// Changes of one kind in one batch.
#[async_trait]
trait Group: Send {
    fn kind(&self) -> TypeId;
    fn take(&mut self, job: Box<dyn Job>);
    async fn apply(&mut self, tx: &Tx<'_>, way: Way) -> Result<(), StoreError>;
    fn written<'a>(&'a self, written: &mut Written<'a>);
    fn answer(self: Box<Self>);
    fn refuse(self: Box<Self>, cause: &StoreError);
}

struct Waiting<C: Change> {
    change: C,
    reply: oneshot::Sender<Answer<C>>,
    since: Instant,
}

struct Answer<C: Change> {
    outcome: Result<C::Done, C::Refusal>,
    /// Time in the queue.
    queued: Duration,
    /// Time from the queue to the commit.
    stored: Duration,
}

struct Changes<C: Change> {
    begun: Instant,
    waiting: Vec<Waiting<C>>,
    outcomes: Vec<Outcome<C>>,
}

impl<C: Change> Job for Waiting<C> {
    fn kind(&self) -> TypeId {
        TypeId::of::<C>()
    }

    fn group(self: Box<Self>) -> Box<dyn Group> {
        Box::new(Changes {
            begun: Instant::now(),
            waiting: vec![*self],
            outcomes: Vec::new(),
        })
    }

    fn join(self: Box<Self>, group: &mut dyn std::any::Any) {
        if let Some(changes) = group.downcast_mut::<Changes<C>>() {
            changes.waiting.push(*self);
        }
    }
}

#[async_trait]
impl<C: Change> Group for Changes<C> {
    fn kind(&self) -> TypeId {
        TypeId::of::<C>()
    }

    fn take(&mut self, job: Box<dyn Job>) {
        job.join(self);
    }

    async fn apply(&mut self, tx: &Tx<'_>, way: Way) -> Result<(), StoreError> {
        self.outcomes.clear();
        if way == Way::Together {
            let changes: Vec<&C> = self.waiting.iter().map(|waiting| &waiting.change).collect();
            if let Some(outcomes) = C::apply_many(&changes, tx).await? {
                self.outcomes = outcomes;
                return Ok(());
            }
        }
        for waiting in &self.waiting {
            self.outcomes.push(apply_alone(&waiting.change, tx, way).await?);
        }
        Ok(())
    }

    fn written<'a>(&'a self, written: &mut Written<'a>) {
        for applied in self.outcomes.iter().flatten() {
            written.records.extend(&applied.record);
            written.new_versions_of.extend(applied.new_version_of);
        }
    }

    fn answer(self: Box<Self>) {
        let stored = self.begun.elapsed();
        for (waiting, outcome) in self.waiting.into_iter().zip(self.outcomes) {
            let queued = self.begun.duration_since(waiting.since);
            // A caller that has gone does not undo the change.
            let _ = waiting.reply.send(Answer {
                outcome: outcome.map(|applied| applied.done),
                queued,
                stored,
            });
        }
    }

    fn refuse(self: Box<Self>, cause: &StoreError) {
        let stored = self.begun.elapsed();
        for waiting in self.waiting {
            let queued = self.begun.duration_since(waiting.since);
            let outcome = Err(cause.clone().into());
            let _ = waiting.reply.send(Answer {
                outcome,
                queued,
                stored,
            });
        }
    }
}

/// Applies one change behind a savepoint, so that a refusal takes back its own statements and no others. One by one it
/// writes its record there, too: one that cannot be written is then the fault of its own change.
async fn apply_alone<C: Change>(change: &C, tx: &Tx<'_>, way: Way) -> Result<Outcome<C>, StoreError> {
    let savepoint = tx.db.begin().await?;
    let inside = Tx {
        db: &savepoint,
        now: tx.now,
        root_key: tx.root_key,
    };
    let applying = async {
        let applied = change.apply(&inside).await?;
        if way == Way::OneByOne
            && let Some(record) = &applied.record
        {
            records::insert(&inside, &[record]).await?;
        }
        Ok(applied)
    };
    let outcome: Outcome<C> = surviving(applying).await;
    match outcome {
        Ok(_) => savepoint.commit().await?,
        Err(_) => savepoint.rollback().await?,
    }
    Ok(outcome)
}
