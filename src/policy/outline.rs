//! What the text of a rule says, part by part, as it is kept beside the text.
//!
//! Reading a rule's parts from its text takes Cedar tens of microseconds, and its warnings a hundred times that. A policy
//! with a thousand rules is shown in one answer, so both are found out once, when the rule is stored.

use cedar_policy::{Effect, Policy};
use serde::{Deserialize, Serialize};

use super::{
    statement::{ActionScope, Scope, Statement},
    warnings::RuleWarning,
};

/// What the text of a rule says, beside its conditions: those are a part of the text as they stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outline {
    /// Whether it forbids. If not, it permits.
    pub forbids: bool,
    /// Who it is about.
    pub principal: ScopeOutline,
    /// What it is about.
    pub action: ActionOutline,
    /// On what.
    pub resource: ScopeOutline,
    /// Its `@notice`.
    pub notice: Option<String>,
    /// What Cedar warns of.
    pub warnings: Vec<RuleWarning>,
}

/// A constraint on the principal or the resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScopeOutline {
    /// How it narrows down what it is about.
    pub kind: ScopeKind,
    /// The type of the entity.
    pub entity_type: Option<String>,
    /// The id of the entity; where there is a type beside it (`is ... in`), the whole entity.
    pub entity_id: Option<String>,
}

/// How a constraint narrows down the principal or the resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "they are called as Cedar calls them")]
pub enum ScopeKind {
    Any,
    Eq,
    In,
    Is,
    IsIn,
}

/// A constraint on the action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "ids")]
pub enum ActionOutline {
    /// None.
    Any,
    /// It is this one.
    Eq(String),
    /// It is one of these, or a member of one.
    In(Vec<String>),
}

impl Outline {
    /// What a rule says that was parsed from a text.
    #[must_use]
    pub fn of(rule: &Policy, text: &str, warnings: Vec<RuleWarning>) -> Self {
        let statement = Statement::of(rule, text);
        Self {
            forbids: statement.effect == Effect::Forbid,
            principal: statement.principal.into(),
            action: match statement.action {
                ActionScope::Any => ActionOutline::Any,
                ActionScope::Eq(id) => ActionOutline::Eq(id),
                ActionScope::In(ids) => ActionOutline::In(ids),
            },
            resource: statement.resource.into(),
            notice: rule.annotation("notice").map(str::to_owned),
            warnings,
        }
    }

    /// As it is kept.
    #[must_use]
    pub fn to_text(&self) -> String {
        // Texts and lists of them cannot fail to be written.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl From<Scope> for ScopeOutline {
    fn from(scope: Scope) -> Self {
        let (kind, entity_type, entity_id) = match scope {
            Scope::Any => (ScopeKind::Any, None, None),
            Scope::Eq(entity) => (
                ScopeKind::Eq,
                Some(entity.type_name().to_string()),
                Some(entity.id().unescaped().to_owned()),
            ),
            Scope::In(entity) => (
                ScopeKind::In,
                Some(entity.type_name().to_string()),
                Some(entity.id().unescaped().to_owned()),
            ),
            Scope::Is(of_type) => (ScopeKind::Is, Some(of_type.to_string()), None),
            Scope::IsIn(of_type, entity) => (ScopeKind::IsIn, Some(of_type.to_string()), Some(entity.to_string())),
        };
        Self {
            kind,
            entity_type,
            entity_id,
        }
    }
}
