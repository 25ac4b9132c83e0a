//! A company, or a part of one. Everything else belongs to exactly one tenant.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "tenants")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub name: String,
    #[sea_orm(unique)]
    pub slug: String,
    /// Keys of the master tenant manage tenants. A partial unique index allows at most one.
    pub is_master: bool,
    /// Increases with every change of what servers cache for this tenant (keys, providers, policies), so that they notice
    /// changes made by other servers.
    pub version: i64,
    /// Increases with every change of the tenant's policies: the check of a change is valid only as long as this value is the
    /// same.
    pub policies_version: i64,
    pub created_at: i64,
    pub updated_at: i64,
}

impl ActiveModelBehavior for ActiveModel {}
