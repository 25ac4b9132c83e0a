//! `aka migrate`

use std::fmt::Write as _;

use clap::{Args, Subcommand};

use super::{Outcome, print, unusable};
use crate::{config::Database, store};

#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    direction: Direction,
}

#[derive(Subcommand)]
enum Direction {
    /// Update the tables to this version; does nothing if they are current
    Up {
        #[command(flatten)]
        database: Database,
    },
    /// Undo migrations. Deletes all data in the dropped tables and columns
    Down {
        #[command(flatten)]
        extent: Extent,
        /// Undo them even if that deletes data
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        database: Database,
    },
    /// Show which migrations are applied and which are pending
    Status {
        #[command(flatten)]
        database: Database,
    },
}

/// How many migrations to undo.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct Extent {
    /// How many migrations to undo, the newest first
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    steps: Option<u32>,
    /// Undo all migrations, which drops all tables
    #[arg(long)]
    all: bool,
}

pub async fn run(arguments: Arguments) -> Outcome {
    match arguments.direction {
        Direction::Up { database } => {
            let url = database.url()?;
            store::migrate(&url).await.map_err(|error| unusable(&url, &error))?;
            print(&format!("{url}: the tables are up to date"))
        }
        Direction::Down { extent, yes, database } => down(&extent, yes, &database).await,
        Direction::Status { database } => {
            let url = database.url()?;
            let pending = store::pending_migrations(&url)
                .await
                .map_err(|error| unusable(&url, &error))?;
            let mut text = String::new();
            for step in store::migrations() {
                let state = if pending.contains(&step) { "pending" } else { "applied" };
                writeln!(text, "{state} {step}")?;
            }
            print(&text)
        }
    }
}

async fn down(extent: &Extent, yes: bool, database: &Database) -> Outcome {
    let url = database.url()?;
    // Fails if the database does not exist, instead of creating one.
    store::pending_migrations(&url)
        .await
        .map_err(|error| unusable(&url, &error))?;
    let undone = store::migrate_down(&url, extent.steps.filter(|_| !extent.all), yes)
        .await
        .map_err(|error| unusable(&url, &error))?;
    let mut deleted = String::new();
    for (data, rows) in &undone.deleted {
        write!(
            deleted,
            "\n  {data} ({rows} {})",
            if *rows == 1 { "row" } else { "rows" }
        )?;
    }
    let steps = undone.steps.join(", ");
    if !undone.is_done {
        return Err(format!(
            "undoing {steps} would delete data in {url}:{deleted}\nNothing was changed. Make a backup, then run the \
             command again with --yes."
        )
        .into());
    }
    match (undone.steps.is_empty(), deleted.is_empty()) {
        (true, _) => print(&format!("{url}: there is no migration to undo")),
        (false, true) => print(&format!("{url}: undone: {steps}")),
        (false, false) => print(&format!("{url}: undone: {steps}; deleted:{deleted}")),
    }
}
