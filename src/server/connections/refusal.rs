//! Errors for connections without a valid request: the request is malformed or too slow, or there are too many
//! connections. They have the body and the request id of all other errors.
//!
//! Hyper answers a request that it cannot parse itself, with a status and nothing else, before this code sees a
//! request. Such a response is recognized by its bytes and replaced. On HTTP/2, a malformed request gets only
//! `RST_STREAM` or `GOAWAY` (RFC 9113 §8.1.1).

use std::{io::Write as _, time::Duration};

use hyper::StatusCode;
use rustix::net::Shutdown;
use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};
use tokio::{net::TcpStream, time::timeout};

use super::{MAX_HEAD_BYTES, body::DRAINED};
use crate::{
    http::{body::JSON, codes, details, error::Error},
    types::request_id::RequestId,
};

/// RFC 9110 §5.6.7
const DATE: &[BorrowedFormatItem<'_>] =
    format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");

/// How responses of hyper that are errors begin.
const REFUSALS: &[u8] = b"HTTP/1.1 4";

/// The replacement for some bytes if they are an error response of hyper; all other responses have an id. If the
/// first line is incomplete, the path is too large.
pub fn instead_of(bytes: &[u8], in_first_line: bool) -> Option<Vec<u8>> {
    let status = bytes.strip_prefix(REFUSALS)?.get(..2)?;
    let head = std::str::from_utf8(bytes).ok()?.strip_suffix("\r\n\r\n")?;
    let own = head.contains("\r\ncontent-length: 0\r\n") && !head.contains("\r\nx-request-id:");
    let error = match status {
        b"00" => Error::new(
            &codes::MALFORMED_REQUEST,
            "This is not an HTTP request: its first line or one of its headers cannot be read.",
        ),
        b"31" if in_first_line => Error::new(&codes::URI_TOO_LONG, "The path and query of the request are too long."),
        b"31" => headers_too_large(),
        _ => return None,
    };
    own.then(|| bytes_of(error))
}

/// The error for a head that is too large.
pub fn headers_too_large() -> Error {
    let message =
        format!("The request line and headers are larger than {MAX_HEAD_BYTES} bytes, or there are too many of them.");
    Error::new(&codes::HEADERS_TOO_LARGE, message).with(&details::MAX_BYTES, MAX_HEAD_BYTES)
}

/// The error for a head that does not arrive in time.
pub fn head_timed_out() -> Error {
    Error::new(
        &codes::HEAD_TIMED_OUT,
        "The request line and headers did not arrive in time. Nothing was changed; send the request again.",
    )
}

/// The error for a connection over the limit.
pub fn too_many_connections() -> Error {
    Error::new(
        &codes::TOO_MANY_CONNECTIONS,
        "The server has no place for another connection from this address. Use fewer connections, and keep them open for \
         several requests.",
    )
}

/// An HTTP/1.1 response that closes its connection.
pub fn bytes_of(error: Error) -> Vec<u8> {
    let (id, status, code) = (RequestId::new(), error.status(), error.code());
    // Connections over the limit are counted and logged together.
    if *code != codes::TOO_MANY_CONNECTIONS {
        tracing::info!(%id, status = status.as_u16(), %code, "refused a request that could not be read");
    }
    let retry_after = if status == StatusCode::SERVICE_UNAVAILABLE {
        "retry-after: 1\r\n"
    } else {
        ""
    };
    let date = OffsetDateTime::now_utc().format(DATE).unwrap_or_default();
    let body = serde_json::to_vec(&error.into_body()).unwrap_or_default();
    let mut answer = Vec::with_capacity(body.len() + 512);
    // Writing to memory does not fail.
    let _ = write!(
        answer,
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-type: {JSON}\r\ncontent-length: {}\r\ndate: {date}\r\n\
         cache-control: no-store\r\nx-content-type-options: nosniff\r\nx-request-id: {id}\r\n{retry_after}\r\n",
        body.len(),
    );
    answer.extend(body);
    answer
}

/// Sends an error to a client whose connection is being closed.
pub async fn send(stream: &TcpStream, error: Error) {
    // If nothing has been sent to the client yet, this succeeds at once; otherwise the server does not wait.
    if stream.try_write(&bytes_of(error)).is_ok() {
        drain(stream).await;
    }
}

/// Closes a connection so that its client can read what it was sent: with unread bytes, the connection would be
/// reset.
pub async fn drain(stream: &TcpStream) {
    let (most, time): (usize, Duration) = DRAINED;
    // The client may have closed it already.
    let _ = rustix::net::shutdown(stream, Shutdown::Write);
    let drained = async {
        let (mut drained, mut buffer) = (0, [0; 4096]);
        while drained < most && stream.readable().await.is_ok() {
            match stream.try_read(&mut buffer) {
                Ok(read @ 1..) => drained += read,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Ok(0) | Err(_) => return,
            }
        }
    };
    let _ = timeout(time, drained).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_with_an_id_stays_as_it_is() {
        let ours = "HTTP/1.1 400 Bad Request\r\nx-request-id: a\r\ncontent-length: 0\r\ndate: x\r\n\r\n";
        assert_eq!(instead_of(ours.as_bytes(), false), None);
        let hypers = ours.replace("x-request-id: a\r\n", "");
        let instead = instead_of(hypers.as_bytes(), false).expect("another answer");
        assert!(instead.starts_with(b"HTTP/1.1 400 Bad Request\r\n"));
        assert_eq!(instead_of(hypers.replace("400", "200").as_bytes(), false), None);
        let too_large = hypers.replace("400 Bad Request", "431 Request Header Fields Too Large");
        for (in_first_line, status) in [(true, "414"), (false, "431")] {
            let instead = instead_of(too_large.as_bytes(), in_first_line).expect("another answer");
            assert!(instead.starts_with(format!("HTTP/1.1 {status} ").as_bytes()));
        }
    }
}
