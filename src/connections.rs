//! Connections: how clients are let in, how long they may be silent, and how they are let go.
//!
//! HTTP/1.1 and HTTP/2 (with prior knowledge, RFC 9113 §3.3) are spoken on one port, by hyper. What stands here is what
//! keeps a slow or a careless client from holding what others need: limits of number, size and time.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use http_body_util::{BodyExt as _, combinators::BoxBody};
use hyper::{
    body::{Body, Bytes, Frame, Incoming, SizeHint},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use poem::{
    Addr, Endpoint, Request, Response,
    http::{
        HeaderValue, Version,
        header::{CONNECTION, EXPECT},
        uri::Scheme,
    },
    web::{LocalAddr, RemoteAddr},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
};

/// Connections at a time. More of them wait until one ends.
const MAX_CONNECTIONS: usize = 8_192;
/// How long a new connection may take until its first request has begun: until its headers are read.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may rest between requests, and how long the headers of a later request may take. More than
/// the minute after which the usual load balancers close, so that it is never this side that closes under a request.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// How long a client may leave a question whether it is still there unanswered (a PING of HTTP/2).
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// The size of a request's line and headers at most, in bytes.
const MAX_HEAD_BYTES: usize = 32 * 1024;
/// The number of a request's headers at most.
const MAX_HEADERS: usize = 100;
/// Requests at a time on one connection of HTTP/2.
const MAX_STREAMS: u32 = 200;
/// What is read of a body that nobody wants, so that its sender gets to reading the answer: bytes, and time.
const DRAINED: (usize, Duration) = (1024 * 1024, Duration::from_secs(1));
/// How long to wait where a connection could not be accepted, because the process has no more files, say.
const AFTER_FAILURE: Duration = Duration::from_millis(50);

/// Answers clients until it is asked to stop; then lets the requests that have begun finish, for so long.
pub async fn serve(
    listener: TcpListener,
    endpoint: impl Endpoint<Output = Response> + 'static,
    asked_to_stop: impl Future<Output = ()>,
    stop_timeout: Duration,
) {
    let endpoint = Arc::new(endpoint);
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let (stop, stopping) = watch::channel(false);
    let mut open = JoinSet::new();
    tokio::pin!(asked_to_stop);
    loop {
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await.map_err(io::Error::other)?;
            let (socket, client) = listener.accept().await?;
            Ok::<_, io::Error>((place, socket, client))
        };
        tokio::select! {
            () = &mut asked_to_stop => break,
            accepted = accepted => match accepted {
                Ok((place, socket, client)) => {
                    let connection = connection(socket, client, Arc::clone(&endpoint), stopping.clone());
                    open.spawn(async move {
                        connection.await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(AFTER_FAILURE).await;
                }
            },
            Some(_) = open.join_next() => {}
        }
    }
    drop(listener);
    stop.send_replace(true);
    let ended = tokio::time::timeout(stop_timeout, async { while open.join_next().await.is_some() {} });
    if ended.await.is_err() {
        tracing::warn!(
            connections = open.len(),
            "requests were cut off that did not finish in time"
        );
    }
}

/// One connection, from its first byte to its last.
async fn connection(
    socket: TcpStream,
    client: SocketAddr,
    endpoint: Arc<impl Endpoint<Output = Response> + 'static>,
    mut stopping: watch::Receiver<bool>,
) {
    // Answers are written whole: nothing is gained by waiting for more of them.
    let _ = socket.set_nodelay(true);
    let Ok(server) = socket.local_addr() else {
        return;
    };
    let begun = Arc::new(AtomicBool::new(false));
    let service = service_fn({
        let begun = Arc::clone(&begun);
        move |request: hyper::Request<Incoming>| {
            begun.store(true, Ordering::Relaxed);
            let endpoint = Arc::clone(&endpoint);
            let between = (
                LocalAddr(Addr::SocketAddr(server)),
                RemoteAddr(Addr::SocketAddr(client)),
            );
            async move { Ok::<_, io::Error>(answer(&*endpoint, request, between).await) }
        }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_TIMEOUT)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(u32::try_from(MAX_HEAD_BYTES).unwrap_or(u32::MAX));
    let connection = builder.serve_connection(TokioIo::new(socket), service);
    let too_long = tokio::time::sleep(FIRST_REQUEST_TIMEOUT);
    tokio::pin!(connection, too_long);
    let (mut told, mut watched) = (false, true);
    loop {
        tokio::select! {
            // An error here is the client's: it went away, or did not speak HTTP.
            _ = &mut connection => return,
            () = &mut too_long, if watched => {
                if !begun.load(Ordering::Relaxed) {
                    return;
                }
                watched = false;
            }
            _ = stopping.wait_for(|stopping| *stopping), if !told => {
                told = true;
                connection.as_mut().graceful_shutdown();
                if !begun.load(Ordering::Relaxed) {
                    return;
                }
            }
        }
    }
}

/// One request and its answer.
async fn answer(
    endpoint: &impl Endpoint<Output = Response>,
    request: hyper::Request<Incoming>,
    (server, client): (LocalAddr, RemoteAddr),
) -> hyper::Response<BoxBody<Bytes, io::Error>> {
    let closable = request.version() <= Version::HTTP_11;
    let waits = request.headers().contains_key(EXPECT);
    let unread = (!request.body().is_end_stream()).then(|| Arc::new(AtomicBool::new(true)));
    let mut request = Request::from((request, server, client, Scheme::HTTP));
    if let Some(unread) = &unread {
        let inner = Some(request.take_body().into());
        let unread = Arc::clone(unread);
        request.set_body(BoxBody::new(Watched { inner, unread, waits }));
    }
    let mut response = endpoint.get_response(request).await;
    if closable && unread.is_some_and(|unread| unread.load(Ordering::Relaxed)) {
        // The rest of the body would be taken for the next request, so that the connection ends here. Said, because
        // a client that keeps connections would otherwise run its next request into the closed one.
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response.into()
}

/// A body of which is known whether it was read to its end.
struct Watched {
    inner: Option<BoxBody<Bytes, io::Error>>,
    unread: Arc<AtomicBool>,
    /// Whether its sender waits to be told that it is wanted (RFC 9110 §10.1.1), and has sent nothing yet.
    waits: bool,
}

impl Watched {
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
    /// Reads on for a while where the body was not wanted. A connection that is closed with bytes unread is reset, and
    /// takes the answer with it that its client has not read yet.
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
