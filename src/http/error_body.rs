//! What an error looks like on the wire.

use std::borrow::Cow;

use poem_openapi::{
    Object,
    registry::{MetaSchema, MetaSchemaRef, Registry},
    types::{ParseFromJSON, ParseResult, ToJSON, Type},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{codes::Code, details::ErrorDetails};

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

/// The name of a code. The document lists them all, which only the catalogue of codes knows.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ErrorCode(Cow<'static, str>);

impl Type for ErrorCode {
    const IS_REQUIRED: bool = true;
    type RawValueType = Self;
    type RawElementValueType = Self;

    fn name() -> Cow<'static, str> {
        "ErrorCode".into()
    }

    fn schema_ref() -> MetaSchemaRef {
        MetaSchemaRef::Reference(Self::name().into_owned())
    }

    fn register(registry: &mut Registry) {
        registry.create_schema::<Self, _>(Self::name().into_owned(), |_| MetaSchema::new("string"));
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(std::iter::once(self))
    }
}

impl ParseFromJSON for ErrorCode {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        serde_json::from_value(value.unwrap_or_default()).map_err(poem_openapi::types::ParseError::custom)
    }
}

impl ToJSON for ErrorCode {
    fn to_json(&self) -> Option<Value> {
        Some(Value::String(self.0.clone().into_owned()))
    }
}

impl From<&'static Code> for ErrorCode {
    fn from(code: &'static Code) -> Self {
        Self(code.name.into())
    }
}
