//! The load benchmark: how many requests a second the server answers, and how fast, next to what the store itself can do.
//!
//! `cargo bench --bench load` measures both stores in some minutes; with `-- --paths keyed-link --stores sqlite --seconds 2`
//! one path in half a minute; `-- --help` tells the rest.
//! It needs the programs of a PostgreSQL server for that store, starts everything itself, keeps its data in a temporary
//! directory (`TMPDIR`; on a disk, because what a commit costs there is half of what is measured), and ends what it has
//! started.
//!
//! What makes the figures worth comparing:
//!
//! * The server is the release build, in the state in which it would be installed: it logs each request, and commits
//!   durably.
//! * Where there are two cores, the server has one and the load generator another. PostgreSQL takes what it gets of both.
//! * Each figure stands next to a reference, and runs of the two take turns: what disturbs the machine disturbs both.
//!   The reference of a link is the same three rows written without a server, one durable commit a link: by a plain loop on
//!   SQLite, by `pgbench` on PostgreSQL. Of a look-up on PostgreSQL it is `pgbench` reading the same row. Of a user, and of
//!   a list of users, it is a look-up; of a link with an `Idempotency-Key` one without. Of the other reads it is `echo`: a
//!   bare poem-openapi server that answers a request with its own body.
//! * A figure is the median of its runs. An answer that is not the expected one makes the benchmark fail, and so does a
//!   store that in the end does not hold exactly what was answered.

// Each allocates as the program does, so that the echo differs from it in nothing else.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod aka;
#[path = "../../tests/it/harness/child.rs"]
mod child;
mod client;
mod cores;
mod data;
mod echo;
mod load;
mod machine;
mod measure;
mod options;
mod plot;
mod postgres;
mod preload;
mod processes;
mod reference;
mod report;
mod requests;
mod setup;

use std::process::ExitCode;

use clap::Parser as _;

use options::Options;

/// What ends the benchmark, for the person who runs it.
type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(echo::ARGUMENT) {
        return told(echo::serve());
    }
    let options = Options::parse();
    // The generator has one core, and so one thread.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    told(
        runtime
            .map_err(Into::into)
            .and_then(|runtime| runtime.block_on(measure::everything(&options))),
    )
}

fn told(outcome: Outcome<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
