//! The server: what surrounds every request, and how the server starts and stops.
//!
//! Around an operation stand, from the outside: the id of the request, its line in the log, its time limit, and the
//! one place where whatever went wrong becomes the contract's error.

mod accept;
mod background;
pub mod compression;
pub mod connections;
pub mod cross_origin;
pub mod listen;
pub mod pages;

use std::{
    future::Future,
    io,
    net::SocketAddr,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::FutureExt as _;
use poem::{
    Endpoint, EndpointExt as _, IntoEndpoint as _, IntoResponse as _, Request, Response,
    error::{MethodNotAllowedError, NotFoundError, ParsePathError},
    get,
    http::{HeaderValue, Method, StatusCode, header},
};
use tokio::net::TcpListener;
use tracing::{Instrument as _, field};

use self::{background::Background, connections::Limits, cross_origin::CrossOrigin, listen::Bound};
use crate::{
    access::{
        api_keys::ApiKeys,
        decision_log::DecisionLog,
        provider_config,
        tenants::Tenants,
        tokens::{Tokens, jwks_client::JwksClient},
        workers::Workers,
    },
    http::{
        App,
        document::Document,
        error::{Error, InputLocation},
        etag,
        idempotency::Reading,
        readiness::Readiness,
    },
    resources,
    store::{DatabaseUrl, Store, StoreError, revision::TagKey, root_key::RootKeySource},
    types::request_id::{REQUEST_ID, RequestId},
};

/// How long a request for a page may take; an operation says so itself.
const PAGE_TIMEOUT: Duration = Duration::from_secs(15);
/// How long requests in progress may take after the server was asked to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the store may take to close afterwards: a database that does not answer must not keep the process alive.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// A server with its store, before it listens.
pub struct Server {
    app: App,
    background: Background,
}

impl Server {
    /// Opens a server on a store whose tables are there.
    ///
    /// # Errors
    ///
    /// Where the store cannot be opened, with its root key.
    pub async fn open(
        url: &DatabaseUrl,
        root_key: &RootKeySource,
        jwks_allow_private: bool,
    ) -> Result<Self, StoreError> {
        let tenants = Tenants::new(Workers::start());
        let store = Store::open(url, root_key, tenants.on_new_version()).await?;
        match provider_config::seal_rows(&store).await {
            // It accepts no changes yet. A server whose clock is right seals them when it starts.
            Err(StoreError::ClockOff(_)) => {}
            sealed => sealed?,
        }
        let client = JwksClient::new(jwks_allow_private).map_err(|error| StoreError::Fault(error.to_string()))?;
        let app = App {
            tokens: Tokens::new(client),
            tags: TagKey::new(store.root_key()),
            store,
            tenants,
            api_keys: ApiKeys::default(),
            decisions: DecisionLog::default(),
            readiness: Readiness::default(),
        };
        let background = Background::start(&app);
        Ok(Self { app, background })
    }

    /// The store.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.app.store
    }

    /// Begins to listen.
    ///
    /// # Errors
    ///
    /// Where the address cannot be had any more.
    pub fn listen(self, bound: Bound, limits: Limits, cross_origin: CrossOrigin) -> Result<Listening, io::Error> {
        let listener = bound.listen()?;
        let address = listener.local_addr()?;
        Ok(Listening {
            server: self,
            limits,
            cross_origin,
            listener,
            address,
        })
    }
}

/// A server that is bound to its address, but does not serve yet.
pub struct Listening {
    server: Server,
    limits: Limits,
    cross_origin: CrossOrigin,
    listener: TcpListener,
    address: SocketAddr,
}

impl Listening {
    /// Where: `http://` and the address that it really has.
    #[must_use]
    pub fn address(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers requests until it is asked to stop; then finishes those that have begun, commits what waits, and closes
    /// the store.
    pub async fn run(self, asked_to_stop: impl Future<Output = ()>) {
        let Self {
            server: Server { app, background },
            limits,
            cross_origin,
            listener,
            address,
        } = self;
        tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "serving");
        let readiness = app.readiness.clone();
        let asked_to_stop = async move {
            asked_to_stop.await;
            tracing::info!("stopping: finishing the requests in progress");
            readiness.stop();
        };
        connections::serve(
            listener,
            limits,
            endpoint(app.clone(), cross_origin),
            asked_to_stop,
            STOP_TIMEOUT,
        )
        .await;
        let closing = async {
            background.end().await;
            app.api_keys.write_use(&app.store).await;
            app.decisions.write(&app.store).await;
            app.store.close().await;
        };
        if tokio::time::timeout(CLOSE_TIMEOUT, closing).await.is_ok() {
            tracing::info!("stopped");
        } else {
            tracing::warn!("stopped without closing the database, which does not respond");
        }
    }
}

