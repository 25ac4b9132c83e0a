//! Reading a tenant into memory: its rows, and the rules that are parsed from them piece by piece.
//!
//! Reading a tenant with many rules takes seconds of a core. It takes turns with other tenants' expensive work, and rules
//! that are parsed already are not parsed again. Rules that cannot be read, or are too many, close the tenant.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use aka_entity::{identity_provider, tenant};
use sea_orm::{EntityTrait as _, QueryFilter as _};
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::state::{Provider, TenantState};
use crate::{
    access::{
        rule_limits,
        stored_policies::{self, PolicyWithRules},
        workers::{Job, Workers},
    },
    policy::{
        entities::{self, TenantFacts},
        rules::{Rule, RuleError, RuleSet, StoredRule},
    },
    store::{Store, StoreError},
    types::ids::TenantId,
};

/// What a tenant weighs beside its rules and providers.
pub(super) const TENANT_BYTES: u64 = 4 * 1024;
/// What a provider weighs beside its configuration.
const PROVIDER_BYTES: u64 = 2 * 1024;
/// What a rule weighs beside its text and its syntax tree.
const RULE_BYTES: u64 = 2 * 1024;
/// How often the text of a rule is in memory, in one form or another.
const TEXTS: u64 = 4;
/// What a node of a syntax tree weighs.
const NODE_BYTES: u64 = 200;
/// Tenants with large rules that are read at a time, each with all of its rows in memory.
const LARGE_LOADS: usize = 2;
/// From how many bytes of rules a tenant counts among them.
const LARGE: u64 = 64 * 1024;
/// Rules that are parsed at a time, by the bytes of their texts: some milliseconds of work.
const PIECE_BYTES: usize = 16 * 1024;
/// How long parsing the rules of a tenant may take, waiting left out. Rules within the limits take a tenth of it.
const LOAD_TIME: Duration = Duration::from_secs(10);

/// Reads tenants, few with large rules at a time.
#[derive(Clone)]
pub(super) struct Loader {
    pool: Workers,
    large_loads: Arc<Semaphore>,
}

impl Loader {
    /// Rules are parsed in this pool.
    pub(super) fn new(pool: Workers) -> Self {
        Self {
            pool,
            large_loads: Arc::new(Semaphore::new(LARGE_LOADS)),
        }
    }

    /// Reads a tenant. Its version is read first: what is read after it can only be newer, and is then read again.
    pub(super) async fn load(
        &self,
        store: &Store,
        tenant: tenant::Model,
        last: Option<Arc<TenantState>>,
    ) -> Result<TenantState, StoreError> {
        let (id, began) = (TenantId(tenant.id), Instant::now());
        let providers = identity_provider::Entity::find()
            .filter(identity_provider::COLUMN.tenant_id.eq(tenant.id))
            .filter(identity_provider::COLUMN.deleted_at.is_null())
            .all(store.reader())
            .await?;
        let totals = rule_limits::stored(store.reader(), id, None).await?;
        let _large = match totals.bytes {
            LARGE.. => self.large_loads.acquire().await.ok(),
            _ => None,
        };
        let within = totals.check_read();
        if let Err(excess) = &within {
            tracing::error!(
                tenant = %id, limit = excess.limit, max = excess.max, found = excess.found,
                "the stored rules exceed the limits: all requests of this tenant are refused until some are deleted"
            );
        }
        let source = match within {
            Ok(()) => Arc::new(stored_policies::read(store, id).await?),
            Err(_) => Arc::default(),
        };
        let (rules, parsed) = match last {
            _ if within.is_err() => (None, HashMap::new()),
            Some(last) if last.source == source => (last.rules.clone(), last.parsed.clone()),
            last => match parse(&self.pool.own_job(id), id, &source, last).await? {
                Some((rules, parsed)) => (Some(Arc::new(rules)), parsed),
                None => (None, HashMap::new()),
            },
        };
        let bytes = TENANT_BYTES
            + providers.iter().map(provider_bytes).sum::<u64>()
            + totals.rules.saturating_mul(RULE_BYTES)
            + totals.bytes.saturating_mul(TEXTS)
            + totals.nodes.saturating_mul(NODE_BYTES);
        if totals.bytes >= LARGE {
            tracing::info!(
                tenant = %id, version = tenant.version, rules = totals.rules, bytes = totals.bytes,
                took = ?began.elapsed(), "the rules of a large tenant were loaded"
            );
        }
        Ok(TenantState {
            entity: entities::tenant(TenantFacts {
                id,
                slug: &tenant.slug,
                is_master: tenant.is_master,
            }),
            rules,
            providers: providers
                .into_iter()
                .map(|model| Provider::new(model, store.root_key()))
                .map(|p| (p.id(), p))
                .collect(),
            pool: self.pool.clone(),
            source,
            parsed,
            bytes,
            tenant,
        })
    }
}

