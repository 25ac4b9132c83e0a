//! Who a credential stands for.

use std::fmt::Write as _;

use aka_entity::audit_log_entry::ActorType;
use aws_lc_rs::hmac;

use crate::{
    policy::{Memo, entities::NamedEntity},
    store::root_key::RootKey,
    types::{
        ids::{IdentityProviderId, TenantId},
        scopes::Scope,
    },
};

/// A credential that has been checked. Built once for an API key, for a token each time.
#[derive(Debug)]
pub struct Principal {
    /// The tenant that the credential belongs to.
    pub tenant: TenantId,
    /// The id of a key; of a token the id of its user, or its provider and a pseudonym of its subject.
    pub actor_id: String,
    /// What kind of credential it is.
    pub actor_type: ActorType,
    /// For policy.
    pub entity: NamedEntity,
    /// The provider that the entity names: the issuer of a token, or to which a key is bound.
    pub identity_provider: Option<IdentityProviderId>,
    /// What the credential may do where no rule of the tenant says otherwise.
    pub scopes: Vec<Scope>,
    /// What has been decided already.
    pub memo: Memo,
}

impl Principal {
    /// Who it is, for logs: the id of a key or of a user. Of a subject that is linked to no user only the provider's id.
    #[must_use]
    pub fn in_logs(&self) -> &str {
        let (id, _pseudonym) = self.actor_id.split_once('|').unwrap_or((&self.actor_id, ""));
        id
    }

    /// The provider that the principal is bound to, where it is an API key that is bound to one: it acts there only.
    #[must_use]
    pub fn bound_to(&self) -> Option<IdentityProviderId> {
        let is_key = matches!(self.actor_type, ActorType::ApiKey | ActorType::Scim);
        self.identity_provider.filter(|_| is_key)
    }
}

/// The actor that a subject is which is linked to no user: its provider, and a pseudonym. Subjects are often addresses, and
/// what an actor did stays in the audit log when everything about them is erased. The same subject has the same pseudonym,
/// which nobody can make who has not the root key.
#[must_use]
pub fn actor_of_subject(root_key: &RootKey, tenant: TenantId, provider: IdentityProviderId, subject: &str) -> String {
    /// Enough that no two subjects of a tenant share one.
    const BYTES: usize = 16;
    let key = hmac::Key::new(
        hmac::HMAC_SHA256,
        &root_key.derive("pseudonyms of subjects", Some(tenant)),
    );
    let pseudonym = hmac::sign(&key, &[provider.0.as_bytes(), subject.as_bytes()].concat());
    let pseudonym = pseudonym.as_ref().iter().take(BYTES);
    pseudonym.fold(format!("{provider}|"), |mut actor, byte| {
        let _ = write!(actor, "{byte:02x}");
        actor
    })
}
