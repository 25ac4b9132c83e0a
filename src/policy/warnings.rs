//! What may be wrong with a rule, though it is one. Cedar warns of rules that can never apply, or that read otherwise than
//! they are written; we, of rules that reach further than their author may have meant ([`super::powers`]).

use cedar_policy::{Policy, ValidationResult};
use serde::{Deserialize, Serialize};

use super::{powers, rules::position};

/// What may be wrong with a rule, though it is one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleWarning {
    /// What, in Cedar's words where it is Cedar that warns.
    pub message: String,
    /// Where: line and column from 1, in characters. None where it is the rule as a whole.
    pub position: Option<(usize, usize)>,
}

/// What may be wrong with a rule that was parsed from a text.
#[must_use]
pub(super) fn warnings(rule: &Policy, result: &ValidationResult, text: &str) -> Vec<RuleWarning> {
    let warnings = result.validation_warnings().map(|warning| {
        let diagnostic: &dyn miette::Diagnostic = warning;
        let offset = diagnostic
            .labels()
            .and_then(|mut labels| labels.next())
            .map(|label| label.offset());
        let message = warning.to_string();
        RuleWarning {
            // Cedar names the statement by a number that the author has never seen.
            message: match message.split_once("`, ") {
                Some((named, message)) if named.starts_with("for policy `") => message.to_owned(),
                _ => message,
            },
            position: offset.map(|offset| position(text, offset)),
        }
    });
    let of_whole = powers::warnings(rule, text).map(|message| RuleWarning {
        message,
        position: None,
    });
    warnings.chain(of_whole).collect()
}
