//! One Cedar statement of a policy. The text is what counts: the structured form is derived from it when it is stored,
//! and the mark says whether it still belongs to the text.

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
    /// The place of the rule in its policy, from 0.
    pub ordinal: i32,
    pub policy_text: String,
    /// The mark of the text, of what was found out of it (the members below), and of the schema that it was checked
    /// against. A row whose mark is another is checked again when it is read: the program has another schema since, or
    /// somebody has changed the row by hand.
    pub checked: Vec<u8>,
    /// What a caller reads when this rule determined the decision. Absent: the statement's `@notice`, if any.
    pub notice: Option<String>,
    pub created_at: i64,
    /// What the text says, part by part, as JSON.
    pub outline: String,
    /// The length of the text.
    pub bytes: i64,
    /// The nodes of its syntax tree.
    pub nodes: i64,
    /// What evaluating it costs at worst.
    pub cost: i64,
}

impl ActiveModelBehavior for ActiveModel {}
