//! The pool for expensive work: parsing and checking rules, deciding under expensive rules, explanations, previews.
//!
//! None of this can be interrupted, and a tenant chooses how much of it there is. On the threads that answer requests it
//! would keep everybody waiting. So it runs on few threads of its own, fewer than the machine has cores, and tenants take
//! turns on them ([`crate::store::turns`]).
//!
//! * **A job is a request's whole work, a piece is what runs at a time.** A job hands in one piece after the other, each
//!   some tens of milliseconds long at most, and other tenants' pieces come between them.
//! * **A job ends with its request.** Nothing more is handed in for a request that has timed out or whose client has gone,
//!   and a piece of it that still waits is skipped.
//! * **Jobs are bounded**, for each tenant (`429`) and in all (`503`): requests about rules, which hold large texts, more
//!   than decisions on other requests, which are small. Work that the server does on its own account, such
//!   as reading a tenant's rules into memory, is not refused: there is at most one such job for each tenant.

use std::{
    collections::HashMap,
    num::NonZero,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Semaphore, oneshot};

use crate::{
    store::{
        StoreError,
        turns::{self, QueueLimits, Receiver, Sender},
    },
    types::ids::TenantId,
};

/// How many jobs of a kind there may be.
struct Bounds {
    per_tenant: usize,
    /// The same in words.
    per_tenant_limit: &'static str,
    all: usize,
}

/// Requests about rules: a person or a script has one or two at a time, and each may hold a body of a megabyte.
const OF_REQUESTS: Bounds = Bounds {
    per_tenant: 32,
    per_tenant_limit: "32 expensive requests at a time",
    all: 256,
};
/// Expensive decisions: as many as requests that wait for something else of the server.
const OF_DECISIONS: Bounds = Bounds {
    per_tenant: 256,
    per_tenant_limit: "256 requests at a time that take expensive rules to decide",
    all: 4_096,
};
/// The queue needs no limits of its own: a job has at most one piece in it.
const PIECES: QueueLimits = QueueLimits {
    per_tenant: usize::MAX,
    total: usize::MAX,
};

type Piece = Box<dyn FnOnce() + Send>;

/// The pool. Ends when the last one who holds it lets go.
#[derive(Clone)]
pub struct Workers {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Sender<TenantId, Piece>,
    requests: Mutex<Jobs>,
    decisions: Mutex<Jobs>,
}

/// What a job is for.
#[derive(Clone, Copy)]
enum Kind {
    Request,
    Decision,
    /// For the server itself.
    Own,
}

/// Jobs that were admitted and have not ended.
#[derive(Default)]
struct Jobs {
    of_tenants: HashMap<TenantId, usize>,
    all: usize,
}

impl Shared {
    /// Nothing that holds the lock can panic half-way, so that a poisoned one is sound.
    fn jobs(&self, kind: Kind) -> Option<MutexGuard<'_, Jobs>> {
        let jobs = match kind {
            Kind::Request => &self.requests,
            Kind::Decision => &self.decisions,
            Kind::Own => return None,
        };
        Some(jobs.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Workers {
    /// A pool with half as many threads as the machine has cores.
    #[must_use]
    pub fn start() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let (queue, pieces) = turns::queue(PIECES);
        tokio::spawn(run(pieces, (cores / 2).max(1)));
        Self {
            shared: Arc::new(Shared {
                queue,
                requests: Mutex::default(),
                decisions: Mutex::default(),
            }),
        }
    }

    /// Admits the work of a request about rules.
    ///
    /// # Errors
    ///
    /// Where the tenant, or all tenants together, have as many as they may have.
    pub fn admit(&self, tenant: TenantId) -> Result<Job, StoreError> {
        self.admit_kind(tenant, Kind::Request, &OF_REQUESTS)
    }

    /// Admits an expensive decision on a request.
    ///
    /// # Errors
    ///
    /// Where the tenant, or all tenants together, have as many as they may have.
    pub fn admit_decision(&self, tenant: TenantId) -> Result<Job, StoreError> {
        self.admit_kind(tenant, Kind::Decision, &OF_DECISIONS)
    }

    fn admit_kind(&self, tenant: TenantId, kind: Kind, bounds: &Bounds) -> Result<Job, StoreError> {
        if let Some(mut jobs) = self.shared.jobs(kind) {
            let Jobs { of_tenants, all } = &mut *jobs;
            let own = of_tenants.get(&tenant).copied().unwrap_or_default();
            if own >= bounds.per_tenant {
                return Err(StoreError::TenantOverloaded(bounds.per_tenant_limit));
            }
            if *all >= bounds.all {
                return Err(StoreError::Overloaded);
            }
            *of_tenants.entry(tenant).or_default() += 1;
            *all += 1;
        }
        Ok(Job {
            pool: self.clone(),
            tenant,
            kind,
        })
    }

    /// A job that the server does on its own account. There must be at most one at a time for a tenant.
    #[must_use]
    pub fn own_job(&self, tenant: TenantId) -> Job {
        Job {
            pool: self.clone(),
            tenant,
            kind: Kind::Own,
        }
    }
}

/// Work that was admitted.
pub struct Job {
    pool: Workers,
    tenant: TenantId,
    kind: Kind,
}

impl Job {
    /// Runs a piece of the work when it is the tenant's turn. Skipped when the future is dropped before that.
    ///
    /// # Errors
    ///
    /// Where the piece panics, or the server stops.
    pub async fn run<T: Send + 'static>(&self, piece: impl FnOnce() -> T + Send + 'static) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let span = tracing::Span::current();
        let piece = move || {
            if !reply.is_closed() {
                // Whoever waited may have gone by now.
                let _ = reply.send(span.in_scope(piece));
            }
        };
        let ended = || StoreError::Fault("expensive work ended without an outcome".into());
        self.pool
            .shared
            .queue
            .send(&self.tenant, Box::new(piece))
            .map_err(|_| ended())?;
        answer.await.map_err(|_| ended())
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        let Some(mut jobs) = self.pool.shared.jobs(self.kind) else {
            return;
        };
        jobs.all -= 1;
        if let Some(own) = jobs.of_tenants.get_mut(&self.tenant) {
            *own -= 1;
            if *own == 0 {
                jobs.of_tenants.remove(&self.tenant);
            }
        }
    }
}

