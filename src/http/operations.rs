//! The table of operations: what the program has to know of an operation beside its code.
//!
//! Each resource's folder has its rows. From a row come the action that policy is asked about, the limits of the request, the
//! route in the log, and what the derives of poem-openapi cannot say in the document: `X-Tenant-ID`, `If-Match` and
//! `Idempotency-Key`, the credential that it takes, and the statuses and codes with which it refuses. Nothing guesses from an
//! operation's name. That each operation has a row, and each row an operation, is tested (`resources/mod.rs`).

use std::time::Duration;

use serde_json::Value;

use super::{codes::Code, error::Error};
use crate::types::{
    actions::{Action, TargetKind},
    scopes::Scope,
};

/// How long a request may take, reading its body included, unless its operation says otherwise.
const TIME: Duration = Duration::from_secs(15);

/// What a body may be.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    /// Its size in bytes at most.
    pub max_bytes: usize,
    /// How long it may take to arrive.
    pub within: Duration,
}

impl BodyLimits {
    /// The limits of most bodies. The largest useful one, a provider with inline keys, has half of this size.
    pub const DEFAULT: Self = Self {
        max_bytes: 64 * 1024,
        within: Duration::from_secs(10),
    };
    /// The limits of a body that is a set of policies.
    pub const POLICIES: Self = Self {
        max_bytes: 1024 * 1024,
        ..Self::DEFAULT
    };
}

/// Examples for the document, where those of the schemas do not fit the operation.
#[derive(Clone, Copy)]
pub struct Examples {
    /// What it answers.
    pub answer: Option<fn() -> Value>,
    /// A refusal with 400.
    pub invalid: Option<fn() -> Error>,
    /// A refusal with 404.
    pub missing: Option<fn() -> Error>,
    /// A refusal with 409.
    pub conflict: Option<fn() -> Error>,
}

/// One operation.
pub struct Operation {
    /// Its id in the document.
    pub id: &'static str,
    /// Its method.
    pub method: &'static str,
    /// Its path, as the document has it: `/v1/users/{id}`.
    pub path: &'static str,
    /// What policy is asked. None: it needs no credential.
    pub action: Option<Action>,
    /// What kind of thing the action is done to; where there is no such thing, to the tenant.
    pub on: TargetKind,
    /// Whether it changes something.
    pub changes: bool,
    /// Whether it changes one thing that has an `ETag`, and takes `If-Match`.
    pub if_match: bool,
    /// What it does not find where it answers 404.
    pub finds: Option<&'static str>,
    /// With what it can be in conflict.
    pub conflicts: &'static [&'static Code],
    /// What its body may be, if it has one.
    pub body: Option<BodyLimits>,
    /// How long a request may take, reading its body included.
    pub time: Duration,
    /// Examples of its own.
    pub examples: Examples,
}

impl Operation {
    const fn new(id: &'static str, method: &'static str, path: &'static str, action: Option<Action>) -> Self {
        Self {
            id,
            method,
            path,
            action,
            on: TargetKind::Tenant,
            changes: false,
            if_match: false,
            finds: None,
            conflicts: &[],
            body: None,
            time: TIME,
            examples: Examples {
                answer: None,
                invalid: None,
                missing: None,
                conflict: None,
            },
        }
    }

    /// An operation that everybody may call.
    #[must_use]
    pub const fn open(id: &'static str, path: &'static str) -> Self {
        Self::new(id, "GET", path, None)
    }

    /// An operation that reads.
    #[must_use]
    pub const fn get(action: Action, path: &'static str) -> Self {
        Self::new(action.as_str(), "GET", path, Some(action))
    }

    /// An operation that is asked a question with a body, and changes nothing.
    #[must_use]
    pub const fn ask(action: Action, path: &'static str) -> Self {
        Self::new(action.as_str(), "POST", path, Some(action)).body(BodyLimits::DEFAULT)
    }

    /// An operation that makes something, or does something to it.
    #[must_use]
    pub const fn post(action: Action, path: &'static str) -> Self {
        Self::change(action, "POST", path).body(BodyLimits::DEFAULT)
    }

    /// An operation that changes something.
    #[must_use]
    pub const fn put(action: Action, path: &'static str) -> Self {
        Self::change(action, "PUT", path).body(BodyLimits::DEFAULT)
    }

