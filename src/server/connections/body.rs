//! Bodies: the unread rest of a request body, and how a response body is sent in pieces.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use http_body_util::{BodyExt as _, combinators::BoxBody};
use hyper::body::{Body, Bytes, Frame, SizeHint};

use super::activity::Unfinished;

/// How much of an unwanted body is read so that its sender gets to read the response, in bytes, and for how long.
pub const DRAINED: (usize, Duration) = (1024 * 1024, Duration::from_secs(1));
/// The size in bytes of the pieces of a response body. HTTP/2 keeps a whole piece in memory until the client's window
/// lets it through, even if the window has room for only a single byte.
const PIECE: usize = 16 * 1024;

/// A request body that records whether it was read to its end.
pub struct Watched {
    inner: Option<BoxBody<Bytes, io::Error>>,
    unread: Arc<AtomicBool>,
    /// Whether its sender waits for `100 Continue` (RFC 9110 §10.1.1) and has sent nothing yet.
    waits: bool,
}

impl Watched {
    /// Wraps a body.
    #[must_use]
    pub const fn new(body: BoxBody<Bytes, io::Error>, unread: Arc<AtomicBool>, waits: bool) -> Self {
        Self {
            inner: Some(body),
            unread,
            waits,
        }
    }

    fn ended(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }
}

impl Body for Watched {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = self.get_mut();
        let Some(inner) = &mut this.inner else {
            return Poll::Ready(None);
        };
        let frame = ready!(Pin::new(inner).poll_frame(context));
        if frame.is_none() || this.ended() {
            this.unread.store(false, Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.ended()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}

impl Drop for Watched {
    /// Reads an unwanted body for a while. If a connection is closed with unread bytes, it is reset, and the response
    /// is lost if the client has not read it yet.
    fn drop(&mut self) {
        let unread = self.unread.load(Ordering::Relaxed) && !self.waits;
        if let Some(mut rest) = self.inner.take().filter(|_| unread) {
            tokio::spawn(tokio::time::timeout(DRAINED.1, async move {
                let mut drained = 0;
                while let Some(Ok(frame)) = rest.frame().await
                    && drained < DRAINED.0
                {
                    drained += frame.data_ref().map_or(0, Bytes::len);
                }
            }));
        }
    }
}

/// A response body in pieces. Its request is unfinished until the last piece has been sent.
pub struct Pieces {
    inner: BoxBody<Bytes, io::Error>,
    /// The rest of the current frame.
    rest: Bytes,
    request: Unfinished,
}

impl Pieces {
    /// The body of the response to a request.
    #[must_use]
    pub const fn new(body: BoxBody<Bytes, io::Error>, request: Unfinished) -> Self {
        Self {
            inner: body,
            rest: Bytes::new(),
            request,
        }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = self.get_mut();
        if this.rest.is_empty() {
            let frame = match ready!(Pin::new(&mut this.inner).poll_frame(context)) {
                Some(Ok(frame)) => frame,
                other => return Poll::Ready(other),
            };
            match frame.into_data() {
                Ok(data) => this.rest = data,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
        this.request.progress();
        let piece = this.rest.split_to(this.rest.len().min(PIECE));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = u64::try_from(self.rest.len()).unwrap_or(u64::MAX);
        let mut hint = self.inner.size_hint();
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint.set_lower(hint.lower().saturating_add(rest));
        hint
    }
}
