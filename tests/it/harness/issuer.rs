//! A token issuer: keys, valid tokens, tokens with one error, and a server that publishes the keys.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, prelude::BASE64_STANDARD, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::{Caller, Uuid, unique};

pub const AUDIENCE: &str = "https://aka.example.com";

/// A key with which tokens are signed.
#[derive(Clone, Copy)]
pub struct SigningKey {
    pub algorithm: Algorithm,
    private: &'static str,
    public: &'static str,
}

macro_rules! key {
    ($algorithm:expr, $name:literal) => {
        SigningKey {
            algorithm: $algorithm,
            private: include_str!(concat!("../fixtures/", $name, ".pem")),
            public: include_str!(concat!("../fixtures/", $name, ".jwk.json")),
        }
    };
}

pub const RSA: SigningKey = key!(Algorithm::RS256, "test-only-rsa-a");
pub const NEXT_RSA: SigningKey = key!(Algorithm::RS256, "test-only-rsa-b");
pub const ELLIPTIC: SigningKey = key!(Algorithm::ES256, "test-only-ec");
pub const EDWARDS: SigningKey = key!(Algorithm::EdDSA, "test-only-ed25519");
/// The public half of [`RSA`] as it is often passed around.
pub const RSA_PUBLIC_PEM: &str = include_str!("../fixtures/test-only-rsa-a.public.pem");

impl SigningKey {
    /// Its public half.
    pub fn jwk(self) -> Value {
        serde_json::from_str(self.public).expect("the fixture is JSON")
    }

    /// Its name.
    pub fn kid(self) -> String {
        self.jwk()["kid"].as_str().expect("the fixture has a kid").to_owned()
    }

    fn der(self) -> Vec<u8> {
        let lines: String = self.private.lines().filter(|line| !line.starts_with("-----")).collect();
        BASE64_STANDARD.decode(lines).expect("the fixture is PEM")
    }

    /// A token that this key signs, with its name in the header.
    pub fn sign(self, claims: &Value) -> String {
        let header = Header {
            kid: Some(self.kid()),
            ..Header::new(self.algorithm)
        };
        self.sign_with(&header, claims)
    }

    /// A token that this key signs, with any header.
    pub fn sign_with(self, header: &Header, claims: &Value) -> String {
        let der = self.der();
        let key = match self.algorithm {
            Algorithm::ES256 => EncodingKey::from_ec_der(&der),
            Algorithm::EdDSA => EncodingKey::from_ed_der(&der),
            _ => EncodingKey::from_rsa_der(&der),
        };
        encode(header, claims, &key).expect("the fixture is a key of its algorithm")
    }
}

impl SigningKey {
    /// A token that this key signs, with a header that no library would write.
    pub fn sign_by_hand(self, header: &Value, claims: &Value) -> String {
        let unsigned = by_hand(header, claims, b"");
        let message = unsigned.trim_end_matches('.');
        let key = EncodingKey::from_rsa_der(&self.der());
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, self.algorithm);
        format!(
            "{message}.{}",
            signature.expect("the fixture is a key of its algorithm")
        )
    }
}

