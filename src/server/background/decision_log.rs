//! Writes refusals to the decision log.
//!
//! Whoever is refused must not keep others from writing, so refusals gather in memory ([`crate::access::decision_log`]).

use std::time::Duration;

use tokio::time::sleep;

use crate::http::App;

pub const NAME: &str = "decision_log";

/// How often: soon enough for whoever looks up why they were refused. When the server is killed, as much is lost.
const EVERY: Duration = Duration::from_millis(500);

pub async fn run(app: App) {
    loop {
        app.decisions.write(&app.store).await;
        sleep(EVERY).await;
    }
}
