//! A caller: a credential, a tenant and a server, with a fluent way to send requests.

use std::{borrow::Borrow, fmt::Write as _, pin::Pin, time::Duration};

use reqwest::{
    Client, Method,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Aka, Answer, eventually, node::CLIENT, unique};

/// What a caller shows.
#[derive(Clone)]
pub enum Credential {
    None,
    Key(String),
    Bearer(String),
}

/// Somebody who calls a server.
#[derive(Clone)]
pub struct Caller {
    aka: Aka,
    tenant: Uuid,
    tenant_header: Option<String>,
    credential: Credential,
}

impl Caller {
    /// A caller of a tenant.
    pub fn new(aka: Aka, tenant: Uuid, credential: Credential) -> Self {
        Self {
            aka,
            tenant,
            tenant_header: Some(tenant.to_string()),
            credential,
        }
    }

    /// The server that is called.
    pub fn aka(&self) -> &Aka {
        &self.aka
    }

    /// The tenant of the caller.
    pub fn tenant(&self) -> Uuid {
        self.tenant
    }

    /// The caller's API key.
    pub fn key(&self) -> &str {
        match &self.credential {
            Credential::Key(key) => key,
            Credential::None | Credential::Bearer(_) => panic!("this caller has no API key"),
        }
    }

    /// The id of the caller's API key, which is in the key itself.
    pub fn key_id(&self) -> Uuid {
        super::samples::key_id(self.key())
    }

    /// The same caller with another API key.
    pub fn with_key(&self, key: &str) -> Self {
        Self {
            credential: Credential::Key(key.to_owned()),
            ..self.clone()
        }
    }

    /// The same caller with a token instead of a key.
    pub fn with_bearer(&self, token: &str) -> Self {
        Self {
            credential: Credential::Bearer(token.to_owned()),
            ..self.clone()
        }
    }

    /// The same caller without a credential.
    pub fn without_credential(&self) -> Self {
        Self {
            credential: Credential::None,
            ..self.clone()
        }
    }

    /// The same caller with another text in `X-Tenant-ID`.
    pub fn claiming_tenant(&self, header: &str) -> Self {
        Self {
            tenant_header: Some(header.to_owned()),
            ..self.clone()
        }
    }

    /// The same caller without `X-Tenant-ID`.
    pub fn without_tenant_header(&self) -> Self {
        Self {
            tenant_header: None,
            ..self.clone()
        }
    }

    /// The same caller at another server.
    pub fn at(&self, aka: &Aka) -> Self {
        Self {
            aka: aka.clone(),
            ..self.clone()
        }
    }

    pub fn get(&self, path: impl Into<String>) -> Request {
        self.request(Method::GET, path)
    }

    pub fn post(&self, path: impl Into<String>) -> Request {
        self.request(Method::POST, path)
    }

    pub fn put(&self, path: impl Into<String>) -> Request {
        self.request(Method::PUT, path)
    }

    pub fn patch(&self, path: impl Into<String>) -> Request {
        self.request(Method::PATCH, path)
    }

    pub fn delete(&self, path: impl Into<String>) -> Request {
        self.request(Method::DELETE, path)
    }

    /// Any request: the path begins with `/` and may have a query.
    pub fn request(&self, method: Method, path: impl Into<String>) -> Request {
        let mut headers = HeaderMap::new();
        if let Some(tenant) = &self.tenant_header {
            headers.insert("x-tenant-id", value(tenant));
        }
        match &self.credential {
            Credential::None => {}
            Credential::Key(key) => {
                headers.insert("x-api-key", value(key));
            }
            Credential::Bearer(token) => {
                headers.insert(AUTHORIZATION, value(&format!("Bearer {token}")));
            }
        }
        Request {
            aka: self.aka.clone(),
            client: CLIENT.clone(),
            method,
            path: path.into(),
            headers,
            body: None,
        }
    }

    /// Makes a user with an address of their own.
    pub async fn user(&self) -> Uuid {
        let name = unique("user");
        let user = json!({ "email": format!("{name}@example.com"), "name": name });
        self.post("/v1/users").json(user).await.expect(201).id()
    }

    /// Makes an enabled identity provider of a type.
    pub async fn provider(&self, provider_type: &str) -> Uuid {
        let provider = json!({ "name": unique(provider_type), "provider_type": provider_type });
        self.post("/v1/identity-providers")
            .json(provider)
            .await
            .expect(201)
            .id()
    }

    /// Asks to link an account to a user.
    pub fn link(&self, user: Uuid, provider: Uuid, external_id: &str) -> Request {
        let account = json!({ "identity_provider_id": provider, "external_id": external_id });
        self.post(format!("/v1/users/{user}/identities")).json(account)
    }

    /// Asks to take an account away from a user.
    pub fn unlink(&self, user: Uuid, identity: Uuid) -> Request {
        self.delete(format!("/v1/users/{user}/identities/{identity}"))
    }

