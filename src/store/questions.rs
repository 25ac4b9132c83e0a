//! Questions: reads of many requests in one statement.
//!
//! A statement costs a round trip to the database, or to the thread that holds the SQLite connection, and that costs
//! more than finding a row. So questions of one kind that come while others are under way wait for one another, and go
//! together. None waits on purpose: a lone one goes at once. Tenants take turns: each statement answers one question of each
//! tenant, then again.
//!
//! To add a kind of question, write a struct with what it asks and implement [`Question`] for it, beside the SQL of its
//! resource. Its queue is made when the first one is asked.

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use async_trait::async_trait;
use tokio::sync::{Semaphore, oneshot};

use super::{
    Reader, StoreError,
    turns::{self, QueueLimits, Rejected},
};
use crate::types::ids::TenantId;

/// Questions of one kind that may wait.
const LIMITS: QueueLimits = QueueLimits {
    per_tenant: 1024,
    total: 4096,
};
const TENANT_LIMIT: &str = "1,024 look-ups waiting at the same time";
/// Statements of one kind under way at a time: one is being answered while the next is being made.
const UNDER_WAY: usize = 2;

/// A question of which many can be answered by one statement.
#[async_trait]
pub trait Question: Send + Sync + 'static {
    /// What is found.
    type Answer: Send + 'static;

    /// Questions that share a statement at most. Nobody is answered before all of them are, so that it is less where an
    /// answer has many rows.
    const BATCH: usize = 128;

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

/// The queues of questions, one for each kind.
#[derive(Default)]
pub struct Questions {
    queues: RwLock<QueuesByKind>,
}

/// By the type of the question, the [`Queue`] of it.
type QueuesByKind = HashMap<TypeId, Box<dyn Any + Send + Sync>>;

/// The end of a queue that takes questions. Whoever answers them ends with the last clone.
type Queue<Q> = turns::Sender<TenantId, Waiting<Q>>;

/// A question with the caller that waits for its answer.
type Waiting<Q> = (Q, oneshot::Sender<Result<<Q as Question>::Answer, StoreError>>);

impl Questions {
    /// Asks a question.
    pub async fn ask<Q: Question>(&self, question: Q, db: &Reader) -> Result<Q::Answer, StoreError> {
        let (reply, answer) = oneshot::channel();
        let tenant = question.tenant();
        self.queue(db)
            .send(&tenant, (question, reply))
            .map_err(|rejected| match rejected {
                Rejected::TenantFull => StoreError::TenantOverloaded(TENANT_LIMIT),
                Rejected::Full | Rejected::Closed => StoreError::Overloaded,
            })?;
        answer
            .await
            .unwrap_or_else(|_| Err(StoreError::Fault("a look-up was given up".into())))
    }

    /// The queue of a kind.
    fn queue<Q: Question>(&self, db: &Reader) -> Queue<Q> {
        let known = |queues: &QueuesByKind| queues.get(&TypeId::of::<Q>())?.downcast_ref().cloned();
        let queue = known(&self.queues.read().unwrap_or_else(PoisonError::into_inner));
        if let Some(queue) = queue {
            return queue;
        }
        let mut queues = self.queues.write().unwrap_or_else(PoisonError::into_inner);
        // Another caller may have made it in the meantime.
        known(&queues).unwrap_or_else(|| {
            let (queue, waiting) = turns::queue(LIMITS);
            tokio::spawn(answer_all::<Q>(db.clone(), waiting));
            queues.insert(TypeId::of::<Q>(), Box::new(queue.clone()));
            queue
        })
    }
}

async fn answer_all<Q: Question>(db: Reader, mut waiting: turns::Receiver<TenantId, Waiting<Q>>) {
    let turns = Arc::new(Semaphore::new(UNDER_WAY));
    // The turn comes first: while all are taken, the next batch grows.
    while let Ok(turn) = Arc::clone(&turns).acquire_owned().await {
        let mut batch = Vec::with_capacity(Q::BATCH);
        if waiting.recv_many(&mut batch, Q::BATCH).await == 0 {
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
