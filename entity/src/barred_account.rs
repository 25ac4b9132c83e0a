//! An account of a user who was suspended or erased, which is no longer linked to a user. Its tokens are refused.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "barred_accounts")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub identity_provider_id: Uuid,
    /// HMAC-SHA-256 of the account's id at the provider, so that the row does not identify an erased user.
    #[sea_orm(primary_key, auto_increment = false)]
    pub account_hash: Vec<u8>,
    pub reason: Reason,
    pub created_at: i64,
}

impl ActiveModelBehavior for ActiveModel {}

/// What happened to the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
pub enum Reason {
    /// The user was suspended when the account was unlinked.
    Suspended,
    /// The user was erased while the account was linked.
    Erased,
}
