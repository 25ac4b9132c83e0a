//! `aka policy`

use std::{fmt::Write as _, path::PathBuf};

use clap::{Args, Subcommand};

use super::{Outcome, print};
use crate::policy::corpus;

#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Decide the requests of a directory by its rules, and say where a decision is not the expected one
    ///
    /// The directory has rules in *.cedar (100-guardrails.cedar has the priority 100), those whom the requests speak of
    /// in entities.json, and the requests with their expected decisions in requests.json; or it has such directories.
    Test {
        /// The directory
        directory: PathBuf,
    },
}

pub fn run(arguments: Arguments) -> Outcome {
    let Command::Test { directory } = arguments.command;
    let (mut passed, mut failed) = (0, 0);
    for corpus in corpus::find(&directory)? {
        let mut report = format!("{}\n", corpus.display());
        for outcome in corpus::run(&corpus)? {
            if outcome.unexpected.is_empty() {
                passed += 1;
                writeln!(report, "  ok      {} ({})", outcome.name, outcome.decision.verdict)?;
                continue;
            }
            failed += 1;
            writeln!(report, "  FAILED  {}", outcome.name)?;
            for unexpected in &outcome.unexpected {
                writeln!(report, "          {unexpected}")?;
            }
            for explanation in &outcome.decision.explanations {
                writeln!(report, "          {}", explanation.message())?;
            }
        }
        print(&report)?;
    }
    print(&format!("{passed} passed, {failed} failed"))?;
    if failed == 0 {
        Ok(())
    } else {
        Err(format!("{failed} requests are not decided as expected").into())
    }
}
