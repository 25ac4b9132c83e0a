//! What a node keeps in memory of a tenant: the tenant itself, its providers and its rules.
//!
//! Every change of any of these (and of API keys) raises the tenant's version in its own transaction.
//!
//! * The node that made the change learns of it with the commit, before anybody is answered: what it has in memory
//!   of an older version is never used again.
//! * The other nodes compare versions, of the tenants in use only, with one small query every half a second
//!   ([`Tenants::compare_versions`]).
//! * Nothing that was not compared within [`TRUST_FOR`] is used. A node that cannot reach the database knows nothing.
//!
//! Reading a tenant with many rules takes seconds of a core. So it is done once for each version however many requests
//! wait for it, goes on when they have gone, and takes turns with other tenants' expensive work. Rules that cannot be read,
//! or are too many, close the tenant: that is known of the version, too, and found out once. What is in memory is weighed,
//! and tenants that were not used for longest go when it becomes too much.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use aka_entity::{identity_provider, policy_rule, tenant};
use moka::{ops::compute::Op, policy::EvictionPolicy};
use sea_orm::{ActiveEnum as _, EntityTrait as _, QueryFilter as _, QuerySelect as _};
use tokio::sync::Semaphore;
use tracing::Instrument as _;
use uuid::Uuid;

use super::{
    rule_limits,
    stored_policies::{self, PolicyWithRules},
    tokens::issuers::Issuer,
    workers::{Job, Workers},
};
use crate::{
    policy::{
        entities::{self, IdentityProviderFacts, NamedEntity, TenantFacts},
        rules::{Rule, RuleError, RuleSet, StoredRule},
    },
    store::{OnNewVersion, Store, StoreError, root_key::RootKey},
    types::ids::{IdentityProviderId, TenantId},
};

/// How long a comparison is good for.
const TRUST_FOR: Duration = Duration::from_secs(2);
/// Tenants that were not asked for this long are no longer compared: their next request does it.
const IDLE_AFTER: Duration = Duration::from_secs(30);
/// What tenants in memory may weigh together, in bytes.
const MAX_BYTES: u64 = 512 * 1024 * 1024;
/// What a tenant weighs beside its rules and providers.
const TENANT_BYTES: u64 = 4 * 1024;
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
/// Versions asked for in one query: below what SQLite takes as parameters.
const VERSIONS_PER_QUERY: usize = 500;

/// A tenant of one version.
pub struct TenantState {
    /// The tenant.
    pub tenant: tenant::Model,
    /// The tenant, for policy.
    pub entity: NamedEntity,
    /// Its rules. Absent: one of them cannot be read, so that every decision is a no.
    pub rules: Option<Arc<RuleSet>>,
    /// Where expensive decisions are made, and other work with its rules is done.
    pub pool: Workers,
    providers: HashMap<IdentityProviderId, Provider>,
    source: Arc<Vec<PolicyWithRules>>,
    /// The rules by their ids, to be used again as long as their rows are the same.
    parsed: HashMap<Uuid, Rule>,
    /// What it takes in memory, about.
    bytes: u64,
}

/// A provider of a tenant.
pub struct Provider {
    /// Its row.
    pub model: identity_provider::Model,
    /// For policy.
    pub entity: NamedEntity,
    /// How tokens that it issues are checked, where its configuration says so.
    pub issuer: Option<Issuer>,
}

impl TenantState {
    /// A provider.
    #[must_use]
    pub fn identity_provider(&self, id: IdentityProviderId) -> Option<&Provider> {
        self.providers.get(&id)
    }

    /// The policies that are in force with their rules, as they are stored.
    #[must_use]
    pub fn policies(&self) -> &[PolicyWithRules] {
        &self.source
    }

    /// The enabled providers that issue tokens.
    pub fn issuers(&self) -> impl Iterator<Item = (IdentityProviderId, &Issuer)> {
        let enabled = self.providers.values().filter(|provider| provider.model.enabled);
        enabled.filter_map(|provider| Some((provider.id(), provider.issuer.as_ref()?)))
    }

    /// The enabled provider whose tokens name this issuer.
    #[must_use]
    pub fn issuer(&self, name: &str) -> Option<(IdentityProviderId, &Issuer)> {
        self.issuers().find(|(_, issuer)| issuer.issuer == name)
    }

    /// A provider for policy, also where the tenant has none of this id.
    #[must_use]
    pub fn identity_provider_entity(&self, id: IdentityProviderId) -> NamedEntity {
        self.providers.get(&id).map_or_else(
            || entities::unknown_identity_provider(id),
            |provider| provider.entity.clone(),
        )
    }

    /// A rule that is in force, if its row is one of those that were parsed.
    #[must_use]
    pub fn parsed(&self, rule: &policy_rule::Model) -> Option<&Rule> {
        self.parsed.get(&rule.id)
    }

