//! Compression of responses, for clients that accept gzip (RFC 9110 §8.4.1.3).
//!
//! * Pages and documents do not change while the server runs, so each is compressed once ([`StaticPage`]).
//! * Other responses are compressed only if they answer a `GET` and have no `ETag`: the tag identifies the bytes of a response
//!   (RFC 9110 §8.8.3.3), and a tag weakened because of compression could not be sent as `If-Match`. Responses with a tag are
//!   small. A response with a key is never compressed, because its length would reveal something about the key.
//! * They are compressed while they are sent, each part as soon as it is available ([`packed`]): nothing waits for the end of a
//!   response, which a stream may not have.

use std::{
    io::{self, Write as _},
    sync::OnceLock,
};

use async_compression::{Level, tokio::bufread::GzipEncoder};
use flate2::{Compression, write::GzEncoder};
use http_body_util::combinators::BoxBody;
use hyper::body::{Body as _, Bytes};
use poem::{
    Body, Request, Response,
    http::{
        HeaderValue, Method, StatusCode,
        header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, ETAG, VARY},
    },
};
use tokio::io::BufReader;

use super::accept;

/// The minimum size in bytes: smaller responses fit into one packet anyway.
const WORTH_IT: u64 = 1024;

/// A page or document that does not change.
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
                .get_or_init(|| tokio::task::block_in_place(|| pack(self.plain.as_bytes())));
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

/// Whether the response to a request may be compressed.
#[must_use]
pub fn may_pack(request: &Request) -> bool {
    request.method() == Method::GET && takes_gzip(request)
}

/// Whether a client accepts gzip (RFC 9110 §12.5.3): by name or by `*`, with a weight other than 0. The name takes
/// precedence over `*`.
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

/// Compresses a response if that is worthwhile, piece by piece while it is sent.
#[must_use]
pub fn packed(mut response: Response) -> Response {
    let fits = response.status() == StatusCode::OK
        && !response.headers().contains_key(ETAG)
        && !response.headers().contains_key(CONTENT_ENCODING)
        && !is_event_stream(&response);
    if !fits {
        return response;
    }
    let plain: BoxBody<Bytes, io::Error> = response.take_body().into();
    if plain.size_hint().upper().is_some_and(|bytes| bytes < WORTH_IT) {
        response.set_body(plain);
        return response;
    }
    let plain = BufReader::new(Body::from(plain).into_async_read());
    let packed = GzipEncoder::with_quality(plain, Level::Fastest);
    response.set_body(Body::from_async_read(packed));
    let headers = response.headers_mut();
    headers.insert(CONTENT_ENCODING, GZIP);
    headers.remove(CONTENT_LENGTH);
    varies(&mut response);
    response
}

/// Whether a response is a stream of events, whose readers wait for each event: proxies and clients that decompress
/// may delay them.
fn is_event_stream(response: &Response) -> bool {
    response
        .content_type()
        .is_some_and(|content_type| content_type.starts_with("text/event-stream"))
}

/// Tells caches that other clients may get other bytes.
fn varies(response: &mut Response) {
    response
        .headers_mut()
        .append(VARY, HeaderValue::from_static("Accept-Encoding"));
}

fn pack(plain: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 4), Compression::default());
    // Writing to memory does not fail; if it did, the page would be sent uncompressed.
    encoder.write_all(plain).ok()?;
    encoder.finish().ok()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;
    use futures_util::{StreamExt as _, stream};

    use super::*;

    fn is_packed(response: &Response) -> bool {
        response.headers().contains_key(CONTENT_ENCODING)
    }

    #[tokio::test]
    async fn a_stream_is_sent_as_it_comes() {
        let piece = "one piece of the answer, ".repeat(10);
        let endless = stream::iter([Ok::<_, io::Error>(piece.clone())]).chain(stream::pending());
        let response = packed(Response::builder().body(Body::from_bytes_stream(endless)));
        assert!(is_packed(&response));
        let mut sent = Vec::new();
        let mut parts = Box::pin(response.into_body().into_bytes_stream());
        let mut unpacked = vec![0; piece.len()];
        while GzDecoder::new(&*sent).read_exact(&mut unpacked).is_err() {
            sent.extend(parts.next().await.expect("a part").expect("no error"));
        }
        assert_eq!(unpacked, piece.as_bytes());
    }

    #[tokio::test]
    async fn a_stream_is_packed_whole() {
        let pieces: Vec<_> = (0..2_000).map(|number| format!("piece {number}, ")).collect();
        let whole = pieces.concat();
        let pieces = stream::iter(pieces.into_iter().map(Ok::<_, io::Error>));
        let response = packed(Response::builder().body(Body::from_bytes_stream(pieces)));
        let sent = response.into_body().into_bytes().await.expect("a body");
        assert!(sent.len() < whole.len() / 2);
        let mut unpacked = String::new();
        GzDecoder::new(&*sent).read_to_string(&mut unpacked).expect("gzip");
        assert_eq!(unpacked, whole);
    }

    #[test]
    fn short_answers_and_streams_of_events_are_left_as_they_are() {
        let of = |bytes| Response::builder().body("a".repeat(bytes));
        assert!(!is_packed(&packed(of(1_023))));
        assert!(is_packed(&packed(of(1_024))));
        for content_type in ["text/event-stream", "text/event-stream; charset=utf-8"] {
            let events = Body::from_bytes_stream(stream::pending::<Result<Bytes, io::Error>>());
            let response = Response::builder().content_type(content_type).body(events);
            assert!(!is_packed(&packed(response)));
        }
    }
}
