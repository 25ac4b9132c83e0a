//! The test harness: real servers on both stores, and a client that checks every response.
//!
//! Per store, one server is started when the first test of a process needs it, and shared by all tests; each test
//! uses its own tenant. Tests that disturb their server start their own ([`Aka::alone`]).

pub mod answer;
pub mod caller;
pub mod child;
pub mod contract;
pub mod document;
pub mod issuer;
pub mod network;
pub mod node;
pub mod operations;
pub mod postgres;
pub mod program;
pub mod raw;
pub mod rows;
pub mod samples;

use std::{
    fmt::Display,
    sync::LazyLock,
    time::{Duration, Instant},
};

pub use answer::Answer;
pub use caller::Caller;
pub use node::{Aka, Store};
pub use serde_json::{Value, json};
use tokio::runtime::Runtime;
pub use uuid::Uuid;

/// Makes of each function `async fn name(aka: Aka)` two tests, `name::sqlite` and `name::postgres`.
///
/// The list stands at the head of a file, where it reads as what the file asserts. A function that is missing from it
/// is dead code, of which the compiler warns.
macro_rules! on_both_stores {
    [$($name:ident),+ $(,)?] => {$(
        mod $name {
            use crate::harness::{Store, run_on};

            #[test]
            fn sqlite() {
                run_on(Store::Sqlite, super::$name);
            }

            #[test]
            fn postgres() {
                run_on(Store::Postgres, super::$name);
            }
        }
    )+};
}
pub(crate) use on_both_stores;

/// One runtime for all tests of a process, because they share servers, connections and a client.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));

/// Runs a test against the shared server on a store.
pub fn run_on<F: Future<Output = ()>>(store: Store, test: impl FnOnce(Aka) -> F) {
    run(async { test(Aka::shared(store).await).await });
}

/// Runs a test that needs no server, or starts its own.
pub fn run<F: Future<Output = ()>>(test: F) {
    RUNTIME.block_on(test);
}

/// Asks again and again until the answer is `Ok`, which must be within a time; else the last `Err` is shown.
pub async fn eventually<T, E: Display>(within: Duration, what: &str, mut ask: impl AsyncFnMut() -> Result<T, E>) -> T {
    /// Often enough not to waste a test's time, and seldom enough not to disturb the server.
    const PAUSE: Duration = Duration::from_millis(20);
    let began = Instant::now();
    loop {
        match ask().await {
            Ok(found) => return found,
            Err(not_yet) if began.elapsed() > within => panic!("not within {within:?}: {what}: {not_yet}"),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// A word that no other test uses: for names that are unique in a store or a tenant.
pub fn unique(prefix: &str) -> String {
    let id = Uuid::now_v7().simple().to_string();
    format!("{prefix}-{}", &id[12..])
}
