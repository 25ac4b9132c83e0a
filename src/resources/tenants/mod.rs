//! Tenants: companies, or parts of one.

pub mod api;
pub mod errors;
mod examples;
mod operations;

pub use operations::RESOURCE;

use aka_entity::tenant;
use async_trait::async_trait;
use sea_orm::{
    ActiveModelTrait as _, EntityTrait as _, IntoActiveModel as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    Set,
};
use serde::Serialize;
use uuid::Uuid;

use crate::{
    access::caller::Permit,
    store::{
        Applied, Change, Record, Store, StoreError, Tx,
        revision::{Revision, RevisionMismatch},
    },
    types::{
        ids::TenantId,
        text::{Name, Slug},
    },
};

/// One tenant.
///
/// # Errors
///
/// [`StoreError`]
pub async fn find(store: &Store, id: TenantId) -> Result<Option<tenant::Model>, StoreError> {
    Ok(tenant::Entity::find_by_id(id.0).one(store.reader()).await?)
}

/// One tenant, by its short name.
///
/// # Errors
///
/// [`StoreError`]
pub async fn find_by_slug(store: &Store, slug: &str) -> Result<Option<tenant::Model>, StoreError> {
    Ok(tenant::Entity::find()
        .filter(tenant::COLUMN.slug.eq(slug))
        .one(store.reader())
        .await?)
}

/// The tenants, oldest first, after a position.
///
/// # Errors
///
/// [`StoreError`]
pub async fn list(store: &Store, after: Option<Uuid>, limit: u64) -> Result<Vec<tenant::Model>, StoreError> {
    let mut query = tenant::Entity::find();
    if let Some(after) = after {
        query = query.filter(tenant::COLUMN.id.gt(after));
    }
    Ok(query
        .order_by_asc(tenant::Column::Id)
        .limit(limit)
        .all(store.reader())
        .await?)
}

/// Why a tenant is not made or changed.
#[derive(Debug)]
pub enum TenantRefusal {
    /// It is not as the change expects it: somebody else has changed it.
    RevisionMismatch,
    /// There is no such tenant.
    NoTenant(TenantId),
    /// Another tenant has this short name.
    SlugTaken,
    /// There is a master tenant already.
    MasterTaken,
    /// The store could not do it.
    Store(StoreError),
}

impl From<RevisionMismatch> for TenantRefusal {
    fn from(_: RevisionMismatch) -> Self {
        Self::RevisionMismatch
    }
}

impl From<StoreError> for TenantRefusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Duplicate(what) if what.contains("master") => Self::MasterTaken,
            StoreError::Duplicate(_) => Self::SlugTaken,
            error => Self::Store(error),
        }
    }
}

impl From<sea_orm::DbErr> for TenantRefusal {
    fn from(error: sea_orm::DbErr) -> Self {
        StoreError::from(error).into()
    }
}

/// The state of a tenant.
#[must_use]
pub fn revision(tenant: &tenant::Model) -> String {
    Revision::default()
        .and(tenant.id)
        .and(&tenant.name)
        .and(&tenant.slug)
        .and([u8::from(tenant.is_master)])
        .and(tenant.updated_at.to_be_bytes())
        .text()
}

/// Makes a tenant.
pub struct CreateTenant {
    /// That it is permitted. Where an operator makes the first tenant, the permit is in that very tenant.
    pub permit: Permit,
    /// Its id.
    pub id: TenantId,
    /// Its name.
    pub name: Name,
    /// Its short name.
    pub slug: Slug,
    /// Whether its keys manage tenants.
    pub is_master: bool,
}

#[async_trait]
impl Change for CreateTenant {
    type Done = tenant::Model;
    type Refusal = TenantRefusal;

    fn tenant(&self) -> Option<TenantId> {
        Some(self.permit.tenant())
    }

    async fn apply(&self, tx: &Tx<'_>) -> Result<Applied<tenant::Model>, TenantRefusal> {
        let tenant = tenant::Model {
            id: self.id.0,
            name: self.name.to_string(),
            slug: self.slug.to_string(),
            is_master: self.is_master,
            version: 0,
            policies_version: 0,
            created_at: tx.now.0,
            updated_at: tx.now.0,
        };
        tenant::Entity::insert(tenant.clone().into_active_model())
            .exec_without_returning(tx.db)
            .await?;
        let record = record(&self.permit, &tenant, "tenant.created");
        Ok(Applied::recorded(tenant, record))
    }
}

/// Changes a tenant's name; what is absent stays.
pub struct UpdateTenant {
    /// That it is permitted.
    pub permit: Permit,
    /// Which tenant.
    pub id: TenantId,
    /// The new name.
    pub name: Option<Name>,
}

#[async_trait]
impl Change for UpdateTenant {
    type Done = tenant::Model;
    type Refusal = TenantRefusal;

    fn tenant(&self) -> Option<TenantId> {
        Some(self.permit.tenant())
    }

    async fn apply(&self, tx: &Tx<'_>) -> Result<Applied<tenant::Model>, TenantRefusal> {
        let tenant = tenant::Entity::find_by_id(self.id.0)
            .one(tx.db)
            .await?
            .ok_or(TenantRefusal::NoTenant(self.id))?;
        tx.check_revision(&revision(&tenant))?;
        let mut changed = tenant.into_active_model();
        if let Some(name) = &self.name {
            changed.name = Set(name.to_string());
        }
        changed.updated_at = Set(tx.now.0);
        let tenant = changed.update(tx.db).await?;
        let record = record(&self.permit, &tenant, "tenant.updated");
        Ok(Applied::recorded(tenant, record).in_memory_of_nodes(self.id))
    }
}

fn record(permit: &Permit, tenant: &tenant::Model, event_type: &'static str) -> Record {
    #[derive(Serialize)]
    struct Entry<'a> {
        name: &'a str,
        slug: &'a str,
    }
    let entry = Entry {
        name: &tenant.name,
        slug: &tenant.slug,
    };
    permit.record("tenant", tenant.id, &entry, event_type, &entry)
}
