//! API keys as they are stored.

use aka_entity::api_key;
use sea_orm::EntityTrait as _;

use crate::{
    policy::entities::{self, NamedEntity},
    store::{Store, StoreError},
    types::{
        clock::Timestamp,
        ids::{ApiKeyId, IdentityProviderId, TenantId},
        scopes::Scope,
    },
};

/// The scopes of a stored key. One that this version of the program does not know gives nothing.
#[must_use]
pub fn scopes(key: &api_key::Model) -> Vec<Scope> {
    serde_json::from_value::<Vec<String>>(key.scopes.clone())
        .unwrap_or_default()
        .iter()
        .filter_map(|scope| scope.parse().ok())
        .collect()
}

/// A key, for policy.
#[must_use]
pub fn entity(key: &api_key::Model) -> NamedEntity {
    let provider = key.identity_provider_id.map(IdentityProviderId);
    let expires_at = key.expires_at.map(Timestamp);
    entities::api_key(ApiKeyId(key.id), &key.name, &scopes(key), provider, expires_at)
}

/// One key.
///
/// # Errors
///
/// [`StoreError`]
pub async fn find(store: &Store, tenant: TenantId, id: ApiKeyId) -> Result<Option<api_key::Model>, StoreError> {
    Ok(api_key::Entity::find_by_id((tenant.0, id.0))
        .one(&store.reader_of(tenant))
        .await?)
}
