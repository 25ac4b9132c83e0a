//! Which pages of other origins may call the API from a browser (CORS: Fetch Standard, "CORS protocol"). By default
//! none: an operator who needs this configures the origins.
//!
//! Credentials are headers here, not cookies. Therefore a response never allows credentials: to send a key, a page
//! must have been given one.

use std::str::FromStr;

use poem::{
    Response,
    http::{HeaderValue, header},
};
use url::Url;

/// Headers that a page may send in addition to those that are always allowed.
const REQUEST_HEADERS: HeaderValue = HeaderValue::from_static(
    "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, X-API-Key, X-Request-ID, X-Tenant-ID",
);
/// Headers that a page may read in addition to those that are always exposed.
const ANSWER_HEADERS: HeaderValue =
    HeaderValue::from_static("Allow, ETag, Idempotent-Replayed, Location, Retry-After, WWW-Authenticate, X-Request-ID");
/// For how many seconds a browser may cache the answer.
const REMEMBERED: HeaderValue = HeaderValue::from_static("3600");
const ANY: &str = "*";

/// An origin, `https://app.example.com`, or `*` for all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(HeaderValue);

impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let as_browsers_write_it = || {
            let url = Url::parse(text).ok()?;
            let origin = url.origin().ascii_serialization();
            (["http", "https"].contains(&url.scheme()) && origin == text).then_some(())
        };
        if text != ANY && as_browsers_write_it().is_none() {
            return Err(
                "must be `*` or an origin as browsers send it: https://app.example.com, with neither a path nor \
                        the scheme's own port"
                    .into(),
            );
        }
        HeaderValue::from_str(text).map(Self).map_err(|error| error.to_string())
    }
}

/// The origins whose pages may call the API.
#[derive(Clone, Debug, Default)]
pub struct CrossOrigin(Vec<Origin>);

impl CrossOrigin {
    /// Allows these origins.
    #[must_use]
    pub const fn new(origins: Vec<Origin>) -> Self {
        Self(origins)
    }

    /// Tells the browser whether a page of the origin may read the response and, in a response to `OPTIONS`, whether
    /// it may send the request.
    pub fn tell(&self, origin: Option<&HeaderValue>, response: &mut Response) {
        if self.0.is_empty() {
            return;
        }
        let headers = response.headers_mut();
        // A cache must not return the response for one origin to another.
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
        let Some(allowed) = self.0.iter().find(|Origin(one)| one == ANY || Some(one) == origin) else {
            return;
        };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed.0.clone());
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, ANSWER_HEADERS);
        if response.status() == poem::http::StatusCode::NO_CONTENT
            && let Some(methods) = response.headers().get(header::ALLOW).cloned()
        {
            let headers = response.headers_mut();
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS);
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, REMEMBERED);
        }
    }
}
