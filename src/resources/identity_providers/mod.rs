//! Identity providers: where accounts live.

pub mod api;
pub mod errors;
mod examples;
mod operations;

pub use operations::RESOURCE;

use std::time::Duration;

use aka_entity::{
    api_key, identity,
    identity_provider::{self, ProviderType, SyncStatus},
};
use async_trait::async_trait;
use sea_orm::{
    ActiveEnum as _, ActiveModelTrait as _, Condition, ConnectionTrait as _, DatabaseBackend, EntityTrait as _,
    IntoActiveModel as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, Select, Set,
    sea_query::{LockBehavior, LockType},
};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::{
    access::{
        caller::Permit,
        provider_config::{self, Config, Parts},
        tokens::issuers::{self, Invalid, Issuer},
    },
    store::{
        Applied, Change, Record, Store, StoreError, Tx,
        revision::{Revision, RevisionMismatch},
        root_key::RootKey,
    },
    types::{
        ids::{IdentityProviderId, TenantId},
        scopes::Scope,
        text::Name,
    },
};

/// One provider.
///
/// # Errors
///
/// [`StoreError`]
pub async fn find(
    store: &Store,
    tenant: TenantId,
    id: IdentityProviderId,
) -> Result<Option<identity_provider::Model>, StoreError> {
    Ok(existing(tenant, id).one(&store.reader_of(tenant)).await?)
}

/// A provider of a tenant, unless it is deleted.
fn existing(tenant: TenantId, id: IdentityProviderId) -> Select<identity_provider::Entity> {
    identity_provider::Entity::find_by_id((tenant.0, id.0)).filter(identity_provider::COLUMN.deleted_at.is_null())
}

/// A provider that is not deleted until the end of the transaction.
///
/// # Errors
///
/// [`StoreError`]
pub async fn hold(
    tx: &Tx<'_>,
    tenant: TenantId,
    id: IdentityProviderId,
) -> Result<Option<identity_provider::Model>, StoreError> {
    let mut query = existing(tenant, id);
    if tx.db.get_database_backend() == DatabaseBackend::Postgres {
        query = query.lock(LockType::KeyShare);
    }
    Ok(query.one(tx.db).await?)
}

/// The providers of a tenant, oldest first, after a position; all, or only one, or only those that are enabled or disabled.
///
/// # Errors
///
/// [`StoreError`]
pub async fn list(
    store: &Store,
    tenant: TenantId,
    only: Option<IdentityProviderId>,
    enabled: Option<bool>,
    after: Option<Uuid>,
    limit: u64,
) -> Result<Vec<identity_provider::Model>, StoreError> {
    let mut query = identity_provider::Entity::find()
        .filter(identity_provider::COLUMN.tenant_id.eq(tenant.0))
        .filter(identity_provider::COLUMN.deleted_at.is_null());
    if let Some(only) = only {
        query = query.filter(identity_provider::COLUMN.id.eq(only.0));
    }
    if let Some(enabled) = enabled {
        query = query.filter(identity_provider::COLUMN.enabled.eq(enabled));
    }
    if let Some(after) = after {
        query = query.filter(identity_provider::COLUMN.id.gt(after));
    }
    Ok(query
        .order_by_asc(identity_provider::Column::Id)
        .limit(limit)
        .all(&store.reader_of(tenant))
        .await?)
}

/// What somebody must be permitted to let an issuer grant (`configureTokenIssuer`) in order to bring a provider from one
/// state into another. None: nothing changes for whoever has its tokens, except that they are no longer accepted.
fn grants_to_permit(before: Option<(&Issuer, bool)>, after: Option<&Issuer>, enabled: bool) -> Option<Vec<Scope>> {
    let (issuer_before, enabled_before) = before.map_or((None, false), |(issuer, enabled)| (Some(issuer), enabled));
    let same = issuer_before == after && (!enabled || enabled_before || after.is_none());
    (!same).then(|| after.map(|issuer| issuer.grants.scopes()).unwrap_or_default())
}

/// The issuer that a configuration describes, which has been checked before.
fn issuer_in(config: &Value) -> Option<Issuer> {
    Issuer::from_config(config).ok().flatten()
}

