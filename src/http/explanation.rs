//! What rules had to do with a decision, as it is shown to those who may ask policy themselves.

use cedar_policy::Effect;
use poem_openapi::{Enum, Object};
use serde::{Deserialize, Serialize};

use crate::{policy::Explanation, types::ids::PolicyId};

/// What a rule does to what it applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Serialize, Deserialize)]
#[oai(rename = "Effect", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum EffectName {
    /// Permits it, unless a rule of the same level forbids it.
    Permit,
    /// Forbids it.
    Forbid,
}

impl From<Effect> for EffectName {
    fn from(effect: Effect) -> Self {
        match effect {
            Effect::Permit => Self::Permit,
            Effect::Forbid => Self::Forbid,
        }
    }
}

/// A clause of a rule that was not satisfied.
#[derive(Debug, Object, Serialize)]
pub struct UnsatisfiedClause {
    /// The clause, as Cedar writes it.
    pub clause: String,
    /// What it looked at, and what it saw there.
    pub values: Vec<SeenValue>,
}

/// A value that a clause saw.
#[derive(Debug, Object, Serialize)]
pub struct SeenValue {
    /// What was looked at, as in `context.external_email`.
    pub expression: String,
    /// What was seen, as Cedar writes it; `absent` where there was nothing, and `withheld` where the caller may not read
    /// it.
    pub value: String,
}

/// Why a rule did not permit a request, or forbade it.
#[derive(Debug, Object, Serialize)]
pub struct RuleExplanation {
    /// The rule: its id, or the name of a built-in rule.
    pub rule_id: String,
    /// The policy that it belongs to; null for a built-in rule.
    #[oai(nullable)]
    pub policy_id: Option<PolicyId>,
    /// Whether it permits or forbids.
    pub effect: EffectName,
    /// The rule, worded for a person.
    pub message: String,
    /// The clauses for which it did not apply; of a rule that forbids, and did apply, there are none.
    pub unsatisfied: Vec<UnsatisfiedClause>,
}

impl From<Explanation> for RuleExplanation {
    fn from(explanation: Explanation) -> Self {
        let message = explanation.message();
        let Explanation { rule, unsatisfied } = explanation;
        Self {
            rule_id: rule.statement.id().to_string(),
            policy_id: rule.policy_id,
            effect: rule.statement.effect().into(),
            message,
            unsatisfied: unsatisfied
                .into_iter()
                .map(|clause| UnsatisfiedClause {
                    clause: clause.text,
                    values: clause
                        .values
                        .into_iter()
                        .map(|(expression, value)| SeenValue { expression, value })
                        .collect(),
                })
                .collect(),
        }
    }
}
