//! Every error that a caller can see: one enum of causes, from which status, code and message follow in one place.

use std::{borrow::Cow, fmt, sync::Arc};

use aka_entity::barred_account::Reason;
use poem::{IntoResponse, Response, http::StatusCode};
use poem_openapi::{
    ApiResponse, Object,
    registry::{MetaMediaType, MetaResponse, MetaResponses, Registry},
    types::{ParseFromJSON, ParseResult, ToJSON, Type},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{body::JSON, error_code::ErrorCode, policy_evaluation::RuleExplanation};
use crate::{
    clock::Timestamp,
    domain::scopes::Scope,
    domain::{
        api_keys::{ApiKeyRefusal, KeyRefusal},
        caller,
        identity_providers::IdentityProviderRefusal,
        lockout::LockedOut,
        policies::PolicyRefusal,
        preview::PreviewRefusal,
        rule_checks::RuleRefusal,
        rule_limits::Excess,
        tenants::TenantRefusal,
        tokens::TokenRefusal,
        users::UserRefusal,
    },
    policy::{Action, DecidedAt, Decision, Explanation, Verdict, rules::RuleError},
    store::StoreError,
};

/// Why a request was not carried out.
#[derive(Debug, Object, Serialize, Deserialize)]
#[oai(rename = "ApiError", skip_serializing_if_is_none)]
pub struct ErrorBody {
    /// What went wrong, for a program. It stays the same when the message changes.
    pub code: ErrorCode,
    /// What went wrong, for a person: which thing, what was wrong with it, and what to do.
    pub message: String,
    /// Context, for a program: `field`, `in` and `reason` for bad input, `resource` for what was not found, ids. Always
    /// `documentation`: the path of the page at this server that explains the code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Details>,
    /// What the policy rules that determined the decision have to say, where there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notices: Option<Vec<String>>,
}

/// A JSON object of any content.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Details(pub Map<String, Value>);

impl Type for Details {
    const IS_REQUIRED: bool = true;
    type RawValueType = Self;
    type RawElementValueType = Self;

    fn name() -> std::borrow::Cow<'static, str> {
        "object".into()
    }

    fn schema_ref() -> poem_openapi::registry::MetaSchemaRef {
        use poem_openapi::registry::{MetaSchema, MetaSchemaRef};
        MetaSchemaRef::Inline(Box::new(MetaSchema {
            additional_properties: Some(Box::new(MetaSchemaRef::Inline(Box::new(MetaSchema::ANY)))),
            ..MetaSchema::new("object")
        }))
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(std::iter::once(self))
    }
}

impl ParseFromJSON for Details {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        serde_json::from_value(value.unwrap_or_default()).map_err(poem_openapi::types::ParseError::custom)
    }
}

impl ToJSON for Details {
    fn to_json(&self) -> Option<Value> {
        Some(Value::Object(self.0.clone()))
    }
}

/// Where in a request a fault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum In {
    /// In the JSON of the body.
    Body,
    /// In the path.
    Path,
    /// In the query.
    Query,
    /// In a header.
    Header,
}

impl In {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Body => "body",
            Self::Path => "path",
            Self::Query => "query",
            Self::Header => "header",
        }
    }
}

/// Every cause for which a request is not carried out.
#[derive(Debug)]
#[expect(missing_docs, reason = "each says in its message what it is")]
pub enum Error {
    MalformedJson {
        reason: String,
    },
    InvalidInput {
        field: String,
        within: In,
        reason: String,
    },
    InvalidRule {
        field: Cow<'static, str>,
        error: RuleError,
    },
    Unauthenticated {
        reason: &'static str,
        message: String,
    },
    TenantMismatch,
    Forbidden {
        action: Action,
        decision: Arc<Decision>,
        lacks: Option<Scope>,
        /// Whether the caller may read what rules say.
        may_evaluate: bool,
    },
    RouteNotFound,
    NotFound {
        resource: &'static str,
    },
    MethodNotAllowed {
        allowed: Vec<String>,
    },
    IdentityAlreadyLinked {
        details: Map<String, Value>,
    },
    IdentityProviderDisabled,
    UserSuspended,
    UserAlreadyExists,
    TenantAlreadyExists,
    /// Another provider of the tenant has the same value in a field that tells providers apart.
    IdentityProviderAlreadyExists {
        field: &'static str,
    },
    IdentityProviderInUse {
        linked: u64,
    },
    ApiKeyEnded,
    ApiKeyRotated,
    PreconditionFailed,
    IdempotencyKeyReused,
    /// More rules than there may be, or rules that weigh more.
    TooManyRules(Excess),
    /// Nobody could take the change back.
    PoliciesLocked(Box<LockedOut>),
    BodyTimedOut,
    PayloadTooLarge {
        max_bytes: usize,
    },
    MalformedRequest,
    HeadTimedOut,
    UriTooLong,
    HeadersTooLarge {
        max_bytes: usize,
    },
    TooManyConnections,
    UnsupportedMediaType {
        found: Option<String>,
    },
    Unavailable {
        reason: String,
    },
    /// The tenant has used up its share of something.
    TooManyRequests {
        /// The limit that was reached, in words.
        limit: &'static str,
    },
    Overloaded,
    IssuerUnavailable {
        reason: String,
    },
    TimedOut,
    Internal {
        reason: String,
    },
}

