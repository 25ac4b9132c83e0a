//! The catalogue of errors: each code with what it means, why it happens, what to do and what its `details` can have, as
//! a page at `/docs/errors/{code}`. The codes of answers, the enum in the document and the pages are this one list.

use std::fmt::{self, Write as _};

use poem_openapi::{Enum, types::ToJSON as _};
use serde::{Deserialize, Serialize};

use super::error_details::Detail;
use crate::server::pages::page;

/// What went wrong, for a program. It stays the same when the message changes. Later versions may add codes: a program
/// that does not know one goes by the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum, Serialize, Deserialize)]
#[oai(rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the catalogue says what each is")]
pub enum ErrorCode {
    MalformedJson,
    InvalidInput,
    InvalidRule,
    Unauthenticated,
    TenantMismatch,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    IdentityAlreadyLinked,
    IdentityProviderDisabled,
    UserSuspended,
    UserAlreadyExists,
    IdentityProviderAlreadyExists,
    TenantAlreadyExists,
    IdentityProviderInUse,
    ApiKeyEnded,
    ApiKeyRotated,
    TooManyRules,
    PoliciesLocked,
    PreconditionFailed,
    IdempotencyKeyReused,
    BodyTimedOut,
    PayloadTooLarge,
    UnsupportedMediaType,
    TooManyRequests,
    Unavailable,
    Overloaded,
    IssuerUnavailable,
    TimedOut,
    MalformedRequest,
    HeadTimedOut,
    UriTooLong,
    HeadersTooLarge,
    TooManyConnections,
    Internal,
}

/// What the catalogue says of a code.
struct Entry {
    status: u16,
    meaning: &'static str,
    cause: &'static str,
    remedy: &'static str,
}

impl ErrorCode {
    /// All of them, in the order in which a request meets them.
    pub const ALL: [Self; 35] = [
        Self::TooManyConnections,
        Self::MalformedRequest,
        Self::HeadTimedOut,
        Self::UriTooLong,
        Self::HeadersTooLarge,
        Self::Unauthenticated,
        Self::TenantMismatch,
        Self::MalformedJson,
        Self::InvalidInput,
        Self::InvalidRule,
        Self::BodyTimedOut,
        Self::PayloadTooLarge,
        Self::UnsupportedMediaType,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::IdentityAlreadyLinked,
        Self::IdentityProviderDisabled,
        Self::IdentityProviderAlreadyExists,
        Self::IdentityProviderInUse,
        Self::UserSuspended,
        Self::UserAlreadyExists,
        Self::TenantAlreadyExists,
        Self::ApiKeyEnded,
        Self::ApiKeyRotated,
        Self::TooManyRules,
        Self::PoliciesLocked,
        Self::PreconditionFailed,
        Self::IdempotencyKeyReused,
        Self::TooManyRequests,
        Self::Overloaded,
        Self::Unavailable,
        Self::IssuerUnavailable,
        Self::TimedOut,
        Self::Internal,
    ];

    /// The path of its page.
    #[must_use]
    pub fn page(self) -> String {
        format!("/docs/errors/{self}")
    }

