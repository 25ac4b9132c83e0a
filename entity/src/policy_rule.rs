//! One Cedar statement of a policy. The text is what counts: the structured form of it is derived when it is read,
//! so that the two cannot disagree.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "policy_rules")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub policy_id: Uuid,
    /// The place of the rule in its policy, from 0.
    pub ordinal: i32,
    pub policy_text: String,
    /// What a caller reads when this rule determined the decision. Absent: the statement's `@notice`, if any.
    pub notice: Option<String>,
    pub created_at: i64,
}

impl ActiveModelBehavior for ActiveModel {}
