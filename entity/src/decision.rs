//! What policy refused: every denied request, and every rule that could not be evaluated. Only the newest of each tenant are
//! kept.

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
    /// The scopes of the credential.
    #[sea_orm(column_type = "JsonBinary")]
    pub scopes: Json,
    /// The operation, e.g. `createUserIdentity`.
    pub action: String,
    /// The resource, e.g. `user:<id>`.
    pub resource: String,
    pub kind: DecisionKind,
    /// The priority at which it was decided; null if a built-in level decided, or nothing did.
    pub priority: Option<i32>,
    /// The ids of the rules that determined it.
    #[sea_orm(column_type = "JsonBinary")]
    pub rule_ids: Json,
    #[sea_orm(column_type = "JsonBinary")]
    pub policy_ids: Json,
    #[sea_orm(column_type = "JsonBinary")]
    pub notices: Json,
    /// The version of the tenant when it was decided.
    pub policy_version: i64,
    /// The context of the decision; null if it is not kept.
    #[sea_orm(column_type = "JsonBinary", nullable)]
    pub context: Option<Json>,
    /// The id of the refused request; null if unknown.
    pub request_id: Option<String>,
    pub created_at: i64,
}

impl ActiveModelBehavior for ActiveModel {}

/// Why the request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
pub enum DecisionKind {
    Forbidden,
    NotPermitted,
    Error,
}
