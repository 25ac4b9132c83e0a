//! The command line, with one file per command.

mod backup;
mod demo;
mod key;
mod migrate;
mod policy;
mod serve;
mod spec;
mod tenant;

use std::{
    ffi::OsString,
    io::{ErrorKind, Write as _},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use clap::{
    CommandFactory as _, FromArgMatches as _, Parser, Subcommand,
    error::{ContextKind, ContextValue},
};
use serde::Serialize;
use uuid::Uuid;

use crate::{
    config::{Database, Logging},
    store::{self, DatabaseUrl, Store, StoreError},
    telemetry,
};

/// aka records which external accounts belong to which user
#[derive(Parser)]
#[command(
    name = "aka",
    version,
    after_help = "Start with `aka demo`, which needs no setup. Each command describes its settings, for example `aka serve --help`."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    logging: Logging,
}

#[derive(Subcommand)]
enum Command {
    /// Run a server with a temporary database and sample data, and print a `curl` command that links an account
    Demo(demo::Arguments),
    /// Run the server
    Serve(serve::Arguments),
    /// Apply or undo migrations, or show their status
    Migrate(migrate::Arguments),
    /// Back up a SQLite database, even while a server uses it
    Backup(backup::Arguments),
    /// Manage tenants
    Tenant(tenant::Arguments),
    /// Manage API keys
    Key(key::Arguments),
    /// Test rules without a server, and disable policies that lock everybody out
    Policy(policy::Arguments),
    /// Print the OpenAPI document
    Spec(spec::Arguments),
}

/// The result of a command. The error is a message for the operator.
type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// The stack size of each worker in bytes. Cedar's parser is recursive, and in a debug build the most deeply nested rule that
/// is permitted needs more than the default of 2 MiB.
const STACK_BYTES: usize = 16 * 1024 * 1024;

/// How long blocking threads may take to end after the command has finished.
const END_WITHIN: Duration = Duration::from_secs(1);

/// Parses the command line and runs the command.
#[must_use]
pub fn main() -> ExitCode {
    let Cli { command, logging } = parse(std::env::args_os());
    let _until_the_end = telemetry::begin(&logging);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(STACK_BYTES)
        .build();
    let outcome = runtime.map_err(Into::into).and_then(|runtime| {
        let outcome = runtime.block_on(async {
            match command {
                Command::Demo(arguments) => demo::run(arguments).await,
                Command::Serve(arguments) => serve::run(arguments).await,
                Command::Migrate(arguments) => migrate::run(arguments).await,
                Command::Backup(arguments) => backup::run(arguments).await,
                Command::Tenant(arguments) => tenant::run(arguments).await,
                Command::Key(arguments) => key::run(arguments).await,
                Command::Policy(arguments) => policy::run(arguments).await,
                Command::Spec(arguments) => spec::run(arguments),
            }
        });
        // A blocked thread, for example one that waits for a name server, must not keep the process alive.
        runtime.shutdown_timeout(END_WITHIN);
        outcome
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Parses the command line. If an invalid value comes from the environment, the message names the variable.
fn parse(arguments: impl Iterator<Item = OsString>) -> Cli {
    let mut command = Cli::command();
    let parsed = command
        .try_get_matches_from_mut(arguments)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    parsed.unwrap_or_else(|error| {
        command.build();
        if let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg)
            && let Some(variable) = variable_of(&command, argument)
            && std::env::var_os(&variable).is_some()
        {
            eprintln!("note: {} is set in the environment", variable.to_string_lossy());
        }
        error.exit()
    })
}

/// The environment variable that sets an argument, which is named as in clap's messages.
fn variable_of(command: &clap::Command, argument: &str) -> Option<OsString> {
    let own = command
        .get_arguments()
        .find(|one| one.to_string() == argument)
        .and_then(|one| one.get_env());
    own.map(ToOwned::to_owned)
        .or_else(|| command.get_subcommands().find_map(|one| variable_of(one, argument)))
}

/// Prints the result of a command. It is not an error if the reader stops reading (`aka spec | head`).
fn print(text: &str) -> Outcome {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Prints the result of a command as JSON.
fn print_json(result: &impl Serialize) -> Outcome {
    print(&serde_json::to_string_pretty(result)?)
}

/// Opens a store, runs `work` with it, and closes it.
async fn with_store<T>(database: &Database, work: impl AsyncFnOnce(&Store) -> Outcome<T>) -> Outcome<T> {
    let (url, root_key) = (&database.url()?, database.root_key()?);
    check_tables(url).await?;
    let no_memory = Arc::new(|_, _| {});
    let store = Store::open(url, &root_key, no_memory)
        .await
        .map_err(|error| unusable(url, &error))?;
    let outcome = work(&store).await;
    store.close().await;
    outcome
}

/// Rows read per query.
const PAGE: u64 = 250;

/// All rows of a list that is read in pages. Each page begins after the last id of the previous one.
async fn all<T>(
    mut page: impl AsyncFnMut(Option<Uuid>, u64) -> Result<Vec<T>, StoreError>,
    id: impl Fn(&T) -> Uuid,
) -> Outcome<Vec<T>> {
    let mut rows: Vec<T> = Vec::new();
    loop {
        let next = page(rows.last().map(&id), PAGE).await?;
        if next.is_empty() {
            return Ok(rows);
        }
        rows.extend(next);
    }
}

/// Refuses a database with pending migrations.
async fn check_tables(url: &DatabaseUrl) -> Outcome {
    let pending = store::pending_migrations(url)
        .await
        .map_err(|error| unusable(url, &error))?;
    if pending.is_empty() {
        return Ok(());
    }
    Err(format!(
        "the tables of {url} are not up to date; run `aka migrate up` (pending: {})",
        pending.join(", ")
    )
    .into())
}

/// An error message that names the database, without its password.
fn unusable(url: &DatabaseUrl, error: &StoreError) -> Box<dyn std::error::Error> {
    format!("{url}: {error}").into()
}
