//! The keys of issuers that publish them at an address: fetched when a token needs them, and kept.
//!
//! A token whose key is known never waits for its issuer: keys that are old are used while one task fetches new ones. Only a
//! token whose key is not known waits, and not for long; an issuer that does not answer, or that has no such key, is not
//! asked again for a few seconds, whatever is sent. No lock is held while anything is fetched.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use jsonwebtoken::jwk::JwkSet;
use tokio::sync::{Semaphore, watch};
use url::Url;

use super::jwks_client::{FetchError, JwksClient, Remote};
use crate::{outbound::Addresses, types::ids::TenantId};

/// How old keys may be before they are fetched again.
const REFRESH_AFTER: Duration = Duration::from_mins(5);
/// How old keys may be that are used while newer ones are being fetched. A key that its issuer has withdrawn is accepted no
/// longer than this, as long as the issuer answers.
const USE_WHILE_REFRESHING: Duration = Duration::from_mins(10);
/// How old keys may be that are used while the issuer does not answer.
const USE_WITHOUT_ISSUER: Duration = Duration::from_hours(1);
/// An issuer is not asked again within this time, whether it answered or not. Until then, tokens with keys that are not
/// known are refused at once.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// Requests that may wait for one issuer's keys.
const MAX_WAITING: usize = 64;
/// Fetches that may be under way for one tenant.
const MAX_FETCHES_PER_TENANT: usize = 4;
/// Sets of keys of one tenant in memory.
const MAX_SETS_PER_TENANT: usize = 50;
/// Tenants of whose issuers keys are in memory; those that are used least go first.
const MAX_TENANTS: u64 = 10_000;

/// Fetches keys and keeps them.
#[derive(Clone)]
pub struct IssuerKeys {
    client: JwksClient,
    tenants: moka::sync::Cache<TenantId, Arc<OfTenant>>,
}

/// The keys of a tenant's issuers.
struct OfTenant {
    sets: Mutex<HashMap<Remote, KeptSets>>,
    fetches: Arc<Semaphore>,
}

struct KeptSets {
    set: Arc<KeptSet>,
    used: Instant,
}

/// The keys of one issuer.
struct KeptSet {
    tenant: TenantId,
    from: Remote,
    state: Mutex<State>,
    waiting: Semaphore,
}

#[derive(Default)]
struct State {
    fetched: Option<Fetched>,
    /// When the last attempt ended, and how, where it failed.
    attempted: Option<Instant>,
    failed: Option<FetchError>,
    /// Closed when the attempt that is under way ends.
    under_way: Option<watch::Receiver<()>>,
}

struct Fetched {
    keys: Arc<JwkSet>,
    at: Instant,
}

/// What a token that needs a key has to do.
enum Plan {
    Use(Arc<JwkSet>),
    Refuse(FetchError),
    WaitFor(watch::Receiver<()>),
}

impl IssuerKeys {
    /// Keeps keys that this client fetches.
    #[must_use]
    pub fn new(client: JwksClient) -> Self {
        Self {
            client,
            tenants: moka::sync::Cache::new(MAX_TENANTS),
        }
    }

    /// From which addresses keys are fetched.
    #[must_use]
    pub const fn addresses(&self) -> Addresses {
        self.client.addresses()
    }

    /// The keys of an issuer. They are fetched where that has to be, also where `has_key` finds none among those that are
    /// known.
    ///
    /// # Errors
    ///
    /// Why there are none.
    pub async fn get(
        &self,
        tenant: TenantId,
        from: &Remote,
        has_key: impl Fn(&JwkSet) -> bool,
    ) -> Result<Arc<JwkSet>, FetchError> {
        let of_tenant = self.tenants.get_with(tenant, Arc::default);
        let set = of_tenant.set(tenant, from);
        let fetch = || self.start_fetching(&set, &of_tenant.fetches);
        let mut under_way = match set.plan(has_key, fetch) {
            Plan::Use(keys) => return Ok(keys),
            Plan::Refuse(error) => return Err(error),
            Plan::WaitFor(under_way) => under_way,
        };
        let Ok(_place) = set.waiting.try_acquire() else {
            return Err(FetchError::Failed("too many requests wait for its keys".into()));
        };
        // It ends with an error, because the sender says nothing and goes.
        let _ = under_way.changed().await;
        set.result()
    }