/// How many seconds a caller should wait when the server has too much to do.
const RETRY_AFTER_SECONDS: &str = "1";

impl Error {
    /// An error for a field.
    pub fn field(within: In, field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::InvalidInput {
            field: field.into(),
            within,
            reason: reason.into(),
        }
    }

    /// An error for a request without a credential.
    #[must_use]
    pub fn no_credential() -> Self {
        Self::Unauthenticated {
            reason: "missing_credential",
            message:
                "The request has no credential. Send an API key in X-API-Key, or a token in Authorization: Bearer."
                    .into(),
        }
    }

    /// An error for a field with Cedar text.
    #[must_use]
    pub fn rule(field: impl Into<Cow<'static, str>>, refusal: RuleRefusal) -> Self {
        match refusal {
            RuleRefusal::Invalid(error) => Self::InvalidRule {
                field: field.into(),
                error,
            },
            RuleRefusal::Store(error) => error.into(),
        }
    }

    /// An error for something that the tenant does not have.
    #[must_use]
    pub const fn not_found(resource: &'static str) -> Self {
        Self::NotFound { resource }
    }

    /// The HTTP status.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::MalformedRequest
            | Self::MalformedJson { .. }
            | Self::InvalidInput { .. }
            | Self::InvalidRule { .. } => StatusCode::BAD_REQUEST,
            Self::Unauthenticated { .. } => StatusCode::UNAUTHORIZED,
            Self::TenantMismatch | Self::Forbidden { .. } => StatusCode::FORBIDDEN,
            Self::RouteNotFound | Self::NotFound { .. } => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::IdentityAlreadyLinked { .. }
            | Self::IdentityProviderDisabled
            | Self::UserSuspended
            | Self::UserAlreadyExists
            | Self::TenantAlreadyExists
            | Self::IdentityProviderAlreadyExists { .. }
            | Self::IdentityProviderInUse { .. }
            | Self::ApiKeyEnded
            | Self::ApiKeyRotated
            | Self::TooManyRules(_)
            | Self::PoliciesLocked(_) => StatusCode::CONFLICT,
            Self::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            Self::IdempotencyKeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooManyRequests { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::BodyTimedOut | Self::HeadTimedOut => StatusCode::REQUEST_TIMEOUT,
            Self::UriTooLong => StatusCode::URI_TOO_LONG,
            Self::HeadersTooLarge { .. } => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::PayloadTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Unavailable { .. }
            | Self::Overloaded
            | Self::TooManyConnections
            | Self::IssuerUnavailable { .. }
            | Self::TimedOut => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The code: stable, for programs.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::MalformedJson { .. } => ErrorCode::MalformedJson,
            Self::InvalidInput { .. } => ErrorCode::InvalidInput,
            Self::InvalidRule { .. } => ErrorCode::InvalidRule,
            Self::Unauthenticated { .. } => ErrorCode::Unauthenticated,
            Self::TenantMismatch => ErrorCode::TenantMismatch,
            Self::Forbidden { .. } => ErrorCode::Forbidden,
            Self::RouteNotFound | Self::NotFound { .. } => ErrorCode::NotFound,
            Self::MethodNotAllowed { .. } => ErrorCode::MethodNotAllowed,
            Self::IdentityAlreadyLinked { .. } => ErrorCode::IdentityAlreadyLinked,
            Self::IdentityProviderDisabled => ErrorCode::IdentityProviderDisabled,
            Self::UserSuspended => ErrorCode::UserSuspended,
            Self::UserAlreadyExists => ErrorCode::UserAlreadyExists,
            Self::TenantAlreadyExists => ErrorCode::TenantAlreadyExists,
            Self::IdentityProviderAlreadyExists { .. } => ErrorCode::IdentityProviderAlreadyExists,
            Self::IdentityProviderInUse { .. } => ErrorCode::IdentityProviderInUse,
            Self::ApiKeyEnded => ErrorCode::ApiKeyEnded,
            Self::ApiKeyRotated => ErrorCode::ApiKeyRotated,
            Self::PreconditionFailed => ErrorCode::PreconditionFailed,
            Self::IdempotencyKeyReused => ErrorCode::IdempotencyKeyReused,
            Self::TooManyRules(_) => ErrorCode::TooManyRules,
            Self::PoliciesLocked(_) => ErrorCode::PoliciesLocked,
            Self::BodyTimedOut => ErrorCode::BodyTimedOut,
            Self::MalformedRequest => ErrorCode::MalformedRequest,
            Self::HeadTimedOut => ErrorCode::HeadTimedOut,
            Self::UriTooLong => ErrorCode::UriTooLong,
            Self::HeadersTooLarge { .. } => ErrorCode::HeadersTooLarge,
            Self::TooManyConnections => ErrorCode::TooManyConnections,
            Self::PayloadTooLarge { .. } => ErrorCode::PayloadTooLarge,
            Self::UnsupportedMediaType { .. } => ErrorCode::UnsupportedMediaType,
            Self::Unavailable { .. } => ErrorCode::Unavailable,
            Self::TooManyRequests { .. } => ErrorCode::TooManyRequests,
            Self::Overloaded => ErrorCode::Overloaded,
            Self::IssuerUnavailable { .. } => ErrorCode::IssuerUnavailable,
            Self::TimedOut => ErrorCode::TimedOut,
            Self::Internal { .. } => ErrorCode::Internal,
        }
    }

    #[expect(clippy::too_many_lines, reason = "a sentence for each cause")]
    fn message(&self) -> String {
        match self {
            Self::MalformedJson { reason } => format!("The body is not JSON: {reason}."),
            Self::InvalidInput { field, within, reason } => match within {
                In::Body if field.is_empty() => format!("The body {reason}."),
                In::Body => format!("The field `{field}` {reason}."),
                In::Path if field.is_empty() => format!("The path {reason}."),
                In::Path => format!("The `{field}` in the path {reason}."),
                In::Query => format!("The query parameter `{field}` {reason}."),
                In::Header => format!("The header `{field}` {reason}."),
            },
            Self::InvalidRule { error, .. } => {
                let place = error
                    .position
                    .map(|(line, column)| format!(" at line {line}, column {column}"));
                let help = error.help.as_ref().map(|help| format!(" ({help})"));
                format!(
                    "The Cedar text is not a rule{}: {}{}.",
                    place.unwrap_or_default(),
                    error.message,
                    help.unwrap_or_default()
                )
            }
            Self::Unauthenticated { message, .. } => message.clone(),
            Self::TenantMismatch => {
                "The credential belongs to another tenant than the one in X-Tenant-ID. Send the id \
                of the credential's own tenant, or a credential of that tenant."
                    .into()
            }
            Self::Forbidden {
                action,
                decision,
                lacks,
                ..
            } => forbidden_message(*action, decision, *lacks),
            Self::RouteNotFound => "There is nothing at this path. The operations are listed at /docs.".into(),
            Self::NotFound { resource } => format!(
                "This tenant has no such {}. Check the id, and that X-Tenant-ID is the tenant that it belongs to.",
                resource.replace('_', " ")
            ),
            Self::MethodNotAllowed { allowed } => {
                format!(
                    "This path does not know the method of the request. It knows {}.",
                    allowed.join(", ")
                )
            }
            Self::IdentityAlreadyLinked { .. } => "The account is linked to another user. An account belongs to one \
                user at most: unlink it there first, if it really belongs to this one."
                .into(),
            Self::IdentityProviderDisabled => {
                "The identity provider is disabled. Enable it before accounts at it are linked.".into()
            }
            Self::UserSuspended => "The user is suspended. Make them active again before accounts are linked.".into(),
            Self::UserAlreadyExists => "Another user of this tenant has this e-mail address (in whatever case).".into(),
            Self::TenantAlreadyExists => "Another tenant has this slug. Choose another one.".into(),
            Self::IdentityProviderAlreadyExists { field } => format!(
                "Another identity provider of this tenant has the same `{field}`. Change that provider, or choose another \
                 value."
            ),
            Self::IdentityProviderInUse { linked } => format!(
                "The identity provider cannot be deleted: {linked} of its accounts are linked to users. Unlink them \
                 first, or disable the provider."
            ),
            Self::ApiKeyEnded => {
                "The API key is revoked or expired, so that it cannot be rotated. Create a new one.".into()
            }
            Self::ApiKeyRotated => {
                "The API key has been rotated already, and ends soon. Rotate its successor, or create a new key.".into()
            }
            Self::PreconditionFailed => {
                "Somebody else has changed this since it was read with the ETag in If-Match. Read it \
                again, and send the change with its ETag of now."
                    .into()
            }
            Self::IdempotencyKeyReused => {
                "This Idempotency-Key was sent with another request within the last 24 hours. \
                Send a new key with a new request, and the same one only with the same."
                    .into()
            }
            Self::TooManyRules(Excess { what, max, found, .. }) => {
                format!("The limit is {max} {what}; with this request there would be {found}. Remove some first.")
            }
            Self::PoliciesLocked(locked_out) => locked_out_message(locked_out),
            Self::BodyTimedOut => {
                "The body did not arrive in time, or is shorter than its Content-Length says. Nothing \
                was changed; send the request again."
                    .into()
            }
            Self::MalformedRequest => {
                "This is not an HTTP request: its first line or one of its headers cannot be read.".into()
            }
            Self::HeadTimedOut => {
                "The request line and headers did not arrive in time. Nothing was changed; send the request again."
                    .into()
            }
            Self::UriTooLong => "The path and query of the request are too long.".into(),
            Self::HeadersTooLarge { max_bytes } => {
                format!(
                    "The request line and headers are larger than {max_bytes} bytes, or there are too many of them."
                )
            }
            Self::TooManyConnections => "The server has no place for another connection from this address. Use fewer \
                connections, and keep them open for several requests."
                .into(),
            Self::PayloadTooLarge { max_bytes } => format!("The body is larger than {max_bytes} bytes."),
            Self::UnsupportedMediaType { found } => match found {
                Some(found) => format!("The body is sent as {found}. Send it as application/json."),
                None => "The header Content-Type is missing. Send the body as application/json.".into(),
            },
            Self::Unavailable { .. } => "The database cannot be used at the moment. Nothing is known to have been \
                changed; the request may be sent again."
                .into(),
            Self::TooManyRequests { limit } => {
                format!(
                    "The tenant has reached its limit of {limit}. Try again in a second, with fewer requests at a time."
                )
            }
            Self::Overloaded => {
                "The server is full: too many changes or expensive requests are waiting. Try again in a second.".into()
            }
            Self::IssuerUnavailable { .. } => {
                "The keys of the token's issuer cannot be fetched at the moment, so that the token cannot be checked."
                    .into()
            }
            Self::TimedOut => {
                "The request took too long. It may or may not have been carried out; it may be sent again.".into()
            }
            Self::Internal { .. } => {
                "The server has made a mistake. Tell its operator the X-Request-ID of this answer.".into()
            }
        }
    }

    fn details(&self) -> Map<String, Value> {
        let details = match self {
            Self::MalformedJson { reason } => json!({ "reason": reason }),
            Self::InvalidInput { field, within, reason } => {
                json!({ "field": field, "in": within.as_str(), "reason": reason })
            }
            Self::InvalidRule { field, error } => json!({
                "field": field,
                "in": "body",
                "reason": error.message,
                "help": error.help,
                "line": error.position.map(|(line, _)| line),
                "column": error.position.map(|(_, column)| column),
            }),
            Self::Unauthenticated { reason, .. } => json!({ "reason": reason }),
            Self::Forbidden {
                action,
                decision,
                lacks,
                may_evaluate,
            } => forbidden_details(*action, decision, *lacks, *may_evaluate),
            Self::RouteNotFound => json!({ "resource": "route" }),
            Self::NotFound { resource } => json!({ "resource": resource }),
            Self::MethodNotAllowed { allowed } => json!({ "allowed": allowed }),
            Self::IdentityAlreadyLinked { details } => Value::Object(details.clone()),
            Self::IdentityProviderAlreadyExists { field } => json!({ "field": field }),
            Self::IdentityProviderInUse { linked } => json!({ "linked_identities": linked }),
            Self::TooManyRules(Excess { limit, max, found, .. }) => {
                json!({ "limit": limit, "max": max, "found": found })
            }
            Self::PoliciesLocked(locked_out) => json!({
                "action": locked_out.action,
                "kind": locked_out.decision.verdict.as_str(),
                "policy_texts": locked_out.texts,
                "matching_rule_ids": locked_out.rules,
            }),
            Self::TooManyRequests { limit } => json!({ "limit": limit }),
            Self::PayloadTooLarge { max_bytes } | Self::HeadersTooLarge { max_bytes } => {
                json!({ "max_bytes": max_bytes })
            }
            Self::UnsupportedMediaType { found } => json!({ "found": found }),
            _ => Value::Null,
        };
        match details {
            Value::Object(mut members) => {
                members.retain(|_, value| !value.is_null());
                members
            }
            _ => Map::new(),
        }
    }

    fn notices(&self) -> Option<Vec<String>> {
        match self {
            Self::Forbidden { decision, .. } => Some(decision.notices.iter().map(ToString::to_string).collect()),
            _ => None,
        }
    }

    /// What the caller gets to read.
    #[must_use]
    pub fn into_body(self) -> ErrorBody {
        let mut details = self.details();
        details.insert("documentation".into(), self.code().page().into());
        ErrorBody {
            code: self.code(),
            message: self.message(),
            notices: self.notices(),
            details: Some(Details(details)),
        }
    }
}

