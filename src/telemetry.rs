//! Logs: what is written, and in which form. No secret is ever given to a log, so that none has to be taken out.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, Logging};

/// Begins to log. To be called once, before anything else.
pub fn begin(logging: &Logging) {
    let text = match logging.log_format {
        LogFormat::Text => true,
        LogFormat::Json => false,
        LogFormat::Auto => io::stderr().is_terminal(),
    };
    let lines = tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_env_filter(EnvFilter::new(&logging.log));
    if text {
        lines.with_target(false).with_ansi(io::stderr().is_terminal()).init();
    } else {
        lines
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .init();
    }
    // A panic is a fault of the program: it is logged like any other, and not as loose lines between those of the log.
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("a panic without a message");
        let place = panic.location().map(ToString::to_string);
        tracing::error!(message, place, "panic");
    }));
}
