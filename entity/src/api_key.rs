//! A credential of a program. Only its hash is stored.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "api_keys")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub name: String,
    /// SHA-256 of the whole key. A key has 256 random bits, so a slow hash would not protect it any better.
    pub hash: Vec<u8>,
    /// An array of strings.
    #[sea_orm(column_type = "JsonBinary")]
    pub scopes: Json,
    /// The provider that the key is bound to, if any.
    pub identity_provider_id: Option<Uuid>,
    /// The id of the key, or the name of the subject, that created it.
    pub created_by: String,
    pub last_used_at: Option<i64>,
    pub expires_at: Option<i64>,
    pub revoked_at: Option<i64>,
    pub revoked_by: Option<String>,
    /// When it was rotated. It then expires at the end of the overlap with its successor.
    pub rotated_at: Option<i64>,
    pub created_at: i64,
}

impl ActiveModelBehavior for ActiveModel {}
