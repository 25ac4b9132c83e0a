//! The first answer to a request that was sent with an `Idempotency-Key`, for a day.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "idempotency_keys")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: Uuid,
    /// Who sent it: each credential has keys of its own.
    #[sea_orm(primary_key, auto_increment = false)]
    pub actor_id: String,
    /// SHA-256 of the key.
    #[sea_orm(primary_key, auto_increment = false)]
    pub key_hash: Vec<u8>,
    /// What the request was and what was answered, sealed: only who has the key can open it.
    pub answer: Vec<u8>,
    /// The user whom the answer is about: it is erased with them.
    pub user_id: Option<Uuid>,
    pub created_at: i64,
}

impl ActiveModelBehavior for ActiveModel {}
