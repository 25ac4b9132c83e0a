//! What is measured, and how: the command line.

use clap::{Parser, ValueEnum};
use serde::Serialize;

/// Measures how many requests a second aka answers, and how fast.
#[derive(Parser, Debug)]
#[command(name = "cargo bench --bench load --")]
pub struct Options {
    /// The stores, with commas between them
    #[arg(long, value_delimiter = ',', default_value = "sqlite,postgres")]
    pub stores: Vec<Store>,
    /// The paths, with commas between them, in the order in which they are measured
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "lookup,lookup-hot,get-user,list,list-users,link,keyed-link"
    )]
    pub paths: Vec<Path>,
    /// Connections at a time; with commas between them, each path is measured with each number, and plotted
    #[arg(long, value_delimiter = ',', default_value = "64", value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub connections: Vec<u16>,
    /// Identities in the store before; with commas between them, everything is measured with each number, and plotted
    #[arg(long, value_delimiter = ',', default_value = "10000", value_parser = clap::value_parser!(u64).range(1_000..=100_000_000))]
    pub rows: Vec<u64>,
    /// Tenants, to whom the identities belong in equal parts
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=100))]
    pub tenants: u64,
    /// Cedar rules of each tenant, none of which applies
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(0..=1000))]
    pub rules: u64,
    /// What these rules look at: only at who asks, so that a decision can be remembered, or at the request as well
    #[arg(long, default_value = "caller")]
    pub rules_look_at: LookAt,
    /// Runs of which the median is taken
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=99))]
    pub runs: u16,
    /// Seconds that a run takes
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub seconds: u64,
    /// Seconds before each run that do not count
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(0..=60))]
    pub warm_up: u64,
    /// Measure each path also at half of the rate that it reached, with requests that come at their times whether or not
    /// those before are answered
    #[arg(long)]
    pub rate: bool,
    /// Whether the server and the load generator have a core each; by default where there are two and `taskset`
    #[arg(long, action = clap::ArgAction::Set, value_name = "true|false")]
    pub pin: Option<bool>,
    /// What the server logs (`AKA_LOG`); its log goes to a file
    #[arg(long, default_value = "info", value_name = "FILTER")]
    pub server_log: String,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// Where the data is.
#[derive(ValueEnum, Serialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Store {
    Sqlite,
    Postgres,
}

/// What is asked of the server.
#[derive(ValueEnum, Serialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[serde(rename_all = "kebab-case")]
pub enum Path {
    /// Look up an account, any of those in the store
    Lookup,
    /// Look up an account, one of the same hundred
    LookupHot,
    /// Get a user, any of those in the store
    GetUser,
    /// List the identities of a user
    List,
    /// List ten users
    ListUsers,
    /// Link a new account to a user
    Link,
    /// The same with an `Idempotency-Key`, another one each time
    KeyedLink,
}

/// What the rules look at that do not apply.
#[derive(ValueEnum, Serialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum LookAt {
    /// At who asks, and what for
    Caller,
    /// At the account and the user, too: each request is decided anew
    Request,
}

/// As it is called at the command line.
pub fn name(value: &impl ValueEnum) -> String {
    value
        .to_possible_value()
        .map_or_else(String::new, |value| value.get_name().to_owned())
}
