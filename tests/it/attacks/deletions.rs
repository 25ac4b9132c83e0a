//! Deleting an identity provider with very many accounts.

use std::{sync::Mutex, time::Duration};

use sea_orm::{ConnectionTrait as _, DbBackend, Statement};
use tokio::task::JoinSet;

use super::{Clients, Load, Victim};
use crate::harness::{Aka, Caller, Uuid, eventually, json, on_both_stores, rows, unique};

on_both_stores![
    deleting_a_provider_with_many_accounts_does_not_slow_down_others,
    a_deleted_provider_disappears_immediately_and_its_accounts_soon,
    a_deletion_continues_after_a_crash,
    a_link_that_races_with_a_deletion_does_not_survive_it,
];

/// How long it may take to remove the accounts.
const REMOVED_WITHIN: Duration = Duration::from_mins(1);

/// Makes so many accounts at a provider that are linked to nobody.
async fn unlinked_accounts(aka: &Aka, tenant: Uuid, provider: Uuid, number: usize) {
    let db = rows::connect(aka.database_url()).await;
    let backend = db.get_database_backend();
    let (numbers, id) = match backend {
        DbBackend::Postgres => (
            format!("generate_series(1, {number}) AS numbers (n)"),
            "gen_random_uuid()",
        ),
        _ => (
            format!(
                "(WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {number}) \
                 SELECT n FROM numbers)"
            ),
            "randomblob(16)",
        ),
    };
    let sql = format!(
        "INSERT INTO identities (tenant_id, id, identity_provider_id, external_id, linked_by, created_at, updated_at) \
         SELECT $1, {id}, $2, 'account-' || n, 'manual', 0, 0 FROM {numbers}"
    );
    db.execute_raw(Statement::from_sql_and_values(
        backend,
        sql,
        [tenant.into(), provider.into()],
    ))
    .await
    .expect("accounts");
}

/// Providers with many accounts, of which one is deleted when this begins to run.
struct Deleting {
    caller: Caller,
    providers: Mutex<Vec<Uuid>>,
}

impl Load for Deleting {
    async fn run(&self) {
        let provider = self
            .providers
            .lock()
            .expect("no panic")
            .pop()
            .expect("a provider is left");
        self.caller
            .delete(format!("/v1/identity-providers/{provider}"))
            .await
            .expect(204);
        std::future::pending::<()>().await;
    }
}

async fn deleting_a_provider_with_many_accounts_does_not_slow_down_others(shared: Aka) {
    const ACCOUNTS: usize = 200_000;
    /// One for each measurement.
    const PROVIDERS: usize = 3;
    let aka = Aka::alone(shared.store()).await;
    let (attacker, bystander) = (aka.tenant().await, aka.tenant().await);
    let mut providers = Vec::new();
    for _ in 0..PROVIDERS {
        let provider = attacker.post("/v1/identity-providers");
        let provider = provider.json(json!({ "name": unique("provider"), "provider_type": "github" }));
        let provider = provider.await.expect(201).id();
        unlinked_accounts(&aka, attacker.tenant(), provider, ACCOUNTS).await;
        providers.push(provider);
    }
    let victim = Victim::at(&aka).await;
    let reference = Clients::new(1, move |_| bystander.get("/v1/users")).pausing(Duration::from_millis(20));
    let attack = Deleting {
        caller: attacker,
        providers: Mutex::new(providers),
    };

    victim.is_unharmed(&reference, &attack).await;
}

