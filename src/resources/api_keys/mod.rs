//! API keys: their form, how they are checked, and how they come and go.
//!
//! A key is `aka_` and, in base 58, the tenant's id (16 bytes), the key's id (16 bytes), a secret (32 bytes) and the
//! CRC-32 of those (4 bytes).
//!
//! * The prefix lets scanners find keys that leaked; the checksum lets them, and this server, dismiss what only looks
//!   like one, without asking a database.
//! * The ids make a key find its own row by primary key, in its tenant: there is no index over all tenants.
//! * The secret has 256 bits from the operating system, so that SHA-256 is all the hash it needs: slow hashes are for
//!   what people think up.
//!
//! A key that has been seen is kept in memory under its hash, for as long as the version of its tenant stays the same:
//! every change of a key raises that version ([`super::tenant_state`]).

pub mod api;
pub mod capabilities;
pub mod errors;
pub mod examples;
mod operations;

pub use operations::RESOURCE;

use crate::access::api_keys::{RawKey, scopes};

use aka_entity::api_key;
use async_trait::async_trait;
use cedar_policy::RestrictedExpression;
use sea_orm::{
    ActiveModelTrait as _, EntityTrait as _, IntoActiveModel as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    Set,
};
use serde::Serialize;
use uuid::Uuid;

use super::identity_providers;
use crate::{
    access::caller::Permit,
    policy::entities,
    store::{Applied, Change, Record, Store, StoreError, Tx},
    types::{
        clock::Timestamp,
        ids::{ApiKeyId, IdentityProviderId, TenantId},
        scopes::Scope,
        text::Name,
    },
};

/// The keys of a tenant, oldest first, after a position; all, or only those that are bound to a provider.
///
/// # Errors
///
/// [`StoreError`]
pub async fn list(
    store: &Store,
    tenant: TenantId,
    bound_to: Option<IdentityProviderId>,
    after: Option<Uuid>,
    limit: u64,
) -> Result<Vec<api_key::Model>, StoreError> {
    let mut query = api_key::Entity::find().filter(api_key::COLUMN.tenant_id.eq(tenant.0));
    if let Some(provider) = bound_to {
        query = query.filter(api_key::COLUMN.identity_provider_id.eq(provider.0));
    }
    if let Some(after) = after {
        query = query.filter(api_key::COLUMN.id.gt(after));
    }
    Ok(query
        .order_by_asc(api_key::Column::Id)
        .limit(limit)
        .all(&store.reader_of(tenant))
        .await?)
}

/// What a new key is to be.
#[derive(Clone, Debug)]
pub struct NewApiKey {
    /// Its id.
    pub id: ApiKeyId,
    /// Its name.
    pub name: Name,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// The provider that it is bound to.
    pub identity_provider_id: Option<IdentityProviderId>,
    /// When it stops working by itself.
    pub expires_at: Option<Timestamp>,
}

impl NewApiKey {
    /// What policy is told of the key, as the context of the action that makes it.
    #[must_use]
    pub fn context(&self) -> Vec<(&'static str, RestrictedExpression)> {
        context(&self.scopes, self.identity_provider_id, self.expires_at)
    }
}

/// What policy is told of the successor of a key, as the context of the action that makes it. Without a key, which the
/// tenant then does not have, it is the least that a key can be.
#[must_use]
pub fn successor_context(key: Option<&api_key::Model>) -> Vec<(&'static str, RestrictedExpression)> {
    key.map_or_else(
        || context(&[], None, None),
        |key| {
            let provider = key.identity_provider_id.map(IdentityProviderId);
            context(&scopes(key), provider, key.expires_at.map(Timestamp))
        },
    )
}

fn context(
    scopes: &[Scope],
    identity_provider: Option<IdentityProviderId>,
    expires_at: Option<Timestamp>,
) -> Vec<(&'static str, RestrictedExpression)> {
    let scopes = entities::texts(scopes.iter().map(|scope| scope.as_str()));
    let mut context = vec![("scopes", scopes)];
    context.extend(identity_provider.map(|provider| ("identity_provider", entities::reference(provider))));
    context.extend(expires_at.map(|at| ("expires_at", entities::time(at))));
    context
}

