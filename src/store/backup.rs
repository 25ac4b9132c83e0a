//! A backup of a SQLite database, made while servers use it.
//!
//! A copy of the file alone would lack what SQLite still keeps in the file beside it (`aka.db-wal`). `VACUUM INTO` writes
//! a new, whole database from one snapshot: everything that was committed when it began, and nothing half. It only reads,
//! so that neither readers nor the writer wait for it.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use sea_orm::sqlx::{
    self, ConnectOptions as _, Connection as _, Row as _, SqliteConnection, sqlite::SqliteConnectOptions,
};
use tempfile::NamedTempFile;

/// How long to wait where another process holds the lock that a snapshot needs for a moment.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
/// What SQLite puts beside a database that is in use.
const BESIDE: [&str; 2] = ["-wal", "-journal"];

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A file with the name of the backup exists.
    #[error("{} already exists; choose another name, or replace it with --force", .0.display())]
    Exists(PathBuf),
    /// The backup would replace the database, or one that is in use.
    #[error("{} is a database in use, or part of one; choose another name", .0.display())]
    InUse(PathBuf),
    /// A file cannot be read or written.
    #[error("{}: {error}", file.display())]
    File {
        /// Which one.
        file: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The database cannot be read, or the copy not written.
    #[error("the database cannot be copied: {0}")]
    Database(#[from] sqlx::Error),
    /// The copy was made, but it is not sound, which means that the database is not.
    #[error("the copy failed its check and was not kept, because the database itself is damaged: {0}")]
    Damaged(String),
    /// The file is a SQLite database, but not one of aka.
    #[error("{} is not a database of aka: it does not have the tables of aka", .0.display())]
    NotOurs(PathBuf),
}

/// Copies the database in `source` to the file `target`, and checks the copy. The file appears at once and whole, can be
/// read by its owner only, and is on the disk when this returns. Returns its size in bytes.
///
/// # Errors
///
/// Why there is no backup. `target` is then as it was.
pub async fn backup(source: &Path, target: &Path, replace: bool) -> Result<u64, BackupError> {
    let at = |file: &Path| {
        let file = file.to_owned();
        move |error| BackupError::File { file, error }
    };
    // SQLite's own message would not name the file.
    File::open(source).map_err(at(source))?;
    check_target(source, target, replace)?;
    let directory = match target.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    // Made with mode 0600, and removed where this ends early.
    let copy = tempfile::Builder::new()
        .prefix(".aka-backup-")
        .tempfile_in(directory)
        .map_err(at(directory))?;
    write(source, &copy).await?;
    check(source, copy.path()).await?;
    copy.as_file().sync_all().map_err(at(target))?;
    let bytes = copy.as_file().metadata().map_err(at(target))?.len();
    let kept = if replace {
        copy.persist(target)
    } else {
        copy.persist_noclobber(target)
    };
    kept.map_err(|failed| match failed.error.kind() {
        io::ErrorKind::AlreadyExists => BackupError::Exists(target.to_owned()),
        _ => at(target)(failed.error),
    })?;
    // The new name is on the disk when its directory is.
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(at(directory))?;
    Ok(bytes)
}

/// Refuses a target that something stands in the way of.
fn check_target(source: &Path, target: &Path, replace: bool) -> Result<(), BackupError> {
    let with = |file: &Path, ending: &str| {
        let mut file = file.as_os_str().to_owned();
        file.push(ending);
        PathBuf::from(file)
    };
    if let (Ok(source), Ok(target)) = (fs::canonicalize(source), fs::canonicalize(target)) {
        let parts = ["", "-wal", "-shm", "-journal"].map(|ending| with(&source, ending));
        if parts.contains(&target) {
            return Err(BackupError::InUse(target));
        }
    }
    // SQLite would take such a file for the newest changes of the copy, and damage it with them.
    if let Some(beside) = BESIDE
        .map(|ending| with(target, ending))
        .into_iter()
        .find(|file| file.exists())
    {
        return Err(BackupError::InUse(beside));
    }
    if target.exists() && !replace {
        return Err(BackupError::Exists(target.to_owned()));
    }
    Ok(())
}

async fn write(source: &Path, copy: &NamedTempFile) -> Result<(), BackupError> {
    let Some(name) = copy.path().to_str() else {
        return Err(BackupError::File {
            file: copy.path().to_owned(),
            error: io::Error::new(io::ErrorKind::InvalidFilename, "SQLite takes names in UTF-8 only"),
        });
    };
    let mut database = SqliteConnectOptions::new()
        .filename(source)
        .busy_timeout(LOCK_TIMEOUT)
        .disable_statement_logging()
        .connect()
        .await?;
    let written = sqlx::query("VACUUM INTO ?").bind(name).execute(&mut database).await;
    database.close().await?;
    written?;
    Ok(())
}

async fn check(source: &Path, copy: &Path) -> Result<(), BackupError> {
    let mut copy = SqliteConnectOptions::new()
        .filename(copy)
        .read_only(true)
        .disable_statement_logging()
        .connect()
        .await?;
    let ours = "SELECT COUNT(*) FROM sqlite_schema WHERE name = 'seaql_migrations'";
    let ours: i64 = sqlx::query_scalar(ours).fetch_one(&mut copy).await?;
    let findings = findings(&mut copy).await?;
    copy.close().await?;
    if ours == 0 {
        return Err(BackupError::NotOurs(source.to_owned()));
    }
    match findings.first() {
        None => Ok(()),
        Some(first) => Err(BackupError::Damaged(first.clone())),
    }
}

/// What is wrong with a database: nothing, as a rule.
async fn findings(database: &mut SqliteConnection) -> Result<Vec<String>, sqlx::Error> {
    let mut findings: Vec<String> = sqlx::query_scalar("PRAGMA integrity_check")
        .fetch_all(&mut *database)
        .await?;
    findings.retain(|finding| finding != "ok");
    for row in sqlx::query("PRAGMA foreign_key_check")
        .fetch_all(&mut *database)
        .await?
    {
        let (table, parent): (String, String) = (row.try_get(0)?, row.try_get(2)?);
        findings.push(format!(
            "a row of {table} refers to a row of {parent} that does not exist"
        ));
    }
    Ok(findings)
}
