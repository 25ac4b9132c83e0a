//! One account at an identity provider, and the user to whom it is linked.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "identities")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Null if the account is known but not linked to a user.
    pub user_id: Option<Uuid>,
    /// Unique together with the tenant and the external id: an account belongs to at most one user.
    #[sea_orm(unique_key = "account")]
    pub identity_provider_id: Uuid,
    #[sea_orm(unique_key = "account")]
    pub external_id: String,
    pub external_username: Option<String>,
    pub external_email: Option<String>,
    pub external_display_name: Option<String>,
    pub linked_by: LinkedBy,
    /// When the account was linked to `user_id`; null if it is not linked.
    pub linked_at: Option<i64>,
    pub last_synced_at: Option<i64>,
    pub created_at: i64,
    pub updated_at: i64,
}

impl ActiveModelBehavior for ActiveModel {}

/// How the account was last linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
pub enum LinkedBy {
    Auto,
    Manual,
    Scim,
}
