//! Every error that a caller can see is one of these: a code with a message for a person and details for a program.
//!
//! What can go wrong with a resource becomes an error in the resource's folder; here is what can go wrong with any request.

use std::fmt;

use poem::{IntoResponse, Response, http::StatusCode};
use poem_openapi::{
    ApiResponse,
    registry::{MetaResponses, Registry},
};
use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

pub use super::mistakes::{InputLocation, Mistake};
use super::{
    body::JSON,
    codes::{self, Code},
    details::{self, Detail, ErrorDetails, InputError},
    error_body::ErrorBody,
};
use crate::store::StoreError;

/// Why a request is not carried out.
pub struct Error(Box<Parts>);

struct Parts {
    code: &'static Code,
    message: String,
    details: Map<String, Value>,
    notices: Option<Vec<String>>,
    headers: Vec<(&'static str, String)>,
    /// What the operator reads in the log, and callers do not.
    cause: Option<String>,
}

/// How many seconds a caller should wait before they try again.
const RETRY_AFTER_SECONDS: &str = "1";

impl Error {
    /// An error with this code.
    pub fn new(code: &'static Code, message: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            code,
            message: message.into(),
            details: Map::new(),
            notices: None,
            headers: Vec::new(),
            cause: None,
        }))
    }

    /// With a member in `details`; nothing, where the value is null.
    #[must_use]
    pub fn with(mut self, detail: &'static Detail, value: impl Serialize) -> Self {
        // Values are texts, numbers, ids and structs of them, which cannot fail to be written.
        match serde_json::to_value(value) {
            Ok(Value::Null) | Err(_) => {}
            Ok(value) => {
                self.0.details.insert(detail.name.into(), value);
            }
        }
        self
    }

    /// With the notices of the rules that determined a decision.
    #[must_use]
    pub fn with_notices(mut self, notices: impl Iterator<Item = String>) -> Self {
        self.0.notices = Some(notices.collect());
        self
    }

    /// With a header.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.0.headers.push((name, value.into()));
        self
    }

    /// With what the operator reads in the log, and callers do not.
    #[must_use]
    pub fn because(mut self, cause: impl Into<String>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    /// An error for a field.
    pub fn field(within: InputLocation, field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::invalid_input(&Mistake::new(within, field, reason), &[])
    }

    /// An error for a mistake, and others beside it.
    #[must_use]
    pub fn invalid_input(first: &Mistake, others: &[Mistake]) -> Self {
        let message = match others.len() {
            0 => first.message(),
            1 => format!("{} There is another mistake: see details.errors.", first.message()),
            more => format!(
                "{} There are {more} more mistakes: see details.errors.",
                first.message()
            ),
        };
        let errors: Vec<InputError> = std::iter::once(first).chain(others).map(InputError::from).collect();
        Self::new(&codes::INVALID_INPUT, message)
            .with(&details::FIELD, &first.field)
            .with(&details::IN, first.within.as_str())
            .with(&details::REASON, &first.reason)
            .with(&details::ERRORS, errors)
    }

    /// An error for all mistakes in a request, if there are any.
    ///
    /// # Errors
    ///
    /// The mistakes.
    pub fn of_mistakes(mistakes: &[Mistake]) -> Result<(), Self> {
        match mistakes {
            [] => Ok(()),
            [first, others @ ..] => Err(Self::invalid_input(first, others)),
        }
    }

    /// An error for a body that is not JSON.
    #[must_use]
    pub fn malformed_json(reason: impl fmt::Display) -> Self {
        let reason = reason.to_string();
        Self::new(&codes::MALFORMED_JSON, format!("The body is not valid JSON: {reason}."))
            .with(&details::REASON, reason)
    }

    /// An error for a body that is too large.
    #[must_use]
    pub fn payload_too_large(max_bytes: usize) -> Self {
        let message = format!("The body is larger than {max_bytes} bytes.");
        Self::new(&codes::PAYLOAD_TOO_LARGE, message).with(&details::MAX_BYTES, max_bytes)
    }

    /// An error for a body of another media type.
    #[must_use]
    pub fn unsupported_media_type(found: Option<&str>) -> Self {
        let message = match found {
            Some(found) => format!("The Content-Type of the body is {found}. Send the body as application/json."),
            None => "The header Content-Type is missing. Send the body as application/json.".into(),
        };
        Self::new(&codes::UNSUPPORTED_MEDIA_TYPE, message).with(&details::CONTENT_TYPE, found)
    }

    /// An error for a body that does not arrive.
    #[must_use]
    pub fn body_timed_out() -> Self {
        Self::new(
            &codes::BODY_TIMED_OUT,
            "The body did not arrive in time, or is shorter than its Content-Length says. Nothing was changed; send the \
             request again.",
        )
    }

    /// An error for a credential of another tenant.
    #[must_use]
    pub fn tenant_mismatch() -> Self {
        Self::new(
            &codes::TENANT_MISMATCH,
            "The credential does not belong to the tenant in X-Tenant-ID. Send the id of the credential's own tenant, or a \
             credential of that tenant.",
        )
    }

    /// An error for an id that is not that of anything in the tenant.
    #[must_use]
    pub fn no_such(resource: &'static str, id: impl Into<Uuid>) -> Self {
        let id = id.into();
        Self::not_found(resource, &format!(" with the id {id}")).with(&details::ID, id)
    }

    /// An error for something that the tenant does not have.
    #[must_use]
    pub fn none_such(resource: &'static str) -> Self {
        Self::not_found(resource, "")
    }

    fn not_found(resource: &'static str, which: &str) -> Self {
        let message = format!(
            "This tenant has no {}{which}. Check the id, and that X-Tenant-ID is the right tenant.",
            resource.replace('_', " ")
        );
        Self::new(&codes::NOT_FOUND, message).with(&details::RESOURCE, resource)
    }

    /// An error for a path at which there is nothing.
    #[must_use]
    pub fn no_route() -> Self {
        let message = "There is nothing at this path. The operations are listed at /docs.";
        Self::new(&codes::NOT_FOUND, message).with(&details::RESOURCE, "route")
    }

    /// An error for a method that a path does not support.
    #[must_use]
    pub fn method_not_allowed(allowed: &[String]) -> Self {
        let listed = allowed.join(", ");
        let message = format!("This path does not support the method of the request. Supported: {listed}.");
        Self::new(&codes::METHOD_NOT_ALLOWED, message)
            .with(&details::ALLOWED, allowed)
            .with_header("Allow", listed)
    }

    /// An error for a change of something that has been changed since the caller read it.
    #[must_use]
    pub fn precondition_failed() -> Self {
        Self::new(
            &codes::PRECONDITION_FAILED,
            "The resource has changed since you read it: its ETag is no longer the one in If-Match. Read it again, and \
             send the change with its current ETag.",
        )
    }

    /// An error for an `Idempotency-Key` that was sent with another request.
    #[must_use]
    pub fn idempotency_key_reused() -> Self {
        Self::new(
            &codes::IDEMPOTENCY_KEY_REUSED,
            "This Idempotency-Key was used for a different request within the last 24 hours. Use a new key for each new \
             request, and repeat a key only with the same request.",
        )
    }

    /// An error for a tenant that has used up its share of something: the limit that was reached, in words.
    #[must_use]
    pub fn too_many_requests(limit: &'static str) -> Self {
        let message = format!(
            "The tenant has reached its limit of {limit}. Try again in a second, with fewer requests at a time."
        );
        Self::new(&codes::TOO_MANY_REQUESTS, message).with(&details::LIMIT, limit)
    }

    /// An error for a database that cannot be used at the moment. The cause is for the log.
    #[must_use]
    pub fn unavailable(cause: impl Into<String>) -> Self {
        Self::new(
            &codes::UNAVAILABLE,
            "The database is unavailable at the moment. The change may or may not have been made; send the request again.",
        )
        .because(cause)
    }

    /// An error for a request that took too long.
    #[must_use]
    pub fn timed_out() -> Self {
        Self::new(
            &codes::TIMED_OUT,
            "The request took too long. The change may or may not have been made; send the request again.",
        )
    }

    /// An error for a fault of the server. The cause is for the log.
    #[must_use]
    pub fn internal(cause: impl Into<String>) -> Self {
        Self::new(
            &codes::INTERNAL,
            "Internal server error. Send the X-Request-ID of this answer to the server's operator.",
        )
        .because(cause)
    }

    /// The code.
    #[must_use]
    pub const fn code(&self) -> &'static Code {
        self.0.code
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.0.code.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// What the caller gets to read.
    #[must_use]
    pub fn into_body(self) -> ErrorBody {
        let Parts {
            code,
            message,
            mut details,
            notices,
            ..
        } = *self.0;
        details.insert(details::DOCUMENTATION.name.into(), code.page().into());
        ErrorBody {
            code: code.into(),
            message,
            details: Some(ErrorDetails(details)),
            notices,
        }
    }

    /// Tells the operator what is behind the errors that are not the caller's.
    fn log(&self) {
        tracing::Span::current().record("code", tracing::field::display(self.0.code));
        let Some(cause) = &self.0.cause else { return };
        if *self.0.code == codes::INTERNAL {
            tracing::error!(cause, "internal server error");
        } else {
            tracing::warn!(cause, code = %self.0.code, "a service that the request needs is unavailable");
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.code, self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} ({:?})", self.0.cause)
    }
}

