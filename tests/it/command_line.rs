//! The program at the command line: help, refusals, migrations, and how a store gets its first tenant and key.

use crate::harness::{
    Aka, Store, Uuid, Value,
    child::Directory,
    json,
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
            "AKA_LOG",
            "AKA_LOG_FORMAT",
        ],
    ),
    (&["demo"], &["--listen"]),
    (&["migrate"], &["up", "down", "status"]),
    (&["migrate", "up"], &["--database-url", "DATABASE_URL"]),
    (&["migrate", "down"], &["--database-url", "DATABASE_URL"]),
    (&["migrate", "status"], &["--database-url", "DATABASE_URL"]),
    (&["tenant"], &["create"]),
    (
        &["tenant", "create"],
        &["--name", "--slug", "--master", "--database-url", "DATABASE_URL"],
    ),
    (&["key"], &["create"]),
    (
        &["key", "create"],
        &[
            "--tenant",
            "--name",
            "--scopes",
            "--expires-in-days",
            "--database-url",
            "DATABASE_URL",
        ],
    ),
    (&["policy"], &["test"]),
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
fn a_wrong_address_is_not_shown_with_its_password() {
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
fn an_address_in_use_is_refused_by_name() {
    run(async {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = taken.local_addr().expect("a bound socket has an address").to_string();
        let directory = Directory::new();
        let sqlite = format!("sqlite://{}", directory.path().join("aka.db").display());

        let told = aka(&["serve", "--listen", &address, "--database-url", &sqlite]).failed();

        assert!(told.contains(&address), "{told}");
    });
}

#[test]
fn a_database_that_cannot_be_reached_is_a_clear_refusal_without_its_password() {
    let url = "postgres://aka:hunter2@127.0.0.1:1/aka";

    let told = aka(&["migrate", "up", "--database-url", url]).failed();

    assert!(told.contains("127.0.0.1:1"), "{told}");
    assert!(!told.contains("hunter2"), "{told}");
    let told = aka(&["migrate", "up", "--database-url", "sqlite:///nowhere/at/all/aka.db"]).failed();
    assert!(told.contains("/nowhere/at/all/aka.db"), "{told}");
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
    let migrate = |direction: &str| run_with(&["migrate", direction], &[("DATABASE_URL", &database.url)]).succeeded();

    migrate("up");
    let after_up = tables(store, &database.url).await;
    assert!(after_up.contains(&"identities".to_owned()), "{after_up:?}");
    let status = migrate("status").to_lowercase();
    assert!(status.contains("applied") && !status.contains("pending"), "{status}");
    migrate("up");
    assert_eq!(
        tables(store, &database.url).await,
        after_up,
        "doing it again changes nothing"
    );

    migrate("down");
    assert_eq!(tables(store, &database.url).await, Vec::<String>::new());
    assert!(migrate("status").to_lowercase().contains("pending"));

    migrate("up");
    assert_eq!(tables(store, &database.url).await, after_up);
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
fn there_is_one_master_tenant() {
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

async fn a_key_made_at_the_command_line_works(server: Aka) {
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
fn a_key_made_at_the_command_line_works_on_sqlite() {
    run_on(Store::Sqlite, a_key_made_at_the_command_line_works);
}

#[test]
fn a_key_made_at_the_command_line_works_on_postgres() {
    run_on(Store::Postgres, a_key_made_at_the_command_line_works);
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
