//! Fetching the public keys of an issuer: from the address that is configured, or where OpenID Connect Discovery finds them.

use std::time::Duration;

use jsonwebtoken::jwk::JwkSet;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::jwks::{self, UnfitKeys};
use crate::outbound::{AddressError, Addresses, Client, OutboundError, RequestLimits};

/// What an issuer's answer may take. A set of twenty RSA keys has about 16 KiB.
const LIMITS: RequestLimits = RequestLimits {
    time: Duration::from_secs(3),
    bytes: 256 * 1024,
};
/// Where an issuer's configuration is, behind its name (OpenID Connect Discovery 1.0 §4).
const DISCOVERY_PATH: &str = "/.well-known/openid-configuration";
/// What whoever tries the server out wants to know.
const TESTING: &str = "For testing, the operator of the server can allow private addresses (AKA_JWKS_ALLOW_PRIVATE)";

/// A place from which keys are fetched.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Remote {
    /// A set of keys at an address.
    At(String),
    /// What this issuer's own configuration names (OpenID Connect Discovery 1.0 §4).
    DiscoveredFrom(String),
}

/// Why keys could not be fetched.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FetchError {
    /// The address must not be asked.
    #[error("{0}")]
    NotAllowed(String),
    /// The issuer did not answer, or not with keys.
    #[error("{0}")]
    Failed(String),
}

impl From<OutboundError> for FetchError {
    fn from(error: OutboundError) -> Self {
        match error {
            OutboundError::NotAllowed(_) => Self::NotAllowed(error.to_string()),
            OutboundError::Failed(reason) => Self::Failed(reason),
        }
    }
}

/// Checks an address at which keys are said to be.
///
/// # Errors
///
/// What is wrong with it.
pub fn keys_address(addresses: Addresses, uri: &str) -> Result<Url, String> {
    let checked = addresses.check(uri);
    checked.map_err(|error| explain(&error, "https://issuer.example.com/keys"))
}

/// Checks the name of an issuer whose configuration is fetched (OpenID Connect Discovery 1.0 §4), and returns the address
/// at which that is.
///
/// # Errors
///
/// What is wrong with it.
pub fn discovery_address(addresses: Addresses, issuer: &str) -> Result<Url, String> {
    let why = |reason: String| {
        format!("{reason}; without config.jwks and config.jwks_uri, the keys are found by way of its {DISCOVERY_PATH}")
    };
    let checked = addresses.check(issuer);
    let url = checked.map_err(|error| why(explain(&error, "https://issuer.example.com")))?;
    if url.query().is_some() {
        return Err(why("must not have a query".into()));
    }
    let address = format!("{}{DISCOVERY_PATH}", issuer.trim_end_matches('/'));
    Url::parse(&address).map_err(|error| why(format!("is not an address: {error}")))
}

/// What is wrong with an address, for whoever configures an issuer.
fn explain(error: &AddressError, example: &str) -> String {
    match error {
        AddressError::NotAnAddress => format!("must be an address like {example}"),
        AddressError::NotPublic(_) => format!("{error}. {TESTING}"),
        AddressError::NotEncrypted => {
            format!("{error}, because keys that are fetched over plain HTTP can be replaced on the way. {TESTING}")
        }
        AddressError::TooLong | AddressError::HasCredentials | AddressError::HasFragment => error.to_string(),
    }
}

/// What an issuer says of itself (OpenID Connect Discovery 1.0 §3), as far as it concerns this server.
#[derive(Deserialize)]
struct Discovered {
    issuer: String,
    jwks_uri: String,
}

/// Fetches keys.
#[derive(Clone)]
pub struct JwksClient(Client);

impl JwksClient {
    /// Fetches keys with a client.
    #[must_use]
    pub const fn new(client: Client) -> Self {
        Self(client)
    }

    /// From which addresses it fetches.
    #[must_use]
    pub const fn addresses(&self) -> Addresses {
        self.0.addresses()
    }

    /// Fetches a set of keys.
    ///
    /// # Errors
    ///
    /// Why there are none.
    pub async fn fetch(&self, from: &Remote) -> Result<JwkSet, FetchError> {
        let url = match from {
            Remote::At(uri) => keys_address(self.addresses(), uri).map_err(FetchError::NotAllowed)?,
            Remote::DiscoveredFrom(issuer) => self.discover(issuer).await?,
        };
        let set: Value = self.0.get_json(url, LIMITS).await?;
        jwks::read(&set, UnfitKeys::LeaveOut).map_err(FetchError::Failed)
    }

    /// Asks an issuer where its keys are.
    async fn discover(&self, issuer: &str) -> Result<Url, FetchError> {
        let url = discovery_address(self.addresses(), issuer).map_err(FetchError::NotAllowed)?;
        let found: Discovered = self.0.get_json(url, LIMITS).await?;
        // Else whoever can answer at one address could speak for the issuer of another (§4.3 and §7.2).
        if found.issuer != issuer {
            return Err(FetchError::Failed(
                "its openid-configuration is that of another issuer".into(),
            ));
        }
        let keys = keys_address(self.addresses(), &found.jwks_uri);
        keys.map_err(|reason| FetchError::NotAllowed(format!("the jwks_uri in its openid-configuration {reason}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLIC: Addresses = Addresses { allow_private: false };

    #[test]
    fn an_issuer_is_asked_behind_its_name() {
        for (issuer, expected) in [
            (
                "https://issuer.example.com",
                "https://issuer.example.com/.well-known/openid-configuration",
            ),
            (
                "https://issuer.example.com/",
                "https://issuer.example.com/.well-known/openid-configuration",
            ),
            (
                "https://issuer.example.com/tenants/1",
                "https://issuer.example.com/tenants/1/.well-known/openid-configuration",
            ),
        ] {
            let found = discovery_address(PUBLIC, issuer).expect("it may be asked");
            assert_eq!(found.as_str(), expected);
        }
        for issuer in [
            "acme",
            "https://issuer.example.com/?tenant=1",
            "http://issuer.example.com",
        ] {
            assert!(discovery_address(PUBLIC, issuer).is_err(), "{issuer}");
        }
    }

    #[test]
    fn whoever_configures_an_issuer_reads_what_is_wrong_with_its_address() {
        for (uri, expected) in [
            ("keys", "must be an address like https://issuer.example.com/keys"),
            (
                "https://10.0.0.1/keys",
                "must be an address of the public Internet, which 10.0.0.1 is not. For testing, the operator of the server \
                 can allow private addresses (AKA_JWKS_ALLOW_PRIVATE)",
            ),
            (
                "http://issuer.example.com/keys",
                "must begin with https://, because keys that are fetched over plain HTTP can be replaced on the way. For \
                 testing, the operator of the server can allow private addresses (AKA_JWKS_ALLOW_PRIVATE)",
            ),
            ("https://issuer.example.com/#keys", "must not have a fragment (#...)"),
        ] {
            assert_eq!(keys_address(PUBLIC, uri), Err(expected.to_owned()));
        }
    }
}
