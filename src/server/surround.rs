//! What surrounds every request, from the outside: its id, its line in the log, its time limit, and the one place where
//! whatever went wrong becomes an error of the API.

use std::{
    panic::AssertUnwindSafe,
    time::{Duration, Instant},
};

use futures_util::FutureExt as _;
use poem::{
    Endpoint, IntoResponse as _, Request, Response,
    error::{MethodNotAllowedError, NotFoundError, ParsePathError},
    http::{HeaderValue, Method, StatusCode, header},
};
use tracing::{Instrument as _, Span, field};

use super::{accept, compression, connections, cross_origin::CrossOrigin, pages};
use crate::{
    http::{
        document::Document,
        error::{Error, InputLocation},
        etag,
        idempotency::Reading,
    },
    store::revision::TagKey,
    types::request_id::{REQUEST_ID, RequestId},
};

/// How long a request for a page may take; an operation says so itself.
const PAGE_TIMEOUT: Duration = Duration::from_secs(15);

/// An endpoint with what surrounds every request.
pub struct Surrounded<E> {
    /// What is surrounded: operations and pages.
    pub inner: E,
    /// Says which operation a request is for.
    pub document: &'static Document,
    /// Makes the tags of what is answered.
    pub tags: TagKey,
    /// The pages elsewhere that may call.
    pub cross_origin: CrossOrigin,
}

impl<E: Endpoint> Endpoint for Surrounded<E> {
    type Output = Response;

    async fn call(&self, mut request: Request) -> poem::Result<Response> {
        let began = Instant::now();
        let id = RequestId::of(request.headers());
        request.set_data(id.clone());
        let route = self.document.route(request.method().as_str(), request.uri().path());
        if let Some(route) = route {
            request.set_data(route);
        }
        Reading::prepare(&mut request);
        let span = span(&id, &request, route.map(|route| route.operation.id));
        let answer = async {
            let asked = Asked::of(&request);
            let time = route.map_or(PAGE_TIMEOUT, |route| route.operation.time);
            let outcome = self.outcome(request, &asked, time).await;
            let response = self.complete(outcome, &asked, &id);
            let status = response.status();
            let duration_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
            tracing::info!(status = status.as_u16(), duration_us, "answered");
            response
        };
        Ok(answer.instrument(span).await)
    }
}

/// The span of a request. Only ids, and what is needed to follow a request. Neither query nor headers: they contain
/// personal data and secrets. Tenant and actor are known after the credential has been checked, the code after an error.
fn span(id: &RequestId, request: &Request, operation: Option<&str>) -> Span {
    tracing::info_span!(
        "request",
        %id,
        method = %request.method(),
        path = %path_in_logs(request.uri().path()),
        operation,
        tenant = field::Empty,
        actor = field::Empty,
        code = field::Empty,
        policy_us = field::Empty,
        queue_us = field::Empty,
        store_us = field::Empty,
    )
}

/// What the answer depends on, of a request that is gone by then.
struct Asked {
    method: Method,
    path: String,
    /// The tags of what the client has already.
    known: Option<String>,
    may_pack: bool,
    wants_page: bool,
    origin: Option<HeaderValue>,
}

impl Asked {
    fn of(request: &Request) -> Self {
        Self {
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            known: etag::known(request),
            may_pack: compression::may_pack(request),
            wants_page: accept::wants_page(request.headers()),
            origin: request.headers().get(header::ORIGIN).cloned(),
        }
    }

    /// Whether it is for an operation and not for a page.
    fn is_for_operation(&self) -> bool {
        self.path.starts_with("/v1/")
    }
}

impl<E: Endpoint> Surrounded<E> {
    /// Has a request answered within its time, whatever goes wrong.
    async fn outcome(&self, request: Request, asked: &Asked, time: Duration) -> Response {
        let carried_out = async {
            connections::check_head(request.version(), request.headers())?;
            self.inner.call(request).await
        };
        let carried_out = AssertUnwindSafe(carried_out).catch_unwind();
        match tokio::time::timeout(time, carried_out).await {
            Ok(Ok(Ok(output))) => output.into_response(),
            Ok(Ok(Err(error))) if asked.method == Method::OPTIONS && error.is::<MethodNotAllowedError>() => {
                self.options(&asked.path)
            }
            Ok(Ok(Err(error))) if asked.wants_page && error.is::<NotFoundError>() => pages::not_found(),
            Ok(Ok(Err(error))) => self.refusal(error, &asked.path).into_response(),
            Ok(Err(_)) => Error::internal("a panic").into_response(),
            Err(_) => Error::timed_out().into_response(),
        }
    }
}

impl<E> Surrounded<E> {
    /// Adds to an answer what every answer has, and leaves out what its client need not get.
    fn complete(&self, mut response: Response, asked: &Asked, id: &RequestId) -> Response {
        if asked.is_for_operation() {
            etag::protect(&self.tags, &mut response);
        }
        if let Some(known) = &asked.known {
            etag::leave_out(known, &mut response);
        }
        if asked.may_pack {
            response = compression::packed(response);
        }
        let headers = response.headers_mut();
        headers.insert(REQUEST_ID, id.to_header());
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if asked.is_for_operation() {
            headers.insert(header::CACHE_CONTROL, cache_control(&asked.method));
        }
        self.cross_origin.tell(asked.origin.as_ref(), &mut response);
        response
    }

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

/// Responses contain personal data, and those to changes may contain a key, so no shared cache may store them. A
/// browser may store what it revalidates with `If-None-Match` each time (RFC 9111 §5.2.2).
fn cache_control(method: &Method) -> HeaderValue {
    HeaderValue::from_static(if method.is_safe() {
        "private, no-cache"
    } else {
        "no-store"
    })
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
