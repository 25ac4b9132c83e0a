//! The victim of an attack: a tenant with a low, steady rate of requests. Their times are measured first during
//! harmless traffic, and then during the attack.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    net::Ipv4Addr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use reqwest::Client;
use tokio::{task::JoinSet, time::MissedTickBehavior};

use crate::harness::{Aka, Caller, Uuid, caller::Request};

/// Time between two requests of the victim: 50 requests per second are no load for a server.
const PACE: Duration = Duration::from_millis(20);
/// Requests in one measurement, four seconds of them: p99 is then the third slowest.
const REQUESTS: usize = 200;
/// Time for which traffic or attack runs before the measurement begins: caches fill and queues grow in it.
const RUN_UP: Duration = Duration::from_millis(500);
/// How much longer the victim's median may be beside the attack than beside harmless traffic.
const MAX_SLOWDOWN: f64 = 2.0;
/// How long the slowest but one in a hundred of the victim's requests may take.
const MAX_P99: Duration = Duration::from_millis(100);
/// Measurements until one shows no harm. A machine with two cores does other things, too; harm that an attack does is
/// there each time.
const MEASUREMENTS: usize = 3;
/// The victim has an address of its own, since some limits are counted per address.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// After this time a request of the victim counts as unanswered.
const PATIENCE: Duration = Duration::from_secs(10);

/// What runs beside a measurement: harmless traffic or an attack.
pub trait Load {
    /// Runs until it is dropped. Where it returns before, it is started again.
    async fn run(&self);
}

/// Clients that each send one request after the other.
pub struct Clients<F> {
    count: usize,
    pause: Duration,
    request: Arc<F>,
    answers: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl<F: Fn(usize) -> Request + Send + Sync + 'static> Clients<F> {
    /// So many clients; `request` makes a request of its number, which differs from one request to the next.
    pub fn new(count: usize, request: F) -> Self {
        Self {
            count,
            pause: Duration::ZERO,
            request: Arc::new(request),
            answers: Arc::default(),
        }
    }

    /// Each client waits that long after an answer.
    pub fn pausing(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }

    /// How often which status was answered, for a reader: `200 x 31, no answer x 2`.
    pub fn answers(&self) -> String {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let counted: Vec<String> = answers
            .iter()
            .map(|(answer, count)| format!("{answer} x {count}"))
            .collect();
        counted.join(", ")
    }
}

impl<F: Fn(usize) -> Request + Send + Sync + 'static> Load for Clients<F> {
    async fn run(&self) {
        let sent = Arc::new(AtomicUsize::new(0));
        let mut clients = JoinSet::new();
        for _ in 0..self.count {
            let (request, answers, sent) = (Arc::clone(&self.request), Arc::clone(&self.answers), Arc::clone(&sent));
            let pause = self.pause;
            clients.spawn(async move {
                loop {
                    let number = sent.fetch_add(1, Ordering::Relaxed);
                    // Answers are not checked here: that would take more of the machine than the request.
                    let answer = match request(number).exchange().await {
                        Ok((status, ..)) => status.to_string(),
                        Err(_) => "no answer".to_owned(),
                    };
                    *answers
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .entry(answer)
                        .or_default() += 1;
                    tokio::time::sleep(pause).await;
                }
            });
        }
        clients.join_all().await;
    }
}

/// A tenant that does nothing unusual.
pub struct Victim {
    caller: Caller,
    user: Uuid,
    provider: Uuid,
    client: Client,
    links: AtomicUsize,
}

/// The account that the victim looks up.
const KNOWN: &str = "known";

impl Victim {
    /// A new tenant of a server, with a user and an account.
    pub async fn at(aka: &Aka) -> Self {
        let caller = aka.tenant().await;
        let (user, provider) = (caller.user().await, caller.provider("github").await);
        caller.link(user, provider, KNOWN).await.expect(201);
        let client = Client::builder()
            .no_proxy()
            .local_address(Some(ADDRESS.into()))
            .timeout(PATIENCE)
            .build()
            .expect("a client");
        Self {
            caller,
            user,
            provider,
            client,
            links: AtomicUsize::new(0),
        }
    }

    /// Asserts that an attack does this tenant no harm: beside it the median is within twice of what it is beside the
    /// reference, p99 is below 100 ms, every request succeeds, and every link that was acknowledged is there.
    ///
    /// The reference is harmless traffic of as many clients of the same kind. Prints the figures.
    pub async fn is_unharmed(&self, reference: &impl Load, attack: &impl Load) {
        let mut harms = String::new();
        for _ in 0..MEASUREMENTS {
            match self.harm(reference, attack).await {
                Ok(figures) => {
                    println!("{figures}");
                    return;
                }
                Err(harm) => {
                    println!("{harm}");
                    let _ = writeln!(harms, "{harm}");
                }
            }
        }
        panic!("the victim is harmed in each of {MEASUREMENTS} measurements:\n{harms}");
    }