fn locked_out_message(locked_out: &LockedOut) -> String {
    let LockedOut {
        action, texts, rules, ..
    } = locked_out;
    let texts = texts.iter().map(|text| format!("`{text}`"));
    let rules: Vec<String> = texts.chain(rules.iter().cloned()).collect();
    let by = if rules.is_empty() {
        String::new()
    } else {
        format!(" because of {}", rules.join(", "))
    };
    format!(
        "The change would leave no API key or user that could take it back: {action} would be refused{by}. Leave an \
         exception for those who manage policies, or send the request with force=true."
    )
}

fn forbidden_message(action: Action, decision: &Decision, lacks: Option<Scope>) -> String {
    match (decision.verdict, lacks) {
        (Verdict::Forbidden, _) if decision.notices.is_empty() => {
            format!("A policy forbids {action} here. Its rule gives no reason; ask the tenant's administrator.")
        }
        (Verdict::Forbidden, _) => {
            let notices: Vec<&str> = decision.notices.iter().map(AsRef::as_ref).collect();
            format!("A policy forbids {action} here: {}", notices.join(" "))
        }
        (Verdict::Error, _) => format!(
            "Whether {action} is permitted could not be decided, because a rule of the tenant cannot be evaluated. Ask \
             the tenant's administrator."
        ),
        (_, Some(scope)) => format!(
            "Nothing permits {action}: the credential lacks the scope {scope}, and no policy permits it. Use a \
             credential that has the scope, or have a policy permit it."
        ),
        (_, None) => format!("Nothing permits {action}: no policy does."),
    }
}

