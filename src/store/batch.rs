//! A batch: the changes that one transaction carries out.
//!
//! Changes of a kind that has a way for many ([`Change::apply_many`]) are applied first, with a few statements for all of
//! them. The others follow one by one, each behind a savepoint, in the order of the tenants' turns, until the batch has
//! taken [`BATCH_TIME`]. What is not done by then is left for the next batch, so that no tenant fills a transaction for
//! which all others wait. A change of a tenant whose changes have taken long is not begun where it would make the batch late;
//! it is left, too, and then is the first of the next one.
//!
//! Rows that another transaction has locked are not waited for: whatever a tenant wants to do with them is left, and the
//! changes of other tenants are committed.

use std::{
    any::{Any, TypeId},
    collections::{HashMap, HashSet},
    panic::AssertUnwindSafe,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use futures_util::FutureExt as _;
use sea_orm::{ConnectionTrait as _, DatabaseTransaction, Statement, TransactionTrait as _};
use tokio::sync::oneshot;

use super::{
    Change, Record, StoreError, Tx,
    change::{Outcome, Precondition, Statements},
    pool::ANSWER_WITHIN,
    records,
    revision::Expectation,
    root_key::RootKey,
};
use crate::types::{
    clock::{self, Timestamp},
    ids::TenantId,
};

/// How long the changes of a batch may take that are applied one by one; as long as those that were applied together, if
/// these took longer. Everybody else waits meanwhile, so it is little; it is enough to make the cost of the commit small
/// beside it.
const BATCH_TIME: Duration = Duration::from_millis(8);

/// Whose turn a change takes: a tenant's, or the server's own.
pub type Turn = Option<TenantId>;

/// A change of any kind that waits in the queue.
pub trait QueuedChange: Send + Sync {
    fn turn(&self) -> Turn;
    fn kind(&self) -> TypeId;
    /// For how long it has been waiting.
    fn waited(&self) -> Duration;
    fn group(self: Box<Self>) -> Box<dyn Group>;
    /// Adds this job to a group of its own kind.
    fn join(self: Box<Self>, group: &mut dyn Any);
    fn refuse(self: Box<Self>, cause: &StoreError);
}

/// Changes of one kind in one batch.
#[async_trait]
pub trait Group: Send {
    fn kind(&self) -> TypeId;
    fn take(&mut self, job: Box<dyn QueuedChange>);
    /// Forgets all outcomes.
    fn reset(&mut self);
    async fn apply_together(&mut self, tx: &Tx<'_>) -> Result<(), StoreError>;
    async fn apply_one(
        &mut self,
        at: usize,
        transaction: &DatabaseTransaction,
        given: Given<'_>,
        way: Way,
    ) -> Result<Applying, StoreError>;
    fn is_decided(&self, at: usize) -> bool;
    fn written<'a>(&'a self, written: &mut BatchRecords<'a>);
    /// Answers the changes that have an outcome, and gives back the others, each at its place.
    fn answer(self: Box<Self>) -> Vec<Option<Box<dyn QueuedChange>>>;
    fn refuse(self: Box<Self>, cause: &StoreError);
}

/// What became of a change that was applied by itself.
pub enum Applying {
    /// It is done or refused. What nodes keep in memory of a tenant may have a new version.
    Decided(Option<(TenantId, i64)>),
    /// It came upon rows that are locked. Nothing of it was written.
    Locked,
}

/// What all changes of a batch are given.
#[derive(Clone, Copy)]
pub struct Given<'a> {
    now: Timestamp,
    root_key: &'a RootKey,
}

impl<'a> Given<'a> {
    fn tx(self, db: &'a Statements<'a>) -> Tx<'a> {
        Tx {
            db,
            now: self.now,
            root_key: self.root_key,
            precondition: Precondition::default(),
        }
    }
}

/// How the changes of a batch are applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// In as few statements as there can be.
    Together,
    /// Each by itself with everything that belongs to it, so that a fault stays its own.
    OneByOne,
}

/// What the changes of a batch leave behind beside their rows.
#[derive(Default)]
pub struct BatchRecords<'a> {
    records: Vec<&'a Record>,
    new_versions_of: Vec<TenantId>,
}

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

/// Makes an error of a panic. A change with a fault in it must not take the writer with it, on which all others wait.
async fn surviving<T, E: From<StoreError>>(work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let outcome = AssertUnwindSafe(work).catch_unwind().await;
    outcome.unwrap_or_else(|_| Err(StoreError::Fault("a panic while a change was written".into()).into()))
}

