//! A rule as it is stored: its text, and what was found out of it when it was checked. A mark tells that the two belong
//! together, so that nothing has to be found out again when the rule is read.

use cedar_policy::Policy;

use super::{
    checking::{check_rule, parse_text},
    mark::mark,
    text::RuleError,
};
use crate::{
    policy::{cost::Weight, outline::Outline},
    types::ids::{PolicyId, PolicyRuleId},
};

/// A rule as it is stored.
#[derive(Clone, Copy, Debug)]
pub struct StoredRule<'a> {
    /// The rule's id.
    pub id: PolicyRuleId,
    /// The policy that it belongs to.
    pub policy_id: PolicyId,
    /// Its text.
    pub text: &'a str,
    /// What the caller reads when it determines a decision; none where the text says so, or nothing is said.
    pub notice: Option<&'a str>,
    /// What the text says, as it is kept beside it: see [`Outline`].
    pub outline: &'a str,
    /// What it takes to keep and to evaluate it.
    pub weight: Weight,
    /// The mark that text, outline and weight were given when the rule was checked: see [`mark`].
    pub mark: &'a [u8],
}

impl StoredRule<'_> {
    /// Reads the statement, with its weight. Checking takes ten times as long as parsing, so a rule that carries the mark
    /// of its own text is not checked again.
    ///
    /// # Errors
    ///
    /// What is wrong with it: the schema has changed since it was stored, or somebody has changed the row by hand.
    pub fn statement(self) -> Result<(Policy, Weight), RuleError> {
        if self.is_marked() {
            Ok((parse_text(self.text)?, self.weight))
        } else {
            check_rule(self.text).map(|rule| (rule.statement, rule.weight))
        }
    }

    /// Whether it is as it was when it was checked. If not, the row was changed by hand, or written by a version of the
    /// program that checked rules against something else.
    fn is_marked(self) -> bool {
        self.mark == mark(self.text, self.outline, self.weight)
    }
}

/// What a stored rule says. Without its mark that is read from the text, without the warnings: a reader need not wait
/// until the text has been checked.
///
/// # Errors
///
/// Where the text is no rule.
pub fn stored_outline<'a>(rule: impl Into<StoredRule<'a>>) -> Result<Outline, RuleError> {
    let rule = rule.into();
    if rule.is_marked()
        && let Ok(outline) = serde_json::from_str(rule.outline)
    {
        return Ok(outline);
    }
    Ok(Outline::of(&parse_text(rule.text)?, rule.text, Vec::new()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_was_changed_by_hand_is_checked_again() {
        let text = "permit (principal is User, action, resource) when { principal has name };";
        let rule = check_rule(text).expect("a rule");
        let mark = rule.mark();
        let stored = StoredRule {
            id: PolicyRuleId::new(),
            policy_id: PolicyId::new(),
            text: &rule.text,
            notice: None,
            outline: &rule.outline,
            weight: rule.weight,
            mark: &mark,
        };
        assert_eq!(stored.statement().expect("it is as it was").1, rule.weight);

        let cheaper = StoredRule {
            weight: Weight { cost: 1, ..rule.weight },
            ..stored
        };
        assert_eq!(cheaper.statement().expect("it is a rule").1, rule.weight);
        let outline = rule.outline.replace("\"forbids\":false", "\"forbids\":true");
        let forbids = StoredRule {
            outline: &outline,
            ..stored
        };
        assert!(!stored_outline(forbids).expect("it is a rule").forbids);
        let text = rule.text.replace("has name", ".name == 7");
        let wrong = StoredRule { text: &text, ..stored };
        wrong.statement().expect_err("it does not go with the schema");
    }
}