/// Why policy says no, as far as the caller may know. What rules say, and what they saw beside what the caller has sent, is
/// for those who may ask policy themselves.
fn forbidden_details(action: Action, decision: &Decision, lacks: Option<Scope>, may_evaluate: bool) -> Value {
    let kind = match decision.verdict {
        Verdict::Forbidden => "forbidden",
        Verdict::Error => "error",
        Verdict::Permitted | Verdict::NotPermitted => "not_permitted",
    };
    let mut details = json!({
        "action": action.as_str(),
        "kind": kind,
        "missing_scope": lacks.map(Scope::as_str),
        "priority": decision.level.and_then(DecidedAt::priority),
        "explanation": decision.explanations.first().and_then(reduced),
    });
    if may_evaluate {
        let explanations = decision.explanations.iter().cloned().map(RuleExplanation::from);
        details["matching_policy_ids"] = json!(decision.policy_ids);
        details["matching_rule_ids"] = json!(decision.rules);
        details["explanations"] = json!(explanations.collect::<Vec<_>>());
    }
    details
}

/// What came nearest to a yes, without what the rule says: only at what of the request it looks.
fn reduced(nearest: &Explanation) -> Option<String> {
    let looked_at = nearest.unsatisfied.iter().flat_map(|clause| &clause.values);
    let mut parts: Vec<String> = looked_at
        .map(|(path, _)| match path.split('.').collect::<Vec<_>>().as_slice() {
            ["context", member, ..] => format!("`{member}` of the request"),
            ["resource", ..] => "the resource".to_owned(),
            _ => "who asks".to_owned(),
        })
        .collect();
    parts.sort();
    parts.dedup();
    (!parts.is_empty()).then(|| {
        format!(
            "The rule that comes nearest would permit this, were it not for {}.",
            parts.join(", ")
        )
    })
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code(), self.message())
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
        let status = self.status();
        tracing::Span::current().record("code", tracing::field::display(self.code()));
        let mut response = Response::builder().status(status).content_type(JSON);
        match &self {
            Self::Unauthenticated { reason, .. } => {
                // RFC 9110 §11.6.1 and RFC 6750 §3: what would have been accepted.
                let bearer = if *reason == "missing_credential" {
                    "Bearer realm=\"aka\""
                } else {
                    "Bearer realm=\"aka\", error=\"invalid_token\""
                };
                response = response.header("WWW-Authenticate", "ApiKey realm=\"aka\", header=\"X-API-Key\"");
                response = response.header("WWW-Authenticate", bearer);
            }
            Self::MethodNotAllowed { allowed } => response = response.header("Allow", allowed.join(", ")),
            Self::TooManyRequests { .. }
            | Self::Overloaded
            | Self::Unavailable { .. }
            | Self::IssuerUnavailable { .. }
            | Self::TooManyConnections
            | Self::TimedOut => {
                response = response.header("Retry-After", RETRY_AFTER_SECONDS);
            }
            _ => {}
        }
        match &self {
            Self::Internal { reason } => tracing::error!(reason, "the request failed by a fault of the server"),
            Self::Unavailable { reason } | Self::IssuerUnavailable { reason } => {
                tracing::warn!(reason, "the request failed because something is away");
            }
            _ => {}
        }
        let body = serde_json::to_vec(&self.into_body()).unwrap_or_default();
        response.body(body)
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(reason) | StoreError::Unreachable(reason) => Self::Unavailable { reason },
            StoreError::Overloaded => Self::Overloaded,
            StoreError::TenantOverloaded(limit) => Self::TooManyRequests { limit },
            StoreError::RootKey(error) => Self::Internal {
                reason: error.to_string(),
            },
            StoreError::Duplicate(reason) | StoreError::Reference(reason) | StoreError::Fault(reason) => {
                Self::Internal { reason }
            }
        }
    }
}