/// Why a provider is not made or changed.
#[derive(Debug)]
pub enum IdentityProviderRefusal {
    /// It is not as the change expects it: somebody else has changed it.
    RevisionMismatch,
    /// Its configuration would be wrong, with the secrets that stay.
    Config(Invalid),
    /// Another provider of the tenant has this name.
    NameTaken,
    /// The tenant has no such provider.
    NoIdentityProvider(IdentityProviderId),
    /// Another provider of the tenant has the same `issuer` in its configuration.
    IssuerTaken,
    /// Accounts at it are linked to users.
    InUse {
        /// Which provider.
        id: IdentityProviderId,
        /// How many.
        linked: u64,
    },
    /// The store could not do it.
    Store(StoreError),
}

impl From<RevisionMismatch> for IdentityProviderRefusal {
    fn from(_: RevisionMismatch) -> Self {
        Self::RevisionMismatch
    }
}

impl From<StoreError> for IdentityProviderRefusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Duplicate(what) if what.contains("token_issuer") => Self::IssuerTaken,
            // The databases name the column, or the index, which is called like it.
            StoreError::Duplicate(what) if what.contains("name_key") => Self::NameTaken,
            error => Self::Store(error),
        }
    }
}

impl From<sea_orm::DbErr> for IdentityProviderRefusal {
    fn from(error: sea_orm::DbErr) -> Self {
        StoreError::from(error).into()
    }
}

/// The form under which names are compared: names that differ in case look like one.
fn name_key(name: &Name) -> String {
    name.as_str().to_lowercase()
}

/// The provider of a name, ignoring case.
///
/// # Errors
///
/// [`StoreError`]
pub async fn find_by_name(
    store: &Store,
    tenant: TenantId,
    name: &Name,
) -> Result<Option<identity_provider::Model>, StoreError> {
    let query = identity_provider::Entity::find()
        .filter(identity_provider::COLUMN.tenant_id.eq(tenant.0))
        .filter(identity_provider::COLUMN.name_key.eq(name_key(name)));
    Ok(query.one(store.reader()).await?)
}

/// The state of a provider.
#[must_use]
pub fn revision(provider: &identity_provider::Model) -> String {
    Revision::default()
        .and(provider.id)
        .and(&provider.name)
        .and(provider.provider_type.to_value())
        .and_json(&provider.config)
        .and(provider.secrets.as_deref().unwrap_or_default())
        .and([u8::from(provider.enabled)])
        .and_time(provider.last_synced_at)
        .and(provider.sync_status.to_value())
        .and_text(provider.sync_error.as_deref())
        .and(provider.updated_at.to_be_bytes())
        .text()
}

/// Makes a provider.
pub struct CreateIdentityProvider {
    /// That it is permitted.
    pub permit: Permit,
    /// Its id.
    pub id: IdentityProviderId,
    /// Its name.
    pub name: Name,
    /// The type of the provider.
    pub provider_type: ProviderType,
    /// How it is reached.
    pub config: Config,
    /// Whether accounts at it can be linked.
    pub enabled: bool,
}

impl CreateIdentityProvider {
    /// What must be permitted beside the change itself: to let an issuer grant these scopes (`configureTokenIssuer`).
    #[must_use]
    pub fn grants_to_permit(&self) -> Option<Vec<Scope>> {
        grants_to_permit(None, issuer_in(&self.completed_config()).as_ref(), self.enabled)
    }

    fn completed_config(&self) -> Value {
        let mut config = self.config.to_json();
        issuers::complete_grants(&mut config, None, self.permit.scopes());
        config
    }
}

#[async_trait]
impl Change for CreateIdentityProvider {
    type Done = identity_provider::Model;
    type Refusal = IdentityProviderRefusal;

    fn tenant(&self) -> Option<TenantId> {
        Some(self.permit.tenant())
    }

    async fn apply(&self, tx: &Tx<'_>) -> Result<Applied<Self::Done>, IdentityProviderRefusal> {
        let config = self.completed_config();
        let mut provider = identity_provider::Model {
            tenant_id: self.permit.tenant().0,
            id: self.id.0,
            name: self.name.to_string(),
            name_key: name_key(&self.name),
            provider_type: self.provider_type,
            token_issuer: issuer_in(&config).map(|issuer| issuer.issuer),
            config: Value::Null,
            secrets: None,
            enabled: self.enabled,
            last_synced_at: None,
            sync_status: SyncStatus::Pending,
            sync_error: None,
            created_at: tx.now.0,
            updated_at: tx.now.0,
            deleted_at: None,
        };
        Parts::of(self.provider_type, config).store(&mut provider, tx.root_key)?;
        identity_provider::Entity::insert(provider.clone().into_active_model())
            .exec_without_returning(tx.db)
            .await?;
        let record = record(&self.permit, &provider, tx.root_key, "identity_provider.created");
        Ok(Applied::recorded(provider, record).in_memory_of_nodes(self.permit.tenant()))
    }
}

