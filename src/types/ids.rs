//! Ids as types, so that a swapped argument does not compile.
//!
//! In the API an id is a UUID in its canonical form (RFC 9562 §4), in upper or lower case. Other forms (`urn:uuid:`, braces, no
//! hyphens) are refused, as documented.

use std::{borrow::Cow, fmt};

use poem_openapi::{
    registry::{MetaSchema, MetaSchemaRef},
    types::{ParseError, ParseFromJSON, ParseResult, ToJSON, Type},
};
use serde::{Deserialize, Serialize, de};
use serde_json::Value;
use uuid::Uuid;

/// Parses the canonical form.
fn parse(text: &str) -> Result<Uuid, String> {
    if text.len() == uuid::fmt::Hyphenated::LENGTH
        && let Ok(id) = Uuid::try_parse(text)
    {
        return Ok(id);
    }
    let shown: String = text.chars().take(64).collect();
    Err(format!(
        "must be a UUID like 018f2a4e-7c3b-7e21-9d55-0c4f8b1a2d3e, but is \"{}\"",
        shown.escape_debug()
    ))
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new id.
            #[must_use]
            pub fn new() -> Self {
                Self(crate::types::clock::new_id())
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::new()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<$name> for Uuid {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl From<$name> for sea_orm::Value {
            fn from(id: $name) -> Self {
                id.0.into()
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Cow::<'de, str>::deserialize(deserializer)?;
                parse(&text).map(Self).map_err(de::Error::custom)
            }
        }

        impl Type for $name {
            const IS_REQUIRED: bool = true;
            type RawValueType = Self;
            type RawElementValueType = Self;

            fn name() -> Cow<'static, str> {
                "string_uuid".into()
            }

            fn schema_ref() -> MetaSchemaRef {
                MetaSchemaRef::Inline(Box::new(MetaSchema::new_with_format("string", "uuid")))
            }

            fn as_raw_value(&self) -> Option<&Self> {
                Some(self)
            }

            fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
                Box::new(std::iter::once(self))
            }
        }

        impl ParseFromJSON for $name {
            fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
                serde_json::from_value(value.unwrap_or_default()).map_err(ParseError::custom)
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                parse(text).map(Self)
            }
        }

        impl ToJSON for $name {
            fn to_json(&self) -> Option<Value> {
                Some(Value::String(self.to_string()))
            }
        }
    )*};
}

ids! {
    /// The id of a tenant.
    TenantId;
    /// The id of a user.
    UserId;
    /// The id of an identity, which is an account at a provider. The account's own id at the provider is its external id.
    IdentityId;
    /// The id of an identity provider.
    IdentityProviderId;
    /// The id of an API key.
    ApiKeyId;
    /// The id of a policy.
    PolicyId;
    /// The id of a rule of a policy.
    PolicyRuleId;
    /// The id of a decision in the decision log.
    DecisionId;
}