impl From<caller::Refusal> for Error {
    fn from(refusal: caller::Refusal) -> Self {
        match refusal {
            caller::Refusal::Forbidden(forbidden) => Self::Forbidden {
                action: forbidden.action,
                decision: forbidden.decision,
                lacks: forbidden.lacks,
                may_evaluate: forbidden.may_evaluate,
            },
            caller::Refusal::Store(error) => error.into(),
        }
    }
}

impl From<KeyRefusal> for Error {
    fn from(refusal: KeyRefusal) -> Self {
        let (reason, message) = match refusal {
            KeyRefusal::Malformed => (
                "malformed_key",
                "The API key in X-API-Key is not of the form of a key (aka_...). Check that it was copied whole."
                    .into(),
            ),
            KeyRefusal::Unknown => ("unknown_key", "There is no API key like the one in X-API-Key.".into()),
            KeyRefusal::Expired(at) => ("expired_key", ended("expired", at)),
            KeyRefusal::Revoked(at) => ("revoked_key", ended("was revoked", at)),
            KeyRefusal::Store(error) => return error.into(),
        };
        Self::Unauthenticated { reason, message }
    }
}

fn ended(how: &str, at: Timestamp) -> String {
    format!("The API key in X-API-Key {how} at {at}. Use another one.")
}