/// Waits until the process is asked to stop: SIGINT (Ctrl-C) or SIGTERM.
///
/// # Errors
///
/// If the signals cannot be handled.
pub fn asked_to_stop() -> Result<impl Future<Output = ()>, io::Error> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Everything that is served.
fn endpoint(app: App, cross_origin: CrossOrigin) -> impl Endpoint<Output = Response> {
    let document = resources::document();
    let tags = app.tags.clone();
    let operations = Arc::new(resources::service().into_endpoint());
    let routes = pages::routes()
        .at("/", get(pages::home))
        .nest_no_strip("/v1", Arc::clone(&operations))
        .at("/healthz", Arc::clone(&operations))
        .at("/readyz", operations)
        .data(app);
    Surrounded {
        inner: routes,
        document,
        tags,
        cross_origin,
    }
}

/// What surrounds every request.
struct Surrounded<E> {
    inner: E,
    document: &'static Document,
    tags: TagKey,
    cross_origin: CrossOrigin,
}

impl<E: Endpoint> Endpoint for Surrounded<E> {
    type Output = Response;

    async fn call(&self, mut request: Request) -> poem::Result<Response> {
        let began = Instant::now();
        let id = RequestId::of(request.headers());
        request.set_data(id.clone());
        let head = connections::check_head(request.version(), request.headers());
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let route = self.document.route(method.as_str(), &path);
        let time = route.map_or(PAGE_TIMEOUT, |route| route.operation.time);
        if let Some(route) = route {
            request.set_data(route);
        }
        Reading::prepare(&mut request);
        let known = etag::known(&request);
        let may_pack = compression::may_pack(&request);
        let wants_page = accept::wants_page(request.headers());
        let origin = request.headers().get(header::ORIGIN).cloned();
        // Only ids, and what is needed to follow a request. Neither query nor headers: they contain personal data and
        // secrets. Tenant and actor are known after the credential has been checked, the code after an error.
        let span = tracing::info_span!(
            "request",
            %id,
            %method,
            path = %path_in_logs(&path),
            operation = route.map(|route| route.operation.id),
            tenant = field::Empty,
            actor = field::Empty,
            code = field::Empty,
            policy_us = field::Empty,
            queue_us = field::Empty,
            store_us = field::Empty,
        );
        let answer = async {
            let carried_out = async {
                head?;
                self.inner.call(request).await
            };
            let answer = tokio::time::timeout(time, AssertUnwindSafe(carried_out).catch_unwind());
            let mut response = match answer.await {
                Ok(Ok(Ok(output))) => output.into_response(),
                Ok(Ok(Err(error))) if method == Method::OPTIONS && error.is::<MethodNotAllowedError>() => {
                    self.options(&path)
                }
                Ok(Ok(Err(error))) if wants_page && error.is::<NotFoundError>() => pages::not_found(),
                Ok(Ok(Err(error))) => self.refusal(error, &path).into_response(),
                Ok(Err(_)) => Error::internal("a panic").into_response(),
                Err(_) => Error::timed_out().into_response(),
            };
            if path.starts_with("/v1/") {
                etag::protect(&self.tags, &mut response);
            }
            if let Some(known) = &known {
                etag::leave_out(known, &mut response);
            }
            if may_pack {
                response = compression::packed(response);
            }
            let headers = response.headers_mut();
            headers.insert(REQUEST_ID, id.to_header());
            headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
            if path.starts_with("/v1/") {
                response
                    .headers_mut()
                    .insert(header::CACHE_CONTROL, cache_control(&method));
            }
            self.cross_origin.tell(origin.as_ref(), &mut response);
            let status = response.status();
            let duration_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
            tracing::info!(status = status.as_u16(), duration_us, "answered");
            response
        };
        Ok(answer.instrument(span).await)
    }
}

/// Responses contain personal data, and those to changes may contain a key, so no shared cache may store them. A
/// browser may store what it revalidates with `If-None-Match` each time (RFC 9111 §5.2.2).
fn cache_control(method: &Method) -> HeaderValue {
    HeaderValue::from_static(if method.is_safe() {
        "private, no-cache"
    } else {
        "no-store"
    })
}

impl<E> Surrounded<E> {
    /// The methods of a path (RFC 9110 §9.3.7).
    fn options(&self, path: &str) -> Response {
        Response::builder()
            .status(StatusCode::NO_CONTENT)
            .header(header::ALLOW, self.document.methods(path).join(", "))
            .finish()
    }

    /// Converts any error to an error of the API.
    fn refusal(&self, error: poem::Error, path: &str) -> Error {
        let error = match error.downcast::<Error>() {
            Ok(error) => return error,
            Err(error) => error,
        };
        if error.is::<NotFoundError>() {
            Error::no_route()
        } else if error.is::<MethodNotAllowedError>() {
            Error::method_not_allowed(&self.document.methods(path))
        } else if error.is::<ParsePathError>() {
            Error::field(InputLocation::Path, "", "is not UTF-8 after percent-decoding")
        } else {
            Error::internal(error.to_string())
        }
    }
}

/// A path for logs. Segments that cannot be part of a path of this server, such as an e-mail address instead of an
/// id, are omitted.
fn path_in_logs(path: &str) -> String {
    /// More than the longest part: an id, or the name of an operation.
    const MAX_SEGMENT: usize = 64;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let shown = path.split('/').map(|segment| {
        let known = segment.len() <= MAX_SEGMENT && segment.bytes().all(plain);
        if known { segment } else { "…" }
    });
    shown.collect::<Vec<_>>().join("/")
}
