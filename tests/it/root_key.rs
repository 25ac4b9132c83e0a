//! The root key: where it comes from, and that a server refuses a database that was first used with a different one.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use crate::harness::{
    Store,
    child::Directory,
    json,
    node::EmptyDatabase,
    program::{self, Run, run_with, run_with_umask},
    run,
};

const BASE64: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
/// The same 32 bytes.
const HEXADECIMAL: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F";
const ANOTHER: &str = "//79/Pv6+fj39vX08/Lx8O/u7ezr6uno5+bl5OPi4eA=";

/// A command that needs the root key.
const CREATE_TENANT: [&str; 6] = ["tenant", "create", "--name", "Acme", "--slug", "acme"];

fn create_tenant(slug: &str, database: &EmptyDatabase, settings: &[(&str, &str)]) -> Run {
    let mut environment = vec![("DATABASE_URL", database.url.as_str())];
    environment.extend(settings);
    run_with(&["tenant", "create", "--name", slug, "--slug", slug], &environment)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("the file is there").permissions().mode() & 0o777
}

fn beside(database: &Path, ending: &str) -> PathBuf {
    let mut path = database.to_owned();
    path.as_mut_os_string().push(ending);
    path
}

async fn with_tables(store: Store) -> EmptyDatabase {
    let database = store.empty_database().await;
    run_with(&["migrate", "up"], &[("DATABASE_URL", &database.url)]).succeeded();
    database
}

#[test]
fn only_the_owner_can_read_the_files_that_a_first_start_creates() {
    let directory = Directory::new();
    let database = directory.path().join("aka.db");
    let url = format!("sqlite://{}", database.display());
    let settings = [("DATABASE_URL", url.as_str()), ("AKA_LOG_FORMAT", "json")];

    run_with_umask("000", &["migrate", "up"], &settings).succeeded();
    assert_eq!(mode(&database), 0o600);
    let made = run_with_umask("000", &CREATE_TENANT, &settings);

    let key = beside(&database, ".key");
    assert_eq!(made.status, 0, "{}", made.stderr);
    assert!(
        made.stderr.contains("created a new root key") && made.stderr.contains(&*key.to_string_lossy()),
        "{}",
        made.stderr
    );
    assert_eq!((mode(&database), mode(&key)), (0o600, 0o600));
    let text = fs::read_to_string(&key).expect("the key is text");
    assert!(!made.stderr.contains(text.trim()) && !made.stdout.contains(text.trim()));

    // The files beside that of the database are there while a server runs.
    let log = directory.path().join("serve.log");
    let server = program::start(&["serve", "--listen", "127.0.0.1:0"], &settings, &log);
    server.line();
    for ending in ["-wal", "-shm"] {
        assert_eq!(mode(&beside(&database, ending)), 0o600, "{ending}");
    }
    let (_, status) = server.stop();
    assert_eq!(status, 0);
    assert!(
        !fs::read_to_string(log)
            .expect("a log")
            .contains("created a new root key")
    );
}

#[test]
fn the_key_is_read_from_the_environment_or_a_file_in_either_form() {
    run(async {
        let directory = Directory::new();
        let file = directory.path().join("root.key");
        let name = file.to_str().expect("a path in UTF-8");
        for store in [Store::Sqlite, Store::Postgres] {
            let database = with_tables(store).await;
            create_tenant("first", &database, &[("AKA_ROOT_KEY", BASE64)]).succeeded();
            create_tenant("second", &database, &[("AKA_ROOT_KEY", HEXADECIMAL)]).succeeded();
            fs::write(&file, format!("{HEXADECIMAL}\n")).expect("a file");
            create_tenant("third", &database, &[("AKA_ROOT_KEY_FILE", name)]).succeeded();

            let told = create_tenant("another", &database, &[("AKA_ROOT_KEY", ANOTHER)]).failed();
            assert!(
                told.contains("not the root key of the database") && told.contains("AKA_ROOT_KEY_FILE"),
                "{told}"
            );
            assert!(!told.contains(ANOTHER), "{told}");
            // The key of the user, or beside the file, is another one, or is not there.
            let told = create_tenant("none", &database, &[]).failed();
            assert!(told.contains("root key") && told.contains("AKA_ROOT_KEY"), "{told}");
        }
    });
}

