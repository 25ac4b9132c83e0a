//! The state of a resource as a short text: another one whenever anything of it that can be seen is another. A change says
//! by it what it expects to find, so that two people cannot overwrite one another without noticing.

use std::fmt::Write as _;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// What a change expects to find: the revisions of which one must be there. None: it takes what there is.
pub type Expected = Option<Vec<String>>;

/// That a resource is not as a change expects it: somebody else has changed it.
#[derive(Debug)]
pub struct Changed;

/// Checks that a resource is as a change expects it.
///
/// # Errors
///
/// Where it is not.
pub fn check(expected: &Expected, found: &str) -> Result<(), Changed> {
    match expected {
        Some(revisions) if revisions.iter().all(|revision| revision != found) => Err(Changed),
        _ => Ok(()),
    }
}

/// Makes a revision of what a resource consists of.
#[derive(Default)]
pub struct Revision(Sha256);

impl Revision {
    /// With some bytes.
    #[must_use]
    pub fn and(mut self, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        self.0.update((bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
        self
    }

    /// With a text that there may be.
    #[must_use]
    pub fn and_text(self, text: Option<&str>) -> Self {
        self.and([u8::from(text.is_some())]).and(text.unwrap_or_default())
    }

    /// With a time that there may be.
    #[must_use]
    pub fn and_time(self, time: Option<i64>) -> Self {
        self.and([u8::from(time.is_some())])
            .and(time.unwrap_or_default().to_be_bytes())
    }

    /// With JSON. The databases do not agree about the order of members.
    #[must_use]
    pub fn and_json(self, json: &Value) -> Self {
        let mut json = json.clone();
        json.sort_all_objects();
        self.and(json.to_string())
    }

    /// The revision. 96 bits: nobody gains anything by making two states look alike.
    #[must_use]
    pub fn text(self) -> String {
        self.0.finalize().iter().take(12).fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}
