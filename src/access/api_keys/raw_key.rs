//! The form of an API key.
//!
//! A key is `aka_` and, in base 58, the tenant's id (16 bytes), the key's id (16 bytes), a secret (32 bytes) and the
//! CRC-32 of those (4 bytes).
//!
//! * The prefix lets scanners find keys that leaked; the checksum lets them, and this server, dismiss what only looks
//!   like one, without asking a database.
//! * The ids make a key find its own row by primary key, in its tenant: there is no index over all tenants.
//! * The secret has 256 bits from the operating system, so that SHA-256 is all the hash it needs: slow hashes are for
//!   what people think up.

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::types::{
    clock,
    ids::{ApiKeyId, TenantId},
};

pub(crate) const PREFIX: &str = "aka_";
const ID_BYTES: usize = 16;
const SECRET_BYTES: usize = 32;
const CHECKSUM_BYTES: usize = 4;
const KEY_BYTES: usize = 2 * ID_BYTES + SECRET_BYTES + CHECKSUM_BYTES;
/// A header longer than any key is not even decoded: decoding takes time that grows with the square of the length.
const MAX_KEY_CHARS: usize = 128;

/// A key as its holder knows it. Printed as `***`.
#[derive(Clone)]
pub struct RawKey(String);

impl RawKey {
    /// A new key with these ids in it.
    ///
    /// # Errors
    ///
    /// Where the system gives no random bytes.
    pub fn new(tenant: TenantId, id: ApiKeyId) -> Result<Self, getrandom::Error> {
        let mut bytes = [0; KEY_BYTES];
        bytes[..ID_BYTES].copy_from_slice(tenant.0.as_bytes());
        bytes[ID_BYTES..2 * ID_BYTES].copy_from_slice(id.0.as_bytes());
        bytes[2 * ID_BYTES..][..SECRET_BYTES].copy_from_slice(&clock::random_bytes::<SECRET_BYTES>()?);
        let (content, checksum) = bytes.split_at_mut(KEY_BYTES - CHECKSUM_BYTES);
        checksum.copy_from_slice(&crc32fast::hash(content).to_be_bytes());
        Ok(Self(format!("{PREFIX}{}", bs58::encode(bytes).into_string())))
    }

    /// For the one answer that shows it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is stored of a key.
    #[must_use]
    pub fn hash(raw: &str) -> [u8; 32] {
        Sha256::digest(raw.as_bytes()).into()
    }

    /// The ids in a key, where it is one.
    #[must_use]
    pub fn ids(raw: &str) -> Option<(TenantId, ApiKeyId)> {
        let encoded = raw
            .strip_prefix(PREFIX)
            .filter(|encoded| encoded.len() <= MAX_KEY_CHARS)?;
        let bytes: [u8; KEY_BYTES] = bs58::decode(encoded).into_vec().ok()?.try_into().ok()?;
        let (content, checksum) = bytes.split_at(KEY_BYTES - CHECKSUM_BYTES);
        if crc32fast::hash(content).to_be_bytes() != checksum {
            return None;
        }
        let id = |at: usize| Uuid::from_slice(content.get(at..at + ID_BYTES)?).ok();
        Some((TenantId(id(0)?), ApiKeyId(id(ID_BYTES)?)))
    }
}

impl std::fmt::Debug for RawKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RawKey(***)")
    }
}
