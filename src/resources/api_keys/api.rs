//! API keys: credentials of programs.

use aka_entity::api_key;
use cedar_policy::Entity;
use poem_openapi::{Object, OpenApi};
use serde::{Deserialize, Serialize};

use super::{CreateApiKey, NewApiKey, RevokeApiKey, RotateApiKey};
use crate::{
    access::{
        self,
        api_keys::RawKey,
        caller::{PolicyContext, Target},
    },
    http::{
        Tag,
        answers::{Created, Gone, Tagged},
        body::{Answer, Body, OptionalBody},
        caller::ApiCaller,
        error::{Error, InputLocation},
        etag::of_representation,
        idempotency::Replayable,
        page::{List, Page},
        params::{Cursor, Limit, OptionalQueryParam, Path},
    },
    resources::api_keys,
    types::{
        clock::{self, Timestamp},
        ids::{ApiKeyId, IdentityProviderId},
        scopes::Scope,
        text::Name,
    },
};

/// How long a rotated key works on, where the caller does not say: a day, in seconds.
const DEFAULT_OVERLAP_SECONDS: u32 = 86_400;
/// How long at most: thirty days, in seconds.
const MAX_OVERLAP_SECONDS: u32 = 2_592_000;

/// A credential of a program. The key itself is shown only once, in the answer that created it.
#[derive(Debug, Object, Serialize)]
pub struct ApiKey {
    /// The id of the key: not a secret.
    pub id: ApiKeyId,
    /// The name of the key.
    pub name: String,
    /// What the key may do.
    pub scopes: Vec<Scope>,
    /// The provider that the key is bound to.
    #[oai(nullable)]
    pub identity_provider_id: Option<IdentityProviderId>,
    /// Who created the key: the id of a key or of a user, or `command line`.
    pub created_by: String,
    /// When the key was last used, with a few seconds' delay.
    #[oai(nullable)]
    pub last_used_at: Option<Timestamp>,
    /// When the key expires.
    #[oai(nullable)]
    pub expires_at: Option<Timestamp>,
    /// When the key was revoked.
    #[oai(nullable)]
    pub revoked_at: Option<Timestamp>,
    /// Who revoked it.
    #[oai(nullable)]
    pub revoked_by: Option<String>,
    /// When the key was created.
    pub created_at: Timestamp,
}

impl From<api_key::Model> for ApiKey {
    fn from(key: api_key::Model) -> Self {
        Self {
            scopes: access::api_keys::scopes(&key),
            id: ApiKeyId(key.id),
            name: key.name,
            identity_provider_id: key.identity_provider_id.map(IdentityProviderId),
            created_by: key.created_by,
            last_used_at: key.last_used_at.map(Timestamp),
            expires_at: key.expires_at.map(Timestamp),
            revoked_at: key.revoked_at.map(Timestamp),
            revoked_by: key.revoked_by,
            created_at: Timestamp(key.created_at),
        }
    }
}

/// A new key, with the key itself. It is not shown again: store it now.
#[derive(Object, Serialize)]
pub struct CreatedApiKey {
    /// The id of the key: not a secret.
    pub id: ApiKeyId,
    /// The name of the key.
    pub name: String,
    /// What the key may do.
    pub scopes: Vec<Scope>,
    /// The provider that the key is bound to.
    #[oai(nullable)]
    pub identity_provider_id: Option<IdentityProviderId>,
    /// Who created the key: the id of a key or of a user, or `command line`.
    pub created_by: String,
    /// When the key was last used.
    #[oai(nullable)]
    pub last_used_at: Option<Timestamp>,
    /// When the key expires.
    #[oai(nullable)]
    pub expires_at: Option<Timestamp>,
    /// When the key was revoked.
    #[oai(nullable)]
    pub revoked_at: Option<Timestamp>,
    /// Who revoked it.
    #[oai(nullable)]
    pub revoked_by: Option<String>,
    /// When the key was created.
    pub created_at: Timestamp,
    /// The key: what goes into the header `X-API-Key`.
    pub raw_key: String,
}

