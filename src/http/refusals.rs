//! Refusals of `access` as errors: of a credential that is not accepted, and of a caller whom policy refuses.

use aka_entity::barred_account::Reason;

use super::{codes, details, error::Error, explanation::RuleExplanation};
use crate::{
    access::{api_keys::KeyRefusal, caller, tokens::TokenRefusal},
    policy::{DecidedAt, Decision, Explanation, Verdict},
    types::{actions::Action, clock::Timestamp, scopes::Scope},
};

impl From<caller::Refusal> for Error {
    fn from(refusal: caller::Refusal) -> Self {
        match refusal {
            caller::Refusal::Forbidden(refused) => {
                forbidden(refused.action, &refused.decision, refused.lacks, refused.may_evaluate)
            }
            caller::Refusal::Store(error) => error.into(),
        }
    }
}

/// That policy says no. What rules say, and what they saw beside what the caller has sent, is for those who may ask policy
/// themselves.
#[must_use]
pub fn forbidden(action: Action, decision: &Decision, lacks: Option<Scope>, may_evaluate: bool) -> Error {
    let kind = match decision.verdict {
        Verdict::Forbidden => "forbidden",
        Verdict::Error => "error",
        Verdict::Permitted | Verdict::NotPermitted => "not_permitted",
    };
    let error = Error::new(&codes::FORBIDDEN, forbidden_message(action, decision, lacks))
        .with(&details::ACTION, action)
        .with(&details::KIND, kind)
        .with(&details::MISSING_SCOPE, lacks)
        .with(&details::PRIORITY, decision.level.and_then(DecidedAt::priority))
        .with(&details::EXPLANATION, decision.explanations.first().and_then(reduced))
        .with_notices(decision.notices.iter().map(ToString::to_string));
    if !may_evaluate {
        return error;
    }
    let explanations = decision.explanations.iter().cloned().map(RuleExplanation::from);
    error
        .with(&details::MATCHING_POLICY_IDS, &decision.policy_ids)
        .with(&details::MATCHING_RULE_IDS, &decision.rules)
        .with(&details::EXPLANATIONS, explanations.collect::<Vec<_>>())
}

/// That the credential of a request is missing or not accepted. The reason is a name for programs.
#[must_use]
pub fn unauthenticated(reason: &'static str, message: impl Into<String>) -> Error {
    // RFC 9110 §11.6.1 and RFC 6750 §3: what would have been accepted.
    let bearer = if reason == MISSING_CREDENTIAL {
        "Bearer realm=\"aka\""
    } else {
        "Bearer realm=\"aka\", error=\"invalid_token\""
    };
    Error::new(&codes::UNAUTHENTICATED, message)
        .with(&details::REASON, reason)
        .with_header("WWW-Authenticate", "ApiKey realm=\"aka\", header=\"X-API-Key\"")
        .with_header("WWW-Authenticate", bearer)
}

const MISSING_CREDENTIAL: &str = "missing_credential";

/// That a request has no credential.
#[must_use]
pub fn no_credential() -> Error {
    unauthenticated(
        MISSING_CREDENTIAL,
        "The request has no credential. Send an API key in X-API-Key, or a token in Authorization: Bearer.",
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
        unauthenticated(reason, message)
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
                return Self::new(
                    &codes::ISSUER_UNAVAILABLE,
                    "The bearer token cannot be checked, because the keys of its issuer cannot be fetched at the moment. \
                     Try again later.",
                )
                .because(error.to_string());
            }
            TokenRefusal::Store(error) => return error.into(),
        };
        unauthenticated(reason, message)
    }
}
