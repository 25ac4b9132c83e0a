//! Which addresses may be asked.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// The length of an address at most.
const MAX_ADDRESS_BYTES: usize = 2048;
/// Names that are never of the public Internet (RFC 6761 §6, RFC 6762 §3, RFC 8375, ICANN's resolution 2024.07.29.06).
const PRIVATE_NAMES: [&str; 6] = ["localhost", "local", "internal", "home.arpa", "test", "invalid"];

/// Why an address must not be asked. It reads as what follows the name of a field: `must not have a fragment (#...)`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It is longer than any address in use.
    #[error("must not be longer than {MAX_ADDRESS_BYTES} bytes")]
    TooLong,
    /// It is no address of `https` or `http`.
    #[error("must be an address like https://example.com/")]
    NotAnAddress,
    /// It has a user name or a password in it, which would be sent along.
    #[error("must not have a user name or a password in it")]
    HasCredentials,
    /// It has a fragment, which would not be sent.
    #[error("must not have a fragment (#...)")]
    HasFragment,
    /// It is inside a network.
    #[error("must be an address of the public Internet, which {0} is not")]
    NotPublic(Host),
    /// What is sent and answered could be read and replaced on the way.
    #[error("must begin with https://")]
    NotEncrypted,
}

/// Which addresses may be asked. Every port may be: who owns a public address decides what is there.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// Whether plain `http` and addresses inside the operator's network may be asked, too. For testing.
    pub allow_private: bool,
}

impl Addresses {
    /// Checks an address that somebody gives.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn check(self, address: &str) -> Result<Url, AddressError> {
        if address.len() > MAX_ADDRESS_BYTES {
            return Err(AddressError::TooLong);
        }
        let url = Url::parse(address).map_err(|_| AddressError::NotAnAddress)?;
        self.check_url(&url)?;
        Ok(url)
    }

    pub(super) fn check_url(self, url: &Url) -> Result<(), AddressError> {
        let Some(host) = url.host().filter(|_| ["http", "https"].contains(&url.scheme())) else {
            return Err(AddressError::NotAnAddress);
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(AddressError::HasCredentials);
        }
        if url.fragment().is_some() {
            return Err(AddressError::HasFragment);
        }
        if self.allow_private {
            return Ok(());
        }
        if is_private(&host) {
            return Err(AddressError::NotPublic(host.to_owned()));
        }
        if url.scheme() != "https" {
            return Err(AddressError::NotEncrypted);
        }
        Ok(())
    }
}

