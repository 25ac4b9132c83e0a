//! Logs and their format. No secret is ever passed to the log, so none has to be removed.
//!
//! A line is formatted on the thread of the request and written by another thread, many at a time. A request never waits for the
//! reader of the log: if nobody reads it, lines are dropped.

mod json;

use std::io::{self, BufWriter, IsTerminal as _};

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, Logging};

/// The maximum number of lines waiting to be written.
const LINES: usize = 16 * 1024;
/// The size of the write buffer in bytes.
const WRITE_BYTES: usize = 64 * 1024;

/// Starts logging. Call this once, before anything else. Waiting lines are written when the guard is dropped.
pub fn begin(logging: &Logging) -> WorkerGuard {
    let text = match logging.log_format {
        LogFormat::Text => true,
        LogFormat::Json => false,
        LogFormat::Auto => io::stderr().is_terminal(),
    };
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(LINES)
        .finish(BufWriter::with_capacity(WRITE_BYTES, io::stderr()));
    let lines = tracing_subscriber::fmt()
        .with_writer(writer)
        .with_env_filter(EnvFilter::new(&logging.log));
    if text {
        lines.with_target(false).with_ansi(io::stderr().is_terminal()).init();
    } else {
        lines.fmt_fields(json::Members).event_format(json::Lines).init();
    }
    // A panic is logged like any other error, and not as unstructured text between the lines of the log.
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("a panic without a message");
        let place = panic.location().map(ToString::to_string);
        tracing::error!(panic = message, place, "panicked");
    }));
    guard
}
