//! The id of a request, which appears in the response header `X-Request-ID`, in the log, and in the decision log.

use std::fmt;

use poem::http::{HeaderMap, HeaderName, HeaderValue};

use super::clock;

/// The header that contains the id.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(String);

impl RequestId {
    /// The maximum length in bytes.
    pub const MAX: usize = 64;

    /// A new id.
    #[must_use]
    pub fn new() -> Self {
        Self(clock::new_id().to_string())
    }

    /// The id in the headers of a request, so that the request can be followed across programs; a new id if there is none or it
    /// is not valid.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let given = headers.get(REQUEST_ID).filter(|id| Self::is_valid(id.as_bytes()));
        let given = given.and_then(|id| id.to_str().ok());
        given.map_or_else(Self::new, |id| Self(id.to_owned()))
    }

    /// Whether this can be an id: it is not too long, and needs no escaping in a log, a header or a URL.
    #[must_use]
    pub fn is_valid(id: &[u8]) -> bool {
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte);
        (1..=Self::MAX).contains(&id.len()) && id.iter().all(plain)
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As the value of the header.
    #[must_use]
    pub fn to_header(&self) -> HeaderValue {
        HeaderValue::try_from(self.as_str()).unwrap_or(HeaderValue::from_static("unknown"))
    }
}

impl Default for RequestId {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