    /// Asks for the identity of an account.
    pub fn lookup(&self, provider: Uuid, external_id: &str) -> Request {
        self.get("/v1/identities/lookup")
            .query("identity_provider_id", &provider.to_string())
            .query("external_id", external_id)
    }

    /// Makes an API key with some scopes, and returns the caller who has it.
    pub async fn limited_to(&self, scopes: &[&str]) -> Self {
        let key = self
            .post("/v1/api-keys")
            .json(json!({ "name": "limited", "scopes": scopes }))
            .await
            .expect(201);
        self.with_key(key["raw_key"].as_str().expect("a new key is shown"))
    }

    /// The newest decision on a request of somebody, once it is in the decision log.
    pub async fn decision(&self, of: &Self) -> Answer {
        let actor = of.key_id().to_string();
        eventually(Duration::from_secs(5), "the refusal is in the log", async || {
            let listed = self.get("/v1/decisions").query("actor_id", &actor).await.expect(200);
            match listed["data"][0]["id"].as_str() {
                Some(id) => Ok(self.get(format!("/v1/decisions/{id}")).await.expect(200)),
                None => Err(listed),
            }
        })
        .await
    }

    /// Makes a policy of one or more rules.
    pub async fn policy(&self, priority: i32, rules: &str) -> Uuid {
        let policy = json!({ "name": unique("policy"), "priority": priority, "cedar_policy_set": rules });
        self.post("/v1/policies").json(policy).await.expect(201).id()
    }
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("a text that a header can have")
}

/// A request that is sent when it is awaited. The answer is checked against contract and document.
#[derive(Clone)]
pub struct Request {
    aka: Aka,
    client: Client,
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Option<Vec<u8>>,
}

impl Request {
    /// With a JSON body.
    pub fn json(self, body: impl Borrow<Value>) -> Self {
        self.body("application/json", body.borrow().to_string())
    }

    /// With any body.
    pub fn body(mut self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.headers.insert(CONTENT_TYPE, value(content_type));
        self.body = Some(body.into());
        self
    }

    /// With a body of which nothing says what it is.
    pub fn untyped_body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// With one more parameter.
    pub fn query(mut self, name: &str, parameter: &str) -> Self {
        self.path.push(if self.path.contains('?') { '&' } else { '?' });
        self.path.push_str(name);
        self.path.push('=');
        for byte in parameter.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                self.path.push(char::from(byte));
            } else {
                // Writing to a text cannot fail.
                let _ = write!(self.path, "%{byte:02X}");
            }
        }
        self
    }

    /// With another header.
    pub fn header(mut self, name: &str, text: &str) -> Self {
        let name: HeaderName = name.parse().expect("a name that a header can have");
        self.headers.insert(name, value(text));
        self
    }

    /// Through another client than the one that all tests share.
    pub fn through(mut self, client: &Client) -> Self {
        self.client = client.clone();
        self
    }

    /// Sends it, and checks nothing: status, headers and body of the answer. `Err` where there is none.
    pub async fn exchange(self) -> Result<(u16, HeaderMap, Vec<u8>), reqwest::Error> {
        let url = format!("{}{}", self.aka.address(), self.path);
        let mut request = self.client.request(self.method, url).headers(self.headers);
        if let Some(body) = self.body {
            request = request.body(body);
        }
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok((status, headers, response.bytes().await?.to_vec()))
    }

    /// Sends it. `Err` where there is no answer at all.
    pub async fn try_send(self) -> Result<Answer, reqwest::Error> {
        let asked = format!("{} {} {}", self.method, self.path, shown(self.body.as_deref()));
        let (status, headers, bytes) = self.clone().exchange().await?;
        let answer = Answer::new(asked, status, headers, bytes);
        if answer.status == 500 {
            // No test wants a fault: the log of the server says what it was.
            let id = answer.header("x-request-id").unwrap_or_default();
            let log = self.aka.log();
            let lines: Vec<&str> = log
                .lines()
                .filter(|line| line.contains(id) || line.contains("panic"))
                .collect();
            panic!("{answer}\n{}", lines.join("\n"));
        }
        answer.check(self.aka.document(), self.method.as_str(), &self.path);
        Ok(answer)
    }
}

/// A body as a reader of a failure wants to see it.
fn shown(body: Option<&[u8]>) -> String {
    /// Enough for every body that a person would write.
    const CHARACTERS: usize = 500;
    let text = String::from_utf8_lossy(body.unwrap_or_default());
    let mut shown: String = text.chars().take(CHARACTERS).collect();
    if shown.len() < text.len() {
        shown.push_str(" ...");
    }
    shown
}

impl IntoFuture for Request {
    type Output = Answer;
    type IntoFuture = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let asked = format!("{} {}", self.method, self.path);
            let aka = self.aka.clone();
            let answer = self.try_send().await;
            answer.unwrap_or_else(|error| panic!("no answer to {asked}: {error:?}\n{}", aka.log()))
        })
    }
}