    /// Measures once. `Ok` has the figures of a tenant that is unharmed, `Err` those of one that is not, and why.
    pub async fn harm(&self, reference: &impl Load, attack: &impl Load) -> Result<String, String> {
        let reference = self.beside(reference).await;
        let attacked = self.beside(attack).await;
        let figures = format!("reference: {reference}\nattack:    {attacked}");
        let mut harm = Vec::new();
        if let Some(error) = attacked.errors.first() {
            harm.push(format!(
                "{} requests failed, the first with {error}",
                attacked.errors.len()
            ));
        }
        let slowdown = attacked.at(50).as_secs_f64() / reference.at(50).as_secs_f64();
        if slowdown > MAX_SLOWDOWN {
            harm.push(format!("the median is {slowdown:.1} times that of the reference"));
        }
        if attacked.at(99) > MAX_P99 {
            let of_machine = if reference.at(99) > MAX_P99 {
                " (that of the reference, too: is the machine busy with something else?)"
            } else {
                ""
            };
            harm.push(format!("p99 is above {MAX_P99:?}{of_machine}"));
        }
        if harm.is_empty() {
            Ok(figures)
        } else {
            Err(format!("{figures}\nharm:      {}", harm.join("; ")))
        }
    }

    async fn beside(&self, load: &impl Load) -> Figures {
        let again_and_again = async {
            loop {
                load.run().await;
                tokio::task::yield_now().await;
            }
        };
        let measurement = async {
            tokio::time::sleep(RUN_UP).await;
            self.measure().await
        };
        let (mut figures, linked) = tokio::select! {
            measured = measurement => measured,
            () = again_and_again => unreachable!("it has no end"),
        };
        // What was acknowledged is there. Asked when the attack has ended, so that asking is no part of the measurement.
        for external_id in linked {
            let answer = self.caller.lookup(self.provider, &external_id).await;
            if answer.status != 200 {
                figures
                    .errors
                    .push(format!("the acknowledged link {external_id} is lost: {answer}"));
            }
        }
        figures
    }

    /// Sends requests at a steady pace, without waiting for answers to earlier ones. Returns the figures, and the
    /// accounts whose link was acknowledged.
    async fn measure(&self) -> (Figures, Vec<String>) {
        let mut pace = tokio::time::interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut requests = JoinSet::new();
        for number in 0..REQUESTS {
            pace.tick().await;
            let (request, expected, external_id) = self.request(number);
            let request = request.through(&self.client);
            requests.spawn(async move {
                let sent = Instant::now();
                let answer = request.exchange().await;
                let took = sent.elapsed();
                let outcome = match answer {
                    Ok((status, ..)) if status == expected => Ok(external_id),
                    Ok((status, _, body)) => Err(format!("{status} {}", String::from_utf8_lossy(&body))),
                    Err(error) => Err(format!("no answer: {error:?}")),
                };
                (took, outcome)
            });
        }
        let (mut figures, mut linked) = (Figures::default(), Vec::new());
        for (took, outcome) in requests.join_all().await {
            figures.times.push(took);
            match outcome {
                Ok(external_id) => linked.extend(external_id),
                Err(error) => figures.errors.push(error),
            }
        }
        figures.times.sort_unstable();
        (figures, linked)
    }

    /// A look-up, a list and a link in turn, with the status that each must have and the account that is linked.
    fn request(&self, number: usize) -> (Request, u16, Option<String>) {
        match number % 3 {
            0 => (self.caller.lookup(self.provider, KNOWN), 200, None),
            1 => (self.caller.get("/v1/users"), 200, None),
            _ => {
                let external_id = format!("link-{}", self.links.fetch_add(1, Ordering::Relaxed));
                let link = self.caller.link(self.user, self.provider, &external_id);
                (link, 201, Some(external_id))
            }
        }
    }
}

/// What a measurement found.
#[derive(Default)]
struct Figures {
    /// Sorted.
    times: Vec<Duration>,
    errors: Vec<String>,
}

impl Figures {
    /// The time within which so many percent of the requests were answered.
    fn at(&self, percent: usize) -> Duration {
        let place = (self.times.len() * percent).div_ceil(100).saturating_sub(1);
        self.times[place]
    }
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let millis = |percent| self.at(percent).as_secs_f64() * 1000.0;
        write!(
            f,
            "median {:.1} ms, p99 {:.1} ms, slowest {:.1} ms, {} requests, {} errors",
            millis(50),
            millis(99),
            millis(100),
            self.times.len(),
            self.errors.len()
        )
    }
}
