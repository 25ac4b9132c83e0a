//! The response to a request with an `Idempotency-Key`, kept for a day.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "idempotency_keys")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: Uuid,
    /// Who sent it: each credential has its own keys.
    #[sea_orm(primary_key, auto_increment = false)]
    pub actor_id: String,
    /// SHA-256 of the key.
    #[sea_orm(primary_key, auto_increment = false)]
    pub key_hash: Vec<u8>,
    /// The request and its response, encrypted: only the holder of the key can decrypt it.
    pub answer: Vec<u8>,
    /// The user that the response is about: the row is erased with the user.
    pub user_id: Option<Uuid>,
    pub created_at: i64,
}

impl ActiveModelBehavior for ActiveModel {}