fn provider_bytes(provider: &identity_provider::Model) -> u64 {
    let secrets = provider.secrets.as_ref().map_or(0, Vec::len);
    PROVIDER_BYTES + TEXTS * (provider.config.to_string().len() + secrets) as u64
}

/// Parses stored rules and arranges them, piece by piece. None where one cannot be read: it was checked when it was
/// stored, so that the schema or Cedar has changed since, or somebody has changed the row by hand.
async fn parse(
    job: &Job,
    tenant: TenantId,
    source: &Arc<Vec<PolicyWithRules>>,
    last: Option<Arc<TenantState>>,
) -> Result<Option<(RuleSet, HashMap<Uuid, Rule>)>, StoreError> {
    let mut parsed = HashMap::new();
    let mut took = Duration::ZERO;
    for piece in pieces(source) {
        let (source, last) = (Arc::clone(source), last.clone());
        let (rules, time) = job
            .run(move || {
                let began = Instant::now();
                (parse_piece(&source, &piece, last.as_deref()), began.elapsed())
            })
            .await?;
        match rules {
            Ok(rules) => parsed.extend(rules),
            Err((row, error)) => {
                tracing::error!(
                    %tenant, rule = %row, %error,
                    "a stored rule cannot be parsed: all requests of this tenant are refused until it is fixed or deleted"
                );
                return Ok(None);
            }
        }
        took += time;
        if took > LOAD_TIME {
            tracing::error!(
                %tenant, limit = ?LOAD_TIME,
                "the stored rules take too long to parse: all requests of this tenant are refused until some are deleted"
            );
            return Ok(None);
        }
    }
    let source = Arc::clone(source);
    job.run(move || {
        let policies = source.iter().map(|(policy, rows)| {
            let rules = rows.iter().filter_map(|row| parsed.get(&row.id).cloned());
            (policy.priority, rules)
        });
        match RuleSet::of_policies(policies) {
            Ok(rules) => Some((rules, parsed)),
            Err(error) => {
                tracing::error!(%tenant, %error, "the rules cannot be indexed: all requests of this tenant are refused");
                None
            }
        }
    })
    .await
}

/// The rules of a tenant in pieces that are parsed at a time: the places of policies and of their rules.
fn pieces(source: &[PolicyWithRules]) -> Vec<Vec<(usize, usize)>> {
    let mut pieces = Vec::new();
    let (mut piece, mut bytes) = (Vec::new(), 0);
    for (policy, (_, rules)) in source.iter().enumerate() {
        for (place, rule) in rules.iter().enumerate() {
            piece.push((policy, place));
            bytes += rule.policy_text.len();
            if bytes >= PIECE_BYTES {
                pieces.push(std::mem::take(&mut piece));
                bytes = 0;
            }
        }
    }
    pieces.push(piece);
    pieces
}

/// Parses some rules. One that is parsed already is taken as it is.
fn parse_piece(
    source: &[PolicyWithRules],
    piece: &[(usize, usize)],
    last: Option<&TenantState>,
) -> Result<Vec<(Uuid, Rule)>, (Uuid, RuleError)> {
    let rows = piece
        .iter()
        .filter_map(|(policy, place)| source.get(*policy)?.1.get(*place));
    rows.map(|row| {
        let stored = StoredRule::from(row);
        let known = last.and_then(|last| last.parsed(row).filter(|rule| rule.is_stored_as(stored)));
        let rule = match known {
            Some(rule) => rule.clone(),
            None => Rule::of_tenant(stored).map_err(|error| (row.id, error))?,
        };
        Ok((row.id, rule))
    })
    .collect()
}
