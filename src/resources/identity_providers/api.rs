//! Identity providers: where accounts live.

use aka_entity::identity_provider::{self, ProviderType, SyncStatus};
use cedar_policy::RestrictedExpression;
use poem_openapi::{Enum, Object, OpenApi};
use sea_orm::{ActiveEnum as _, Iterable as _};
use serde::{Deserialize, Deserializer, Serialize, de};

use super::deletion::DeleteIdentityProvider;
use super::{
    CreateIdentityProvider, IdentityProviderRefusal, UpdateIdentityProvider, errors::identity_provider_already_exists,
};
use crate::{
    access::{
        caller::{PolicyContext, Refusal, Target},
        provider_config::{Config, Parts},
    },
    http::{
        Tag,
        answers::{CreatedTagged, Gone, Tagged},
        any_object::AnyObject,
        body::{Answer, Body},
        caller::ApiCaller,
        door::WriteError,
        error::{Error, InputLocation},
        etag::etag,
        idempotency::Replayable,
        page::{List, Page},
        params::{Cursor, Limit, OptionalQueryParam, Path},
    },
    policy::entities,
    resources::identity_providers,
    store::root_key::RootKey,
    types::{actions::Action, clock::Timestamp, ids::IdentityProviderId, scopes::Scope, text::Name},
};

/// The type of an identity provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Serialize)]
#[oai(rename = "ProviderType", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum ProviderTypeName {
    /// AWS IAM Identity Center.
    AwsIdentityCenter,
    /// Okta.
    Okta,
    /// Microsoft Entra ID, formerly Azure AD.
    AzureAd,
    /// Google Workspace.
    GoogleWorkspace,
    /// Slack.
    Slack,
    /// GitHub.
    Github,
    /// PagerDuty.
    Pagerduty,
    /// Any directory that speaks SCIM.
    CustomScim,
    /// Any OpenID Connect provider.
    Oidc,
}

impl From<ProviderType> for ProviderTypeName {
    fn from(provider_type: ProviderType) -> Self {
        match provider_type {
            ProviderType::AwsIdentityCenter => Self::AwsIdentityCenter,
            ProviderType::Okta => Self::Okta,
            ProviderType::AzureAd => Self::AzureAd,
            ProviderType::GoogleWorkspace => Self::GoogleWorkspace,
            ProviderType::Slack => Self::Slack,
            ProviderType::Github => Self::Github,
            ProviderType::Pagerduty => Self::Pagerduty,
            ProviderType::CustomScim => Self::CustomScim,
            ProviderType::Oidc => Self::Oidc,
        }
    }
}

impl From<ProviderTypeName> for ProviderType {
    fn from(name: ProviderTypeName) -> Self {
        match name {
            ProviderTypeName::AwsIdentityCenter => Self::AwsIdentityCenter,
            ProviderTypeName::Okta => Self::Okta,
            ProviderTypeName::AzureAd => Self::AzureAd,
            ProviderTypeName::GoogleWorkspace => Self::GoogleWorkspace,
            ProviderTypeName::Slack => Self::Slack,
            ProviderTypeName::Github => Self::Github,
            ProviderTypeName::Pagerduty => Self::Pagerduty,
            ProviderTypeName::CustomScim => Self::CustomScim,
            ProviderTypeName::Oidc => Self::Oidc,
        }
    }
}

impl<'de> Deserialize<'de> for ProviderTypeName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let provider_type = ProviderType::try_from_value(&text).map_err(|_| {
            let known: Vec<String> = ProviderType::iter()
                .map(|provider_type| provider_type.to_value())
                .collect();
            let reason = format!(
                "\"{}\" is not a provider type; the types are {}",
                text.escape_debug(),
                known.join(", ")
            );
            de::Error::custom(reason)
        })?;
        Ok(provider_type.into())
    }
}

/// The state of the synchronisation with a provider.
#[derive(Debug, Clone, Copy, Enum, Serialize)]
#[oai(rename = "SyncStatus", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum SyncStatusName {
    /// There has been none.
    Pending,
    /// It is under way.
    Syncing,
    /// It went well.
    Synced,
    /// It failed: `sync_error` says why.
    Failed,
}

impl From<SyncStatus> for SyncStatusName {
    fn from(status: SyncStatus) -> Self {
        match status {
            SyncStatus::Pending => Self::Pending,
            SyncStatus::Syncing => Self::Syncing,
            SyncStatus::Synced => Self::Synced,
            SyncStatus::Failed => Self::Failed,
        }
    }
}

