//! The catalogue of errors: each code with what it means, why it happens and what to do, as a page at
//! `/docs/errors/{code}`. The codes of answers, the enum in the document and the pages are this one list.

use std::fmt::{self, Write as _};

use poem_openapi::{Enum, types::ToJSON as _};
use serde::{Deserialize, Serialize};

use crate::pages::page;

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
    TenantAlreadyExists,
    IdentityProviderAlreadyExists,
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
                "The body of the request is not JSON.",
                "A bracket or quotation mark is missing, a text is not UTF-8, or the body is empty.",
                "Look at the place that `details.reason` names. Let a JSON library write the body.",
            ),
            Self::InvalidInput => (
                400,
                "A part of the request is missing, not known, or not of the form that the document gives for it.",
                "A member is misspelt, a value is too long or out of its limits, or an id is no UUID.",
                "`details.field` names the part, `details.in` says where it is (body, path, query or header), and \
                 `details.reason` what is wrong with it. Nothing was changed.",
            ),
            Self::InvalidRule => (
                400,
                "A text is not a rule in Cedar, or does not go together with the schema.",
                "It does not parse, names an action or an attribute that there is not, has more than one statement where \
                 one is expected, is a template, or evaluating it could cost too much: then `details.reason` has the cost \
                 and the limit.",
                "`details.line` and `details.column` say where, `details.help` often how to mend it. The schema is at \
                 `GET /v1/policies/schema`; `aka policy test` tries rules before they reach a server.",
            ),
            Self::Unauthenticated => (
                401,
                "The request has no credential that holds.",
                "There is none, it is misspelt, expired or revoked, or the tenant has no such issuer. `details.reason` \
                 says which.",
                "Send an API key in `X-API-Key`, or a token in `Authorization: Bearer`; not both, and each once.",
            ),
            Self::TenantMismatch => (
                403,
                "The credential belongs to another tenant than the one in `X-Tenant-ID`.",
                "A key of one tenant was sent with the id of another.",
                "Send the id of the credential's own tenant, or a credential of that tenant.",
            ),
            Self::Forbidden => (
                403,
                "The tenant's policies do not let this credential do this.",
                "A rule forbids it (`details.kind` is `forbidden`), no rule permits it (`not_permitted`), or a rule \
                 cannot be evaluated (`error`).",
                "`notices` has what the rules have to say, and `details.missing_scope` the scope that would do, where \
                 one would. An administrator learns more from `POST /v1/policies/evaluate`.",
            ),
            Self::NotFound => (
                404,
                "The tenant has no such thing, or there is no such path.",
                "It was deleted, never was, or belongs to another tenant: these look the same on purpose. \
                 `details.resource` says what is not there.",
                "Check the id and the tenant. An identity that is linked to nobody is not found by a look-up, either.",
            ),
            Self::MethodNotAllowed => (
                405,
                "The path is known, but not with this method.",
                "A client sends `POST` for `PUT`, say.",
                "`Allow` and `details.allowed` list the methods that the path knows.",
            ),
            Self::IdentityAlreadyLinked => (
                409,
                "The account is linked to another user.",
                "An account belongs to one user at most, and somebody was there first.",
                "`details` has the identity, and how and when it was linked; the other user only for those who may see \
                 it. If the account really belongs to this user, unlink it there first.",
            ),
            Self::IdentityProviderDisabled => (
                409,
                "The identity provider is disabled.",
                "Accounts at a disabled provider are not linked.",
                "Enable the provider, or choose another.",
            ),
            Self::UserSuspended => (
                409,
                "The user is suspended.",
                "Accounts are not linked to a user who is not active.",
                "Make the user active again first.",
            ),
            Self::UserAlreadyExists => (
                409,
                "Another user of the tenant has this e-mail address.",
                "Addresses are compared without regard to case.",
                "Use the user that there is, or another address.",
            ),
            Self::TenantAlreadyExists => (
                409,
                "Another tenant has this slug.",
                "Slugs are unique on a server.",
                "Choose another one.",
            ),
            Self::IdentityProviderAlreadyExists => (
                409,
                "Another identity provider of the tenant has the same value in a field that tells providers apart.",
                "Two providers with the same `issuer` would both claim its tokens. `details.field` names the field.",
                "Change the existing provider, or choose another value.",
            ),
            Self::IdentityProviderInUse => (
                409,
                "The identity provider cannot be deleted.",
                "Accounts at it are linked to users: `details.linked_identities` says how many.",
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
                "It has been rotated already, and ends soon.",
                "Rotate its successor, or create a new key.",
            ),
            Self::TooManyRules => (
                409,
                "There would be more rules than a policy or a tenant may have, or rules that are too large or too expensive \
                 together.",
                "The rules of a tenant are limited, because each request checks them: in their number, in the bytes of their \
                 texts, in the nodes of their syntax trees, and in what evaluating all of them can cost. `details.limit` \
                 names the limit, `details.max` is the limit, and `details.found` what there would be.",
                "Remove rules, or make one of many: test membership in a set, role or group. Shorten patterns: comparing a \
                 text with one costs the product of their lengths.",
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
                "The thing is not as it was when the caller read it.",
                "Somebody else has changed it since: its `ETag` is no longer the one in `If-Match` (RFC 9110 §13.1.1).",
                "Read it again, and send the change with its `ETag` of now.",
            ),
            Self::BodyTimedOut => (
                408,
                "The body of the request did not arrive in time.",
                "The connection is slow or has broken, or the body is shorter than `Content-Length` says.",
                "Send the request again. Nothing was changed.",
            ),
            Self::PayloadTooLarge => (
                413,
                "The body of the request is too large.",
                "It has more than `details.max_bytes` bytes.",
                "Send less, in several requests.",
            ),
            Self::UnsupportedMediaType => (
                415,
                "The body of the request is not sent as JSON.",
                "`Content-Type` is missing, or names something else.",
                "Send `Content-Type: application/json`.",
            ),
            Self::Unavailable => (
                503,
                "The database cannot be used at the moment.",
                "It is restarted, cannot be reached, or its disk is full.",
                "Send the request again after the seconds in `Retry-After`. To link twice does no harm.",
            ),
            Self::IdempotencyKeyReused => (
                422,
                "The `Idempotency-Key` of the request was sent with another request before.",
                "A key was used for two changes, or the body was made anew with another time or id in it before it was \
                 sent again. A key belongs to a credential, and is kept for 24 hours.",
                "Nothing was changed. Make a new key, a random UUID, for each change, and send it again only with the \
                 same method, path and body.",
            ),
            Self::TooManyRequests => (
                429,
                "The tenant has too many requests of this kind under way.",
                "What many tenants share is divided between them. `details.limit` names the limit that was reached.",
                "Send the request again after the seconds in `Retry-After`, and fewer at a time. Nothing was changed.",
            ),
            Self::Overloaded => (
                503,
                "The server is full: too many changes or expensive requests are waiting.",
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
                "The server or its database has too much to do.",
                "Find out whether the change was made, or send it again: it may or may not have been.",
            ),
            Self::Internal => (
                500,
                "The server has made a mistake.",
                "It is no fault of the request.",
                "Tell the server's operator the `X-Request-ID` of the answer: the log has the rest under it.",
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
        page(
            &self.to_string(),
            &format!(
                "<p><a href=\"/docs/errors\">All errors</a></p><h1><code>{self}</code></h1><p>Status {status}. \
                 {meaning}</p><h2>Why it happens</h2><p>{cause}</p><h2>What to do</h2><p>{remedy}</p>"
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
