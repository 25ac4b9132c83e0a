//! Rules: checked before they are stored, read again, and arranged so that a decision looks only at those that can apply.

mod checking;
mod mark;
mod rule_set;
mod stored;
mod text;

use std::sync::Arc;

use cedar_policy::{Policy, PolicyId, ResourceConstraint};

pub use self::{
    checking::{CheckedRule, MAX_RULE_COST, check_piece, check_rule, parse_rule, parse_rules, parse_text},
    rule_set::{DuplicateRule, Level, RuleSet, Slice},
    stored::{StoredRule, stored_outline},
    text::{MAX_RULE_BYTES, RuleError, pieces},
};
pub(super) use text::position;

use super::{cost::Weight, statement::conditions};
use crate::types::ids;

/// A rule that is in force, and what is said of it when it determines a decision.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each says something else of the rule")]
pub struct Rule {
    /// The statement; its id is the rule's.
    pub statement: Arc<Policy>,
    /// The policy that it belongs to; built-in rules and those that are only tried belong to none.
    pub policy_id: Option<ids::PolicyId>,
    /// Whether it is part of the program.
    pub built_in: bool,
    /// What the caller reads.
    pub notice: Option<Arc<str>>,
    /// What it takes to keep and to evaluate it.
    pub weight: Weight,
    /// Whether the rule looks at attributes or groups of the resource, so that they must be read before a decision.
    pub(super) needs_resource: bool,
    /// Whether the rule looks at nothing but who acts.
    pub(super) only_principal: bool,
    /// Whether the rule, a built-in one, can apply only to API keys that are bound to a provider.
    pub(super) of_bound_keys: bool,
}

impl Rule {
    /// A rule of a tenant, as it is stored.
    ///
    /// # Errors
    ///
    /// Where it cannot be read: see [`StoredRule::statement`].
    pub fn of_tenant<'a>(stored: impl Into<StoredRule<'a>>) -> Result<Self, RuleError> {
        let stored = stored.into();
        let (statement, weight) = stored.statement()?;
        let rule = Self::new(&statement, weight, &stored.id.to_string(), Some(stored.policy_id));
        Ok(match stored.notice {
            Some(notice) => Self {
                notice: Some(Arc::from(notice)),
                ..rule
            },
            None => rule,
        })
    }

    /// Whether the rule is stored like this: its text, notice and policy are the same.
    #[must_use]
    pub fn is_stored_as(&self, stored: StoredRule<'_>) -> bool {
        let notice = stored.notice.or_else(|| self.statement.annotation("notice"));
        self.policy_id == Some(stored.policy_id)
            && self.notice.as_deref() == notice
            && self.statement.to_cedar().is_some_and(|text| text == stored.text)
    }

    /// A built-in rule: its id and notice are annotations.
    #[must_use]
    pub fn builtin(statement: &Policy) -> Self {
        Self {
            built_in: true,
            of_bound_keys: statement.annotation("only") == Some("bound keys"),
            ..Self::candidate(
                statement,
                Weight::of(statement),
                statement.annotation("id").unwrap_or_default(),
            )
        }
    }

    /// A rule that is tried and belongs to no policy yet.
    #[must_use]
    pub fn candidate(statement: &Policy, weight: Weight, id: &str) -> Self {
        Self::new(statement, weight, id, None)
    }

    fn new(statement: &Policy, weight: Weight, id: &str, policy_id: Option<ids::PolicyId>) -> Self {
        let text = statement.to_cedar().unwrap_or_else(|| statement.to_string());
        let conditions = conditions(&text).unwrap_or_default();
        let (on_resource, on_context) = (conditions.contains("resource"), conditions.contains("context"));
        let resource = statement.resource_constraint();
        let in_group = matches!(resource, ResourceConstraint::In(_) | ResourceConstraint::IsIn(..));
        Self {
            notice: statement.annotation("notice").map(Arc::from),
            weight,
            statement: Arc::new(statement.new_id(PolicyId::new(id))),
            policy_id,
            built_in: false,
            needs_resource: in_group || on_resource,
            only_principal: resource == ResourceConstraint::Any && !on_resource && !on_context,
            of_bound_keys: false,
        }
    }
}
