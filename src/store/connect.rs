//! Opening a database: its address, and the settings that durability and speed need.

use std::{
    fmt, fs, io,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use futures_util::FutureExt as _;
use sea_orm::{
    ConnectOptions, Database, DatabaseConnection, DbErr, RuntimeErr,
    sqlx::{
        self, ConnectOptions as _, Connection as _, SqliteConnection,
        postgres::PgConnectOptions,
        sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
    },
};

use super::StoreError;

/// How long a request waits for a connection before it is told that the database is away. Short, so that callers
/// learn within a second that the database has gone.
const ACQUIRE_TIMEOUT: Duration = Duration::from_millis(800);
/// How long PostgreSQL works on one statement, and SQLite waits for another process's lock.
pub const STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long PostgreSQL keeps a transaction open whose node sends nothing: a node that is frozen, or cut off, keeps its locks
/// for so long.
const IDLE_IN_TRANSACTION: Duration = Duration::from_secs(2);
/// How long a change waits for rows that another transaction holds. It holds up the other changes of its batch meanwhile, so
/// it gives up soon; the writer tries it again later.
const LOCK_TIMEOUT: Duration = Duration::from_millis(50);
/// How PostgreSQL finds out that a node is gone without having said so: after 10 s of silence it asks, three times, and
/// data that is not confirmed for 10 s ends the connection. Has no effect on Unix sockets.
const TCP_SETTINGS: [(&str, &str); 4] = [
    ("tcp_keepalives_idle", "10"),
    ("tcp_keepalives_interval", "3"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "10000"),
];
/// A connection that has rested this long is tested before it is used, so that those that died while the database was
/// away answer nobody. Testing each time would cost a round trip a query.
const TEST_WHEN_IDLE_FOR: Duration = Duration::from_millis(500);
/// Connections for reading. A query takes the database a fraction of a millisecond, so that a few keep two cores busy.
const READERS: u32 = 10;
/// The same on SQLite, where each is a thread of this process, with a cache of its own.
const SQLITE_READERS: u32 = 4;
/// Memory for pages in each connection to SQLite: negative, so in KiB. What is not here is in the system's cache.
const SQLITE_CACHE_KIB: &str = "-4096";
/// After how many pages of 4 KiB in the log SQLite writes them into the file. Most links touch the same few pages, at the
/// end of the audit log and of the events: the longer the log, the more of their writes become one. Its own choice is
/// 1,000.
const SQLITE_CHECKPOINT_PAGES: &str = "16384";

/// The address of a database: `sqlite://path` or `postgres://user:password@host/database`.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    /// Whether it is a file of SQLite.
    #[must_use]
    pub fn is_sqlite(&self) -> bool {
        self.0.starts_with("sqlite:")
    }

    /// The file of a SQLite database.
    #[must_use]
    pub fn sqlite_file(&self) -> Option<PathBuf> {
        let options = SqliteConnectOptions::from_str(&self.0)
            .ok()
            .filter(|_| self.is_sqlite())?;
        Some(options.get_filename().to_owned())
    }
}

impl FromStr for DatabaseUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains(":memory:") || text.contains("mode=memory") {
            return Err("a database in memory would be lost with each connection; name a file".into());
        }
        if let Some(path) = text.strip_prefix("sqlite:") {
            if path.trim_start_matches("//").is_empty() {
                return Err("the path of the SQLite file is missing, as in sqlite://aka.db".into());
            }
            return Ok(Self(text.into()));
        }
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            // Its parser's own message, later, would show the whole address.
            return match url::Url::parse(text) {
                Ok(_) => Ok(Self(text.into())),
                Err(error) => Err(format!("is no address: {error}")),
            };
        }
        Err("must begin with sqlite:// or postgres://".into())
    }
}

