//! What can go wrong with the store, as far as a caller can do something about it.

use std::sync::Arc;

use sea_orm::{DbErr, RuntimeErr, SqlErr, sqlx};

use super::root_key::RootKeyError;

/// Why the store did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be reached, is full, or did not answer in time. Whether a change that was under way has
    /// been made is not known: the caller may send it again.
    #[error("the database cannot be used at the moment: {0}")]
    Unavailable(String),
    /// There is no connection to the database to begin with, for this reason.
    #[error("cannot connect to the database: {0}")]
    Unreachable(String),
    /// The clock of this server is far from the database's. Says how far, and in which direction.
    #[error("the clock of this server is {0} that of the database")]
    ClockOff(String),
    /// Somebody else is changing the same rows, and has not finished in time. Nothing was changed.
    #[error("rows are locked by another change: {0}")]
    Locked(String),
    /// More changes are waiting than the queue holds.
    #[error("too many changes are waiting to be written")]
    Overloaded,
    /// The tenant has as much waiting as one tenant may have. Names the limit.
    #[error("a tenant has reached its limit of {0}")]
    TenantOverloaded(&'static str),
    /// A row with this key is there already.
    #[error("a unique index refused a row: {0}")]
    Duplicate(String),
    /// Another row points at this one, or the row that this one points at is not there.
    #[error("a foreign key refused a change: {0}")]
    Reference(String),
    /// There is no root key for this database.
    #[error(transparent)]
    RootKey(#[from] RootKeyError),
    /// Anything else is a fault of this program.
    #[error("the database refused a statement: {0}")]
    Fault(String),
}

impl StoreError {
    /// Whether a unique index refused a row.
    #[must_use]
    pub const fn is_duplicate(&self) -> bool {
        matches!(self, Self::Duplicate(_))
    }

    /// This error as one of the database's, for functions that know no other. Comes back as it was.
    #[must_use]
    pub fn into_db_err(self) -> DbErr {
        DbErr::TryIntoErr {
            from: "a query",
            into: "an answer",
            source: Arc::new(self),
        }
    }
}

impl From<DbErr> for StoreError {
    fn from(error: DbErr) -> Self {
        Self::from(&error)
    }
}

impl From<&DbErr> for StoreError {
    fn from(error: &DbErr) -> Self {
        match error.sql_err() {
            Some(SqlErr::UniqueConstraintViolation(what)) => return Self::Duplicate(what),
            Some(SqlErr::ForeignKeyConstraintViolation(what)) => return Self::Reference(what),
            _ => {}
        }
        match error {
            DbErr::TryIntoErr { source, .. } => source
                .downcast_ref::<Self>()
                .map_or_else(|| Self::Fault(told(error)), Self::clone),
            DbErr::ConnectionAcquire(_) | DbErr::Conn(_) => Self::Unavailable(told(error)),
            DbErr::Exec(RuntimeErr::SqlxError(cause)) | DbErr::Query(RuntimeErr::SqlxError(cause)) => {
                if is_lock(cause) {
                    Self::Locked(told(error))
                } else if passes(cause) {
                    Self::Unavailable(told(error))
                } else {
                    Self::Fault(told(error))
                }
            }
            _ => Self::Fault(told(error)),
        }
    }
}

/// What is wrong, without the values of rows and parameters: this gets into logs, and the databases' own words about data
/// quote it.
fn told(error: &DbErr) -> String {
    let (DbErr::Conn(RuntimeErr::SqlxError(cause))
    | DbErr::Exec(RuntimeErr::SqlxError(cause))
    | DbErr::Query(RuntimeErr::SqlxError(cause))) = error
    else {
        return match error {
            DbErr::ConnectionAcquire(_)
            | DbErr::Conn(RuntimeErr::Internal(_))
            | DbErr::RecordNotFound(_)
            | DbErr::RecordNotInserted
            | DbErr::RecordNotUpdated => error.to_string(),
            _ => "a value is not of the type that was expected".into(),
        };
    };
    match &**cause {
        sqlx::Error::Database(cause) => {
            let code = cause.code().unwrap_or_default();
            // PostgreSQL's class 22 is about data.
            let message = if code.len() == 5 && code.starts_with("22") {
                "data that it does not accept"
            } else {
                cause.message()
            };
            let place = [cause.table(), cause.constraint()];
            let place: Vec<&str> = place.into_iter().flatten().collect();
            format!("{message} (code {code}) {}", place.join(" "))
                .trim_end()
                .to_owned()
        }
        sqlx::Error::ColumnDecode { index, .. } => format!("column {index} cannot be read"),
        sqlx::Error::Decode(_) | sqlx::Error::Encode(_) => "a value cannot be read or written".into(),
        cause => cause.to_string(),
    }
}

/// Whether another transaction was in the way: PostgreSQL's `lock_not_available`, `serialization_failure` and
/// `deadlock_detected`.
fn is_lock(cause: &sqlx::Error) -> bool {
    let code = cause.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| ["55P03", "40001", "40P01"].contains(&code.as_ref()))
}

/// Whether the cause may go away by itself, so that the same statement can succeed later.
fn passes(cause: &sqlx::Error) -> bool {
    match cause {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::Protocol(_) => true,
        sqlx::Error::Database(error) => error.code().is_some_and(|code| passing_code(&code)),
        _ => false,
    }
}

/// PostgreSQL's codes have five characters (its manual, appendix A); SQLite's are numbers
/// (its "Result and Error Codes"), of which the low byte is the primary code.
fn passing_code(code: &str) -> bool {
    if code.len() == 5 {
        // Connection exceptions, transaction rollback, insufficient resources, operator intervention (shutdown,
        // statement_timeout), system errors, a standby that was asked to write, and a transaction that this server left
        // idle for too long.
        return ["08", "40", "53", "57", "58"]
            .iter()
            .any(|class| code.starts_with(class))
            || ["25006", "25P03"].contains(&code);
    }
    let Ok(code) = code.parse::<u32>() else { return false };
    // BUSY, LOCKED, NOMEM, READONLY, IOERR, FULL, CANTOPEN.
    matches!(code & 0xff, 5 | 6 | 7 | 8 | 10 | 13 | 14)
}
