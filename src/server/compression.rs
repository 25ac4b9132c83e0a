//! Answers in fewer bytes, for clients that take gzip (RFC 9110 §8.4.1.3).
//!
//! * Pages and documents do not change while the server runs: each is packed once ([`StaticPage`]).
//! * Of the other answers only those to readers, and only those without an `ETag`: the tag names the bytes of an answer
//!   (RFC 9110 §8.8.3.3), and one that was weakened because of its coding could not be sent back as `If-Match`. What has a
//!   tag is small. What holds a key is never packed: its length would say something about it.

use std::{io::Write as _, sync::OnceLock};

use flate2::{Compression, write::GzEncoder};
use poem::{
    Body, Request, Response,
    http::{
        HeaderValue, Method, StatusCode,
        header::{ACCEPT_ENCODING, CONTENT_ENCODING, ETAG, VARY},
    },
};

use super::accept;

/// Bytes from which packing is worth it: less goes into one packet anyway.
const WORTH_IT: usize = 1024;
/// Bytes from which packing takes so long that other requests must not wait for it.
const LONG: usize = 64 * 1024;

/// Something that stays as it is.
pub struct StaticPage {
    plain: String,
    packed: OnceLock<Option<Vec<u8>>>,
}

impl From<String> for StaticPage {
    fn from(plain: String) -> Self {
        Self {
            plain,
            packed: OnceLock::new(),
        }
    }
}

impl StaticPage {
    /// As it is.
    #[must_use]
    pub fn plain(&self) -> &str {
        &self.plain
    }

    /// As the answer to a request.
    #[must_use]
    pub fn answer(&'static self, request: &Request, content_type: &'static str) -> Response {
        let response = Response::builder().content_type(content_type);
        let packed = || {
            let packed = self
                .packed
                .get_or_init(|| tokio::task::block_in_place(|| pack(self.plain.as_bytes(), Compression::default())));
            packed.as_deref()
        };
        let mut response = match takes_gzip(request).then(packed).flatten() {
            Some(packed) => response.header(CONTENT_ENCODING, GZIP).body(packed),
            None => response.body(self.plain.as_str()),
        };
        varies(&mut response);
        response
    }
}

const GZIP: HeaderValue = HeaderValue::from_static("gzip");

/// Whether the answer to a request may be packed.
#[must_use]
pub fn may_pack(request: &Request) -> bool {
    request.method() == Method::GET && takes_gzip(request)
}

/// Whether a client takes gzip (RFC 9110 §12.5.3): it says so, by name or by `*`, and not with the weight 0. The name goes
/// before the star.
fn takes_gzip(request: &Request) -> bool {
    let mut by_star = false;
    for (name, weight) in accept::weights(request.headers(), ACCEPT_ENCODING) {
        let taken = weight > 0.0;
        match name.as_str() {
            "gzip" | "x-gzip" => return taken,
            "*" => by_star = taken,
            _ => {}
        }
    }
    by_star
}

/// Packs an answer where that is worth it.
pub async fn packed(mut response: Response) -> Response {
    let fits = response.status() == StatusCode::OK
        && !response.headers().contains_key(ETAG)
        && !response.headers().contains_key(CONTENT_ENCODING);
    if !fits {
        return response;
    }
    let Ok(plain) = response.take_body().into_bytes().await else {
        return response;
    };
    let packed = match plain.len() {
        0..WORTH_IT => None,
        WORTH_IT..LONG => pack(&plain, Compression::fast()),
        _ => tokio::task::block_in_place(|| pack(&plain, Compression::fast())),
    };
    match packed {
        Some(packed) => {
            response.headers_mut().insert(CONTENT_ENCODING, GZIP);
            response.set_body(packed);
            varies(&mut response);
        }
        None => response.set_body(Body::from(plain)),
    }
    response
}

/// Tells caches that the next client may get other bytes.
fn varies(response: &mut Response) {
    response
        .headers_mut()
        .append(VARY, HeaderValue::from_static("Accept-Encoding"));
}

fn pack(plain: &[u8], how: Compression) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 4), how);
    // Writing to memory does not fail; if it did, the answer would go as it is.
    encoder.write_all(plain).ok()?;
    encoder.finish().ok()
}
