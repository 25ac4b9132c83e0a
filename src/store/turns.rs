//! A queue in which tenants take turns.
//!
//! What many tenants share (the writer, statements that answer many look-ups, the pool for expensive work with rules)
//! takes its work from such a queue. In a plain queue whoever sends most is served most, and everybody else waits behind
//! it. Here each tenant has a line of its own, and the reader takes one item from each line in turn. A tenant that
//! floods the queue makes its own line longer, and nobody else's wait.
//!
//! Two limits keep memory bounded: the items in one line, and the items in all lines. A sender never waits: it is told at
//! once which of the two limits it has met, because the answers differ. The first is the tenant's own doing (`429`), the
//! second is not (`503`).

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::Notify;

/// How many items may wait.
#[derive(Clone, Copy, Debug)]
pub struct QueueLimits {
    /// Items of one tenant.
    pub per_tenant: usize,
    /// Items of all tenants together.
    pub total: usize,
}

/// Why an item was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// The tenant has as many items in the queue as one tenant may have.
    TenantFull,
    /// The queue has as many items as it may have.
    Full,
    /// The reader has gone, or takes nothing new.
    Closed,
}

/// A new queue: `K` says whose an item is.
#[must_use]
pub fn queue<K: Clone + Eq + Hash, T>(limits: QueueLimits) -> (Sender<K, T>, Receiver<K, T>) {
    let shared = Arc::new(SharedQueue {
        limits,
        lines: Mutex::new(TenantLines {
            waiting: HashMap::new(),
            turns: VecDeque::new(),
            len: 0,
            closed: false,
        }),
        changed: Notify::new(),
        senders: AtomicUsize::new(1),
    });
    let receiver = Receiver {
        shared: Arc::clone(&shared),
    };
    (Sender { shared }, receiver)
}

struct SharedQueue<K, T> {
    limits: QueueLimits,
    lines: Mutex<TenantLines<K, T>>,
    /// Told when an item arrives, and when none can arrive any more.
    changed: Notify,
    senders: AtomicUsize,
}

struct TenantLines<K, T> {
    /// The items of each tenant that has any, oldest first.
    waiting: HashMap<K, VecDeque<T>>,
    /// The same tenants, the one whose turn is next first.
    turns: VecDeque<K>,
    /// The number of all items.
    len: usize,
    closed: bool,
}

impl<K, T> SharedQueue<K, T> {
    /// Nothing that holds the lock can panic half-way, so that a poisoned one is sound.
    fn lines(&self) -> MutexGuard<'_, TenantLines<K, T>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end that queues items.
pub struct Sender<K, T> {
    shared: Arc<SharedQueue<K, T>>,
}

impl<K: Clone + Eq + Hash, T> Sender<K, T> {
    /// Queues an item at the end of its tenant's line.
    ///
    /// # Errors
    ///
    /// [`Rejected`], with the limit that was met.
    pub fn send(&self, tenant: &K, item: T) -> Result<(), Rejected> {
        let limits = self.shared.limits;
        let mut lines = self.shared.lines();
        let own = lines.waiting.get(tenant).map_or(0, VecDeque::len);
        if lines.closed {
            return Err(Rejected::Closed);
        }
        if own >= limits.per_tenant {
            return Err(Rejected::TenantFull);
        }
        if lines.len >= limits.total {
            return Err(Rejected::Full);
        }
        if own == 0 {
            lines.turns.push_back(tenant.clone());
        }
        lines.waiting.entry(tenant.clone()).or_default().push_back(item);
        lines.len += 1;
        drop(lines);
        self.shared.changed.notify_one();
        Ok(())
    }
}

impl<K, T> Clone for Sender<K, T> {
    fn clone(&self) -> Self {
        self.shared.senders.fetch_add(1, Ordering::Relaxed);
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<K, T> Drop for Sender<K, T> {
    fn drop(&mut self) {
        if self.shared.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.lines().closed = true;
            self.shared.changed.notify_one();
        }
    }
}

/// The end that takes items. There is one.
pub struct Receiver<K, T> {
    shared: Arc<SharedQueue<K, T>>,
}

impl<K: Clone + Eq + Hash, T> Receiver<K, T> {
    /// Waits for items, then takes up to `most` of them without waiting for more: one of each tenant, then again.
    /// Returns how many; none once the queue is closed and empty.
    ///
    /// Nothing is lost when the future is dropped before it is ready.
    pub async fn recv_many(&mut self, into: &mut Vec<T>, most: usize) -> usize {
        loop {
            let changed = self.shared.changed.notified();
            {
                let mut lines = self.shared.lines();
                let taken = lines.take(into, most);
                if taken > 0 || lines.closed {
                    return taken;
                }
            }
            changed.await;
        }
    }

