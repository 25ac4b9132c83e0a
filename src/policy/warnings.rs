//! What Cedar warns of in a rule that it takes: that it can never apply, or that it reads otherwise than it is written.

use cedar_policy::ValidationResult;
use serde::{Deserialize, Serialize};

use super::rules::position;

/// What may be wrong with a rule, though it is one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleWarning {
    /// What, in Cedar's words.
    pub message: String,
    /// Where: line and column from 1, in characters.
    pub position: Option<(usize, usize)>,
}

/// What Cedar warned of when it checked a rule that was parsed from a text.
#[must_use]
pub(super) fn warnings(result: &ValidationResult, text: &str) -> Vec<RuleWarning> {
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
    warnings.collect()
}
