//! The decision log as it is stored: reading it.

use aka_entity::decision::{self, DecisionKind};
use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _};
use uuid::Uuid;

use crate::{
    store::{Store, StoreError},
    types::{
        actions::Action,
        clock::Timestamp,
        ids::{DecisionId, TenantId},
    },
};

/// Which decisions are wanted.
#[derive(Clone, Debug, Default)]
pub struct DecisionFilter {
    /// On this action.
    pub action: Option<Action>,
    /// By this credential.
    pub actor_id: Option<String>,
    /// On this, as `user:<id>`.
    pub resource: Option<String>,
    /// Of the request with this id.
    pub request_id: Option<String>,
    /// That came out so.
    pub kind: Option<DecisionKind>,
    /// Not before this time.
    pub from: Option<Timestamp>,
    /// Before this time.
    pub to: Option<Timestamp>,
}

/// The decisions of a tenant, newest first, from a position down.
///
/// # Errors
///
/// [`StoreError`]
pub async fn list(
    store: &Store,
    tenant: TenantId,
    wanted: &DecisionFilter,
    before: Option<Uuid>,
    limit: u64,
) -> Result<Vec<decision::Model>, StoreError> {
    let mut query = decision::Entity::find().filter(decision::COLUMN.tenant_id.eq(tenant.0));
    if let Some(action) = wanted.action {
        query = query.filter(decision::COLUMN.action.eq(action.as_str()));
    }
    if let Some(actor_id) = &wanted.actor_id {
        query = query.filter(decision::COLUMN.actor_id.eq(actor_id));
    }
    if let Some(resource) = &wanted.resource {
        query = query.filter(decision::COLUMN.resource.eq(resource));
    }
    if let Some(request_id) = &wanted.request_id {
        query = query.filter(decision::COLUMN.request_id.eq(request_id.as_str()));
    }
    if let Some(kind) = wanted.kind {
        query = query.filter(decision::Column::Kind.eq(kind));
    }
    if let Some(from) = wanted.from {
        query = query.filter(decision::COLUMN.created_at.gte(from.0));
    }
    if let Some(to) = wanted.to {
        query = query.filter(decision::COLUMN.created_at.lt(to.0));
    }
    if let Some(before) = before {
        query = query.filter(decision::COLUMN.id.lt(before));
    }
    Ok(query
        .order_by_desc(decision::Column::Id)
        .limit(limit)
        .all(&store.reader_of(tenant))
        .await?)
}

/// One decision.
///
/// # Errors
///
/// [`StoreError`]
pub async fn find(store: &Store, tenant: TenantId, id: DecisionId) -> Result<Option<decision::Model>, StoreError> {
    Ok(decision::Entity::find_by_id((tenant.0, id.0))
        .one(&store.reader_of(tenant))
        .await?)
}
