//! The codes of errors that any operation can answer, and what a code is. Those that belong to a resource are in its folder.
//!
//! Each code is written once: its status, what it means, why it happens, what to do, and what its `details` can have. The
//! answers, the document and the pages at `/docs/errors/{code}` are made of this.

use std::fmt;

use super::details::{self, Detail};

/// What went wrong, for a program. It stays the same when the message changes.
pub struct Code {
    /// Its name on the wire.
    pub name: &'static str,
    /// The status of answers with it.
    pub status: u16,
    /// What it means: a sentence.
    pub meaning: &'static str,
    /// Why it happens.
    pub cause: &'static str,
    /// What to do.
    pub remedy: &'static str,
    /// What `details` can have, beside [`details::DOCUMENTATION`].
    pub details: &'static [&'static Detail],
}

impl Code {
    /// The path of its page.
    #[must_use]
    pub fn page(&self) -> String {
        format!("/docs/errors/{}", self.name)
    }

    /// Everything that `details` can have.
    pub fn all_details(&self) -> impl Iterator<Item = &'static Detail> {
        std::iter::once(&details::DOCUMENTATION).chain(self.details.iter().copied())
    }
}

impl PartialEq for Code {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// The codes that a request can meet before it is about a resource, in that order.
pub const BEFORE_RESOURCES: &[&Code] = &[
    &TOO_MANY_CONNECTIONS,
    &MALFORMED_REQUEST,
    &HEAD_TIMED_OUT,
    &URI_TOO_LONG,
    &HEADERS_TOO_LARGE,
    &UNAUTHENTICATED,
    &TENANT_MISMATCH,
    &MALFORMED_JSON,
    &INVALID_INPUT,
    &BODY_TIMED_OUT,
    &PAYLOAD_TOO_LARGE,
    &UNSUPPORTED_MEDIA_TYPE,
    &FORBIDDEN,
    &NOT_FOUND,
    &METHOD_NOT_ALLOWED,
];

/// The codes that it can meet afterwards.
pub const AFTER_RESOURCES: &[&Code] = &[
    &PRECONDITION_FAILED,
    &IDEMPOTENCY_KEY_REUSED,
    &TOO_MANY_REQUESTS,
    &OVERLOADED,
    &UNAVAILABLE,
    &ISSUER_UNAVAILABLE,
    &TIMED_OUT,
    &INTERNAL,
];

/// `too_many_connections`
pub static TOO_MANY_CONNECTIONS: Code = Code {
    name: "too_many_connections",
    status: 503,
    meaning: "The server has no place for another connection.",
    cause: "All places are taken, or the client's address has taken its share of them. The server's operator sets \
                 both (`--max-connections`, `--max-connections-per-client`).",
    remedy: "Use fewer connections, and keep each open for several requests. Try again later.",
    details: &[],
};

/// `malformed_request`
pub static MALFORMED_REQUEST: Code = Code {
    name: "malformed_request",
    status: 400,
    meaning: "What the client sent is not an HTTP request.",
    cause: "The request line or a header cannot be read, `Content-Length` and `Transfer-Encoding` contradict each \
                 other, or the client speaks another protocol, such as TLS.",
    remedy: "Let an HTTP library write the request. To use HTTPS, connect to the proxy that speaks TLS.",
    details: &[],
};

/// `head_timed_out`
pub static HEAD_TIMED_OUT: Code = Code {
    name: "head_timed_out",
    status: 408,
    meaning: "The request line and headers did not arrive in time.",
    cause: "The connection is slow or has broken, or the empty line after the headers is missing.",
    remedy: "Send the request again. Nothing was changed.",
    details: &[],
};

/// `uri_too_long`
pub static URI_TOO_LONG: Code = Code {
    name: "uri_too_long",
    status: 414,
    meaning: "The path and query of the request are too long.",
    cause: "A value belongs into a body, or a program has repeated a parameter.",
    remedy: "Send less.",
    details: &[],
};

/// `headers_too_large`
pub static HEADERS_TOO_LARGE: Code = Code {
    name: "headers_too_large",
    status: 431,
    meaning: "The request line and headers are too large, or there are too many headers.",
    cause: "Together they are larger than `details.max_bytes`, or there are more than 100 headers.",
    remedy: "Send fewer and shorter headers.",
    details: &[&details::MAX_BYTES],
};

/// `unauthenticated`
pub static UNAUTHENTICATED: Code = Code {
    name: "unauthenticated",
    status: 401,
    meaning: "The request has no valid credential.",
    cause: "It is missing, misspelled, expired or revoked, or the tenant has no such issuer. `details.reason` says \
                 which.",
    remedy: "Send an API key in `X-API-Key` or a token in `Authorization: Bearer`: one of the two, and only once.",
    details: &[&details::REASON],
};

/// `tenant_mismatch`
pub static TENANT_MISMATCH: Code = Code {
    name: "tenant_mismatch",
    status: 403,
    meaning: "The credential does not belong to the tenant in `X-Tenant-ID`.",
    cause: "A key of one tenant was sent with the id of another.",
    remedy: "Send the id of the credential's own tenant, or a credential of that tenant.",
    details: &[],
};

/// `malformed_json`
pub static MALFORMED_JSON: Code = Code {
    name: "malformed_json",
    status: 400,
    meaning: "The body of the request is not valid JSON.",
    cause: "A bracket or quotation mark is missing, the text is not UTF-8, or the body is empty.",
    remedy: "Look at the position in `details.reason`. Use a JSON library to write the body.",
    details: &[&details::REASON],
};

/// `invalid_input`
pub static INVALID_INPUT: Code = Code {
    name: "invalid_input",
    status: 400,
    meaning: "A part of the request is missing, unknown, or not in the documented form.",
    cause: "A field or parameter is misspelled or appears twice, a value is too long or out of range, or an id is \
                 not a UUID.",
    remedy: "`details.errors` lists every mistake: its `field`, where it is (`in`: body, path, query or header) and \
                 the `reason`. `details.field`, `details.in` and `details.reason` are the first one. Nothing was changed.",
    details: &[&details::FIELD, &details::IN, &details::REASON, &details::ERRORS],
};

/// `body_timed_out`
pub static BODY_TIMED_OUT: Code = Code {
    name: "body_timed_out",
    status: 408,
    meaning: "The body of the request did not arrive in time.",
    cause: "The connection is slow or was lost, or the body is shorter than `Content-Length` says.",
    remedy: "Send the request again. Nothing was changed.",
    details: &[],
};

/// `payload_too_large`
pub static PAYLOAD_TOO_LARGE: Code = Code {
    name: "payload_too_large",
    status: 413,
    meaning: "The body of the request is too large.",
    cause: "It has more than `details.max_bytes` bytes.",
    remedy: "Send less, or split it into several requests.",
    details: &[&details::MAX_BYTES],
};

/// `unsupported_media_type`
pub static UNSUPPORTED_MEDIA_TYPE: Code = Code {
    name: "unsupported_media_type",
    status: 415,
    meaning: "The body of the request is not sent as JSON.",
    cause: "`Content-Type` is missing, or names another media type.",
    remedy: "Send `Content-Type: application/json`.",
    details: &[&details::CONTENT_TYPE],
};

/// `forbidden`
pub static FORBIDDEN: Code = Code {
    name: "forbidden",
    status: 403,
    meaning: "The tenant's policies do not let this credential do this.",
    cause: "A rule forbids it (`details.kind` is `forbidden`), no rule permits it (`not_permitted`), or a rule \
                 cannot be evaluated (`error`).",
    remedy: "Read `notices`, where rules can give their reason, and `details.missing_scope`, the scope that would be \
                 enough, if there is one. An administrator learns more from `POST /v1/policies/evaluate`.",
    details: &[
        &details::ACTION,
        &details::KIND,
        &details::MISSING_SCOPE,
        &details::PRIORITY,
        &details::EXPLANATION,
        &details::MATCHING_POLICY_IDS,
        &details::MATCHING_RULE_IDS,
        &details::EXPLANATIONS,
    ],
};

/// `not_found`
pub static NOT_FOUND: Code = Code {
    name: "not_found",
    status: 404,
    meaning: "The tenant has no such resource, or there is nothing at this path.",
    cause: "It was deleted, never existed, or belongs to another tenant; these look the same on purpose. \
                 `details.resource` says what was not found, and `details.id` its id.",
    remedy: "Check the id and the tenant. A look-up finds accounts that are known to aka, linked or not: one that it \
                 does not find has never been linked.",
    details: &[&details::RESOURCE, &details::ID, &details::IDENTITY_PROVIDER_ID],
};

/// `method_not_allowed`
pub static METHOD_NOT_ALLOWED: Code = Code {
    name: "method_not_allowed",
    status: 405,
    meaning: "The path does not support this method.",
    cause: "For example, the client sends `POST` instead of `PUT`.",
    remedy: "Use one of the methods in `Allow` and `details.allowed`.",
    details: &[&details::ALLOWED],
};

/// `precondition_failed`
pub static PRECONDITION_FAILED: Code = Code {
    name: "precondition_failed",
    status: 412,
    meaning: "The resource has changed since the caller read it.",
    cause: "Its `ETag` is no longer the one in `If-Match` (RFC 9110 §13.1.1).",
    remedy: "Read it again, and send the change with its current `ETag`.",
    details: &[],
};

/// `idempotency_key_reused`
pub static IDEMPOTENCY_KEY_REUSED: Code = Code {
    name: "idempotency_key_reused",
    status: 422,
    meaning: "The `Idempotency-Key` was used for a different request before.",
    cause: "One key was used for two changes, or the body of the repeated request differs, for example in a time or \
                 an id. Keys belong to a credential, and are kept for 24 hours.",
    remedy: "Nothing was changed. Use a new key, such as a random UUID, for each change, and repeat it only with the \
                 same method, path and body.",
    details: &[],
};

/// `too_many_requests`
pub static TOO_MANY_REQUESTS: Code = Code {
    name: "too_many_requests",
    status: 429,
    meaning: "The tenant has too many requests of this kind in progress.",
    cause: "Shared resources are divided between tenants. `details.limit` names the limit that was reached.",
    remedy: "Send the request again after the seconds in `Retry-After`, and fewer at a time. Nothing was changed.",
    details: &[&details::LIMIT],
};

/// `overloaded`
pub static OVERLOADED: Code = Code {
    name: "overloaded",
    status: 503,
    meaning: "The server has too many requests waiting.",
    cause: "Changes come faster than the database commits them, or many tenants check or preview rules at a time.",
    remedy: "Send the request again after the seconds in `Retry-After`, and fewer at a time.",
    details: &[],
};

/// `unavailable`
pub static UNAVAILABLE: Code = Code {
    name: "unavailable",
    status: 503,
    meaning: "The database is unavailable at the moment.",
    cause: "It is restarting, cannot be reached, or its disk is full.",
    remedy: "Send the request again after the seconds in `Retry-After`. Linking an account twice is safe.",
    details: &[],
};

/// `issuer_unavailable`
pub static ISSUER_UNAVAILABLE: Code = Code {
    name: "issuer_unavailable",
    status: 503,
    meaning: "The keys of the token's issuer cannot be fetched.",
    cause: "The issuer does not answer at its `jwks_uri` or its `/.well-known/openid-configuration`, or answers with \
                 something else.",
    remedy: "Send the request again later, or use an API key.",
    details: &[],
};

/// `timed_out`
pub static TIMED_OUT: Code = Code {
    name: "timed_out",
    status: 503,
    meaning: "The request took too long.",
    cause: "The server or its database is overloaded.",
    remedy: "Check whether the change was made, or send the request again.",
    details: &[],
};

/// `internal`
pub static INTERNAL: Code = Code {
    name: "internal",
    status: 500,
    meaning: "Internal server error.",
    cause: "The request is not the cause.",
    remedy: "Send the `X-Request-ID` of the answer to the server's operator, who finds the cause in the log.",
    details: &[],
};
