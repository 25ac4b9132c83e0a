//! Connections: how they are accepted, how long they may stay open, and how they are closed.
//!
//! Hyper serves HTTP/1.1 and HTTP/2 (with prior knowledge, RFC 9113 §3.3) on one port. This module prevents slow,
//! careless or hostile clients from occupying what others need. It limits:
//!
//! * the number of connections, in total and of one client ([`limits`], [`places`]). Clients over the limit get an error, and
//!   the log has their number;
//! * how long the head of a request may take, how long a connection may be idle, how long it may last, and how many requests it
//!   may begin and cancel ([`activity`]);
//! * how long a response may wait for the client to read it, both in the system's buffers ([`socket`]) and behind HTTP/2's
//!   windows ([`Streams`]);
//! * how much memory a connection uses: the sizes below, and responses in pieces ([`body`]).

mod activity;
mod body;
mod limits;
mod places;
mod refusal;
mod socket;

pub use limits::Limits;

use std::{
    future::Future,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use http_body_util::combinators::BoxBody;
use hyper::{
    body::{Body as _, Bytes, Incoming},
    rt::Executor,
    service::service_fn,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use poem::{
    Addr, Endpoint, Request, Response,
    http::{
        HeaderMap, HeaderName, HeaderValue, Version,
        header::{CONNECTION, EXPECT, HOST},
        uri::{Authority, Scheme},
    },
    web::{LocalAddr, RemoteAddr},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::MissedTickBehavior,
};

use crate::http::error::{Error, InputLocation};
use activity::{Activity, Unfinished, Verdict};
use body::{Pieces, Watched};
use places::{NoPlace, Place, Places};
use socket::Socket;

/// How long a client may take to answer a PING of HTTP/2.
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a stream of HTTP/2 may last: the 15 seconds of a request, and a minute to read its response.
const STREAM_TIMEOUT: Duration = Duration::from_secs(75);
/// The maximum size of the request line and the headers, in bytes.
const MAX_HEAD_BYTES: usize = 32 * 1024;
/// The maximum number of headers of a request.
const MAX_HEADERS: usize = 100;
/// The size at which HTTP/2 stops reading headers, and answers with a status without a body. Smaller heads that are
/// still too large get a body here.
const MAX_READ_HEAD_BYTES: u32 = 64 * 1024;
/// The overhead that each header counts in addition to its bytes (RFC 9113 §10.5.1).
const HEADER_OVERHEAD: usize = 32;
/// The maximum number of concurrent requests on an HTTP/2 connection: the minimum that RFC 9113 §6.5.2 recommends.
const MAX_STREAMS: u32 = 100;
/// How much a client may send on HTTP/2 before it is read, in bytes, for a request and for a connection.
const WINDOWS: (u32, u32) = (64 * 1024, 256 * 1024);
/// How much of a response may wait to be sent on HTTP/2, in bytes.
const MAX_WAITING_BYTES: usize = 64 * 1024;
/// How often connections are checked. The shortest timeout is a multiple of it.
const JUDGED_EVERY: Duration = Duration::from_millis(2_500);
/// How long to wait after a connection could not be accepted, for example because there are no more files.
const AFTER_FAILURE: Duration = Duration::from_millis(50);
/// How often the log says that connections were refused.
const TOLD_EVERY: Duration = Duration::from_secs(10);
/// The maximum number of connections that are being refused with an error. Others are closed without one.
const MAX_REFUSED: usize = 64;

/// Serves clients until `asked_to_stop` ends; then finishes the requests in progress, within `stop_timeout`.
pub async fn serve(
    listener: TcpListener,
    limits: Limits,
    endpoint: impl Endpoint<Output = Response> + 'static,
    asked_to_stop: impl Future<Output = ()>,
    stop_timeout: Duration,
) {
    let limits = limits.within_files();
    if let Err(error) = socket::prepare(&listener) {
        tracing::warn!(%error, "the socket could not be configured");
    }
    let endpoint = Arc::new(endpoint);
    let places = Places::new(limits.connections(), limits.per_client());
    let (stop, stopping) = watch::channel(false);
    let mut open = JoinSet::new();
    let mut troubles = Troubles::default();
    tokio::pin!(asked_to_stop);
    loop {
        tokio::select! {
            () = &mut asked_to_stop => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, client)) => match places.take(client.ip()) {
                    Ok(place) => {
                        let connection = Connection {
                            stream: Arc::new(stream),
                            client,
                            activity: Activity::new(),
                            idle_timeout: limits.idle(),
                            _place: place,
                        };
                        open.spawn(connection.run(Arc::clone(&endpoint), stopping.clone()));
                    }
                    Err(why) => troubles.refuse(stream, why, &places),
                },
                Err(error) => {
                    troubles.not_accepted(&error);
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
            "requests that did not finish in time were aborted"
        );
    }
}

/// Connections that were not accepted and are not in the log yet.
struct Troubles {
    full: u64,
    share_taken: u64,
    not_accepted: u64,
    told: Option<Instant>,
    being_refused: Arc<Semaphore>,
}

impl Default for Troubles {
    fn default() -> Self {
        Self {
            full: 0,
            share_taken: 0,
            not_accepted: 0,
            told: None,
            being_refused: Arc::new(Semaphore::new(MAX_REFUSED)),
        }
    }
}

impl Troubles {
    /// Refuses a connection over the limit.
    fn refuse(&mut self, stream: TcpStream, why: NoPlace, places: &Places) {
        match why {
            NoPlace::Full => self.full += 1,
            NoPlace::ShareTaken => self.share_taken += 1,
        }
        self.tell(|troubles| {
            tracing::warn!(
                server_full = troubles.full,
                client_share_taken = troubles.share_taken,
                open = places.number_taken(),
                "connections were refused; see --max-connections and --max-connections-per-client"
            );
        });
        if let Ok(permit) = Arc::clone(&self.being_refused).try_acquire_owned() {
            tokio::spawn(async move {
                refusal::send(&stream, refusal::too_many_connections()).await;
                drop(permit);
            });
        }
    }

    /// Counts a connection that the system could not accept.
    fn not_accepted(&mut self, error: &io::Error) {
        self.not_accepted += 1;
        self.tell(|troubles| {
            tracing::warn!(%error, times = troubles.not_accepted, "connections could not be accepted");
        });
    }

    /// Writes the counts to the log, but not too often.
    fn tell(&mut self, line: impl FnOnce(&Self)) {
        if self.told.is_none_or(|told| told.elapsed() > TOLD_EVERY) {
            line(self);
            *self = Self {
                told: Some(Instant::now()),
                being_refused: Arc::clone(&self.being_refused),
                ..Self::default()
            };
        }
    }
}

/// One connection, from its first byte to its last.
struct Connection {
    stream: Arc<TcpStream>,
    client: SocketAddr,
    activity: Arc<Activity>,
    idle_timeout: Duration,
    /// Its place is free for others when this is dropped.
    _place: Place,
}

impl Connection {
    async fn run(self, endpoint: Arc<impl Endpoint<Output = Response> + 'static>, mut stopping: watch::Receiver<bool>) {
        let Ok(server) = self.stream.local_addr() else {
            return;
        };
        let between = (
            LocalAddr(Addr::SocketAddr(server)),
            RemoteAddr(Addr::SocketAddr(self.client)),
        );
        let activity = &self.activity;
        let service = service_fn(|request: hyper::Request<Incoming>| {
            if request.version() == Version::HTTP_2 {
                activity.speaks_http2();
            }
            let (endpoint, unfinished, between) = (Arc::clone(&endpoint), activity.begin(), between.clone());
            async move { Ok::<_, io::Error>(answer(&*endpoint, request, unfinished, between).await) }
        });
        let socket = TokioIo::new(Socket::new(Arc::clone(&self.stream), Arc::clone(activity)));
        let builder = builder();
        let connection = builder.serve_connection(socket, service);
        let mut judged = tokio::time::interval(JUDGED_EVERY.min(self.idle_timeout / 4));
        judged.set_missed_tick_behavior(MissedTickBehavior::Skip);
        tokio::pin!(connection);
        let mut closing: Option<Instant> = None;
        let mut told = false;
        let end = loop {
            tokio::select! {
                outcome = &mut connection => {
                    // An error here is caused by the client: it disconnected, or did not send HTTP.
                    break if outcome.is_err_and(|error| is_parse(&*error)) { End::Refused } else { End::Over };
                }
                _ = judged.tick() => {}
                () = activity.alarmed() => {}
                _ = stopping.wait_for(|stopping| *stopping), if !told => {
                    told = true;
                    connection.as_mut().graceful_shutdown();
                    if !activity.has_begun() {
                        break End::Over;
                    }
                }
            }
            match activity.judge(self.idle_timeout, closing.map(|since| since.elapsed())) {
                Verdict::Stay => {}
                Verdict::Close => {
                    closing = Some(Instant::now());
                    connection.as_mut().graceful_shutdown();
                }
                Verdict::Refuse => break End::TooSlow,
                Verdict::Cut => break End::Over,
            }
        };
        match end {
            End::Over => {}
            End::Refused => refusal::drain(&self.stream).await,
            End::TooSlow => refusal::send(&self.stream, refusal::head_timed_out()).await,
        }
    }
}

/// How a connection ends.
enum End {
    /// The connection was closed normally.
    Over,
    /// The client did not send HTTP, and got an error.
    Refused,
    /// The head of a request did not arrive in time.
    TooSlow,
}

/// The configuration of hyper.
fn builder() -> Builder<Streams> {
    let mut builder = Builder::new(Streams);
    builder
        .http1()
        .timer(TokioTimer::new())
        // The connection itself is checked: see `Activity`.
        .header_read_timeout(None)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_TIMEOUT)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_READ_HEAD_BYTES)
        .initial_stream_window_size(WINDOWS.0)
        .initial_connection_window_size(WINDOWS.1)
        .max_send_buf_size(MAX_WAITING_BYTES);
    builder
}

