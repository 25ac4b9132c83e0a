//! `aka backup`

use std::path::PathBuf;

use clap::Args;

use super::{Outcome, print};
use crate::{config::Database, server, store::backup};

#[derive(Args)]
pub struct Arguments {
    /// The file to write: a SQLite database that `aka serve` can use directly
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Replace the file if it exists
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    database: Database,
}

pub async fn run(arguments: Arguments) -> Outcome {
    let Arguments { file, force, database } = arguments;
    let (url, root_key) = (database.url()?, database.root_key()?);
    let Some(source) = url.sqlite_file() else {
        return Err(format!(
            "`aka backup` copies SQLite databases only. Back up {url} with PostgreSQL's own tool: pg_dump --format=custom"
        )
        .into());
    };
    let bytes = tokio::select! {
        bytes = backup::backup(&source, &file, force) => bytes?,
        () = server::asked_to_stop()? => return Err("interrupted; no backup was made".into()),
    };
    print(&format!(
        "{}: {bytes} bytes; integrity and foreign keys checked\n\
         The backup does not contain the root key. Also keep a copy of {root_key}, in a different place.",
        file.display()
    ))
}
