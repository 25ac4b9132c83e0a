//! Identity providers: where accounts live.

use aka_entity::{
    identity,
    identity_provider::{self, ProviderType, SyncStatus},
};
use async_trait::async_trait;
use sea_orm::{
    ActiveEnum as _, ActiveModelTrait as _, EntityTrait as _, IntoActiveModel as _, PaginatorTrait as _,
    QueryFilter as _, QueryOrder as _, QuerySelect as _, Set,
};
use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{
    caller::Permit,
    ids::{IdentityProviderId, TenantId},
    issuers::{self, Invalid, Issuer},
    jwks_client::Addresses,
    revision::{Changed, Expected, Revision, check},
    scopes::Scope,
    text::Name,
};
use crate::store::{Applied, Change, Record, Store, StoreError, Tx};

/// The size of a configuration at most, as JSON: room for an inline JWK set of a dozen keys.
pub const MAX_CONFIG_BYTES: usize = 32 * 1024;

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
    Ok(identity_provider::Entity::find_by_id((tenant.0, id.0))
        .one(store.reader())
        .await?)
}

/// The providers of a tenant, oldest first, after a position; all, or only those that are enabled or disabled.
///
/// # Errors
///
/// [`StoreError`]
pub async fn list(
    store: &Store,
    tenant: TenantId,
    enabled: Option<bool>,
    after: Option<Uuid>,
    limit: u64,
) -> Result<Vec<identity_provider::Model>, StoreError> {
    let mut query = identity_provider::Entity::find().filter(identity_provider::COLUMN.tenant_id.eq(tenant.0));
    if let Some(enabled) = enabled {
        query = query.filter(identity_provider::COLUMN.enabled.eq(enabled));
    }
    if let Some(after) = after {
        query = query.filter(identity_provider::COLUMN.id.gt(after));
    }
    Ok(query
        .order_by_asc(identity_provider::Column::Id)
        .limit(limit)
        .all(store.reader())
        .await?)
}

/// The configuration of a provider. Members whose name says that they are secret go in and never come out.
#[derive(Clone, Default, PartialEq)]
pub struct Config(Map<String, Value>);

impl Config {
    /// Checks a configuration.
    ///
    /// # Errors
    ///
    /// Which field is wrong, and why.
    pub fn new(config: Map<String, Value>, addresses: Addresses) -> Result<Self, Invalid> {
        let config = Value::Object(config);
        if config.to_string().len() > MAX_CONFIG_BYTES {
            return Err(("config", format!("must not be larger than {MAX_CONFIG_BYTES} bytes")));
        }
        if has_nul(&config) {
            return Err(("config", "must not contain the character U+0000".into()));
        }
        if let Some(issuer) = Issuer::from_config(&config)? {
            issuer.check_addresses(addresses)?;
        }
        match config {
            Value::Object(members) => Ok(Self(members)),
            _ => Ok(Self(Map::new())),
        }
    }

    /// What of a stored configuration may leave the server.
    #[must_use]
    pub fn public(stored: &Value) -> Value {
        match stored {
            Value::Object(members) => Value::Object(
                members
                    .iter()
                    .filter(|(name, value)| !is_hidden(name, value))
                    .map(|(name, value)| (name.clone(), Self::public(value)))
                    .collect(),
            ),
            Value::Array(items) => {
                let shown = items.iter().filter(|item| !is_hidden("", item));
                Value::Array(shown.map(Self::public).collect())
            }
            value => value.clone(),
        }
    }

