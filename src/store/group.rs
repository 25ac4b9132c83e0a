//! The changes of one kind in a batch, with the callers that wait for them.
//!
//! A batch holds changes of many types. Here is what makes them alike: a [`QueuedChange`] is a change of any type in the
//! queue, and a [`Group`] has those of one type that share a batch, so that they can be applied together.

use std::{
    any::{Any, TypeId},
    panic::AssertUnwindSafe,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use futures_util::FutureExt as _;
use sea_orm::{ConnectionTrait as _, DatabaseTransaction, Statement, TransactionTrait as _};
use tokio::sync::oneshot;

use super::{
    Applied, Change, Record, StoreError, Tx,
    change::{Outcome, Precondition, Statements},
    records,
    revision::Expectation,
    root_key::RootKey,
};
use crate::types::{clock::Timestamp, ids::TenantId};

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
    pub now: Timestamp,
    pub root_key: &'a RootKey,
}

impl<'a> Given<'a> {
    pub fn tx(self, db: &'a Statements<'a>) -> Tx<'a> {
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
    pub records: Vec<&'a Record>,
    pub new_versions_of: Vec<TenantId>,
}

/// Makes an error of a panic. A change with a fault in it must not take the writer with it, on which all others wait.
pub async fn surviving<T, E: From<StoreError>>(work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let outcome = AssertUnwindSafe(work).catch_unwind().await;
    outcome.unwrap_or_else(|_| Err(StoreError::Fault("a panic while a change was written".into()).into()))
}

pub async fn new_versions(tx: &Tx<'_>, mut tenants: Vec<TenantId>) -> Result<Vec<(TenantId, i64)>, StoreError> {
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
type AppliedAlone<C> = (Applied<<C as Change>::Done>, Option<(TenantId, i64)>);

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
