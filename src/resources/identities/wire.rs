//! What identities look like on the wire, and what decisions on them may look at.

use std::sync::Arc;

use aka_entity::identity::{self, LinkedBy};
use cedar_policy::RestrictedExpression;
use poem_openapi::{Enum, Object, types::MaybeUndefined};
use serde::{Deserialize, Serialize};

use super::{Account, revision, update::Profile};
use crate::{
    access::{
        accounts::Found,
        caller::{PolicyContext, Target},
        tenants::TenantState,
    },
    http::{answers::Tagged, body::Answer, error::Error, etag::etag},
    resources::identity_providers::api::ProviderTypeName,
    types::{
        clock::Timestamp,
        ids::{IdentityId, IdentityProviderId, UserId},
        text::{Email, ExternalId, ExternalName},
    },
};

/// The account to link. The server records who linked it and how.
#[derive(Debug, Object, Deserialize)]
#[oai(deny_unknown_fields)]
#[serde(deny_unknown_fields)]
pub struct UserIdentityCreate {
    /// The account's identity provider.
    pub identity_provider_id: IdentityProviderId,
    /// The account's id at the provider: the one that never changes, not a name or an address. Taken as it is, case
    /// included.
    pub external_id: ExternalId,
    /// The account's name at the provider.
    #[oai(nullable)]
    pub external_username: Option<ExternalName>,
    /// The account's email address at the provider.
    #[oai(nullable)]
    pub external_email: Option<Email>,
    /// The account's display name at the provider.
    #[oai(nullable)]
    pub external_display_name: Option<ExternalName>,
}

/// What is known of an account at its provider; absent fields stay as they are, `null` removes one.
#[derive(Debug, Object, Deserialize)]
#[oai(deny_unknown_fields)]
#[serde(deny_unknown_fields)]
pub struct IdentityUpdate {
    /// The account's name at the provider.
    #[serde(default)]
    pub external_username: MaybeUndefined<ExternalName>,
    /// The account's email address at the provider.
    #[serde(default)]
    pub external_email: MaybeUndefined<Email>,
    /// The account's display name at the provider.
    #[serde(default)]
    pub external_display_name: MaybeUndefined<ExternalName>,
}

impl From<IdentityUpdate> for Profile {
    fn from(update: IdentityUpdate) -> Self {
        #[expect(clippy::option_option, reason = "absent, null and a value are three things")]
        fn change<T>(field: MaybeUndefined<T>) -> Option<Option<T>> {
            match field {
                MaybeUndefined::Undefined => None,
                MaybeUndefined::Null => Some(None),
                MaybeUndefined::Value(value) => Some(Some(value)),
            }
        }
        Self {
            username: change(update.external_username),
            email: change(update.external_email),
            display_name: change(update.external_display_name),
        }
    }
}

/// How an account was linked.
#[derive(Debug, Clone, Copy, Enum, Serialize)]
#[oai(rename = "LinkedBy", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum LinkedByName {
    /// By a rule that found that account and user belong together.
    Auto,
    /// By a call of this API.
    Manual,
    /// By a directory, over SCIM.
    Scim,
}

impl From<LinkedBy> for LinkedByName {
    fn from(linked_by: LinkedBy) -> Self {
        match linked_by {
            LinkedBy::Auto => Self::Auto,
            LinkedBy::Manual => Self::Manual,
            LinkedBy::Scim => Self::Scim,
        }
    }
}

/// An account at an identity provider, and the user it is linked to.
#[derive(Debug, Object, Serialize)]
pub struct UserIdentity {
    /// The id of the identity. It stays the same when the account is unlinked and linked again.
    pub id: IdentityId,
    /// The user that the account is linked to. Null: the account is known, but not linked.
    #[oai(nullable)]
    pub user_id: Option<UserId>,
    /// Whether that user is active: not suspended. Null: the account is not linked.
    #[oai(nullable)]
    pub user_active: Option<bool>,
    /// The account's identity provider.
    pub identity_provider_id: IdentityProviderId,
    /// The provider's name.
    pub provider_name: String,
    /// The provider's type.
    pub provider_type: ProviderTypeName,
    /// The account's id at the provider.
    pub external_id: String,
    /// The account's name at the provider.
    #[oai(nullable)]
    pub external_username: Option<String>,
    /// The account's email address at the provider.
    #[oai(nullable)]
    pub external_email: Option<String>,
    /// The account's display name at the provider.
    #[oai(nullable)]
    pub external_display_name: Option<String>,
    /// How the account was last linked.
    pub linked_by: LinkedByName,
    /// When the account was last compared with the provider.
    #[oai(nullable)]
    pub last_synced_at: Option<Timestamp>,
    /// When the account became known.
    pub created_at: Timestamp,
    /// When the identity changed last.
    pub updated_at: Timestamp,
}

