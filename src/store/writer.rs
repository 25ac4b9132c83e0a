//! The writer: one task that commits the changes of many requests together.
//!
//! A durable commit costs the disk about as much for a hundred rows as for one. So changes wait in a queue; the
//! writer takes whatever is there, applies all of it in one transaction, commits, and answers. It never waits for
//! company: a lone change is committed at once, and while a commit is under way the next batch gathers by itself.
//!
//! * **Tenants take turns.** The queue hands out one change of each tenant, then again, and a batch ends after a few
//!   milliseconds ([`super::batch`]). Whoever floods it makes its own changes wait.
//! * **One change does not disturb another.** Each is applied behind a savepoint, unless its kind can be applied to
//!   many at once ([`Change::apply_many`]) and so decides row by row. If such a statement fails as a whole, the batch
//!   is rolled back and done again one by one.
//! * **Locked rows hold up only those who want them.** Another node, or an operator, may hold the rows of a tenant. That
//!   tenant's changes are set aside and tried again a little later, for up to [`LOCK_PATIENCE`]; the others go on.
//! * **Success means durable.** Nobody is answered before the commit has returned.
//! * **A fault in one change stays its own.** A panic is answered as a fault; the writer goes on.
//! * **The queue is bounded**, for each tenant and in all. When it is full, a change is refused at once
//!   ([`StoreError::TenantOverloaded`], [`StoreError::Overloaded`]); when the database is away, everything that waits is
//!   refused, so that a caller waits for one attempt and not for many.
//! * **One connection.** On SQLite there can be only one writer anyway; on PostgreSQL a second would buy little (the
//!   rows of one batch already share a statement) and cost the order in which this node's changes happen.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{Mutex, Notify, oneshot},
    task::JoinHandle,
};

use super::{
    Change, OnNewVersion, StoreError,
    batch::{Batch, Committed, Costs},
    group::{QueuedChange, Turn, WaitingChange, Way},
    pool::Pool,
    revision::Expectation,
    root_key::RootKey,
    turns::{self, QueueLimits, Rejected},
};

/// Changes that may wait. At the rates that one node reaches, a full queue is a fraction of a second of work.
const LIMITS: QueueLimits = QueueLimits {
    per_tenant: 1024,
    total: 4096,
};
const TENANT_LIMIT: &str = "1,024 changes waiting at the same time";
/// Changes that share a commit at most: enough to make the commit's own cost vanish, few enough to answer within
/// milliseconds.
const BATCH: usize = 256;
/// For how long a change that came upon locked rows is tried again.
const LOCK_PATIENCE: Duration = Duration::from_secs(4);
/// The first pause before such a change is tried again, and the longest: each attempt takes up to a lock timeout, for
/// which others wait.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_millis(800);

