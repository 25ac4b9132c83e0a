//! Bearer tokens: JWTs of the issuers that a tenant has configured.
//!
//! An identity provider whose `config` has `issuer`, `audience` and either `jwks` (a JWK set, RFC 7517 §5) or
//! `jwks_uri` (where one is) is an issuer. A token is accepted when it is signed with one of the issuer's keys, for
//! the audience, and within its time; only algorithms with a public key are considered at all, so that neither
//! `alg: none` nor a public key used as an HMAC secret gets anywhere (RFC 8725 §3.1 and §3.2).

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use aka_entity::{audit_log_entry::ActorType, identity_provider};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, Validation, decode, decode_header, errors::ErrorKind, jwk::JwkSet};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use url::Url;

use super::{
    caller::{Caller, Principal},
    ids::{IdentityProviderId, TenantId, UserId},
    jwks::{self, ALGORITHMS, candidates},
    linking::Lookup,
    scopes::Scope,
    tenant_state::{TenantState, Tenants},
    text::ExternalId,
    users,
};
use crate::{
    domain::jwks_client::{FetchError, JwksClient},
    policy::{Memo, entities},
    store::{Coalesced, Store, StoreError},
};

/// How far the clocks of issuer and server may differ, in seconds.
const LEEWAY_SECONDS: u64 = 5;
/// A token longer than this is not looked at. Issuers keep below 8 KiB, because proxies refuse longer headers.
const MAX_TOKEN_BYTES: usize = 8 * 1024;
/// How long fetched keys are used without asking again.
const KEYS_LAST: Duration = Duration::from_mins(5);
/// A token with a key that is not known, or an attempt that failed, makes the server ask again, but not more often than
/// this.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// Sets of fetched keys in memory at most.
const MAX_SETS: u64 = 1_000;

/// How the tokens of a provider are checked.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// What the `iss` claim must be.
    pub issuer: String,
    /// One of these must be in the `aud` claim.
    pub audience: Vec<String>,
    keys: KeySource,
}

#[derive(Clone, Debug)]
enum KeySource {
    Inline(Arc<JwkSet>),
    At(String),
}

impl Issuer {
    /// The issuer that a provider's configuration describes, where it describes one.
    #[must_use]
    pub fn of(provider: &identity_provider::Model) -> Option<Self> {
        Self::from_config(&provider.config).ok().flatten()
    }

    /// Reads a configuration. `Ok(None)`: it describes no issuer.
    ///
    /// # Errors
    ///
    /// Which member is wrong, and why.
    pub fn from_config(config: &Value) -> Result<Option<Self>, (&'static str, String)> {
        let named = ["issuer", "audience", "jwks", "jwks_uri"]
            .iter()
            .any(|name| config.get(name).is_some());
        if !named {
            return Ok(None);
        }
        let issuer = match config.get("issuer") {
            Some(Value::String(issuer)) if !issuer.is_empty() => issuer.clone(),
            _ => return Err(("config.issuer", "must be a text: the `iss` of the tokens".into())),
        };
        let audience = match config.get("audience") {
            Some(Value::String(audience)) if !audience.is_empty() => vec![audience.clone()],
            Some(Value::Array(all)) if !all.is_empty() => {
                let texts = all
                    .iter()
                    .map(|one| one.as_str().filter(|text| !text.is_empty()).map(str::to_owned));
                texts
                    .collect::<Option<_>>()
                    .ok_or(("config.audience", "must be texts".to_owned()))?
            }
            _ => {
                return Err((
                    "config.audience",
                    "must be a text, or several: the `aud` by which tokens for this server are known".into(),
                ));
            }
        };
        let keys = match (config.get("jwks"), config.get("jwks_uri")) {
            (Some(set), None) => KeySource::Inline(Arc::new(inline_keys(set)?)),
            (None, Some(Value::String(uri))) => {
                JwksClient::check(uri).map_err(|reason| ("config.jwks_uri", reason))?;
                KeySource::At(uri.clone())
            }
            _ => {
                return Err((
                    "config.jwks_uri",
                    "an issuer needs either jwks_uri, a text, or jwks, an object with the public keys".into(),
                ));
            }
        };
        Ok(Some(Self { issuer, audience, keys }))
    }
}

