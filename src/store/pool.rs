//! Connections to the database for one purpose: how long a statement on them may take, and how dead ones are replaced.
//!
//! A network that loses packets without a word leaves a connection that looks alive and never answers. The driver has no
//! time limit of its own, and waits for such a connection even when it takes it back into its pool. So:
//!
//! * **Each statement has a time limit on this side** ([`ANSWER_WITHIN`]), a little longer than the one that the database
//!   enforces itself. A caller is told when it has passed.
//! * **The pool is replaced as a whole** when a statement was given up, or when no connection can be had and none has
//!   answered for as long. Statements under way on the old pool may finish; what is stuck there disturbs nobody.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use sea_orm::{
    ConnectionTrait, DatabaseBackend, DatabaseConnection, DatabaseTransaction, DbErr, ExecResult, QueryResult,
    RuntimeErr, SqliteTransactionMode, Statement, TransactionOptions, TransactionTrait as _,
};

use super::{
    StoreError,
    connect::{self, DatabaseUrl, Purpose, STATEMENT_TIMEOUT},
    shares::Shares,
};
use crate::types::ids::TenantId;

/// How long the database may take to answer a statement. It gives one up by itself after [`STATEMENT_TIMEOUT`] and says so;
/// when even that does not arrive, it cannot be reached.
pub const ANSWER_WITHIN: Duration = STATEMENT_TIMEOUT.saturating_add(Duration::from_secs(1));
/// Time between two replacements of a pool, so that a database that is away is not flooded with connections.
const REPLACE_AT_MOST_EVERY: Duration = Duration::from_secs(1);
/// After so long without an answer to anybody, the database counts as away.
const SILENT: Duration = Duration::from_secs(2);
/// How long an old pool may take to close.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// Connections for one purpose.
pub struct Pool {
    url: DatabaseUrl,
    purpose: Purpose,
    current: RwLock<Current>,
}

struct Current {
    db: DatabaseConnection,
    opened: Instant,
    /// When the database last answered on one of these connections, even with an error.
    answered: Instant,
}

impl Pool {
    /// Opens connections, and waits for the first.
    pub async fn open(url: &DatabaseUrl, purpose: Purpose) -> Result<Self, StoreError> {
        let db = connect::pool(url, purpose, false).await?;
        let now = Instant::now();
        Ok(Self {
            url: url.clone(),
            purpose,
            current: RwLock::new(Current {
                db,
                opened: now,
                answered: now,
            }),
        })
    }

    /// The connections as they are now.
    pub fn connections(&self) -> DatabaseConnection {
        self.current.read().unwrap_or_else(PoisonError::into_inner).db.clone()
    }

    /// Carries out something on the connections, within the time limit.
    pub async fn within_limit<T>(
        &self,
        work: impl AsyncFnOnce(DatabaseConnection) -> Result<T, DbErr>,
    ) -> Result<T, DbErr> {
        let outcome = tokio::time::timeout(ANSWER_WITHIN, work(self.connections())).await;
        match outcome {
            Ok(Err(error @ DbErr::ConnectionAcquire(_))) => {
                if self.silent_for() > ANSWER_WITHIN {
                    self.replace().await;
                }
                Err(error)
            }
            Ok(outcome) => {
                self.current.write().unwrap_or_else(PoisonError::into_inner).answered = Instant::now();
                outcome
            }
            Err(_) => {
                self.replace().await;
                Err(no_answer())
            }
        }
    }

    /// Begins a transaction that is going to write. A connection that died since its last use is found out here, where
    /// trying again is harmless. That shows at once: what took longer (another process holds SQLite's lock, PostgreSQL
    /// cannot be reached) would take as long again.
    pub async fn begin(&self) -> Result<DatabaseTransaction, StoreError> {
        const AT_ONCE: Duration = Duration::from_millis(200);
        let begin = || {
            self.within_limit(async |db: DatabaseConnection| {
                db.begin_with_options(TransactionOptions {
                    // A SQLite transaction that begins by reading cannot wait for its turn to write.
                    sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
                    ..TransactionOptions::default()
                })
                .await
            })
        };
        let first_attempt = Instant::now();
        match begin().await.map_err(StoreError::from) {
            Err(StoreError::Unavailable(_)) if first_attempt.elapsed() < AT_ONCE => Ok(begin().await?),
            outcome => outcome,
        }
    }

    fn silent_for(&self) -> Duration {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .answered
            .elapsed()
    }

    /// Takes new connections from now on. A database in a file has no network to lose, and keeps those that it has.
    pub async fn replace(&self) {
        if self.url.is_sqlite() {
            return;
        }
        let fresh = match connect::pool(&self.url, self.purpose, true).await {
            Ok(fresh) => fresh,
            Err(error) => {
                tracing::warn!(%error, "the connections to the database could not be replaced");
                return;
            }
        };
        let old = {
            let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
            if current.opened.elapsed() < REPLACE_AT_MOST_EVERY {
                return;
            }
            current.opened = Instant::now();
            std::mem::replace(&mut current.db, fresh)
        };
        tracing::warn!(purpose = ?self.purpose, "the database does not respond: replacing its connections");
        tokio::spawn(async move {
            // Waits for statements under way. Those that never end keep only themselves.
            let _ = tokio::time::timeout(CLOSE_WITHIN, old.close()).await;
        });
    }

    /// Closes the connections, those that can be.
    pub async fn close(&self) {
        match tokio::time::timeout(CLOSE_WITHIN, self.connections().close()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the connections to the database did not close cleanly"),
            Err(_) => tracing::warn!("the connections to the database did not close in time"),
        }
    }
}

fn no_answer() -> DbErr {
    DbErr::Conn(RuntimeErr::Internal("the database did not answer in time".into()))
}

/// For queries: those of a tenant take turns when it sends many at once.
#[derive(Clone)]
pub struct Reader {
    pool: Arc<Pool>,
    /// Whose queries they are, and how many of its queries may run at the same time. None: the server's own.
    share: Option<(Arc<Shares>, TenantId)>,
}

impl Reader {
    /// For the server's own queries, and for those that many tenants share.
    pub const fn new(pool: Arc<Pool>) -> Self {
        Self { pool, share: None }
    }

    /// The same for the queries of one tenant.
    #[must_use]
    pub fn of(&self, shares: &Arc<Shares>, tenant: TenantId) -> Self {
        Self {
            pool: Arc::clone(&self.pool),
            share: Some((Arc::clone(shares), tenant)),
        }
    }

    /// Closes the connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    async fn ask<T>(&self, query: impl AsyncFnOnce(DatabaseConnection) -> Result<T, DbErr>) -> Result<T, DbErr> {
        let _share = match &self.share {
            Some((shares, tenant)) => match shares.take(*tenant).await {
                // It is not the tenant's own excess when its queries do not end because nothing comes from the database.
                Err(_) if self.pool.silent_for() > SILENT => return Err(no_answer()),
                share => Some(share?),
            },
            None => None,
        };
        self.pool.within_limit(query).await
    }
}

#[async_trait::async_trait]
impl ConnectionTrait for Reader {
    fn get_database_backend(&self) -> DatabaseBackend {
        self.pool.connections().get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.ask(async |db: DatabaseConnection| db.execute_raw(statement).await)
            .await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.ask(async |db: DatabaseConnection| db.execute_unprepared(sql).await)
            .await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.ask(async |db: DatabaseConnection| db.query_one_raw(statement).await)
            .await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.ask(async |db: DatabaseConnection| db.query_all_raw(statement).await)
            .await
    }
}
