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
use uuid::Uuid;

use super::{
    body::JSON,
    error_code::ErrorCode,
    error_details::{ErrorDetails, InputError},
};
use crate::{
    access::{api_keys::KeyRefusal, caller, rule_limits::Excess, tokens::TokenRefusal},
    policy::{DecidedAt, Decision, Explanation, Verdict, rules::RuleError},
    resources::{
        api_keys::ApiKeyRefusal,
        identity_providers::{IdentityProviderRefusal, MAX_COUNTED},
        policies::{
            PolicyRefusal, evaluation_api::RuleExplanation, lockout::LockedOut, preview::PreviewRefusal,
            rule_checks::RuleRefusal,
        },
        tenants::TenantRefusal,
        users::UserRefusal,
    },
    store::StoreError,
    types::{
        actions::Action,
        clock::Timestamp,
        ids::{IdentityProviderId, UserId},
        scopes::Scope,
    },
};

/// Why a request was not carried out.
#[derive(Debug, Object, Serialize, Deserialize)]
#[oai(rename = "ApiError", skip_serializing_if_is_none)]
pub struct ErrorBody {
    /// What went wrong, for a program. It stays the same when the message changes.
    pub code: ErrorCode,
    /// What went wrong, for a person: which thing, what was wrong with it, and what to do.
    pub message: String,
    /// The context, for a program: which field is wrong, what was not found, ids.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<ErrorDetails>,
    /// The notices of the policy rules that determined the decision, if there are any.
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
pub enum InputLocation {
    /// In the JSON of the body.
    Body,
    /// In the path.
    Path,
    /// In the query.
    Query,
    /// In a header.
    Header,
}

impl From<&Mistake> for InputError {
    fn from(mistake: &Mistake) -> Self {
        Self {
            field: mistake.field.clone(),
            within: mistake.within.as_str().to_owned(),
            reason: mistake.reason.clone(),
        }
    }
}

impl InputLocation {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Body => "body",
            Self::Path => "path",
            Self::Query => "query",
            Self::Header => "header",
        }
    }
}

/// One mistake in a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The field, parameter or header that is wrong. Empty if the body or path as a whole is.
    pub field: String,
    /// Where it is.
    pub within: InputLocation,
    /// What is wrong with it, as the end of a sentence that begins with its name.
    pub reason: String,
}

