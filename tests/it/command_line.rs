//! The command line: help, errors, migrations, and how a store gets its first tenant and key.

use crate::harness::{
    Aka, Store, Uuid, Value,
    child::Directory,
    json, postgres,
    program::{self, run as aka, run_with},
    rows, run, run_on,
};

/// Each subcommand, with settings that its help must name.
const COMMANDS: &[(&[&str], &[&str])] = &[
    (
        &["serve"],
        &[
            "--listen",
            "AKA_LISTEN",
            "--database-url",
            "DATABASE_URL",
            "--root-key-file",
            "AKA_ROOT_KEY",
            "--migrate",
            "AKA_MIGRATE",
            "AKA_MAX_CONNECTIONS",
            "AKA_MAX_CONNECTIONS_PER_CLIENT",
            "AKA_IDLE_TIMEOUT",
            "AKA_LOG",
            "AKA_LOG_FORMAT",
        ],
    ),
    (&["demo"], &["--listen"]),
    (&["migrate"], &["up", "down", "status"]),
    (&["migrate", "up"], &["--database-url", "DATABASE_URL"]),
    (
        &["migrate", "down"],
        &["--steps", "--all", "--yes", "--database-url", "DATABASE_URL"],
    ),
    (&["migrate", "status"], &["--database-url", "DATABASE_URL"]),
    (&["backup"], &["FILE", "--force", "--database-url", "DATABASE_URL"]),
    (&["tenant"], &["create", "list"]),
    (&["tenant", "list"], &["--database-url", "DATABASE_URL"]),
    (
        &["tenant", "create"],
        &["--name", "--slug", "--master", "--database-url", "DATABASE_URL"],
    ),
    (&["key"], &["create", "list", "revoke"]),
    (&["key", "list"], &["--tenant", "--database-url", "DATABASE_URL"]),
    (
        &["key", "revoke"],
        &["KEY_ID", "--tenant", "--database-url", "DATABASE_URL"],
    ),
    (
        &["key", "create"],
        &[
            "--tenant",
            "--name",
            "--scopes",
            "--expires-in-days",
            "--never-expires",
            "--server",
            "--database-url",
            "DATABASE_URL",
        ],
    ),
    (&["policy"], &["test", "list", "disable", "enable"]),
    (&["policy", "list"], &["--tenant", "--database-url", "DATABASE_URL"]),
    (
        &["policy", "disable"],
        &["POLICY_ID", "--tenant", "--database-url", "DATABASE_URL"],
    ),
    (&["policy", "test"], &["DIRECTORY", "requests.json"]),
    (&["spec"], &["--format"]),
];

#[test]
fn help_names_every_command() {
    let help = aka(&["--help"]).succeeded();

    for (command, _) in COMMANDS {
        assert!(help.contains(command[0]), "{help}");
    }
}

#[test]
fn the_help_of_a_command_names_its_settings() {
    for (command, settings) in COMMANDS {
        let help = aka(&[*command, &["--help"]].concat()).succeeded();

        for setting in *settings {
            assert!(help.contains(setting), "{command:?} has no {setting}\n{help}");
        }
        // A line with a flag alone explains nothing.
        let unexplained = help.lines().zip(help.lines().skip(1)).find(|(line, next)| {
            let line = line.trim();
            line.starts_with("--") && !line.contains("  ") && next.trim().is_empty()
        });
        assert_eq!(unexplained, None, "{help}");
    }
}

