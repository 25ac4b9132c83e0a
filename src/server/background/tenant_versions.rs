//! Compares the versions of the tenants in memory with the database's.
//!
//! Another node may have changed a tenant's rules, keys or providers. What is in memory counts for two seconds after a
//! comparison ([`crate::access::tenants`]); without this task, the next request of each tenant would have to make one.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::http::App;

pub const NAME: &str = "tenant_versions";

/// How often: several times within the two seconds, so that one comparison that fails does not matter.
const EVERY: Duration = Duration::from_millis(500);

pub async fn run(app: App) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = app.tenants.compare_versions(&app.store).await {
            tracing::warn!(%error, "the versions of tenants could not be compared");
        }
    }
}