    /// An operation that changes something, of which its body names what is to change.
    #[must_use]
    pub const fn patch(action: Action, path: &'static str) -> Self {
        Self::change(action, "PATCH", path).body(BodyLimits::DEFAULT)
    }

    /// An operation that takes something away.
    #[must_use]
    pub const fn delete(action: Action, path: &'static str) -> Self {
        Self::change(action, "DELETE", path)
    }

    const fn change(action: Action, method: &'static str, path: &'static str) -> Self {
        Self {
            changes: true,
            ..Self::new(action.as_str(), method, path, Some(action))
        }
    }

    /// The action is done to this kind of thing, not to the tenant as a whole.
    #[must_use]
    pub const fn on(mut self, kind: TargetKind) -> Self {
        self.on = kind;
        self
    }

    /// There may be no such thing.
    #[must_use]
    pub const fn finds(mut self, resource: &'static str) -> Self {
        self.finds = Some(resource);
        self
    }

    /// It may be in conflict with the state of things.
    #[must_use]
    pub const fn conflicts(mut self, codes: &'static [&'static Code], example: fn() -> Error) -> Self {
        self.conflicts = codes;
        self.examples.conflict = Some(example);
        self
    }

    /// It takes `If-Match`.
    #[must_use]
    pub const fn if_match(mut self) -> Self {
        self.if_match = true;
        self
    }

    /// It has a body within these limits.
    #[must_use]
    pub const fn body(mut self, limits: BodyLimits) -> Self {
        self.body = Some(limits);
        self
    }

    /// It answers with something else than the example of its schema.
    #[must_use]
    pub const fn answers(mut self, example: fn() -> Value) -> Self {
        self.examples.answer = Some(example);
        self
    }

    /// An example of what it says of wrong input, where that is special.
    #[must_use]
    pub const fn rejects(mut self, example: fn() -> Error) -> Self {
        self.examples.invalid = Some(example);
        self
    }

    /// An example of what it says where there is nothing, where that is special.
    #[must_use]
    pub const fn misses(mut self, example: fn() -> Error) -> Self {
        self.examples.missing = Some(example);
        self
    }

    /// Whether a request with an `Idempotency-Key` is carried out once. `PUT` and `DELETE` can be repeated as they are.
    #[must_use]
    pub fn is_carried_out_once(&self) -> bool {
        self.changes && self.may_have_key()
    }

    /// Whether a request may have an `Idempotency-Key`, even one without effect.
    #[must_use]
    pub fn may_have_key(&self) -> bool {
        ["POST", "PATCH"].contains(&self.method)
    }

    /// Whether only credentials of the master tenant get past the built-in policy.
    #[must_use]
    pub fn is_of_master(&self) -> bool {
        let scope = self.action.map(Action::scope);
        matches!(scope, Some(Scope::TenantsRead | Scope::TenantsWrite))
    }

    /// What a credential needs, as the last sentence of the description in the document.
    #[must_use]
    pub fn needs(&self) -> Option<String> {
        let action = self.action?;
        let scope = action.scope();
        Some(if self.is_of_master() {
            format!("Needs a credential of the master tenant with the scope `{scope}`.")
        } else {
            format!("Needs the scope `{scope}`, or a policy that permits `{action}`.")
        })
    }

    /// The statuses with which it can refuse a request, and what each means.
    #[must_use]
    pub fn refusals(&self) -> Vec<(u16, String)> {
        let mut refusals: Vec<(u16, String)> = Vec::new();
        let mut add = |applies: bool, status: u16, description: &str| {
            if applies {
                refusals.push((status, description.to_owned()));
            }
        };
        let has_credential = self.action.is_some();
        add(true, 400, E400);
        add(has_credential, 401, E401);
        add(has_credential, 403, E403);
        add(self.finds.is_some(), 404, E404);
        // It is the path that answers it, whichever operation was meant.
        add(true, 405, E405);
        add(self.body.is_some(), 408, E408);
        add(!self.conflicts.is_empty(), 409, &self.conflict_description());
        add(self.if_match, 412, E412);
        add(self.body.is_some(), 413, E413);
        add(self.body.is_some(), 415, E415);
        add(self.is_carried_out_once(), 422, E422);
        add(has_credential, 429, E429);
        add(true, 500, E500);
        add(true, 503, E503);
        refusals
    }

    fn conflict_description(&self) -> String {
        let codes: Vec<String> = self.conflicts.iter().map(|code| format!("`{code}`")).collect();
        let of = if codes.len() == 1 { "Code" } else { "Codes" };
        format!("Conflicts with the current state. {of}: {}.", codes.join(", "))
    }

    /// Whether a path is one of this operation.
    fn has_path(&self, path: &str) -> bool {
        let mut segments = path.split('/');
        self.path.split('/').all(|expected| {
            segments
                .next()
                .is_some_and(|segment| expected.starts_with('{') || expected == segment)
        }) && segments.next().is_none()
    }

    fn parameters(&self) -> usize {
        self.path.matches('{').count()
    }
}

