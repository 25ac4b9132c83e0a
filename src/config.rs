//! Settings. Each is a flag and an environment variable, and is checked before anything else happens.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

use crate::{
    server::{
        connections::Limits,
        cross_origin::{CrossOrigin, Origin},
        listen::Listen,
    },
    store::{
        DatabaseUrl,
        root_key::{self, RootKeySource},
    },
};

/// Where the data is stored.
#[derive(Args, Clone, Debug)]
pub struct Database {
    /// The database: `sqlite://path` (the file is created if it does not exist) or `postgres://user:password@host/database`
    #[arg(
        long,
        env = "DATABASE_URL",
        default_value = "sqlite://aka.db",
        value_name = "URL",
        value_parser = |text: &str| Ok::<_, std::convert::Infallible>(Address(text.to_owned())),
        hide_env_values = true
    )]
    database_url: Address,
    /// The file with the root key, which encrypts the secrets in the database: 32 bytes in base64 or hexadecimal digits. The
    /// environment variable `AKA_ROOT_KEY` can contain the key itself instead. Default: the first start creates a file that
    /// only you can read, `<database file>.key` for SQLite, `aka/root.key` in `$XDG_DATA_HOME` or `~/.local/share` for
    /// PostgreSQL
    #[arg(long, env = "AKA_ROOT_KEY_FILE", value_name = "FILE", hide_env_values = true)]
    root_key_file: Option<PathBuf>,
}

/// An address as it was given. It may contain a password, so it is never shown.
#[derive(Clone)]
struct Address(String);

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Address(***)")
    }
}

impl Database {
    /// The address of the database.
    ///
    /// # Errors
    ///
    /// What is wrong with it, without the address itself.
    pub fn url(&self) -> Result<DatabaseUrl, String> {
        let url = self.database_url.0.parse();
        url.map_err(|reason: String| format!("--database-url (or DATABASE_URL in the environment) {reason}"))
    }

    /// Where the root key of the database comes from.
    ///
    /// # Errors
    ///
    /// What is wrong with the settings, without the key.
    pub fn root_key(&self) -> Result<RootKeySource, String> {
        let default = self
            .url()?
            .sqlite_file()
            .map_or_else(root_key::in_data_directory, |mut file| {
                file.as_mut_os_string().push(".key");
                file
            });
        RootKeySource::of(self.root_key_file.as_deref(), default)
    }
}

/// How the server accepts connections.
#[derive(Args, Clone, Debug)]
pub struct Serving {
    /// The address to listen on: an address and port such as `0.0.0.0:8080`, a host name and port such as `localhost:8080`,
    /// or only a port such as `8080`, on 127.0.0.1. Port 0 selects any free port
    #[arg(
        long,
        env = "AKA_LISTEN",
        default_value = "127.0.0.1:8080",
        value_name = "[ADDRESS:]PORT",
        hide_env_values = true
    )]
    pub listen: Listen,
    /// A comma-separated list of the origins whose pages may call the server from a browser, such as
    /// `https://app.example.com`; `*` for all. Default: none
    #[arg(
        long,
        env = "AKA_CORS_ORIGINS",
        value_delimiter = ',',
        value_name = "ORIGINS",
        hide_env_values = true
    )]
    cors_origins: Vec<Origin>,
    /// Limits on connections.
    #[command(flatten)]
    pub limits: Limits,
}

impl Serving {
    /// The pages that may call the server.
    #[must_use]
    pub fn cross_origin(&self) -> CrossOrigin {
        CrossOrigin::new(self.cors_origins.clone())
    }
}

/// What happens when the server starts.
#[derive(Args, Clone, Debug)]
pub struct Starting {
    /// Whether to update the tables to this version first. If false, the server refuses to start if migrations are pending
    #[arg(
        long,
        env = "AKA_MIGRATE",
        default_value_t = true,
        action = clap::ArgAction::Set,
        value_name = "true|false",
        hide_env_values = true
    )]
    pub migrate: bool,
    /// Whether the keys of token issuers may be fetched from private addresses and over plain HTTP. For testing only: it lets
    /// whoever may configure a token issuer reach the network of the server
    #[arg(
        long,
        env = "AKA_JWKS_ALLOW_PRIVATE",
        default_value_t = false,
        action = clap::ArgAction::Set,
        value_name = "true|false",
        hide_env_values = true
    )]
    pub jwks_allow_private: bool,
}

/// What is logged, and in which format. Logs are written to standard error.
#[derive(Args, Clone, Debug)]
pub struct Logging {
    /// What to log: `error`, `warn`, `info`, `debug` or `trace`, or by module, such as `info,aka::store=debug`
    #[arg(
        long,
        env = "AKA_LOG",
        default_value = "info",
        value_name = "FILTER",
        value_parser = filter,
        global = true,
        hide_env_values = true
    )]
    pub log: String,
    /// The format of the log: `text` for people, `json` for programs; `auto` is text on a terminal and JSON otherwise
    #[arg(
        long,
        env = "AKA_LOG_FORMAT",
        default_value = "auto",
        value_name = "FORMAT",
        global = true,
        hide_env_values = true
    )]
    pub log_format: LogFormat,
}

/// The format of the log.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Text,
    /// For programs: one JSON object per line.
    Json,
}

fn filter(text: &str) -> Result<String, String> {
    EnvFilter::builder()
        .parse(text)
        .map(|_| text.to_owned())
        .map_err(|error| error.to_string())
}
