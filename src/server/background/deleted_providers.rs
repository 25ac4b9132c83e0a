//! Removes the accounts of deleted identity providers.
//!
//! A provider may have a million of them, too many for the request that deletes it. Every node does this: they take turns by
//! the row of the provider.

use std::time::Duration;

use tokio::time::sleep;

use crate::{http::App, resources::identity_providers};

pub const NAME: &str = "deleted_providers";

/// How often deleted providers are looked for: whoever has deleted one sees its accounts go at once.
const EVERY: Duration = Duration::from_secs(1);

pub async fn run(app: App) {
    loop {
        if let Err(error) = identity_providers::deletion::remove_deleted(&app.store).await {
            tracing::warn!(%error, "the accounts of a deleted identity provider could not be removed; it is tried again");
        }
        sleep(EVERY).await;
    }
}
