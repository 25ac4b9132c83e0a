//! Fetching the public keys of an issuer.
//!
//! The address comes from a tenant's configuration, so this is a place where a tenant could make the server speak to
//! its own network. Unless the operator says otherwise, only `https` is spoken, only to public addresses (looked at
//! after the name was resolved), without following redirects, and briefly.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use jsonwebtoken::jwk::JwkSet;
use reqwest::{
    Client, StatusCode,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use url::{Host, Url};

use super::{
    issuers::Remote,
    jwks::{self, UnfitKeys},
};

/// How long an issuer may take to answer.
const TIMEOUT: Duration = Duration::from_secs(3);
/// The size of an answer at most. A set of twenty RSA keys has about 16 KiB.
const MAX_BYTES: usize = 256 * 1024;
/// The length of an address at most.
const MAX_URI_BYTES: usize = 2048;
/// Where an issuer's configuration is, behind its name (OpenID Connect Discovery 1.0 §4).
const DISCOVERY_PATH: &str = "/.well-known/openid-configuration";
/// What whoever tries the server out wants to know.
const TESTING: &str = "For testing, the operator of the server can allow private addresses (AKA_JWKS_ALLOW_PRIVATE)";
/// Names that are never of the public Internet (RFC 6761 §6, RFC 6762 §3, RFC 8375, ICANN's resolution 2024.07.29.06).
const PRIVATE_NAMES: [&str; 6] = ["localhost", "local", "internal", "home.arpa", "test", "invalid"];

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

/// From which addresses keys may be fetched.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// Whether plain `http` and addresses inside the operator's network may be asked, too.
    allow_private: bool,
}

impl Addresses {
    /// Checks an address at which keys are said to be.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn check(self, uri: &str) -> Result<Url, String> {
        self.check_like(uri, "https://issuer.example.com/keys")
    }

    /// Checks the name of an issuer whose configuration is fetched (OpenID Connect Discovery 1.0 §4), and returns the
    /// address at which that is.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn check_discovery(self, issuer: &str) -> Result<Url, String> {
        let why = |reason: String| {
            format!(
                "{reason}; without config.jwks and config.jwks_uri, the keys are found by way of its {DISCOVERY_PATH}"
            )
        };
        let url = self.check_like(issuer, "https://issuer.example.com").map_err(why)?;
        if url.query().is_some() {
            return Err(why("must not have a query".into()));
        }
        let address = format!("{}{DISCOVERY_PATH}", issuer.trim_end_matches('/'));
        Url::parse(&address).map_err(|error| why(format!("is not an address: {error}")))
    }

    fn check_like(self, uri: &str, example: &str) -> Result<Url, String> {
        if uri.len() > MAX_URI_BYTES {
            return Err(format!("must not be longer than {MAX_URI_BYTES} bytes"));
        }
        let url = Url::parse(uri)
            .ok()
            .filter(|url| ["http", "https"].contains(&url.scheme()));
        let Some((url, host)) = url.and_then(|url| url.host().map(|host| host.to_owned()).map(|host| (url, host)))
        else {
            return Err(format!("must be an address like {example}"));
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err("must not have a user name or a password in it".into());
        }
        if url.fragment().is_some() {
            return Err("must not have a fragment (#...)".into());
        }
        if self.allow_private {
            return Ok(url);
        }
        if is_private(&host) {
            return Err(format!(
                "must be an address of the public Internet, which {host} is not. {TESTING}"
            ));
        }
        if url.scheme() != "https" {
            return Err(format!(
                "must begin with https://, because keys that are fetched over plain HTTP can be replaced on the way. {TESTING}"
            ));
        }
        Ok(url)
    }
}

