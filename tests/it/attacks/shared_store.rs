//! A tenant that floods what all tenants share in the store: the queue of changes, and the connections for reading.

use std::time::Duration;

use super::{Clients, Victim};
use crate::harness::{Aka, Caller, Uuid, caller::Request, eventually, json, on_both_stores, rows, unique};

on_both_stores![
    a_flood_of_changes_does_not_slow_down_others,
    a_flood_of_repeated_links_does_not_slow_down_others,
    a_flood_of_long_reads_does_not_slow_down_others,
    a_tenant_with_too_many_waiting_changes_is_refused,
];

/// Clients of the attacker.
const CLIENTS: usize = 16;

/// A tenant with a user and a provider.
async fn tenant(aka: &Aka) -> (Caller, Uuid, Uuid) {
    let caller = aka.tenant().await;
    let (user, provider) = (caller.user().await, caller.provider("github").await);
    (caller, user, provider)
}

/// The same clients, each of a tenant of its own: what they cost is the same, and nobody has more than one change waiting.
async fn of_many_tenants(
    aka: &Aka,
    request: impl Fn(&(Caller, Uuid, Uuid), usize) -> Request + Send + Sync + 'static,
) -> Clients<impl Fn(usize) -> Request + Send + Sync + 'static> {
    let mut tenants = Vec::new();
    for _ in 0..CLIENTS {
        tenants.push(tenant(aka).await);
    }
    Clients::new(CLIENTS, move |number| request(&tenants[number % tenants.len()], number))
}

fn new_user((caller, ..): &(Caller, Uuid, Uuid), _: usize) -> Request {
    let email = format!("{}@example.com", unique("user"));
    caller.post("/v1/users").json(json!({ "email": email, "name": "Ada" }))
}

async fn a_flood_of_changes_does_not_slow_down_others(shared: Aka) {
    let aka = Aka::alone(shared.store()).await;
    let attacker = tenant(&aka).await;
    let victim = Victim::at(&aka).await;
    let reference = of_many_tenants(&aka, new_user).await;
    let attack = Clients::new(CLIENTS, move |number| new_user(&attacker, number));

    victim.is_unharmed(&reference, &attack).await;

    println!("{}", attack.answers());
}

/// A link that is there already is not among those that one statement makes for all.
fn the_same_link((caller, user, provider): &(Caller, Uuid, Uuid), _: usize) -> Request {
    caller.link(*user, *provider, "583231")
}

async fn a_flood_of_repeated_links_does_not_slow_down_others(shared: Aka) {
    let aka = Aka::alone(shared.store()).await;
    let attacker = tenant(&aka).await;
    the_same_link(&attacker, 0).await.expect(201);
    let victim = Victim::at(&aka).await;
    let reference = of_many_tenants(&aka, the_same_link).await;
    let attack = Clients::new(CLIENTS, move |number| the_same_link(&attacker, number));

    victim.is_unharmed(&reference, &attack).await;

    println!("{}", attack.answers());
}

async fn a_flood_of_long_reads_does_not_slow_down_others(shared: Aka) {
    /// Decisions of the attacker: more than are kept, so that reading all of them takes long.
    const DECISIONS: usize = 100_000;
    let aka = Aka::alone(shared.store()).await;
    let (attacker, bystander) = (aka.tenant().await, aka.tenant().await);
    attacker
        .limited_to(&["users:read"])
        .await
        .post("/v1/users")
        .json(json!({ "email": "ada@example.com", "name": "Ada" }))
        .await
        .refused(403, "forbidden");
    eventually(Duration::from_secs(5), "the decision is written", async || {
        let decisions = attacker.get("/v1/decisions").await.expect(200);
        if decisions.column("id").is_empty() {
            Err(decisions)
        } else {
            Ok(())
        }
    })
    .await;
    let stored = aka.rows().await;
    stored.multiply("decisions", attacker.tenant(), DECISIONS).await;
    let victim = Victim::at(&aka).await;
    let nothing = |caller: Caller| move |_| caller.get("/v1/decisions?actor_id=nobody");
    let reference = Clients::new(CLIENTS / 2, nothing(bystander));
    let attack = Clients::new(CLIENTS / 2, nothing(attacker));

    victim.is_unharmed(&reference, &attack).await;

    println!("{}", attack.answers());
}

async fn a_tenant_with_too_many_waiting_changes_is_refused(shared: Aka) {
    let aka = Aka::alone(shared.store()).await;
    let (attacker, neighbour) = (aka.tenant().await, tenant(&aka).await);
    // Nothing is written for a moment, so that changes pile up.
    let elsewhere = rows::connect(aka.database_url()).await;
    let stop = super::locks::stop_writing(&elsewhere, aka.store()).await;
    let mut flood = tokio::task::JoinSet::new();
    for number in 0..2_000 {
        let email = format!("user-{number}@example.com");
        let user = attacker
            .post("/v1/users")
            .json(json!({ "email": email, "name": "Ada" }));
        flood.spawn(async move { user.await.status });
    }
    let other = tokio::spawn(new_user(&neighbour, 0).into_future());
    let refused = async {
        while let Some(status) = flood.join_next().await {
            if status.expect("no panic") == 429 {
                return;
            }
        }
        panic!("everything is taken in");
    };
    tokio::time::timeout(Duration::from_secs(4), refused)
        .await
        .expect("what is too much is refused at once");
    stop.rollback().await.expect("the lock can be given back");

    other.await.expect("an answer").expect(201);
    let statuses = flood.join_all().await;
    assert!(statuses.contains(&201), "{statuses:?}");
}
