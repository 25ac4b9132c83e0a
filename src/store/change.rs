//! A change, as a value: what it asserts, what rows it writes, and what it leaves in the audit log and the outbox.
//!
//! Every change to the data goes through one queue ([`super::writer`]) and is committed together with others that
//! wait at the same time. To add a kind of change, write a struct with what it needs and implement [`Change::apply`]
//! for it, in the file of the resource that it changes. The writer does the rest: the transaction, the isolation from
//! other changes in it, the audit entry, the event, and the answer after the commit.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use aka_entity::audit_log_entry::ActorType;
use async_trait::async_trait;
use sea_orm::{ConnectionTrait, DatabaseBackend, DatabaseTransaction, DbErr, ExecResult, QueryResult, Statement};
use uuid::Uuid;

use super::{
    StoreError,
    revision::{Expectation, RevisionMismatch},
    root_key::RootKey,
};
use crate::types::{
    clock::Timestamp,
    ids::{TenantId, UserId},
};

/// One kind of change.
#[async_trait]
pub trait Change: Send + Sync + Sized + 'static {
    /// What the caller gets when the change is committed.
    type Done: Send + 'static;
    /// Why the change was not made. Nothing of a refused change stays in the database.
    type Refusal: From<StoreError> + Send + 'static;

    /// Whose turn it takes: the tenant of whoever asked for it. `None` for the server's own upkeep.
    fn tenant(&self) -> Option<TenantId>;

    /// Whether changes of this kind can be applied together: whether [`Self::apply_many`] does more than nothing.
    const TOGETHER: bool = false;

    /// Checks what the change asserts and writes its rows, inside the transaction of a batch.
    async fn apply(&self, tx: &Tx<'_>) -> Result<Applied<Self::Done>, Self::Refusal>;

    /// The user whom the change is about. An answer to it that is kept is erased with them.
    fn about(&self) -> Option<UserId> {
        None
    }

    /// Does the same for many changes of this kind in fewer statements, with an outcome for each, in their order. Those
    /// without an outcome are applied one by one: all of them, where the kind has no such way, or those that take more
    /// than the statements that all share. Nothing of these may have been written.
    ///
    /// # Errors
    ///
    /// Where a statement fails for all of them; they are then applied one by one, so that each gets its own outcome.
    async fn apply_many(changes: &[&Self], tx: &Tx<'_>) -> Result<Vec<Option<Outcome<Self>>>, StoreError> {
        let _ = tx;
        Ok(changes.iter().map(|_| None).collect())
    }
}

/// What became of one change.
pub type Outcome<C> = Result<Applied<<C as Change>::Done>, <C as Change>::Refusal>;

/// The transaction in which a change is applied.
pub struct Tx<'a> {
    /// For statements.
    pub db: &'a Statements<'a>,
    /// The time of everything that is written in this transaction.
    pub now: Timestamp,
    /// For what is written sealed.
    pub root_key: &'a RootKey,
    pub(super) precondition: Precondition<'a>,
}

impl Tx<'_> {
    /// Whether whoever asked for the change said what they expect to find (`If-Match`).
    #[must_use]
    pub const fn has_precondition(&self) -> bool {
        self.precondition.expected.is_some()
    }

    /// Checks that the resource that is about to be changed is as whoever asked for it expects. Each change of something
    /// that has an `ETag` calls this with the revision that it found.
    ///
    /// # Errors
    ///
    /// Where it has another revision.
    pub fn check_revision(&self, found: &str) -> Result<(), RevisionMismatch> {
        self.precondition.checked.store(true, Ordering::Relaxed);
        match self.precondition.expected {
            Some(expected) if !expected.is_met_by(found) => Err(RevisionMismatch),
            _ => Ok(()),
        }
    }
}

/// What whoever asked for a change expects to find, and whether the change has looked.
#[derive(Default)]
pub(super) struct Precondition<'a> {
    expected: Option<&'a Expectation>,
    checked: AtomicBool,
}