impl UserIdentity {
    /// As the wire shows it, with what the tenant knows of its provider.
    pub(super) fn show(found: Found, tenant: &TenantState) -> Result<Self, Error> {
        let Found { identity, user_active } = found;
        let id = provider_of(&identity);
        let provider = tenant.identity_provider(id);
        let provider = provider.ok_or_else(|| Error::no_such("identity_provider", id))?;
        Ok(Self {
            id: IdentityId(identity.id),
            user_id: identity.user_id.map(UserId),
            user_active,
            identity_provider_id: IdentityProviderId(identity.identity_provider_id),
            provider_name: provider.model.name.clone(),
            provider_type: provider.model.provider_type.into(),
            external_id: identity.external_id,
            external_username: identity.external_username,
            external_email: identity.external_email,
            external_display_name: identity.external_display_name,
            linked_by: identity.linked_by.into(),
            last_synced_at: identity.last_synced_at.map(Timestamp),
            created_at: Timestamp(identity.created_at),
            updated_at: Timestamp(identity.updated_at),
        })
    }
}

impl UserIdentity {
    /// The identity with its state.
    pub(super) fn tagged(found: Found, tenant: &TenantState) -> Result<Tagged<Self>, Error> {
        let provider = tenant.identity_provider(provider_of(&found.identity));
        let etag = etag(&revision(&found, provider.map(|provider| &provider.model)));
        Ok(Tagged::Done(Answer(Self::show(found, tenant)?), etag))
    }

    /// The identity as it is shown to a caller who may link accounts, but not read them: what they have sent, and ids. What
    /// is known of the account from before is not theirs to see.
    pub(super) fn only_sent(self, sent: Account) -> Self {
        Self {
            external_username: sent.username.map(|username| username.to_string()),
            external_email: sent.email.map(|email| email.to_string()),
            external_display_name: sent.display_name.map(|name| name.to_string()),
            last_synced_at: None,
            ..self
        }
    }
}

pub(super) const fn provider_of(identity: &identity::Model) -> IdentityProviderId {
    IdentityProviderId(identity.identity_provider_id)
}

/// What a decision on an identity of a user may look at: the provider at which the account is.
pub(super) fn at_provider_of(tenant: &Arc<TenantState>, identity: Option<&identity::Model>) -> PolicyContext {
    at_provider(tenant, identity.map(provider_of))
}

pub(super) fn at_provider(tenant: &Arc<TenantState>, provider: Option<IdentityProviderId>) -> PolicyContext {
    let provider = provider.map(|provider| tenant.identity_provider_entity(provider));
    let context = provider.as_ref().map(|provider| {
        let provider = RestrictedExpression::new_entity_uid(provider.uid.clone());
        ("identity_provider", provider)
    });
    PolicyContext {
        named: provider.map(|provider| provider.entity).into_iter().collect(),
        ..PolicyContext::of(context)
    }
}

/// What a decision on an identity is about: its user, or the tenant where there is none.
pub(super) fn target_of(found: Option<&Found>) -> Target {
    let user = found.and_then(|found| found.identity.user_id);
    user.map_or(Target::Tenant, |user| Target::User(UserId(user)))
}

/// What a decision on a link or a change may look at of the account's description.
pub(super) fn description(
    username: Option<&ExternalName>,
    email: Option<&Email>,
    display_name: Option<&ExternalName>,
) -> impl Iterator<Item = (&'static str, RestrictedExpression)> {
    let members = [
        ("external_username", username.map(ToString::to_string)),
        ("external_email", email.map(ToString::to_string)),
        ("external_email_domain", email.map(Email::domain)),
        ("external_display_name", display_name.map(ToString::to_string)),
    ];
    let members = members.into_iter();
    members.filter_map(|(name, value)| Some((name, RestrictedExpression::new_string(value?))))
}

/// What a decision on a look-up may look at.
pub(super) fn lookup_of(external_id: &str) -> PolicyContext {
    PolicyContext::of([("external_id", RestrictedExpression::new_string(external_id.to_owned()))])
}
