//! A batch: the changes that one transaction carries out.
//!
//! Changes of a kind that has a way for many ([`super::Change::apply_many`]) are applied first, with a few statements for all of
//! them ([`super::group`]). The others follow one by one, each behind a savepoint, in the order of the tenants' turns, until the batch has
//! taken [`BATCH_TIME`]. What is not done by then is left for the next batch, so that no tenant fills a transaction for
//! which all others wait. A change of a tenant whose changes have taken long is not begun where it would make the batch late;
//! it is left, too, and then is the first of the next one.
//!
//! Rows that another transaction has locked are not waited for: whatever a tenant wants to do with them is left, and the
//! changes of other tenants are committed.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use sea_orm::DatabaseTransaction;

use super::{
    StoreError,
    change::Statements,
    group::{Applying, BatchRecords, Given, Group, QueuedChange, Turn, Way, new_versions, surviving},
    pool::ANSWER_WITHIN,
    records,
    root_key::RootKey,
};
use crate::types::{clock, ids::TenantId};

/// How long the changes of a batch may take that are applied one by one; as long as those that were applied together, if
/// these took longer. Everybody else waits meanwhile, so it is little; it is enough to make the cost of the commit small
/// beside it.
const BATCH_TIME: Duration = Duration::from_millis(8);

/// How long the changes of tenants have taken lately, of those that take long.
#[derive(Default)]
pub struct Costs {
    of: HashMap<Turn, Duration>,
}

impl Costs {
    /// Below this the next change is taken to cost nothing.
    const REMEMBERED: Duration = Duration::from_millis(1);

    fn expected(&self, turn: Turn) -> Duration {
        self.of.get(&turn).copied().unwrap_or_default()
    }

    fn note(&mut self, turn: Turn, took: Duration) {
        let average = self.of.get(&turn).map_or(took, |before| (*before * 3 + took) / 4);
        if average < Self::REMEMBERED {
            self.of.remove(&turn);
        } else {
            self.of.insert(turn, average);
        }
    }
}

/// Changes that share a transaction.
pub struct Batch {
    groups: Vec<Box<dyn Group>>,
    /// Every change, in the order of turns.
    places: Vec<BatchPlace>,
}

/// Where a change is.
struct BatchPlace {
    turn: Turn,
    group: usize,
    at: usize,
    locked: bool,
}

/// What was committed, and what was not done.
pub struct Committed {
    batch: Batch,
    /// The new versions of what nodes keep in memory of tenants.
    pub versions: Vec<(TenantId, i64)>,
}

/// Changes that were not done.
#[derive(Default)]
pub struct Left {
    /// For which there was no time.
    pub undone: Vec<(Turn, Box<dyn QueuedChange>)>,
    /// Of tenants whose rows are locked.
    pub locked: Vec<(Turn, Box<dyn QueuedChange>)>,
}

impl Committed {
    /// Answers what was done.
    pub fn answer(self) -> Left {
        let mut jobs: Vec<Vec<Option<Box<dyn QueuedChange>>>> =
            self.batch.groups.into_iter().map(Group::answer).collect();
        let mut left = Left::default();
        for place in self.batch.places {
            let job = jobs.get_mut(place.group).and_then(|jobs| jobs.get_mut(place.at));
            if let Some(job) = job.and_then(Option::take) {
                let to = if place.locked {
                    &mut left.locked
                } else {
                    &mut left.undone
                };
                to.push((place.turn, job));
            }
        }
        left
    }
}

impl Batch {
    /// Sorts changes by their kind; within a kind their order stays.
    pub fn new(jobs: impl IntoIterator<Item = Box<dyn QueuedChange>>) -> Self {
        let mut batch = Self {
            groups: Vec::new(),
            places: Vec::new(),
        };
        let mut sizes: Vec<usize> = Vec::new();
        for job in jobs {
            let (turn, kind) = (job.turn(), job.kind());
            let group = batch.groups.iter().position(|group| group.kind() == kind);
            let group = group.unwrap_or(batch.groups.len());
            if let (Some(known), Some(size)) = (batch.groups.get_mut(group), sizes.get_mut(group)) {
                known.take(job);
                *size += 1;
            } else {
                batch.groups.push(job.group());
                sizes.push(1);
            }
            batch.places.push(BatchPlace {
                turn,
                group,
                at: sizes.get(group).map_or(0, |size| size - 1),
                locked: false,
            });
        }
        batch
    }

