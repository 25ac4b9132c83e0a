//! Sealing what must not be readable in a copy of the database: AES-256-GCM under a key that is derived from the root key
//! for the tenant.
//!
//! What is sealed belongs to one row: the tenant and the id of the row are authenticated with it, so that whoever can write
//! to the database cannot open the secrets of one row by moving them to another.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    error::Unspecified,
};
use uuid::Uuid;

use super::root_key::RootKey;
use crate::types::ids::TenantId;

/// The first byte of what is sealed: how it is sealed, so that there can be another way later.
const VERSION: u8 = 1;

/// A row, and what of it is sealed.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// What it is, in the derivation of the key.
    pub purpose: &'static str,
    /// The tenant of the row.
    pub tenant: TenantId,
    /// The id of the row.
    pub row: Uuid,
}

impl Place {
    fn key(&self, root_key: &RootKey) -> Result<RandomizedNonceKey, Unspecified> {
        RandomizedNonceKey::new(&AES_256_GCM, &root_key.derive(self.purpose, Some(self.tenant)))
    }

    fn aad(&self) -> Aad<[u8; 32]> {
        let mut aad = [0; 32];
        let (tenant, row) = aad.split_at_mut(16);
        tenant.copy_from_slice(self.tenant.0.as_bytes());
        row.copy_from_slice(self.row.as_bytes());
        Aad::from(aad)
    }

    /// Seals a text for this place.
    ///
    /// # Errors
    ///
    /// Where the operating system gives no randomness.
    pub fn seal(&self, root_key: &RootKey, text: &[u8]) -> Result<Vec<u8>, Unspecified> {
        let mut sealed = text.to_vec();
        let nonce = self.key(root_key)?.seal_in_place_append_tag(self.aad(), &mut sealed)?;
        sealed.insert(0, VERSION);
        sealed.extend_from_slice(nonce.as_ref());
        Ok(sealed)
    }

    /// Opens what was sealed for this place.
    ///
    /// # Errors
    ///
    /// Where it was not sealed for this place, or under another root key.
    pub fn open(&self, root_key: &RootKey, sealed: &[u8]) -> Result<Vec<u8>, Unspecified> {
        let sealed = sealed.strip_prefix(&[VERSION]).ok_or(Unspecified)?;
        let (text, nonce) = sealed.split_last_chunk::<NONCE_LEN>().ok_or(Unspecified)?;
        let mut text = text.to_vec();
        let length = self
            .key(root_key)?
            .open_in_place(Nonce::from(nonce), self.aad(), &mut text)?
            .len();
        text.truncate(length);
        Ok(text)
    }
}
