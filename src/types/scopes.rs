//! Scopes: groups of operations that limit what a credential may do.

use std::{fmt, str::FromStr};

use poem_openapi::Enum;
use serde::{Deserialize, Deserializer, Serialize, de};

macro_rules! scopes {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal;)*) => {
        /// A group of operations that an API key (or a token, by its `scope` claim) may call.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Enum, Serialize)]
        pub enum Scope {
            $(
                $(#[doc = $doc])*
                #[oai(rename = $text)]
                #[serde(rename = $text)]
                $name,
            )*
        }

        impl Scope {
            /// Every scope.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The name of the scope.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }
        }

        impl FromStr for Scope {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($text => Ok(Self::$name),)*
                    _ => Err(format!("\"{}\" is not a scope; the scopes are {}", text.escape_debug(), [$($text),*].join(", "))),
                }
            }
        }
    };
}

scopes! {
    /// Read and look up identities.
    IdentitiesRead = "identities:read";
    /// Link and unlink identities.
    IdentitiesWrite = "identities:write";
    /// Read users.
    UsersRead = "users:read";
    /// Create, change, suspend and erase users.
    UsersWrite = "users:write";
    /// Read identity providers.
    IdentityProvidersRead = "identity-providers:read";
    /// Create, change and delete identity providers.
    IdentityProvidersWrite = "identity-providers:write";
    /// Configure whose bearer tokens are accepted and what they may do: whoever has it can sign a token for any user of
    /// the tenant.
    TokenIssuersWrite = "token-issuers:write";
    /// Read API keys (never their secrets).
    ApiKeysRead = "api-keys:read";
    /// Create, rotate and revoke API keys.
    ApiKeysWrite = "api-keys:write";
    /// Read policies and their rules.
    PoliciesRead = "policies:read";
    /// Change policies and their rules: whoever has it can permit anything else in the tenant.
    PoliciesWrite = "policies:write";
    /// Read tenants. Only of use to keys of the master tenant.
    TenantsRead = "tenants:read";
    /// Create and change tenants. Only of use to keys of the master tenant.
    TenantsWrite = "tenants:write";
}

impl Scope {
    /// Whether its operations change data.
    #[must_use]
    pub fn changes(self) -> bool {
        self.as_str().ends_with(":write")
    }

    /// Whether this scope can be used to gain further rights, for oneself or for others. Such a scope is granted only if it is
    /// named.
    #[must_use]
    pub const fn gives_rights(self) -> bool {
        matches!(
            self,
            Self::IdentityProvidersWrite
                | Self::TokenIssuersWrite
                | Self::ApiKeysWrite
                | Self::PoliciesWrite
                | Self::TenantsRead
                | Self::TenantsWrite
        )
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