async fn new_versions(tx: &Tx<'_>, mut tenants: Vec<TenantId>) -> Result<Vec<(TenantId, i64)>, StoreError> {
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

/// A change with the caller that waits for its outcome.
pub struct WaitingChange<C: Change> {
    pub change: C,
    /// What whoever asked for it expects to find.
    pub expected: Option<Expectation>,
    pub reply: oneshot::Sender<ChangeAnswer<C>>,
    pub since: Instant,
}

/// What the caller is told.
pub struct ChangeAnswer<C: Change> {
    pub outcome: Result<C::Done, C::Refusal>,
    /// Time in the queue.
    pub queued: Duration,
    /// Time from the queue to the commit.
    pub stored: Duration,
}

impl<C: Change> WaitingChange<C> {
    fn answer(self, begun: Instant, outcome: Result<C::Done, C::Refusal>) {
        // A caller that has gone does not undo the change.
        let _ = self.reply.send(ChangeAnswer {
            outcome,
            queued: begun.duration_since(self.since),
            stored: begun.elapsed(),
        });
    }
}

impl<C: Change> QueuedChange for WaitingChange<C> {
    fn turn(&self) -> Turn {
        self.change.tenant()
    }

    fn kind(&self) -> TypeId {
        TypeId::of::<C>()
    }

    fn waited(&self) -> Duration {
        self.since.elapsed()
    }

    fn group(self: Box<Self>) -> Box<dyn Group> {
        Box::new(Changes {
            begun: Instant::now(),
            waiting: vec![*self],
            outcomes: Vec::new(),
        })
    }

    fn join(self: Box<Self>, group: &mut dyn Any) {
        if let Some(changes) = group.downcast_mut::<Changes<C>>() {
            changes.waiting.push(*self);
        }
    }

    fn refuse(self: Box<Self>, cause: &StoreError) {
        self.answer(Instant::now(), Err(cause.clone().into()));
    }
}

struct Changes<C: Change> {
    begun: Instant,
    waiting: Vec<WaitingChange<C>>,
    /// One for each that waits, from the first statement on.
    outcomes: Vec<Option<Outcome<C>>>,
}

#[async_trait]
impl<C: Change> Group for Changes<C> {
    fn kind(&self) -> TypeId {
        TypeId::of::<C>()
    }

    fn take(&mut self, job: Box<dyn QueuedChange>) {
        job.join(self);
    }

    fn reset(&mut self) {
        self.outcomes.clear();
        self.outcomes.resize_with(self.waiting.len(), || None);
    }

    async fn apply_together(&mut self, tx: &Tx<'_>) -> Result<(), StoreError> {
        // What was expected is looked at one by one.
        let waiting = self.waiting.iter().zip(&mut self.outcomes);
        let (changes, outcomes): (Vec<&C>, Vec<_>) = waiting
            .filter(|(waiting, _)| waiting.expected.is_none())
            .map(|(waiting, outcome)| (&waiting.change, outcome))
            .unzip();
        if changes.is_empty() {
            return Ok(());
        }
        for (place, outcome) in outcomes.into_iter().zip(C::apply_many(&changes, tx).await?) {
            *place = outcome;
        }
        Ok(())
    }

    async fn apply_one(
        &mut self,
        at: usize,
        transaction: &DatabaseTransaction,
        given: Given<'_>,
        way: Way,
    ) -> Result<Applying, StoreError> {
        let (Some(waiting), Some(place)) = (self.waiting.get(at), self.outcomes.get_mut(at)) else {
            return Ok(Applying::Decided(None));
        };
        let savepoint = transaction.begin().await?;
        let statements = Statements::new(&savepoint);
        let applied = surviving(apply_alone(waiting, &statements, given, way)).await;
        let failure = statements.failure();
        match applied {
            Ok((applied, version)) => {
                savepoint.commit().await?;
                *place = Some(Ok(applied));
                Ok(Applying::Decided(version))
            }
            Err(refusal) => {
                savepoint.rollback().await?;
                match failure {
                    Some(StoreError::Locked(_)) => Ok(Applying::Locked),
                    Some(away @ StoreError::Unavailable(_)) => Err(away),
                    _ => {
                        *place = Some(Err(refusal));
                        Ok(Applying::Decided(None))
                    }
                }
            }
        }
    }

    fn is_decided(&self, at: usize) -> bool {
        matches!(self.outcomes.get(at), Some(Some(_)))
    }

    fn written<'a>(&'a self, written: &mut BatchRecords<'a>) {
        for applied in self.outcomes.iter().flatten().flatten() {
            written.records.extend(&applied.record);
            written.new_versions_of.extend(applied.new_version_of);
        }
    }

    fn answer(self: Box<Self>) -> Vec<Option<Box<dyn QueuedChange>>> {
        let Self {
            begun,
            waiting,
            outcomes,
        } = *self;
        let answered = waiting
            .into_iter()
            .zip(outcomes)
            .map(|(waiting, outcome)| match outcome {
                Some(outcome) => {
                    waiting.answer(begun, outcome.map(|applied| applied.done));
                    None
                }
                None => Some(Box::new(waiting) as Box<dyn QueuedChange>),
            });
        answered.collect()
    }

    fn refuse(self: Box<Self>, cause: &StoreError) {
        for waiting in self.waiting {
            waiting.answer(self.begun, Err(cause.clone().into()));
        }
    }
}

/// A change that was applied, and the version that it gave to what nodes keep in memory.
type AppliedAlone<C> = (super::Applied<<C as Change>::Done>, Option<(TenantId, i64)>);

/// Applies one change behind a savepoint, so that a refusal takes back its own statements and no others. The version of
/// what nodes keep in memory is counted there, too: the row of a tenant may be locked, and that is the concern of this
/// tenant only. One by one, the record is written there as well: one that cannot be written is then the fault of its own
/// change.
async fn apply_alone<C: Change>(
    WaitingChange { change, expected, .. }: &WaitingChange<C>,
    statements: &Statements<'_>,
    given: Given<'_>,
    way: Way,
) -> Result<AppliedAlone<C>, C::Refusal> {
    let tx = Tx {
        precondition: Precondition::new(expected.as_ref()),
        ..given.tx(statements)
    };
    let applied = change.apply(&tx).await?;
    if tx.precondition.was_ignored() {
        return Err(StoreError::Fault("a change did not look at what was expected of its resource".into()).into());
    }
    if way == Way::OneByOne
        && let Some(record) = &applied.record
    {
        records::insert(&tx, &[record]).await?;
    }
    let versions = new_versions(&tx, applied.new_version_of.into_iter().collect()).await?;
    Ok((applied, versions.into_iter().next()))
}