    #[expect(clippy::too_many_lines, reason = "a catalogue is long")]
    const fn entry(self) -> Entry {
        let (status, meaning, cause, remedy) = match self {
            Self::TooManyConnections => (
                503,
                "The server has no place for another connection.",
                "All places are taken, or the client's address has taken its share of them. The server's operator sets \
                 both (`--max-connections`, `--max-connections-per-client`).",
                "Use fewer connections, and keep each open for several requests. Try again later.",
            ),
            Self::MalformedRequest => (
                400,
                "What the client sent is not an HTTP request.",
                "The request line or a header cannot be read, `Content-Length` and `Transfer-Encoding` contradict each \
                 other, or the client speaks another protocol, such as TLS.",
                "Let an HTTP library write the request. To use HTTPS, connect to the proxy that speaks TLS.",
            ),
            Self::HeadTimedOut => (
                408,
                "The request line and headers did not arrive in time.",
                "The connection is slow or has broken, or the empty line after the headers is missing.",
                "Send the request again. Nothing was changed.",
            ),
            Self::UriTooLong => (
                414,
                "The path and query of the request are too long.",
                "A value belongs into a body, or a program has repeated a parameter.",
                "Send less.",
            ),
            Self::HeadersTooLarge => (
                431,
                "The request line and headers are too large, or there are too many headers.",
                "Together they are larger than `details.max_bytes`, or there are more than 100 headers.",
                "Send fewer and shorter headers.",
            ),
            Self::MalformedJson => (
                400,
                "The body of the request is not valid JSON.",
                "A bracket or quotation mark is missing, the text is not UTF-8, or the body is empty.",
                "Look at the position in `details.reason`. Use a JSON library to write the body.",
            ),
            Self::InvalidInput => (
                400,
                "A part of the request is missing, unknown, or not in the documented form.",
                "A field or parameter is misspelled or appears twice, a value is too long or out of range, or an id is \
                 not a UUID.",
                "`details.errors` lists every mistake: its `field`, where it is (`in`: body, path, query or header) and \
                 the `reason`. `details.field`, `details.in` and `details.reason` are the first one. Nothing was changed.",
            ),
            Self::InvalidRule => (
                400,
                "The text is not a valid Cedar rule, does not match the schema, or is too expensive to evaluate.",
                "It has a syntax error, names an action or attribute that does not exist, has several statements where \
                 one is expected, is a template, or evaluating it could cost too much: then `details.reason` has the cost \
                 and the limit.",
                "`details.line` and `details.column` say where, `details.help` often how to correct it. The schema is at \
                 `GET /v1/policies/schema`; `aka policy test` checks rules before they reach a server.",
            ),
            Self::Unauthenticated => (
                401,
                "The request has no valid credential.",
                "It is missing, misspelled, expired or revoked, or the tenant has no such issuer. `details.reason` says \
                 which.",
                "Send an API key in `X-API-Key` or a token in `Authorization: Bearer`: one of the two, and only once.",
            ),
            Self::TenantMismatch => (
                403,
                "The credential does not belong to the tenant in `X-Tenant-ID`.",
                "A key of one tenant was sent with the id of another.",
                "Send the id of the credential's own tenant, or a credential of that tenant.",
            ),
            Self::Forbidden => (
                403,
                "The tenant's policies do not let this credential do this.",
                "A rule forbids it (`details.kind` is `forbidden`), no rule permits it (`not_permitted`), or a rule \
                 cannot be evaluated (`error`).",
                "Read `notices`, where rules can give their reason, and `details.missing_scope`, the scope that would be \
                 enough, if there is one. An administrator learns more from `POST /v1/policies/evaluate`.",
            ),
            Self::NotFound => (
                404,
                "The tenant has no such resource, or there is nothing at this path.",
                "It was deleted, never existed, or belongs to another tenant; these look the same on purpose. \
                 `details.resource` says what was not found, and `details.id` its id.",
                "Check the id and the tenant. A look-up finds accounts that are known to aka, linked or not: one that it \
                 does not find has never been linked.",
            ),
            Self::MethodNotAllowed => (
                405,
                "The path does not support this method.",
                "For example, the client sends `POST` instead of `PUT`.",
                "Use one of the methods in `Allow` and `details.allowed`.",
            ),
            Self::IdentityAlreadyLinked => (
                409,
                "The account is already linked to another user.",
                "An account can be linked to one user only, and another link was made first.",
                "`details` has the identity, and how and when it was linked; the other user only for those who may look \
                 the account up. `details.ways_out` lists what this caller can do. If the account belongs to this user, \
                 unlink it from the other user first.",
            ),
            Self::IdentityProviderDisabled => (
                409,
                "The identity provider is disabled.",
                "Accounts at a disabled provider cannot be linked.",
                "Enable the provider, or choose another one.",
            ),
            Self::UserSuspended => (
                409,
                "The user is suspended.",
                "Accounts cannot be linked to a suspended user.",
                "Reactivate the user first.",
            ),
            Self::UserAlreadyExists => (
                409,
                "Another user of the tenant has this email address.",
                "Addresses are compared ignoring case.",
                "Use the existing user (`details.user_id`, for callers who may read users), or another address.",
            ),
            Self::IdentityProviderAlreadyExists => (
                409,
                "Another identity provider of the tenant has this name, or issues these tokens.",
                "Names are compared ignoring case, and a token's issuer must be one provider. `details.field` says which \
                 field is taken: `name` or `config.issuer`.",
                "Use the existing provider (`details.identity_provider_id`, for callers who may read it), or choose \
                 another value.",
            ),
            Self::TenantAlreadyExists => (
                409,
                "Another tenant has this slug.",
                "Slugs are unique on a server.",
                "Choose another one.",
            ),
            Self::IdentityProviderInUse => (
                409,
                "The identity provider cannot be deleted.",
                "Some of its accounts are linked to users; `details.linked_identities` is their number.",
                "Unlink them first, or disable the provider.",
            ),
            Self::ApiKeyEnded => (
                409,
                "The API key cannot be rotated.",
                "It is revoked or expired.",
                "Create a new one.",
            ),
            Self::ApiKeyRotated => (
                409,
                "The API key cannot be rotated again.",
                "It has already been rotated and will expire soon.",
                "Rotate its successor, or create a new key.",
            ),
            Self::TooManyRules => (
                409,
                "The policy or the tenant would have too many rules, or rules that are too large or too expensive together.",
                "The rules of a tenant are limited, because each request checks them: in their number, in the bytes of their \
                 texts, in the nodes of their syntax trees, and in what evaluating all of them can cost. `details.limit` \
                 names the limit, `details.max` is its value, and `details.found` what this request would reach.",
                "Remove rules, or replace many by one that tests membership in a set, role or group. Shorten patterns: \
                 comparing a text with one costs the product of their lengths.",
            ),
            Self::PoliciesLocked => (
                409,
                "The change would leave nobody who could take it back.",
                "Under the rules as they would be, neither the caller nor any other API key or user with the scope \
                 policies:write could change or delete the policy. `details.policy_texts` has the rules of the policy that \
                 stand in the way, `details.matching_rule_ids` those of other policies.",
                "Leave an exception for those who manage policies, for instance `unless { principal in \
                 Scope::\"policies:write\" }`. Or send the request with `?force=true`: then only an operator can take it \
                 back, with `aka policy disable` at the server's command line.",
            ),
            Self::PreconditionFailed => (
                412,
                "The resource has changed since the caller read it.",
                "Its `ETag` is no longer the one in `If-Match` (RFC 9110 §13.1.1).",
                "Read it again, and send the change with its current `ETag`.",
            ),
            Self::BodyTimedOut => (
                408,
                "The body of the request did not arrive in time.",
                "The connection is slow or was lost, or the body is shorter than `Content-Length` says.",
                "Send the request again. Nothing was changed.",
            ),
            Self::PayloadTooLarge => (
                413,
                "The body of the request is too large.",
                "It has more than `details.max_bytes` bytes.",
                "Send less, or split it into several requests.",
            ),
            Self::UnsupportedMediaType => (
                415,
                "The body of the request is not sent as JSON.",
                "`Content-Type` is missing, or names another media type.",
                "Send `Content-Type: application/json`.",
            ),
            Self::Unavailable => (
                503,
                "The database is unavailable at the moment.",
                "It is restarting, cannot be reached, or its disk is full.",
                "Send the request again after the seconds in `Retry-After`. Linking an account twice is safe.",
            ),
            Self::IdempotencyKeyReused => (
                422,
                "The `Idempotency-Key` was used for a different request before.",
                "One key was used for two changes, or the body of the repeated request differs, for example in a time or \
                 an id. Keys belong to a credential, and are kept for 24 hours.",
                "Nothing was changed. Use a new key, such as a random UUID, for each change, and repeat it only with the \
                 same method, path and body.",
            ),
            Self::TooManyRequests => (
                429,
                "The tenant has too many requests of this kind in progress.",
                "Shared resources are divided between tenants. `details.limit` names the limit that was reached.",
                "Send the request again after the seconds in `Retry-After`, and fewer at a time. Nothing was changed.",
            ),
            Self::Overloaded => (
                503,
                "The server has too many requests waiting.",
                "Changes come faster than the database commits them, or many tenants check or preview rules at a time.",
                "Send the request again after the seconds in `Retry-After`, and fewer at a time.",
            ),
            Self::IssuerUnavailable => (
                503,
                "The keys of the token's issuer cannot be fetched.",
                "The issuer does not answer at its `jwks_uri` or its `/.well-known/openid-configuration`, or answers with \
                 something else.",
                "Send the request again later, or use an API key.",
            ),
            Self::TimedOut => (
                503,
                "The request took too long.",
                "The server or its database is overloaded.",
                "Check whether the change was made, or send the request again.",
            ),
            Self::Internal => (
                500,
                "Internal server error.",
                "The request is not the cause.",
                "Send the `X-Request-ID` of the answer to the server's operator, who finds the cause in the log.",
            ),
        };
        Entry {
            status,
            meaning,
            cause,
            remedy,
        }
    }

