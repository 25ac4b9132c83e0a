//! The history of the tables: each step keeps what is in the tables, can be undone, and is never edited.

mod contents;
mod history;

use aka_migration::Migrator;
use contents::{Contents, id, in_dialect, structure, uuid};
use history::{HISTORY, KEY, ROOT_KEY, Step};
use sea_orm::{ConnectionTrait as _, DatabaseConnection};
use sea_orm_migration::MigratorTrait as _;

use crate::harness::{
    Aka, Store, eventually, json,
    node::EmptyDatabase,
    program::{digest_of, run_with},
    rows, run,
};

/// A database on its way through the history.
struct Journey {
    store: Store,
    database: EmptyDatabase,
    db: DatabaseConnection,
}

impl Journey {
    async fn new(store: Store) -> Self {
        let database = store.empty_database().await;
        // The program makes the file.
        run_with(&["migrate", "up"], &[("DATABASE_URL", &database.url)]).succeeded();
        let db = rows::connect(&database.url).await;
        let journey = Self { store, database, db };
        journey.migrate(&["down", "--all"]);
        journey
    }

    fn migrate(&self, arguments: &[&str]) {
        run_with(
            &[&["migrate"], arguments].concat(),
            &[("DATABASE_URL", &self.database.url)],
        )
        .succeeded();
    }

    /// Applies a step to what is there, and checks what it has done.
    async fn apply(&self, step: &Step) {
        let mut expected = Contents::of(&self.db).await;
        (step.does)(&mut expected);
        Migrator::up(&self.db, Some(1))
            .await
            .unwrap_or_else(|error| panic!("{}: {error}", step.name));
        self.holds(&expected, &format!("after {}", step.name)).await;
    }

    /// Checks what is there.
    async fn holds(&self, expected: &Contents, when: &str) {
        let differences = Contents::of(&self.db).await.differences(expected);
        assert!(differences.is_empty(), "{when}:{differences}");
    }

    /// Writes the rows of a step.
    async fn fill(&self, step: &Step) {
        let rows = in_dialect(self.store, step.rows);
        self.db
            .execute_unprepared(&rows)
            .await
            .unwrap_or_else(|error| panic!("rows of {}: {error}", step.name));
        let missing = Contents::of(&self.db).await.without_rows();
        assert!(
            missing.is_empty(),
            "{} makes tables or columns of which the test has no rows; write some to tests/it/migrations/rows/{}.sql: {missing:?}",
            step.name,
            step.name,
        );
    }
}

async fn every_step_keeps_the_rows_and_can_be_undone(store: Store) {
    let journey = Journey::new(store).await;
    for step in HISTORY {
        let (before, structure_before) = (Contents::of(&journey.db).await, structure(&journey.db).await);
        journey.apply(step).await;
        journey.fill(step).await;
        let filled = Contents::of(&journey.db).await;

        journey.migrate(&["down", "--steps", "1", "--yes"]);

        let undone = format!("after {} was undone", step.name);
        let mut expected = filled;
        (step.undoes)(&mut expected);
        journey.holds(&expected.without_what_is_not_in(&before), &undone).await;
        // SQLite's table of statistics stays when all others go.
        if !before.is_empty() {
            assert_eq!(structure(&journey.db).await, structure_before, "{undone}");
        }
        journey.apply(step).await;
        journey.fill(step).await;
    }
    read_over_http(&journey).await;
    journey.migrate(&["down", "--all", "--yes"]);
    assert!(Contents::of(&journey.db).await.is_empty());
    journey.migrate(&["up"]);
}

/// Starts the server on the rows of all steps, and reads them with the key of the first.
async fn read_over_http(journey: &Journey) {
    let settings = [("AKA_ROOT_KEY", ROOT_KEY)];
    let aka = Aka::on_rows(journey.store, &journey.database.url, (uuid(1), KEY), &settings).await;
    let acme = aka.master();

    assert_eq!(
        acme.get("/v1/tenants").await.expect(200).column("slug"),
        ["acme", "bolt"]
    );
    let found = acme
        .get("/v1/users")
        .query("email", "JÖRG@BÜCHER.example")
        .await
        .expect(200);
    assert_eq!(found.column("id"), [id(103)], "by the other form of the address");
    let octocat = acme.lookup(uuid(201), "octocat").await.expect(200);
    assert_eq!(octocat["user_id"], id(101), "{octocat}");

    let provider = async |number| acme.get(format!("/v1/identity-providers/{}", uuid(number))).await;
    let github = provider(201).await.expect(200);
    assert_eq!(github["name"], "GitHub");
    assert_eq!(github["config"]["issuer"], "https://one.example");
    assert_eq!(github["config_secrets"], json!(["client_secret"]));
    assert_eq!(github["config"]["client_secret"], json!(null));
    let sealed = provider(212).await.expect(200);
    assert_eq!(
        sealed["config_secrets"],
        json!(["client_secret"]),
        "sealed by an earlier program"
    );
    assert_eq!(provider(202).await.expect(200)["name"], "github (3)");
    provider(211).await.refused(404, "not_found");

    let policy = acme.get(format!("/v1/policies/{}", uuid(501))).await.expect(200);
    let texts: Vec<_> = policy["rules"]
        .as_array()
        .expect("rules")
        .iter()
        .map(|rule| rule["id"].clone())
        .collect();
    assert_eq!(texts, [id(601), id(602), id(603)]);
    let decisions = acme.get("/v1/decisions").await.expect(200);
    assert_eq!(decisions.column("request_id"), [json!("request-802"), json!(null)]);
    let keys = acme.get("/v1/api-keys").await.expect(200);
    assert!(keys.column("id").contains(&id(402)), "{keys}");

    // The server finishes what earlier ones have left: it seals secrets, and deletes providers with their accounts.
    eventually(std::time::Duration::from_secs(10), "secrets are sealed", async || {
        let all = format!("{:?}", Contents::of(&journey.db).await);
        let left = ["unsealed-secret", "unsealed-token", "hubot"]
            .into_iter()
            .find(|word| all.contains(word));
        left.map_or(Ok(()), |word| Err(format!("{word} is still there")))
    })
    .await;
    aka.stop();
}

#[test]
fn every_step_keeps_the_rows_and_can_be_undone_on_sqlite() {
    run(every_step_keeps_the_rows_and_can_be_undone(Store::Sqlite));
}

#[test]
fn every_step_keeps_the_rows_and_can_be_undone_on_postgres() {
    run(every_step_keeps_the_rows_and_can_be_undone(Store::Postgres));
}

#[test]
fn a_step_that_has_landed_is_never_edited() {
    for step in HISTORY {
        let file = format!("migration/src/{}.rs", step.name);
        assert_eq!(
            digest_of(&file),
            step.digest,
            "{file} has changed. A step that has landed is never edited; add a new step"
        );
    }
}

#[test]
fn every_step_is_tested() {
    let steps: Vec<String> = Migrator::migrations()
        .iter()
        .map(|step| step.name().to_owned())
        .collect();
    let tested: Vec<&str> = HISTORY.iter().map(|step| step.name).collect();
    assert_eq!(
        steps, tested,
        "add each new step to tests/it/migrations/history.rs with its digest, what it does, and rows"
    );
}