/// A set of public keys as it is published.
pub fn jwks(keys: &[SigningKey]) -> Value {
    json!({ "keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>() })
}

/// An issuer that a tenant has configured as a provider.
pub struct Issuer {
    pub name: String,
    pub provider: Uuid,
}

impl Issuer {
    /// Makes a provider whose keys stand in its configuration.
    pub async fn with_keys(tenant: &Caller, keys: &[SigningKey]) -> Self {
        Self::configured(tenant, |config| config["jwks"] = jwks(keys)).await
    }

    /// Makes a provider whose keys are fetched.
    pub async fn with_keys_at(tenant: &Caller, address: &str) -> Self {
        Self::configured(tenant, |config| config["jwks_uri"] = json!(address)).await
    }

    async fn configured(tenant: &Caller, keys: impl FnOnce(&mut Value)) -> Self {
        let name = format!("https://{}.example.com", unique("issuer"));
        let mut config = json!({ "issuer": name, "audience": AUDIENCE });
        keys(&mut config);
        let provider = json!({ "name": "Sign-in", "provider_type": "oidc", "config": config });
        let provider = tenant.post("/v1/identity-providers").json(provider).await.expect(201);
        Self {
            name,
            provider: provider.id(),
        }
    }

    /// The claims of a good token, for a subject with these scopes.
    pub fn claims(&self, subject: &str, scope: &str) -> Value {
        let now = now();
        json!({
            "iss": self.name, "aud": AUDIENCE, "sub": subject, "scope": scope,
            "iat": now, "nbf": now - 60, "exp": now + 600,
        })
    }
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("it is later than 1970")
        .as_secs()
}

/// Claims with one of them changed; null takes it away.
pub fn with(mut claims: Value, name: &str, value: Value) -> Value {
    if value.is_null() {
        claims.as_object_mut().expect("claims are an object").remove(name);
    } else {
        claims[name] = value;
    }
    claims
}

/// A token that is put together by hand.
pub fn by_hand(header: &Value, claims: &Value, signature: &[u8]) -> String {
    let part = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    format!(
        "{}.{}.{}",
        part(header.to_string().as_bytes()),
        part(claims.to_string().as_bytes()),
        part(signature)
    )
}

/// A server that publishes keys, for as long as it is held, and what an issuer says of itself.
pub struct KeyServer {
    address: String,
    published: Arc<Mutex<Published>>,
    task: tokio::task::JoinHandle<()>,
}

struct Published {
    status: &'static str,
    keys: Value,
    /// At `/.well-known/openid-configuration`.
    configuration: Value,
    takes: Duration,
    asked: usize,
}

impl KeyServer {
    /// Publishes keys.
    pub async fn start(keys: &[SigningKey]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let address = format!("http://{address}");
        let published = Arc::new(Mutex::new(Published {
            status: "200 OK",
            keys: jwks(keys),
            configuration: json!({ "issuer": address, "jwks_uri": format!("{address}/keys") }),
            takes: Duration::ZERO,
            asked: 0,
        }));
        let answered = Arc::clone(&published);
        let task = tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                // Whoever goes away without reading gets nothing.
                tokio::spawn(answer(connection, Arc::clone(&answered)));
            }
        });
        Self {
            address,
            published,
            task,
        }
    }

    /// Where the keys are.
    pub fn address(&self) -> String {
        format!("{}/keys", self.address)
    }

    /// The issuer that it is, for OpenID Connect Discovery.
    pub fn issuer(&self) -> &str {
        &self.address
    }

    /// Publishes other keys from now on.
    pub fn publish(&self, keys: &[SigningKey]) {
        self.publish_set(jwks(keys));
    }

    /// Publishes any set from now on.
    pub fn publish_set(&self, set: Value) {
        self.published().keys = set;
    }

    /// Says something else of itself from now on.
    pub fn publish_configuration(&self, configuration: Value) {
        self.published().configuration = configuration;
    }

    /// Answers with another status from now on.
    pub fn answer_with(&self, status: &'static str) {
        self.published().status = status;
    }

    /// Takes its time for each answer from now on.
    pub fn take(&self, time: Duration) {
        self.published().takes = time;
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        self.published().asked
    }

    fn published(&self) -> MutexGuard<'_, Published> {
        self.published.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for KeyServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(mut connection: TcpStream, published: Arc<Mutex<Published>>) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let read = connection.read_buf(&mut request).await?;
        if read == 0 {
            return Ok(());
        }
    }
    let (status, body, takes) = {
        let mut published = published.lock().unwrap_or_else(PoisonError::into_inner);
        published.asked += 1;
        let body = match &request {
            request if request.starts_with(b"GET /keys ") => &published.keys,
            request if request.starts_with(b"GET /.well-known/openid-configuration ") => &published.configuration,
            _ => return Ok(()),
        };
        (published.status, body.to_string(), published.takes)
    };
    tokio::time::sleep(takes).await;
    let head = "content-type: application/json\r\nconnection: close";
    let answer = format!(
        "HTTP/1.1 {status}\r\n{head}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    connection.write_all(answer.as_bytes()).await?;
    connection.shutdown().await
}
