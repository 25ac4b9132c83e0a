//! Attacks: what one tenant, one key, a stranger or a broken network does, and how it affects others.
//!
//! An attack on shared resources (CPU, memory, the writer, connections) is judged by a [`Victim`]: a tenant that does
//! nothing unusual while the attack runs. An attack on rights is judged by what the attacker can do afterwards.
//!
//! ```ignore
//! async fn a_flood_of_one_tenant_does_not_slow_down_others(aka: Aka) {
//!     let aka = Aka::alone(aka.store()).await;
//!     let (attacker, bystander) = (aka.tenant().await, aka.tenant().await);
//!     let victim = Victim::at(&aka).await;
//!     let harmless = Clients::new(8, move |_| bystander.get("/v1/users"));
//!     let attack = Clients::new(8, move |_| attacker.get("/v1/..."));
//!     victim.is_unharmed(&harmless, &attack).await;
//! }
//! ```
//!
//! Response times mean nothing while other tests use the same two cores. `tests/run` therefore leaves these tests out of
//! the step `tests` and runs them one at a time in the step `attacks`; by hand:
//! `cargo test --test it attacks:: -- --test-threads 1 --nocapture`.

mod clocks;
mod connections;
mod deletions;
mod knowledge;
mod locks;
mod lost_networks;
mod rights;
mod rules;
mod shared_store;
mod strange_tokens;
mod suspension;
mod token_issuers;
mod unseen;
mod victim;

pub use victim::{Clients, Load, Victim};

use std::time::Duration;

use crate::harness::{Aka, Store, on_both_stores, run};

on_both_stores![a_victim_next_to_harmless_traffic_is_unharmed];

/// Clients in the tests of the measurement itself.
const CLIENTS: usize = 4;

async fn a_victim_next_to_harmless_traffic_is_unharmed(aka: Aka) {
    let (one, other) = (aka.tenant().await, aka.tenant().await);
    let victim = Victim::at(&aka).await;
    let reference = Clients::new(CLIENTS, move |_| one.get("/v1/users"));
    let beside = Clients::new(CLIENTS, move |_| other.get("/v1/users"));

    victim.is_unharmed(&reference, &beside).await;

    assert!(beside.answers().contains("200"), "{}", beside.answers());
}

/// A server that stands still again and again, for longer than a victim may wait.
struct StandingStill(Aka);

impl Load for StandingStill {
    async fn run(&self) {
        const STANDS_STILL: Duration = Duration::from_millis(300);
        const GOES_ON: Duration = Duration::from_millis(700);
        loop {
            let stopped = Stopped::new(&self.0);
            tokio::time::sleep(STANDS_STILL).await;
            drop(stopped);
            tokio::time::sleep(GOES_ON).await;
        }
    }
}

/// A stopped server, which goes on when this is dropped.
struct Stopped<'a>(&'a Aka);

impl<'a> Stopped<'a> {
    fn new(aka: &'a Aka) -> Self {
        aka.signal("STOP");
        Self(aka)
    }
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.signal("CONT");
    }
}

#[test]
fn a_victim_detects_a_server_that_hangs() {
    run(async {
        let aka = Aka::alone(Store::Sqlite).await;
        let bystander = aka.tenant().await;
        let victim = Victim::at(&aka).await;
        let reference = Clients::new(1, move |_| bystander.get("/v1/users")).pausing(Duration::from_millis(20));

        let harm = victim.harm(&reference, &StandingStill(aka)).await;

        let harm = harm.expect_err("a third of the requests has waited");
        assert!(harm.contains("p99"), "{harm}");
    });
}
