//! Rules as the API shows them: the statement in Cedar, and its parts.

use aka_entity::policy_rule;
use poem_openapi::{Enum, Object};
use serde::{Deserialize, Serialize};

use crate::{
    http::{error::Error, explanation::EffectName},
    policy::{
        self,
        outline::{ActionOutline, Outline, ScopeKind},
        rules::stored_outline,
        statement::conditions,
    },
    types::{clock::Timestamp, ids::PolicyRuleId},
};

/// How a rule restricts its principal or its resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Serialize, Deserialize)]
#[oai(rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum ScopeType {
    /// Not at all.
    Any,
    /// To one entity.
    Eq,
    /// To an entity and its members.
    In,
    /// To a type of entity.
    Is,
    /// To a type of entity, and to an entity and its members.
    IsIn,
}

/// How a rule restricts its action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Serialize, Deserialize)]
#[oai(rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum ActionScopeType {
    /// Not at all.
    Any,
    /// To one action.
    Eq,
    /// To some actions, or the members of some groups of actions.
    In,
}

/// One Cedar statement of a policy. Its text is what counts; the other members say what the text says.
#[derive(Debug, Object, Serialize)]
pub struct PolicyRule {
    /// The id of the rule.
    pub id: PolicyRuleId,
    /// The position of the rule in its policy, counted from 0.
    pub ordinal: i32,
    /// Whether the rule permits or forbids.
    pub effect: EffectName,
    /// The Cedar statement, as it was given.
    pub policy_text: String,
    /// How the rule restricts the principal.
    pub principal_scope_type: ScopeType,
    /// The type of entity of the principal's scope; null where there is none. For `is_in` the type after `is`.
    #[oai(nullable)]
    pub principal_entity_type: Option<String>,
    /// The id of the entity of the principal's scope; null where there is none. For `is_in` the whole entity after
    /// `in`, for instance `Scope::"users:read"`.
    #[oai(nullable)]
    pub principal_entity_id: Option<String>,
    /// How the rule restricts the action.
    pub action_scope_type: ActionScopeType,
    /// The actions, or groups of actions, of the action's scope: operation ids and names of scopes.
    pub action_ids: Vec<String>,
    /// How the rule restricts the resource.
    pub resource_scope_type: ScopeType,
    /// The type of entity of the resource's scope; null where there is none. For `is_in` the type after `is`.
    #[oai(nullable)]
    pub resource_entity_type: Option<String>,
    /// The id of the entity of the resource's scope; null where there is none. For `is_in` the whole entity after
    /// `in`.
    #[oai(nullable)]
    pub resource_entity_id: Option<String>,
    /// The `when` and `unless` clauses, as they are written; null where there are none.
    #[oai(nullable)]
    pub conditions: Option<String>,
    /// What a caller reads in `notices` when this rule determined the decision: the `notice` that was given with the
    /// rule, else its `@notice`; null where there is neither.
    #[oai(nullable)]
    pub notice: Option<String>,
    /// What may be wrong with the rule, though it is one and is in force as it stands: that it can never apply, that
    /// characters in it look like others, that it lets more principals than one change API keys, identity providers,
    /// policies or tenants, or that it trusts the name of a principal alone.
    pub warnings: Vec<RuleWarning>,
    /// When the rule was created.
    pub created_at: Timestamp,
}

/// What may be wrong with a rule.
#[derive(Debug, Object, Serialize)]
pub struct RuleWarning {
    /// What may be wrong.
    pub message: String,
    /// The line in `policy_text`, from 1; null where it is the rule as a whole.
    #[oai(nullable)]
    pub line: Option<usize>,
    /// The column in `policy_text`, from 1, in characters; null where it is the rule as a whole.
    #[oai(nullable)]
    pub column: Option<usize>,
}

impl From<policy::RuleWarning> for RuleWarning {
    fn from(warning: policy::RuleWarning) -> Self {
        let (line, column) = warning.position.unzip();
        Self {
            message: warning.message,
            line,
            column,
        }
    }
}

impl From<ScopeKind> for ScopeType {
    fn from(kind: ScopeKind) -> Self {
        match kind {
            ScopeKind::Any => Self::Any,
            ScopeKind::Eq => Self::Eq,
            ScopeKind::In => Self::In,
            ScopeKind::Is => Self::Is,
            ScopeKind::IsIn => Self::IsIn,
        }
    }
}

impl TryFrom<policy_rule::Model> for PolicyRule {
    type Error = Error;

    fn try_from(rule: policy_rule::Model) -> Result<Self, Error> {
        // It was checked when it was stored, so that the caller is not to blame where it cannot be read now.
        let outline = stored_outline(&rule)
            .map_err(|error| Error::internal(format!("the stored rule {} cannot be read: {error}", rule.id)))?;
        let Outline {
            forbids,
            principal,
            action,
            resource,
            notice,
            warnings,
        } = outline;
        let (action_scope_type, action_ids) = match action {
            ActionOutline::Any => (ActionScopeType::Any, Vec::new()),
            ActionOutline::Eq(action) => (ActionScopeType::Eq, vec![action]),
            ActionOutline::In(actions) => (ActionScopeType::In, actions),
        };
        Ok(Self {
            id: PolicyRuleId(rule.id),
            ordinal: rule.ordinal,
            effect: if forbids {
                EffectName::Forbid
            } else {
                EffectName::Permit
            },
            principal_scope_type: principal.kind.into(),
            principal_entity_type: principal.entity_type,
            principal_entity_id: principal.entity_id,
            action_scope_type,
            action_ids,
            resource_scope_type: resource.kind.into(),
            resource_entity_type: resource.entity_type,
            resource_entity_id: resource.entity_id,
            conditions: conditions(&rule.policy_text),
            warnings: warnings.into_iter().map(RuleWarning::from).collect(),
            notice: rule.notice.or(notice),
            created_at: Timestamp(rule.created_at),
            policy_text: rule.policy_text,
        })
    }
}
