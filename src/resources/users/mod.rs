//! Users: the people of a tenant.

pub mod api;
pub mod erasure;
pub mod errors;
mod examples;
mod operations;
mod rows;

pub use operations::RESOURCE;
pub use rows::{find_by_email, list};

use aka_entity::user;
use async_trait::async_trait;
use sea_orm::{ActiveModelTrait as _, EntityTrait as _, IntoActiveModel as _, Set};
use serde::Serialize;

use crate::{
    access::{caller::Permit, decision_log},
    store::{
        Applied, Change, Record, StoreError, Tx,
        revision::{Revision, RevisionMismatch},
    },
    types::{
        ids::{TenantId, UserId},
        text::{Email, Name, RoleName},
    },
};

/// Why a user is not made or changed.
#[derive(Debug)]
pub enum UserRefusal {
    /// They are not as the change expects them: somebody else has changed them.
    RevisionMismatch,
    /// The tenant has no such user.
    NoUser(UserId),
    /// Another user of the tenant has this address.
    EmailTaken,
    /// The store could not do it.
    Store(StoreError),
}

impl From<RevisionMismatch> for UserRefusal {
    fn from(_: RevisionMismatch) -> Self {
        Self::RevisionMismatch
    }
}

impl From<StoreError> for UserRefusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Duplicate(_) => Self::EmailTaken,
            error => Self::Store(error),
        }
    }
}

impl From<sea_orm::DbErr> for UserRefusal {
    fn from(error: sea_orm::DbErr) -> Self {
        StoreError::from(error).into()
    }
}

/// The state of a user.
#[must_use]
pub fn revision(user: &user::Model) -> String {
    Revision::default()
        .and(user.id)
        .and(&user.email)
        .and(&user.name)
        .and_json(&user.roles)
        .and([u8::from(user.active), u8::from(user.email_verified)])
        .and(user.updated_at.to_be_bytes())
        .text()
}

/// Makes a user.
pub struct CreateUser {
    /// That it is permitted.
    pub permit: Permit,
    /// Their id.
    pub id: UserId,
    /// Their address.
    pub email: Email,
    /// Their name.
    pub name: Name,
    /// Their roles.
    pub roles: Vec<RoleName>,
}

#[async_trait]
impl Change for CreateUser {
    type Done = user::Model;
    type Refusal = UserRefusal;

    fn tenant(&self) -> Option<TenantId> {
        Some(self.permit.tenant())
    }

    async fn apply(&self, tx: &Tx<'_>) -> Result<Applied<user::Model>, UserRefusal> {
        let user = user::Model {
            tenant_id: self.permit.tenant().0,
            id: self.id.0,
            email: self.email.to_string(),
            email_key: self.email.key(),
            name: self.name.to_string(),
            roles: roles(&self.roles),
            active: true,
            email_verified: false,
            created_at: tx.now.0,
            updated_at: tx.now.0,
        };
        user::Entity::insert(user.clone().into_active_model())
            .exec_without_returning(tx.db)
            .await?;
        let record = record(&self.permit, &user, "user.created");
        Ok(Applied::recorded(user, record))
    }

    fn about(&self) -> Option<UserId> {
        Some(self.id)
    }
}

/// Changes a user; what is absent stays.
pub struct UpdateUser {
    /// That it is permitted.
    pub permit: Permit,
    /// Who.
    pub id: UserId,
    /// The new address.
    pub email: Option<Email>,
    /// Whether the address is known to be theirs. A new address is not, unless this says so.
    pub email_verified: Option<bool>,
    /// The new name.
    pub name: Option<Name>,
    /// The new roles, all of them.
    pub roles: Option<Vec<RoleName>>,
}

#[async_trait]
impl Change for UpdateUser {
    type Done = user::Model;
    type Refusal = UserRefusal;

    fn tenant(&self) -> Option<TenantId> {
        Some(self.permit.tenant())
    }

    async fn apply(&self, tx: &Tx<'_>) -> Result<Applied<user::Model>, UserRefusal> {
        let user = get(tx, &self.permit, self.id).await?;
        tx.check_revision(&revision(&user))?;
        let is_new = |email: &&Email| email.as_str() != user.email;
        let email = self.email.as_ref().filter(is_new);
        let mut changed = user.clone().into_active_model();
        if let Some(email) = email {
            // Nothing would find the old address again when the user is erased.
            decision_log::forget_address(tx, self.permit.tenant(), &user.email_key).await?;
            changed.email = Set(email.to_string());
            changed.email_key = Set(email.key());
        }
        let same_address = email.is_none_or(|email| email.key() == user.email_key);
        changed.email_verified = Set(self.email_verified.unwrap_or(user.email_verified && same_address));
        if let Some(name) = &self.name {
            changed.name = Set(name.to_string());
        }
        if let Some(new) = &self.roles {
            changed.roles = Set(roles(new));
        }
        changed.updated_at = Set(tx.now.0);
        let user = changed.update(tx.db).await?;
        let record = record(&self.permit, &user, "user.updated");
        Ok(Applied::recorded(user, record))
    }
}

/// Suspends a user, or makes them active again.
pub struct SuspendUser {
    /// That it is permitted.
    pub permit: Permit,
    /// Who.
    pub id: UserId,
    /// Whether they are to be active.
    pub active: bool,
}

#[async_trait]
impl Change for SuspendUser {
    type Done = user::Model;
    type Refusal = UserRefusal;

    fn tenant(&self) -> Option<TenantId> {
        Some(self.permit.tenant())
    }

    async fn apply(&self, tx: &Tx<'_>) -> Result<Applied<user::Model>, UserRefusal> {
        let user = get(tx, &self.permit, self.id).await?;
        if user.active == self.active {
            return Ok(Applied::unchanged(user));
        }
        let mut changed = user.into_active_model();
        changed.active = Set(self.active);
        changed.updated_at = Set(tx.now.0);
        let user = changed.update(tx.db).await?;
        let event = if user.active {
            "user.activated"
        } else {
            "user.suspended"
        };
        let record = record(&self.permit, &user, event);
        Ok(Applied::recorded(user, record))
    }

    fn about(&self) -> Option<UserId> {
        Some(self.id)
    }
}

async fn get(tx: &Tx<'_>, permit: &Permit, id: UserId) -> Result<user::Model, UserRefusal> {
    let user = user::Entity::find_by_id((permit.tenant().0, id.0)).one(tx.db).await?;
    user.ok_or(UserRefusal::NoUser(id))
}

fn roles(roles: &[RoleName]) -> sea_orm::JsonValue {
    roles.iter().map(RoleName::as_str).collect()
}

fn record(permit: &Permit, user: &user::Model, event_type: &'static str) -> Record {
    #[derive(Serialize)]
    struct Entry<'a> {
        active: bool,
        roles: &'a sea_orm::JsonValue,
    }
    let entry = Entry {
        active: user.active,
        roles: &user.roles,
    };
    permit.record("user", user.id, &entry, event_type, &entry)
}