impl Mistake {
    /// A mistake in a field.
    pub fn new(within: InputLocation, field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            within,
            reason: reason.into(),
        }
    }

    fn message(&self) -> String {
        let Self { field, within, reason } = self;
        match within {
            InputLocation::Body if field.is_empty() => format!("The body {reason}."),
            InputLocation::Body => format!("The field `{field}` {reason}."),
            InputLocation::Path if field.is_empty() => format!("The path {reason}."),
            InputLocation::Path => format!("The `{field}` in the path {reason}."),
            InputLocation::Query => format!("The query parameter `{field}` {reason}."),
            InputLocation::Header => format!("The header `{field}` {reason}."),
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
        first: Mistake,
        others: Vec<Mistake>,
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
        /// The id that was not found, where it is known.
        id: Option<Uuid>,
    },
    AccountNotFound {
        identity_provider: IdentityProviderId,
    },
    MethodNotAllowed {
        allowed: Vec<String>,
    },
    IdentityAlreadyLinked {
        details: Map<String, Value>,
    },
    IdentityProviderDisabled {
        id: IdentityProviderId,
    },
    UserSuspended {
        id: UserId,
    },
    UserAlreadyExists {
        /// The existing user, if the caller may know.
        id: Option<UserId>,
    },
    IdentityProviderAlreadyExists {
        /// The field whose value is taken.
        field: &'static str,
        /// The existing provider, if the caller may know.
        id: Option<IdentityProviderId>,
    },
    TenantAlreadyExists,
    IdentityProviderInUse {
        id: IdentityProviderId,
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
    ClockOff {
        difference: String,
    },
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
    pub fn field(within: InputLocation, field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::InvalidInput {
            first: Mistake::new(within, field, reason),
            others: Vec::new(),
        }
    }

    /// An error for all mistakes in a request, if there are any.
    ///
    /// # Errors
    ///
    /// The mistakes.
    pub fn of_mistakes(mistakes: Vec<Mistake>) -> Result<(), Self> {
        let mut mistakes = mistakes.into_iter();
        match mistakes.next() {
            None => Ok(()),
            Some(first) => Err(Self::InvalidInput {
                first,
                others: mistakes.collect(),
            }),
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
        Self::NotFound { resource, id: None }
    }

    /// An error for an id that is not that of anything in the tenant.
    #[must_use]
    pub fn no_such(resource: &'static str, id: impl Into<Uuid>) -> Self {
        Self::NotFound {
            resource,
            id: Some(id.into()),
        }
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
            Self::RouteNotFound | Self::NotFound { .. } | Self::AccountNotFound { .. } => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::IdentityAlreadyLinked { .. }
            | Self::IdentityProviderDisabled { .. }
            | Self::UserSuspended { .. }
            | Self::UserAlreadyExists { .. }
            | Self::IdentityProviderAlreadyExists { .. }
            | Self::TenantAlreadyExists
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
            | Self::ClockOff { .. }
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
            Self::RouteNotFound | Self::NotFound { .. } | Self::AccountNotFound { .. } => ErrorCode::NotFound,
            Self::MethodNotAllowed { .. } => ErrorCode::MethodNotAllowed,
            Self::IdentityAlreadyLinked { .. } => ErrorCode::IdentityAlreadyLinked,
            Self::IdentityProviderDisabled { .. } => ErrorCode::IdentityProviderDisabled,
            Self::UserSuspended { .. } => ErrorCode::UserSuspended,
            Self::UserAlreadyExists { .. } => ErrorCode::UserAlreadyExists,
            Self::IdentityProviderAlreadyExists { .. } => ErrorCode::IdentityProviderAlreadyExists,
            Self::TenantAlreadyExists => ErrorCode::TenantAlreadyExists,
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
            Self::Unavailable { .. } | Self::ClockOff { .. } => ErrorCode::Unavailable,
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
            Self::MalformedJson { reason } => format!("The body is not valid JSON: {reason}."),
            Self::InvalidInput { first, others } => match others.len() {
                0 => first.message(),
                1 => format!("{} There is another mistake: see details.errors.", first.message()),
                more => format!("{} There are {more} more mistakes: see details.errors.", first.message()),
            },
            Self::InvalidRule { error, .. } => {
                let place = error
                    .position
                    .map(|(line, column)| format!(" at line {line}, column {column}"));
                let help = error.help.as_ref().map(|help| format!(" ({help})"));
                format!(
                    "The Cedar text is not a valid rule{}: {}{}.",
                    place.unwrap_or_default(),
                    error.message,
                    help.unwrap_or_default()
                )
            }
            Self::Unauthenticated { message, .. } => message.clone(),
            Self::TenantMismatch => {
                "The credential does not belong to the tenant in X-Tenant-ID. Send the id of the credential's own \
                 tenant, or a credential of that tenant."
                    .into()
            }
            Self::Forbidden {
                action,
                decision,
                lacks,
                ..
            } => forbidden_message(*action, decision, *lacks),
            Self::RouteNotFound => "There is nothing at this path. The operations are listed at /docs.".into(),
            Self::NotFound { resource, id } => {
                let with_id = id.map(|id| format!(" with the id {id}")).unwrap_or_default();
                format!(
                    "This tenant has no {}{with_id}. Check the id, and that X-Tenant-ID is the right tenant.",
                    resource.replace('_', " ")
                )
            }
            Self::AccountNotFound { identity_provider } => format!(
                "No account with this external_id is known at the identity provider {identity_provider}. Check both, \
                 and upper and lower case: external ids are compared exactly."
            ),
            Self::MethodNotAllowed { allowed } => {
                format!(
                    "This path does not support the method of the request. Supported: {}.",
                    allowed.join(", ")
                )
            }
            Self::IdentityAlreadyLinked { .. } => "The account is already linked to another user. An account can be \
                linked to one user only. If it belongs to this user, unlink it from the other user first."
                .into(),
            Self::IdentityProviderDisabled { id } => {
                format!("The identity provider {id} is disabled. Enable it before you link its accounts.")
            }
            Self::UserSuspended { id } => {
                format!("The user {id} is suspended. Reactivate the user before you link accounts.")
            }
            Self::UserAlreadyExists { id } => match id {
                Some(id) => format!("The user {id} of this tenant already has this email address (ignoring case)."),
                None => "Another user of this tenant already has this email address (ignoring case).".into(),
            },
            Self::IdentityProviderAlreadyExists { field, id } => {
                let which = id.map_or_else(|| "Another identity provider".into(), |id| format!("The identity provider {id}"));
                format!("{which} of this tenant already has the same `{field}`. Use that provider, or choose another value.")
            }
            Self::TenantAlreadyExists => "Another tenant already has this slug. Choose another one.".into(),
            Self::IdentityProviderInUse { id, linked } => {
                let accounts = if *linked == 1 {
                    "1 of its accounts is linked to a user. Unlink it".to_owned()
                } else {
                    let or_more = if *linked < MAX_COUNTED { "" } else { " or more" };
                    format!("{linked}{or_more} of its accounts are linked to users. Unlink them")
                };
                format!("The identity provider {id} cannot be deleted: {accounts} first, or disable the provider.")
            }
            Self::ApiKeyEnded => {
                "The API key cannot be rotated because it is revoked or expired. Create a new one.".into()
            }
            Self::ApiKeyRotated => {
                "The API key has already been rotated and will expire soon. Rotate its successor, or create a new key."
                    .into()
            }
            Self::PreconditionFailed => {
                "The resource has changed since you read it: its ETag is no longer the one in If-Match. Read it again, \
                 and send the change with its current ETag."
                    .into()
            }
            Self::IdempotencyKeyReused => {
                "This Idempotency-Key was used for a different request within the last 24 hours. Use a new key for each \
                 new request, and repeat a key only with the same request."
                    .into()
            }
            Self::TooManyRules(Excess { what, max, found, .. }) => {
                format!("The limit is {max} {what}; with this request there would be {found}. Remove some first.")
            }
            Self::PoliciesLocked(locked_out) => locked_out_message(locked_out),
            Self::BodyTimedOut => {
                "The body did not arrive in time, or is shorter than its Content-Length says. Nothing was changed; send \
                 the request again."
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
                Some(found) => {
                    format!("The Content-Type of the body is {found}. Send the body as application/json.")
                }
                None => "The header Content-Type is missing. Send the body as application/json.".into(),
            },
            Self::ClockOff { difference } => format!(
                "The clock of this server is {difference} that of the database. It accepts no changes until its clock is \
                 corrected; nothing was changed."
            ),
            Self::Unavailable { .. } => "The database is unavailable at the moment. The change may or may not have been \
                made; send the request again."
                .into(),
            Self::TooManyRequests { limit } => {
                format!(
                    "The tenant has reached its limit of {limit}. Try again in a second, with fewer requests at a time."
                )
            }
            Self::Overloaded => "The server has too many requests waiting. Try again in a second.".into(),
            Self::IssuerUnavailable { .. } => {
                "The bearer token cannot be checked, because the keys of its issuer cannot be fetched at the moment. Try \
                 again later."
                    .into()
            }
            Self::TimedOut => {
                "The request took too long. The change may or may not have been made; send the request again.".into()
            }
            Self::Internal { .. } => {
                "Internal server error. Send the X-Request-ID of this answer to the server's operator.".into()
            }
        }
    }

    fn details(&self) -> Map<String, Value> {
        let details = match self {
            Self::MalformedJson { reason } => json!({ "reason": reason }),
            Self::InvalidInput { first, others } => {
                let errors: Vec<InputError> = std::iter::once(first).chain(others).map(InputError::from).collect();
                json!({
                    "field": first.field,
                    "in": first.within.as_str(),
                    "reason": first.reason,
                    "errors": errors,
                })
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
            Self::NotFound { resource, id } => json!({ "resource": resource, "id": id }),
            Self::AccountNotFound { identity_provider } => {
                json!({ "resource": "identity", "identity_provider_id": identity_provider })
            }
            Self::MethodNotAllowed { allowed } => json!({ "allowed": allowed }),
            Self::IdentityAlreadyLinked { details } => Value::Object(details.clone()),
            Self::IdentityProviderDisabled { id } => json!({ "identity_provider_id": id }),
            Self::UserSuspended { id } => json!({ "user_id": id }),
            Self::UserAlreadyExists { id } => json!({ "user_id": id }),
            Self::IdentityProviderAlreadyExists { field, id } => {
                json!({ "field": field, "identity_provider_id": id })
            }
            Self::IdentityProviderInUse { id, linked } => {
                json!({ "identity_provider_id": id, "linked_identities": linked })
            }
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
            Self::UnsupportedMediaType { found } => json!({ "content_type": found }),
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
            details: Some(ErrorDetails(details)),
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
            "{action} is refused, because a rule of the tenant cannot be evaluated. Ask the tenant's administrator."
        ),
        (_, Some(scope)) => format!(
            "{action} is not permitted: the credential lacks the scope {scope}, and no policy permits it. Use a \
             credential that has the scope, or add a policy that permits it."
        ),
        (_, None) => format!("{action} is not permitted: no policy permits it."),
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
            ["context", member, ..] => format!("`{member}` in the request"),
            ["resource", ..] => "the resource".to_owned(),
            _ => "the caller".to_owned(),
        })
        .collect();
    parts.sort();
    parts.dedup();
    (!parts.is_empty()).then(|| {
        format!(
            "The nearest rule would permit this for another value of {}.",
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
            | Self::ClockOff { .. }
            | Self::IssuerUnavailable { .. }
            | Self::TooManyConnections
            | Self::TimedOut => {
                response = response.header("Retry-After", RETRY_AFTER_SECONDS);
            }
            _ => {}
        }
        match &self {
            Self::ClockOff { difference } => {
                tracing::error!(
                    "the request failed because the clock of this server is {difference} that of the database"
                );
            }
            Self::Internal { reason } => tracing::error!(reason, "internal server error"),
            Self::Unavailable { reason } | Self::IssuerUnavailable { reason } => {
                tracing::warn!(reason, "a service that the request needs is unavailable");
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
            StoreError::ClockOff(difference) => Self::ClockOff { difference },
            StoreError::Unavailable(reason) | StoreError::Unreachable(reason) | StoreError::Locked(reason) => {
                Self::Unavailable { reason }
            }
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
                "The API key in X-API-Key does not have the form of a key (aka_...). Check that it was copied completely."
                    .into(),
            ),
            KeyRefusal::Unknown => ("unknown_key", "The API key in X-API-Key does not exist. It may have been mistyped.".into()),
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
            TokenRefusal::Malformed(why) => ("invalid_token", format!("The bearer token is not a valid JWT: {why}.")),
            TokenRefusal::UnknownIssuer => (
                "unknown_issuer",
                "No enabled identity provider of this tenant is configured as the issuer of the bearer token.".into(),
            ),
            TokenRefusal::BadSignature => (
                "invalid_signature",
                "The signature of the bearer token is not by a key of its issuer.".into(),
            ),
            TokenRefusal::Expired => ("expired_token", "The bearer token has expired. Get a new one.".into()),
            TokenRefusal::NotYetValid => ("token_not_yet_valid", "The bearer token is not valid yet.".into()),
            TokenRefusal::WrongAudience => (
                "wrong_audience",
                "The audience of the bearer token is not the one configured for its issuer.".into(),
            ),
            TokenRefusal::UserSuspended => (
                "user_suspended",
                "The user linked to the subject of the bearer token is suspended.".into(),
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
            UserRefusal::RevisionMismatch => Self::PreconditionFailed,
            UserRefusal::NoUser(id) => Self::no_such("user", id),
            UserRefusal::EmailTaken => Self::UserAlreadyExists { id: None },
            UserRefusal::Store(error) => error.into(),
        }
    }
}

impl From<IdentityProviderRefusal> for Error {
    fn from(refusal: IdentityProviderRefusal) -> Self {
        match refusal {
            IdentityProviderRefusal::RevisionMismatch => Self::PreconditionFailed,
            IdentityProviderRefusal::NameTaken => Self::IdentityProviderAlreadyExists {
                field: "name",
                id: None,
            },
            IdentityProviderRefusal::NoIdentityProvider(id) => Self::no_such("identity_provider", id),
            IdentityProviderRefusal::IssuerTaken => Self::IdentityProviderAlreadyExists {
                field: "config.issuer",
                id: None,
            },
            IdentityProviderRefusal::Config((field, reason)) => Self::field(InputLocation::Body, field, reason),
            IdentityProviderRefusal::InUse { id, linked } => Self::IdentityProviderInUse { id, linked },
            IdentityProviderRefusal::Store(error) => error.into(),
        }
    }
}

impl From<TenantRefusal> for Error {
    fn from(refusal: TenantRefusal) -> Self {
        match refusal {
            TenantRefusal::RevisionMismatch => Self::PreconditionFailed,
            TenantRefusal::NoTenant(id) => Self::no_such("tenant", id),
            TenantRefusal::SlugTaken | TenantRefusal::MasterTaken => Self::TenantAlreadyExists,
            TenantRefusal::Store(error) => error.into(),
        }
    }
}

impl From<ApiKeyRefusal> for Error {
    fn from(refusal: ApiKeyRefusal) -> Self {
        match refusal {
            ApiKeyRefusal::NoKey(id) => Self::no_such("api_key", id),
            ApiKeyRefusal::NoTenant(id) => Self::no_such("tenant", id),
            ApiKeyRefusal::NoIdentityProvider(id) => Self::no_such("identity_provider", id),
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
            PolicyRefusal::NoPolicy(id) => Self::NotFound {
                resource: "policy",
                id: id.map(Uuid::from),
            },
            PolicyRefusal::NoRule(id) => Self::no_such("policy_rule", id),
            PolicyRefusal::TooManyRules(excess) => Self::TooManyRules(excess),
            PolicyRefusal::RevisionMismatch => Self::PreconditionFailed,
            PolicyRefusal::LocksOut(locked_out) => Self::PoliciesLocked(locked_out),
            PolicyRefusal::Overtaken => Self::Unavailable {
                reason: "the policies of the tenant are being changed all the time".into(),
            },
            PolicyRefusal::NotAnOrder { reason } => Self::field(InputLocation::Body, "ids", reason),
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
    E400 = 400, 0, "Invalid input. Codes: `invalid_input` (`details.errors` lists the mistakes), for a body also `malformed_json`, and for one with Cedar text `invalid_rule`.";
    E401 = 401, 1, "Unauthenticated: no credential, or one that is not valid. Code: `unauthenticated` (`details.reason` says why).";
    E403 = 403, 2, "Forbidden. Codes: `tenant_mismatch` (the credential belongs to another tenant), `forbidden` (refused by policy; `notices` and `details` say why).";
    E404 = 404, 3, "Not found in this tenant. Code: `not_found` (`details.resource` says what).";
    E409 = 409, 4, "Conflicts with the current state.";
    E408 = 408, 12, "The body did not arrive in time. Code: `body_timed_out`.";
    E412 = 412, 9, "The resource has changed: its `ETag` is not the one in `If-Match`. Code: `precondition_failed`.";
    E413 = 413, 5, "The body is too large. Code: `payload_too_large` (`details.max_bytes` is the limit).";
    E415 = 415, 6, "The body is not `application/json`. Code: `unsupported_media_type`.";
    E429 = 429, 10, "The tenant has reached one of its limits; the header `Retry-After` says when to try again. Code: `too_many_requests` (`details.limit` names the limit).";
    E500 = 500, 7, "Internal server error. Code: `internal`.";
    E503 = 503, 8, "Something is unavailable or overloaded at the moment; the header `Retry-After` says when to try again. Codes: `unavailable`, `overloaded`, `timed_out`, `issuer_unavailable`.";
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
