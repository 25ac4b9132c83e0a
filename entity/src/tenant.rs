//! A company, or a part of one: everything else belongs to exactly one tenant.

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
    /// Keys of the master tenant manage tenants. A partial unique index allows one at most.
    pub is_master: bool,
    /// Grows with every change of what nodes keep in memory for this tenant (keys, providers, policies): how one
    /// node learns that another has changed something.
    pub version: i64,
    /// Grows with every change of the tenant's policies: a change that was tried before it is made holds only while this is
    /// as it was then.
    pub policies_version: i64,
    pub created_at: i64,
    pub updated_at: i64,
}

impl ActiveModelBehavior for ActiveModel {}
