//! API keys: how they are checked, and when they were last used. `raw_key` has their form, `rows` what is stored of them.
//!
//! A key that has been seen is kept in memory under its hash, for as long as the version of its tenant stays the same:
//! every change of a key raises that version ([`super::tenants`]).

mod raw_key;
pub(super) mod rows;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use aka_entity::{api_key, audit_log_entry::ActorType};
use async_trait::async_trait;
use futures_util::future::join_all;
use sea_orm::{EntityTrait as _, QueryFilter as _, sea_query::Expr};
use subtle::ConstantTimeEq as _;

pub(crate) use self::raw_key::PREFIX;
pub use self::{
    raw_key::RawKey,
    rows::{entity, find, scopes},
};
use super::{
    caller::{Caller, Principal},
    tenants::Tenants,
};
use crate::{
    policy::Memo,
    store::{Applied, Change, Store, StoreError, Tx},
    types::{
        clock::{self, Timestamp},
        ids::{ApiKeyId, IdentityProviderId, TenantId},
    },
};

/// Keys in memory at most; those used least go first.
const MAX_IN_MEMORY: u64 = 100_000;
/// A key that nobody uses is forgotten after this time.
const FORGET_AFTER: Duration = Duration::from_hours(1);
/// Tenants whose keys' last uses are written at a time.
const TENANTS_AT_A_TIME: usize = 64;

/// Why a key is not accepted.
#[derive(Debug)]
pub enum KeyRefusal {
    /// It is not of the form of a key, or its checksum is wrong.
    Malformed,
    /// There is no such key.
    Unknown,
    /// Its time is over.
    Expired(Timestamp),
    /// It was revoked.
    Revoked(Timestamp),
    /// It could not be looked up.
    Store(StoreError),
}

impl From<StoreError> for KeyRefusal {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// A key in memory.
struct Credential {
    principal: Arc<Principal>,
    id: ApiKeyId,
    /// The version of the tenant when the key was read.
    version: i64,
    expires_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
    last_used: AtomicI64,
    /// Whether the last use waits to be written.
    noted: AtomicBool,
}

/// The keys that this node has in memory.
#[derive(Clone)]
pub struct ApiKeys {
    known: moka::sync::Cache<[u8; 32], Arc<Credential>>,
    used: Arc<Mutex<Vec<Arc<Credential>>>>,
}

impl Default for ApiKeys {
    fn default() -> Self {
        let known = moka::sync::Cache::builder()
            .max_capacity(MAX_IN_MEMORY)
            .time_to_idle(FORGET_AFTER)
            .build();
        Self {
            known,
            used: Arc::default(),
        }
    }
}

impl ApiKeys {
    /// Checks a key.
    ///
    /// # Errors
    ///
    /// Why it is not accepted.
    pub async fn authenticate(&self, store: &Store, tenants: &Tenants, raw: &str) -> Result<Caller, KeyRefusal> {
        let hash = RawKey::hash(raw);
        let known = self.known.get(&hash);
        let (tenant_id, key_id) = match &known {
            Some(credential) => (credential.principal.tenant, credential.id),
            None => RawKey::ids(raw).ok_or(KeyRefusal::Malformed)?,
        };
        let Some(tenant) = tenants.get(store, tenant_id).await? else {
            return Err(KeyRefusal::Unknown);
        };
        let credential = match known {
            Some(credential) if credential.version == tenant.tenant.version => credential,
            _ => {
                let credential = Credential::read(store, tenant_id, key_id, &hash, tenant.tenant.version).await?;
                let credential = Arc::new(credential.ok_or(KeyRefusal::Unknown)?);
                self.known.insert(hash, Arc::clone(&credential));
                credential
            }
        };
        let now = clock::now();
        match (credential.revoked_at, credential.expires_at) {
            (Some(revoked), _) => return Err(KeyRefusal::Revoked(revoked)),
            (_, Some(expires)) if expires <= now => return Err(KeyRefusal::Expired(expires)),
            _ => {}
        }
        self.note_use(&credential, now);
        Ok(Caller {
            principal: Arc::clone(&credential.principal),
            tenant,
        })
    }