impl From<TokenRefusal> for Error {
    fn from(refusal: TokenRefusal) -> Self {
        let (reason, message) = match refusal {
            TokenRefusal::Malformed(why) => ("invalid_token", format!("The bearer token is not accepted: {why}.")),
            TokenRefusal::UnknownIssuer => (
                "unknown_issuer",
                "No enabled identity provider of this tenant is configured as the issuer of the bearer token.".into(),
            ),
            TokenRefusal::BadSignature => (
                "invalid_signature",
                "The bearer token is not signed with a key of its issuer.".into(),
            ),
            TokenRefusal::Expired => ("expired_token", "The bearer token has expired. Get a new one.".into()),
            TokenRefusal::NotYetValid => ("token_not_yet_valid", "The bearer token is not valid yet.".into()),
            TokenRefusal::WrongAudience => ("wrong_audience", "The bearer token is not for this server.".into()),
            TokenRefusal::UserSuspended => (
                "user_suspended",
                "The user to whom the bearer token's subject is linked is suspended.".into(),
            ),
            TokenRefusal::Barred(reason) => {
                let (reason, what) = match reason {
                    Reason::Suspended => ("user_suspended", "suspended"),
                    Reason::Erased => ("user_erased", "erased"),
                };
                let message = format!(
                    "The user to whom the bearer token's subject was linked has been {what}. The token is accepted again \
                     when the account is linked to an active user."
                );
                (reason, message)
            }
            TokenRefusal::NoKeys(error) => {
                return Self::IssuerUnavailable {
                    reason: error.to_string(),
                };
            }
            TokenRefusal::Store(error) => return error.into(),
        };
        Self::Unauthenticated { reason, message }
    }
}

