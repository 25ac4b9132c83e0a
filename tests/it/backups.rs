//! Backups made while the server is busy contain everything that was acknowledged before they began.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sea_orm::ConnectionTrait as _;
use tokio::task::JoinSet;

use crate::harness::{
    Aka, Caller, Store, Uuid,
    child::Directory,
    eventually,
    postgres::{self, Cluster},
    program::{Run, run_with},
    rows, run,
};

/// Callers that keep linking while a backup is made.
const CALLERS: usize = 16;
/// Links that are acknowledged before the backup begins.
const LINKS: usize = 400;
/// How long they may take on a slow machine.
const WITHIN: Duration = Duration::from_mins(1);

fn backup(of: &str, arguments: &[&str]) -> Run {
    run_with(&[&["backup"], arguments].concat(), &[("DATABASE_URL", of)])
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn files(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("a directory");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// A tenant whose accounts are linked one after the other, until that is stopped.
struct Busy {
    acme: Caller,
    provider: Uuid,
    acknowledged: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    callers: JoinSet<()>,
}

impl Busy {
    async fn at(aka: &Aka) -> Self {
        let acme = aka.tenant().await;
        let (user, provider) = (acme.user().await, acme.provider("github").await);
        let acknowledged = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let mut callers = JoinSet::new();
        for caller in 0..CALLERS {
            let (acme, acknowledged, stop) = (acme.clone(), Arc::clone(&acknowledged), Arc::clone(&stop));
            callers.spawn(async move {
                for number in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let account = format!("{caller}-{number}");
                    acme.link(user, provider, &account).await.expect(201);
                    acknowledged.lock().expect("a lock").push(account);
                }
            });
        }
        let busy = Self {
            acme,
            provider,
            acknowledged,
            stop,
            callers,
        };
        eventually(WITHIN, "links are acknowledged", async || {
            let links = busy.acknowledged().len();
            if links >= LINKS {
                Ok(())
            } else {
                Err(format!("{links} links"))
            }
        })
        .await;
        busy
    }

    fn acknowledged(&self) -> Vec<String> {
        self.acknowledged.lock().expect("a lock").clone()
    }

    /// Stops linking; every caller has been answered as long as it went on.
    async fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.callers.join_next().await {
            ended.expect("each link was acknowledged");
        }
    }

    async fn finds(&self, accounts: &[String], restored: &Aka) {
        let acme = self.acme.at(restored);
        for account in accounts {
            acme.lookup(self.provider, account).await.expect(200);
        }
    }
}

#[test]
fn a_backup_under_load_has_every_link_that_was_acknowledged_before() {
    run(async {
        let aka = Aka::alone(Store::Sqlite).await;
        let mut busy = Busy::at(&aka).await;
        let directory = Directory::new();
        let copy = directory.path().join("backup.db");

        let before = busy.acknowledged();
        let (url, file) = (aka.database_url().to_owned(), text(&copy).to_owned());
        let told = tokio::task::spawn_blocking(move || backup(&url, &[&file]).succeeded());
        let told = told.await.expect("the backup is made");
        let meanwhile = busy.acknowledged().len() - before.len();
        busy.stop().await;

        assert!(told.contains("backup.db") && told.contains("checked"), "{told}");
        assert!(meanwhile > 0, "links were made while the backup was");
        assert_eq!(files(directory.path()), ["backup.db"], "nothing else is left");
        let mode = fs::metadata(&copy).expect("the backup").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "only its owner can read it");
        let url = format!("sqlite://{}", copy.display());
        let key_file = format!("{}.key", aka.database_file().display());
        assert!(told.contains(&key_file), "it says what else to keep: {told}");
        let restored = aka.on_copy(&url, &[("AKA_ROOT_KEY_FILE", &key_file)]).await;
        busy.finds(&before, &restored).await;
    });
}

#[test]
fn a_dump_of_postgres_under_load_has_every_link_that_was_acknowledged_before() {
    run(async {
        let cluster: &Cluster = postgres::shared().await;
        let aka = Aka::alone(Store::Postgres).await;
        let mut busy = Busy::at(&aka).await;
        let directory = Directory::new();
        let dump = directory.path().join("aka.dump");
        let copy = cluster.new_database().await;

        let before = busy.acknowledged();
        let (from, file) = (aka.database_url().to_owned(), text(&dump).to_owned());
        let dumping = tokio::task::spawn_blocking(move || {
            postgres::run_program("pg_dump", &["--format=custom", "--file", &file, &from]);
        });
        dumping.await.expect("the dump is made");
        busy.stop().await;
        postgres::run_program("pg_restore", &["--dbname", &copy, text(&dump)]);

        let restored = aka.on_copy(&copy, &[]).await;
        busy.finds(&before, &restored).await;
    });
}