/// Whether the client did not send HTTP.
fn is_parse(error: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse)
}

/// Runs the streams of HTTP/2 with a time limit: a response that the client does not read is abandoned.
#[derive(Clone, Copy)]
struct Streams;

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        tokio::spawn(tokio::time::timeout(STREAM_TIMEOUT, stream));
    }
}

/// Checks the head of a request that hyper has accepted (RFC 9112 §3.2, RFC 9113 §10.5.1).
///
/// # Errors
///
/// If it is not valid.
pub fn check_head(version: Version, headers: &HeaderMap) -> Result<(), Error> {
    if version == Version::HTTP_2 {
        let size = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + HEADER_OVERHEAD;
        let too_large = headers.iter().map(size).sum::<usize>() > MAX_HEAD_BYTES;
        if too_large || headers.len() > MAX_HEADERS {
            return Err(refusal::headers_too_large());
        }
    }
    let mut hosts = headers.get_all(HOST).iter();
    let reason = match (hosts.next(), hosts.next()) {
        (None, _) if version == Version::HTTP_11 => "is missing; HTTP/1.1 requires it",
        (Some(_), Some(_)) => "appears more than once",
        (Some(host), None) if !is_host(host.as_bytes()) => "is not the name of a host with an optional port",
        _ => return Ok(()),
    };
    Err(Error::field(InputLocation::Header, "Host", reason))
}

