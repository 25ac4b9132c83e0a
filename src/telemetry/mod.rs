//! Logs: what is written, and in which form. No secret is ever given to a log, so that none has to be taken out.
//!
//! A line is made on the request's thread and written by another one, many at a time: a request does not wait for
//! whoever reads the log, and where nobody does, lines are dropped rather than requests held up.

mod json;

use std::io::{self, BufWriter, IsTerminal as _};

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, Logging};

/// Lines that may wait to be written.
const LINES: usize = 16 * 1024;
/// Bytes that are written at once.
const WRITE_BYTES: usize = 64 * 1024;

/// Begins to log. To be called once, before anything else. What waits is written when the guard goes.
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
    // A panic is a fault of the program: it is logged like any other, and not as loose lines between those of the log.
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("a panic without a message");
        let place = panic.location().map(ToString::to_string);
        tracing::error!(panic = message, place, "a panic");
    }));
    guard
}
