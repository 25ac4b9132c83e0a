//! The state of a resource as a short text: another one whenever anything of it that can be seen is another. A change says
//! by it what it expects to find, so that two people cannot overwrite one another without noticing.
//!
//! A revision is a plain hash, of secrets too, and whoever has it could guess them without asking the server. So it does not
//! leave the server: what does is its tag, for which one needs a key that only the servers have ([`TagKey`]).

use std::{
    fmt::{self, Write as _},
    sync::Arc,
};

use aws_lc_rs::hmac;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::root_key::RootKey;

/// The bytes of a tag: enough that none can be found by trying.
const TAG_BYTES: usize = 16;

/// Makes tags of revisions: the same ones on every server with the same root key, and none that can be made without it.
#[derive(Clone)]
pub struct TagKey(Arc<hmac::Key>);

impl TagKey {
    /// The key for tags.
    #[must_use]
    pub fn new(root_key: &RootKey) -> Self {
        let key = root_key.derive("entity tags", None);
        Self(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &key)))
    }

    /// The tag of a revision.
    #[must_use]
    pub fn tag(&self, revision: &str) -> String {
        let tag = hmac::sign(&self.0, revision.as_bytes());
        hexadecimal(tag.as_ref().iter().take(TAG_BYTES))
    }
}

impl fmt::Debug for TagKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What a change expects to find: a state with one of these tags.
#[derive(Clone, Debug)]
pub struct Expectation {
    key: TagKey,
    tags: Vec<String>,
}

impl Expectation {
    /// Expects a state with one of these tags, as they were sent to the caller.
    #[must_use]
    pub const fn new(key: TagKey, tags: Vec<String>) -> Self {
        Self { key, tags }
    }

    /// Whether a state is an expected one.
    #[must_use]
    pub fn is_met_by(&self, revision: &str) -> bool {
        self.tags.contains(&self.key.tag(revision))
    }
}

/// That a resource is not as a change expects it: somebody else has changed it.
#[derive(Debug)]
pub struct RevisionMismatch;

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
        hexadecimal(self.0.finalize().iter().take(12))
    }
}

fn hexadecimal<'a>(bytes: impl Iterator<Item = &'a u8>) -> String {
    bytes.fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
