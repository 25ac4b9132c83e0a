//! Bearer tokens: JWTs of the issuers that a tenant has configured ([`issuers`]).
//!
//! A token is accepted when it is signed with one of the issuer's keys, for the audience, and within its time; only
//! algorithms with a public key are considered at all, so that neither `alg: none` nor a public key used as an HMAC secret
//! gets anywhere (RFC 8725 §3.1 and §3.2). It has the scopes that it claims, as far as the issuer may grant them and the
//! roles of its user allow them.

pub mod issuer_keys;
pub mod issuers;
mod jwks;
pub mod jwks_client;

use std::{collections::BTreeSet, sync::Arc};

use aka_entity::{audit_log_entry::ActorType, barred_account::Reason};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, errors::ErrorKind};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    accounts::Lookup,
    barred_accounts,
    caller::{Caller, Principal, actor_of_subject},
    tenants::{TenantState, Tenants},
    tokens::{
        issuer_keys::IssuerKeys,
        issuers::{Issuer, KeySource},
        jwks::{ALGORITHMS, candidates},
        jwks_client::{FetchError, JwksClient},
    },
    users,
};
use crate::{
    outbound::Addresses,
    policy::{Memo, entities},
    store::{Store, StoreError},
    types::{
        ids::{IdentityProviderId, TenantId, UserId},
        scopes::Scope,
        text::ExternalId,
    },
};

/// How far the clocks of issuer and server may differ, in seconds.
const LEEWAY_SECONDS: u64 = 5;
/// A token longer than this is not looked at. Issuers keep below 8 KiB, because proxies refuse longer headers.
const MAX_TOKEN_BYTES: usize = 8 * 1024;
/// Keys that are tried on one token. An issuer with several keys names the one in each token (OpenID Connect Core 1.0
/// §10.1), so that there is more than one only where an issuer does not keep to that: an old and a new key, then. With
/// the longest keys, two signatures are verified within 0.2 ms, so that this needs no thread of its own.
const MAX_TRIES: usize = 2;

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
    /// Its subject is linked to nobody since the user to whom it was linked was suspended or erased.
    Barred(Reason),
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
    fn scopes(&self) -> BTreeSet<Scope> {
        let listed = match &self.scp {
            Some(Value::String(text)) => text.split(' ').collect(),
            Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let claimed = self.scope.iter().flat_map(|text| text.split(' '));
        claimed.chain(listed).filter_map(|scope| scope.parse().ok()).collect()
    }
}

/// Checks tokens.
#[derive(Clone)]
pub struct Tokens {
    keys: IssuerKeys,
}

impl Tokens {
    /// Checks tokens with keys that this client fetches.
    #[must_use]
    pub fn new(client: JwksClient) -> Self {
        Self {
            keys: IssuerKeys::new(client),
        }
    }

    /// From which addresses issuers' keys are fetched.
    #[must_use]
    pub const fn addresses(&self) -> Addresses {
        self.keys.addresses()
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
        let (provider, issuer) = tenant.issuer(&token.issuer).ok_or(TokenRefusal::UnknownIssuer)?;
        let claims = self.verify(tenant_id, issuer, token).await?;
        caller(store, &tenant, (provider, issuer), &claims).await
    }

    async fn verify(&self, tenant: TenantId, issuer: &Issuer, token: &Token<'_>) -> Result<Claims, TokenRefusal> {
        let (algorithm, kid) = (token.algorithm, token.kid.as_deref());
        let keys = match &issuer.keys {
            KeySource::Inline(keys) => Arc::clone(keys),
            KeySource::Remote(from) => {
                let keys = self
                    .keys
                    .get(tenant, from, |keys| candidates(keys, algorithm, kid).next().is_some());
                keys.await.map_err(TokenRefusal::NoKeys)?
            }
        };
        let candidates: Vec<DecodingKey> = candidates(&keys, algorithm, kid).take(MAX_TRIES + 1).collect();
        if candidates.len() > MAX_TRIES {
            return Err(TokenRefusal::Malformed(format!(
                "more than {MAX_TRIES} keys of its issuer could have signed it; a `kid` in its header must say which one"
            )));
        }
        let mut validation = Validation::new(algorithm);
        validation.leeway = LEEWAY_SECONDS;
        validation.validate_nbf = true;
        validation.set_issuer(&[&issuer.issuer]);
        validation.set_audience(&issuer.audience);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        let mut refusal = TokenRefusal::BadSignature;
        for key in candidates {
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
}

/// Who a verified token stands for: the user to whom its subject is linked, else the subject itself.
async fn caller(
    store: &Store,
    tenant: &Arc<TenantState>,
    (provider, issuer): (IdentityProviderId, &Issuer),
    claims: &Claims,
) -> Result<Caller, TokenRefusal> {
    let tenant_id = TenantId(tenant.tenant.id);
    let asked = Lookup {
        tenant: tenant_id,
        identity_provider_id: provider,
        external_id: claims.sub.clone(),
    };
    let identity = store.ask(asked).await?;
    let user = match identity.and_then(|found| found.identity.user_id) {
        Some(user) => users::find(store, tenant_id, UserId(user)).await?,
        None => None,
    };
    let scopes = issuer.grants.limit(&claims.scopes(), user.as_ref());
    if user.is_none()
        && let Some(reason) = barred_accounts::find(store, tenant_id, provider, claims.sub.as_str()).await?
    {
        return Err(TokenRefusal::Barred(reason));
    }
    let (actor_id, entity, identity_provider) = match &user {
        Some(user) if !user.active => return Err(TokenRefusal::UserSuspended),
        Some(user) => (
            user.id.to_string(),
            users::entity(user, &scopes, Some(provider)),
            Some(provider),
        ),
        None => {
            let verified = claims.email_verified == Value::Bool(true);
            let email = claims.email.as_deref();
            let subject = entities::subject(provider, claims.sub.as_str(), email, verified, &scopes);
            let actor = actor_of_subject(store.root_key(), tenant_id, provider, claims.sub.as_str());
            (actor, subject, Some(provider))
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
