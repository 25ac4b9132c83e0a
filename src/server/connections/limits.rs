//! How many connections there may be, and for how long one may be idle.

use std::time::Duration;

use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The number of files reserved for the database, for fetching issuers' keys, for the log, and for connections that
/// are being refused.
const RESERVED_FILES: u64 = 256;
/// The limit of files to request if the system has no maximum.
const MANY_FILES: u64 = 65_536;
/// By default, one client address gets this fraction of all connections.
const SHARE: usize = 4;

/// How many connections there may be, and for how long one may be idle.
#[derive(Args, Clone, Debug)]
pub struct Limits {
    /// The maximum number of open connections. More are refused with 503. Lowered if the process may not open that
    /// many files
    #[arg(
        long,
        env = "AKA_MAX_CONNECTIONS",
        default_value_t = 8_192,
        value_parser = count,
        value_name = "NUMBER",
        hide_env_values = true
    )]
    max_connections: usize,
    /// The maximum number of open connections from one client address (IPv6: from one /64 network). More are refused
    /// with 503. Behind a proxy, all connections come from its address: set this to the value of --max-connections.
    /// Default: a quarter of all connections
    #[arg(
        long,
        env = "AKA_MAX_CONNECTIONS_PER_CLIENT",
        value_parser = count,
        value_name = "NUMBER",
        hide_env_values = true
    )]
    max_connections_per_client: Option<usize>,
    /// Seconds after which an idle connection is closed. Behind a load balancer, set it higher than the idle timeout
    /// of the load balancer, so that the server never closes a connection that is about to be used
    #[arg(
        long,
        env = "AKA_IDLE_TIMEOUT",
        default_value_t = 75,
        value_parser = clap::value_parser!(u16).range(1..),
        value_name = "SECONDS",
        hide_env_values = true
    )]
    idle_timeout: u16,
}

fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("must be a whole number of at least 1".into()),
        Ok(number) => Ok(number),
    }
}

impl Limits {
    /// Connections at a time.
    #[must_use]
    pub const fn connections(&self) -> usize {
        self.max_connections
    }

    /// Connections at a time from one client.
    #[must_use]
    pub fn per_client(&self) -> usize {
        let share = || self.max_connections.div_ceil(SHARE);
        self.max_connections_per_client
            .unwrap_or_else(share)
            .min(self.max_connections)
    }

    /// How long a connection may be idle.
    #[must_use]
    pub fn idle(&self) -> Duration {
        Duration::from_secs(self.idle_timeout.into())
    }

    /// These limits, lowered to the number of connections that the process may have open. Raises the limit of open
    /// files as far as the system permits.
    #[must_use]
    pub fn within_files(self) -> Self {
        let Some(files) = raised_file_limit() else {
            return self;
        };
        let room = usize::try_from(files.saturating_sub(RESERVED_FILES)).unwrap_or(usize::MAX);
        // Even with fewer files than the reserve, the server accepts a few connections.
        let room = room.max(1);
        if room >= self.max_connections {
            return self;
        }
        tracing::warn!(
            file_limit = files,
            wanted = self.max_connections,
            connections = room,
            "the limit of open files allows fewer connections than --max-connections; raise it (ulimit -n, LimitNOFILE)"
        );
        Self {
            max_connections: room,
            ..self
        }
    }
}

/// Raises the limit of open files of the process to its hard limit. `None` if there is no limit.
fn raised_file_limit() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let current = current?;
    let wanted = maximum.unwrap_or(MANY_FILES).max(current);
    let raised = Rlimit {
        current: Some(wanted),
        maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => Some(wanted),
        Err(error) => {
            tracing::warn!(%error, file_limit = current, "the limit of open files could not be raised");
            Some(current)
        }
    }
}