impl CreatedApiKey {
    /// The answer to the request that made it.
    #[must_use]
    pub fn created((key, raw): (api_key::Model, RawKey)) -> Created<Self> {
        let location = format!("/v1/api-keys/{}", key.id);
        Created::Created(Answer(Self::new(key, &raw)), location)
    }

    /// A key and its row.
    #[must_use]
    pub fn new(key: api_key::Model, raw: &RawKey) -> Self {
        let ApiKey {
            id,
            name,
            scopes,
            identity_provider_id,
            created_by,
            last_used_at,
            expires_at,
            revoked_at,
            revoked_by,
            created_at,
        } = key.into();
        Self {
            id,
            name,
            scopes,
            identity_provider_id,
            created_by,
            last_used_at,
            expires_at,
            revoked_at,
            revoked_by,
            created_at,
            raw_key: raw.reveal().to_owned(),
        }
    }
}

/// A new API key.
#[derive(Debug, Object, Deserialize)]
#[oai(deny_unknown_fields)]
#[serde(deny_unknown_fields)]
pub struct ApiKeyCreate {
    /// The name of the key.
    pub name: Name,
    /// What the key may do: at least one scope.
    #[oai(validator(min_items = 1, max_items = 32))]
    pub scopes: Vec<Scope>,
    /// The identity provider to bind the key to.
    #[oai(nullable)]
    pub identity_provider_id: Option<IdentityProviderId>,
    /// When the key expires, in the future. Default: never.
    #[oai(nullable)]
    pub expires_at: Option<Timestamp>,
}

impl ApiKeyCreate {
    /// Checks what the types do not.
    ///
    /// # Errors
    ///
    /// The field that is wrong.
    pub fn check(self) -> Result<NewApiKey, Error> {
        if self.scopes.is_empty() || self.scopes.len() > 32 {
            return Err(Error::field(
                InputLocation::Body,
                "scopes",
                "must have from 1 to 32 entries",
            ));
        }
        if self.expires_at.is_some_and(|at| at <= clock::now()) {
            return Err(Error::field(InputLocation::Body, "expires_at", "must be in the future"));
        }
        Ok(NewApiKey {
            id: ApiKeyId::new(),
            name: self.name,
            scopes: self.scopes,
            identity_provider_id: self.identity_provider_id,
            expires_at: self.expires_at,
        })
    }
}

/// How to rotate a key.
#[derive(Debug, Default, Object, Deserialize)]
#[oai(deny_unknown_fields)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// How long the old key works on, in seconds, so that its users can change over: a day if it is absent, thirty
    /// days at most.
    #[oai(nullable, validator(minimum(value = "0"), maximum(value = "2592000")))]
    pub overlap_seconds: Option<u32>,
}

/// What a decision on a new key may look at.
#[must_use]
pub fn new_key(caller: &ApiCaller<'_>, key: &NewApiKey) -> PolicyContext {
    PolicyContext {
        named: named(caller, key.identity_provider_id),
        ..PolicyContext::of(key.context())
    }
}

/// The provider that a context names.
fn named(caller: &ApiCaller<'_>, provider: Option<IdentityProviderId>) -> Vec<Entity> {
    let provider = provider.map(|provider| caller.tenant().identity_provider_entity(provider).entity);
    provider.into_iter().collect()
}

/// The operations on API keys.
pub struct ApiKeysApi;

#[OpenApi(tag = "Tag::ApiKeys")]
impl ApiKeysApi {
    /// List API keys
    ///
    /// The oldest first, those that are revoked or expired too. A key that is bound to an identity provider sees only
    /// keys with the same binding.
    #[oai(path = "/v1/api-keys", method = "get", operation_id = "listApiKeys")]
    async fn list(
        &self,
        caller: ApiCaller<'_>,
        /// How many rows to answer with at most.
        limit: OptionalQueryParam<Limit>,
        /// Where the page begins: the `next_cursor` of the page before. Omit it for the first page.
        cursor: OptionalQueryParam<Cursor>,
    ) -> Result<Answer<Page<ApiKey>>, Error> {
        let tenant = caller.tenant_id();
        let list = List::new("api-keys", tenant, "");
        let wanted = list.wanted(limit, cursor)?;
        caller.may(Target::Tenant).await?;
        let bound_to = caller.bound_to();
        let rows = api_keys::list(caller.store(), tenant, bound_to, wanted.after, wanted.to_read()).await?;
        Ok(Answer(list.page(&wanted, rows, |key| key.id, ApiKey::from)))
    }

