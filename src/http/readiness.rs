//! Whether this server should get requests, as far as it can tell by itself: `/readyz` asks the database, too.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// How long a background task may fail until the server is not ready. Requests can do without each of them for a while, and
/// most faults pass within the first attempts to start it again.
pub const DOWN_AFTER: Duration = Duration::from_secs(30);

/// Whether the server has been told to stop, and which of its background tasks fail. Clones share what they know.
#[derive(Clone, Default)]
pub struct Readiness {
    shared: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    stopping: bool,
    /// The tasks that fail, by name, and since when.
    failing: BTreeMap<&'static str, Instant>,
}

impl Readiness {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock can panic half-way, so that a poisoned one is sound.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server has been told to stop.
    pub fn stop(&self) {
        self.state().stopping = true;
    }

    /// A background task has failed.
    pub fn failed(&self, task: &'static str) {
        self.state().failing.entry(task).or_insert_with(Instant::now);
    }

    /// A background task works, or works again.
    pub fn works(&self, task: &'static str) {
        self.state().failing.remove(task);
    }

    /// Checks that the server should get requests.
    ///
    /// # Errors
    ///
    /// Why it should not.
    pub fn check(&self) -> Result<(), String> {
        let state = self.state();
        if state.stopping {
            return Err("the server is shutting down".into());
        }
        let down = state.failing.iter().filter(|(_, since)| since.elapsed() >= DOWN_AFTER);
        let down: Vec<&str> = down.map(|(task, _)| *task).collect();
        if down.is_empty() {
            return Ok(());
        }
        Err(format!("background tasks are down: {}", down.join(", ")))
    }
}
