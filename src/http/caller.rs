//! From the credential of a request to its caller.
//!
//! The order is that of the contract: the credential first (401), then the tenant header (400 where it is none, 403
//! where it is another tenant's), and only then anything else of the request.

use crate::access;
use std::sync::Arc;

use poem::{IntoResponse, Request, RequestBody};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaParamIn, MetaSchemaRef, MetaSecurityScheme, Registry},
    types::Type as _,
};
use uuid::Uuid;

use super::{
    App,
    error::{Error, InputLocation},
    idempotency::{IdempotencyKey, Replayable, WriteError, write_down},
    kept_answers::{self, KeyedRefusal},
    params::check_query,
};
use crate::{
    access::{
        accounts::{Found, Lookup},
        caller::{self, Permit, PolicyContext, Refusal, Target},
        tenants::TenantState,
        tokens::{Token, jwks_client::Addresses},
        workers::Job,
    },
    resources::{
        identities::rows::OfUser,
        policies::{
            PolicyRefusal,
            lockout::{self, Checked, Guarded, PolicyChange},
        },
        users::{UserRefusal, erasure},
    },
    store::{Change, Store, StoreError, revision::Expected},
    types::{
        actions::Action,
        ids::{IdentityProviderId, TenantId, UserId},
        request_id::RequestId,
        text::ExternalId,
    },
};

const API_KEY: &str = "X-API-Key";
const TENANT: &str = "X-Tenant-ID";
/// How often a change of policies is tried that others overtake. Each time another change of the tenant's policies was
/// made.
const ATTEMPTS: usize = 10;

/// The caller of an operation, and its parameter `X-Tenant-ID`.
pub struct ApiCaller<'a> {
    app: &'a App,
    who: caller::Caller,
    /// The API key itself, where it is one.
    api_key: Option<&'a str>,
    request_id: &'a RequestId,
    idempotency_key: Option<IdempotencyKey<'a>>,
}

