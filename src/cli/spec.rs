//! `aka spec`

use clap::{Args, ValueEnum};

use super::{Outcome, print};
use crate::resources;

#[derive(Args, Clone, Copy)]
pub struct Arguments {
    /// The format of the document
    #[arg(long, default_value = "yaml")]
    format: Format,
}

#[derive(ValueEnum, Clone, Copy)]
enum Format {
    /// YAML, as in spec/openapi.yaml
    Yaml,
    /// JSON
    Json,
}

pub fn run(arguments: Arguments) -> Outcome {
    let document = resources::document();
    print(&match arguments.format {
        Format::Yaml => document.to_yaml(),
        Format::Json => document.to_json(),
    })
}