/// Runs pieces on so many threads, until nobody can hand one in any more.
async fn run(mut pieces: Receiver<TenantId, Piece>, threads: usize) {
    let free = Arc::new(Semaphore::new(threads));
    let mut next = Vec::with_capacity(1);
    while let Ok(thread) = Arc::clone(&free).acquire_owned().await {
        if pieces.recv_many(&mut next, 1).await == 0 {
            break;
        }
        let Some(piece) = next.pop() else { continue };
        // A panic ends the piece; whoever waits for it learns that there is no outcome.
        tokio::task::spawn_blocking(move || {
            let _thread = thread;
            piece();
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn jobs_are_bounded_for_each_tenant_and_in_all() {
        let pool = Workers::start();
        let tenant = TenantId::new();
        let jobs: Vec<Job> = (0..OF_REQUESTS.per_tenant)
            .map(|_| pool.admit(tenant).expect("there is room"))
            .collect();
        assert!(matches!(pool.admit(tenant), Err(StoreError::TenantOverloaded(_))));
        let mut others: Vec<Job> = (OF_REQUESTS.per_tenant..OF_REQUESTS.all)
            .map(|_| pool.admit(TenantId::new()).expect("there is room"))
            .collect();
        assert!(matches!(pool.admit(TenantId::new()), Err(StoreError::Overloaded)));
        pool.admit_decision(tenant).expect("decisions are counted apart");
        others.pop();
        pool.admit(TenantId::new()).expect("one has ended");
        drop(jobs);
        pool.admit(tenant).expect("all of the tenant's have ended");
        assert_eq!(pool.own_job(tenant).run(|| 7).await.expect("it runs"), 7);
    }

    #[tokio::test]
    async fn a_piece_of_a_request_that_has_gone_is_skipped_and_a_panic_is_an_error() {
        let pool = Workers::start();
        let (one, other) = (pool.own_job(TenantId::new()), pool.own_job(TenantId::new()));
        let (release, released) = std::sync::mpsc::channel::<()>();
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let released = Arc::new(Mutex::new(released));
        // Every thread is busy.
        let busy: Vec<_> = (0..cores)
            .map(|_| {
                let (released, job) = (Arc::clone(&released), pool.own_job(TenantId::new()));
                tokio::spawn(async move { job.run(move || drop(released.lock().map(|held| held.recv()))).await })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(50)).await;
        let (ran, has_run) = std::sync::mpsc::channel::<()>();
        let gone = tokio::time::timeout(Duration::from_millis(20), one.run(move || ran.send(())));
        assert!(gone.await.is_err(), "nothing has run yet");
        drop(release);
        for busy in busy {
            busy.await.expect("no panic").expect("it has run");
        }
        assert_eq!(other.run(|| 7).await.expect("it runs"), 7);
        has_run.try_recv().expect_err("it was skipped");
        let failed = one.run(|| assert_eq!(1, 2, "a panic that the test wants")).await;
        failed.expect_err("a panic");
        assert_eq!(one.run(|| 7).await.expect("the pool goes on"), 7);
    }
}
