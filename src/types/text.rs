//! Checked text: a value of one of these types satisfies the rules in its schema.
//!
//! All types share these rules, each of which prevents a known problem: no control characters (PostgreSQL refuses NUL, a line
//! break forges a log line, and characters that change the direction make the surrounding text read differently), not blank, and
//! no leading or trailing white space (two accounts would look the same).
//!
//! Text that identifies somebody or grants rights contains no invisible characters at all, so that two different accounts
//! cannot look the same. Names that are only displayed may contain some of them, because several scripts and emoji need them.

use std::{borrow::Cow, fmt};

use email_address::{EmailAddress, Options};
use icu_properties::{
    CodePointSetData,
    props::{BidiControl, DefaultIgnorableCodePoint},
};
use poem_openapi::{
    registry::{MetaSchema, MetaSchemaRef},
    types::{ParseError, ParseFromJSON, ParseResult, ToJSON, Type},
};
use serde::{Deserialize, Serialize, de};
use serde_json::Value;

/// The shared rules as a regular expression (ECMA 262) for the document. [`check`] enforces them.
const PATTERN: &str = concat!(
    r"^[^\u0000-\u0020\u007F-\u00A0\u1680\u2000-\u200A\u2028-\u202F\u205F\u2066-\u2069\u3000\uFEFF]",
    r"([^\u0000-\u001F\u007F-\u009F\u202A-\u202E\u2066-\u2069]*",
    r"[^\u0000-\u0020\u007F-\u00A0\u1680\u2000-\u200A\u2028-\u202F\u205F\u2066-\u2069\u3000\uFEFF])?$"
);

/// The same, excluding the invisible characters of the Basic Multilingual Plane. [`visible`] also enforces the others.
const VISIBLE_PATTERN: &str = concat!(
    r"^[^\u0000-\u0020\u007F-\u00A0\u00AD\u034F\u061C\u115F\u1160\u1680\u17B4\u17B5\u180B-\u180F\u2000-\u200F\u2028-\u202F",
    r"\u205F-\u206F\u3000\u3164\uFE00-\uFE0F\uFEFF\uFFA0\uFFF0-\uFFF8]",
    r"([^\u0000-\u001F\u007F-\u009F\u00AD\u034F\u061C\u115F\u1160\u17B4\u17B5\u180B-\u180F\u200B-\u200F\u202A-\u202E\u2060-\u206F",
    r"\u3164\uFE00-\uFE0F\uFEFF\uFFA0\uFFF0-\uFFF8]*",
    r"[^\u0000-\u0020\u007F-\u00A0\u00AD\u034F\u061C\u115F\u1160\u1680\u17B4\u17B5\u180B-\u180F\u2000-\u200F\u2028-\u202F",
    r"\u205F-\u206F\u3000\u3164\uFE00-\uFE0F\uFEFF\uFFA0\uFFF0-\uFFF8])?$"
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
    if let Some((position, character)) = text.chars().enumerate().find(|(_, c)| changes_direction(*c)) {
        return Err(format!(
            "must not contain characters that change the direction of text, but has U+{:04X} at position {position}",
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

/// Embeddings, overrides and isolates, which change how the surrounding text reads (Unicode Standard Annex 9, §2). Marks such
/// as U+200F, which occur in Arabic and Hebrew names, do not.
fn changes_direction(character: char) -> bool {
    matches!(character, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// Checks that a text has no invisible characters: default-ignorable ones, such as U+200B, and those that control direction.
fn visible(text: &str) -> Result<(), String> {
    let ignorable = CodePointSetData::new::<DefaultIgnorableCodePoint>();
    let directional = CodePointSetData::new::<BidiControl>();
    let invisible = |c: char| ignorable.contains(c) || directional.contains(c);
    match text.chars().enumerate().find(|(_, c)| invisible(*c)) {
        Some((position, character)) => Err(format!(
            "must not contain invisible characters, but has U+{:04X} at position {position}",
            u32::from(character)
        )),
        None => Ok(()),
    }
}

fn check_email(text: &str) -> Result<(), String> {
    visible(text)?;
    let wrong = || "is not an e-mail address like name@example.com".to_owned();
    let (local, domain) = text.rsplit_once('@').ok_or_else(wrong)?;
    let domain = idna::domain_to_ascii(domain).map_err(|_| wrong())?;
    let options = Options::default()
        .without_display_text()
        .without_domain_literal()
        .with_required_tld();
    EmailAddress::parse_with_options(&format!("{local}@{domain}"), options)
        .map(|_| ())
        .map_err(|_| wrong())
}

fn check_slug(text: &str) -> Result<(), String> {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if text.chars().all(|c| edge(c) || c == '-') && text.starts_with(edge) && text.ends_with(edge) {
        return Ok(());
    }
    Err("must consist of a-z, 0-9 and -, and begin and end with a letter or digit".into())
}

#[expect(clippy::unnecessary_wraps, reason = "the checks of other texts can fail")]
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
            /// The maximum length in characters.
            pub const MAX: usize = $max;

            /// Checks a text.
            ///
            /// # Errors
            ///
            /// What is wrong with it. The message continues a sentence that begins with the name of the field.
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
    /// The name of a user, a provider, a key or a policy.
    Name { max: 256, check: anything, pattern: Some(PATTERN), format: None }
    /// The id of an account at its provider. Opaque: it is stored exactly as given, but invisible characters are refused. 256 is
    /// the limit of a SAML persistent name identifier (SAML 2.0 Core §8.3.7), the longest of the common kinds of ids.
    ExternalId { max: 256, check: visible, pattern: Some(VISIBLE_PATTERN), format: None }
    /// A name or handle of an account at its provider.
    ExternalName { max: 256, check: anything, pattern: Some(PATTERN), format: None }
    /// An e-mail address without a display name. 254 is the limit of a path in SMTP (RFC 5321 §4.5.3.1.3).
    Email { max: 254, check: check_email, pattern: None, format: Some("email") }
    /// The short name of a tenant in commands and URLs.
    Slug { max: 63, check: check_slug, pattern: Some("^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"), format: None }
    /// The name of a role that a user has.
    RoleName { max: 64, check: visible, pattern: Some(VISIBLE_PATTERN), format: None }
    /// A description in a few sentences.
    Description { max: 2000, check: anything, pattern: Some(PATTERN), format: None }
}

impl Email {
    /// The domain in lower case and in ASCII, for comparisons.
    #[must_use]
    pub fn domain(&self) -> String {
        let key = self.key();
        key.rsplit_once('@')
            .map_or_else(String::new, |(_, domain)| domain.to_owned())
    }

    /// The form for comparisons: [`email_key`].
    #[must_use]
    pub fn key(&self) -> String {
        email_key(&self.0)
    }
}

/// The form of an address for comparisons: in lower case, and the domain in ASCII (IDNA, RFC 5891), because addresses that
/// differ only in these reach the same person. The address is stored and shown as it was given.
#[must_use]
pub fn email_key(address: &str) -> String {
    let lower = address.to_lowercase();
    let Some((local, domain)) = lower.rsplit_once('@') else {
        return lower;
    };
    match idna::domain_to_ascii(domain) {
        Ok(domain) => format!("{local}@{domain}"),
        Err(_) => lower,
    }
}