impl<'a> ApiCaller<'a> {
    /// What the operation works with.
    #[must_use]
    pub const fn store(&self) -> &'a Store {
        &self.app.store
    }

    /// The tenant.
    #[must_use]
    pub fn tenant_id(&self) -> TenantId {
        self.who.tenant_id()
    }

    /// The provider that the caller is bound to, where it is an API key that is bound to one.
    #[must_use]
    pub fn bound_to(&self) -> Option<IdentityProviderId> {
        self.who.principal.bound_to()
    }

    /// Which accounts has a user? A page of them, after a position. A caller that is bound to a provider sees those there.
    ///
    /// # Errors
    ///
    /// [`StoreError`]
    pub async fn identities_of(&self, user: UserId, after: Option<Uuid>, limit: u64) -> Result<Vec<Found>, StoreError> {
        let tenant = self.tenant_id();
        if let Some(provider) = self.bound_to() {
            return crate::resources::identities::rows::list_at(self.store(), tenant, user, provider, after, limit)
                .await;
        }
        self.store()
            .ask(OfUser {
                tenant,
                user,
                after,
                limit,
            })
            .await
    }

    /// Whose is an account?
    ///
    /// # Errors
    ///
    /// [`StoreError`]
    pub async fn lookup(
        &self,
        identity_provider_id: IdentityProviderId,
        external_id: ExternalId,
    ) -> Result<Option<Found>, StoreError> {
        let tenant = self.tenant_id();
        self.store()
            .ask(Lookup {
                tenant,
                identity_provider_id,
                external_id,
            })
            .await
    }

    /// From which addresses the keys of token issuers may be fetched.
    #[must_use]
    pub const fn issuer_addresses(&self) -> Addresses {
        self.app.tokens.addresses()
    }

    /// What is known of the tenant.
    #[must_use]
    pub fn tenant(&self) -> &Arc<TenantState> {
        &self.who.tenant
    }

    /// This caller with a tenant that knows providers. Those that another node has just made may not be in memory yet.
    ///
    /// # Errors
    ///
    /// Where the tenant must be read and cannot be.
    pub async fn knowing(
        mut self,
        providers: impl IntoIterator<Item = IdentityProviderId>,
    ) -> Result<Self, StoreError> {
        let known = &self.who.tenant;
        if providers
            .into_iter()
            .any(|provider| known.identity_provider(provider).is_none())
            && let Some(tenant) = self.app.tenants.get_again(self.store(), self.tenant_id()).await?
        {
            self.who.tenant = tenant;
        }
        Ok(self)
    }

    /// Carries out a change, and makes the answer of what it did. With an `Idempotency-Key` it is made once, and answered
    /// again with what was answered then.
    ///
    /// # Errors
    ///
    /// The change's own refusals; and where the key was sent with another request.
    pub async fn write<C: Change, A: IntoResponse + 'static>(
        &self,
        change: C,
        answer: impl Fn(C::Done) -> Result<A, Error> + Send + Sync + 'static,
    ) -> Result<Replayable<A>, WriteError<C::Refusal>> {
        let Some(key) = &self.idempotency_key else {
            let done = self.store().write(change).await.map_err(WriteError::Refused)?;
            return answer(done).map(Replayable::Now).map_err(WriteError::Failed);
        };
        let principal = &self.who.principal;
        let actor = (principal.tenant, principal.actor_id.as_str());
        let request = kept_answers::Request::new(actor, key.key, self.api_key, key.fingerprint());
        let once = kept_answers::KeyedChange {
            change,
            request: request.map_err(|error| WriteError::Failed(error.into()))?,
            answer: move |done| answer(done).and_then(write_down),
        };
        let kept = |bytes: &[u8], replayed| Replayable::kept(bytes, replayed).map_err(WriteError::Failed);
        match self.store().write(once).await {
            Ok(bytes) => kept(&bytes, false),
            Err(KeyedRefusal::Before(bytes)) => kept(&bytes, true),
            Err(KeyedRefusal::AnotherRequest) => Err(WriteError::Failed(Error::IdempotencyKeyReused)),
            Err(KeyedRefusal::Refused(refusal)) => Err(WriteError::Refused(refusal)),
            Err(KeyedRefusal::Unanswerable(error)) => Err(WriteError::Failed(error)),
        }
    }

    /// Whether the answer of a change is kept with it, because the request has an `Idempotency-Key`.
    #[must_use]
    pub const fn keeps_answer(&self) -> bool {
        self.idempotency_key.is_some()
    }

    /// The same where making the answer is expensive: it is a part of a job, unless it must be kept with the change.
    ///
    /// # Errors
    ///
    /// Those of [`Self::write`].
    pub async fn write_large<C: Change, A: IntoResponse + Send + 'static>(
        &self,
        job: &Job,
        change: C,
        answer: impl Fn(C::Done) -> Result<A, Error> + Send + Sync + 'static,
    ) -> Result<Replayable<A>, WriteError<C::Refusal>> {
        if self.idempotency_key.is_some() {
            return self.write(change, answer).await;
        }
        let done = self.store().write(change).await.map_err(WriteError::Refused)?;
        let answer = job.run(move || answer(done)).await;
        let answer = answer.map_err(Error::from).and_then(|answer| answer);
        answer.map(Replayable::Now).map_err(WriteError::Failed)
    }

    /// Makes an answer of so many rules: of a few at once, of many in the pool for expensive work.
    ///
    /// # Errors
    ///
    /// Those of the pool.
    pub async fn show<T: Send + 'static>(
        &self,
        rules: usize,
        answer: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        /// A rule takes some microseconds.
        const FEW: usize = 50;
        if rules <= FEW {
            return Ok(answer());
        }
        self.job()?.run(answer).await
    }

    /// Admits a job in the pool for expensive work. To be asked for when policy has permitted the work.
    ///
    /// # Errors
    ///
    /// Where the tenant has too many already.
    pub fn job(&self) -> Result<Job, StoreError> {
        self.tenant().pool.admit(self.tenant_id())
    }

    /// Erases a user. Refusals that wait to be written are written first, so that none that names them is missed.
    ///
    /// # Errors
    ///
    /// Why they are not erased.
    pub async fn erase(&self, permit: Permit, user: UserId, expected: Expected) -> Result<(), UserRefusal> {
        self.app.decisions.write(self.store()).await;
        erasure::erase(self.store(), permit, user, expected).await
    }

    /// Carries out a change of policies as [`Self::write`] does, unless it would lock everybody out and is not forced.
    ///
    /// # Errors
    ///
    /// The change's own refusals, and [`PolicyRefusal::LocksOut`].
    pub async fn change_policies_once<C: PolicyChange, A: IntoResponse + 'static>(
        &self,
        change: C,
        force: bool,
        answer: impl Fn(C::Done) -> Result<A, Error> + Clone + Send + Sync + 'static,
    ) -> Result<Replayable<A>, WriteError<PolicyRefusal>> {
        let mut who = self.who.clone();
        for _ in 0..ATTEMPTS {
            let guarded = self.guarded(&who, &change, force).await;
            let guarded = guarded.map_err(|error| WriteError::Refused(error.into()))?;
            match self.write(guarded, answer.clone()).await {
                Err(WriteError::Refused(PolicyRefusal::Overtaken)) => {}
                outcome => return outcome,
            }
            let again = self.with_policies_of_now(who).await;
            who = again.map_err(|error| WriteError::Refused(error.into()))?;
        }
        Err(WriteError::Refused(PolicyRefusal::Overtaken))
    }

    /// Carries out a change of policies whose answer is not kept, unless it would lock everybody out and is not forced.
    ///
    /// # Errors
    ///
    /// The change's own refusals, and [`PolicyRefusal::LocksOut`].
    pub async fn change_policies<C: PolicyChange>(&self, change: C, force: bool) -> Result<C::Done, PolicyRefusal> {
        let mut who = self.who.clone();
        for _ in 0..ATTEMPTS {
            let guarded = self.guarded(&who, &change, force).await?;
            match self.store().write(guarded).await {
                Err(PolicyRefusal::Overtaken) => who = self.with_policies_of_now(who).await?,
                outcome => return outcome,
            }
        }
        Err(PolicyRefusal::Overtaken)
    }

    async fn guarded<C: PolicyChange>(
        &self,
        who: &caller::Caller,
        change: &C,
        force: bool,
    ) -> Result<Guarded<C>, StoreError> {
        let checked = if force {
            Checked::forced()
        } else {
            lockout::check(self.store(), who, change).await?
        };
        Ok(Guarded {
            change: change.clone(),
            checked,
        })
    }

    async fn with_policies_of_now(&self, mut who: caller::Caller) -> Result<caller::Caller, StoreError> {
        if let Some(tenant) = self.app.tenants.get_again(self.store(), self.tenant_id()).await? {
            who.tenant = tenant;
        }
        Ok(who)
    }

    /// Asks policy. A no is taken down in the decision log.
    ///
    /// # Errors
    ///
    /// Where policy says no.
    pub async fn may(&self, action: Action, on: Target) -> Result<Permit, Refusal> {
        self.may_with(action, on, PolicyContext::default).await
    }

    /// Asks policy, in circumstances. A no is taken down in the decision log.
    ///
    /// # Errors
    ///
    /// Where policy says no.
    pub async fn may_with(
        &self,
        action: Action,
        on: Target,
        circumstances: impl FnOnce() -> PolicyContext,
    ) -> Result<Permit, Refusal> {
        let outcome = self.who.may_with(self.store(), action, on, circumstances).await;
        if let Err(Refusal::Forbidden(forbidden)) = &outcome {
            self.app.decisions.note(&self.who, self.request_id, forbidden);
        }
        outcome
    }

    /// Who calls, as policy knows them.
    #[must_use]
    pub const fn who(&self) -> &caller::Caller {
        &self.who
    }

    /// Whether policy would let the caller do something beside what was asked for. Nobody is refused anything by this, so
    /// that it is not in the decision log.
    ///
    /// # Errors
    ///
    /// Where the store cannot be asked.
    pub async fn could(
        &self,
        action: Action,
        on: Target,
        circumstances: impl FnOnce() -> PolicyContext,
    ) -> Result<bool, StoreError> {
        self.who.could(self.store(), action, on, circumstances).await
    }

    async fn of(request: &'a Request) -> Result<Self, Error> {
        let app: &App = given(request)?;
        let request_id = given(request)?;
        let key = credential(request, API_KEY)?;
        let bearer = bearer(request)?;
        let (key, token) = match (key, bearer) {
            (Some(key), None) => (Some(key), None),
            (None, Some(token)) => (None, Some(token)),
            (Some(_), Some(_)) => {
                return Err(Error::Unauthenticated {
                    reason: "two_credentials",
                    message: "The request has both X-API-Key and Authorization. Send one of them.".into(),
                });
            }
            (None, None) => return Err(Error::no_credential()),
        };
        if let Some(key) = key {
            let caller = app.api_keys.authenticate(&app.store, &app.tenants, key).await?;
            log(&caller);
            if tenant(request)? != caller.tenant_id() {
                return Err(Error::TenantMismatch);
            }
            check_query(request)?;
            return Ok(Self {
                app,
                who: caller,
                api_key: Some(key),
                request_id,
                idempotency_key: IdempotencyKey::of(request)?,
            });
        }
        let token = Token::read(token.unwrap_or_default())?;
        // Only its tenant knows who issues a token, so that the header must be read before the rest of it is checked.
        let tenant = tenant(request)?;
        let caller = app
            .tokens
            .authenticate(&app.store, &app.tenants, tenant, &token)
            .await?;
        log(&caller);
        check_query(request)?;
        Ok(Self {
            app,
            who: caller,
            api_key: None,
            request_id,
            idempotency_key: IdempotencyKey::of(request)?,
        })
    }
}