    fn note_use(&self, credential: &Arc<Credential>, now: Timestamp) {
        credential.last_used.store(now.0, Ordering::Relaxed);
        if !credential.noted.swap(true, Ordering::AcqRel) {
            self.used
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(Arc::clone(credential));
        }
    }

    /// Writes when keys were last used.
    pub async fn write_use(&self, store: &Store) {
        let credentials = std::mem::take(&mut *self.used.lock().unwrap_or_else(PoisonError::into_inner));
        let mut of_tenants: HashMap<TenantId, Vec<KeyUse>> = HashMap::new();
        for credential in credentials {
            credential.noted.store(false, Ordering::Release);
            let at = Timestamp(credential.last_used.load(Ordering::Relaxed));
            let id = credential.id;
            let of_tenant = of_tenants.entry(credential.principal.tenant).or_default();
            of_tenant.push(KeyUse { id, at });
        }
        let mut of_tenants = of_tenants.into_iter().peekable();
        while of_tenants.peek().is_some() {
            let some = of_tenants.by_ref().take(TENANTS_AT_A_TIME);
            let written = some.map(async |(tenant, uses)| {
                let keys = uses.len();
                let outcome = store.write(NoteUse { tenant, uses }).await;
                outcome.err().map(|error| (error, keys))
            });
            let failed: Vec<(StoreError, usize)> = join_all(written).await.into_iter().flatten().collect();
            if let Some((error, _)) = failed.first() {
                // Nothing is lost but the time of these uses; the next use of each key notes a later one.
                let keys: usize = failed.iter().map(|(_, keys)| keys).sum();
                tracing::warn!(%error, keys, "the last use of API keys could not be written");
            }
        }
    }
}

impl Credential {
    async fn read(
        store: &Store,
        tenant: TenantId,
        id: ApiKeyId,
        hash: &[u8; 32],
        version: i64,
    ) -> Result<Option<Self>, StoreError> {
        let Some(row) = find(store, tenant, id).await? else {
            return Ok(None);
        };
        if !bool::from(row.hash.as_slice().ct_eq(hash)) {
            return Ok(None);
        }
        let principal = Principal {
            tenant,
            actor_id: id.to_string(),
            actor_type: ActorType::ApiKey,
            entity: entity(&row),
            identity_provider: row.identity_provider_id.map(IdentityProviderId),
            scopes: scopes(&row),
            memo: Memo::default(),
        };
        Ok(Some(Self {
            principal: Arc::new(principal),
            id,
            version,
            expires_at: row.expires_at.map(Timestamp),
            revoked_at: row.revoked_at.map(Timestamp),
            last_used: AtomicI64::new(0),
            noted: AtomicBool::new(false),
        }))
    }
}

/// When keys of a tenant were last used. No event and no audit entry: nobody decided it.
struct NoteUse {
    tenant: TenantId,
    uses: Vec<KeyUse>,
}

struct KeyUse {
    id: ApiKeyId,
    at: Timestamp,
}

#[async_trait]
impl Change for NoteUse {
    type Done = ();
    type Refusal = StoreError;

    fn tenant(&self) -> Option<TenantId> {
        Some(self.tenant)
    }

    async fn apply(&self, tx: &Tx<'_>) -> Result<Applied<()>, StoreError> {
        for KeyUse { id, at } in &self.uses {
            api_key::Entity::update_many()
                .col_expr(api_key::Column::LastUsedAt, Expr::value(at.0))
                .filter(api_key::COLUMN.tenant_id.eq(self.tenant.0))
                .filter(api_key::COLUMN.id.eq(id.0))
                .exec(tx.db)
                .await?;
        }
        Ok(Applied::unchanged(()))
    }
}
