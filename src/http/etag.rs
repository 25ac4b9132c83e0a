//! The state of a resource as an `ETag`, and `If-Match`, by which a change says what it expects to find
//! (RFC 9110 §8.8.3 and §13.1.1): two administrators cannot overwrite one another without noticing. With `If-None-Match` a
//! reader says what they have already, and is not sent it again.

use poem::{
    Request, Response,
    http::{
        HeaderValue, StatusCode,
        header::{CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH},
    },
};
use serde::Serialize;

use super::error::{Error, InputLocation};
use crate::store::revision::{Expectation, Revision, TagKey};

/// A state as the value of `ETag`: a strong one. [`protect`] makes it one that can leave the server.
#[must_use]
pub fn etag(revision: &str) -> String {
    format!("\"{revision}\"")
}

/// The state of what an answer shows, where that is more than one row.
#[must_use]
pub fn of_representation(shown: &impl Serialize) -> String {
    let shown = serde_json::to_value(shown).unwrap_or_default();
    etag(&Revision::default().and_json(&shown).text())
}

/// Puts the tag of a state, which tells nothing about it, in its place.
pub fn protect(key: &TagKey, response: &mut Response) {
    let headers = response.headers_mut();
    let revision = headers.get(ETAG).and_then(|value| value.to_str().ok());
    let revision = revision.map(|value| value.trim_matches('"'));
    // The tag has digits only, and so always fits into a header.
    if let Some(tag) = revision.and_then(|revision| HeaderValue::try_from(etag(&key.tag(revision))).ok()) {
        headers.insert(ETAG, tag);
    }
}

/// What a reader has already: the `If-None-Match` of a request that changes nothing.
#[must_use]
pub fn known(request: &Request) -> Option<String> {
    let mut values = request.headers().get_all(IF_NONE_MATCH).iter().peekable();
    if values.peek().is_none() || !request.method().is_safe() {
        return None;
    }
    let values: Vec<&str> = values.filter_map(|value| value.to_str().ok()).collect();
    Some(values.join(","))
}

/// Leaves the body of an answer out where the reader has it (RFC 9110 §13.1.2). Tags are compared weakly there.
pub fn leave_out(known: &str, response: &mut Response) {
    let found = response.headers().get(ETAG).and_then(|tag| tag.to_str().ok());
    let is_known = found.is_some_and(|found| {
        known.trim() == "*" || known.split(',').any(|one| one.trim().trim_start_matches("W/") == found)
    });
    if is_known && response.status() == StatusCode::OK {
        response.set_status(StatusCode::NOT_MODIFIED);
        response.headers_mut().remove(CONTENT_TYPE);
        response.set_body(());
    }
}

/// What it may be: `*`, or entity tags with commas between them. A comma inside a tag would be one between two, and aka
/// makes no such tags.
pub const TAGS: &str = r#"^(\*|(W/)?"[!#-+\--~]*"( *, *(W/)?"[!#-+\--~]*")*)$"#;

/// What a request expects to find, by its `If-Match`. `*` expects anything.
///
/// # Errors
///
/// Where the header is no list of entity tags. A weak one (`W/`) is, and never matches.
pub fn expected(request: &Request, key: &TagKey) -> Result<Option<Expectation>, Error> {
    let wrong = |reason: &str| Error::field(InputLocation::Header, "If-Match", reason);
    let mut values = Vec::new();
    for value in request.headers().get_all(IF_MATCH) {
        let text = value
            .to_str()
            .map_err(|_| wrong("has characters other than visible ASCII"))?;
        values.push(text);
    }
    let text = values.join(",");
    if values.is_empty() || text.trim() == "*" {
        return Ok(None);
    }
    let tag = |tag: &str| {
        let quoted = tag.strip_prefix("W/").unwrap_or(tag);
        let inner = quoted.strip_prefix('"')?.strip_suffix('"')?;
        // A weak tag is kept in a form that no state has.
        Some(if tag.starts_with("W/") {
            String::new()
        } else {
            inner.to_owned()
        })
    };
    let tags: Option<Vec<String>> = text.split(',').map(|one| tag(one.trim())).collect();
    let tags = tags.ok_or_else(|| wrong("must be an ETag as it was sent, with its quotation marks, or *"))?;
    Ok(Some(Expectation::new(key.clone(), tags)))
}