fn inline_keys(set: &Value) -> Result<JwkSet, (&'static str, String)> {
    // RFC 7518 §6: the members of private and symmetric keys.
    let private = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];
    let mut keys = set.get("keys").and_then(Value::as_array).into_iter().flatten();
    if keys.any(|key| private.iter().any(|member| key.get(member).is_some())) {
        return Err((
            "config.jwks",
            "must hold public keys only; this one is private or symmetric".into(),
        ));
    }
    jwks::read(set).map_err(|reason| ("config.jwks", reason))
}

/// Why a token is not accepted.
#[derive(Debug)]
pub enum TokenRefusal {
    /// It is not a JWT, or one that is never accepted.
    Malformed(String),
    /// No provider of the tenant issues such tokens.
    UnknownIssuer,
    /// None of the issuer's keys has signed it.
    BadSignature,
    /// Its time is over.
    Expired,
    /// Its time has not come.
    NotYetValid,
    /// It is for somebody else.
    WrongAudience,
    /// The user to whom its subject is linked is suspended.
    UserSuspended,
    /// The issuer's keys could not be fetched.
    NoKeys(FetchError),
    /// The store could not be asked.
    Store(StoreError),
}

impl From<StoreError> for TokenRefusal {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// A token of which nothing has been verified yet: what it takes to find the keys to verify it with.
#[derive(Debug)]
pub struct Token<'a> {
    text: &'a str,
    algorithm: Algorithm,
    kid: Option<String>,
    /// The issuer that it names.
    issuer: String,
}

impl<'a> Token<'a> {
    /// Reads a token.
    ///
    /// # Errors
    ///
    /// [`TokenRefusal::Malformed`] where it is none, or one that is never accepted, whatever the tenant.
    pub fn read(text: &'a str) -> Result<Self, TokenRefusal> {
        let refused = |why: &str| TokenRefusal::Malformed(why.into());
        if text.len() > MAX_TOKEN_BYTES {
            return Err(TokenRefusal::Malformed(format!(
                "it is longer than {MAX_TOKEN_BYTES} bytes"
            )));
        }
        let header = decode_header(text).map_err(|error| TokenRefusal::Malformed(error.to_string()))?;
        if !ALGORITHMS.contains(&header.alg) {
            return Err(TokenRefusal::Malformed(format!(
                "the algorithm {:?} is not accepted",
                header.alg
            )));
        }
        if part::<Critical>(text, 0).is_none_or(|header| header.crit.is_some()) {
            return Err(refused(
                "its header has `crit`, and this server knows no extension that could be in it",
            ));
        }
        let claims = part::<Issued>(text, 1).ok_or_else(|| refused("it has no `iss`"))?;
        Ok(Self {
            text,
            algorithm: header.alg,
            kid: header.kid,
            issuer: claims.iss,
        })
    }
}

/// What the header of a token asks to be understood (RFC 7515 §4.1.11).
#[derive(Deserialize)]
struct Critical {
    crit: Option<Value>,
}

/// Who a token says has issued it.
#[derive(Deserialize)]
struct Issued {
    iss: String,
}

/// The header (0) or the claims (1) of a token, unverified.
fn part<T: DeserializeOwned>(token: &str, index: usize) -> Option<T> {
    let json = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(index)?).ok()?;
    serde_json::from_slice(&json).ok()
}

/// What a token says, as far as it concerns this server.
#[derive(Debug, Deserialize)]
struct Claims {
    sub: ExternalId,
    /// Scopes, separated by spaces (RFC 9068 §2.2.3, RFC 8693 §4.2).
    scope: Option<String>,
    /// Scopes as some issuers write them: a text or an array.
    scp: Option<Value>,
    email: Option<String>,
    /// Absent counts as false: a provider that does not say so has not checked.
    #[serde(default)]
    email_verified: Value,
}