/// Changes a provider; what is absent stays.
pub struct UpdateIdentityProvider {
    /// That it is permitted.
    pub permit: Permit,
    /// Which one.
    pub id: IdentityProviderId,
    /// The new name.
    pub name: Option<Name>,
    /// The new configuration, whole but for the secrets that it leaves out.
    pub config: Option<Config>,
    /// Whether accounts at it can be linked.
    pub enabled: Option<bool>,
    /// What it was permitted to let the provider's tokens have, where that had to be asked.
    pub permitted_grants: Option<Vec<Scope>>,
}

impl UpdateIdentityProvider {
    /// What must be permitted beside the change itself, where the provider is like this: to let an issuer grant these scopes
    /// (`configureTokenIssuer`).
    ///
    /// # Errors
    ///
    /// Where the new configuration would be wrong, with the secrets that stay, or these cannot be opened.
    pub fn grants_to_permit(
        &self,
        provider: &identity_provider::Model,
        root_key: &RootKey,
    ) -> Result<Option<Vec<Scope>>, IdentityProviderRefusal> {
        let before = Issuer::of(provider, root_key);
        let after = self
            .completed_config(provider, root_key)?
            .map_or_else(|| before.clone(), |config| issuer_in(&config));
        let before = before.as_ref().map(|issuer| (issuer, provider.enabled));
        let enabled = self.enabled.unwrap_or(provider.enabled);
        Ok(grants_to_permit(before, after.as_ref(), enabled))
    }

    /// The new configuration, with what it keeps of the present one.
    fn completed_config(
        &self,
        provider: &identity_provider::Model,
        root_key: &RootKey,
    ) -> Result<Option<Value>, IdentityProviderRefusal> {
        let Some(change) = &self.config else { return Ok(None) };
        let mut config = Parts::open(provider, root_key)?.changed(provider.provider_type, change);
        let before = Issuer::of(provider, root_key);
        issuers::complete_grants(&mut config, before.as_ref(), self.permit.scopes());
        let config = provider_config::checked(config).map_err(IdentityProviderRefusal::Config)?;
        Ok(Some(config))
    }

