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
    /// Bring the tables to this version. Does nothing where they are
    Up {
        #[command(flatten)]
        database: Database,
    },
    /// Take steps back, with all data in the tables that go
    Down {
        /// How many steps; all of them when it is not given
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        steps: Option<u32>,
        #[command(flatten)]
        database: Database,
    },
    /// Say which steps are applied, and which are pending
    Status {
        #[command(flatten)]
        database: Database,
    },
}

pub async fn run(arguments: Arguments) -> Outcome {
    match arguments.direction {
        Direction::Up { database } => {
            let url = database.url()?;
            store::migrate(&url).await.map_err(|error| unusable(&url, &error))?;
            print(&format!("{url}: the tables are up to date"))
        }
        Direction::Down { steps, database } => {
            let url = database.url()?;
            store::migrate_down(&url, steps)
                .await
                .map_err(|error| unusable(&url, &error))?;
            print(&format!("{url}: the tables have been taken down"))
        }
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
