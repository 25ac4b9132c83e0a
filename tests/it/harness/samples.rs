//! API keys that are taken apart and reassembled, so that the server gets keys that it never created.

use uuid::Uuid;

const PREFIX: &str = "aka_";
/// Two ids of 16 bytes and a secret of 32; the checksum follows.
const CONTENT_BYTES: usize = 64;

/// The id in a key.
pub fn key_id(key: &str) -> Uuid {
    Uuid::from_slice(&decoded(key)[16..32]).expect("16 bytes are an id")
}

/// The key with its secret changed, and the checksum of the changed one.
pub fn with_other_secret(key: &str) -> String {
    changed(key, |content| content[CONTENT_BYTES - 1] ^= 1)
}

/// The key with another key's id, and the checksum of the changed one.
pub fn with_other_id(key: &str) -> String {
    changed(key, |content| {
        content[16..32].copy_from_slice(Uuid::now_v7().as_bytes());
    })
}

/// The key with another tenant's id, and the checksum of the changed one.
pub fn with_tenant(key: &str, tenant: Uuid) -> String {
    changed(key, |content| content[..16].copy_from_slice(tenant.as_bytes()))
}

/// The key with its secret changed, but the checksum of the original.
pub fn with_wrong_checksum(key: &str) -> String {
    let mut bytes = decoded(key);
    bytes[CONTENT_BYTES - 1] ^= 1;
    encoded(&bytes)
}

fn changed(key: &str, change: impl FnOnce(&mut [u8])) -> String {
    let mut content = decoded(key)[..CONTENT_BYTES].to_vec();
    change(&mut content);
    let checksum = crc32fast::hash(&content).to_be_bytes();
    content.extend(checksum);
    encoded(&content)
}

fn decoded(key: &str) -> Vec<u8> {
    let encoded = key.strip_prefix(PREFIX).expect("a key begins with its prefix");
    bs58::decode(encoded).into_vec().expect("a key is base 58")
}

fn encoded(bytes: &[u8]) -> String {
    format!("{PREFIX}{}", bs58::encode(bytes).into_string())
}
