//! What the server does beside the requests, for as long as it runs: a file a task, with its name, what it does and why.
//!
//! A task never ends by itself. One that ends or panics nevertheless has a fault, of which no caller would learn: keys would
//! seem unused, refusals would be missing from the log. So each is supervised. When it fails, the log says so, and it is
//! started again after a pause that grows with each failure. When it has not worked for [`DOWN_AFTER`], `/readyz` answers
//! `503` until it works again.
//!
//! To add a task, write a file with its `NAME` and `run`, and start it in [`Background::start`]. `run` does its work first
//! and waits then: one that fails at its work must fail soon after each start, since it counts as working after
//! [`WORKS_AFTER`]. That the database is away is no fault: a task says so in the log and goes on.
//!
//! Not supervised are tasks that end together with those who wait for them:
//!
//! * The writer ([`crate::store`]). A panic in a change is answered as a fault and ends nothing. Were the writer itself to
//!   end, its queue would be closed with it: each change is refused with `503`, and so is `/readyz`, which asks for a commit.
//! * The tasks that hand out questions to the database and expensive work ([`crate::store::Question`],
//!   [`crate::access::workers`]). They only take from a queue; the work is done in tasks of its own, and whoever waits for
//!   one that panics is told.
//! * Connections, and what begins with a request and ends soon: reading a tenant, fetching an issuer's keys, erasing a
//!   user. A request that waits for it is told when it fails; where none waits, the panic is in the log.
//!
//! [`DOWN_AFTER`]: crate::http::readiness::DOWN_AFTER

mod clock;
mod decision_log;
mod deleted_providers;
mod kept_answers;
mod key_use;
mod tenant_versions;
mod traces;

use std::{panic::AssertUnwindSafe, time::Duration};

use futures_util::FutureExt as _;
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::http::{App, readiness::Readiness};

/// The pause before a task that has failed is started again for the first time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause. It doubles with each failure until then.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// A task that has run for this long works. It is less than what makes a server unready, so that one failure never does.
const WORKS_AFTER: Duration = Duration::from_secs(10);

/// The tasks. They end when this is dropped.
pub struct Background {
    tasks: JoinSet<()>,
}

impl Background {
    /// Starts them all.
    #[must_use]
    pub fn start(app: &App) -> Self {
        let mut background = Self { tasks: JoinSet::new() };
        background.add(app, tenant_versions::NAME, tenant_versions::run);
        background.add(app, key_use::NAME, key_use::run);
        background.add(app, decision_log::NAME, decision_log::run);
        background.add(app, kept_answers::NAME, kept_answers::run);
        background.add(app, clock::NAME, clock::run);
        background.add(app, deleted_providers::NAME, deleted_providers::run);
        background.add(app, traces::NAME, traces::run);
        background
    }

    fn add<F>(&mut self, app: &App, name: &'static str, run: fn(App) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let app = app.clone();
        self.tasks
            .spawn(supervise(name, app.readiness.clone(), move || run(app.clone())));
    }

    /// Ends them, and returns when none does anything any more.
    pub async fn end(mut self) {
        self.tasks.shutdown().await;
    }
}

/// Runs a task, again and again where it fails.
async fn supervise<F: Future<Output = ()>>(name: &'static str, readiness: Readiness, start: impl Fn() -> F) {
    let mut pause = FIRST_PAUSE;
    loop {
        let running = AssertUnwindSafe(async { start().await }).catch_unwind();
        tokio::pin!(running);
        let ended = if let Ok(ended) = timeout(WORKS_AFTER, &mut running).await {
            ended
        } else {
            readiness.works(name);
            pause = FIRST_PAUSE;
            running.await
        };
        let how = if ended.is_ok() { "ended" } else { "panicked" };
        tracing::error!(
            task = name,
            pause_s = pause.as_secs(),
            "a background task has {how}; it is started again after a pause"
        );
        readiness.failed(name);
        sleep(pause).await;
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    };

    use tokio::time::Instant;

    use super::*;

    /// Runs a task that does the same at each start, and returns after how many seconds each start came.
    async fn starts<F>(readiness: &Readiness, for_how_long: Duration, run: impl Fn(usize) -> F) -> Vec<u64>
    where
        F: Future<Output = ()>,
    {
        let began = Instant::now();
        let starts = Mutex::new(Vec::new());
        let start = || {
            let mut starts = starts.lock().expect("no panic holds it");
            starts.push(began.elapsed().as_secs());
            run(starts.len())
        };
        timeout(for_how_long, supervise("test", readiness.clone(), start))
            .await
            .expect_err("it goes on for ever");
        starts.into_inner().expect("no panic holds it")
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_or_ends_is_started_again_after_pauses_that_grow() {
        let run = async |start: usize| assert!(start.is_multiple_of(2), "a panic that the test wants");
        let starts = starts(&Readiness::default(), Duration::from_mins(5), run).await;
        assert_eq!(starts, [0, 1, 3, 7, 15, 31, 63, 123, 183, 243]);
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_begin_anew_when_a_task_has_worked() {
        // It fails at once three times, then only after it has worked for a while.
        let run = async |start| {
            if start > 3 {
                sleep(WORKS_AFTER * 2).await;
            }
        };
        let starts = starts(&Readiness::default(), Duration::from_mins(1), run).await;
        assert_eq!(starts, [0, 1, 3, 7, 28, 49]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_stays_down_makes_the_server_unready_until_it_works_again() {
        let readiness = Readiness::default();
        let (mended, runs) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let start = {
            let (mended, runs) = (Arc::clone(&mended), Arc::clone(&runs));
            move || {
                let (mended, runs) = (Arc::clone(&mended), Arc::clone(&runs));
                async move {
                    runs.fetch_add(1, Ordering::Relaxed);
                    assert!(mended.load(Ordering::Relaxed), "a panic that the test wants");
                    std::future::pending::<()>().await;
                }
            }
        };
        let supervised = tokio::spawn(supervise("key_use", readiness.clone(), start));

        sleep(Duration::from_secs(29)).await;
        readiness.check().expect("it has not been down for long");
        sleep(Duration::from_secs(1)).await;
        let reason = readiness.check().expect_err("it is down");
        assert_eq!(reason, "background tasks are down: key_use");

        mended.store(true, Ordering::Relaxed);
        let before = runs.load(Ordering::Relaxed);
        sleep(LONGEST_PAUSE).await;
        assert_eq!(runs.load(Ordering::Relaxed), before + 1, "it runs");
        sleep(WORKS_AFTER).await;
        readiness.check().expect("it works again");
        supervised.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn one_failure_does_not_make_the_server_unready() {
        let readiness = Readiness::default();
        let starts = AtomicU32::new(0);
        let start = async || {
            let first = starts.fetch_add(1, Ordering::Relaxed) == 0;
            assert!(!first, "a panic that the test wants");
            std::future::pending::<()>().await;
        };
        let checked = async {
            for _ in 0..60 {
                sleep(Duration::from_secs(1)).await;
                readiness.check().expect("it works, or has not been down for long");
            }
        };
        tokio::select! {
            () = supervise("test", readiness.clone(), start) => {}
            () = checked => {}
        }
        assert_eq!(starts.into_inner(), 2);
    }
}
