//! Mistakes in a request: where each is, and what is wrong there.

use super::details::InputError;

/// Where in a request a fault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputLocation {
    /// In the JSON of the body.
    Body,
    /// In the path.
    Path,
    /// In the query.
    Query,
    /// In a header.
    Header,
}

impl From<&Mistake> for InputError {
    fn from(mistake: &Mistake) -> Self {
        Self {
            field: mistake.field.clone(),
            within: mistake.within.as_str().to_owned(),
            reason: mistake.reason.clone(),
        }
    }
}

impl InputLocation {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Body => "body",
            Self::Path => "path",
            Self::Query => "query",
            Self::Header => "header",
        }
    }
}

/// One mistake in a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The field, parameter or header that is wrong. Empty if the body or path as a whole is.
    pub field: String,
    /// Where it is.
    pub within: InputLocation,
    /// What is wrong with it, as the end of a sentence that begins with its name.
    pub reason: String,
}

impl Mistake {
    /// A mistake in a field.
    pub fn new(within: InputLocation, field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            within,
            reason: reason.into(),
        }
    }

    pub(super) fn message(&self) -> String {
        let Self { field, within, reason } = self;
        match within {
            InputLocation::Body if field.is_empty() => format!("The body {reason}."),
            InputLocation::Body => format!("The field `{field}` {reason}."),
            InputLocation::Path if field.is_empty() => format!("The path {reason}."),
            InputLocation::Path => format!("The `{field}` in the path {reason}."),
            InputLocation::Query => format!("The query parameter `{field}` {reason}."),
            InputLocation::Header => format!("The header `{field}` {reason}."),
        }
    }
}