/// What surrounds the request has given it.
fn given<T: Send + Sync + 'static>(request: &Request) -> Result<&T, Error> {
    request.data().ok_or_else(|| Error::Internal {
        reason: format!("the request has no {}", std::any::type_name::<T>()),
    })
}

/// Says in the request's log line who sent it.
fn log(caller: &caller::Caller) {
    let span = tracing::Span::current();
    span.record("tenant", tracing::field::display(caller.tenant_id()));
    span.record("actor", caller.principal.in_logs());
}

/// A header that must be there at most once: its value, or what is wrong with it.
fn header<'a>(request: &'a Request, name: &str) -> Result<Option<&'a str>, &'static str> {
    let mut values = request.headers().get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err("appears more than once");
    }
    match value.to_str() {
        Ok(text) => Ok(Some(text.trim())),
        Err(_) => Err("has characters other than visible ASCII characters"),
    }
}

/// A header with a credential. Whatever is wrong with it, there is no credential then.
fn credential<'a>(request: &'a Request, name: &str) -> Result<Option<&'a str>, Error> {
    header(request, name).map_err(|reason| Error::Unauthenticated {
        reason: "malformed_credential",
        message: format!("The header {name} {reason}. Send one credential, and only once."),
    })
}

/// The token of `Authorization: Bearer` (RFC 6750 §2.1). The scheme's case does not matter (RFC 9110 §11.1).
fn bearer(request: &Request) -> Result<Option<&str>, Error> {
    let Some(value) = credential(request, "Authorization")? else {
        return Ok(None);
    };
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("Bearer") => {
            let token = token.trim();
            if token.starts_with(access::api_keys::PREFIX) {
                return Err(Error::Unauthenticated {
                    reason: "invalid_token",
                    message: "The bearer token looks like an API key. Send API keys in the header X-API-Key.".into(),
                });
            }
            Ok(Some(token))
        }
        _ => Err(Error::Unauthenticated {
            reason: "unknown_scheme",
            message: "The header Authorization must be `Bearer` followed by a token.".into(),
        }),
    }
}

