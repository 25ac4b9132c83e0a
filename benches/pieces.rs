//! The parts of a request, measured separately: `cargo bench --bench pieces`, or `… -- decision` for some of them.
//!
//! Each is compared with a reference that does the same in a straightforward way, so that the ratio of two lines of one run
//! counts and not the machine:
//!
//! * `decision`: a decision with 10, 100 and 1,000 rules in the tenant, from a context to the notices. Reference: Cedar with
//!   all of these rules in one policy set.
//! * `load`: loading 1,000 stored rules. References: only parsing them, and checking each as when it is stored.
//! * `key`: decoding the ids in an API key and hashing it. Reference: only the hash.
//! * `encode`: an identity as JSON. Reference: `serde_json` with the same fields.
//! * `queue`: a change that writes nothing, through the queue to SQLite and back, alone and 64 at a time. Reference: a
//!   transaction on the same connection without a queue.

use std::{hint::black_box, sync::Arc, time::Duration};

use aka::{
    access::api_keys::RawKey,
    policy::{
        Query, decide,
        entities::{NamedEntity, api_key, identity_provider_uid, unknown_user},
        rules::{Level, Rule, RuleSet, check_rule, parse_rule},
        schema::{SCHEMA, action_entity},
    },
    resources::identities::wire::UserIdentity,
    store::{
        Applied, Change, DatabaseUrl, Store, StoreError, Tx,
        root_key::{RootKey, RootKeySource},
    },
    types::{
        actions::Action,
        ids::{ApiKeyId, IdentityProviderId, TenantId},
        scopes::Scope,
    },
};
use aka_entity::policy_rule;
use async_trait::async_trait;
use cedar_policy::{Authorizer, Context, Entities, PolicySet, Request, RestrictedExpression};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use futures_util::future::join_all;
use poem_openapi::types::{ParseFromJSON as _, ToJSON as _};
use sea_orm::{Database, TransactionTrait as _};
use sha2::{Digest as _, Sha256};
use tokio::runtime::Runtime;
use uuid::Uuid;

/// Rules of a tenant.
const SIZES: [usize; 3] = [10, 100, 1_000];
/// Requests that wait for the queue at the same time.
const AT_ONCE: usize = 64;

/// The text of one of many rules. Of every ten, five match other operations and four other callers. The tenth matches the
/// linked account and has a notice, in the first ten rules; in all others it matches another caller.
fn rule_text(number: usize) -> String {
    const OTHERS: [&str; 5] = [
        "getUser",
        "listUsers",
        "suspendUser",
        "deleteUserIdentity",
        "updateUser",
    ];
    match number % 10 {
        other @ 0..5 => {
            let action = OTHERS[other];
            format!(r#"permit (principal in Role::"team-{number}", action == Action::"{action}", resource);"#)
        }
        9 if number < 10 => concat!(
            r#"@notice("Link the account that has your address at the company.") "#,
            r#"forbid (principal, action == Action::"createUserIdentity", resource) "#,
            r#"unless { context has external_email && context.external_email like "*@example.com" };"#
        )
        .to_owned(),
        _ => format!(
            r#"permit (principal in Group::"team-{number}", action == Action::"createUserIdentity", resource)
               when {{ context.external_id like "team-{number}-*" }};"#
        ),
    }
}

/// The rules as they are stored.
fn rows(size: usize) -> Vec<policy_rule::Model> {
    let row = |number: usize| {
        let text = rule_text(number);
        let rule = check_rule(&text).expect("a rule of this benchmark");
        policy_rule::Model {
            tenant_id: Uuid::nil(),
            id: Uuid::from_u128(number as u128),
            policy_id: Uuid::nil(),
            ordinal: 0,
            checked: rule.mark().to_vec(),
            policy_text: text,
            notice: None,
            created_at: 0,
            outline: rule.outline,
            bytes: 0,
            nodes: i64::try_from(rule.weight.nodes).expect("a small rule"),
            cost: i64::try_from(rule.weight.cost).expect("a cheap rule"),
        }
    };
    (0..size).map(row).collect()
}

fn texts(rows: &[policy_rule::Model]) -> String {
    rows.iter().map(|row| row.policy_text.as_str()).collect()
}

fn rules(rows: &[policy_rule::Model]) -> RuleSet {
    let rules = rows
        .iter()
        .map(|row| Rule::of_tenant(row).expect("a rule that was checked"));
    let level = Level {
        priority: Some(0),
        rules: rules.collect(),
    };
    RuleSet::new(&[level]).expect("their ids are their own")
}

/// The context of a request to link an account.
fn context(email: &str) -> Context {
    let provider = identity_provider_uid(IdentityProviderId(Uuid::from_u128(3)));
    Context::from_pairs([
        (
            "identity_provider".to_owned(),
            RestrictedExpression::new_entity_uid(provider),
        ),
        (
            "external_id".to_owned(),
            RestrictedExpression::new_string("583231".to_owned()),
        ),
        (
            "external_email".to_owned(),
            RestrictedExpression::new_string(email.to_owned()),
        ),
    ])
    .expect("a context without functions")
}

/// A request that is refused with a notice.
fn query<'a>(caller: &'a NamedEntity, user: &NamedEntity) -> Query<'a> {
    Query {
        principal: &caller.uid,
        action: Action::CreateUserIdentity,
        resource: user.uid.clone(),
        context: context("ada@elsewhere.example"),
        entities: vec![caller.entity.clone(), user.entity.clone()],
    }
}

