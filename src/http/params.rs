//! Parameters in path and query. An error names the parameter as the document does, and says what it should be.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use poem::{Request, RequestBody};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaParamIn, MetaSchema, MetaSchemaRef, Registry},
    types::{ToJSON, Type},
};
use serde_json::{Value, json};

use super::{
    document::Route,
    error::{Error, InputLocation, Mistake},
    page::{DEFAULT_LIMIT, MAX_LIMIT},
};
use crate::types::{
    actions::Action,
    clock::Timestamp,
    ids,
    request_id::RequestId,
    text::{Email, ExternalId},
};

/// The length of the id of an actor at most, in characters: that of a subject, with its provider.
const MAX_ACTOR_ID: usize = 512;

/// The length up to which the name of an unknown parameter is shown, in characters.
const MAX_NAME_SHOWN: usize = 100;

/// What can be a parameter.
pub trait Parameter: Type + Sized {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// What is wrong with it, as the end of a sentence that begins with its name.
    fn parse(text: &str) -> Result<Self, String>;
}

/// What can be a part of the path.
pub trait PathParameter: Parameter {
    /// What the document calls it.
    const NAME: &'static str;
}

macro_rules! ids_in_paths {
    ($($type:ident $name:literal;)*) => {$(
        impl Parameter for ids::$type {
            fn parse(text: &str) -> Result<Self, String> {
                text.parse()
            }
        }

        impl PathParameter for ids::$type {
            const NAME: &'static str = $name;
        }
    )*};
}

ids_in_paths! {
    TenantId "id";
    UserId "id";
    IdentityProviderId "id";
    ApiKeyId "id";
    IdentityId "identityId";
    PolicyId "policyId";
    PolicyRuleId "ruleId";
    DecisionId "id";
}

impl Parameter for ExternalId {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse()
    }
}

impl Parameter for Email {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse()
    }
}

impl Parameter for bool {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "must be true or false".into())
    }
}

impl Parameter for Timestamp {
    fn parse(text: &str) -> Result<Self, String> {
        Self::parse_rfc3339(text).ok_or_else(|| "must be a time like 2030-01-31T12:00:00Z (RFC 3339)".into())
    }
}

/// A parameter in the path. The type must be called `Path`: poem-openapi's macro recognizes path parameters by that name, and
/// passes an empty value to any other type.
pub struct Path<T>(pub T);

impl<'a, T: PathParameter> ApiExtractor<'a> for Path<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::Parameter];
    const PARAM_IS_REQUIRED: bool = true;

    type ParamType = T;
    type ParamRawType = T;

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn param_in() -> Option<MetaParamIn> {
        Some(MetaParamIn::Path)
    }

    fn param_schema_ref() -> Option<MetaSchemaRef> {
        Some(T::schema_ref())
    }

    async fn from_request(
        request: &'a Request,
        _: &mut RequestBody,
        options: ExtractParamOptions<T>,
    ) -> poem::Result<Self> {
        let text = request.raw_path_param(options.name).unwrap_or_default();
        Ok(T::parse(text)
            .map(Self)
            .map_err(|reason| Error::field(InputLocation::Path, T::NAME, reason))?)
    }
}

/// A parameter of the query that must be there.
pub struct QueryParam<T>(pub T);

/// A parameter of the query that may be there.
pub struct OptionalQueryParam<T>(pub Option<T>);

/// Mistakes in a query that are listed: enough for every query that a person would write.
const MAX_LISTED: usize = 20;