    /// Another change may have come between the question whether this one is permitted and this one.
    fn check_permitted(
        &self,
        provider: &identity_provider::Model,
        root_key: &RootKey,
    ) -> Result<(), IdentityProviderRefusal> {
        let permitted = self.permitted_grants.as_deref();
        match self.grants_to_permit(provider, root_key)? {
            Some(grants) if permitted.is_none_or(|permitted| grants.iter().any(|scope| !permitted.contains(scope))) => {
                let reason = "the issuer was being changed at the same time";
                Err(StoreError::Unavailable(reason.into()).into())
            }
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Change for UpdateIdentityProvider {
    type Done = identity_provider::Model;
    type Refusal = IdentityProviderRefusal;

    fn tenant(&self) -> Option<TenantId> {
        Some(self.permit.tenant())
    }

    async fn apply(&self, tx: &Tx<'_>) -> Result<Applied<Self::Done>, IdentityProviderRefusal> {
        let tenant = self.permit.tenant();
        let provider = existing(tenant, self.id).one(tx.db).await?;
        let provider = provider.ok_or(IdentityProviderRefusal::NoIdentityProvider(self.id))?;
        tx.check_revision(&revision(&provider))?;
        self.check_permitted(&provider, tx.root_key)?;
        let mut changed = provider.clone().into_active_model();
        if let Some(name) = &self.name {
            changed.name = Set(name.to_string());
            changed.name_key = Set(name_key(name));
        }
        if let Some(config) = self.completed_config(&provider, tx.root_key)? {
            changed.token_issuer = Set(issuer_in(&config).map(|issuer| issuer.issuer));
            let new = Parts::of(provider.provider_type, config);
            if provider.secrets.is_none() || new != Parts::open(&provider, tx.root_key)? {
                let mut sealed = provider.clone();
                new.store(&mut sealed, tx.root_key)?;
                changed.config = Set(sealed.config);
                changed.secrets = Set(sealed.secrets);
            }
        }
        if let Some(enabled) = self.enabled {
            changed.enabled = Set(enabled);
        }
        changed.updated_at = Set(tx.now.0);
        let provider = changed.update(tx.db).await?;
        let record = record(&self.permit, &provider, tx.root_key, "identity_provider.updated");
        Ok(Applied::recorded(provider, record).in_memory_of_nodes(tenant))
    }
}

/// Deletes a provider, with what it knows of accounts that are linked to nobody. While an account is linked it stays:
/// links are taken away one by one, by somebody who may, and not by accident.
///
/// There may be millions of such accounts, and everybody's changes would wait for their end. So the provider is only marked
/// as deleted here: from then on it does not exist for callers, nothing can be linked at it, its keys are gone and its name
/// is free. Its accounts go piece by piece ([`keep_deleting`]).
pub struct DeleteIdentityProvider {
    /// That it is permitted.
    pub permit: Permit,
    /// Which one.
    pub id: IdentityProviderId,
}

/// Up to how many linked accounts are counted when a provider cannot be deleted.
pub const MAX_COUNTED: u64 = 1_000;

#[async_trait]
impl Change for DeleteIdentityProvider {
    type Done = ();
    type Refusal = IdentityProviderRefusal;

    fn tenant(&self) -> Option<TenantId> {
        Some(self.permit.tenant())
    }

    async fn apply(&self, tx: &Tx<'_>) -> Result<Applied<()>, IdentityProviderRefusal> {
        let tenant = self.permit.tenant();
        let mut query = existing(tenant, self.id);
        if tx.db.get_database_backend() == DatabaseBackend::Postgres {
            // Waits for links under way on other nodes, and they for this.
            query = query.lock_exclusive();
        }
        let provider = query.one(tx.db).await?;
        let provider = provider.ok_or(IdentityProviderRefusal::NoIdentityProvider(self.id))?;
        tx.check_revision(&revision(&provider))?;
        let linked = identity::Entity::find()
            .select_only()
            .column(identity::Column::Id)
            .filter(identity::COLUMN.tenant_id.eq(tenant.0))
            .filter(identity::COLUMN.identity_provider_id.eq(self.id.0))
            .filter(identity::COLUMN.user_id.is_not_null())
            .limit(MAX_COUNTED)
            .into_tuple::<Uuid>()
            .all(tx.db)
            .await?;
        if !linked.is_empty() {
            return Err(IdentityProviderRefusal::InUse {
                id: self.id,
                linked: linked.len() as u64,
            });
        }
        api_key::Entity::delete_many()
            .filter(api_key::COLUMN.tenant_id.eq(tenant.0))
            .filter(api_key::COLUMN.identity_provider_id.eq(self.id.0))
            .exec(tx.db)
            .await?;
        let record = record(&self.permit, &provider, tx.root_key, "identity_provider.deleted");
        let mut deleted = provider.into_active_model();
        // Neither the name and the issuer of a provider, which are unique, nor its secrets outlive it.
        let name = format!("deleted {}", self.id);
        deleted.name = Set(name.clone());
        deleted.name_key = Set(name);
        deleted.config = Set(Value::Object(serde_json::Map::new()));
        deleted.secrets = Set(None);
        deleted.token_issuer = Set(None);
        deleted.enabled = Set(false);
        deleted.deleted_at = Set(Some(tx.now.0));
        deleted.update(tx.db).await?;
        Ok(Applied::recorded((), record).in_memory_of_nodes(tenant))
    }
}

/// Accounts that are removed in one transaction: a few milliseconds, in which others wait.
const PIECE: u64 = 64;
/// Time between two pieces, so that a deletion does not keep the disk busy.
const BETWEEN_PIECES: Duration = Duration::from_millis(5);
/// How often providers are looked for that were deleted on this node or another, or before a restart.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Removes some accounts of a provider that is deleted; when none are left, the provider itself.
struct RemoveAccounts {
    tenant: TenantId,
    provider: IdentityProviderId,
    /// The account after which to look: those before it are gone.
    after: String,
}

/// What became of it.
enum Removed {
    /// Some are removed, up to this account. There may be more.
    UpTo(String),
    /// Everything is removed.
    All,
    /// Another node is at it.
    Elsewhere,
}

#[async_trait]
impl Change for RemoveAccounts {
    type Done = Removed;
    type Refusal = StoreError;

    fn tenant(&self) -> Option<TenantId> {
        Some(self.tenant)
    }

    async fn apply(&self, tx: &Tx<'_>) -> Result<Applied<Removed>, StoreError> {
        let mut query = identity_provider::Entity::find_by_id((self.tenant.0, self.provider.0))
            .filter(identity_provider::COLUMN.deleted_at.is_not_null());
        if tx.db.get_database_backend() == DatabaseBackend::Postgres {
            query = query.lock_with_behavior(LockType::Update, LockBehavior::SkipLocked);
        }
        if query.one(tx.db).await?.is_none() {
            return Ok(Applied::unchanged(Removed::Elsewhere));
        }
        let of_provider = Condition::all()
            .add(identity::COLUMN.tenant_id.eq(self.tenant.0))
            .add(identity::COLUMN.identity_provider_id.eq(self.provider.0))
            .add(identity::COLUMN.external_id.gt(self.after.as_str()));
        let piece: Vec<(Uuid, String)> = identity::Entity::find()
            .select_only()
            .columns([identity::Column::Id, identity::Column::ExternalId])
            .filter(of_provider)
            .order_by_asc(identity::Column::ExternalId)
            .limit(PIECE)
            .into_tuple()
            .all(tx.db)
            .await?;
        let last = piece.last().map(|(_, external_id)| external_id.clone());
        let Some(last) = last else {
            identity_provider::Entity::delete_by_id((self.tenant.0, self.provider.0))
                .exec(tx.db)
                .await?;
            return Ok(Applied::unchanged(Removed::All));
        };
        identity::Entity::delete_many()
            .filter(identity::COLUMN.tenant_id.eq(self.tenant.0))
            .filter(identity::COLUMN.id.is_in(piece.into_iter().map(|(id, _)| id)))
            .exec(tx.db)
            .await?;
        Ok(Applied::unchanged(Removed::UpTo(last)))
    }
}

/// Removes the accounts of deleted providers, for ever. Every node does: they take turns by the row of the provider.
pub async fn keep_deleting(store: Store) {
    loop {
        if let Err(error) = delete_all(&store).await {
            tracing::warn!(%error, "the accounts of a deleted identity provider could not be removed; it is tried again");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn delete_all(store: &Store) -> Result<(), StoreError> {
    /// Providers that are dealt with one after the other before new ones are looked for.
    const AT_A_TIME: u64 = 16;
    let deleted: Vec<(Uuid, Uuid)> = identity_provider::Entity::find()
        .select_only()
        .columns([identity_provider::Column::TenantId, identity_provider::Column::Id])
        .filter(identity_provider::COLUMN.deleted_at.is_not_null())
        .order_by_asc(identity_provider::Column::DeletedAt)
        .limit(AT_A_TIME)
        .into_tuple()
        .all(store.reader())
        .await?;
    for (tenant, provider) in deleted {
        let (tenant, provider) = (TenantId(tenant), IdentityProviderId(provider));
        let mut after = String::new();
        loop {
            let remove = RemoveAccounts {
                tenant,
                provider,
                after,
            };
            match store.write(remove).await? {
                Removed::UpTo(last) => after = last,
                Removed::All => {
                    tracing::info!(%tenant, %provider, "a deleted identity provider and its accounts are removed");
                    break;
                }
                Removed::Elsewhere => break,
            }
            tokio::time::sleep(BETWEEN_PIECES).await;
        }
    }
    Ok(())
}

fn record(
    permit: &Permit,
    provider: &identity_provider::Model,
    root_key: &RootKey,
    event_type: &'static str,
) -> Record {
    #[derive(Serialize)]
    struct Entry<'a> {
        name: &'a str,
        provider_type: String,
        enabled: bool,
        /// What its tokens may have at most, where it is an issuer.
        #[serde(skip_serializing_if = "Option::is_none")]
        token_scopes: Option<Vec<Scope>>,
    }
    let entry = Entry {
        name: &provider.name,
        provider_type: provider.provider_type.to_value(),
        enabled: provider.enabled,
        token_scopes: Issuer::of(provider, root_key).map(|issuer| issuer.grants.scopes()),
    };
    permit.record("identity_provider", provider.id, &entry, event_type, &entry)
}
