//! What `details` of an error can have: one list, from which follow the schema in the document and the tables on the
//! pages of the errors.

use std::{borrow::Cow, sync::LazyLock};

use poem_openapi::{
    Object,
    registry::{MetaSchema, MetaSchemaRef, Registry},
    types::{ParseError, ParseFromJSON, ParseResult, ToJSON, Type},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error_code::ErrorCode;
use crate::{
    resources::{identities::api::LinkedByName, policies::evaluation_api::RuleExplanation},
    types::{
        clock::Timestamp,
        ids::{IdentityId, IdentityProviderId, UserId},
        scopes::Scope,
    },
};

/// The context of an error, for a program.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ErrorDetails(pub Map<String, Value>);

/// One mistake in a request.
#[derive(Debug, Clone, Object, Serialize)]
pub struct InputError {
    /// The field, parameter or header that is wrong. Empty if the body as a whole is.
    pub field: String,
    /// Where it is: `body`, `path`, `query` or `header`.
    #[oai(rename = "in")]
    #[serde(rename = "in")]
    pub within: String,
    /// What is wrong with it, as the end of a sentence that begins with its name.
    pub reason: String,
}

/// A way out of a conflict that is open to this caller.
#[derive(Debug, Clone, Object, Serialize)]
pub struct WayOut {
    /// Its name, for a program: `unlink_first` or `use_another_account`. Later versions may add others.
    pub way: String,
    /// What to do, for a person.
    pub description: String,
    /// The method of the request to send first, if there is one.
    #[oai(nullable)]
    pub method: Option<String>,
    /// The path of that request.
    #[oai(nullable)]
    pub path: Option<String>,
}

/// One member of `details`.
pub struct Detail {
    /// Its name.
    pub name: &'static str,
    /// What it says.
    pub description: &'static str,
    /// The codes of the errors that can have it.
    codes: &'static [ErrorCode],
    schema: fn(&mut Registry) -> MetaSchemaRef,
}

impl Detail {
    /// The members that `details` can have with a code.
    pub fn of(code: ErrorCode) -> impl Iterator<Item = &'static Self> {
        DETAILS.iter().filter(move |detail| detail.codes.contains(&code))
    }
}

const fn detail(
    name: &'static str,
    schema: fn(&mut Registry) -> MetaSchemaRef,
    codes: &'static [ErrorCode],
    description: &'static str,
) -> Detail {
    Detail {
        name,
        description,
        codes,
        schema,
    }
}

/// The schema of a type, which is put into the document if it has a name there.
fn of<T: Type>(registry: &mut Registry) -> MetaSchemaRef {
    T::register(registry);
    T::schema_ref()
}

const INPUT: &[ErrorCode] = &[ErrorCode::InvalidInput, ErrorCode::InvalidRule];
const FIELD: &[ErrorCode] = &[
    ErrorCode::InvalidInput,
    ErrorCode::InvalidRule,
    ErrorCode::IdentityProviderAlreadyExists,
];
const RULE: &[ErrorCode] = &[ErrorCode::InvalidRule];
const FORBIDDEN: &[ErrorCode] = &[ErrorCode::Forbidden];
const REFUSED: &[ErrorCode] = &[ErrorCode::Forbidden, ErrorCode::PoliciesLocked];
const ALREADY_LINKED: &[ErrorCode] = &[ErrorCode::IdentityAlreadyLinked];