#[test]
fn backing_up_postgres_is_refused_and_its_own_tool_suggested() {
    run(async {
        let database = Store::Postgres.empty_database().await;

        let told = backup(&database.url, &["aka.backup"]).failed();

        assert!(told.contains("pg_dump"), "{told}");
        assert!(!told.contains(postgres::PASSWORD), "{told}");
    });
}

/// A database with tables, and a directory for backups.
struct Place {
    url: String,
    file: PathBuf,
    directory: Directory,
}

impl Place {
    fn new() -> Self {
        let directory = Directory::new();
        let file = directory.path().join("aka.db");
        let url = format!("sqlite://{}", file.display());
        run_with(&["migrate", "up"], &[("DATABASE_URL", &url)]).succeeded();
        Self { url, file, directory }
    }

    fn at(&self, name: &str) -> String {
        text(&self.directory.path().join(name)).to_owned()
    }
}

#[test]
fn a_backup_replaces_an_existing_file_only_with_force() {
    let place = Place::new();
    let target = place.at("backup.db");
    fs::write(&target, "of yesterday").expect("a file");

    let told = backup(&place.url, &[&target]).failed();
    assert!(told.contains(&target) && told.contains("--force"), "{told}");
    assert_eq!(fs::read(&target).expect("the file"), b"of yesterday");

    backup(&place.url, &[&target, "--force"]).succeeded();
    assert!(fs::read(&target).expect("the file").starts_with(b"SQLite format 3"));
    let mode = fs::metadata(&target).expect("the backup").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_backup_does_not_replace_a_database_in_use() {
    let place = Place::new();
    let before = fs::read(&place.file).expect("the database");
    // The same file by another name.
    let link = place.at("link.db");
    std::os::unix::fs::symlink(&place.file, &link).expect("a link");

    for target in [text(&place.file), &link] {
        let told = backup(&place.url, &[target, "--force"]).failed();
        assert!(told.contains("in use"), "{told}");
    }
    assert_eq!(fs::read(&place.file).expect("the database"), before);

    // A log beside the target would be taken for the newest changes of the copy.
    let target = place.at("other.db");
    fs::write(place.at("other.db-wal"), "frames").expect("a file");
    let told = backup(&place.url, &[&target]).failed();
    assert!(told.contains("other.db-wal"), "{told}");
}

#[test]
fn only_a_database_of_aka_is_backed_up() {
    let place = Place::new();
    let target = place.at("backup.db");
    let before = files(place.directory.path());

    let missing = place.at("missing.db");
    let told = backup(&format!("sqlite://{missing}"), &[&target]).failed();
    assert!(told.contains(&missing), "{told}");

    let told = backup(&place.url, &["/nowhere/at/all/backup.db"]).failed();
    assert!(told.contains("/nowhere/at/all"), "{told}");

    assert_eq!(files(place.directory.path()), before, "nothing is made");

    let empty = place.at("empty.db");
    fs::write(&empty, "").expect("a file");
    let told = backup(&format!("sqlite://{empty}"), &[&target]).failed();
    assert!(
        told.contains(&empty) && told.contains("not a database of aka"),
        "{told}"
    );
    assert!(!Path::new(&target).exists());
}

#[test]
fn a_copy_that_fails_its_check_is_not_kept() {
    run(async {
        let place = Place::new();
        let db = rows::connect(&place.url).await;
        // A key of no tenant: only somebody who turns the checks of SQLite off can write that.
        db.execute_unprepared(
            "PRAGMA foreign_keys = OFF;
             INSERT INTO api_keys (tenant_id, id, name, hash, scopes, created_by, created_at)
             VALUES (x'00000000000070008000000000000001', x'00000000000070008000000000000002', 'lost', x'00', '[]', '', 0)",
        )
        .await
        .expect("statements");
        db.close().await.expect("a connection can be closed");
        let target = place.at("backup.db");

        let told = backup(&place.url, &[&target]).failed();

        assert!(told.contains("damaged") && told.contains("api_keys"), "{told}");
        assert!(!Path::new(&target).exists());
        assert!(
            !files(place.directory.path())
                .iter()
                .any(|name| name.starts_with(".aka")),
            "nothing is left of it"
        );
    });
}
