//! Requests that the server sends: to the issuers of tokens today, to whatever else a tenant may name tomorrow.
//!
//! The address comes from a tenant, so this is a place where a tenant could make the server speak to the operator's own
//! network. Unless the operator says otherwise, only `https` is spoken, and only to public addresses ([`addresses`]):
//! those in numbers are looked at before they are asked, those of a name each time it is resolved, so that a name cannot
//! change its address in between. No redirect is followed, no proxy is used, and how long an answer may take and how large
//! it may be is said with each request.

mod addresses;

use std::{sync::Arc, time::Duration};

use reqwest::{Response, StatusCode, redirect};
use serde::de::DeserializeOwned;
use url::Url;

use self::addresses::PublicOnly;
pub use self::addresses::{AddressError, Addresses};

/// What a request may take.
#[derive(Clone, Copy, Debug)]
pub struct RequestLimits {
    /// From looking the name up to the last byte of the answer.
    pub time: Duration,
    /// The size of the answer.
    pub bytes: usize,
}

/// Why there is no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OutboundError {
    /// The address must not be asked.
    #[error("the address {0}")]
    NotAllowed(#[from] AddressError),
    /// It was asked and did not answer, or not with what was expected.
    #[error("{0}")]
    Failed(String),
}

impl From<reqwest::Error> for OutboundError {
    /// The address is left out: it may have been built with what is nobody else's business.
    fn from(error: reqwest::Error) -> Self {
        Self::Failed(error.without_url().to_string())
    }
}

/// Sends requests.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    addresses: Addresses,
}

impl Client {
    /// A client that asks these addresses and no others.
    ///
    /// # Errors
    ///
    /// Where the system's certificates cannot be read.
    pub fn new(addresses: Addresses) -> Result<Self, reqwest::Error> {
        let mut http = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("aka/", env!("CARGO_PKG_VERSION")));
        if !addresses.allow_private {
            http = http.https_only(true).dns_resolver(Arc::new(PublicOnly));
        }
        Ok(Self {
            http: http.build()?,
            addresses,
        })
    }

    /// Which addresses it asks.
    #[must_use]
    pub const fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Reads the JSON at an address.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub async fn get_json<T: DeserializeOwned>(&self, url: Url, limits: RequestLimits) -> Result<T, OutboundError> {
        // Whoever calls this has told a tenant long before what is wrong with the address. Here nobody can forget it.
        self.addresses.check_url(&url)?;
        let answer = self.http.get(url).timeout(limits.time).send().await?;
        let json = read(answer, limits.bytes).await?;
        serde_json::from_slice(&json)
            .map_err(|error| OutboundError::Failed(format!("the answer is not the JSON that was expected: {error}")))
    }
}

/// Reads an answer of so many bytes at most.
async fn read(mut answer: Response, max_bytes: usize) -> Result<Vec<u8>, OutboundError> {
    if answer.status() != StatusCode::OK {
        return Err(OutboundError::Failed(format!("the answer is {}", answer.status())));
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        if bytes.len() + chunk.len() > max_bytes {
            return Err(OutboundError::Failed(format!(
                "the answer is larger than {max_bytes} bytes"
            )));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    const LIMITS: RequestLimits = RequestLimits {
        time: Duration::from_millis(500),
        bytes: 16,
    };

    /// A server that gives one answer, if it has one, and its address.
    async fn answering(answer: Option<&'static str>) -> Url {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("it is bound").port();
        tokio::spawn(async move {
            let (mut connection, _) = listener.accept().await.expect("a connection");
            let mut request = [0; 1024];
            let read = connection.read(&mut request).await.expect("a request");
            assert!(read > 0, "somebody asks");
            match answer {
                Some(answer) => connection.write_all(answer.as_bytes()).await.expect("somebody reads"),
                None => std::future::pending().await,
            }
        });
        format!("http://127.0.0.1:{port}/").parse().expect("an address")
    }

    fn client(allow_private: bool) -> Client {
        Client::new(Addresses { allow_private }).expect("the system has certificates")
    }

    async fn failure(answer: Option<&'static str>) -> String {
        let got = client(true).get_json::<Value>(answering(answer).await, LIMITS).await;
        got.expect_err("it is no answer").to_string()
    }

    #[tokio::test]
    async fn an_answer_within_the_limits_is_read() {
        let url = answering(Some("HTTP/1.1 200 OK\r\ncontent-length: 16\r\n\r\n{\"answer\":12345}")).await;
        let got = client(true).get_json::<Value>(url, LIMITS).await;
        assert_eq!(got.expect("it is JSON"), json!({ "answer": 12345 }));
    }

    #[tokio::test]
    async fn what_is_no_answer_within_the_limits_is_an_error() {
        let larger = "HTTP/1.1 200 OK\r\ncontent-length: 17\r\n\r\n{\"answer\":123456}";
        assert_eq!(failure(Some(larger)).await, "the answer is larger than 16 bytes");
        let redirect = "HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(failure(Some(redirect)).await, "the answer is 302 Found");
        let not_json = failure(Some("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nteapot")).await;
        assert!(
            not_json.starts_with("the answer is not the JSON that was expected"),
            "{not_json}"
        );
        let never = failure(None).await;
        assert!(!never.contains("127.0.0.1"), "{never}");
    }

    #[tokio::test]
    async fn an_address_that_nobody_has_checked_before_is_not_asked_either() {
        let url = answering(Some("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")).await;
        let got = client(false).get_json::<Value>(url, LIMITS).await;
        assert!(
            matches!(got, Err(OutboundError::NotAllowed(AddressError::NotPublic(_)))),
            "{got:?}"
        );
    }

    #[tokio::test]
    async fn a_name_is_not_asked_where_it_resolves_to_the_servers_own_network() {
        let resolved = PublicOnly::resolve_name("localhost").await;
        resolved.expect_err("it has no public address");
    }
}
