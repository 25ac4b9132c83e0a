//! Look-ups of many requests in one statement.
//!
//! A statement costs a round trip to the database, or to the thread that holds the SQLite connection, and that costs
//! more than finding a row. So look-ups of one kind that come while others are under way wait for one another, and go
//! together. None waits on purpose: a lone one goes at once. Tenants take turns: each statement answers one look-up of each
//! tenant, then again.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::{Semaphore, oneshot};

use super::{
    Reader, Store, StoreError,
    turns::{self, QueueLimits, Rejected},
};
use crate::types::ids::TenantId;

/// Look-ups that may wait.
const LIMITS: QueueLimits = QueueLimits {
    per_tenant: 1024,
    total: 4096,
};
const TENANT_LIMIT: &str = "1,024 look-ups waiting at the same time";
/// Look-ups that share a statement at most.
const BATCH: usize = 128;
/// Statements under way at a time: one is being answered while the next is being made.
const UNDER_WAY: usize = 2;

/// A look-up of which many can be answered by one statement.
#[async_trait]
pub trait Question: Send + Sync + 'static {
    /// What is found.
    type Answer: Send + 'static;

    /// Whose turn it takes.
    fn tenant(&self) -> TenantId;

    /// Answers many, each in its place.
    ///
    /// # Errors
    ///
    /// Where the database cannot be asked: then none is answered.
    async fn answer_many(questions: &[Self], db: &Reader) -> Result<Vec<Self::Answer>, StoreError>
    where
        Self: Sized;
}

/// Asks questions of one kind together.
pub struct Coalesced<Q: Question> {
    queue: turns::Sender<TenantId, Waiting<Q>>,
}

type Waiting<Q> = (Q, oneshot::Sender<Result<<Q as Question>::Answer, StoreError>>);

impl<Q: Question> Clone for Coalesced<Q> {
    fn clone(&self) -> Self {
        Self {
            queue: self.queue.clone(),
        }
    }
}

impl<Q: Question> Coalesced<Q> {
    /// Begins to take questions. It ends with the last of its clones.
    #[must_use]
    pub fn new(store: &Store) -> Self {
        let (queue, waiting) = turns::queue(LIMITS);
        tokio::spawn(run(store.reader().clone(), waiting));
        Self { queue }
    }

    /// Asks a question.
    ///
    /// # Errors
    ///
    /// Where the database cannot be asked, or too many questions wait.
    pub async fn ask(&self, question: Q) -> Result<Q::Answer, StoreError> {
        let (reply, answer) = oneshot::channel();
        let tenant = question.tenant();
        self.queue
            .send(&tenant, (question, reply))
            .map_err(|rejected| match rejected {
                Rejected::TenantFull => StoreError::TenantOverloaded(TENANT_LIMIT),
                Rejected::Full | Rejected::Closed => StoreError::Overloaded,
            })?;
        answer
            .await
            .unwrap_or_else(|_| Err(StoreError::Fault("a look-up was given up".into())))
    }
}

async fn run<Q: Question>(db: Reader, mut waiting: turns::Receiver<TenantId, Waiting<Q>>) {
    let turns = Arc::new(Semaphore::new(UNDER_WAY));
    // The turn comes first: while all are taken, the next batch grows.
    while let Ok(turn) = Arc::clone(&turns).acquire_owned().await {
        let mut batch = Vec::with_capacity(BATCH);
        if waiting.recv_many(&mut batch, BATCH).await == 0 {
            break;
        }
        let db = db.clone();
        tokio::spawn(async move {
            let (questions, replies): (Vec<Q>, Vec<_>) = batch.into_iter().unzip();
            let answers = Q::answer_many(&questions, &db).await;
            drop(turn);
            // A caller who has gone needs no answer.
            match answers {
                Ok(answers) => {
                    for (answer, reply) in answers.into_iter().zip(replies) {
                        let _ = reply.send(Ok(answer));
                    }
                }
                Err(error) => {
                    for reply in replies {
                        let _ = reply.send(Err(error.clone()));
                    }
                }
            }
        });
    }
}