/// Checks that a query has no parameters but those of its operation, and each of them once. What is not known is not
/// ignored: a filter that is misspelt, and left out, would answer with everything.
///
/// # Errors
///
/// Which parameters are not known, or appear more than once.
pub fn check_query(request: &Request) -> Result<(), Error> {
    let Some(query) = request.uri().query().filter(|query| !query.is_empty()) else {
        return Ok(());
    };
    let Some(Route {
        query_parameters: known,
        ..
    }) = request.data()
    else {
        return Ok(());
    };
    let mut seen: Vec<Cow<'_, str>> = Vec::new();
    let mut mistakes: Vec<Mistake> = Vec::new();
    for (name, _) in form_urlencoded::parse(query.as_bytes()) {
        let reason = if !known.iter().any(|known| *known == name) {
            unknown(known)
        } else if seen.contains(&name) {
            "appears more than once".to_owned()
        } else {
            seen.push(name);
            continue;
        };
        let mistake = Mistake::new(
            InputLocation::Query,
            name.chars().take(MAX_NAME_SHOWN).collect::<String>(),
            reason,
        );
        if mistakes.len() < MAX_LISTED && !mistakes.contains(&mistake) {
            mistakes.push(mistake);
        }
    }
    Error::of_mistakes(&mistakes)
}

/// What is wrong with a parameter that is not known.
fn unknown(known: &[String]) -> String {
    if known.is_empty() {
        return "is not known: this operation has no query parameters".into();
    }
    let known: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
    format!(
        "is not known; the query parameters of this operation are {}",
        known.join(", ")
    )
}

/// The one value of a parameter of the query. That it appears only once has been checked.
fn value<'a>(request: &'a Request, name: &'static str) -> Result<Option<Cow<'a, str>>, Error> {
    let query = request.uri().query().unwrap_or_default();
    let mut pairs = query.split('&').filter_map(|pair| {
        let (key, value) = form_urlencoded::parse(pair.as_bytes()).next()?;
        (key == name).then_some((pair, value))
    });
    let Some((pair, value)) = pairs.next() else {
        return Ok(None);
    };
    // `form_urlencoded` puts U+FFFD in the place of what is no UTF-8: another value than the one that was sent.
    match percent_decode_str(pair).decode_utf8() {
        Ok(_) => Ok(Some(value)),
        Err(_) => Err(Error::field(
            InputLocation::Query,
            name,
            "is not UTF-8 after percent-decoding",
        )),
    }
}

fn parsed<T: Parameter>(request: &Request, name: &'static str) -> Result<Option<T>, Error> {
    match value(request, name)? {
        None => Ok(None),
        Some(text) => T::parse(&text)
            .map(Some)
            .map_err(|reason| Error::field(InputLocation::Query, name, reason)),
    }
}

impl<'a, T: Parameter> ApiExtractor<'a> for QueryParam<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::Parameter];
    const PARAM_IS_REQUIRED: bool = true;

    type ParamType = T;
    type ParamRawType = T;

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn param_in() -> Option<MetaParamIn> {
        Some(MetaParamIn::Query)
    }

    fn param_schema_ref() -> Option<MetaSchemaRef> {
        Some(T::schema_ref())
    }

    async fn from_request(
        request: &'a Request,
        _: &mut RequestBody,
        options: ExtractParamOptions<T>,
    ) -> poem::Result<Self> {
        let value = parsed(request, options.name)?;
        Ok(value
            .map(Self)
            .ok_or_else(|| Error::field(InputLocation::Query, options.name, "is missing"))?)
    }
}

impl<'a, T: Parameter> ApiExtractor<'a> for OptionalQueryParam<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::Parameter];

    type ParamType = T;
    type ParamRawType = T;

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn param_in() -> Option<MetaParamIn> {
        Some(MetaParamIn::Query)
    }

    fn param_schema_ref() -> Option<MetaSchemaRef> {
        Some(T::schema_ref())
    }

    async fn from_request(
        request: &'a Request,
        _: &mut RequestBody,
        options: ExtractParamOptions<T>,
    ) -> poem::Result<Self> {
        Ok(parsed(request, options.name).map(Self)?)
    }
}