/// Why a key is not made or changed.
#[derive(Debug)]
pub enum ApiKeyRefusal {
    /// The tenant has no such key.
    NoKey(ApiKeyId),
    /// There is no such tenant.
    NoTenant(TenantId),
    /// The tenant has no such provider.
    NoIdentityProvider(IdentityProviderId),
    /// A key that works no more cannot be rotated.
    Ended,
    /// A key that has a successor already cannot be rotated: its end is that of the overlap, and no longer its own.
    Rotated,
    /// The operating system gave no randomness.
    Randomness,
    /// The store could not do it.
    Store(StoreError),
}

impl From<StoreError> for ApiKeyRefusal {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<sea_orm::DbErr> for ApiKeyRefusal {
    fn from(error: sea_orm::DbErr) -> Self {
        Self::Store(error.into())
    }
}

/// Makes a key.
pub struct CreateApiKey {
    permit: Permit,
    /// The tenant that gets the key: that of the permit, or another one for a key of the master tenant.
    tenant: TenantId,
    key: NewApiKey,
}

impl CreateApiKey {
    /// Makes a key for the caller's own tenant.
    #[must_use]
    pub fn new(permit: Permit, key: NewApiKey) -> Self {
        Self {
            tenant: permit.tenant(),
            permit,
            key,
        }
    }

    /// Makes a key for another tenant: the permit must be for `createTenantApiKey`.
    #[must_use]
    pub const fn for_tenant(permit: Permit, tenant: TenantId, key: NewApiKey) -> Self {
        Self { permit, tenant, key }
    }
}

#[async_trait]
impl Change for CreateApiKey {
    type Done = (api_key::Model, RawKey);
    type Refusal = ApiKeyRefusal;

    fn tenant(&self) -> Option<TenantId> {
        Some(self.permit.tenant())
    }

    async fn apply(&self, tx: &Tx<'_>) -> Result<Applied<Self::Done>, ApiKeyRefusal> {
        let done = insert(tx, &self.permit, self.tenant, &self.key).await?;
        let record = record(&self.permit, &done.0, "api_key.created");
        Ok(Applied::recorded(done, record).in_memory_of_nodes(self.tenant))
    }
}

async fn insert(
    tx: &Tx<'_>,
    permit: &Permit,
    tenant: TenantId,
    key: &NewApiKey,
) -> Result<(api_key::Model, RawKey), ApiKeyRefusal> {
    let raw = RawKey::new(tenant, key.id).map_err(|_| ApiKeyRefusal::Randomness)?;
    let mut scopes: Vec<&str> = key.scopes.iter().map(|scope| scope.as_str()).collect();
    scopes.sort_unstable();
    scopes.dedup();
    let row = api_key::Model {
        tenant_id: tenant.0,
        id: key.id.0,
        name: key.name.to_string(),
        hash: RawKey::hash(raw.reveal()).to_vec(),
        scopes: scopes.into(),
        identity_provider_id: key.identity_provider_id.map(|id| id.0),
        created_by: permit.actor_id().to_owned(),
        last_used_at: None,
        expires_at: key.expires_at.map(|at| at.0),
        revoked_at: None,
        revoked_by: None,
        rotated_at: None,
        created_at: tx.now.0,
    };
    let inserted = api_key::Entity::insert(row.clone().into_active_model())
        .exec_without_returning(tx.db)
        .await;
    match inserted.map_err(StoreError::from) {
        Ok(_) => {
            // A provider that is being deleted still has a row.
            if let Some(provider) = key.identity_provider_id
                && identity_providers::rows::hold(tx, tenant, provider).await?.is_none()
            {
                return Err(ApiKeyRefusal::NoIdentityProvider(provider));
            }
            Ok((row, raw))
        }
        // Whether there are such a tenant and such a provider is for the foreign keys to say.
        Err(StoreError::Reference(_)) => Err(match key.identity_provider_id {
            Some(provider) => ApiKeyRefusal::NoIdentityProvider(provider),
            None => ApiKeyRefusal::NoTenant(tenant),
        }),
        Err(error) => Err(error.into()),
    }
}

/// Revokes a key. What is revoked stays revoked: doing it again changes nothing.
pub struct RevokeApiKey {
    permit: Permit,
    id: ApiKeyId,
}

impl RevokeApiKey {
    /// Revokes this key.
    #[must_use]
    pub const fn new(permit: Permit, id: ApiKeyId) -> Self {
        Self { permit, id }
    }
}

#[async_trait]
impl Change for RevokeApiKey {
    type Done = ();
    type Refusal = ApiKeyRefusal;