/// Without user and password: this form is for logs.
impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.0.split_once('?').map_or(self.0.as_str(), |(url, _)| url);
        match (url.split_once("://"), url.rsplit_once('@')) {
            (Some((scheme, _)), Some((_, host))) if !self.is_sqlite() => write!(f, "{scheme}://***@{host}"),
            _ => f.write_str(url),
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({self})")
    }
}

/// What connections are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Queries.
    Reading,
    /// The writer's transactions, one after the other.
    Writing,
    /// Changing tables.
    Migrating,
}

impl Purpose {
    /// How many connections there may be.
    pub const fn connections(self, sqlite: bool) -> u32 {
        match (self, sqlite) {
            (Self::Reading, false) => READERS,
            (Self::Reading, true) => SQLITE_READERS,
            // While the driver finds out whether a connection that failed still lives, another takes its place.
            (Self::Writing, false) => 2,
            (Self::Writing, true) | (Self::Migrating, _) => 1,
        }
    }

    /// What PostgreSQL is to do in a session, beside what is the same for all.
    fn postgres_settings(self) -> Vec<(&'static str, String)> {
        let millis = |duration: Duration| duration.as_millis().to_string();
        match self {
            Self::Reading => vec![
                ("statement_timeout", millis(STATEMENT_TIMEOUT)),
                ("idle_in_transaction_session_timeout", millis(IDLE_IN_TRANSACTION)),
            ],
            Self::Writing => vec![
                ("statement_timeout", millis(STATEMENT_TIMEOUT)),
                ("idle_in_transaction_session_timeout", millis(IDLE_IN_TRANSACTION)),
                ("lock_timeout", millis(LOCK_TIMEOUT)),
            ],
            // A step may take as long as a large table needs, and a node waits for another to finish.
            Self::Migrating => [
                "statement_timeout",
                "idle_in_transaction_session_timeout",
                "lock_timeout",
            ]
            .map(|setting| (setting, millis(Duration::ZERO)))
            .into(),
        }
    }
}

/// Opens connections; lazily, it does not wait for the first.
pub async fn pool(url: &DatabaseUrl, purpose: Purpose, lazily: bool) -> Result<DatabaseConnection, StoreError> {
    make_private_file(url)?;
    let mut options = options(url, purpose);
    options.connect_lazy(lazily);
    match Database::connect(options).await {
        Ok(db) => Ok(db),
        Err(error) => Err(StoreError::Unreachable(cause(url, &error).await)),
    }
}

/// Opens one connection, whose statements may take as long as they need.
pub async fn one(url: &DatabaseUrl) -> Result<DatabaseConnection, StoreError> {
    pool(url, Purpose::Migrating, false).await
}

/// Opens a connection for changing tables, and holds a lock on PostgreSQL so that nodes that start together take
/// turns. SQLite takes turns by itself: every step is one transaction of its only writer.
pub async fn for_migration(url: &DatabaseUrl) -> Result<DatabaseConnection, StoreError> {
    /// The number is any that no other program uses as an advisory lock.
    const TURN: &str = "SELECT pg_advisory_lock(7205131894)";
    let db = pool(url, Purpose::Migrating, false).await?;
    if !url.is_sqlite() {
        // The lock belongs to the connection, and goes with it.
        use sea_orm::ConnectionTrait as _;
        db.execute_unprepared(TURN).await?;
    }
    Ok(db)
}

/// Makes the file of a new SQLite database so that only its owner can read it, whatever the umask. SQLite gives the files
/// beside it (`-wal`, `-shm`) the same mode. A file that is there keeps the mode that somebody may have given it.
fn make_private_file(url: &DatabaseUrl) -> Result<(), StoreError> {
    const OWNER_ONLY: u32 = 0o600;
    let Some(path) = url.sqlite_file() else {
        return Ok(());
    };
    let made = fs::File::options()
        .write(true)
        .create_new(true)
        .mode(OWNER_ONLY)
        .open(&path)
        .and_then(|file| file.set_permissions(fs::Permissions::from_mode(OWNER_ONLY)));
    match made {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(StoreError::Unreachable(format!("cannot create the file: {error}")))
        }
        _ => Ok(()),
    }
}