    /// Fetches keys in a task of its own, which goes on when the request that needs them is given up.
    fn start_fetching(&self, set: &Arc<KeptSet>, fetches: &Arc<Semaphore>) -> watch::Receiver<()> {
        let (ending, under_way) = watch::channel(());
        let (client, set) = (self.client.clone(), Arc::clone(set));
        let turn = Arc::clone(fetches).try_acquire_owned();
        tokio::spawn(async move {
            let outcome = match &turn {
                Ok(_) => client.fetch(&set.from).await,
                Err(_) => Err(FetchError::Failed(
                    "the keys of too many issuers are being fetched".into(),
                )),
            };
            set.keep(outcome);
            drop(ending);
        });
        under_way
    }
}

impl Default for OfTenant {
    fn default() -> Self {
        Self {
            sets: Mutex::default(),
            fetches: Arc::new(Semaphore::new(MAX_FETCHES_PER_TENANT)),
        }
    }
}

impl OfTenant {
    /// The place of one issuer's keys. Where there are too many, that which was not used for the longest time goes.
    fn set(&self, tenant: TenantId, from: &Remote) -> Arc<KeptSet> {
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = sets.get_mut(from) {
            kept.used = Instant::now();
            return Arc::clone(&kept.set);
        }
        if sets.len() >= MAX_SETS_PER_TENANT
            && let Some(oldest) = sets
                .iter()
                .min_by_key(|(_, kept)| kept.used)
                .map(|(from, _)| from.clone())
        {
            sets.remove(&oldest);
        }
        let set = Arc::new(KeptSet {
            tenant,
            from: from.clone(),
            state: Mutex::default(),
            waiting: Semaphore::new(MAX_WAITING),
        });
        let kept = KeptSets {
            set: Arc::clone(&set),
            used: Instant::now(),
        };
        sets.insert(from.clone(), kept);
        set
    }
}

impl KeptSet {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides what a token has to do that needs a key, and starts to fetch keys where that is due.
    fn plan(&self, has_key: impl Fn(&JwkSet) -> bool, fetch: impl FnOnce() -> watch::Receiver<()>) -> Plan {
        let mut state = self.state();
        let known = state.usable().filter(|fetched| has_key(&fetched.keys));
        let age = known.map(|fetched| fetched.at.elapsed());
        if age.is_none_or(|age| age >= REFRESH_AFTER) && state.may_ask() {
            state.under_way = Some(fetch());
        }
        match (state.usable(), age, state.under_way()) {
            (Some(fetched), Some(age), _) if age < USE_WHILE_REFRESHING || state.failed.is_some() => {
                Plan::Use(Arc::clone(&fetched.keys))
            }
            (_, _, Some(under_way)) => Plan::WaitFor(under_way),
            _ => state.result().map_or_else(Plan::Refuse, Plan::Use),
        }
    }

    /// Keeps what an attempt to fetch has brought.
    fn keep(&self, outcome: Result<JwkSet, FetchError>) {
        if let Err(error) = &outcome {
            let (Remote::At(address) | Remote::DiscoveredFrom(address)) = &self.from;
            let host = Url::parse(address)
                .ok()
                .and_then(|url| url.host_str().map(str::to_owned));
            tracing::warn!(tenant = %self.tenant, host, %error, "the keys of an issuer could not be fetched");
        }
        let now = Instant::now();
        let mut state = self.state();
        state.attempted = Some(now);
        state.under_way = None;
        match outcome {
            Ok(keys) => {
                state.failed = None;
                state.fetched = Some(Fetched {
                    keys: Arc::new(keys),
                    at: now,
                });
            }
            Err(error) => state.failed = Some(error),
        }
    }

    /// What there is after the last attempt.
    fn result(&self) -> Result<Arc<JwkSet>, FetchError> {
        self.state().result()
    }
}

impl State {
    fn usable(&self) -> Option<&Fetched> {
        let fetched = self.fetched.as_ref()?;
        (fetched.at.elapsed() < USE_WITHOUT_ISSUER).then_some(fetched)
    }

    /// The attempt that is under way. One whose task has ended without a result is not.
    fn under_way(&self) -> Option<watch::Receiver<()>> {
        let under_way = self.under_way.as_ref()?;
        under_way.has_changed().is_ok().then(|| under_way.clone())
    }

    fn may_ask(&self) -> bool {
        self.under_way().is_none() && self.attempted.is_none_or(|at| at.elapsed() >= ASK_AGAIN_AFTER)
    }

    fn result(&self) -> Result<Arc<JwkSet>, FetchError> {
        match (self.usable(), &self.failed) {
            (Some(fetched), _) => Ok(Arc::clone(&fetched.keys)),
            (None, Some(error)) => Err(error.clone()),
            (None, None) => Err(FetchError::Failed("its keys could not be fetched".into())),
        }
    }
}