fn tenant(request: &Request) -> Result<TenantId, Error> {
    let value = header(request, TENANT).map_err(|reason| Error::field(InputLocation::Header, TENANT, reason))?;
    let value =
        value.ok_or_else(|| Error::field(InputLocation::Header, TENANT, "is missing; send the id of the tenant"))?;
    value
        .parse()
        .map_err(|reason: String| Error::field(InputLocation::Header, TENANT, reason))
}

impl<'a> ApiExtractor<'a> for ApiCaller<'a> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme, ApiExtractorType::Parameter];
    const PARAM_IS_REQUIRED: bool = true;

    type ParamType = TenantId;
    type ParamRawType = TenantId;

    fn register(registry: &mut Registry) {
        const NONE: MetaSecurityScheme = MetaSecurityScheme {
            ty: "",
            description: None,
            name: None,
            key_in: None,
            scheme: None,
            bearer_format: None,
            flows: None,
            openid_connect_url: None,
        };
        registry.create_security_scheme(
            "apiKey",
            MetaSecurityScheme {
                ty: "apiKey",
                description: Some("An API key of the tenant, as the answer that created it showed it: `aka_...`."),
                name: Some(API_KEY),
                key_in: Some("header"),
                ..NONE
            },
        );
        registry.create_security_scheme("bearerToken", MetaSecurityScheme {
            ty: "http",
            description: Some(
                "A JWT of an issuer that the tenant has configured: an identity provider whose `config` has `issuer` and \
                 `audience`. Its public keys are found by OpenID Connect Discovery, or where `jwks_uri` or `jwks` says. A \
                 token may do what its `scope` claim says, as far as the `scopes` and `role_scopes` of the issuer's \
                 `config` grant it, and what policies permit.",
            ),
            scheme: Some("bearer"),
            bearer_format: Some("JWT"),
            ..NONE
        });
    }

    fn security_schemes() -> Vec<&'static str> {
        vec!["apiKey", "bearerToken"]
    }

    fn param_in() -> Option<MetaParamIn> {
        Some(MetaParamIn::Header)
    }

    fn param_schema_ref() -> Option<MetaSchemaRef> {
        Some(TenantId::schema_ref())
    }

    async fn from_request(
        request: &'a Request,
        _: &mut RequestBody,
        _: ExtractParamOptions<TenantId>,
    ) -> poem::Result<Self> {
        Ok(Self::of(request).await?)
    }
}
