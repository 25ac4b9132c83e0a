//! Keeps time with the database.
//!
//! Rows that several servers write are in order only if all go by one clock; a server whose clock drifts has to notice.

use std::time::Duration;

use tokio::time::sleep;

use crate::http::App;

pub const NAME: &str = "clock";

/// How often: clocks drift by microseconds in this time, and a clock that somebody has set is noticed soon.
const EVERY: Duration = Duration::from_secs(5);

pub async fn run(app: App) {
    loop {
        if let Err(error) = app.store.read_time().await {
            tracing::warn!(%error, "the time of the database could not be read");
        }
        sleep(EVERY).await;
    }
}