    /// This configuration, with the secrets of an older one where it says nothing of them: whoever changes a
    /// configuration has read it without its secrets. `null` says that a secret is to be forgotten.
    fn keeping_secrets_of(&self, stored: &Value) -> Value {
        let mut config = Value::Object(self.0.clone());
        keep_secrets(&mut config, stored);
        config
    }
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

fn keep_secrets(new: &mut Value, old: &Value) {
    match (new, old) {
        (Value::Object(new), Value::Object(old)) => {
            for (name, old) in old {
                match new.get_mut(name) {
                    None if is_hidden(name, old) => drop(new.insert(name.clone(), old.clone())),
                    Some(Value::Null) if is_hidden(name, old) => drop(new.remove(name)),
                    Some(new) => keep_secrets(new, old),
                    None => {}
                }
            }
        }
        // The items of a list have no names: one that comes back as it was shown is the same one.
        (Value::Array(new), Value::Array(old)) => {
            for new in new {
                if let Some(same) = old.iter().find(|old| Config::public(old) == *new) {
                    new.clone_from(same);
                }
            }
        }
        _ => {}
    }
}

/// Whether a member never leaves the server.
fn is_hidden(name: &str, value: &Value) -> bool {
    is_secret(name)
        || value.as_str().is_some_and(|text| {
            // Who knows the address of a webhook can call it.
            looks_secret(text) || name.to_lowercase().contains("webhook")
        })
}

/// Whether the name of a member says that its value is a secret, in whatever style it is written. The address of
/// something is none.
fn is_secret(name: &str) -> bool {
    const WORDS: [&str; 15] = [
        "secret",
        "token",
        "password",
        "passwd",
        "passphrase",
        "pwd",
        "credential",
        "privatekey",
        "apikey",
        "accesskey",
        "signingkey",
        "authorization",
        "bearer",
        "hmac",
        "pem",
    ];
    let mut words: Vec<String> = vec![String::new()];
    let mut after_small = false;
    for character in name.chars() {
        if !character.is_alphanumeric() || (character.is_uppercase() && after_small) {
            words.push(String::new());
        }
        after_small = character.is_lowercase();
        if let Some(word) = words.last_mut().filter(|_| character.is_alphanumeric()) {
            word.extend(character.to_lowercase());
        }
    }
    let together = words.concat();
    let address = words
        .last()
        .is_some_and(|last| ["uri", "url", "endpoint"].contains(&last.as_str()));
    let alone = ["key", "pass", "auth"].contains(&together.as_str());
    alone || (!address && WORDS.iter().any(|word| together.contains(word)))
}

/// Whether a text is a secret, whatever it is called: a private key, or an address with a password in it.
fn looks_secret(text: &str) -> bool {
    let private_key = text.contains("-----BEGIN") && text.contains("PRIVATE KEY-----");
    let authority = text
        .split_once("://")
        .map(|(_, rest)| rest.split(['/', '?', '#']).next().unwrap_or_default());
    private_key || authority.is_some_and(|authority| authority.contains('@'))
}

/// PostgreSQL cannot store this character in JSON.
fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(members) => members
            .iter()
            .any(|(name, value)| name.contains('\0') || has_nul(value)),
        _ => false,
    }
}

/// Why a provider is not made or changed.
#[derive(Debug)]
pub enum IdentityProviderRefusal {
    /// It is not as the change expects it: somebody else has changed it.
    Changed,
    /// Its configuration would be too large, with the secrets that stay.
    ConfigTooLarge,
    /// The tenant has no such provider.
    NoIdentityProvider,
    /// Another provider of the tenant has the same `issuer` in its configuration.
    IssuerTaken,
    /// Accounts at it are linked to users.
    InUse {
        /// How many.
        linked: u64,
    },
    /// The store could not do it.
    Store(StoreError),
}

impl From<Changed> for IdentityProviderRefusal {
    fn from(_: Changed) -> Self {
        Self::Changed
    }
}

impl From<StoreError> for IdentityProviderRefusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Duplicate(what) if what.contains("token_issuer") => Self::IssuerTaken,
            error => Self::Store(error),
        }
    }
}

impl From<sea_orm::DbErr> for IdentityProviderRefusal {
    fn from(error: sea_orm::DbErr) -> Self {
        StoreError::from(error).into()
    }
}

/// The state of a provider.
#[must_use]
pub fn revision(provider: &identity_provider::Model) -> String {
    Revision::default()
        .and(provider.id)
        .and(&provider.name)
        .and(provider.provider_type.to_value())
        .and_json(&provider.config)
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
    /// What kind of system it is.
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
        let mut config = Value::Object(self.config.0.clone());
        issuers::complete_grants(&mut config, None, self.permit.scopes());
        config
    }
}

#[async_trait]
impl Change for CreateIdentityProvider {
    type Done = identity_provider::Model;
    type Refusal = IdentityProviderRefusal;

    async fn apply(&self, tx: &Tx<'_>) -> Result<Applied<Self::Done>, IdentityProviderRefusal> {
        let config = self.completed_config();
        let provider = identity_provider::Model {
            tenant_id: self.permit.tenant().0,
            id: self.id.0,
            name: self.name.to_string(),
            provider_type: self.provider_type,
            token_issuer: issuer_in(&config).map(|issuer| issuer.issuer),
            config,
            secrets: None,
            enabled: self.enabled,
            last_synced_at: None,
            sync_status: SyncStatus::Pending,
            sync_error: None,
            created_at: tx.now.0,
            updated_at: tx.now.0,
        };
        identity_provider::Entity::insert(provider.clone().into_active_model())
            .exec_without_returning(tx.db)
            .await?;
        let record = record(&self.permit, &provider, "identity_provider.created");
        Ok(Applied::recorded(provider, record).in_memory_of_nodes(self.permit.tenant()))
    }
}

/// Changes a provider; what is absent stays.
pub struct UpdateIdentityProvider {
    /// That it is permitted.
    pub permit: Permit,
    /// Which one.
    pub id: IdentityProviderId,
    /// As which it must be found.
    pub expected: Expected,
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
    #[must_use]
    pub fn grants_to_permit(&self, provider: &identity_provider::Model) -> Option<Vec<Scope>> {
        let before = Issuer::of(provider);
        let after = self
            .completed_config(provider)
            .map_or_else(|| before.clone(), |config| issuer_in(&config));
        let before = before.as_ref().map(|issuer| (issuer, provider.enabled));
        grants_to_permit(before, after.as_ref(), self.enabled.unwrap_or(provider.enabled))
    }

