//! A Cedar statement of a policy. Its text is authoritative: the structured form is derived from the text when the rule is
//! stored, and the mark shows whether it still matches the text.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, DeriveEntityModel)]
#[sea_orm(table_name = "policy_rules")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub policy_id: Uuid,
    /// The position of the rule in its policy, from 0.
    pub ordinal: i32,
    pub policy_text: String,
    /// A mark of the text, of the columns derived from it (below), and of the schema that it was checked against. If the mark
    /// does not match, the row is checked again when it is read: the schema has changed since, or somebody has edited the
    /// row.
    pub checked: Vec<u8>,
    /// What a caller reads if this rule determined the decision. Null: the `@notice` of the statement, if any.
    pub notice: Option<String>,
    pub created_at: i64,
    /// The parts of the statement, as JSON.
    pub outline: String,
    /// The length of the text in bytes.
    pub bytes: i64,
    /// The number of nodes in its syntax tree.
    pub nodes: i64,
    /// The worst-case cost of evaluating it.
    pub cost: i64,
}

impl ActiveModelBehavior for ActiveModel {}
