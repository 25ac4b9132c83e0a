//! An account at a provider that belonged to a user who was suspended or erased, and is linked to nobody since. Its tokens
//! are refused.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "barred_accounts")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub identity_provider_id: Uuid,
    /// HMAC-SHA-256 of the account's id at the provider: an erased user is not named.
    #[sea_orm(primary_key, auto_increment = false)]
    pub account_hash: Vec<u8>,
    pub reason: Reason,
    pub created_at: i64,
}

impl ActiveModelBehavior for ActiveModel {}

/// What became of the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
pub enum Reason {
    /// The user was suspended when the account was unlinked.
    Suspended,
    /// The user was erased while the account was linked.
    Erased,
}
