//! The mark by which a stored rule is known to be as it was checked.

use std::sync::LazyLock;

use sha2::{Digest as _, Sha256};

use crate::policy::{cost::Weight, schema::SCHEMA_TEXT};

/// What is found out of a rule when it is stored. Raised when the program finds out something else of the same text.
const FINDINGS_VERSION: u8 = 1;

/// The mark of a row whose text was checked: a hash of the text, of what was found out of it, and of what it was checked
/// against.
#[must_use]
pub fn mark(text: &str, outline: &str, weight: Weight) -> [u8; 32] {
    static SCHEMA: LazyLock<Sha256> =
        LazyLock::new(|| Sha256::new_with_prefix([FINDINGS_VERSION]).chain_update(SCHEMA_TEXT));
    SCHEMA
        .clone()
        .chain_update(text)
        .chain_update([0])
        .chain_update(outline)
        .chain_update(weight.nodes.to_be_bytes())
        .chain_update(weight.cost.to_be_bytes())
        .finalize()
        .into()
}