#[test]
fn the_version_is_printed() {
    assert_eq!(
        aka(&["--version"]).succeeded().trim(),
        format!("aka {}", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn bad_values_are_refused_by_name() {
    let directory = Directory::new();
    let sqlite = format!("sqlite://{}", directory.path().join("aka.db").display());
    for (arguments, named) in [
        (
            &["serve", "--listen", "nowhere", "--database-url", &sqlite][..],
            "--listen",
        ),
        (
            &["serve", "--listen", "127.0.0.1:99999", "--database-url", &sqlite],
            "--listen",
        ),
        (&["serve", "--listen", ":8080", "--database-url", &sqlite], "--listen"),
        (&["serve", "--listen", "", "--database-url", &sqlite], "--listen"),
        (&["migrate", "down", "--database-url", &sqlite], "--all"),
        (
            &["migrate", "down", "--all", "--steps", "1", "--database-url", &sqlite],
            "--steps",
        ),
        (&["serve", "--database-url", "mysql://localhost/aka"], "--database-url"),
        (&["serve", "--database-url", ""], "--database-url"),
        (&["serve", "--database-url", "sqlite::memory:"], "--database-url"),
        (&["serve", "--colour", "blue"], "--colour"),
        (&["bake"], "bake"),
        (&["migrate", "sideways"], "sideways"),
        (&["spec", "--format", "xml"], "--format"),
        (
            &[
                "tenant",
                "create",
                "--name",
                " ",
                "--slug",
                "acme",
                "--database-url",
                &sqlite,
            ],
            "--name",
        ),
        (
            &[
                "tenant",
                "create",
                "--name",
                "Acme",
                "--slug",
                "Ac me",
                "--database-url",
                &sqlite,
            ],
            "--slug",
        ),
        (
            &[
                "key",
                "create",
                "--tenant",
                "acme",
                "--scopes",
                "everything",
                "--database-url",
                &sqlite,
            ],
            "--scopes",
        ),
        (
            &[
                "key",
                "create",
                "--tenant",
                "acme",
                "--expires-in-days",
                "-5",
                "--database-url",
                &sqlite,
            ],
            "expires",
        ),
    ] {
        let told = aka(arguments).failed();
        assert!(told.contains(named), "{arguments:?}\n{told}");
        assert!(!told.contains("panicked"), "{arguments:?}\n{told}");
    }
}

#[test]
fn an_invalid_address_is_reported_without_its_password() {
    for url in ["mysql://aka:hunter2@localhost/aka", "postgres://aka:hunter2 @[bad/aka"] {
        for told in [
            aka(&["serve", "--database-url", url]).failed(),
            run_with(&["serve"], &[("DATABASE_URL", url)]).failed(),
        ] {
            assert!(told.contains("DATABASE_URL") && !told.contains("hunter2"), "{told}");
        }
    }
}

#[test]
fn bad_values_in_the_environment_are_refused_by_name() {
    for (name, value) in [
        ("AKA_LISTEN", "nowhere"),
        ("DATABASE_URL", "mysql://localhost/aka"),
        ("AKA_LOG_FORMAT", "xml"),
        ("AKA_LOG", "aka=loud"),
        ("AKA_MIGRATE", "perhaps"),
        ("AKA_JWKS_ALLOW_PRIVATE", "perhaps"),
    ] {
        let told = run_with(&["serve"], &[(name, value)]).failed();
        assert!(told.contains(name), "{name}={value}\n{told}");
    }
}

#[test]
fn an_address_in_use_is_refused_by_name_before_the_database_is_touched() {
    run(async {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = taken.local_addr().expect("a bound socket has an address").to_string();
        let directory = Directory::new();
        let file = directory.path().join("aka.db");
        let sqlite = format!("sqlite://{}", file.display());

        let told = aka(&["serve", "--listen", &address, "--database-url", &sqlite]).failed();

        assert!(told.contains(&address) && told.contains("--listen"), "{told}");
        assert!(!file.exists(), "the database is not touched");
    });
}

#[test]
fn a_server_accepts_every_form_of_address_to_listen_on() {
    run(async {
        let port = {
            let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
            free.local_addr().expect("a bound socket has an address").port()
        };
        for (listen, expected) in [
            (port.to_string(), format!("http://127.0.0.1:{port}")),
            (format!("localhost:{port}"), format!("http://127.0.0.1:{port}")),
            (format!("[::1]:{port}"), format!("http://[::1]:{port}")),
        ] {
            let database = Store::Sqlite.empty_database().await;
            let directory = Directory::new();
            let server = program::start(
                &["serve", "--listen", &listen],
                &[("DATABASE_URL", &database.url)],
                &directory.path().join("serve.log"),
            );

            assert_eq!(server.line(), format!("listening on {expected}"));

            let answer = reqwest::get(format!("{expected}/healthz")).await.expect("an answer");
            assert_eq!(answer.status(), 200);
            assert_eq!(server.stop(), (Vec::new(), 0));
        }
    });
}

#[test]
fn a_server_on_an_empty_store_says_what_to_do_next() {
    for store in [Store::Sqlite, Store::Postgres] {
        run(async {
            let database = store.empty_database().await;
            let environment = [("DATABASE_URL", database.url.as_str())];
            let directory = Directory::new();
            let serve = || {
                let log = directory.path().join("serve.log");
                let server = program::start(&["serve", "--listen", "127.0.0.1:0"], &environment, &log);
                server.line();
                let (printed, status) = server.stop();
                assert_eq!((printed, status), (Vec::new(), 0));
                let told = std::fs::read_to_string(&log).expect("a log");
                std::fs::remove_file(log).expect("a log");
                told
            };

            let told = serve();
            assert!(
                told.contains("aka tenant create") && told.contains("aka key create"),
                "{told}"
            );

            let tenant = ["tenant", "create", "--name", "Example", "--slug", "example", "--master"];
            run_with(&tenant, &environment).succeeded();
            let told = serve();
            assert!(!told.contains("aka tenant create"), "{told}");
        });
    }
}

#[test]
fn an_unreachable_database_is_reported_without_its_password() {
    let postgres = "postgres://aka:hunter2@127.0.0.1:1/aka";
    for command in [&["migrate", "up"][..], &["migrate", "status"], &["tenant", "list"]] {
        let told = run_with(command, &[("DATABASE_URL", postgres)]).failed();

        assert!(told.contains("127.0.0.1:1"), "{told}");
        assert!(
            told.contains("cannot connect") && told.contains("refused"),
            "the driver's cause\n{told}"
        );
        assert!(!told.contains("hunter2"), "{told}");
    }

    let told = aka(&["migrate", "up", "--database-url", "sqlite:///nowhere/at/all/aka.db"]).failed();
    assert!(told.contains("/nowhere/at/all/aka.db"), "{told}");
}

#[test]
fn an_error_of_the_database_is_shown_in_its_own_words() {
    run(async {
        let database = Store::Postgres.empty_database().await;
        let missing = format!("{}_missing", database.url);

        let told = run_with(&["serve", "--listen", "0"], &[("DATABASE_URL", &missing)]).failed();

        assert!(told.contains("_missing\" does not exist"), "{told}");
        assert!(!told.contains(postgres::PASSWORD), "{told}");
    });
}

#[test]
fn reading_commands_do_not_create_a_database() {
    let directory = Directory::new();
    let file = directory.path().join("aka.db");
    let url = format!("sqlite://{}", file.display());
    for command in [
        &["migrate", "status"][..],
        &["migrate", "down", "--all"],
        &["tenant", "list"],
        &["key", "list", "--tenant", "acme"],
        &["key", "create", "--tenant", "acme", "--scopes", "all"],
    ] {
        let told = run_with(command, &[("DATABASE_URL", &url)]).failed();

        assert!(told.contains("aka migrate up"), "{told}");
        assert!(!file.exists(), "{command:?}");
    }
}

#[test]
fn it_is_not_an_error_if_the_reader_stops_reading() {
    let line = format!(
        "'{}' spec | head -n 1; echo \"${{PIPESTATUS[0]}}\"",
        program::path().display()
    );
    let output = std::process::Command::new("bash")
        .args(["-c", &line])
        .output()
        .expect("bash");

    assert_eq!(String::from_utf8_lossy(&output.stdout), "openapi: 3.0.0\n0\n");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

/// The tables of a database, without the migrations' own and SQLite's.
async fn tables(store: Store, url: &str) -> Vec<String> {
    let (table, column, like) = match store {
        Store::Sqlite => ("sqlite_master", "name", ("type", "table".into())),
        Store::Postgres => ("pg_tables", "tablename", ("schemaname", "public".into())),
    };
    let db = rows::connect(url).await;
    let mut names: Vec<String> = rows::Rows::new(&db).names(table, column, &[like]).await;
    db.close().await.expect("a connection can be closed");
    names.retain(|name| name != "seaql_migrations" && !name.starts_with("sqlite_"));
    names.sort();
    names
}

async fn migrations_go_up_down_and_up(store: Store) {
    let database = store.empty_database().await;
    let environment = [("DATABASE_URL", database.url.as_str())];
    let migrate = |arguments: &[&str]| run_with(&[&["migrate"], arguments].concat(), &environment);

    let first = migrate(&["up"]);
    assert!(!first.stderr.contains("already exists"), "{}", first.stderr);
    first.succeeded();
    let after_up = tables(store, &database.url).await;
    assert!(after_up.contains(&"identities".to_owned()), "{after_up:?}");
    let status = migrate(&["status"]).succeeded().to_lowercase();
    assert!(status.contains("applied") && !status.contains("pending"), "{status}");
    let again = migrate(&["up"]);
    assert_eq!(again.stderr, "", "there is nothing to tell");
    again.succeeded();
    assert_eq!(
        tables(store, &database.url).await,
        after_up,
        "doing it again changes nothing"
    );

    let last = status.lines().last().expect("a step").replace("applied ", "");
    let told = migrate(&["down", "--steps", "1"]).succeeded();
    assert!(told.contains(&last), "{told}");
    let status = migrate(&["status"]).succeeded();
    assert_eq!(status.matches("pending").count(), 1, "{status}");
    migrate(&["down", "--all"]).succeeded();
    assert_eq!(tables(store, &database.url).await, Vec::<String>::new());
    let status = migrate(&["status"]).succeeded();
    assert!(!status.contains("applied"), "{status}");

    migrate(&["up"]).succeeded();
    assert_eq!(tables(store, &database.url).await, after_up);
}

async fn migrating_down_deletes_data_only_with_yes(store: Store) {
    let database = store.empty_database().await;
    let environment = [("DATABASE_URL", database.url.as_str())];
    run_with(&["migrate", "up"], &environment).succeeded();
    let tenant = ["tenant", "create", "--name", "Acme", "--slug", "acme", "--master"];
    run_with(&tenant, &environment).succeeded();
    let before = tables(store, &database.url).await;

    let told = run_with(&["migrate", "down", "--all"], &environment).failed();
    assert!(!told.contains("rolled back"), "nothing is said to be undone\n{told}");
    assert!(
        told.contains("table tenants (1 row)") && told.contains("--yes"),
        "{told}"
    );
    assert!(!told.contains("table users"), "there are none\n{told}");
    assert_eq!(tables(store, &database.url).await, before, "nothing has changed");
    let tenants = run_with(&["tenant", "list"], &environment).json();
    assert_eq!(tenants[0]["slug"], "acme");

    let told = run_with(&["migrate", "down", "--all", "--yes"], &environment).succeeded();
    assert!(told.contains("table tenants (1 row)"), "{told}");
    assert_eq!(tables(store, &database.url).await, Vec::<String>::new());
}

#[test]
fn migrating_down_deletes_data_only_with_yes_on_sqlite() {
    run(migrating_down_deletes_data_only_with_yes(Store::Sqlite));
}

#[test]
fn migrating_down_deletes_data_only_with_yes_on_postgres() {
    run(migrating_down_deletes_data_only_with_yes(Store::Postgres));
}

#[test]
fn migrations_go_up_down_and_up_on_sqlite() {
    run(migrations_go_up_down_and_up(Store::Sqlite));
}

#[test]
fn migrations_go_up_down_and_up_on_postgres() {
    run(migrations_go_up_down_and_up(Store::Postgres));
}

#[test]
fn a_server_migrates_an_empty_store_unless_it_is_told_not_to() {
    for store in [Store::Sqlite, Store::Postgres] {
        run(async {
            let database = store.empty_database().await;
            let environment = [("DATABASE_URL", database.url.as_str())];
            let serve = ["serve", "--listen", "127.0.0.1:0", "--migrate=false"];

            let told = run_with(&serve, &environment).failed();
            assert!(told.contains("migrate"), "{told}");
            let told = run_with(&serve[..3], &[("AKA_MIGRATE", "false"), environment[0]]).failed();
            assert!(told.contains("migrate"), "{told}");

            let directory = Directory::new();
            let server = program::start(&serve[..3], &environment, &directory.path().join("serve.log"));
            assert!(server.line().starts_with("listening on http://127.0.0.1:"));
            assert!(!tables(store, &database.url).await.is_empty());
            assert_eq!(server.stop(), (Vec::new(), 0));
        });
    }
}

#[test]
fn there_can_be_only_one_master_tenant() {
    for store in [Store::Sqlite, Store::Postgres] {
        run(async {
            let database = store.empty_database().await;
            let environment = [("DATABASE_URL", database.url.as_str())];
            run_with(&["migrate", "up"], &environment).succeeded();
            let create = |slug: &str| {
                run_with(
                    &["tenant", "create", "--name", "Master", "--slug", slug, "--master"],
                    &environment,
                )
            };

            let tenant = create("one").json();
            assert_eq!(
                (&tenant["name"], &tenant["slug"], &tenant["is_master"]),
                (&json!("Master"), &json!("one"), &json!(true))
            );

            let told = create("two").failed();
            assert!(told.contains("master"), "{told}");
            let told = run_with(&["tenant", "create", "--name", "One", "--slug", "one"], &environment).failed();
            assert!(told.contains("one"), "{told}");
        });
    }
}

/// A key that the command line makes on the store of a running server.
fn create_key(server: &Aka, arguments: &[&str]) -> Value {
    let arguments = [&["key", "create"], arguments].concat();
    run_with(&arguments, &[("DATABASE_URL", server.database_url())]).json()
}

async fn a_key_created_at_the_command_line_works(server: Aka) {
    let acme = server.tenant().await;
    let id = acme.tenant().to_string();
    let slug = server.master().get(format!("/v1/tenants/{id}")).await.expect(200)["slug"].clone();
    let slug = slug.as_str().expect("a slug").to_owned();

    for (tenant, scopes, expected) in [
        (&id, "all", 13),
        (&slug, "all", 13),
        (&slug, "users:read", 1),
        (&slug, "users:read,identities:write", 2),
    ] {
        let made = [
            "--tenant",
            tenant,
            "--name",
            "first",
            "--scopes",
            scopes,
            "--expires-in-days",
            "30",
        ];
        let key = create_key(&server, &made);

        assert_eq!(key["name"], "first", "{key}");
        assert_eq!(key["scopes"].as_array().map(Vec::len), Some(expected), "{key}");
        assert!(key["expires_at"].is_string(), "{key}");
        let raw_key = key["raw_key"].as_str().expect("a new key is shown");
        acme.with_key(raw_key).get("/v1/users").await.expect(200);
    }
}

#[test]
fn a_key_created_at_the_command_line_works_on_sqlite() {
    run_on(Store::Sqlite, a_key_created_at_the_command_line_works);
}

#[test]
fn a_key_created_at_the_command_line_works_on_postgres() {
    run_on(Store::Postgres, a_key_created_at_the_command_line_works);
}

#[test]
fn a_key_for_an_unknown_tenant_is_refused() {
    run_on(Store::Sqlite, async |server: Aka| {
        let unknown = Uuid::now_v7().to_string();
        for tenant in ["no-such-tenant", &unknown] {
            let arguments = ["key", "create", "--tenant", tenant, "--scopes", "all"];
            let told = run_with(&arguments, &[("DATABASE_URL", server.database_url())]).failed();
            assert!(told.contains(tenant), "{told}");
        }
    });
}
