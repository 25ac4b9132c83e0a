//! `Idempotency-Key` on the wire: what it looks like, which requests are the same, and how an answer is written down to be
//! given again. What it means is in [`crate::http::kept_answers`].

use std::sync::{Arc, OnceLock};

use futures_util::FutureExt as _;
use poem::{
    IntoResponse, Request, Response,
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
};
use poem_openapi::{
    ApiResponse,
    registry::{MetaResponses, Registry},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{
    error::{Error, InputLocation},
    kept_answers::Hash,
};

/// The header.
pub const IDEMPOTENCY_KEY: &str = "Idempotency-Key";
/// Tells in an answer that it was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// The length of a key at most, in characters.
const MAX_KEY: usize = 255;
/// The headers that are part of an answer. The others belong to the request that it answers.
const KEPT_HEADERS: [HeaderName; 3] = [header::CONTENT_TYPE, header::LOCATION, header::ETAG];

/// What is found out of a request with a key while it is read.
#[derive(Clone, Default)]
pub struct Reading {
    body: Arc<OnceLock<Hash>>,
}

impl Reading {
    /// Puts a place for it into a request that has a key and may be carried out only once.
    pub fn prepare(request: &mut Request) {
        if Self::concerns(request) {
            request.extensions_mut().insert(Self::default());
        }
    }

    fn concerns(request: &Request) -> bool {
        [Method::POST, Method::PATCH].contains(request.method()) && request.headers().contains_key(IDEMPOTENCY_KEY)
    }

    /// Takes down what the body says: the same for two that differ in spaces and in the order of members.
    pub fn body(request: &Request, bytes: &[u8]) {
        let Some(reading) = request.data::<Self>() else { return };
        let mut says: Value = serde_json::from_slice(bytes).unwrap_or_default();
        says.sort_all_objects();
        let _ = reading.body.set(Sha256::digest(says.to_string()).into());
    }
}

/// The key of a request, and what tells the request from others.
pub struct IdempotencyKey<'a> {
    /// The key.
    pub key: &'a str,
    request: &'a Request,
}

impl<'a> IdempotencyKey<'a> {
    /// The key of a request that may be carried out only once, where it has one.
    ///
    /// # Errors
    ///
    /// Where it is there and is no key.
    pub fn of(request: &'a Request) -> Result<Option<Self>, Error> {
        if !Reading::concerns(request) {
            return Ok(None);
        }
        let wrong = |reason: String| Error::field(InputLocation::Header, IDEMPOTENCY_KEY, reason);
        let mut values = request.headers().get_all(IDEMPOTENCY_KEY).iter();
        let key = values.next().and_then(|value| value.to_str().ok()).unwrap_or_default();
        if values.next().is_some() {
            return Err(wrong("appears more than once".into()));
        }
        // The draft has the key in quotation marks (RFC 9651 §3.3.3), most of the field does without.
        let key = key
            .strip_prefix('"')
            .and_then(|key| key.strip_suffix('"'))
            .unwrap_or(key);
        if !(1..=MAX_KEY).contains(&key.len()) || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            let reason =
                format!("must have from 1 to {MAX_KEY} visible ASCII characters, such as those of a random UUID");
            return Err(wrong(reason));
        }
        Ok(Some(Self { key, request }))
    }

    /// Method, path and body in short.
    #[must_use]
    pub fn fingerprint(&self) -> Hash {
        let mut digest = Sha256::new();
        digest.update(self.request.method().as_str());
        digest.update([0]);
        digest.update(self.request.uri().path());
        digest.update([0]);
        let body = self.request.data::<Reading>().and_then(|reading| reading.body.get());
        digest.update(body.map_or(&[][..], |hash| hash));
        digest.finalize().into()
    }
}

/// The answer to a request that, with an `Idempotency-Key`, is carried out once.
pub enum Replayable<A> {
    /// It was carried out now.
    Now(A),
    /// It was carried out before, and the answer was made again.
    Again(A),
    /// The answer as it was written down, now or before.
    Kept(Response),
}

impl<A> Replayable<A> {
    /// The answer to a change that was made now or before.
    #[must_use]
    pub const fn new(answer: A, was_before: bool) -> Self {
        if was_before {
            Self::Again(answer)
        } else {
            Self::Now(answer)
        }
    }

    /// An answer that was written down.
    ///
    /// # Errors
    ///
    /// Where it cannot be read.
    pub fn kept(bytes: &[u8], was_before: bool) -> Result<Self, Error> {
        let unreadable = |reason: String| Error::internal(reason);
        let (head, body) = bytes
            .iter()
            .position(|byte| *byte == b'\n')
            .and_then(|at| Some((bytes.get(..at)?, bytes.get(at + 1..)?)))
            .ok_or_else(|| unreadable("a kept answer has no head".into()))?;
        let head: Head = serde_json::from_slice(head).map_err(|error| unreadable(error.to_string()))?;
        let status = StatusCode::from_u16(head.status).map_err(|error| unreadable(error.to_string()))?;
        let mut response = Response::builder().status(status).body(body.to_vec());
        for (name, value) in head.headers {
            let name = HeaderName::try_from(name).map_err(|error| unreadable(error.to_string()))?;
            let value = HeaderValue::try_from(value).map_err(|error| unreadable(error.to_string()))?;
            response.headers_mut().insert(name, value);
        }
        Ok(Self::Kept(if was_before { replayed(response) } else { response }))
    }
}

/// Says that an answer was given before.
fn replayed(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert(REPLAYED, HeaderValue::from_static("true"));
    response
}

/// What an answer is beside its body: a line of JSON before it.
#[derive(Serialize, Deserialize)]
struct Head {
    status: u16,
    headers: Vec<(String, String)>,
}

/// Writes an answer down.
///
/// # Errors
///
/// Where it is not one that can be.
pub fn write_down(answer: impl IntoResponse) -> Result<Vec<u8>, Error> {
    let unwritable = |reason: String| Error::internal(reason);
    let response = answer.into_response();
    let headers = KEPT_HEADERS.iter().filter_map(|name| {
        let value = response.headers().get(name)?.to_str().ok()?;
        Some((name.to_string(), value.to_owned()))
    });
    let head = Head {
        status: response.status().as_u16(),
        headers: headers.collect(),
    };
    let mut written = serde_json::to_vec(&head).map_err(|error| unwritable(error.to_string()))?;
    written.push(b'\n');
    // It is all there: answers are made in memory.
    let body = response.into_body().into_vec().now_or_never();
    let body = body.ok_or_else(|| unwritable("an answer is not there at once".into()))?;
    written.extend(body.map_err(|error| unwritable(error.to_string()))?);
    Ok(written)
}

impl<A: IntoResponse> IntoResponse for Replayable<A> {
    fn into_response(self) -> Response {
        match self {
            Self::Now(answer) => answer.into_response(),
            Self::Again(answer) => replayed(answer.into_response()),
            Self::Kept(response) => response,
        }
    }
}

/// The table of operations says in the document that it may be a kept one.
impl<A: ApiResponse> ApiResponse for Replayable<A> {
    fn meta() -> MetaResponses {
        A::meta()
    }

    fn register(registry: &mut Registry) {
        A::register(registry);
    }
}