    fn tenant(&self) -> Option<TenantId> {
        Some(self.permit.tenant())
    }

    async fn apply(&self, tx: &Tx<'_>) -> Result<Applied<()>, ApiKeyRefusal> {
        let tenant = self.permit.tenant();
        let key = api_key::Entity::find_by_id((tenant.0, self.id.0)).one(tx.db).await?;
        let key = key.ok_or(ApiKeyRefusal::NoKey(self.id))?;
        if key.revoked_at.is_some() {
            return Ok(Applied::unchanged(()));
        }
        let mut revoked = key.into_active_model();
        revoked.revoked_at = Set(Some(tx.now.0));
        revoked.revoked_by = Set(Some(self.permit.actor_id().to_owned()));
        let key = revoked.update(tx.db).await?;
        Ok(Applied::recorded((), record(&self.permit, &key, "api_key.revoked")).in_memory_of_nodes(tenant))
    }
}

/// Makes a successor of a key, with its name, scopes and provider; the key itself works on for a while, so that its
/// users can change over.
pub struct RotateApiKey {
    permit: Permit,
    id: ApiKeyId,
    overlap_seconds: i64,
}

impl RotateApiKey {
    /// Rotates this key; it stops working after the overlap, in seconds.
    #[must_use]
    pub const fn new(permit: Permit, id: ApiKeyId, overlap_seconds: i64) -> Self {
        Self {
            permit,
            id,
            overlap_seconds,
        }
    }
}

#[async_trait]
impl Change for RotateApiKey {
    type Done = (api_key::Model, RawKey);
    type Refusal = ApiKeyRefusal;

    fn tenant(&self) -> Option<TenantId> {
        Some(self.permit.tenant())
    }

    async fn apply(&self, tx: &Tx<'_>) -> Result<Applied<Self::Done>, ApiKeyRefusal> {
        let tenant = self.permit.tenant();
        let old = api_key::Entity::find_by_id((tenant.0, self.id.0)).one(tx.db).await?;
        let old = old.ok_or(ApiKeyRefusal::NoKey(self.id))?;
        if old.revoked_at.is_some() || old.expires_at.is_some_and(|at| at <= tx.now.0) {
            return Err(ApiKeyRefusal::Ended);
        }
        if old.rotated_at.is_some() {
            return Err(ApiKeyRefusal::Rotated);
        }
        // What it can do at most is what policy was told of (`successor_context`): of all this only the end of a key ever
        // changes, when it is rotated, and that is refused above.
        let successor = NewApiKey {
            id: ApiKeyId::new(),
            name: Name::new(old.name.clone()).map_err(StoreError::Fault)?,
            scopes: scopes(&old),
            identity_provider_id: old.identity_provider_id.map(IdentityProviderId),
            expires_at: old.expires_at.map(Timestamp),
        };
        let done = insert(tx, &self.permit, tenant, &successor).await?;
        let end = tx.now.plus_seconds(self.overlap_seconds).0;
        let mut ending = old.clone().into_active_model();
        ending.expires_at = Set(Some(old.expires_at.map_or(end, |at| at.min(end))));
        ending.rotated_at = Set(Some(tx.now.0));
        ending.update(tx.db).await?;
        let record = record(&self.permit, &done.0, "api_key.rotated");
        Ok(Applied::recorded(done, record).in_memory_of_nodes(tenant))
    }
}

fn record(permit: &Permit, key: &api_key::Model, event_type: &'static str) -> Record {
    #[derive(Serialize)]
    struct Entry<'a> {
        tenant_id: Uuid,
        name: &'a str,
        scopes: &'a serde_json::Value,
        expires_at: Option<String>,
    }
    let expires_at = key.expires_at.map(|at| Timestamp(at).to_string());
    let entry = Entry {
        tenant_id: key.tenant_id,
        name: &key.name,
        scopes: &key.scopes,
        expires_at,
    };
    permit.record("api_key", key.id, &entry, event_type, &entry)
}
