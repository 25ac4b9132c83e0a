//! The load generator.
//!
//! It has two modes. In a closed loop, each connection sends its next request when it has received the last response: that finds
//! the maximum rate. At a rate, requests are due at fixed times whether or not earlier ones have been answered, and latency is
//! counted from when a request was due. That is how long independent callers wait; a closed loop would leave out just those
//! requests that a slow response prevented from being sent.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{sync::Semaphore, task::JoinSet};

use super::{Outcome, client::Connection, data::Random, requests::Requests};

/// What to send where, and for how long.
pub struct Load {
    pub address: SocketAddr,
    pub connections: u16,
    pub requests: Arc<Requests>,
    pub warm_up: Duration,
    pub measured: Duration,
}

/// The result.
#[derive(Default)]
pub struct Answers {
    /// The latencies of the requests that count, in microseconds, sorted.
    pub times: Vec<u32>,
    /// Responses as expected, whether they count or not.
    pub expected: u64,
    /// How many responses had another status.
    pub unexpected: BTreeMap<u16, u64>,
}

/// When the measured time begins and ends.
#[derive(Clone, Copy)]
struct Span {
    from: Instant,
    to: Instant,
}

impl Span {
    fn holds(self, time: Instant) -> bool {
        time >= self.from && time < self.to
    }
}

/// The schedule of requests, at a rate.
struct Schedule {
    began: Instant,
    per_second: f64,
    /// One for each request that is due and not yet taken by a connection, and in the end one for each connection.
    due: Semaphore,
    taken: AtomicU64,
    /// How many requests there are in all, once that is known.
    all: AtomicU64,
}

impl Load {
    /// Runs in a closed loop. `at` is called when the measured time begins and when it ends.
    pub async fn closed_loop(&self, at: impl FnMut()) -> Outcome<Answers> {
        self.run(None, at).await
    }

    /// Runs at a rate.
    pub async fn at_rate(&self, per_second: f64, at: impl FnMut()) -> Outcome<Answers> {
        self.run(Some(per_second), at).await
    }

    async fn run(&self, per_second: Option<f64>, mut at: impl FnMut()) -> Outcome<Answers> {
        /// How long to wait for the last responses.
        const PATIENCE: Duration = Duration::from_secs(20);
        let mut connections = Vec::new();
        for _ in 0..self.connections {
            connections.push(Connection::open(self.address).await?);
        }
        let began = Instant::now();
        let span = Span {
            from: began + self.warm_up,
            to: began + self.warm_up + self.measured,
        };
        let schedule = per_second.map(|per_second| Schedule::begin(per_second, span.to, self.connections));
        let mut tasks = JoinSet::new();
        for (connection, number) in connections.into_iter().zip(0..) {
            let seed = Random::new((number << 32) | u64::from(std::process::id()));
            let requests = Arc::clone(&self.requests);
            match &schedule {
                None => tasks.spawn(ask_and_ask(connection, requests, seed, span)),
                Some(schedule) => tasks.spawn(ask_when_due(connection, requests, seed, span, Arc::clone(schedule))),
            };
        }
        tokio::time::sleep_until(span.from.into()).await;
        at();
        tokio::time::sleep_until(span.to.into()).await;
        at();
        let mut all = Answers::default();
        let joined = tokio::time::timeout(PATIENCE, async {
            while let Some(one) = tasks.join_next().await {
                all.add(one??);
            }
            Ok::<(), Box<dyn std::error::Error>>(())
        });
        joined
            .await
            .map_err(|_| format!("requests were not answered within {PATIENCE:?}"))??;
        all.times.sort_unstable();
        Ok(all)
    }
}

impl Answers {
    fn add(&mut self, other: Self) {
        self.times.extend(other.times);
        self.expected += other.expected;
        for (status, count) in other.unexpected {
            *self.unexpected.entry(status).or_default() += count;
        }
    }

    fn note(&mut self, status: u16, expected: u16, took: Duration, counts: bool) {
        if status != expected {
            *self.unexpected.entry(status).or_default() += 1;
            return;
        }
        self.expected += 1;
        if counts {
            self.times.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
        }
    }
}

async fn ask_and_ask(
    mut connection: Connection,
    requests: Arc<Requests>,
    mut random: Random,
    span: Span,
) -> std::io::Result<Answers> {
    let (mut answers, mut request) = (Answers::default(), Vec::new());
    loop {
        request.clear();
        requests.next(&mut random, &mut request);
        let began = Instant::now();
        if began >= span.to {
            return Ok(answers);
        }
        let status = connection.ask(&request).await?.status;
        let now = Instant::now();
        // Requests count if they were answered within the measured time.
        answers.note(status, requests.expected(), now - began, span.holds(now));
    }
}

async fn ask_when_due(
    mut connection: Connection,
    requests: Arc<Requests>,
    mut random: Random,
    span: Span,
    schedule: Arc<Schedule>,
) -> std::io::Result<Answers> {
    let (mut answers, mut request) = (Answers::default(), Vec::new());
    while let Some(due) = schedule.next().await {
        request.clear();
        requests.next(&mut random, &mut request);
        let status = connection.ask(&request).await?.status;
        // Requests count if they were due within the measured time, however late they were answered.
        answers.note(status, requests.expected(), due.elapsed(), span.holds(due));
    }
    Ok(answers)
}

impl Schedule {
    /// Starts the schedule, in a thread, because the timers of the runtime have a resolution of milliseconds.
    fn begin(per_second: f64, end: Instant, connections: u16) -> Arc<Self> {
        /// How often the clock is read; the system adds some tens of microseconds.
        const STEP: Duration = Duration::from_micros(50);
        let schedule = Arc::new(Self {
            began: Instant::now(),
            per_second,
            due: Semaphore::new(0),
            taken: AtomicU64::new(0),
            all: AtomicU64::new(u64::MAX),
        });
        let making = Arc::clone(&schedule);
        std::thread::spawn(move || {
            let mut made = 0;
            while Instant::now() < end {
                // The number of requests due so far; the first one is due at the start.
                while making.time_of(made) <= Instant::now() {
                    making.due.add_permits(1);
                    made += 1;
                }
                std::thread::sleep(STEP);
            }
            making.all.store(made, Ordering::Release);
            making.due.add_permits(connections.into());
        });
        schedule
    }

    fn time_of(&self, number: u64) -> Instant {
        #[expect(clippy::cast_precision_loss, reason = "there are not so many requests")]
        let number = number as f64;
        self.began + Duration::from_secs_f64(number / self.per_second)
    }

    /// Waits for a due request that no other connection has taken. Returns when it was due, or `None` if there are no more.
    async fn next(&self) -> Option<Instant> {
        self.due.acquire().await.ok()?.forget();
        let number = self.taken.fetch_add(1, Ordering::Relaxed);
        (number < self.all.load(Ordering::Acquire)).then(|| self.time_of(number))
    }
}

/// The latency, in microseconds, that this fraction of the requests does not exceed.
pub fn quantile(sorted: &[u32], part: f64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a place in a list"
    )]
    let place = (sorted.len() as f64 * part).ceil() as usize;
    sorted.get(place.saturating_sub(1)).copied().unwrap_or_default()
}
