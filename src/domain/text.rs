//! Text that has been checked: a value of one of these types keeps the rules that its schema states.
//!
//! All of them share three rules, because each broken one has hurt somebody: no control characters (a NUL ends a
//! PostgreSQL query, a line break forges a log line), nothing blank, and no white space at the ends (two accounts
//! that look the same).

use std::{borrow::Cow, fmt};

use email_address::{EmailAddress, Options};
use poem_openapi::{
    registry::{MetaSchema, MetaSchemaRef},
    types::{ParseError, ParseFromJSON, ParseResult, ToJSON, Type},
};
use serde::{Deserialize, Serialize, de};
use serde_json::Value;

/// The shared rules as a regular expression (ECMA 262) for the document. [`check`] is what enforces them.
const PATTERN: &str = concat!(
    r"^[^\u0000-\u0020\u007F-\u00A0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000\uFEFF]",
    r"([^\u0000-\u001F\u007F-\u009F]*",
    r"[^\u0000-\u0020\u007F-\u00A0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000\uFEFF])?$"
);

/// Checks the shared rules and the length in Unicode code points.
fn check(text: &str, max: usize) -> Result<(), String> {
    if text.is_empty() {
        return Err("must not be empty".into());
    }
    if text.len() > max && text.chars().count() > max {
        return Err(format!("must not be longer than {max} characters"));
    }
    if let Some((position, character)) = text.chars().enumerate().find(|(_, c)| c.is_control()) {
        return Err(format!(
            "must not contain control characters, but has U+{:04X} at position {position}",
            u32::from(character)
        ));
    }
    let space = |c: char| c.is_whitespace() || c == '\u{FEFF}';
    if text.chars().all(space) {
        return Err("must not be blank".into());
    }
    if text.starts_with(space) || text.ends_with(space) {
        return Err("must not begin or end with white space".into());
    }
    Ok(())
}

fn check_email(text: &str) -> Result<(), String> {
    let options = Options::default()
        .without_display_text()
        .without_domain_literal()
        .with_required_tld();
    EmailAddress::parse_with_options(text, options)
        .map(|_| ())
        .map_err(|_| "is not an e-mail address like name@example.com".into())
}

fn check_slug(text: &str) -> Result<(), String> {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if text.chars().all(|c| edge(c) || c == '-') && text.starts_with(edge) && text.ends_with(edge) {
        return Ok(());
    }
    Err("must consist of a-z, 0-9 and -, and begin and end with a letter or digit".into())
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "it stands where other texts have a check that can fail"
)]
fn anything(_: &str) -> Result<(), String> {
    Ok(())
}

macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident { max: $max:expr, check: $check:ident, pattern: $pattern:expr, format: $format:expr })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The greatest length in characters.
            pub const MAX: usize = $max;

            /// Checks a text.
            ///
            /// # Errors
            ///
            /// What is wrong with it, as the end of a sentence that begins with the name of the field.
            pub fn new(text: impl Into<String>) -> Result<Self, String> {
                let text = text.into();
                check(&text, Self::MAX)?;
                $check(&text)?;
                Ok(Self(text))
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The text.
            #[must_use]
            pub fn into_string(self) -> String {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                Self::new(text)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::new(String::deserialize(deserializer)?).map_err(de::Error::custom)
            }
        }

        impl Type for $name {
            const IS_REQUIRED: bool = true;
            type RawValueType = Self;
            type RawElementValueType = Self;

            fn name() -> Cow<'static, str> {
                "string".into()
            }

            fn schema_ref() -> MetaSchemaRef {
                MetaSchemaRef::Inline(Box::new(MetaSchema {
                    min_length: Some(1),
                    max_length: Some(Self::MAX),
                    pattern: $pattern.map(str::to_owned),
                    format: $format,
                    ..MetaSchema::new("string")
                }))
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

        impl ToJSON for $name {
            fn to_json(&self) -> Option<Value> {
                Some(Value::String(self.0.clone()))
            }
        }
    )*};
}

texts! {
    /// What a thing is called: a user, a provider, a key, a policy.
    Name { max: 256, check: anything, pattern: Some(PATTERN), format: None }
    /// The id of an account at its provider. Opaque: neither case nor form is changed. 256 is the limit of a SAML
    /// persistent name identifier (SAML 2.0 Core §8.3.7), the longest of the field's common ids.
    ExternalId { max: 256, check: anything, pattern: Some(PATTERN), format: None }
    /// A name or handle of an account at its provider.
    ExternalName { max: 256, check: anything, pattern: Some(PATTERN), format: None }
    /// An e-mail address without a display name. 254 is the limit of a path in SMTP (RFC 5321 §4.5.3.1.3).
    Email { max: 254, check: check_email, pattern: None, format: Some("email") }
    /// The short name of a tenant in commands and addresses.
    Slug { max: 63, check: check_slug, pattern: Some("^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"), format: None }
    /// The name of a role that a user has.
    RoleName { max: 64, check: anything, pattern: Some(PATTERN), format: None }
    /// A sentence or a few for a reader.
    Description { max: 2000, check: anything, pattern: Some(PATTERN), format: None }
}

impl Email {
    /// The form under which addresses are compared: addresses that differ in case reach one person.
    #[must_use]
    pub fn key(&self) -> String {
        self.0.to_lowercase()
    }
}
