//! From the credential of a request to its caller.
//!
//! The order is that of the contract: the credential first (401), then the tenant header (400 where it is none, 403
//! where it is another tenant's), and only then anything else of the request.

use std::sync::Arc;

use poem::{Request, RequestBody};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaSecurityScheme, Registry},
};

use super::{
    App,
    document::Route,
    error::{Error, InputLocation},
    etag,
    idempotency::IdempotencyKey,
    operations::Operation,
    params::check_query,
    refusals::{no_credential, unauthenticated},
};
use crate::{
    access::{
        api_keys,
        caller::{self, Permit, PolicyContext, Refusal, Target},
        decision_log::DecisionLog,
        tenants::TenantState,
        tokens::Token,
        workers::Job,
    },
    outbound::Addresses,
    store::{Store, StoreError, revision::Expectation},
    types::{
        actions::{Action, TargetKind},
        ids::{IdentityProviderId, TenantId},
        request_id::RequestId,
    },
};

const API_KEY: &str = "X-API-Key";
/// The header that names the tenant.
pub const TENANT: &str = "X-Tenant-ID";

/// The caller of an operation, with what the headers of the request say.
pub struct ApiCaller<'a> {
    app: &'a App,
    who: caller::Caller,
    operation: &'static Operation,
    action: Action,
    request_id: &'a RequestId,
    /// The API key itself, where it is one.
    pub(super) api_key: Option<&'a str>,
    pub(super) idempotency_key: Option<IdempotencyKey<'a>>,
    pub(super) expected: Option<Expectation>,
}

impl<'a> ApiCaller<'a> {
    /// What the operation works with.
    #[must_use]
    pub const fn store(&self) -> &'a Store {
        &self.app.store
    }

    /// What policy has refused.
    #[must_use]
    pub const fn decisions(&self) -> &'a DecisionLog {
        &self.app.decisions
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

    /// From which addresses the keys of token issuers may be fetched.
    #[must_use]
    pub const fn issuer_addresses(&self) -> Addresses {
        self.app.tokens.addresses()
    }

    /// Who calls, as policy knows them.
    #[must_use]
    pub const fn who(&self) -> &caller::Caller {
        &self.who
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
        {
            self.who = self.with_tenant_of_now(self.who.clone()).await?;
        }
        Ok(self)
    }

    /// Somebody in this caller's tenant, with what is known of the tenant now.
    ///
    /// # Errors
    ///
    /// Where the tenant must be read and cannot be.
    pub async fn with_tenant_of_now(&self, mut who: caller::Caller) -> Result<caller::Caller, StoreError> {
        if let Some(tenant) = self.app.tenants.get_again(self.store(), self.tenant_id()).await? {
            who.tenant = tenant;
        }
        Ok(who)
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

    /// Asks policy about the operation. A no is taken down in the decision log.
    ///
    /// # Errors
    ///
    /// Where policy says no.
    pub async fn may(&self, target: Target) -> Result<Permit, Refusal> {
        self.may_with(target, PolicyContext::default).await
    }

    /// Asks policy about the operation, with what else the decision may look at. A no is taken down in the decision log.
    ///
    /// # Errors
    ///
    /// Where policy says no.
    pub async fn may_with(&self, target: Target, context: impl FnOnce() -> PolicyContext) -> Result<Permit, Refusal> {
        let kind = kind_of(target);
        debug_assert!(
            kind == self.operation.on || kind == TargetKind::Tenant,
            "the table of operations says {:?}",
            self.operation.on
        );
        self.may_also(self.action, target, context).await
    }

    /// Asks policy about another action that the operation comes to. A no is taken down in the decision log.
    ///
    /// # Errors
    ///
    /// Where policy says no.
    pub async fn may_also(
        &self,
        action: Action,
        target: Target,
        context: impl FnOnce() -> PolicyContext,
    ) -> Result<Permit, Refusal> {
        let outcome = self.who.may_with(self.store(), action, target, context).await;
        if let Err(Refusal::Forbidden(forbidden)) = &outcome {
            self.app.decisions.note(&self.who, self.request_id, forbidden);
        }
        outcome
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
        target: Target,
        context: impl FnOnce() -> PolicyContext,
    ) -> Result<bool, StoreError> {
        self.who.could(self.store(), action, target, context).await
    }

    async fn of(request: &'a Request) -> Result<Self, Error> {
        let app: &App = given(request)?;
        let request_id = given(request)?;
        let Route { operation, .. } = *given::<Route>(request)?;
        let action = operation.action;
        let action = action.ok_or_else(|| Error::internal(format!("{} takes no credential", operation.id)))?;
        let api_key = credential(request, API_KEY)?;
        let who = match (api_key, bearer(request)?) {
            (Some(key), None) => {
                let who = app.api_keys.authenticate(&app.store, &app.tenants, key).await?;
                log(&who);
                if tenant(request)? != who.tenant_id() {
                    return Err(Error::tenant_mismatch());
                }
                who
            }
            (None, Some(token)) => {
                let token = Token::read(token)?;
                // Only its tenant knows who issues a token, so that the header must be read before the rest of it is
                // checked.
                let tenant = tenant(request)?;
                let who = app
                    .tokens
                    .authenticate(&app.store, &app.tenants, tenant, &token)
                    .await?;
                log(&who);
                who
            }
            (Some(_), Some(_)) => {
                return Err(unauthenticated(
                    "two_credentials",
                    "The request has both X-API-Key and Authorization. Send one of them.",
                ));
            }
            (None, None) => return Err(no_credential()),
        };
        check_query(request)?;
        let expected = if operation.if_match {
            etag::expected(request, &app.tags)?
        } else {
            None
        };
        Ok(Self {
            app,
            who,
            operation,
            action,
            request_id,
            api_key,
            idempotency_key: IdempotencyKey::of(request)?,
            expected,
        })
    }
}

const fn kind_of(target: Target) -> TargetKind {
    match target {
        Target::Tenant => TargetKind::Tenant,
        Target::User(_) => TargetKind::User,
        Target::IdentityProvider(_) => TargetKind::IdentityProvider,
        Target::ApiKey(_) => TargetKind::ApiKey,
        Target::Policy(_) => TargetKind::Policy,
    }
}

/// What surrounds the request has given it.
fn given<T: Send + Sync + 'static>(request: &Request) -> Result<&T, Error> {
    let missing = || Error::internal(format!("the request has no {}", std::any::type_name::<T>()));
    request.data().ok_or_else(missing)
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
    header(request, name).map_err(|reason| {
        unauthenticated(
            "malformed_credential",
            format!("The header {name} {reason}. Send one credential, and only once."),
        )
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
            if token.starts_with(api_keys::PREFIX) {
                return Err(unauthenticated(
                    "invalid_token",
                    "The bearer token looks like an API key. Send API keys in the header X-API-Key.",
                ));
            }
            Ok(Some(token))
        }
        _ => Err(unauthenticated(
            "unknown_scheme",
            "The header Authorization must be `Bearer` followed by a token.",
        )),
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
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];

    type ParamType = ();
    type ParamRawType = ();

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

    async fn from_request(request: &'a Request, _: &mut RequestBody, _: ExtractParamOptions<()>) -> poem::Result<Self> {
        Ok(Self::of(request).await?)
    }
}
