//! Who changed what, and why it was allowed. Written in the transaction of the change; never updated.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "audit_log_entries")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub actor_id: String,
    pub actor_type: ActorType,
    /// The operation, e.g. `createUserIdentity`.
    pub action: String,
    pub resource_type: String,
    pub resource_id: Uuid,
    #[sea_orm(column_type = "JsonBinary")]
    pub metadata: Json,
    /// Which rules allowed it.
    pub reasoning: Option<String>,
    /// The decision that allowed it, with what it takes to decide again beside the rows that the entry names; null where
    /// no policy was asked.
    #[sea_orm(column_type = "JsonBinary", nullable)]
    pub decision: Option<Json>,
    pub created_at: i64,
}

impl ActiveModelBehavior for ActiveModel {}

/// What kind of credential acted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
pub enum ActorType {
    ApiKey,
    Oidc,
    Scim,
    System,
}