async fn a_deleted_provider_disappears_immediately_and_its_accounts_soon(aka: Aka) {
    let acme = aka.tenant().await;
    let user = acme.user().await;
    let new = || {
        acme.post("/v1/identity-providers")
            .json(json!({ "name": "GitHub", "provider_type": "github" }))
    };
    let provider = new().await.expect(201).id();
    unlinked_accounts(&aka, acme.tenant(), provider, 5_000).await;
    acme.lookup(provider, "account-5000").await.expect(200);
    let bound = acme
        .post("/v1/api-keys")
        .json(json!({ "name": "bound", "scopes": ["identities:read"], "identity_provider_id": provider }))
        .await
        .expect(201);
    let bound = acme.with_key(bound["raw_key"].as_str().expect("a key"));
    bound.lookup(provider, "account-5000").await.expect(200);

    acme.delete(format!("/v1/identity-providers/{provider}"))
        .await
        .expect(204);

    acme.get(format!("/v1/identity-providers/{provider}"))
        .await
        .refused_as_unknown("identity_provider");
    acme.delete(format!("/v1/identity-providers/{provider}"))
        .await
        .refused_as_unknown("identity_provider");
    acme.lookup(provider, "account-5000")
        .await
        .refused_as_unknown("identity");
    acme.link(user, provider, "account-5000")
        .await
        .refused_as_unknown("identity_provider");
    acme.link(user, provider, "another")
        .await
        .refused_as_unknown("identity_provider");
    bound
        .lookup(provider, "account-5000")
        .await
        .refused(401, "unauthenticated");
    let list = acme.get("/v1/identity-providers").await.expect(200);
    assert!(list.column("id").is_empty(), "{list}");
    new().await.expect(201);
    removed(&aka, provider).await;
}

/// Waits until nothing of a provider is left.
async fn removed(aka: &Aka, provider: Uuid) {
    let rows = aka.rows().await;
    eventually(REMOVED_WITHIN, "everything is removed", async || {
        let accounts = rows
            .count("identities", &[("identity_provider_id", provider.into())])
            .await;
        let providers = rows.count("identity_providers", &[("id", provider.into())]).await;
        if accounts + providers == 0 {
            Ok(())
        } else {
            Err(format!("{accounts} accounts, {providers} providers"))
        }
    })
    .await;
}

async fn a_deletion_continues_after_a_crash(shared: Aka) {
    let aka = Aka::alone(shared.store()).await;
    let acme = aka.tenant().await;
    let provider = acme.provider("github").await;
    unlinked_accounts(&aka, acme.tenant(), provider, 20_000).await;
    aka.stop();
    let node = aka.second_node_to_be_killed().await;

    acme.at(&node)
        .delete(format!("/v1/identity-providers/{provider}"))
        .await
        .expect(204);
    tokio::task::spawn_blocking(move || node.stop())
        .await
        .expect("the server can be killed");

    let rows = aka.rows().await;
    let left = rows
        .count("identities", &[("identity_provider_id", provider.into())])
        .await;
    assert!(left > 0, "it was killed before the end");
    let _again = aka.second_node().await;
    removed(&aka, provider).await;
}

async fn a_link_that_races_with_a_deletion_does_not_survive_it(shared: Aka) {
    const ROUNDS: usize = 15;
    const LINKS: usize = 8;
    let aka = Aka::alone(shared.store()).await;
    let other = aka.second_node().await;
    let acme = aka.tenant().await;
    let user = acme.user().await;
    let (mut deleted, mut kept) = (0, 0);
    for round in 0..ROUNDS {
        let provider = acme.post("/v1/identity-providers");
        let provider = provider.json(json!({ "name": unique("provider"), "provider_type": "github" }));
        let provider = provider.await.expect(201).id();
        // Half of the links adopt an account that is known.
        unlinked_accounts(&aka, acme.tenant(), provider, LINKS / 2).await;
        let mut links = JoinSet::new();
        for number in 0..LINKS {
            let caller = if number % 2 == 0 { acme.clone() } else { acme.at(&other) };
            links.spawn(async move {
                tokio::time::sleep(Duration::from_millis(number as u64)).await;
                caller.link(user, provider, &format!("account-{}", number + 1)).await
            });
        }
        tokio::time::sleep(Duration::from_millis(round as u64 / 2)).await;

        let deletion = acme.delete(format!("/v1/identity-providers/{provider}")).await;

        let answers = links.join_all().await;
        let linked = answers.iter().filter(|answer| answer.status == 201).count();
        if deletion.status == 204 {
            deleted += 1;
            assert_eq!(linked, 0, "a link was acknowledged at a provider that is deleted");
            removed(&aka, provider).await;
        } else {
            kept += 1;
            deletion.refused(409, "identity_provider_in_use");
            assert!(linked > 0);
        }
    }
    println!("{deleted} deleted, {kept} kept");
}