/// A place where accounts live: a directory, a chat system, a code host.
#[derive(Debug, Object, Serialize)]
pub struct IdentityProvider {
    /// The id of the provider.
    pub id: IdentityProviderId,
    /// The name of the provider. No two providers of a tenant have the same name, ignoring case.
    pub name: String,
    /// The type of the provider.
    pub provider_type: ProviderTypeName,
    /// The settings that may be shown: for each type of provider a list of fields, such as `organization` or `client_id`,
    /// if their values cannot be secrets. Every other field is a secret: it is sealed, and never comes back.
    pub config: AnyObject,
    /// The names of the secrets that are set, in alphabetical order. Names that could be secrets themselves are left out.
    pub config_secrets: Vec<String>,
    /// Whether accounts at it can be linked, and its tokens are accepted.
    pub enabled: bool,
    /// When it was last synchronised.
    #[oai(nullable)]
    pub last_synced_at: Option<Timestamp>,
    /// The result of the last synchronisation.
    pub sync_status: SyncStatusName,
    /// Why it failed.
    #[oai(nullable)]
    pub sync_error: Option<String>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl IdentityProvider {
    /// A provider with its state.
    fn tagged(provider: identity_provider::Model, root_key: &RootKey) -> Result<Tagged<Self>, Error> {
        let etag = etag(&identity_providers::revision(&provider));
        Ok(Tagged::Done(Answer(Self::of(provider, root_key)?), etag))
    }

    /// A provider as it is shown. Its secrets are opened to tell their names.
    fn of(provider: identity_provider::Model, root_key: &RootKey) -> Result<Self, Error> {
        let parts = Parts::open(&provider, root_key)?;
        let config_secrets = parts.names_of_secrets();
        Ok(Self {
            id: IdentityProviderId(provider.id),
            name: provider.name,
            provider_type: provider.provider_type.into(),
            config: AnyObject(parts.into_shown()),
            config_secrets,
            enabled: provider.enabled,
            last_synced_at: provider.last_synced_at.map(Timestamp),
            sync_status: provider.sync_status.into(),
            sync_error: provider.sync_error,
            created_at: Timestamp(provider.created_at),
            updated_at: Timestamp(provider.updated_at),
        })
    }
}

/// A new identity provider.
#[derive(Debug, Object, Deserialize)]
#[oai(deny_unknown_fields)]
#[serde(deny_unknown_fields)]
pub struct IdentityProviderCreate {
    /// The name of the provider: unique in the tenant, ignoring case.
    pub name: Name,
    /// The type of the provider. It does not change later.
    pub provider_type: ProviderTypeName,
    /// How it is reached: any JSON object of at most 32 KiB. Fields that may not be shown are
    /// stored as secrets. With `issuer` and `audience`, its tokens are accepted as bearer
    /// tokens:
    ///
    /// * `issuer`: the `iss` claim of its tokens. No two providers of a tenant have the same.
    /// * `audience`: the `aud` claim of tokens that are for this server, a string or an array of strings.
    /// * `jwks_uri`: the address of its JWK set; or `jwks`: the set itself, with public keys only. Without either, the keys
    ///   are found by OpenID Connect Discovery: `issuer` is then an address, and what is published at
    ///   `<issuer>/.well-known/openid-configuration` names exactly this issuer. RSA keys have 2,048 to 4,096 bits.
    /// * `scopes`: the scopes that its tokens may have at most. By default, the scopes of the caller without those that give
    ///   further rights (`api-keys:write`, `policies:write`, `identity-providers:write`, `token-issuers:write`,
    ///   `tenants:read` and `tenants:write`), which have to be named.
    /// * `role_scopes`: an object of a list of scopes for each role. Where it is given, a token has only the scopes that the
    ///   roles of the user give it to whom its subject is linked, and none if it is linked to nobody.
    #[oai(nullable)]
    pub config: Option<AnyObject>,
    /// Whether accounts at it can be linked. Default: yes.
    #[oai(nullable)]
    pub enabled: Option<bool>,
}

/// The fields of an identity provider to change; absent fields stay as they are.
#[derive(Debug, Object, Deserialize)]
#[oai(deny_unknown_fields)]
#[serde(deny_unknown_fields)]
pub struct IdentityProviderUpdate {
    /// Its name.
    #[oai(nullable)]
    pub name: Option<Name>,
    /// The new configuration. Of the secrets, those that it does not mention stay, and `null` removes one (RFC 7396, JSON
    /// Merge Patch); of the settings that are shown, those that it does not mention are removed.
    #[oai(nullable)]
    pub config: Option<AnyObject>,
    /// Whether accounts at it can be linked.
    #[oai(nullable)]
    pub enabled: Option<bool>,
}

fn config(caller: &ApiCaller<'_>, details: AnyObject) -> Result<Config, Error> {
    let config = Config::new(details.0, caller.issuer_addresses());
    config.map_err(|(field, reason)| Error::field(InputLocation::Body, field, reason))
}

/// Asks whether the caller may let the tokens of an issuer have these scopes at most.
async fn may_grant(caller: &ApiCaller<'_>, on: Target, scopes: &[Scope]) -> Result<(), Refusal> {
    let context = || {
        let scopes = entities::texts(scopes.iter().map(|scope| scope.as_str()));
        PolicyContext::of([("scopes", scopes)])
    };
    let asked = caller.may_also(Action::ConfigureTokenIssuer, on, context);
    asked.await.map(|_| ())
}

/// That another provider has a name, and which: it is named to callers who may read it.
async fn already_exists(caller: &ApiCaller<'_>, name: &Name) -> Error {
    let provider = identity_providers::rows::find_by_name(caller.store(), caller.tenant_id(), name).await;
    let id = match provider {
        Ok(Some(provider)) => {
            let id = IdentityProviderId(provider.id);
            let (read, on) = (Action::GetIdentityProvider, Target::IdentityProvider(id));
            let may_read = caller.could(read, on, PolicyContext::default).await;
            may_read.unwrap_or(false).then_some(id)
        }
        // The provider has gone since, or the database has: the refusal stands without an id.
        Ok(None) | Err(_) => None,
    };
    identity_provider_already_exists("name", id)
}

/// The operations on identity providers.
pub struct IdentityProvidersApi;

#[OpenApi(tag = "Tag::IdentityProviders")]
impl IdentityProvidersApi {
    /// List identity providers
    ///
    /// The oldest first. A key that is bound to an identity provider sees only this one.
    #[oai(
        path = "/v1/identity-providers",
        method = "get",
        operation_id = "listIdentityProviders"
    )]
    async fn list(
        &self,
        caller: ApiCaller<'_>,
        /// Only those that are enabled (`true`) or disabled (`false`).
        enabled: OptionalQueryParam<bool>,
        /// How many rows to answer with at most.
        limit: OptionalQueryParam<Limit>,
        /// Where the page begins: the `next_cursor` of the page before. Omit it for the first page.
        cursor: OptionalQueryParam<Cursor>,
    ) -> Result<Answer<Page<IdentityProvider>>, Error> {
        let (tenant, enabled) = (caller.tenant_id(), enabled.0);
        let list = List::new(
            "identity-providers",
            tenant,
            enabled.map_or("", |yes| if yes { "enabled" } else { "disabled" }),
        );
        let wanted = list.wanted(limit, cursor)?;
        caller.may(Target::Tenant).await?;
        let (bound_to, after, limit) = (caller.bound_to(), wanted.after, wanted.to_read());
        let rows = identity_providers::rows::list(caller.store(), tenant, bound_to, enabled, after, limit).await?;
        let root_key = caller.store().root_key();
        let shown = rows
            .into_iter()
            .map(|provider| IdentityProvider::of(provider, root_key));
        let shown: Vec<IdentityProvider> = shown.collect::<Result<_, _>>()?;
        Ok(Answer(list.page(
            &wanted,
            shown,
            |provider| provider.id.0,
            |provider| provider,
        )))
    }

    /// Create an identity provider
    ///
    /// For a provider that is to be an issuer of bearer tokens (`issuer` in its `config`), the caller also needs
    /// `token-issuers:write`, and every scope that the issuer's tokens may have: no policy replaces this.
    #[oai(
        path = "/v1/identity-providers",
        method = "post",
        operation_id = "createIdentityProvider"
    )]
    async fn create(
        &self,
        caller: ApiCaller<'_>,
        body: Body<IdentityProviderCreate>,
    ) -> Result<Replayable<CreatedTagged<IdentityProvider>>, Error> {
        let Body(new) = body;
        let config = config(&caller, new.config.unwrap_or_default())?;
        let provider_type = ProviderType::from(new.provider_type);
        let context = || {
            PolicyContext::of([
                ("name", RestrictedExpression::new_string(new.name.to_string())),
                (
                    "provider_type",
                    RestrictedExpression::new_string(provider_type.to_value()),
                ),
            ])
        };
        let permit = caller.may_with(Target::Tenant, context).await?;
        let id = IdentityProviderId::new();
        let enabled = new.enabled.unwrap_or(true);
        let change = CreateIdentityProvider {
            permit,
            id,
            name: new.name.clone(),
            provider_type,
            config,
            enabled,
        };
        if let Some(scopes) = change.grants_to_permit() {
            may_grant(&caller, Target::Tenant, &scopes).await?;
        }
        let root_key = caller.store().root_key().clone();
        let answer = move |provider: identity_provider::Model| {
            let etag = etag(&identity_providers::revision(&provider));
            Ok(CreatedTagged::Created(
                Answer(IdentityProvider::of(provider, &root_key)?),
                format!("/v1/identity-providers/{id}"),
                etag,
            ))
        };
        match caller.write(change, answer).await {
            Err(WriteError::Refused(IdentityProviderRefusal::NameTaken)) => {
                Err(already_exists(&caller, &new.name).await)
            }
            outcome => Ok(outcome?),
        }
    }

    /// Get an identity provider
    #[oai(
        path = "/v1/identity-providers/:id",
        method = "get",
        operation_id = "getIdentityProvider"
    )]
    async fn get(
        &self,
        caller: ApiCaller<'_>,
        /// The provider.
        id: Path<IdentityProviderId>,
    ) -> Result<Tagged<IdentityProvider>, Error> {
        caller.may(Target::IdentityProvider(id.0)).await?;
        let provider = identity_providers::rows::find(caller.store(), caller.tenant_id(), id.0).await?;
        let provider = provider.ok_or_else(|| Error::no_such("identity_provider", id.0))?;
        IdentityProvider::tagged(provider, caller.store().root_key())
    }

    /// Change an identity provider
    ///
    /// Absent fields stay as they are; the type does not change. To change anything of a provider as an issuer of bearer tokens,
    /// or to enable an issuer, also needs `token-issuers:write`, and the caller must have every scope that the issuer's
    /// tokens may have: no policy replaces this. The `scopes` and `role_scopes` in the `config` of an issuer stay as
    /// they are where they are left out; `null` sets `scopes` to the default, and removes `role_scopes`.
    #[oai(
        path = "/v1/identity-providers/:id",
        method = "put",
        operation_id = "updateIdentityProvider"
    )]
    async fn update(
        &self,
        caller: ApiCaller<'_>,
        /// The provider.
        id: Path<IdentityProviderId>,
        body: Body<IdentityProviderUpdate>,
    ) -> Result<Tagged<IdentityProvider>, Error> {
        let Body(IdentityProviderUpdate {
            name,
            config: new_config,
            enabled,
        }) = body;
        let config = new_config.map(|new| config(&caller, new)).transpose()?;
        let permit = caller.may(Target::IdentityProvider(id.0)).await?;
        let mut change = UpdateIdentityProvider {
            permit,
            id: id.0,
            name: name.clone(),
            config,
            enabled,
            permitted_grants: None,
        };
        let root_key = caller.store().root_key();
        let provider = identity_providers::rows::find(caller.store(), caller.tenant_id(), id.0).await?;
        if let Some(provider) = provider
            && let Some(scopes) = change.grants_to_permit(&provider, root_key)?
        {
            may_grant(&caller, Target::IdentityProvider(id.0), &scopes).await?;
            change.permitted_grants = Some(scopes);
        }
        match (caller.change(change).await, name) {
            (Err(IdentityProviderRefusal::NameTaken), Some(name)) => Err(already_exists(&caller, &name).await),
            (outcome, _) => Ok(IdentityProvider::tagged(outcome?, root_key)?),
        }
    }

    /// Delete an identity provider
    ///
    /// It is deleted with its API keys and with the accounts at it that are not linked to a user. It is gone at once:
    /// it is not found any more, and its name can be used again. Its accounts are removed in the background, which
    /// takes a while if there are many. While accounts at it are linked, the answer is `409`
    /// `identity_provider_in_use`.
    #[oai(
        path = "/v1/identity-providers/:id",
        method = "delete",
        operation_id = "deleteIdentityProvider"
    )]
    async fn delete(
        &self,
        caller: ApiCaller<'_>,
        /// The provider.
        id: Path<IdentityProviderId>,
    ) -> Result<Gone, Error> {
        let permit = caller.may(Target::IdentityProvider(id.0)).await?;
        let change = DeleteIdentityProvider { permit, id: id.0 };
        caller.change(change).await?;
        Ok(Gone::Done)
    }
}