#[test]
fn an_invalid_key_is_refused_without_being_shown() {
    run(async {
        let database = with_tables(Store::Sqlite).await;
        let directory = Directory::new();
        let file = directory.path().join("root.key");
        let name = file.to_str().expect("a path in UTF-8");
        for wrong in [
            "",
            "hunter2",
            &BASE64[4..],
            &HEXADECIMAL[1..],
            &format!("{HEXADECIMAL}00"),
        ] {
            let told = create_tenant("acme", &database, &[("AKA_ROOT_KEY", wrong)]).failed();
            assert!(told.contains("AKA_ROOT_KEY must be 32 bytes"), "{told}");
            assert!(wrong.is_empty() || !told.contains(wrong), "{told}");
            fs::write(&file, wrong).expect("a file");
            let told = create_tenant("acme", &database, &[("AKA_ROOT_KEY_FILE", name)]).failed();
            assert!(told.contains("must be 32 bytes") && told.contains(name), "{told}");
        }
        fs::remove_file(&file).expect("the file is there");
        let told = create_tenant("acme", &database, &[("AKA_ROOT_KEY_FILE", name)]).failed();
        assert!(told.contains("there is no such file"), "{told}");
        let both = [("AKA_ROOT_KEY_FILE", name), ("AKA_ROOT_KEY", BASE64)];
        let told = create_tenant("acme", &database, &both).failed();
        assert!(told.contains("set one of them"), "{told}");
    });
}

#[test]
fn a_lost_key_is_not_replaced_by_a_new_one() {
    let directory = Directory::new();
    let database = directory.path().join("aka.db");
    let url = format!("sqlite://{}", database.display());
    let settings = [("DATABASE_URL", url.as_str())];
    run_with(&["migrate", "up"], &settings).succeeded();
    run_with(&CREATE_TENANT, &settings).succeeded();
    let (key, elsewhere) = (beside(&database, ".key"), directory.path().join("elsewhere"));
    fs::rename(&key, &elsewhere).expect("the key can be moved");

    let told = run_with(&["serve", "--listen", "127.0.0.1:0"], &settings).failed();

    assert!(told.contains("root key of this database is missing"), "{told}");
    assert!(told.contains(&*key.to_string_lossy()) && !key.exists(), "{told}");
    fs::rename(elsewhere, key).expect("the key can be moved back");
    let create_key = ["key", "create", "--tenant", "acme", "--scopes", "all"];
    assert!(run_with(&create_key, &settings).json()["raw_key"] != json!(null));
}

#[test]
fn servers_that_start_together_for_the_first_time_share_one_key() {
    run(async {
        let database = with_tables(Store::Postgres).await;
        let directory = Directory::new();
        let home = directory.path().to_str().expect("a path in UTF-8");
        let settings = [("DATABASE_URL", database.url.as_str()), ("XDG_DATA_HOME", home)];
        let logs: Vec<PathBuf> = (0..4)
            .map(|node| directory.path().join(format!("{node}.log")))
            .collect();
        let nodes: Vec<_> = logs
            .iter()
            .map(|log| program::start(&["serve", "--listen", "127.0.0.1:0"], &settings, log))
            .collect();
        for node in &nodes {
            assert!(node.line().starts_with("listening on "), "{}", node.log());
        }
        for node in nodes {
            assert_eq!(node.stop().1, 0);
        }
        let log: String = logs.iter().map(|log| fs::read_to_string(log).expect("a log")).collect();
        assert_eq!(log.matches("created a new root key").count(), 1, "{log}");
        assert_eq!(mode(&directory.path().join("aka/root.key")), 0o600);
    });
}
