//! Writes when API keys were last used.
//!
//! A request must not wait for that, and a key that is used a thousand times a second must not be written as often.

use std::time::Duration;

use tokio::time::sleep;

use crate::http::App;

pub const NAME: &str = "key_use";

/// How often: once for all uses of a key since the last time.
const EVERY: Duration = Duration::from_secs(5);

pub async fn run(app: App) {
    loop {
        app.api_keys.write_use(&app.store).await;
        sleep(EVERY).await;
    }
}
