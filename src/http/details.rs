//! What `details` of an error can have: the members that several codes share, and what a member is. Those of one resource
//! are in its folder.

use std::borrow::Cow;

use poem_openapi::{
    Object,
    registry::{MetaSchema, MetaSchemaRef, Registry},
    types::{ParseError, ParseFromJSON, ParseResult, ToJSON, Type},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::explanation::RuleExplanation;
use crate::types::{
    ids::{IdentityProviderId, UserId},
    scopes::Scope,
};

/// One member of `details`.
pub struct Detail {
    /// Its name.
    pub name: &'static str,
    /// Its schema. What the schema refers to is put into the registry.
    pub schema: fn(&mut Registry) -> MetaSchemaRef,
    /// What it says.
    pub description: &'static str,
}

/// The schema of a type, which is put into the registry if it has a name there.
pub fn schema_of<T: Type>(registry: &mut Registry) -> MetaSchemaRef {
    T::register(registry);
    T::schema_ref()
}

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

/// The document gives it its members: those of all codes, which only the catalogue of codes knows.
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
        registry.create_schema::<Self, _>(Self::name().into_owned(), |_| MetaSchema::new("object"));
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

/// `documentation`
pub static DOCUMENTATION: Detail = Detail {
    name: "documentation",
    schema: schema_of::<String>,
    description: "The path of the page at this server that explains the code.",
};

/// `field`
pub static FIELD: Detail = Detail {
    name: "field",
    schema: schema_of::<String>,
    description: "The field, parameter or header that is wrong, or taken; if there are several, the first. Empty if the body as a \
         whole is wrong.",
};

/// `in`
pub static IN: Detail = Detail {
    name: "in",
    schema: schema_of::<String>,
    description: "Where it is: `body`, `path`, `query` or `header`.",
};

/// `reason`
pub static REASON: Detail = Detail {
    name: "reason",
    schema: schema_of::<String>,
    description: "What is wrong. Of a credential, a name for programs, such as `expired_key`.",
};

/// `errors`
pub static ERRORS: Detail = Detail {
    name: "errors",
    schema: schema_of::<Vec<InputError>>,
    description: "Every mistake that was found; `field`, `in` and `reason` repeat the first.",
};

/// `action`
pub static ACTION: Detail = Detail {
    name: "action",
    schema: schema_of::<String>,
    description: "The action that is not permitted.",
};

/// `kind`
pub static KIND: Detail = Detail {
    name: "kind",
    schema: schema_of::<String>,
    description: "`forbidden` if a rule forbids it, `not_permitted` if no rule permits it, `error` if a rule cannot be evaluated.",
};

/// `missing_scope`
pub static MISSING_SCOPE: Detail = Detail {
    name: "missing_scope",
    schema: schema_of::<Scope>,
    description: "The scope with which the credential would be permitted, if there is one.",
};

/// `priority`
pub static PRIORITY: Detail = Detail {
    name: "priority",
    schema: schema_of::<i32>,
    description: "The priority of the policies that decided, if any did.",
};

/// `explanation`
pub static EXPLANATION: Detail = Detail {
    name: "explanation",
    schema: schema_of::<String>,
    description: "Which facts of the request kept the nearest rule from permitting it.",
};

/// `matching_policy_ids`
pub static MATCHING_POLICY_IDS: Detail = Detail {
    name: "matching_policy_ids",
    schema: schema_of::<Vec<String>>,
    description: "The policies whose rules decided. Only for callers who may call `evaluatePolicies`.",
};

/// `matching_rule_ids`
pub static MATCHING_RULE_IDS: Detail = Detail {
    name: "matching_rule_ids",
    schema: schema_of::<Vec<String>>,
    description: "The rules that decided. Of `forbidden`, only for callers who may call `evaluatePolicies`.",
};

/// `explanations`
pub static EXPLANATIONS: Detail = Detail {
    name: "explanations",
    schema: schema_of::<Vec<RuleExplanation>>,
    description: "Why the rules decided as they did. Only for callers who may call `evaluatePolicies`.",
};

/// `resource`
pub static RESOURCE: Detail = Detail {
    name: "resource",
    schema: schema_of::<String>,
    description: "What was not found: `user`, `identity`, `identity_provider`, `api_key`, `policy`, `policy_rule`, `decision`, \
         `tenant`, or `route` if there is nothing at the path.",
};

/// `id`
pub static ID: Detail = Detail {
    name: "id",
    // Whatever it is the id of: they all look alike.
    schema: schema_of::<UserId>,
    description: "The id that was not found, if the request has one.",
};

/// `user_id`
pub static USER_ID: Detail = Detail {
    name: "user_id",
    schema: schema_of::<UserId>,
    description: "The user. Of `user_already_exists`, the existing user; only for callers who may read them.",
};

/// `identity_provider_id`
pub static IDENTITY_PROVIDER_ID: Detail = Detail {
    name: "identity_provider_id",
    schema: schema_of::<IdentityProviderId>,
    description: "The identity provider. Of `not_found`, the provider at which the account was looked up; of \
         `identity_provider_already_exists`, the existing provider, only for callers who may read it.",
};

/// `allowed`
pub static ALLOWED: Detail = Detail {
    name: "allowed",
    schema: schema_of::<Vec<String>>,
    description: "The methods that the path supports.",
};

/// `max_bytes`
pub static MAX_BYTES: Detail = Detail {
    name: "max_bytes",
    schema: schema_of::<u64>,
    description: "The largest size of the body, or of the headers, in bytes.",
};

/// `content_type`
pub static CONTENT_TYPE: Detail = Detail {
    name: "content_type",
    schema: schema_of::<String>,
    description: "The media type that was sent, if any was.",
};

/// `limit`
pub static LIMIT: Detail = Detail {
    name: "limit",
    schema: schema_of::<String>,
    description: "The limit that was reached.",
};