/// The sending end of the queue.
#[derive(Clone)]
pub struct Writer {
    queue: turns::Sender<Turn, Box<dyn QueuedChange>>,
    stop: Arc<Notify>,
    task: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl Writer {
    /// Starts the task that writes.
    pub fn start(pool: Arc<Pool>, root_key: RootKey, on_new_version: OnNewVersion) -> Self {
        let (queue, waiting) = turns::queue(LIMITS);
        let stop = Arc::new(Notify::new());
        let task = Task {
            pool,
            root_key,
            waiting,
            closed: false,
            locked: Locked::default(),
            costs: Costs::default(),
            on_new_version,
        };
        let task = tokio::spawn(task.run(Arc::clone(&stop)));
        Self {
            queue,
            stop,
            task: Arc::new(Mutex::new(Some(task))),
        }
    }

    /// Queues a change, with what is expected of its resource, and waits for its outcome.
    pub async fn write<C: Change>(&self, change: C, expected: Option<Expectation>) -> Result<C::Done, C::Refusal> {
        let (reply, answer) = oneshot::channel();
        let turn = change.tenant();
        let job = WaitingChange {
            change,
            expected,
            reply,
            since: Instant::now(),
        };
        self.queue
            .send(&turn, Box::new(job) as Box<dyn QueuedChange>)
            .map_err(|rejected| match rejected {
                Rejected::TenantFull => StoreError::TenantOverloaded(TENANT_LIMIT),
                Rejected::Full => StoreError::Overloaded,
                Rejected::Closed => shutting_down(),
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
            tracing::error!(%error, "the writer failed");
        }
    }
}

fn shutting_down() -> StoreError {
    StoreError::Unavailable("the server is shutting down".into())
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// What writes.
struct Task {
    pool: Arc<Pool>,
    root_key: RootKey,
    waiting: turns::Receiver<Turn, Box<dyn QueuedChange>>,
    /// Whether nothing comes any more, and nothing waits in the queue.
    closed: bool,
    locked: Locked,
    costs: Costs,
    on_new_version: OnNewVersion,
}

impl Task {
    /// Takes batches from the queue until it is closed and empty.
    async fn run(mut self, stop: Arc<Notify>) {
        while !self.closed || !self.locked.is_empty() {
            let mut jobs = Vec::with_capacity(BATCH);
            let mut retried = None;
            tokio::select! {
                taken = self.waiting.recv_many(&mut jobs, BATCH), if !self.closed => {
                    self.closed = taken == 0;
                    jobs = self.locked.hold(jobs);
                }
                turn = self.locked.due() => {
                    jobs = self.locked.again(turn);
                    retried = Some(turn);
                }
                () = stop.notified() => {
                    self.waiting.close();
                    continue;
                }
            }
            let batch = Batch::new(jobs);
            if !batch.is_empty() {
                let way = if retried.is_some() {
                    Way::OneByOne
                } else {
                    Way::Together
                };
                self.write(batch, way).await;
            }
            if let Some(turn) = retried {
                self.locked.settle(turn);
            }
        }
        self.pool.close().await;
    }

    /// Writes a batch: together if possible, otherwise one by one.
    async fn write(&mut self, batch: Batch, way: Way) {
        let changes = batch.len();
        let written = match self.attempt(batch, way).await {
            Err((batch, error)) if way == Way::Together && !matches!(error, StoreError::Unavailable(_)) => {
                tracing::info!(%error, "retrying a batch, one change at a time");
                self.attempt(batch, Way::OneByOne).await
            }
            outcome => outcome,
        };
        match written {
            Ok(committed) => {
                for (tenant, version) in &committed.versions {
                    (self.on_new_version)(*tenant, *version);
                }
                let left = committed.answer();
                self.locked.set_aside(left.locked);
                self.put_back(left.undone);
            }
            Err((batch, error)) => {
                tracing::warn!(%error, changes, "a batch of changes could not be committed");
                batch.refuse(&error);
                if matches!(error, StoreError::Unavailable(_)) {
                    self.refuse_all(&error);
                }
            }
        }
    }

    async fn attempt(&mut self, batch: Batch, way: Way) -> Result<Committed, (Batch, StoreError)> {
        match self.pool.begin().await {
            Ok(transaction) => {
                let outcome = batch.commit(transaction, &self.root_key, way, &mut self.costs).await;
                if let Err((_, StoreError::Unavailable(_))) = &outcome {
                    // Whatever state this connection is in, nobody meets it again.
                    self.pool.replace().await;
                }
                outcome
            }
            Err(error) => Err((batch, error)),
        }
    }

    fn put_back(&mut self, jobs: Vec<(Turn, Box<dyn QueuedChange>)>) {
        self.closed &= jobs.is_empty();
        self.waiting.put_back(jobs);
    }

    /// When the database is away, those who wait need not try one after the other.
    fn refuse_all(&mut self, error: &StoreError) {
        for job in self.waiting.drain().into_iter().chain(self.locked.drain()) {
            job.refuse(error);
        }
    }
}

/// Changes of tenants whose rows another transaction holds.
#[derive(Default)]
struct Locked {
    tenants: HashMap<Turn, Held>,
}

struct Held {
    /// When the changes are tried again.
    at: Instant,
    pause: Duration,
    jobs: Vec<Box<dyn QueuedChange>>,
}

impl Locked {
    fn is_empty(&self) -> bool {
        self.tenants.is_empty()
    }

    /// Sets changes aside that came upon locked rows just now.
    fn set_aside(&mut self, jobs: Vec<(Turn, Box<dyn QueuedChange>)>) {
        for (turn, job) in jobs {
            if job.waited() > LOCK_PATIENCE {
                job.refuse(&StoreError::Locked(format!(
                    "another transaction has held the rows for {LOCK_PATIENCE:?}"
                )));
                continue;
            }
            let held = self.tenants.entry(turn).or_insert_with(|| Held {
                at: Instant::now() + FIRST_PAUSE,
                pause: FIRST_PAUSE,
                jobs: Vec::new(),
            });
            held.jobs.push(job);
        }
    }

    /// Of changes that are about to be written, keeps back those of tenants whose rows are locked.
    fn hold(&mut self, jobs: Vec<Box<dyn QueuedChange>>) -> Vec<Box<dyn QueuedChange>> {
        if self.tenants.is_empty() {
            return jobs;
        }
        let mut others = Vec::with_capacity(jobs.len());
        for job in jobs {
            match self.tenants.get_mut(&job.turn()) {
                None => others.push(job),
                Some(held) if held.jobs.len() >= LIMITS.per_tenant => {
                    job.refuse(&StoreError::TenantOverloaded(TENANT_LIMIT));
                }
                Some(held) => held.jobs.push(job),
            }
        }
        others
    }

    /// Waits until changes of a tenant are to be tried again; for ever, when there are none.
    async fn due(&self) -> Turn {
        let next = self.tenants.iter().min_by_key(|(_, held)| held.at);
        match next {
            Some((turn, held)) => {
                tokio::time::sleep_until(held.at.into()).await;
                *turn
            }
            None => std::future::pending().await,
        }
    }

    /// The changes of a tenant that are to be tried again. Until [`Locked::settle`] says how that went, the tenant counts as
    /// locked.
    fn again(&mut self, turn: Turn) -> Vec<Box<dyn QueuedChange>> {
        let Some(held) = self.tenants.get_mut(&turn) else {
            return Vec::new();
        };
        held.pause = LONGEST_PAUSE.min(held.pause * 2);
        held.at = Instant::now() + held.pause;
        std::mem::take(&mut held.jobs)
    }

    /// After an attempt: a tenant of which nothing came upon locked rows again is like any other.
    fn settle(&mut self, turn: Turn) {
        self.tenants
            .retain(|tenant, held| *tenant != turn || !held.jobs.is_empty());
    }

    /// Everything that was set aside.
    fn drain(&mut self) -> Vec<Box<dyn QueuedChange>> {
        let all = std::mem::take(&mut self.tenants);
        all.into_values().flat_map(|held| held.jobs).collect()
    }
}
