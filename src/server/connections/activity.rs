//! What a connection is doing, to decide whether it may stay open.
//!
//! Only requests count as activity. A client that answers PINGs, changes its settings or opens windows is alive, but
//! does nothing that needs a connection.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;

/// How long a new connection may take until its first request begins, and how long the head of any request may take
/// from its first byte to its last.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may last. Then it is closed between two requests, so that no client keeps it forever, and so
/// that clients of a load balancer are distributed to new servers.
const MAX_AGE: Duration = Duration::from_hours(1);
/// How long a connection that is being closed may take for its remaining requests. More than a request may take.
const CLOSING_TIMEOUT: Duration = Duration::from_secs(30);
/// How long it may take if it has none.
const LEAVING_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection with requests may go without any progress: the 15 seconds that a request may take, and half
/// a minute in which nothing of the response is read, for example because HTTP/2's windows are 0.
const STUCK_TIMEOUT: Duration = Duration::from_secs(45);
/// The number of requests that a client may reset before they are answered. A client that resets more than that, and
/// more than it allows to be answered, only causes work (CVE-2023-44487).
const MAX_CANCELLED: u32 = 100;
/// The time is not set.
const NEVER: u64 = u64::MAX;

/// What a connection is doing. Shared by the socket, the requests, and the task that checks connections.
pub struct Activity {
    opened: Instant,
    http2: AtomicBool,
    /// When a request last made progress, in milliseconds after `opened`.
    last: AtomicU64,
    /// When the first byte of an incomplete head arrived, in milliseconds after `opened`.
    head: AtomicU64,
    requests: AtomicU32,
    /// The number of requests whose response has not been read completely.
    unfinished: AtomicU32,
    cancelled: AtomicU32,
    /// Notified when so many requests are canceled that the connection must be checked immediately.
    alarm: Notify,
}

/// What to do with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Keep it open.
    Stay,
    /// Close it after its current requests.
    Close,
    /// Send an error, because it was too slow, and close it.
    Refuse,
    /// Close it immediately.
    Cut,
}

impl Activity {
    /// The activity of a connection that has just been opened.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            opened: Instant::now(),
            http2: AtomicBool::new(false),
            last: AtomicU64::new(0),
            head: AtomicU64::new(NEVER),
            requests: AtomicU32::new(0),
            unfinished: AtomicU32::new(0),
            cancelled: AtomicU32::new(0),
            alarm: Notify::new(),
        })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(NEVER)
    }

    /// Whether any request has begun.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.requests.load(Ordering::Relaxed) > 0
    }

    /// Notes that the connection uses HTTP/2.
    pub fn speaks_http2(&self) {
        self.http2.store(true, Ordering::Relaxed);
    }

    /// Notes that bytes have arrived. Returns whether they are the first of a head.
    pub fn received(&self) -> bool {
        // Between two requests of HTTP/1.1 only the head of the next can arrive. In HTTP/2 there are other frames.
        if self.http2.load(Ordering::Relaxed) || self.unfinished.load(Ordering::Relaxed) > 0 {
            return false;
        }
        let begun = self
            .head
            .compare_exchange(NEVER, self.now(), Ordering::Relaxed, Ordering::Relaxed);
        begun.is_ok()
    }

    /// Notes that the client has read bytes.
    pub fn sent(&self) {
        if !self.http2.load(Ordering::Relaxed) {
            self.progress();
        }
    }

    fn progress(&self) {
        self.last.store(self.now(), Ordering::Relaxed);
    }

    /// Notes that a request begins. It is unfinished until the returned guard is dropped.
    #[must_use]
    pub fn begin(self: &Arc<Self>) -> Unfinished {
        self.progress();
        self.head.store(NEVER, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.unfinished.fetch_add(1, Ordering::Relaxed);
        Unfinished {
            activity: Arc::clone(self),
            answered: false,
        }
    }

    /// Waits until the connection must be checked immediately.
    pub async fn alarmed(&self) {
        self.alarm.notified().await;
    }

    /// What to do with the connection. `closing` is how long it has been closing, if it is.
    #[must_use]
    pub fn judge(&self, idle_timeout: Duration, closing: Option<Duration>) -> Verdict {
        let since = |time: u64| Duration::from_millis(self.now().saturating_sub(time));
        let read = |count: &AtomicU32| count.load(Ordering::Relaxed);
        let (requests, unfinished, cancelled) = (read(&self.requests), read(&self.unfinished), read(&self.cancelled));
        let head = self.head.load(Ordering::Relaxed);
        if head != NEVER && since(head) > HEAD_TIMEOUT && unfinished == 0 {
            return if self.http2.load(Ordering::Relaxed) {
                Verdict::Cut
            } else {
                Verdict::Refuse
            };
        }
        if requests == 0 && head == NEVER && self.opened.elapsed() > HEAD_TIMEOUT {
            return Verdict::Cut;
        }
        if cancelled > MAX_CANCELLED && cancelled > requests / 2 {
            return Verdict::Cut;
        }
        let last = since(self.last.load(Ordering::Relaxed));
        if unfinished > 0 && last > STUCK_TIMEOUT {
            return Verdict::Cut;
        }
        let idle = unfinished == 0 && head == NEVER && last > idle_timeout;
        match closing {
            Some(closing) if closing > CLOSING_TIMEOUT => Verdict::Cut,
            Some(closing) if unfinished == 0 && closing.min(last) > LEAVING_TIMEOUT => Verdict::Cut,
            None if idle || self.opened.elapsed() > MAX_AGE => Verdict::Close,
            _ => Verdict::Stay,
        }
    }
}

/// A request whose response has not been read completely.
pub struct Unfinished {
    activity: Arc<Activity>,
    answered: bool,
}

impl Unfinished {
    /// Notes that it was answered.
    pub fn answered(&mut self) {
        self.answered = true;
        self.activity.progress();
    }

    /// Notes that a part of the response was read.
    pub fn progress(&self) {
        self.activity.progress();
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        self.activity.unfinished.fetch_sub(1, Ordering::Relaxed);
        if !self.answered {
            let before = self.activity.cancelled.fetch_add(1, Ordering::Relaxed);
            if before >= MAX_CANCELLED {
                self.activity.alarm.notify_one();
            }
        }
    }
}