impl<'a> Precondition<'a> {
    pub(super) const fn new(expected: Option<&'a Expectation>) -> Self {
        Self {
            expected,
            checked: AtomicBool::new(false),
        }
    }

    /// A change must not be made without a look at what was expected.
    pub(super) fn was_ignored(&self) -> bool {
        self.expected.is_some() && !self.checked.load(Ordering::Relaxed)
    }
}

/// The statements of a change, which remember what went wrong: a change's own refusal does not tell the writer whether
/// trying again may help.
pub struct Statements<'a> {
    db: &'a DatabaseTransaction,
    failure: Mutex<Option<StoreError>>,
}

impl<'a> Statements<'a> {
    /// Statements in a transaction, or behind a savepoint of it.
    pub(super) const fn new(db: &'a DatabaseTransaction) -> Self {
        Self {
            db,
            failure: Mutex::new(None),
        }
    }

    /// The last error of a statement.
    pub(super) fn failure(&self) -> Option<StoreError> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn noting<T>(&self, outcome: Result<T, DbErr>) -> Result<T, DbErr> {
        if let Err(error) = &outcome {
            *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.into());
        }
        outcome
    }
}

#[async_trait]
impl ConnectionTrait for Statements<'_> {
    fn get_database_backend(&self) -> DatabaseBackend {
        self.db.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.noting(self.db.execute_raw(statement).await)
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.noting(self.db.execute_unprepared(sql).await)
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.noting(self.db.query_one_raw(statement).await)
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.noting(self.db.query_all_raw(statement).await)
    }
}

/// What a change did.
pub struct Applied<T> {
    pub(super) done: T,
    pub(super) record: Option<Record>,
    pub(super) new_version_of: Option<TenantId>,
}

impl<T> Applied<T> {
    /// The change was made: this is its audit entry and its event.
    pub const fn recorded(done: T, record: Record) -> Self {
        Self {
            done,
            record: Some(record),
            new_version_of: None,
        }
    }

    /// Nothing had to be changed, so that there is nothing to record.
    pub const fn unchanged(done: T) -> Self {
        Self {
            done,
            record: None,
            new_version_of: None,
        }
    }

    /// What the caller gets.
    pub const fn done(&self) -> &T {
        &self.done
    }

    /// Whether nothing had to be changed.
    #[must_use]
    pub const fn is_unchanged(&self) -> bool {
        self.record.is_none()
    }

    /// The same change with something else for the caller.
    ///
    /// # Errors
    ///
    /// Those of `other`.
    pub fn try_map<U, E>(self, other: impl FnOnce(T) -> Result<U, E>) -> Result<Applied<U>, E> {
        Ok(Applied {
            done: other(self.done)?,
            record: self.record,
            new_version_of: self.new_version_of,
        })
    }

    /// The change concerns what nodes keep in memory for this tenant: they are told to read it again.
    #[must_use]
    pub const fn in_memory_of_nodes(mut self, tenant: TenantId) -> Self {
        self.new_version_of = Some(tenant);
        self
    }
}

/// The audit entry of a change, and its event.
pub struct Record {
    /// In whose audit log it stands.
    pub tenant: TenantId,
    /// Who did it: the id of a key, or the name of a subject.
    pub actor_id: String,
    /// What kind of credential they used.
    pub actor_type: ActorType,
    /// The operation.
    pub action: &'static str,
    /// What kind of thing was changed.
    pub resource_type: &'static str,
    /// Which one.
    pub resource_id: Uuid,
    /// What else the audit entry says, as JSON. Ids, no personal data: entries outlive the erasure of a user.
    pub metadata: String,
    /// Which rules allowed it.
    pub reasoning: String,
    /// The decision that allowed it, as JSON; none where nobody was asked.
    pub decision: Option<String>,
    /// What kind of event it is, e.g. `identity.linked`.
    pub event_type: &'static str,
    /// What the event says, as JSON.
    pub payload: String,
}
