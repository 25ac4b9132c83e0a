//! What an action is done to.

use crate::{
    policy::entities::{self, NamedEntity},
    types::{
        actions::Action,
        ids::{ApiKeyId, IdentityProviderId, PolicyId, TenantId, UserId},
    },
};

/// What an action is done to.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// To the tenant as a whole: lists, and things that are not there yet.
    Tenant,
    /// To a user, or to their identities.
    User(UserId),
    /// To an identity provider.
    IdentityProvider(IdentityProviderId),
    /// To an API key.
    ApiKey(ApiKeyId),
    /// To a policy or its rules.
    Policy(PolicyId),
}

impl Target {
    /// Its name, as a question to policy has it: `user:<id>`.
    #[must_use]
    pub fn name(self, tenant: TenantId) -> String {
        match self {
            Self::Tenant => format!("tenant:{tenant}"),
            Self::User(id) => format!("user:{id}"),
            Self::IdentityProvider(id) => format!("identity_provider:{id}"),
            Self::ApiKey(id) => format!("api_key:{id}"),
            Self::Policy(id) => format!("policy:{id}"),
        }
    }

    /// The action by which what rules can look at of it is read. None where there is nothing but what is known to every
    /// caller in the tenant.
    #[must_use]
    pub const fn read_by(self) -> Option<Action> {
        match self {
            Self::User(_) => Some(Action::GetUser),
            Self::ApiKey(_) => Some(Action::GetApiKey),
            Self::IdentityProvider(_) => Some(Action::GetIdentityProvider),
            Self::Tenant | Self::Policy(_) => None,
        }
    }

    /// The same as if the tenant did not have it. None where there is nothing that could be unknown.
    #[must_use]
    pub fn unknown(self) -> Option<NamedEntity> {
        match self {
            Self::User(id) => Some(entities::unknown_user(id)),
            Self::ApiKey(id) => Some(entities::unknown_api_key(id)),
            Self::IdentityProvider(id) => Some(entities::unknown_identity_provider(id)),
            Self::Tenant | Self::Policy(_) => None,
        }
    }
}