impl Claims {
    fn scopes(&self) -> Vec<Scope> {
        let listed: Vec<Scope> = match &self.scp {
            Some(Value::String(text)) => text.split(' ').filter_map(|scope| scope.parse().ok()).collect(),
            Some(Value::Array(all)) => all.iter().filter_map(|scope| scope.as_str()?.parse().ok()).collect(),
            _ => Vec::new(),
        };
        let mut scopes: Vec<Scope> = self
            .scope
            .iter()
            .flat_map(|text| text.split(' '))
            .filter_map(|scope| scope.parse().ok())
            .collect();
        scopes.extend(listed);
        scopes.sort_unstable();
        scopes.dedup();
        scopes
    }
}

/// What is known of the keys at an address.
#[derive(Default)]
struct Place {
    fetched: Option<Fetched>,
    /// The last attempt, where it failed: an issuer that hangs must not hold every one of its tokens for as long.
    failed: Option<(Instant, FetchError)>,
}

/// Keys that were fetched.
struct Fetched {
    keys: Arc<JwkSet>,
    at: Instant,
}

/// Checks tokens.
#[derive(Clone)]
pub struct Tokens {
    client: JwksClient,
    lookups: Coalesced<Lookup>,
    fetched: moka::sync::Cache<(TenantId, String), Arc<tokio::sync::Mutex<Place>>>,
}

impl Tokens {
    /// Checks tokens with keys that this client fetches, and finds the users to whom their subjects are linked.
    #[must_use]
    pub fn new(client: JwksClient, lookups: Coalesced<Lookup>) -> Self {
        Self {
            client,
            lookups,
            fetched: moka::sync::Cache::new(MAX_SETS),
        }
    }

    /// Checks a token that claims to belong to a tenant.
    ///
    /// # Errors
    ///
    /// Why it is not accepted.
    pub async fn authenticate(
        &self,
        store: &Store,
        tenants: &Tenants,
        tenant_id: TenantId,
        token: &Token<'_>,
    ) -> Result<Caller, TokenRefusal> {
        let tenant = tenants
            .get(store, tenant_id)
            .await?
            .ok_or(TokenRefusal::UnknownIssuer)?;
        let mut refusal = TokenRefusal::UnknownIssuer;
        for provider in tenant.identity_providers().filter(|provider| provider.model.enabled) {
            let Some(issuer) = provider.issuer.as_ref().filter(|issuer| issuer.issuer == token.issuer) else {
                continue;
            };
            match self.verify(tenant_id, issuer, token).await {
                Ok(claims) => {
                    let provider = IdentityProviderId(provider.model.id);
                    return caller(store, &self.lookups, tenant_id, &tenant, provider, &claims).await;
                }
                Err(reason) => refusal = reason,
            }
        }
        Err(refusal)
    }

    async fn verify(&self, tenant: TenantId, issuer: &Issuer, token: &Token<'_>) -> Result<Claims, TokenRefusal> {
        let (algorithm, kid) = (token.algorithm, token.kid.as_deref());
        let mut validation = Validation::new(algorithm);
        validation.leeway = LEEWAY_SECONDS;
        validation.validate_nbf = true;
        validation.set_issuer(&[&issuer.issuer]);
        validation.set_audience(&issuer.audience);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        let mut keys = self.keys(tenant, &issuer.keys, KEYS_LAST).await?;
        if candidates(&keys, algorithm, kid).next().is_none() {
            // The issuer may have new keys.
            keys = self.keys(tenant, &issuer.keys, ASK_AGAIN_AFTER).await?;
        }
        let mut refusal = TokenRefusal::BadSignature;
        for key in candidates(&keys, algorithm, kid) {
            match decode::<Claims>(token.text, &key, &validation) {
                Ok(token) => return Ok(token.claims),
                Err(error) => {
                    refusal = match error.kind() {
                        ErrorKind::ExpiredSignature => TokenRefusal::Expired,
                        ErrorKind::ImmatureSignature => TokenRefusal::NotYetValid,
                        ErrorKind::InvalidAudience => TokenRefusal::WrongAudience,
                        ErrorKind::InvalidSignature => continue,
                        _ => TokenRefusal::Malformed(error.to_string()),
                    }
                }
            }
        }
        Err(refusal)
    }

