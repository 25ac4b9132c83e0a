//! Removes answers to requests with an `Idempotency-Key` that have been kept for long enough.

use std::time::Duration;

use tokio::time::sleep;

use crate::http::{App, kept_answers};

pub const NAME: &str = "kept_answers";

/// How often: little is kept for longer than promised, and a look costs one search of an index.
const EVERY: Duration = Duration::from_mins(10);

pub async fn run(app: App) {
    loop {
        if let Err(error) = kept_answers::forget(&app.store).await {
            tracing::warn!(%error, "answers that have been kept for long enough could not be removed");
        }
        sleep(EVERY).await;
    }
}