/// Whether a host is known to be inside a network without asking for its addresses. Those of other names are looked at when
/// they are resolved.
fn is_private(host: &Host<&str>) -> bool {
    match host {
        Host::Ipv4(address) => !is_public_v4(*address),
        Host::Ipv6(address) => !is_public_v6(*address),
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

/// Resolves names to public addresses only. It is asked for each new connection.
pub(super) struct PublicOnly;

impl PublicOnly {
    pub(super) async fn resolve_name(name: &str) -> io::Result<Vec<SocketAddr>> {
        let found = tokio::net::lookup_host((name, 0)).await?;
        let public: Vec<SocketAddr> = found.filter(|address| is_public(address.ip())).collect();
        if public.is_empty() {
            return Err(io::Error::other("the name has no public address"));
        }
        Ok(public)
    }
}

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let public = Self::resolve_name(name.as_str()).await?;
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

/// Whether an address can be one of the public Internet (IANA's special-purpose registries).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        || address.is_documentation()
        || a == 0
        || a >= 240
        // Shared address space of carriers (RFC 6598).
        || (a == 100 && (64..128).contains(&b))
        // Assignments of the IETF (RFC 6890), and the relays of 6to4, which lead anywhere (RFC 7526).
        || (a == 192 && b == 0)
        || (a == 192 && b == 88 && c == 99)
        // Benchmarks of networks (RFC 2544).
        || (a == 198 && (18..20).contains(&b));
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(v4) = address.to_ipv4_mapped() {
        return is_public_v4(v4);
    }
    // Only 2000::/3 is assigned to the public Internet. Translation to IPv4 (64:ff9b::/96) is not in it; documentation
    // (2001:db8::/32, 3fff::/20) and tunnels to IPv4 (2001::/32 within 2001::/23, 2002::/16) are.
    let [first, second, ..] = address.segments();
    let special = (first == 0x2001 && (second < 0x0200 || second == 0x0db8))
        || first == 0x2002
        || (first == 0x3fff && second < 0x1000);
    first & 0xe000 == 0x2000 && !special
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLIC: Addresses = Addresses { allow_private: false };
    const PRIVATE_TOO: Addresses = Addresses { allow_private: true };

    #[test]
    fn public_addresses_may_be_asked_at_any_port() {
        for address in [
            "https://issuer.example.com/keys",
            "https://issuer.example.com./keys",
            "https://8.8.8.8/keys",
            "https://[2606:4700::1111]/keys",
            "https://issuer.example.com:8443/",
            "https://issuer.example.com:22/",
            "https://localhost.example.com/",
        ] {
            PUBLIC
                .check(address)
                .unwrap_or_else(|error| panic!("{address} {error}"));
        }
    }

    #[test]
    fn addresses_inside_a_network_may_not_be_asked_however_they_are_written() {
        for address in [
            "https://localhost/keys",
            "https://LOCALHOST./keys",
            "https://keys.localhost/",
            "https://keys/",
            "https://keys./",
            "https://vault.corp.internal/",
            "https://vault.corp.internal./",
            "https://127.0.0.1/",
            "https://127.0.0.1./",
            "https://127.1/",
            "https://0.0.0.0/",
            "https://0/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://0177.0.0.1/",
            "https://127.0.0.1:8443/",
            "https://[::]/",
            "https://[::1]/",
            "https://[::ffff:10.0.0.1]/",
            "https://[::ffff:a9fe:a9fe]/",
            "https://[2002:7f00:1::]/",
            "https://[64:ff9b::169.254.169.254]/",
            "https://169.254.169.254/latest/meta-data",
            "https://[fd00:ec2::254]/latest/meta-data",
        ] {
            let checked = PUBLIC.check(address);
            assert!(
                matches!(checked, Err(AddressError::NotPublic(_))),
                "{address} {checked:?}"
            );
            PRIVATE_TOO
                .check(address)
                .unwrap_or_else(|error| panic!("{address} {error}"));
        }
    }

    #[test]
    fn what_is_no_plain_address_is_refused_even_for_testing() {
        let long = format!("https://issuer.example.com/{}", "a".repeat(MAX_ADDRESS_BYTES));
        for (address, expected) in [
            ("", AddressError::NotAnAddress),
            ("issuer.example.com", AddressError::NotAnAddress),
            ("file:///etc/passwd", AddressError::NotAnAddress),
            ("gopher://issuer.example.com/", AddressError::NotAnAddress),
            (
                "https://user:password@issuer.example.com/",
                AddressError::HasCredentials,
            ),
            ("https://user@issuer.example.com/", AddressError::HasCredentials),
            ("https://:password@issuer.example.com/", AddressError::HasCredentials),
            ("https://8.8.8.8@127.0.0.1/", AddressError::HasCredentials),
            ("https://issuer.example.com/#keys", AddressError::HasFragment),
            (long.as_str(), AddressError::TooLong),
        ] {
            for addresses in [PUBLIC, PRIVATE_TOO] {
                assert_eq!(addresses.check(address), Err(expected.clone()), "{address}");
            }
        }
        let plain = "http://issuer.example.com/keys";
        assert_eq!(PUBLIC.check(plain), Err(AddressError::NotEncrypted));
        PRIVATE_TOO.check(plain).expect("it is allowed for testing");
    }

    #[test]
    fn only_addresses_of_the_public_internet_are_public() {
        for address in [
            "8.8.8.8",
            "100.128.0.1",
            "192.88.100.1",
            "2606:4700::1111",
            "2001:4860::1",
            "::ffff:1.1.1.1",
        ] {
            assert!(is_public(address.parse().expect("an address")), "{address}");
        }
        for address in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "192.0.0.8",
            "192.88.99.1",
            "198.18.0.1",
            "203.0.113.7",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "0.0.0.0",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::",
            "3fff::1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::7f00:1",
        ] {
            assert!(!is_public(address.parse().expect("an address")), "{address}");
        }
    }
}