    /// Gives items back that were taken and not dealt with, in the order in which they were taken. Their tenants are the
    /// next to have a turn, and each tenant's items come before those that it has queued since. The limits do not apply:
    /// the items were in the queue before.
    pub fn put_back(&mut self, items: Vec<(K, T)>) {
        if items.is_empty() {
            return;
        }
        let mut lines = self.shared.lines();
        lines.len += items.len();
        let mut first: Vec<K> = Vec::new();
        for (tenant, _) in &items {
            if !first.contains(tenant) {
                first.push(tenant.clone());
            }
        }
        for (tenant, item) in items.into_iter().rev() {
            lines.waiting.entry(tenant).or_default().push_front(item);
        }
        lines.turns.retain(|tenant| !first.contains(tenant));
        for tenant in first.into_iter().rev() {
            lines.turns.push_front(tenant);
        }
    }

    /// Takes nothing new from now on. What waits can still be received.
    pub fn close(&mut self) {
        self.shared.lines().closed = true;
    }

    /// Takes everything that waits.
    pub fn drain(&mut self) -> Vec<T> {
        let mut all = Vec::new();
        self.shared.lines().take(&mut all, usize::MAX);
        all
    }
}

impl<K, T> Drop for Receiver<K, T> {
    fn drop(&mut self) {
        let mut lines = self.shared.lines();
        lines.closed = true;
        // Whoever waits for the answer to an item learns now that there will be none.
        lines.waiting.clear();
        lines.turns.clear();
        lines.len = 0;
    }
}

impl<K: Clone + Eq + Hash, T> TenantLines<K, T> {
    fn take(&mut self, into: &mut Vec<T>, most: usize) -> usize {
        let mut taken = 0;
        while taken < most
            && let Some(tenant) = self.turns.pop_front()
        {
            let Some(line) = self.waiting.get_mut(&tenant) else {
                continue;
            };
            if let Some(item) = line.pop_front() {
                into.push(item);
                taken += 1;
                self.len -= 1;
            }
            if line.is_empty() {
                self.waiting.remove(&tenant);
            } else {
                self.turns.push_back(tenant);
            }
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: QueueLimits = QueueLimits {
        per_tenant: 3,
        total: 5,
    };

    #[tokio::test]
    async fn tenants_take_turns_however_many_items_each_has() {
        let (sender, mut receiver) = queue(LIMITS);
        for item in ["a1", "a2", "a3"] {
            sender.send(&'a', item).expect("there is room");
        }
        sender.send(&'b', "b1").expect("there is room");
        sender.send(&'c', "c1").expect("there is room");
        let mut taken = Vec::new();
        assert_eq!(receiver.recv_many(&mut taken, 2).await, 2);
        assert_eq!(taken, ["a1", "b1"]);
        sender.send(&'b', "b2").expect("there is room again");
        assert_eq!(receiver.recv_many(&mut taken, 10).await, 4);
        assert_eq!(taken, ["a1", "b1", "c1", "a2", "b2", "a3"]);
    }

    #[tokio::test]
    async fn what_is_put_back_comes_first_and_keeps_its_order() {
        let (sender, mut receiver) = queue(LIMITS);
        for (tenant, item) in [('a', "a1"), ('a', "a2"), ('b', "b1")] {
            sender.send(&tenant, item).expect("there is room");
        }
        let mut taken = Vec::new();
        receiver.recv_many(&mut taken, 3).await;
        assert_eq!(taken, ["a1", "b1", "a2"]);
        sender.send(&'c', "c1").expect("there is room");
        sender.send(&'b', "b2").expect("there is room");
        receiver.put_back(vec![('b', "b1"), ('a', "a2")]);
        taken.clear();
        assert_eq!(receiver.recv_many(&mut taken, 10).await, 4);
        assert_eq!(taken, ["b1", "a2", "c1", "b2"]);
    }

    #[tokio::test]
    async fn a_full_line_is_told_from_a_full_queue() {
        let (sender, mut receiver) = queue(LIMITS);
        for item in 0..3 {
            sender.send(&'a', item).expect("there is room");
        }
        assert_eq!(sender.send(&'a', 3), Err(Rejected::TenantFull));
        sender.send(&'b', 4).expect("there is room");
        sender.send(&'b', 5).expect("there is room");
        assert_eq!(sender.send(&'c', 6), Err(Rejected::Full));
        receiver.close();
        assert_eq!(sender.send(&'c', 6), Err(Rejected::Closed));
        assert_eq!(receiver.drain(), [0, 4, 1, 5, 2]);
        assert_eq!(receiver.recv_many(&mut Vec::new(), 1).await, 0);
    }

    #[tokio::test]
    async fn a_reader_waits_for_the_first_item_and_ends_with_the_last_sender() {
        let (sender, mut receiver) = queue(LIMITS);
        let reader = tokio::spawn(async move {
            let mut taken = Vec::new();
            while receiver.recv_many(&mut taken, 1).await > 0 {}
            taken
        });
        let second = sender.clone();
        drop(sender);
        tokio::task::yield_now().await;
        second.send(&'a', 1).expect("there is room");
        second.send(&'b', 2).expect("there is room");
        drop(second);
        assert_eq!(reader.await.expect("no panic"), [1, 2]);
    }
}
