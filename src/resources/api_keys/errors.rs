//! What can go wrong with API keys.

use super::ApiKeyRefusal;
use crate::http::{codes::Code, error::Error};

/// `api_key_ended`
pub static API_KEY_ENDED: Code = Code {
    name: "api_key_ended",
    status: 409,
    meaning: "The API key cannot be rotated.",
    cause: "It is revoked or expired.",
    remedy: "Create a new one.",
    details: &[],
};

/// `api_key_rotated`
pub static API_KEY_ROTATED: Code = Code {
    name: "api_key_rotated",
    status: 409,
    meaning: "The API key cannot be rotated again.",
    cause: "It has already been rotated and will expire soon.",
    remedy: "Rotate its successor, or create a new key.",
    details: &[],
};

/// That a key cannot be rotated, because it works no more.
#[must_use]
pub fn api_key_ended() -> Error {
    Error::new(
        &API_KEY_ENDED,
        "The API key cannot be rotated because it is revoked or expired. Create a new one.",
    )
}

impl From<ApiKeyRefusal> for Error {
    fn from(refusal: ApiKeyRefusal) -> Self {
        match refusal {
            ApiKeyRefusal::NoKey(id) => Self::no_such("api_key", id),
            ApiKeyRefusal::NoTenant(id) => Self::no_such("tenant", id),
            ApiKeyRefusal::NoIdentityProvider(id) => Self::no_such("identity_provider", id),
            ApiKeyRefusal::Ended => api_key_ended(),
            ApiKeyRefusal::Rotated => Self::new(
                &API_KEY_ROTATED,
                "The API key has already been rotated and will expire soon. Rotate its successor, or create a new key.",
            ),
            ApiKeyRefusal::Randomness => Self::internal("the system gave no randomness"),
            ApiKeyRefusal::Store(error) => error.into(),
        }
    }
}
