//! Identity providers as they are stored: finding them.

use aka_entity::identity_provider::{self};
use sea_orm::{
    ConnectionTrait as _, DatabaseBackend, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    Select, sea_query::LockType,
};
use uuid::Uuid;

use super::name_key;
use crate::{
    store::{Store, StoreError, Tx},
    types::{
        ids::{IdentityProviderId, TenantId},
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
pub(super) fn existing(tenant: TenantId, id: IdentityProviderId) -> Select<identity_provider::Entity> {
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
