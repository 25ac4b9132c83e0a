//! A person to whom accounts at identity providers are linked.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "users")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// As it was given.
    pub email: String,
    /// The address in lower case, with its domain in ASCII form (IDNA). Unique in the tenant, because addresses that differ
    /// only in these reach the same person.
    pub email_key: String,
    pub name: String,
    /// An array of strings.
    #[sea_orm(column_type = "JsonBinary")]
    pub roles: Json,
    pub active: bool,
    pub email_verified: bool,
    pub created_at: i64,
    pub updated_at: i64,
}

impl ActiveModelBehavior for ActiveModel {}