/// Whether this is a host: a name or an address, with an optional port (RFC 9110 §7.2).
fn is_host(host: &[u8]) -> bool {
    let Ok(authority) = Authority::try_from(host) else {
        return false;
    };
    let port = authority.as_str().strip_prefix(authority.host());
    let port_is_valid = match port.map(|port| port.strip_prefix(':').unwrap_or(port)) {
        Some("") => true,
        Some(_) => authority.port_u16().is_some(),
        None => false,
    };
    !authority.host().is_empty() && port_is_valid
}

/// Handles one request.
async fn answer(
    endpoint: &impl Endpoint<Output = Response>,
    request: hyper::Request<Incoming>,
    mut unfinished: Unfinished,
    (server, client): (LocalAddr, RemoteAddr),
) -> hyper::Response<BoxBody<Bytes, io::Error>> {
    let closable = request.version() <= Version::HTTP_11;
    let waits = request.headers().contains_key(EXPECT);
    let unread = (!request.body().is_end_stream()).then(|| Arc::new(AtomicBool::new(true)));
    let mut request = Request::from((request, server, client, Scheme::HTTP));
    if let Some(unread) = &unread {
        let watched = Watched::new(request.take_body().into(), Arc::clone(unread), waits);
        request.set_body(BoxBody::new(watched));
    }
    let mut response = endpoint.get_response(request).await;
    if closable && unread.is_some_and(|unread| unread.load(Ordering::Relaxed)) {
        // The rest of the body would be read as the next request, so the connection is closed. The header tells
        // clients that reuse connections not to send their next request on this one.
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    unfinished.answered();
    let response: hyper::Response<BoxBody<Bytes, io::Error>> = response.into();
    response.map(|body| BoxBody::new(Pieces::new(body, unfinished)))
}
