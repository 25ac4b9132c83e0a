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
//! Reading a tenant takes long where it has many rules (`load`). So it is done once for each version however many requests
//! wait for it, and goes on when they have gone. That its rules cannot be used is known of the version, too, and found out
//! once. What is in memory is weighed, and tenants that were not used for longest go when it becomes too much.

mod load;
mod state;

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use aka_entity::tenant;
use moka::{ops::compute::Op, policy::EvictionPolicy};
use sea_orm::{EntityTrait as _, QueryFilter as _, QuerySelect as _};
use tracing::Instrument as _;
use uuid::Uuid;

use self::load::{Loader, TENANT_BYTES};
pub use self::state::{Provider, TenantState};
use super::workers::Workers;
use crate::{
    store::{OnNewVersion, Store, StoreError},
    types::ids::TenantId,
};

/// How long a comparison is good for.
const TRUST_FOR: Duration = Duration::from_secs(2);
/// Tenants that were not asked for this long are no longer compared: their next request does it.
const IDLE_AFTER: Duration = Duration::from_secs(30);
/// What tenants in memory may weigh together, in bytes.
const MAX_BYTES: u64 = 512 * 1024 * 1024;
/// Versions asked for in one query: below what SQLite takes as parameters.
const VERSIONS_PER_QUERY: usize = 500;

/// The tenants that this node has in memory.
#[derive(Clone)]
pub struct Tenants {
    slots: moka::sync::Cache<TenantId, Arc<Slot>>,
    loader: Loader,
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
            loader: Loader::new(pool),
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
            last => Arc::new(self.loader.load(store, row, last).await?),
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
    let versions: HashMap<Uuid, i64> = tenant::Entity::find()
        .select_only()
        .columns([tenant::Column::Id, tenant::Column::Version])
        .filter(tenant::COLUMN.id.is_in(tenants.iter().map(|(id, _)| id.0)))
        .into_tuple::<(Uuid, i64)>()
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