/// Whether a host is known to be inside a network without asking for its addresses. Those of other names are looked at when
/// they are resolved.
fn is_private(host: &Host) -> bool {
    match host {
        Host::Ipv4(address) => !is_public(IpAddr::V4(*address)),
        Host::Ipv6(address) => !is_public(IpAddr::V6(*address)),
        Host::Domain(name) => {
            let name = name.trim_end_matches('.');
            let inside = |suffix: &&str| {
                name.strip_suffix(*suffix)
                    .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            };
            // A name without a dot is one of the server's own network.
            !name.contains('.') || PRIVATE_NAMES.iter().any(inside)
        }
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
pub struct JwksClient {
    http: Client,
    addresses: Addresses,
}

impl JwksClient {
    /// A client. `allow_private`: plain `http` and addresses inside the operator's network may be asked too.
    ///
    /// # Errors
    ///
    /// Where the system's certificates cannot be read.
    pub fn new(allow_private: bool) -> Result<Self, reqwest::Error> {
        let mut http = Client::builder()
            .timeout(TIMEOUT)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("aka/", env!("CARGO_PKG_VERSION")));
        if !allow_private {
            http = http.https_only(true).dns_resolver(Arc::new(PublicOnly));
        }
        Ok(Self {
            http: http.build()?,
            addresses: Addresses { allow_private },
        })
    }

    /// From which addresses it fetches.
    #[must_use]
    pub const fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Fetches a set of keys.
    ///
    /// # Errors
    ///
    /// Why there are none.
    pub async fn fetch(&self, from: &Remote) -> Result<JwkSet, FetchError> {
        let url = match from {
            Remote::At(uri) => self.addresses.check(uri).map_err(FetchError::NotAllowed)?,
            Remote::DiscoveredFrom(issuer) => self.discover(issuer).await?,
        };
        let set = self.get::<Value>(url).await?;
        jwks::read(&set, UnfitKeys::LeaveOut).map_err(FetchError::Failed)
    }

    /// Asks an issuer where its keys are.
    async fn discover(&self, issuer: &str) -> Result<Url, FetchError> {
        let url = self.addresses.check_discovery(issuer).map_err(FetchError::NotAllowed)?;
        let found: Discovered = self.get(url).await?;
        // Else whoever can answer at one address could speak for the issuer of another (§4.3 and §7.2).
        if found.issuer != issuer {
            return Err(FetchError::Failed(
                "its openid-configuration is that of another issuer".into(),
            ));
        }
        let keys = self.addresses.check(&found.jwks_uri);
        keys.map_err(|reason| FetchError::NotAllowed(format!("the jwks_uri in its openid-configuration {reason}")))
    }

    async fn get<T: DeserializeOwned>(&self, url: Url) -> Result<T, FetchError> {
        let failed = |error: reqwest::Error| FetchError::Failed(error.without_url().to_string());
        let mut answer = self.http.get(url).send().await.map_err(failed)?;
        if answer.status() != StatusCode::OK {
            return Err(FetchError::Failed(format!("the answer is {}", answer.status())));
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > MAX_BYTES {
                return Err(FetchError::Failed(format!(
                    "the answer is larger than {MAX_BYTES} bytes"
                )));
            }
        }
        let read = serde_json::from_slice(&bytes);
        read.map_err(|error| FetchError::Failed(format!("the answer is not the JSON that was expected: {error}")))
    }
}

/// Resolves names to public addresses only.
struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|address| is_public(address.ip())).collect();
            if public.is_empty() {
                return Err("the name has no public address".into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

/// Whether an address can be one of the public Internet (IANA's special-purpose registries).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or_else(|| is_public_v6(v6), is_public_v4),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    let special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        || address.is_documentation()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0)
        || (a == 198 && (18..20).contains(&b));
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    // Only 2000::/3 is assigned to the public Internet; the documentation prefix and the tunnels in it are not.
    let [first, second, ..] = address.segments();
    first & 0xe000 == 0x2000 && !(first == 0x2001 && (second < 0x0200 || second == 0x0db8)) && first != 0x2002
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_that_may_be_asked_are_accepted() {
        let public = Addresses { allow_private: false };
        for uri in [
            "https://issuer.example.com/keys",
            "https://8.8.8.8/keys",
            "https://issuer.example.com:8443/",
        ] {
            assert!(public.check(uri).is_ok(), "{uri}");
        }
        for uri in [
            "http://localhost:1234/keys",
            "https://localhost/keys",
            "https://LOCALHOST./keys",
            "https://keys.localhost/",
            "https://keys/",
            "https://vault.corp.internal/",
            "https://127.0.0.1/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://[::1]/",
            "https://[::ffff:10.0.0.1]/",
            "https://169.254.169.254/latest/meta-data",
            "https://user:password@issuer.example.com/",
            "https://user@issuer.example.com/",
            "https://issuer.example.com/#keys",
            "http://issuer.example.com/keys",
            "file:///etc/passwd",
            "issuer.example.com",
            "",
        ] {
            assert!(public.check(uri).is_err(), "{uri}");
        }
        let private = Addresses { allow_private: true };
        assert!(private.check("http://localhost:1234/keys").is_ok());
        assert!(private.check("http://user@localhost:1234/keys").is_err());
    }

    #[test]
    fn an_issuer_is_asked_behind_its_name() {
        let public = Addresses { allow_private: false };
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
            let found = public.check_discovery(issuer).expect("it may be asked");
            assert_eq!(found.as_str(), expected);
        }
        for issuer in [
            "acme",
            "https://issuer.example.com/?tenant=1",
            "http://issuer.example.com",
        ] {
            assert!(public.check_discovery(issuer).is_err(), "{issuer}");
        }
    }

    #[test]
    fn only_addresses_of_the_public_internet_are_public() {
        for address in ["8.8.8.8", "2606:4700::1111", "::ffff:1.1.1.1"] {
            assert!(is_public(address.parse().expect("an address")), "{address}");
        }
        for address in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "::1",
            "::ffff:127.0.0.1",
            "fe80::1",
            "fc00::1",
            "2002:7f00:1::",
            "224.0.0.1",
            "64:ff9b::7f00:1",
        ] {
            assert!(!is_public(address.parse().expect("an address")), "{address}");
        }
    }
}