const DETAILS: &[Detail] = &[
    detail(
        "documentation",
        of::<String>,
        &ErrorCode::ALL,
        "The path of the page at this server that explains the code.",
    ),
    detail(
        "field",
        of::<String>,
        FIELD,
        "The field, parameter or header that is wrong, or taken; if there are several, the first. Empty if the body as a \
         whole is wrong.",
    ),
    detail(
        "in",
        of::<String>,
        INPUT,
        "Where it is: `body`, `path`, `query` or `header`.",
    ),
    detail(
        "reason",
        of::<String>,
        &[
            ErrorCode::MalformedJson,
            ErrorCode::InvalidInput,
            ErrorCode::InvalidRule,
            ErrorCode::Unauthenticated,
        ],
        "What is wrong. Of a credential, a name for programs, such as `expired_key`.",
    ),
    detail(
        "errors",
        of::<Vec<InputError>>,
        &[ErrorCode::InvalidInput],
        "Every mistake that was found; `field`, `in` and `reason` repeat the first.",
    ),
    detail("help", of::<String>, RULE, "How the rule may be corrected."),
    detail("line", of::<u64>, RULE, "The line of the mistake, counted from 1."),
    detail("column", of::<u64>, RULE, "The column of the mistake, counted from 1."),
    detail("action", of::<String>, REFUSED, "The action that is not permitted."),
    detail(
        "kind",
        of::<String>,
        REFUSED,
        "`forbidden` if a rule forbids it, `not_permitted` if no rule permits it, `error` if a rule cannot be evaluated.",
    ),
    detail(
        "missing_scope",
        of::<Scope>,
        FORBIDDEN,
        "The scope with which the credential would be permitted, if there is one.",
    ),
    detail(
        "priority",
        of::<i32>,
        FORBIDDEN,
        "The priority of the policies that decided, if any did.",
    ),
    detail(
        "explanation",
        of::<String>,
        FORBIDDEN,
        "Which facts of the request kept the nearest rule from permitting it.",
    ),
    detail(
        "matching_policy_ids",
        of::<Vec<String>>,
        FORBIDDEN,
        "The policies whose rules decided. Only for callers who may call `evaluatePolicies`.",
    ),
    detail(
        "matching_rule_ids",
        of::<Vec<String>>,
        REFUSED,
        "The rules that decided. Of `forbidden`, only for callers who may call `evaluatePolicies`.",
    ),
    detail(
        "policy_texts",
        of::<Vec<String>>,
        &[ErrorCode::PoliciesLocked],
        "The rules of the policy that would lock everybody out.",
    ),
    detail(
        "explanations",
        of::<Vec<RuleExplanation>>,
        FORBIDDEN,
        "Why the rules decided as they did. Only for callers who may call `evaluatePolicies`.",
    ),
    detail(
        "resource",
        of::<String>,
        &[ErrorCode::NotFound],
        "What was not found: `user`, `identity`, `identity_provider`, `api_key`, `policy`, `policy_rule`, `decision`, \
         `tenant`, or `route` if there is nothing at the path.",
    ),
    detail(
        "id",
        // Whatever it is the id of: they all look alike.
        of::<UserId>,
        &[ErrorCode::NotFound],
        "The id that was not found, if the request has one.",
    ),
    detail(
        "user_id",
        of::<UserId>,
        &[ErrorCode::UserSuspended, ErrorCode::UserAlreadyExists],
        "The user. Of `user_already_exists`, the existing user; only for callers who may read them.",
    ),
    detail(
        "identity_provider_id",
        of::<IdentityProviderId>,
        &[
            ErrorCode::NotFound,
            ErrorCode::IdentityProviderAlreadyExists,
            ErrorCode::IdentityProviderDisabled,
            ErrorCode::IdentityProviderInUse,
        ],
        "The identity provider. Of `not_found`, the provider at which the account was looked up; of \
         `identity_provider_already_exists`, the existing provider, only for callers who may read it.",
    ),
    detail(
        "linked_identities",
        of::<u64>,
        &[ErrorCode::IdentityProviderInUse],
        "The number of accounts at the provider that are linked to users.",
    ),
    detail(
        "identity_id",
        of::<IdentityId>,
        ALREADY_LINKED,
        "The identity of the account.",
    ),
    detail(
        "linked_by",
        of::<LinkedByName>,
        ALREADY_LINKED,
        "How the account was linked.",
    ),
    detail(
        "linked_at",
        of::<Timestamp>,
        ALREADY_LINKED,
        "When the account was linked.",
    ),
    detail(
        "linked_to_user_id",
        of::<UserId>,
        ALREADY_LINKED,
        "The user to whom the account is linked. Only for callers who may look the account up.",
    ),
    detail(
        "ways_out",
        of::<Vec<WayOut>>,
        ALREADY_LINKED,
        "What this caller can do about it, the most direct way first.",
    ),
    detail(
        "allowed",
        of::<Vec<String>>,
        &[ErrorCode::MethodNotAllowed],
        "The methods that the path supports.",
    ),
    detail("max", of::<u64>, &[ErrorCode::TooManyRules], "The value of the limit."),
    detail(
        "max_bytes",
        of::<u64>,
        &[ErrorCode::PayloadTooLarge, ErrorCode::HeadersTooLarge],
        "The largest size of the body, or of the headers, in bytes.",
    ),
    detail(
        "found",
        of::<u64>,
        &[ErrorCode::TooManyRules],
        "What this request would reach.",
    ),
    detail(
        "content_type",
        of::<String>,
        &[ErrorCode::UnsupportedMediaType],
        "The media type that was sent, if any was.",
    ),
    detail(
        "limit",
        of::<String>,
        &[ErrorCode::TooManyRequests, ErrorCode::TooManyRules],
        "The limit that was reached.",
    ),
];

/// The descriptions as the document has them, each with the codes that it belongs to.
static DESCRIPTIONS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let description = |detail: &Detail| {
        if detail.codes.len() == ErrorCode::ALL.len() {
            return format!("{} With every code.", detail.description);
        }
        let codes: Vec<String> = detail.codes.iter().map(|code| format!("`{code}`")).collect();
        format!("{} With {}.", detail.description, codes.join(", "))
    };
    DETAILS.iter().map(description).collect()
});

impl Type for ErrorDetails {
    const IS_REQUIRED: bool = true;
    type RawValueType = Self;
    type RawElementValueType = Self;

    fn name() -> Cow<'static, str> {
        "ErrorDetails".into()
    }

    fn schema_ref() -> MetaSchemaRef {
        MetaSchemaRef::Reference(Self::name().into_owned())
    }

    fn register(registry: &mut Registry) {
        registry.create_schema::<Self, _>(Self::name().into_owned(), |registry| {
            let properties = DETAILS.iter().zip(DESCRIPTIONS.iter()).map(|(detail, description)| {
                let described = MetaSchema {
                    description: Some(description),
                    ..MetaSchema::ANY
                };
                (detail.name, (detail.schema)(registry).merge(described))
            });
            MetaSchema {
                title: Some("ErrorDetails".into()),
                description: Some(
                    "The context of an error, for a program. Each code has members of its own, and only those that apply \
                     are present. Later versions may add members.",
                ),
                properties: properties.collect(),
                additional_properties: Some(Box::new(MetaSchemaRef::Inline(Box::new(MetaSchema::ANY)))),
                ..MetaSchema::new("object")
            }
        });
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(std::iter::once(self))
    }
}

impl ParseFromJSON for ErrorDetails {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        serde_json::from_value(value.unwrap_or_default()).map_err(ParseError::custom)
    }
}

impl ToJSON for ErrorDetails {
    fn to_json(&self) -> Option<Value> {
        Some(Value::Object(self.0.clone()))
    }
}