impl From<UserRefusal> for Error {
    fn from(refusal: UserRefusal) -> Self {
        match refusal {
            UserRefusal::Changed => Self::PreconditionFailed,
            UserRefusal::NoUser => Self::not_found("user"),
            UserRefusal::EmailTaken => Self::UserAlreadyExists,
            UserRefusal::Store(error) => error.into(),
        }
    }
}

impl From<IdentityProviderRefusal> for Error {
    fn from(refusal: IdentityProviderRefusal) -> Self {
        match refusal {
            IdentityProviderRefusal::Changed => Self::PreconditionFailed,
            IdentityProviderRefusal::NoIdentityProvider => Self::not_found("identity_provider"),
            IdentityProviderRefusal::IssuerTaken => Self::IdentityProviderAlreadyExists { field: "config.issuer" },
            IdentityProviderRefusal::Config((field, reason)) => Self::field(In::Body, field, reason),
            IdentityProviderRefusal::InUse { linked } => Self::IdentityProviderInUse { linked },
            IdentityProviderRefusal::Store(error) => error.into(),
        }
    }
}

impl From<TenantRefusal> for Error {
    fn from(refusal: TenantRefusal) -> Self {
        match refusal {
            TenantRefusal::Changed => Self::PreconditionFailed,
            TenantRefusal::NoTenant => Self::not_found("tenant"),
            TenantRefusal::SlugTaken | TenantRefusal::MasterTaken => Self::TenantAlreadyExists,
            TenantRefusal::Store(error) => error.into(),
        }
    }
}

impl From<ApiKeyRefusal> for Error {
    fn from(refusal: ApiKeyRefusal) -> Self {
        match refusal {
            ApiKeyRefusal::NoKey => Self::not_found("api_key"),
            ApiKeyRefusal::NoTenant => Self::not_found("tenant"),
            ApiKeyRefusal::NoIdentityProvider => Self::not_found("identity_provider"),
            ApiKeyRefusal::Ended => Self::ApiKeyEnded,
            ApiKeyRefusal::Rotated => Self::ApiKeyRotated,
            ApiKeyRefusal::Randomness => Self::Internal {
                reason: "the system gave no randomness".into(),
            },
            ApiKeyRefusal::Store(error) => error.into(),
        }
    }
}

