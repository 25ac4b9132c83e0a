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
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);
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

/// One connection writes; the others read.
pub struct Connections {
    pub reader: DatabaseConnection,
    pub writer: DatabaseConnection,
}

/// Opens the connections.
pub async fn open(url: &DatabaseUrl) -> Result<Connections, StoreError> {
    make_private_file(url)?;
    let writer = connect(url, 1).await?;
    let readers = if url.is_sqlite() { SQLITE_READERS } else { READERS };
    let reader = connect(url, readers).await?;
    Ok(Connections { reader, writer })
}

/// Opens one connection.
pub async fn one(url: &DatabaseUrl) -> Result<DatabaseConnection, StoreError> {
    Ok(Database::connect(options(url, 1)).await?)
}

/// Opens a connection for changing tables, and holds a lock on PostgreSQL so that nodes that start together take
/// turns. SQLite takes turns by itself: every step is one transaction of its only writer.
pub async fn for_migration(url: &DatabaseUrl) -> Result<DatabaseConnection, StoreError> {
    /// The number is any that no other program uses as an advisory lock.
    const TURN: &str = "SELECT pg_advisory_lock(7205131894)";
    make_private_file(url)?;
    let db = connect(url, 1).await?;
    if !url.is_sqlite() {
        // The lock belongs to the connection, and goes with it. A node may wait longer than a statement takes.
        use sea_orm::ConnectionTrait as _;
        db.execute_unprepared("SET statement_timeout = 0").await?;
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
    connect(url, 1).await
}

async fn connect(url: &DatabaseUrl, connections: u32) -> Result<DatabaseConnection, StoreError> {
    match Database::connect(options(url, connections)).await {
        Ok(db) => Ok(db),
        Err(error) => Err(StoreError::Unreachable(cause(url, &error).await)),
    }
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

fn options(url: &DatabaseUrl, connections: u32) -> ConnectOptions {
    let mut options = ConnectOptions::new(url.0.clone());
    options
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire_if_idle_for(TEST_WHEN_IDLE_FOR)
        .sqlx_logging(false)
        .map_sqlx_sqlite_opts(|sqlite| {
            sqlite
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Full)
                .foreign_keys(true)
                .busy_timeout(STATEMENT_TIMEOUT)
                .pragma("cache_size", SQLITE_CACHE_KIB)
                .pragma("wal_autocheckpoint", SQLITE_CHECKPOINT_PAGES)
                .pragma("temp_store", "memory")
                // What is deleted is overwritten, so that it cannot be read from the file.
                .pragma("secure_delete", "on")
        })
        .map_sqlx_sqlite_pool_opts(|pool| {
            pool.after_release(|connection, _| is_between_transactions(connection).boxed())
        })
        .map_sqlx_postgres_opts(|postgres| {
            postgres.application_name("aka").options([
                ("statement_timeout", STATEMENT_TIMEOUT.as_millis().to_string()),
                ("synchronous_commit", "on".to_owned()),
                ("timezone", "UTC".to_owned()),
                // Without notices such as that a table which is made if it does not exist does exist.
                ("client_min_messages", "warning".to_owned()),
            ])
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