    /// Create an API key
    ///
    /// The answer has the key itself, in `raw_key`; it is not shown again. No policy can let a key do more than its
    /// maker: it can be given only scopes that the caller has; a key that expires makes only keys that expire no later;
    /// a key that is bound to an identity provider makes only keys that are bound to the same one.
    #[oai(path = "/v1/api-keys", method = "post", operation_id = "createApiKey")]
    async fn create(
        &self,
        caller: ApiCaller<'_>,
        body: Body<ApiKeyCreate>,
    ) -> Result<Replayable<Created<CreatedApiKey>>, Error> {
        let key = body.0.check()?;
        let caller = caller.knowing(key.identity_provider_id).await?;
        let circumstances = || new_key(&caller, &key);
        let permit = caller.may_with(Target::Tenant, circumstances).await?;
        let change = CreateApiKey::new(permit, key);
        Ok(caller.write(change, |made| Ok(CreatedApiKey::created(made))).await?)
    }

    /// Get an API key
    ///
    /// Without the key itself, which nobody can read again.
    #[oai(path = "/v1/api-keys/:id", method = "get", operation_id = "getApiKey")]
    async fn get(
        &self,
        caller: ApiCaller<'_>,
        /// The key.
        id: Path<ApiKeyId>,
    ) -> Result<Tagged<ApiKey>, Error> {
        caller.may(Target::ApiKey(id.0)).await?;
        let key = access::api_keys::find(caller.store(), caller.tenant_id(), id.0).await?;
        let key = ApiKey::from(key.ok_or_else(|| Error::no_such("api_key", id.0))?);
        let etag = of_representation(&key);
        Ok(Tagged::Done(Answer(key), etag))
    }

    /// Revoke an API key
    ///
    /// At once on the node that answers, within two seconds on the others. What is revoked stays revoked; doing it
    /// again changes nothing.
    #[oai(path = "/v1/api-keys/:id", method = "delete", operation_id = "revokeApiKey")]
    async fn revoke(
        &self,
        caller: ApiCaller<'_>,
        /// The key.
        id: Path<ApiKeyId>,
    ) -> Result<Gone, Error> {
        let permit = caller.may(Target::ApiKey(id.0)).await?;
        caller.change(RevokeApiKey::new(permit, id.0)).await?;
        Ok(Gone::Done)
    }

    /// Rotate an API key
    ///
    /// Makes a successor with the same name, scopes, provider and expiry; the key itself works on for the overlap. A
    /// key can be rotated only by a caller who could make its successor: see `createApiKey`.
    #[oai(path = "/v1/api-keys/:id/rotate", method = "post", operation_id = "rotateApiKey")]
    async fn rotate(
        &self,
        caller: ApiCaller<'_>,
        /// The key.
        id: Path<ApiKeyId>,
        body: OptionalBody<Rotation>,
    ) -> Result<Replayable<Created<CreatedApiKey>>, Error> {
        let overlap = body.0.overlap_seconds.unwrap_or(DEFAULT_OVERLAP_SECONDS);
        if overlap > MAX_OVERLAP_SECONDS {
            let reason = format!("must be from 0 to {MAX_OVERLAP_SECONDS}");
            return Err(Error::field(InputLocation::Body, "overlap_seconds", reason));
        }
        let old = access::api_keys::find(caller.store(), caller.tenant_id(), id.0).await?;
        let provider = old
            .as_ref()
            .and_then(|old| old.identity_provider_id)
            .map(IdentityProviderId);
        let caller = caller.knowing(provider).await?;
        let circumstances = || PolicyContext {
            named: named(&caller, provider),
            ..PolicyContext::of(api_keys::successor_context(old.as_ref()))
        };
        let permit = caller.may_with(Target::ApiKey(id.0), circumstances).await?;
        let change = RotateApiKey::new(permit, id.0, overlap.into());
        Ok(caller.write(change, |made| Ok(CreatedApiKey::created(made))).await?)
    }
}
