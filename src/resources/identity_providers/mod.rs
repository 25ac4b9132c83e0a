//! Identity providers: where accounts live.
//!
//! [`rows`] and this file refer to one another: a provider is found by its name in the form in which names are compared here.

pub mod api;
pub mod deletion;
pub mod errors;
mod examples;
mod operations;
pub mod rows;

pub use operations::RESOURCE;

use aka_entity::identity_provider::{self, ProviderType, SyncStatus};
use async_trait::async_trait;
use sea_orm::{ActiveEnum as _, ActiveModelTrait as _, EntityTrait as _, IntoActiveModel as _, Set};
use serde::Serialize;
use serde_json::Value;

use self::rows::existing;
use crate::{
    access::{
        caller::Permit,
        provider_config::{self, Config, Parts},
        tokens::issuers::{self, Invalid, Issuer},
    },
    store::{
        Applied, Change, Record, StoreError, Tx,
        revision::{Revision, RevisionMismatch},
        root_key::RootKey,
    },
    types::{
        ids::{IdentityProviderId, TenantId},
        scopes::Scope,
        text::Name,
    },
};

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