    /// Its page.
    #[must_use]
    pub fn html(self) -> String {
        let Entry {
            status,
            meaning,
            cause,
            remedy,
        } = self.entry();
        let (meaning, cause, remedy) = (marked_up(meaning), marked_up(cause), marked_up(remedy));
        let mut details = String::new();
        for detail in Detail::of(self) {
            let (name, description) = (detail.name, marked_up(detail.description));
            // Writing to a text cannot fail.
            let _ = write!(details, "<tr><td><code>{name}</code></td><td>{description}</td></tr>");
        }
        page(
            &self.to_string(),
            &format!(
                "<p><a href=\"/docs/errors\">All errors</a></p><h1><code>{self}</code></h1><p>Status {status}. \
                 {meaning}</p><h2>Why it happens</h2><p>{cause}</p><h2>What to do</h2><p>{remedy}</p><h2>What <code>details</code> \
                 can have</h2><table>{details}</table>"
            ),
        )
    }

    /// The list of all pages.
    #[must_use]
    pub fn html_list() -> String {
        let mut rows = String::new();
        for code in Self::ALL {
            let Entry { status, meaning, .. } = code.entry();
            let (page, meaning) = (code.page(), marked_up(meaning));
            // Writing to a text cannot fail.
            let _ = write!(
                rows,
                "<tr><td><a href=\"{page}\"><code>{code}</code></a></td><td>{status}</td><td>{meaning}</td></tr>"
            );
        }
        page(
            "Errors",
            &format!(
                "<h1>Errors</h1><p>Every error has a <code>code</code> for \
                 programs and a <code>message</code> for people.</p><table>{rows}</table>"
            ),
        )
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_json() {
            Some(serde_json::Value::String(name)) => f.write_str(&name),
            _ => Err(fmt::Error),
        }
    }
}

/// What stands between backticks as code. Nothing in the catalogue has a meaning in HTML.
fn marked_up(text: &str) -> String {
    let parts = text.split('`').enumerate();
    parts
        .map(|(number, part)| match number % 2 {
            0 => part.to_owned(),
            _ => format!("<code>{part}</code>"),
        })
        .collect()
}
