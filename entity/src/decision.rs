//! What policy has refused: every no, and every rule that could not be evaluated. The newest of each tenant; the oldest go.

use sea_orm::entity::prelude::*;

use crate::audit_log_entry::ActorType;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "decisions")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub actor_id: String,
    pub actor_type: ActorType,
    /// What the credential had.
    #[sea_orm(column_type = "JsonBinary")]
    pub scopes: Json,
    /// The operation, e.g. `createUserIdentity`.
    pub action: String,
    /// On what, e.g. `user:<id>`.
    pub resource: String,
    pub kind: DecisionKind,
    /// The priority at which it was decided; null where that was a built-in level, or none.
    pub priority: Option<i32>,
    /// The ids of the rules that determined it.
    #[sea_orm(column_type = "JsonBinary")]
    pub rule_ids: Json,
    #[sea_orm(column_type = "JsonBinary")]
    pub policy_ids: Json,
    #[sea_orm(column_type = "JsonBinary")]
    pub notices: Json,
    /// The version of the tenant under which it was decided.
    pub policy_version: i64,
    /// The context that it saw; null where it is not kept.
    #[sea_orm(column_type = "JsonBinary", nullable)]
    pub context: Option<Json>,
    /// The id of the request that was refused; null where that is not known.
    pub request_id: Option<String>,
    pub created_at: i64,
}

impl ActiveModelBehavior for ActiveModel {}

/// How a no came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
pub enum DecisionKind {
    Forbidden,
    NotPermitted,
    Error,
}