impl std::error::Error for Error {}

impl poem::error::ResponseError for Error {
    fn status(&self) -> StatusCode {
        self.status()
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        self.log();
        let status = self.status();
        let mut response = Response::builder().status(status).content_type(JSON);
        for (name, value) in &self.0.headers {
            response = response.header(*name, value);
        }
        if [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&status) {
            response = response.header("Retry-After", RETRY_AFTER_SECONDS);
        }
        response.body(serde_json::to_vec(&self.into_body()).unwrap_or_default())
    }
}

/// Which errors an operation can answer is in the table of operations.
impl ApiResponse for Error {
    fn meta() -> MetaResponses {
        MetaResponses { responses: Vec::new() }
    }

    fn register(_: &mut Registry) {}
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::ClockOff(difference) => Self::new(
                &codes::UNAVAILABLE,
                format!(
                    "The clock of this server is {difference} that of the database. It accepts no changes until its clock \
                     is corrected; nothing was changed."
                ),
            )
            .because(format!("the clock of this server is {difference} that of the database")),
            StoreError::Unavailable(cause) | StoreError::Unreachable(cause) | StoreError::Locked(cause) => {
                Self::unavailable(cause)
            }
            StoreError::Overloaded => Self::new(
                &codes::OVERLOADED,
                "The server has too many requests waiting. Try again in a second.",
            ),
            StoreError::TenantOverloaded(limit) => Self::too_many_requests(limit),
            StoreError::RootKey(error) => Self::internal(error.to_string()),
            StoreError::Duplicate(cause) | StoreError::Reference(cause) | StoreError::Fault(cause) => {
                Self::internal(cause)
            }
        }
    }
}