macro_rules! parameter_type {
    (impl[$($generics:tt)*] $name:ty, $type_name:literal, $schema:expr) => {
        impl<$($generics)*> Type for $name {
            const IS_REQUIRED: bool = true;
            type RawValueType = Self;
            type RawElementValueType = Self;

            fn name() -> Cow<'static, str> {
                $type_name.into()
            }

            fn schema_ref() -> MetaSchemaRef {
                MetaSchemaRef::Inline(Box::new($schema))
            }

            fn as_raw_value(&self) -> Option<&Self> {
                Some(self)
            }

            fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
                Box::new(std::iter::once(self))
            }
        }

        impl<$($generics)*> ToJSON for $name {
            fn to_json(&self) -> Option<Value> {
                Some(json!(self.0))
            }
        }
    };
}

/// How many rows are wanted on a page, and how many a caller gets who does not say.
pub struct Limit<const DEFAULT: u32 = DEFAULT_LIMIT>(pub u32);

parameter_type!(impl[const DEFAULT: u32] Limit<DEFAULT>, "limit", MetaSchema {
    minimum: Some(1.0),
    maximum: Some(MAX_LIMIT.into()),
    default: Some(DEFAULT.into()),
    ..MetaSchema::new_with_format("integer", "int32")
});

impl<const DEFAULT: u32> Parameter for Limit<DEFAULT> {
    fn parse(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(limit) if (1..=MAX_LIMIT).contains(&limit) => Ok(Self(limit)),
            _ => Err(format!("must be a whole number from 1 to {MAX_LIMIT}")),
        }
    }
}

/// Where a page begins.
pub struct Cursor(pub String);

parameter_type!(impl[] Cursor, "cursor", MetaSchema {
    min_length: Some(1),
    ..MetaSchema::new("string")
});

impl Parameter for Cursor {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(Self(text.into()))
    }
}

/// Who acts: the id of a key or of a user, or the provider and the subject of a token.
pub struct ActorId(pub String);

parameter_type!(impl[] ActorId, "actor_id", MetaSchema {
    min_length: Some(1),
    max_length: Some(MAX_ACTOR_ID),
    ..MetaSchema::new("string")
});

impl Parameter for ActorId {
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.chars().count() > MAX_ACTOR_ID || text.chars().any(char::is_control) {
            return Err(format!(
                "must have from 1 to {MAX_ACTOR_ID} characters, none of them a control character"
            ));
        }
        Ok(Self(text.into()))
    }
}

/// What an action is done to: `user:<id>`, and so on.
pub struct ResourceName(pub String);

parameter_type!(impl[] ResourceName, "resource", MetaSchema {
    pattern: Some("^(user|identity_provider|api_key|policy|tenant):[0-9a-fA-F-]{36}$".into()),
    ..MetaSchema::new("string")
});

impl Parameter for ResourceName {
    fn parse(text: &str) -> Result<Self, String> {
        const TYPES: [&str; 5] = ["user", "identity_provider", "api_key", "policy", "tenant"];
        match text.split_once(':') {
            Some((kind, id)) if TYPES.contains(&kind) => {
                // Any id will do to check its form. It is compared as it was written down: in lower case.
                id.parse::<ids::UserId>().map(|id| Self(format!("{kind}:{id}")))
            }
            _ => Err(format!(
                "must be a type and an id, like user:<id>; the types are {}",
                TYPES.join(", ")
            )),
        }
    }
}

/// The id of a request.
pub struct RequestName(pub String);

parameter_type!(impl[] RequestName, "request_id", MetaSchema {
    min_length: Some(1),
    max_length: Some(RequestId::MAX),
    ..MetaSchema::new("string")
});

impl Parameter for RequestName {
    fn parse(text: &str) -> Result<Self, String> {
        if !RequestId::is_valid(text.as_bytes()) {
            return Err(format!(
                "must have from 1 to {} characters, each a letter, a digit or one of -_.:",
                RequestId::MAX
            ));
        }
        Ok(Self(text.into()))
    }
}

/// An action, by its operation id.
pub struct ActionName(pub Action);

parameter_type!(impl[] ActionName, "action", MetaSchema::new("string"));

impl Parameter for ActionName {
    fn parse(text: &str) -> Result<Self, String> {
        let action = text.parse().map(Self);
        action.map_err(|_| "must be an operation id, like createUserIdentity".into())
    }
}