impl From<PolicyRefusal> for Error {
    fn from(refusal: PolicyRefusal) -> Self {
        match refusal {
            PolicyRefusal::NoPolicy => Self::not_found("policy"),
            PolicyRefusal::NoRule => Self::not_found("policy_rule"),
            PolicyRefusal::TooManyRules(excess) => Self::TooManyRules(excess),
            PolicyRefusal::Changed => Self::PreconditionFailed,
            PolicyRefusal::LocksOut(locked_out) => Self::PoliciesLocked(locked_out),
            PolicyRefusal::Overtaken => Self::Unavailable {
                reason: "the policies of the tenant are being changed all the time".into(),
            },
            PolicyRefusal::NotAnOrder { reason } => Self::field(In::Body, "ids", reason),
            PolicyRefusal::Store(error) => error.into(),
        }
    }
}

impl From<PreviewRefusal> for Error {
    fn from(refusal: PreviewRefusal) -> Self {
        match refusal {
            PreviewRefusal::TooManyRules(excess) => Self::TooManyRules(excess),
            PreviewRefusal::Store(error) => error.into(),
        }
    }
}

/// The bit of a status in the set of an operation.
macro_rules! statuses {
    ($($name:ident = $status:literal, $bit:literal, $description:literal;)*) => {
        $(#[doc = concat!("Status ", stringify!($status), ".")] pub const $name: u32 = 1 << $bit;)*

        const STATUSES: &[(u32, u16, &str)] = &[$(($name, $status, $description)),*];
    };
}

statuses! {
    E400 = 400, 0, "Invalid input. Codes: `invalid_input` (`details` has `field`, `in` and `reason`), and of a body `malformed_json` and, where it has Cedar text, `invalid_rule`.";
    E401 = 401, 1, "Unauthenticated: no credential, or one that is not accepted. Code: `unauthenticated` (`details.reason` says why).";
    E403 = 403, 2, "Forbidden. Codes: `tenant_mismatch` (the credential belongs to another tenant), `forbidden` (policy says no; `notices` says why, and `details` has `kind`, `priority`, `missing_scope` and an `explanation`, as far as there are any; for a caller who may call `evaluatePolicies` also `matching_policy_ids`, `matching_rule_ids` and `explanations`, as there).";
    E404 = 404, 3, "Not found in this tenant. Code: `not_found` (`details.resource` says what).";
    E409 = 409, 4, "In conflict with how things are.";
    E408 = 408, 12, "The body did not arrive in time. Code: `body_timed_out`.";
    E412 = 412, 9, "It is no longer as `If-Match` says. Code: `precondition_failed`.";
    E413 = 413, 5, "The body is too large. Code: `payload_too_large` (`details.max_bytes` is the limit).";
    E415 = 415, 6, "The body is not `application/json`. Code: `unsupported_media_type`.";
    E429 = 429, 10, "The tenant has used up its share of what tenants share; the header `Retry-After` says when to try again. Code: `too_many_requests` (`details.limit` names the limit).";
    E500 = 500, 7, "A fault of the server. Code: `internal`.";
    E503 = 503, 8, "Something is away or overloaded for the moment; the header `Retry-After` says when to try again. Codes: `unavailable`, `overloaded`, `timed_out`, `issuer_unavailable`.";
}

/// What every operation with a credential can answer.
pub const ALWAYS: u32 = E400 | E401 | E403 | E429 | E500 | E503;
/// What every operation with a body can answer beside that.
pub const WITH_BODY: u32 = ALWAYS | E408 | E413 | E415;

/// An error of an operation whose document lists these statuses.
pub struct Failure<const STATUSES: u32>(Error);

impl<const M: u32, E: Into<Error>> From<E> for Failure<M> {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl<const M: u32> From<Failure<M>> for poem::Error {
    fn from(failure: Failure<M>) -> Self {
        failure.0.into()
    }
}

impl<const M: u32> ApiResponse for Failure<M> {
    fn meta() -> MetaResponses {
        let documented = STATUSES.iter().filter(|(bit, ..)| M & bit != 0);
        let responses = documented.map(|(_, status, description)| MetaResponse {
            description,
            status: Some(*status),
            status_range: None,
            content: vec![MetaMediaType {
                content_type: JSON,
                schema: ErrorBody::schema_ref(),
            }],
            headers: Vec::new(),
        });
        MetaResponses {
            responses: responses.collect(),
        }
    }

    fn register(registry: &mut Registry) {
        ErrorBody::register(registry);
    }
}