fn decision(criterion: &mut Criterion) {
    let caller = api_key(
        ApiKeyId(Uuid::from_u128(2)),
        "sync",
        &[Scope::IdentitiesWrite, Scope::UsersRead],
        None,
        None,
    );
    let user = unknown_user(aka::types::ids::UserId(Uuid::from_u128(4)));
    let mut group = criterion.benchmark_group("decision");
    for size in SIZES {
        let rows = rows(size);
        let rules = rules(&rows);
        let decided = decide(&rules, query(&caller, &user));
        assert_eq!(decided.notices.len(), 1, "the rule with a notice decides: {decided:?}");
        group.bench_function(BenchmarkId::new("aka", size), |bencher| {
            bencher.iter(|| decide(black_box(&rules), query(&caller, &user)));
        });

        let all: PolicySet = texts(&rows).parse().expect("the same rules");
        group.bench_function(BenchmarkId::new("one set", size), |bencher| {
            bencher.iter(|| {
                let asked = query(&caller, &user);
                let action = action_entity(asked.action).0.clone();
                let request = Request::new(asked.principal.clone(), action, asked.resource, asked.context, None);
                let entities = Entities::from_entities(asked.entities, None).expect("entities that differ");
                let response =
                    Authorizer::new().is_authorized(&request.expect("a request"), black_box(&all), &entities);
                let notices: Vec<String> = response
                    .diagnostics()
                    .reason()
                    .filter_map(|id| all.annotation(id, "notice").map(str::to_owned))
                    .collect();
                notices
            });
        });
    }
    group.finish();
    // The schema is parsed when it is first used, which is not part of any figure here.
    black_box(&*SCHEMA);
}

fn load(criterion: &mut Criterion) {
    let rows = rows(1_000);
    let mut group = criterion.benchmark_group("load");
    group.sample_size(20).throughput(Throughput::Elements(1_000));
    group.bench_function("aka", |bencher| bencher.iter(|| rules(black_box(&rows))));
    group.bench_function("check each", |bencher| {
        bencher.iter(|| black_box(&rows).iter().all(|row| parse_rule(&row.policy_text).is_ok()));
    });
    group.bench_function("parse", |bencher| {
        bencher.iter(|| texts(black_box(&rows)).parse::<PolicySet>().is_ok());
    });
    group.finish();
}

fn key(criterion: &mut Criterion) {
    let raw = RawKey::new(TenantId(Uuid::now_v7()), ApiKeyId(Uuid::now_v7())).expect("random bytes");
    let mut group = criterion.benchmark_group("key");
    group.bench_function("aka", |bencher| {
        bencher.iter(|| {
            (
                RawKey::ids(black_box(raw.reveal())),
                RawKey::hash(black_box(raw.reveal())),
            )
        });
    });
    group.bench_function("hash", |bencher| {
        bencher.iter(|| Sha256::digest(black_box(raw.reveal())));
    });
    group.finish();
}

fn encode(criterion: &mut Criterion) {
    let members = serde_json::json!({
        "id": Uuid::now_v7(), "user_id": Uuid::now_v7(), "identity_provider_id": Uuid::now_v7(),
        "provider_name": "GitHub", "provider_type": "github", "external_id": "583231",
        "external_username": "octocat", "external_email": null, "external_display_name": null,
        "linked_by": "manual", "last_synced_at": null,
        "created_at": "2026-11-24T08:42:59.221996Z", "updated_at": "2026-11-24T08:42:59.221996Z",
    });
    let identity = UserIdentity::parse_from_json(Some(members.clone())).expect("an identity");
    let mut group = criterion.benchmark_group("encode");
    group.bench_function("aka", |bencher| bencher.iter(|| black_box(&identity).to_json_string()));
    group.bench_function("serde_json", |bencher| bencher.iter(|| black_box(&members).to_string()));
    group.finish();
}

/// A change that has nothing to write.
struct Nothing;

#[async_trait]
impl Change for Nothing {
    type Done = ();
    type Refusal = StoreError;

    fn tenant(&self) -> Option<TenantId> {
        None
    }

    async fn apply(&self, _: &Tx<'_>) -> Result<Applied<()>, StoreError> {
        Ok(Applied::unchanged(()))
    }

    async fn apply_many(
        changes: &[&Self],
        _: &Tx<'_>,
    ) -> Result<Vec<Option<Result<Applied<()>, StoreError>>>, StoreError> {
        Ok(changes.iter().map(|_| Some(Ok(Applied::unchanged(())))).collect())
    }
}

fn queue(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let directory = tempfile::tempdir().expect("a directory");
    let url = format!("sqlite://{}", directory.path().join("aka.db").display());
    let address: DatabaseUrl = url.parse().expect("an address");
    let (store, plain) = runtime.block_on(async {
        aka::store::migrate(&address).await.expect("tables");
        let root_key = RootKeySource::Given(RootKey::random().expect("randomness"));
        let store = Store::open(&address, &root_key, Arc::new(|_, _| ()))
            .await
            .expect("a store");
        (store, Database::connect(url).await.expect("a connection"))
    });
    let mut group = criterion.benchmark_group("queue");
    group.measurement_time(Duration::from_secs(3));
    group.bench_function(BenchmarkId::new("aka", 1), |bencher| {
        bencher.iter(|| runtime.block_on(store.write(Nothing)).expect("a commit"));
    });
    group.throughput(Throughput::Elements(AT_ONCE as u64));
    group.bench_function(BenchmarkId::new("aka", AT_ONCE), |bencher| {
        bencher.iter(|| runtime.block_on(join_all((0..AT_ONCE).map(|_| store.write(Nothing)))));
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function("transaction", |bencher| {
        bencher.iter(|| {
            runtime.block_on(async {
                let transaction = plain.begin().await.expect("a transaction");
                transaction.commit().await.expect("a commit");
            });
        });
    });
    group.finish();
    runtime.block_on(store.close());
}

criterion_group! {
    name = pieces;
    config = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(2))
        .without_plots();
    targets = decision, load, key, encode, queue
}
criterion_main!(pieces);