/// Opens a connection for a look at a database that is not to be changed, and whose file is not to be made.
pub async fn for_looking(url: &DatabaseUrl) -> Result<DatabaseConnection, StoreError> {
    if let Some(file) = url.sqlite_file().filter(|file| !file.exists()) {
        return Err(StoreError::Unreachable(format!(
            "there is no file {}; `aka migrate up` creates it",
            file.display()
        )));
    }
    pool(url, Purpose::Migrating, false).await
}

/// Why there is no connection, in the words of the driver. The pool tries again until its time is over, and then tells of
/// the time and not of the reason; one attempt without it tells the reason.
async fn cause(url: &DatabaseUrl, error: &DbErr) -> String {
    let of = |error: &sqlx::Error| match error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        sqlx::Error::Io(error) => error.to_string(),
        error => error.to_string(),
    };
    if let DbErr::Conn(RuntimeErr::SqlxError(error)) = error
        && !matches!(**error, sqlx::Error::PoolTimedOut)
    {
        return of(error);
    }
    let Ok(postgres) = PgConnectOptions::from_str(&url.0) else {
        return error.to_string();
    };
    match tokio::time::timeout(ACQUIRE_TIMEOUT, postgres.disable_statement_logging().connect()).await {
        Ok(Err(error)) => of(&error),
        Ok(Ok(_)) | Err(_) => format!("no answer within {} ms", ACQUIRE_TIMEOUT.as_millis()),
    }
}

fn options(url: &DatabaseUrl, purpose: Purpose) -> ConnectOptions {
    let mut options = ConnectOptions::new(url.0.clone());
    options
        .max_connections(purpose.connections(url.is_sqlite()))
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire_if_idle_for(TEST_WHEN_IDLE_FOR)
        .sqlx_logging(false)
        .map_sqlx_sqlite_opts(|sqlite| {
            sqlite
                .create_if_missing(true)
                // Readers and the writer do not wait for one another.
                .journal_mode(SqliteJournalMode::Wal)
                // Each commit is synced to the disk. The default for a WAL, `NORMAL`, would lose commits with the power.
                .synchronous(SqliteSynchronous::Full)
                // SQLite checks no foreign keys unless it is told to.
                .foreign_keys(true)
                // Another process, such as a second node or a backup, may hold the lock for writing.
                .busy_timeout(STATEMENT_TIMEOUT)
                .pragma("cache_size", SQLITE_CACHE_KIB)
                .pragma("wal_autocheckpoint", SQLITE_CHECKPOINT_PAGES)
                // Sorting needs no file, which would hold personal data outside the database.
                .pragma("temp_store", "memory")
                // What is deleted is overwritten, so that it cannot be read from the file.
                .pragma("secure_delete", "on")
        })
        .map_sqlx_sqlite_pool_opts(|pool| {
            pool.after_release(|connection, _| is_between_transactions(connection).boxed())
        })
        .map_sqlx_postgres_opts(move |postgres| {
            postgres
                .application_name("aka")
                .options([
                    ("synchronous_commit", "on"),
                    ("timezone", "UTC"),
                    // Without notices such as that a table which is made if it does not exist does exist.
                    ("client_min_messages", "warning"),
                ])
                .options(TCP_SETTINGS)
                .options(purpose.postgres_settings())
        });
    options
}

/// Whether a connection that was given back may be used again. When the disk is full, SQLite takes a transaction back by
/// itself; the rollback that follows then fails, and the driver goes on counting a transaction that is no more. The next
/// one would be a savepoint to it, and one savepoint later a commit would commit nothing. Such a connection is closed.
async fn is_between_transactions(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    if !connection.is_in_transaction() {
        return Ok(true);
    }
    // A transaction that was dropped is rolled back in the background; this waits for that.
    connection.ping().await?;
    Ok(!connection.is_in_transaction())
}
