//! What a node keeps in memory of a tenant: the tenant itself, its providers and its rules.
//!
//! Every change of any of these (and of API keys) raises the tenant's version in its own transaction.
//!
//! * The node that made the change learns of it with the commit, before anybody is answered: what it has in memory
//!   of an older version is never used again.
//! * The other nodes compare versions, of the tenants in use only, with one small query every [`CHECK_EVERY`].
//! * Nothing that was not compared within [`TRUST_FOR`] is used. A node that cannot reach the database knows nothing.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use aka_entity::{identity_provider, policy, policy_rule, tenant};
use sea_orm::{EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _};

use super::{
    ids::{IdentityProviderId, PolicyId, PolicyRuleId, TenantId},
    issuers::Issuer,
};
use crate::{
    policy::{
        entities::{self, Known},
        rules::{Level, Rule, RuleSet, stored_rule},
    },
    store::{OnNewVersion, Store, StoreError},
};

/// How often versions are compared.
const CHECK_EVERY: Duration = Duration::from_millis(500);
/// How long a comparison is good for.
const TRUST_FOR: Duration = Duration::from_secs(2);
/// Tenants that were not asked for this long are no longer compared: their next request does it.
const IDLE_AFTER: Duration = Duration::from_secs(30);
/// Tenants in memory at most; those used least go first.
const MAX_TENANTS: u64 = 10_000;
/// Versions asked for in one query: below what SQLite takes as parameters.
const VERSIONS_PER_QUERY: usize = 500;

/// A tenant of one version.
pub struct TenantState {
    /// The tenant.
    pub tenant: tenant::Model,
    /// The tenant, for policy.
    pub entity: Known,
    /// Its rules. Absent: one of them cannot be read, so that every decision is a no.
    pub rules: Option<Arc<RuleSet>>,
    providers: HashMap<IdentityProviderId, Provider>,
    /// The rules as they were read, to tell whether they must be arranged anew.
    source: Vec<(policy::Model, Vec<policy_rule::Model>)>,
}

/// A provider of a tenant.
pub struct Provider {
    /// Its row.
    pub model: identity_provider::Model,
    /// For policy.
    pub entity: Known,
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
    pub fn policies(&self) -> &[(policy::Model, Vec<policy_rule::Model>)] {
        &self.source
    }

    /// The enabled provider whose tokens name this issuer.
    #[must_use]
    pub fn issuer(&self, name: &str) -> Option<(IdentityProviderId, &Issuer)> {
        let enabled = self.providers.values().filter(|provider| provider.model.enabled);
        let mut issuers = enabled.filter_map(|provider| Some((provider.id(), provider.issuer.as_ref()?)));
        issuers.find(|(_, issuer)| issuer.issuer == name)
    }

    /// A provider for policy, also where the tenant has none of this id.
    #[must_use]
    pub fn identity_provider_entity(&self, id: IdentityProviderId) -> Known {
        self.providers.get(&id).map_or_else(
            || entities::unknown_identity_provider(id),
            |provider| provider.entity.clone(),
        )
    }

    /// Reads a tenant. Its version is read first: what is read after it can only be newer, and is then read again.
    async fn read(store: &Store, tenant: tenant::Model, last: Option<Arc<Self>>) -> Result<Self, StoreError> {
        let db = store.reader();
        let providers = identity_provider::Entity::find()
            .filter(identity_provider::COLUMN.tenant_id.eq(tenant.id))
            .all(db)
            .await?;
        let policies = policy::Entity::find()
            .filter(policy::COLUMN.tenant_id.eq(tenant.id))
            .filter(policy::COLUMN.enabled.eq(true))
            .order_by_desc(policy::Column::Priority)
            .order_by_asc(policy::Column::Id)
            .all(db)
            .await?;
        let mut rules: HashMap<_, Vec<policy_rule::Model>> = HashMap::new();
        let rows = policy_rule::Entity::find()
            .filter(policy_rule::COLUMN.tenant_id.eq(tenant.id))
            .order_by_asc(policy_rule::Column::Ordinal)
            .all(db)
            .await?;
        for rule in rows {
            rules.entry(rule.policy_id).or_default().push(rule);
        }
        let source = policies
            .into_iter()
            .map(|policy| (rules.remove(&policy.id).unwrap_or_default(), policy));
        let source: Vec<_> = source.map(|(rules, policy)| (policy, rules)).collect();
        // Parsing a thousand rules takes tens of milliseconds: other requests must not wait for it.
        let built = tokio::task::spawn_blocking(move || {
            let rules = match last {
                Some(last) if last.source == source => last.rules.clone(),
                _ => arrange(TenantId(tenant.id), &source).map(Arc::new),
            };
            Self {
                entity: entities::tenant(&tenant),
                rules,
                providers: providers.into_iter().map(Provider::new).map(|p| (p.id(), p)).collect(),
                source,
                tenant,
            }
        });
        built.await.map_err(|error| StoreError::Fault(error.to_string()))
    }
}

impl std::fmt::Debug for TenantState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TenantState({} version {})", self.tenant.id, self.tenant.version)
    }
}

