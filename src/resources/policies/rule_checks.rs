//! Checking the texts of rules, piece by piece in the pool for expensive work.

use std::sync::Arc;

use crate::{
    access::workers::Job,
    policy::rules::{CheckedRule, RuleError, check_piece, pieces},
    store::StoreError,
};

/// Why rules were not checked, or are none.
#[derive(Debug)]
pub enum RuleRefusal {
    /// The text is not one of rules.
    Invalid(RuleError),
    /// There was no checking it.
    Store(StoreError),
}

impl From<StoreError> for RuleRefusal {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<RuleError> for RuleRefusal {
    fn from(error: RuleError) -> Self {
        Self::Invalid(error)
    }
}

/// Checks any number of statements.
///
/// # Errors
///
/// [`RuleRefusal`], of the first statement that is wrong.
pub async fn check_set(job: &Job, text: String) -> Result<Vec<CheckedRule>, RuleRefusal> {
    let text: Arc<str> = text.into();
    let all = Arc::clone(&text);
    let pieces = job.run(move || pieces(&all)).await??;
    let mut rules = Vec::new();
    for piece in pieces {
        let text = Arc::clone(&text);
        rules.extend(job.run(move || check_piece(&text, piece)).await??);
    }
    Ok(rules)
}
