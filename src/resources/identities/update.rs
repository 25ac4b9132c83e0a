//! Correcting what is known of an account: its name, its address, and how it is shown at its provider.

use aka_entity::{identity, identity_provider, user};
use async_trait::async_trait;
use sea_orm::{
    ActiveModelTrait as _, ConnectionTrait as _, DatabaseBackend, EntityTrait as _, IntoActiveModel as _,
    QuerySelect as _, Set,
};

use super::{record, revision};
use crate::{
    access::{accounts::Found, caller::Permit, decision_log},
    store::{Applied, Change, StoreError, Tx, revision::RevisionMismatch},
    types::{
        ids::{IdentityId, TenantId, UserId},
        text::{Email, ExternalName, email_key},
    },
};

/// What is to be known of an account from now on. Each field: absent stays, `Some(None)` is removed.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    /// Its name at the provider.
    pub username: Option<Option<ExternalName>>,
    /// Its address there.
    pub email: Option<Option<Email>>,
    /// How it is shown there.
    pub display_name: Option<Option<ExternalName>>,
}

/// Corrects what is known of an account.
pub struct UpdateIdentity {
    /// That it is permitted.
    pub permit: Permit,
    /// Which identity.
    pub id: IdentityId,
    /// To whom it was linked when policy was asked.
    pub user: Option<UserId>,
    /// What is to be known.
    pub profile: Profile,
}

/// Why an identity is not changed.
#[derive(Debug)]
pub enum IdentityRefusal {
    /// The tenant has no such identity.
    NoIdentity(IdentityId),
    /// It is not as the change expects it: somebody else has changed it.
    RevisionMismatch,
    /// It has been linked or unlinked since policy was asked, which must be asked again.
    Moved,
    /// The store could not do it.
    Store(StoreError),
}

impl From<RevisionMismatch> for IdentityRefusal {
    fn from(_: RevisionMismatch) -> Self {
        Self::RevisionMismatch
    }
}

impl From<StoreError> for IdentityRefusal {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<sea_orm::DbErr> for IdentityRefusal {
    fn from(error: sea_orm::DbErr) -> Self {
        Self::Store(error.into())
    }
}

#[async_trait]
impl Change for UpdateIdentity {
    type Done = Found;
    type Refusal = IdentityRefusal;

    fn tenant(&self) -> Option<TenantId> {
        Some(self.permit.tenant())
    }

    async fn apply(&self, tx: &Tx<'_>) -> Result<Applied<Found>, IdentityRefusal> {
        let tenant = self.permit.tenant();
        let before = self.lock(tx).await?;
        if before.user_id.map(UserId) != self.user {
            return Err(IdentityRefusal::Moved);
        }
        let user_active = match self.user {
            Some(user) => user::Entity::find_by_id((tenant.0, user.0)).one(tx.db).await?,
            None => None,
        }
        .map(|user| user.active);
        let before = Found {
            identity: before,
            user_active,
        };
        if tx.has_precondition() {
            let provider = (tenant.0, before.identity.identity_provider_id);
            let provider = identity_provider::Entity::find_by_id(provider).one(tx.db).await?;
            tx.check_revision(&revision(&before, provider.as_ref()))?;
        }
        let after = self.applied_to(&before.identity);
        if after == before.identity {
            return Ok(Applied::unchanged(before));
        }
        if let Some(address) = before.identity.external_email.as_deref()
            && after.external_email.as_deref() != Some(address)
        {
            // Nothing would find the old address again when the user is erased.
            decision_log::forget_address(tx, tenant, &email_key(address)).await?;
        }
        let mut changed = before.identity.into_active_model();
        changed.external_username = Set(after.external_username);
        changed.external_email = Set(after.external_email);
        changed.external_display_name = Set(after.external_display_name);
        changed.updated_at = Set(tx.now.0);
        let identity = changed.update(tx.db).await?;
        let record = record(&self.permit, &identity, self.user, "identity.updated");
        Ok(Applied::recorded(Found { identity, user_active }, record))
    }

    fn about(&self) -> Option<UserId> {
        self.user
    }
}

impl UpdateIdentity {
    /// The identity, kept from being changed by other nodes until the transaction ends.
    async fn lock(&self, tx: &Tx<'_>) -> Result<identity::Model, IdentityRefusal> {
        let mut query = identity::Entity::find_by_id((self.permit.tenant().0, self.id.0));
        if tx.db.get_database_backend() == DatabaseBackend::Postgres {
            query = query.lock_exclusive();
        }
        query.one(tx.db).await?.ok_or(IdentityRefusal::NoIdentity(self.id))
    }

    fn applied_to(&self, identity: &identity::Model) -> identity::Model {
        let Profile {
            username,
            email,
            display_name,
        } = &self.profile;
        let mut after = identity.clone();
        if let Some(username) = username {
            after.external_username = username.as_ref().map(ToString::to_string);
        }
        if let Some(email) = email {
            after.external_email = email.as_ref().map(ToString::to_string);
        }
        if let Some(display_name) = display_name {
            after.external_display_name = display_name.as_ref().map(ToString::to_string);
        }
        after
    }
}