    /// Whether there is nothing in it.
    pub const fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// How many changes are in it.
    pub const fn len(&self) -> usize {
        self.places.len()
    }

    /// Refuses all of it.
    pub fn refuse(self, cause: &StoreError) {
        for group in self.groups {
            group.refuse(cause);
        }
    }

    /// Applies the changes in a transaction, and commits it. When that fails, nothing was changed, or it is not known
    /// whether it was ([`StoreError::Unavailable`]).
    pub async fn commit(
        mut self,
        transaction: DatabaseTransaction,
        root_key: &RootKey,
        way: Way,
        costs: &mut Costs,
    ) -> Result<Committed, (Self, StoreError)> {
        let given = Given {
            now: clock::now(),
            root_key,
        };
        let applying = tokio::time::timeout(ANSWER_WITHIN, surviving(self.apply(transaction, given, way, costs)));
        let outcome = applying.await.unwrap_or_else(|_| {
            Err(StoreError::Unavailable(format!(
                "the database did not commit within {ANSWER_WITHIN:?}"
            )))
        });
        match outcome {
            Ok(versions) => Ok(Committed { batch: self, versions }),
            Err(error) => Err((self, error)),
        }
    }

    async fn apply(
        &mut self,
        transaction: DatabaseTransaction,
        given: Given<'_>,
        way: Way,
        costs: &mut Costs,
    ) -> Result<Vec<(TenantId, i64)>, StoreError> {
        let began = Instant::now();
        let statements = Statements::new(&transaction);
        let tx = given.tx(&statements);
        for group in &mut self.groups {
            group.reset();
            if way == Way::Together {
                group.apply_together(&tx).await?;
            }
        }
        // What was applied together has its versions counted together, too; what is applied alone counts its own.
        let together: Vec<TenantId> = self.written().new_versions_of;
        let time = BATCH_TIME.max(began.elapsed());
        let mut versions = self.apply_rest(&transaction, given, way, (time, costs)).await?;
        if way == Way::Together {
            records::insert(&tx, &self.written().records).await?;
        }
        versions.extend(new_versions(&tx, together).await?);
        transaction.commit().await?;
        Ok(versions)
    }

    /// Applies what has no outcome yet, one by one, for as long as there is time; at least the first change, so that each
    /// has its turn at last.
    async fn apply_rest(
        &mut self,
        transaction: &DatabaseTransaction,
        given: Given<'_>,
        way: Way,
        (time, costs): (Duration, &mut Costs),
    ) -> Result<Vec<(TenantId, i64)>, StoreError> {
        let began = Instant::now();
        let mut versions = Vec::new();
        let mut locked: HashSet<Turn> = HashSet::new();
        let mut first = true;
        for place in &mut self.places {
            let Some(group) = self.groups.get_mut(place.group) else {
                continue;
            };
            place.locked = locked.contains(&place.turn);
            let in_time = first || began.elapsed() + costs.expected(place.turn) <= time;
            if group.is_decided(place.at) || place.locked || !in_time {
                continue;
            }
            first = false;
            let turn_began = Instant::now();
            match group.apply_one(place.at, transaction, given, way).await? {
                Applying::Decided(version) => {
                    costs.note(place.turn, turn_began.elapsed());
                    versions.extend(version);
                }
                Applying::Locked => {
                    place.locked = true;
                    locked.insert(place.turn);
                }
            }
        }
        Ok(versions)
    }

    fn written(&self) -> BatchRecords<'_> {
        let mut written = BatchRecords::default();
        for group in &self.groups {
            group.written(&mut written);
        }
        written
    }
}
