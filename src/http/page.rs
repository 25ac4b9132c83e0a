//! Lists, a page at a time.
//!
//! A list is in the order of ids, which is the order of creation, and a cursor is the id of the last row that was
//! seen: what is added or removed meanwhile moves nothing, and the hundredth page costs the database what the first
//! does. (Google's AIP-158 describes the wire; offsets have neither property.)
//!
//! A cursor is opaque to callers. It carries a digest of the list that it belongs to, so that one from another list,
//! another tenant or another filter is refused instead of giving a page of the wrong thing. That is no protection
//! and needs none: a cursor tells only from where its holder's own list goes on.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use poem_openapi::{
    Object,
    types::{ParseFromJSON, ToJSON, Type},
};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{
    error::{Error, InputLocation},
    params::{Cursor, Limit, OptionalQueryParam},
};
use crate::types::ids::TenantId;

/// Rows on a page where the caller does not say.
pub const DEFAULT_LIMIT: u32 = 50;
/// Rows on a page at most.
pub const MAX_LIMIT: u32 = 250;

const DIGEST_BYTES: usize = 8;
const ID_BYTES: usize = 16;

/// A page of a list.
#[derive(Object, Serialize)]
pub struct Page<T: Type + ParseFromJSON + ToJSON + Serialize + Send + Sync> {
    /// The rows, in the order of the list.
    pub data: Vec<T>,
    /// Where the next page begins: send it as `cursor`. Null on the last page.
    #[oai(nullable)]
    pub next_cursor: Option<String>,
    /// Whether there is a next page.
    pub has_more: bool,
}

/// Which list it is: what of it a cursor must not be used for another.
pub struct List {
    digest: [u8; DIGEST_BYTES],
}

impl List {
    /// The list of a name, in a tenant, with what else narrows it.
    #[must_use]
    pub fn new(name: &str, tenant: TenantId, narrowed_by: &str) -> Self {
        let hash: [u8; 32] = Sha256::new()
            .chain_update(tenant.0)
            .chain_update(name)
            .chain_update([0])
            .chain_update(narrowed_by)
            .finalize()
            .into();
        let mut digest = [0; DIGEST_BYTES];
        digest.copy_from_slice(&hash[..DIGEST_BYTES]);
        Self { digest }
    }

    /// What of the list is wanted.
    ///
    /// # Errors
    ///
    /// Where the cursor is not of this list.
    pub fn wanted<const DEFAULT: u32>(
        &self,
        limit: OptionalQueryParam<Limit<DEFAULT>>,
        cursor: OptionalQueryParam<Cursor>,
    ) -> Result<PageRequest, Error> {
        let after = match cursor.0 {
            None => None,
            Some(Cursor(text)) => Some(self.position(&text).ok_or_else(|| {
                Error::field(
                    InputLocation::Query,
                    "cursor",
                    "is not a next_cursor of this list; omit it to begin at the first page",
                )
            })?),
        };
        Ok(PageRequest {
            after,
            limit: limit.0.map_or(DEFAULT, |Limit(limit)| limit),
        })
    }

    fn position(&self, cursor: &str) -> Option<Uuid> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let (digest, id) = bytes.split_first_chunk::<DIGEST_BYTES>()?;
        (digest == &self.digest).then(|| Uuid::from_slice(id).ok()).flatten()
    }

    /// A page of rows, of which one more was read than is wanted, to see whether there are more.
    pub fn page<R, T>(
        &self,
        wanted: &PageRequest,
        mut rows: Vec<R>,
        id: fn(&R) -> Uuid,
        show: impl Fn(R) -> T,
    ) -> Page<T>
    where
        T: Type + ParseFromJSON + ToJSON + Serialize + Send + Sync,
    {
        let limit = usize::try_from(wanted.limit).unwrap_or(usize::MAX);
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        let last = rows.last().filter(|_| has_more).map(id);
        Page {
            data: rows.into_iter().map(show).collect(),
            next_cursor: last.map(|id| {
                let mut bytes = [0; DIGEST_BYTES + ID_BYTES];
                bytes[..DIGEST_BYTES].copy_from_slice(&self.digest);
                bytes[DIGEST_BYTES..].copy_from_slice(id.as_bytes());
                BASE64_URL_SAFE_NO_PAD.encode(bytes)
            }),
            has_more,
        }
    }
}

/// What of a list is wanted.
pub struct PageRequest {
    /// The id of the last row that was seen.
    pub after: Option<Uuid>,
    limit: u32,
}

impl PageRequest {
    /// How many rows to read: one more than wanted.
    #[must_use]
    pub const fn to_read(&self) -> u64 {
        self.limit as u64 + 1
    }
}