    /// Reads a tenant. Its version is read first: what is read after it can only be newer, and is then read again.
    async fn read(
        tenants: &Tenants,
        store: &Store,
        tenant: tenant::Model,
        last: Option<Arc<Self>>,
    ) -> Result<Self, StoreError> {
        let (id, began) = (TenantId(tenant.id), Instant::now());
        let providers = identity_provider::Entity::find()
            .filter(identity_provider::COLUMN.tenant_id.eq(tenant.id))
            .filter(identity_provider::COLUMN.deleted_at.is_null())
            .all(store.reader())
            .await?;
        let totals = rule_limits::stored(store.reader(), id, None).await?;
        let _large = match totals.bytes {
            LARGE.. => tenants.large_loads.acquire().await.ok(),
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
            last => match parse(&tenants.pool.own_job(id), id, &source, last).await? {
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
        Ok(Self {
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
            pool: tenants.pool.clone(),
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

impl std::fmt::Debug for TenantState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TenantState({} version {})", self.tenant.id, self.tenant.version)
    }
}

impl Provider {
    fn new(model: identity_provider::Model, root_key: &RootKey) -> Self {
        let facts = IdentityProviderFacts {
            id: IdentityProviderId(model.id),
            name: &model.name,
            provider_type: &model.provider_type.to_value(),
            enabled: model.enabled,
        };
        Self {
            entity: entities::identity_provider(facts),
            issuer: Issuer::of(&model, root_key),
            model,
        }
    }

    fn id(&self) -> IdentityProviderId {
        IdentityProviderId(self.model.id)
    }
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

/// The tenants that this node has in memory.
#[derive(Clone)]
pub struct Tenants {
    slots: moka::sync::Cache<TenantId, Arc<Slot>>,
    pool: Workers,
    large_loads: Arc<Semaphore>,
    started: Instant,
}

/// The place of a tenant in memory.
#[derive(Default)]
struct Slot {
    current: RwLock<Option<CheckedVersion>>,
    /// The lowest version that may be used: that of the last change made by this node.
    floor: AtomicI64,
    /// When the tenant was last asked for, in milliseconds since the start.
    used: AtomicU64,
    /// Held by whoever reads the tenant, so that others wait instead of reading it too. In it is when that last failed,
    /// and why: those who waited meanwhile need not try again one after the other.
    reading: tokio::sync::Mutex<Option<(Instant, StoreError)>>,
}

#[derive(Clone)]
struct CheckedVersion {
    state: Arc<TenantState>,
    at: Instant,
}

impl Slot {
    fn current(&self) -> Option<CheckedVersion> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn usable(&self) -> Option<Arc<TenantState>> {
        let current = self.current()?;
        let usable =
            current.at.elapsed() < TRUST_FOR && current.state.tenant.version >= self.floor.load(Ordering::Acquire);
        usable.then_some(current.state)
    }

    fn weight(&self) -> u32 {
        let bytes = self.current().map_or(TENANT_BYTES, |current| current.state.bytes);
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }

    fn set(&self, checked: Option<CheckedVersion>) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = checked;
    }
}

impl Tenants {
    /// No tenants yet. Their rules are parsed in a pool.
    #[must_use]
    pub fn new(pool: Workers) -> Self {
        let slots = moka::sync::Cache::builder()
            .max_capacity(MAX_BYTES)
            .weigher(|_, slot: &Arc<Slot>| slot.weight())
            // The newest is always kept: one that is used seldom would else be read again by each of its requests.
            .eviction_policy(EvictionPolicy::lru())
            .build();
        Self {
            slots,
            pool,
            large_loads: Arc::new(Semaphore::new(LARGE_LOADS)),
            started: Instant::now(),
        }
    }

    /// For the store: what it tells this of its own commits.
    #[must_use]
    pub fn on_new_version(&self) -> OnNewVersion {
        let slots = self.slots.clone();
        Arc::new(move |tenant, version| {
            slots
                .get_with(tenant, Arc::default)
                .floor
                .fetch_max(version, Ordering::AcqRel);
        })
    }

    /// A tenant, as it is now. None: there is no such tenant.
    ///
    /// # Errors
    ///
    /// Where it must be read and cannot be.
    pub async fn get(&self, store: &Store, id: TenantId) -> Result<Option<Arc<TenantState>>, StoreError> {
        let slot = self.slots.get_with(id, Arc::default);
        slot.used.store(self.millis(), Ordering::Relaxed);
        if let Some(state) = slot.usable() {
            return Ok(Some(state));
        }
        let asked = Instant::now();
        let (tenants, store) = (self.clone(), store.clone());
        // A task of its own: what one request has begun to read serves those that come after it has gone.
        let reading = async move { tenants.get_into(&store, id, &slot, asked).await };
        let read = tokio::spawn(reading.in_current_span()).await;
        read.map_err(|error| StoreError::Fault(error.to_string()))?
    }

    /// Reads a tenant that was asked for, unless somebody else has meanwhile.
    async fn get_into(
        &self,
        store: &Store,
        id: TenantId,
        slot: &Arc<Slot>,
        asked: Instant,
    ) -> Result<Option<Arc<TenantState>>, StoreError> {
        let mut failed = slot.reading.lock().await;
        if let Some(state) = slot.usable() {
            return Ok(Some(state));
        }
        if let Some((_, error)) = failed.as_ref().filter(|(at, _)| *at >= asked) {
            return Err(error.clone());
        }
        let state = self.read(store, id, slot).await;
        *failed = state.as_ref().err().map(|error| (Instant::now(), error.clone()));
        if matches!(state, Ok(None)) {
            self.slots.invalidate(&id);
        }
        state
    }

    /// A tenant, compared with the database whatever is in memory: for what another node may have made a moment ago.
    ///
    /// # Errors
    ///
    /// Where it cannot be read.
    pub async fn get_again(&self, store: &Store, id: TenantId) -> Result<Option<Arc<TenantState>>, StoreError> {
        let slot = self.slots.get_with(id, Arc::default);
        let (tenants, store) = (self.clone(), store.clone());
        let reading = async move {
            let _turn = slot.reading.lock().await;
            tenants.read(&store, id, &slot).await
        };
        let read = tokio::spawn(reading.in_current_span()).await;
        read.map_err(|error| StoreError::Fault(error.to_string()))?
    }

    /// Reads a tenant into its place, or only confirms that its version is the same.
    async fn read(
        &self,
        store: &Store,
        id: TenantId,
        slot: &Arc<Slot>,
    ) -> Result<Option<Arc<TenantState>>, StoreError> {
        let at = Instant::now();
        let Some(row) = tenant::Entity::find_by_id(id.0).one(store.reader()).await? else {
            slot.set(None);
            return Ok(None);
        };
        let last = slot.current().map(|current| current.state);
        let state = match last {
            Some(last) if last.tenant.version == row.version => last,
            last => Arc::new(TenantState::read(self, store, row, last).await?),
        };
        slot.set(Some(CheckedVersion {
            state: Arc::clone(&state),
            at,
        }));
        self.weigh(id, slot);
        Ok(Some(state))
    }

    /// Weighs a place anew, unless the tenant has another one by now.
    fn weigh(&self, id: TenantId, slot: &Arc<Slot>) {
        self.slots.entry(id).and_compute_with(|entry| match entry {
            Some(entry) if Arc::ptr_eq(entry.value(), slot) => Op::Put(Arc::clone(slot)),
            _ => Op::Nop,
        });
    }

    /// Compares the versions of the tenants in use with the database's.
    ///
    /// # Errors
    ///
    /// Where they cannot be read.
    pub async fn compare_versions(&self, store: &Store) -> Result<(), StoreError> {
        let idle_since = self
            .millis()
            .saturating_sub(IDLE_AFTER.as_millis().try_into().unwrap_or(u64::MAX));
        let used: Vec<(TenantId, Arc<Slot>)> = self
            .slots
            .iter()
            .filter(|(_, slot)| slot.used.load(Ordering::Relaxed) >= idle_since)
            .map(|(id, slot)| (*id, slot))
            .collect();
        for some in used.chunks(VERSIONS_PER_QUERY) {
            compare(self, store, some).await?;
        }
        Ok(())
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Compares the versions of some tenants; those that have changed are read again beside the requests, which may use
/// the old version until then, but no longer than the last comparison is good for.
async fn compare(known: &Tenants, store: &Store, tenants: &[(TenantId, Arc<Slot>)]) -> Result<(), StoreError> {
    let at = Instant::now();
    let versions: HashMap<uuid::Uuid, i64> = tenant::Entity::find()
        .select_only()
        .columns([tenant::Column::Id, tenant::Column::Version])
        .filter(tenant::COLUMN.id.is_in(tenants.iter().map(|(id, _)| id.0)))
        .into_tuple::<(uuid::Uuid, i64)>()
        .all(store.reader())
        .await?
        .into_iter()
        .collect();
    for (id, slot) in tenants {
        match (slot.current(), versions.get(&id.0)) {
            (Some(current), Some(version)) if current.state.tenant.version == *version => {
                slot.set(Some(CheckedVersion { at, ..current }));
            }
            (Some(_), _) => {
                let (known, store, id, slot) = (known.clone(), store.clone(), *id, Arc::clone(slot));
                tokio::spawn(async move {
                    // Where somebody reads it already, that may take longer than until the next comparison.
                    let Ok(_turn) = slot.reading.try_lock() else { return };
                    if let Err(error) = known.read(&store, id, &slot).await {
                        tracing::warn!(tenant = %id, %error, "a changed tenant could not be read");
                    }
                });
            }
            (None, _) => {}
        }
    }
    Ok(())
}
