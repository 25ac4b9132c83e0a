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
    Client, StatusCode, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect,
};

use super::jwks;

/// How long an issuer may take to answer.
const TIMEOUT: Duration = Duration::from_secs(3);
/// The size of an answer at most. A set of twenty RSA keys has about 16 KiB.
const MAX_BYTES: usize = 256 * 1024;
/// The length of an address at most.
const MAX_URI_BYTES: usize = 2048;

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

/// Fetches keys.
#[derive(Clone)]
pub struct JwksClient {
    http: Client,
    allow_private: bool,
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
            allow_private,
        })
    }

    /// Checks the form of an address.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn check(uri: &str) -> Result<Url, String> {
        if uri.len() > MAX_URI_BYTES {
            return Err(format!("must not be longer than {MAX_URI_BYTES} bytes"));
        }
        match Url::parse(uri) {
            Ok(url) if ["http", "https"].contains(&url.scheme()) && url.has_host() => Ok(url),
            _ => Err("must be an address like https://issuer.example.com/keys".into()),
        }
    }

    /// Fetches a set of keys.
    ///
    /// # Errors
    ///
    /// Why there are none.
    pub async fn fetch(&self, uri: &str) -> Result<JwkSet, FetchError> {
        let url = Self::check(uri).map_err(FetchError::NotAllowed)?;
        if !self.allow_private {
            let literal = url
                .host_str()
                .and_then(|host| host.trim_matches(['[', ']']).parse::<IpAddr>().ok());
            if literal.is_some_and(|address| !is_public(address)) {
                return Err(FetchError::NotAllowed(
                    "the address is not public, and this server is not set to allow that".into(),
                ));
            }
        }
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
        let set = serde_json::from_slice(&bytes);
        let set = set.map_err(|error| FetchError::Failed(format!("the answer is not JSON: {error}")))?;
        jwks::read(&set).map_err(FetchError::Failed)
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