impl Provider {
    fn new(model: identity_provider::Model) -> Self {
        Self {
            entity: entities::identity_provider(&model),
            issuer: Issuer::of(&model),
            model,
        }
    }

    fn id(&self) -> IdentityProviderId {
        IdentityProviderId(self.model.id)
    }
}

/// Arranges stored rules. None where one cannot be read: it was checked when it was stored, so that the schema or
/// Cedar has changed since, or somebody has changed the row by hand.
pub(crate) fn arrange(tenant: TenantId, source: &[(policy::Model, Vec<policy_rule::Model>)]) -> Option<RuleSet> {
    let mut levels: Vec<Level> = Vec::new();
    for (policy, rules) in source {
        for row in rules {
            let statement = match stored_rule(row) {
                Ok(statement) => statement,
                Err(error) => {
                    tracing::error!(
                        %tenant, policy = %policy.id, rule = %row.id, %error,
                        "a stored rule cannot be read: everything in this tenant is refused until it is mended or deleted"
                    );
                    return None;
                }
            };
            let rule = Rule::of_tenant(
                &statement,
                PolicyRuleId(row.id),
                PolicyId(policy.id),
                row.notice.as_deref(),
            );
            match levels.last_mut() {
                Some(level) if level.priority == Some(policy.priority) => level.rules.push(rule),
                _ => levels.push(Level {
                    priority: Some(policy.priority),
                    rules: vec![rule],
                }),
            }
        }
    }
    Some(RuleSet::new(&levels))
}

/// The tenants that this node has in memory.
#[derive(Clone)]
pub struct Tenants {
    slots: moka::sync::Cache<TenantId, Arc<Slot>>,
    started: Instant,
}

/// The place of a tenant in memory.
#[derive(Default)]
struct Slot {
    current: RwLock<Option<Checked>>,
    /// The lowest version that may be used: that of the last change made by this node.
    floor: AtomicI64,
    /// When the tenant was last asked for, in milliseconds since the start.
    used: AtomicU64,
    /// Held by whoever reads the tenant, so that others wait instead of reading it too. In it is when that last failed,
    /// and why: those who waited meanwhile need not try again one after the other.
    reading: tokio::sync::Mutex<Option<(Instant, StoreError)>>,
}

#[derive(Clone)]
struct Checked {
    state: Arc<TenantState>,
    at: Instant,
}

impl Slot {
    fn current(&self) -> Option<Checked> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn usable(&self) -> Option<Arc<TenantState>> {
        let current = self.current()?;
        let usable =
            current.at.elapsed() < TRUST_FOR && current.state.tenant.version >= self.floor.load(Ordering::Acquire);
        usable.then_some(current.state)
    }

    fn set(&self, checked: Option<Checked>) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = checked;
    }
}

impl Default for Tenants {
    fn default() -> Self {
        Self {
            slots: moka::sync::Cache::new(MAX_TENANTS),
            started: Instant::now(),
        }
    }
}

impl Tenants {
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
        let mut failed = slot.reading.lock().await;
        if let Some(state) = slot.usable() {
            return Ok(Some(state));
        }
        if let Some((_, error)) = failed.as_ref().filter(|(at, _)| *at >= asked) {
            return Err(error.clone());
        }
        let state = read(store, id, &slot).await;
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
        let _turn = slot.reading.lock().await;
        read(store, id, &slot).await
    }

    /// Compares the versions of the tenants in use, for ever.
    pub async fn keep_up(self, store: Store) {
        let mut ticks = tokio::time::interval(CHECK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
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
                if let Err(error) = compare(&store, some).await {
                    tracing::warn!(%error, "the versions of tenants could not be compared");
                    break;
                }
            }
        }
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Reads a tenant into its place, or only confirms that its version is the same.
async fn read(store: &Store, id: TenantId, slot: &Slot) -> Result<Option<Arc<TenantState>>, StoreError> {
    let at = Instant::now();
    let Some(row) = tenant::Entity::find_by_id(id.0).one(store.reader()).await? else {
        slot.set(None);
        return Ok(None);
    };
    let last = slot.current().map(|current| current.state);
    let state = match last {
        Some(last) if last.tenant.version == row.version => last,
        last => Arc::new(TenantState::read(store, row, last).await?),
    };
    slot.set(Some(Checked {
        state: Arc::clone(&state),
        at,
    }));
    Ok(Some(state))
}

/// Compares the versions of some tenants; those that have changed are read again beside the requests, which may use
/// the old version until then, but no longer than the last comparison is good for.
async fn compare(store: &Store, tenants: &[(TenantId, Arc<Slot>)]) -> Result<(), StoreError> {
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
                slot.set(Some(Checked { at, ..current }));
            }
            (Some(_), _) => {
                let (store, id, slot) = (store.clone(), *id, Arc::clone(slot));
                tokio::spawn(async move {
                    let _turn = slot.reading.lock().await;
                    if let Err(error) = read(&store, id, &slot).await {
                        tracing::warn!(tenant = %id, %error, "a changed tenant could not be read");
                    }
                });
            }
            (None, _) => {}
        }
    }
    Ok(())
}