const E400: &str = "Invalid input. Codes: `invalid_input` (`details.errors` lists the mistakes), for a body also \
    `malformed_json`, and for one with Cedar text `invalid_rule`.";
const E401: &str = "Unauthenticated: no credential, or one that is not valid. Code: `unauthenticated` (`details.reason` \
    says why).";
const E403: &str = "Forbidden. Codes: `tenant_mismatch` (the credential belongs to another tenant), `forbidden` (refused by \
    policy; `notices` and `details` say why).";
const E404: &str = "Not found in this tenant. Code: `not_found` (`details.resource` says what).";
const E405: &str = "The path does not support the method of the request; the header `Allow` lists those that it supports. \
    Code: `method_not_allowed`.";
const E408: &str = "The body did not arrive in time. Code: `body_timed_out`.";
const E412: &str = "The resource has changed: its `ETag` is not the one in `If-Match`. Code: `precondition_failed`.";
const E413: &str = "The body is too large. Code: `payload_too_large` (`details.max_bytes` is the limit).";
const E415: &str = "The body is not `application/json`. Code: `unsupported_media_type`.";
const E422: &str = "The `Idempotency-Key` was sent with another request. Code: `idempotency_key_reused`.";
const E429: &str = "The tenant has reached one of its limits; the header `Retry-After` says when to try again. Code: \
    `too_many_requests` (`details.limit` names the limit).";
const E500: &str = "Internal server error. Code: `internal`.";
const E503: &str = "Something is unavailable or overloaded at the moment; the header `Retry-After` says when to try again. \
    Codes: `unavailable`, `overloaded`, `timed_out`, `issuer_unavailable`.";

/// What a resource's folder brings to the whole.
pub struct Resource {
    /// Its operations.
    pub operations: &'static [Operation],
    /// The codes of its refusals.
    pub codes: &'static [&'static Code],
    /// An example of a schema of its own, by the schema's name.
    pub schema_example: fn(&str) -> Option<Value>,
    /// An example of a parameter of its operations, by the parameter's name.
    pub parameter_example: fn(&str) -> Option<Value>,
}

/// The paths of all operations.
pub struct Routes {
    /// Those without parameters first.
    operations: Vec<&'static Operation>,
}

impl Routes {
    /// The paths of the operations of these resources.
    #[must_use]
    pub fn new(resources: &[&'static Resource]) -> Self {
        let mut operations: Vec<_> = resources.iter().flat_map(|resource| resource.operations).collect();
        operations.sort_by_key(|operation| operation.parameters());
        Self { operations }
    }

    /// The operation that a request asks for.
    #[must_use]
    pub fn operation(&self, method: &str, path: &str) -> Option<&'static Operation> {
        // HEAD is answered like GET.
        let method = if method == "HEAD" { "GET" } else { method };
        let mut of_path = self.of_path(path);
        of_path.find(|operation| operation.method == method)
    }

    /// The methods that a path supports; of a page beside the operations, those of a page.
    #[must_use]
    pub fn methods(&self, path: &str) -> Vec<String> {
        let mut methods: Vec<&str> = self.of_path(path).map(|operation| operation.method).collect();
        if methods.is_empty() {
            methods.push("GET");
        }
        if methods.contains(&"GET") {
            methods.push("HEAD");
        }
        methods.push("OPTIONS");
        methods.into_iter().map(str::to_owned).collect()
    }

    /// The operations of the first path that fits.
    fn of_path<'a>(&'a self, path: &'a str) -> impl Iterator<Item = &'static Operation> {
        let first = self.operations.iter().find(|operation| operation.has_path(path));
        let first = first.map_or("", |operation| operation.path);
        let all = self.operations.iter().copied();
        all.filter(move |operation| operation.path == first)
    }
}
