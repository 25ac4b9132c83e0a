//! Look-ups of many requests in one statement.
//!
//! A statement costs a round trip to the database, or to the thread that holds the SQLite connection, and that costs
//! more than finding a row. So look-ups of one kind that come while others are under way wait for one another, and go
//! together. None waits on purpose: a lone one goes at once.

use std::sync::Arc;

use async_trait::async_trait;
use sea_orm::DatabaseConnection;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::{Store, StoreError};

/// Look-ups that may wait.
const QUEUE: usize = 4096;
/// Look-ups that share a statement at most.
const BATCH: usize = 128;
/// Statements under way at a time: one is being answered while the next is being made.
const UNDER_WAY: usize = 2;

/// A look-up of which many can be answered by one statement.
#[async_trait]
pub trait Question: Send + Sync + 'static {
    /// What is found.
    type Answer: Send + 'static;

    /// Answers many, each in its place.
    ///
    /// # Errors
    ///
    /// Where the database cannot be asked: then none is answered.
    async fn answer_many(questions: &[Self], db: &DatabaseConnection) -> Result<Vec<Self::Answer>, StoreError>
    where
        Self: Sized;
}

/// Asks questions of one kind together.
pub struct Coalesced<Q: Question> {
    queue: mpsc::Sender<Waiting<Q>>,
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
        let (queue, waiting) = mpsc::channel(QUEUE);
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
        self.queue
            .try_send((question, reply))
            .map_err(|_| StoreError::Overloaded)?;
        answer
            .await
            .unwrap_or_else(|_| Err(StoreError::Fault("a look-up was given up".into())))
    }
}

async fn run<Q: Question>(db: DatabaseConnection, mut waiting: mpsc::Receiver<Waiting<Q>>) {
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