    /// An issuer's keys, fetched again when they are older than that.
    async fn keys(&self, tenant: TenantId, source: &KeySource, max_age: Duration) -> Result<Arc<JwkSet>, TokenRefusal> {
        let uri = match source {
            KeySource::Inline(keys) => return Ok(Arc::clone(keys)),
            KeySource::At(uri) => uri,
        };
        let place = self.fetched.get_with((tenant, uri.clone()), Arc::default);
        // Held while fetching, so that many requests ask once.
        let mut place = place.lock().await;
        if let Some(fetched) = place.fetched.as_ref().filter(|fetched| fetched.at.elapsed() < max_age) {
            return Ok(Arc::clone(&fetched.keys));
        }
        let failed = place.failed.as_ref().filter(|(at, _)| at.elapsed() < ASK_AGAIN_AFTER);
        let error = if let Some((_, error)) = failed {
            error.clone()
        } else {
            match self.client.fetch(uri).await {
                Ok(keys) => {
                    let keys = Arc::new(keys);
                    *place = Place {
                        fetched: Some(Fetched {
                            keys: Arc::clone(&keys),
                            at: Instant::now(),
                        }),
                        failed: None,
                    };
                    return Ok(keys);
                }
                Err(error) => {
                    let host = Url::parse(uri).ok().and_then(|uri| uri.host_str().map(str::to_owned));
                    tracing::warn!(%tenant, host, %error, "the keys of an issuer could not be fetched");
                    place.failed = Some((Instant::now(), error.clone()));
                    error
                }
            }
        };
        // Old keys are better than none, for as long again.
        match &place.fetched {
            Some(fetched) if fetched.at.elapsed() < 2 * KEYS_LAST => Ok(Arc::clone(&fetched.keys)),
            _ => Err(TokenRefusal::NoKeys(error)),
        }
    }
}

/// Who a verified token stands for: the user to whom its subject is linked, else the subject itself.
async fn caller(
    store: &Store,
    lookups: &Coalesced<Lookup>,
    tenant_id: TenantId,
    tenant: &Arc<TenantState>,
    provider: IdentityProviderId,
    claims: &Claims,
) -> Result<Caller, TokenRefusal> {
    let scopes = claims.scopes();
    let asked = Lookup {
        tenant: tenant_id,
        identity_provider_id: provider,
        external_id: claims.sub.clone(),
    };
    let identity = lookups.ask(asked).await?;
    let user = match identity.and_then(|identity| identity.user_id) {
        Some(user) => users::find(store, tenant_id, UserId(user)).await?,
        None => None,
    };
    let (actor_id, entity, identity_provider) = match &user {
        Some(user) if !user.active => return Err(TokenRefusal::UserSuspended),
        Some(user) => (user.id.to_string(), entities::user(user, &scopes), None),
        None => {
            let verified = claims.email_verified == Value::Bool(true);
            let email = claims.email.as_deref();
            let subject = entities::subject(provider, claims.sub.as_str(), email, verified, &scopes);
            (format!("{provider}|{}", claims.sub), subject, Some(provider))
        }
    };
    let principal = Principal {
        tenant: tenant_id,
        actor_id,
        actor_type: ActorType::Oidc,
        entity,
        identity_provider,
        scopes,
        memo: Memo::default(),
    };
    Ok(Caller {
        principal: Arc::new(principal),
        tenant: Arc::clone(tenant),
    })
}