    /// The new configuration, with what it keeps of the present one.
    fn completed_config(&self, provider: &identity_provider::Model) -> Option<Value> {
        let mut config = self.config.as_ref()?.keeping_secrets_of(&provider.config);
        issuers::complete_grants(&mut config, Issuer::of(provider).as_ref(), self.permit.scopes());
        Some(config)
    }

    /// Another change may have come between the question whether this one is permitted and this one.
    fn check_permitted(&self, provider: &identity_provider::Model) -> Result<(), StoreError> {
        let permitted = self.permitted_grants.as_deref();
        match self.grants_to_permit(provider) {
            Some(grants) if permitted.is_none_or(|permitted| grants.iter().any(|scope| !permitted.contains(scope))) => {
                let reason = "the issuer was being changed at the same time";
                Err(StoreError::Unavailable(reason.into()))
            }
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Change for UpdateIdentityProvider {
    type Done = identity_provider::Model;
    type Refusal = IdentityProviderRefusal;

    async fn apply(&self, tx: &Tx<'_>) -> Result<Applied<Self::Done>, IdentityProviderRefusal> {
        let tenant = self.permit.tenant();
        let provider = identity_provider::Entity::find_by_id((tenant.0, self.id.0))
            .one(tx.db)
            .await?;
        let provider = provider.ok_or(IdentityProviderRefusal::NoIdentityProvider)?;
        check(&self.expected, &revision(&provider))?;
        self.check_permitted(&provider)?;
        let mut changed = provider.clone().into_active_model();
        if let Some(name) = &self.name {
            changed.name = Set(name.to_string());
        }
        if let Some(config) = self.completed_config(&provider) {
            if config.to_string().len() > MAX_CONFIG_BYTES {
                return Err(IdentityProviderRefusal::ConfigTooLarge);
            }
            changed.token_issuer = Set(issuer_in(&config).map(|issuer| issuer.issuer));
            changed.config = Set(config);
        }
        if let Some(enabled) = self.enabled {
            changed.enabled = Set(enabled);
        }
        changed.updated_at = Set(tx.now.0);
        let provider = changed.update(tx.db).await?;
        let record = record(&self.permit, &provider, "identity_provider.updated");
        Ok(Applied::recorded(provider, record).in_memory_of_nodes(tenant))
    }
}

/// Deletes a provider, with what it knows of accounts that are linked to nobody. While an account is linked it stays:
/// links are taken away one by one, by somebody who may, and not by accident.
pub struct DeleteIdentityProvider {
    /// That it is permitted.
    pub permit: Permit,
    /// Which one.
    pub id: IdentityProviderId,
    /// As which it must be found.
    pub expected: Expected,
}

#[async_trait]
impl Change for DeleteIdentityProvider {
    type Done = ();
    type Refusal = IdentityProviderRefusal;

    async fn apply(&self, tx: &Tx<'_>) -> Result<Applied<()>, IdentityProviderRefusal> {
        let tenant = self.permit.tenant();
        let provider = identity_provider::Entity::find_by_id((tenant.0, self.id.0))
            .one(tx.db)
            .await?;
        let provider = provider.ok_or(IdentityProviderRefusal::NoIdentityProvider)?;
        check(&self.expected, &revision(&provider))?;
        identity::Entity::delete_many()
            .filter(identity::COLUMN.tenant_id.eq(tenant.0))
            .filter(identity::COLUMN.identity_provider_id.eq(self.id.0))
            .filter(identity::COLUMN.user_id.is_null())
            .exec(tx.db)
            .await?;
        let linked = identity::Entity::find()
            .filter(identity::COLUMN.tenant_id.eq(tenant.0))
            .filter(identity::COLUMN.identity_provider_id.eq(self.id.0))
            .count(tx.db)
            .await?;
        if linked > 0 {
            return Err(IdentityProviderRefusal::InUse { linked });
        }
        // The foreign key has the last word: another node may have linked an account since.
        let deleted = identity_provider::Entity::delete_by_id((tenant.0, self.id.0))
            .exec(tx.db)
            .await;
        match deleted.map_err(StoreError::from) {
            Ok(_) => {
                let record = record(&self.permit, &provider, "identity_provider.deleted");
                Ok(Applied::recorded((), record).in_memory_of_nodes(tenant))
            }
            Err(StoreError::Reference(_)) => Err(IdentityProviderRefusal::InUse { linked: 1 }),
            Err(error) => Err(error.into()),
        }
    }
}

fn record(permit: &Permit, provider: &identity_provider::Model, event_type: &'static str) -> Record {
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
        token_scopes: Issuer::of(provider).map(|issuer| issuer.grants.scopes()),
    };
    permit.record("identity_provider", provider.id, &entry, event_type, &entry)
}
