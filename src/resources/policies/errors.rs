//! What can go wrong with policies and their rules.

use std::borrow::Cow;

use super::{PolicyRefusal, lockout::LockedOut, preview::PreviewRefusal, rule_checks::RuleRefusal};
use crate::{
    access::rule_limits::Excess,
    http::{
        codes::Code,
        details::{self, Detail, schema_of},
        error::{Error, InputLocation},
    },
    policy::rules::RuleError,
};

/// `help`
pub static HELP: Detail = Detail {
    name: "help",
    schema: schema_of::<String>,
    description: "How the rule may be corrected.",
};

/// `line`
pub static LINE: Detail = Detail {
    name: "line",
    schema: schema_of::<u64>,
    description: "The line of the mistake, counted from 1.",
};

/// `column`
pub static COLUMN: Detail = Detail {
    name: "column",
    schema: schema_of::<u64>,
    description: "The column of the mistake, counted from 1.",
};

/// `policy_texts`
pub static POLICY_TEXTS: Detail = Detail {
    name: "policy_texts",
    schema: schema_of::<Vec<String>>,
    description: "The rules of the policy that would lock everybody out.",
};

/// `max`
pub static MAX: Detail = Detail {
    name: "max",
    schema: schema_of::<u64>,
    description: "The value of the limit.",
};

/// `found`
pub static FOUND: Detail = Detail {
    name: "found",
    schema: schema_of::<u64>,
    description: "What this request would reach.",
};

/// `invalid_rule`
pub static INVALID_RULE: Code = Code {
    name: "invalid_rule",
    status: 400,
    meaning: "The text is not a valid Cedar rule, does not match the schema, or is too expensive to evaluate.",
    cause: "It has a syntax error, names an action or attribute that does not exist, has several statements where \
                 one is expected, is a template, or evaluating it could cost too much: then `details.reason` has the cost \
                 and the limit.",
    remedy: "`details.line` and `details.column` say where, `details.help` often how to correct it. The schema is at \
                 `GET /v1/policies/schema`; `aka policy test` checks rules before they reach a server.",
    details: &[&details::FIELD, &details::IN, &details::REASON, &HELP, &LINE, &COLUMN],
};

/// `too_many_rules`
pub static TOO_MANY_RULES: Code = Code {
    name: "too_many_rules",
    status: 409,
    meaning: "The policy or the tenant would have too many rules, or rules that are too large or too expensive together.",
    cause: "The rules of a tenant are limited, because each request checks them: in their number, in the bytes of their \
                 texts, in the nodes of their syntax trees, and in what evaluating all of them can cost. `details.limit` \
                 names the limit, `details.max` is its value, and `details.found` what this request would reach.",
    remedy: "Remove rules, or replace many by one that tests membership in a set, role or group. Shorten patterns: \
                 comparing a text with one costs the product of their lengths.",
    details: &[&MAX, &FOUND, &details::LIMIT],
};

/// `policies_locked`
pub static POLICIES_LOCKED: Code = Code {
    name: "policies_locked",
    status: 409,
    meaning: "The change would leave nobody who could take it back.",
    cause: "Under the rules as they would be, neither the caller nor any other API key or user with the scope \
                 policies:write could change or delete the policy. `details.policy_texts` has the rules of the policy that \
                 stand in the way, `details.matching_rule_ids` those of other policies.",
    remedy: "Leave an exception for those who manage policies, for instance `unless { principal in \
                 Scope::\"policies:write\" }`. Or send the request with `?force=true`: then only an operator can take it \
                 back, with `aka policy disable` at the server's command line.",
    details: &[
        &details::ACTION,
        &details::KIND,
        &details::MATCHING_RULE_IDS,
        &POLICY_TEXTS,
    ],
};

/// That the text in a field is not a rule.
#[must_use]
pub fn invalid_rule(field: impl Into<Cow<'static, str>>, error: &RuleError) -> Error {
    let (line, column) = error.position.unzip();
    let place = error
        .position
        .map(|(line, column)| format!(" at line {line}, column {column}"))
        .unwrap_or_default();
    let help = error.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
    let message = format!("The Cedar text is not a valid rule{place}: {}{help}.", error.message);
    Error::new(&INVALID_RULE, message)
        .with(&details::FIELD, field.into())
        .with(&details::IN, "body")
        .with(&details::REASON, &error.message)
        .with(&HELP, &error.help)
        .with(&LINE, line)
        .with(&COLUMN, column)
}

/// That a text was not checked, or is not one of rules.
#[must_use]
pub fn refused_text(field: impl Into<Cow<'static, str>>, refusal: RuleRefusal) -> Error {
    match refusal {
        RuleRefusal::Invalid(error) => invalid_rule(field, &error),
        RuleRefusal::Store(error) => error.into(),
    }
}

/// That there would be more rules than there may be, or rules that weigh more.
#[must_use]
pub fn too_many_rules(excess: Excess) -> Error {
    let Excess {
        limit,
        what,
        max,
        found,
    } = excess;
    let message = format!("The limit is {max} {what}; with this request there would be {found}. Remove some first.");
    Error::new(&TOO_MANY_RULES, message)
        .with(&details::LIMIT, limit)
        .with(&MAX, max)
        .with(&FOUND, found)
}

/// That nobody could take a change back.
#[must_use]
pub fn policies_locked(locked_out: &LockedOut) -> Error {
    Error::new(&POLICIES_LOCKED, locked_out_message(locked_out))
        .with(&details::ACTION, locked_out.action)
        .with(&details::KIND, locked_out.decision.verdict.as_str())
        .with(&POLICY_TEXTS, &locked_out.texts)
        .with(&details::MATCHING_RULE_IDS, &locked_out.rules)
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

impl From<PolicyRefusal> for Error {
    fn from(refusal: PolicyRefusal) -> Self {
        match refusal {
            PolicyRefusal::NoPolicy(Some(id)) => Self::no_such("policy", id),
            PolicyRefusal::NoPolicy(None) => Self::none_such("policy"),
            PolicyRefusal::NoRule(id) => Self::no_such("policy_rule", id),
            PolicyRefusal::TooManyRules(excess) => too_many_rules(excess),
            PolicyRefusal::RevisionMismatch => Self::precondition_failed(),
            PolicyRefusal::LocksOut(locked_out) => policies_locked(&locked_out),
            PolicyRefusal::Overtaken => Self::unavailable("the policies of the tenant are being changed all the time"),
            PolicyRefusal::NotAnOrder { reason } => Self::field(InputLocation::Body, "ids", reason),
            PolicyRefusal::Store(error) => error.into(),
        }
    }
}

impl From<PreviewRefusal> for Error {
    fn from(refusal: PreviewRefusal) -> Self {
        match refusal {
            PreviewRefusal::TooManyRules(excess) => too_many_rules(excess),
            PreviewRefusal::Store(error) => error.into(),
        }
    }
}
