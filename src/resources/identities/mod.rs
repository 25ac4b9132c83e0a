//! Linking: which account belongs to which user.
//!
//! One account (tenant, identity provider, external id) belongs to at most one user, whatever happens at the same
//! time. It is the unique index `identities_account` that says so: a link is an insert that gives way where the
//! account is known already, and only then is the known row looked at. There is no check before a write that another
//! write could overtake.
//!
//! [`rows`] and this file refer to one another: a batch of links is one statement, made of the changes themselves.

pub mod api;
pub mod errors;
mod examples;
mod operations;
pub mod rows;
pub mod update;
pub mod wire;

pub use operations::RESOURCE;

use aka_entity::{
    barred_account::Reason,
    former_link,
    identity::{self, LinkedBy},
    identity_provider, user,
};
use async_trait::async_trait;
use sea_orm::{
    ActiveEnum as _, ActiveModelTrait as _, ConnectionTrait, DatabaseBackend, EntityTrait as _, IntoActiveModel as _,
    QueryFilter as _, QuerySelect as _, Set,
    sea_query::{Expr, OnConflict},
};
use serde::Serialize;
use uuid::Uuid;

use self::rows::{account, insert};
use super::identity_providers;
use crate::{
    access::{
        accounts::{Found, Lookup, look_up},
        barred_accounts,
        caller::Permit,
        decision_log,
    },
    store::{Applied, Change, Record, StoreError, Tx, change::Outcome, revision::Revision},
    types::{
        ids::{IdentityId, IdentityProviderId, TenantId, UserId},
        text::{Email, ExternalId, ExternalName, email_key},
    },
};

/// The state of an identity, as it is shown: with what of its user and its provider is shown with it.
#[must_use]
pub fn revision(found: &Found, provider: Option<&identity_provider::Model>) -> String {
    let Found { identity, user_active } = found;
    Revision::default()
        .and(identity.id)
        .and(identity.user_id.unwrap_or_default())
        .and([user_active.map_or(2, u8::from)])
        .and_text(provider.map(|provider| provider.name.as_str()))
        .and_text(identity.external_username.as_deref())
        .and_text(identity.external_email.as_deref())
        .and_text(identity.external_display_name.as_deref())
        .and(identity.linked_by.to_value())
        .and_time(identity.last_synced_at)
        .and(identity.updated_at.to_be_bytes())
        .text()
}

/// An account at a provider, as its provider describes it.
#[derive(Clone, Debug)]
pub struct Account {
    /// Where it is.
    pub identity_provider_id: IdentityProviderId,
    /// Its id there.
    pub external_id: ExternalId,
    /// Its name there.
    pub username: Option<ExternalName>,
    /// Its address there.
    pub email: Option<Email>,
    /// How it is shown there.
    pub display_name: Option<ExternalName>,
}

/// Links an account to a user.
pub struct Link {
    permit: Permit,
    id: IdentityId,
    user: UserId,
    account: Account,
    linked_by: LinkedBy,
}

impl Link {
    /// A link that somebody asked for.
    #[must_use]
    pub const fn manual(permit: Permit, id: IdentityId, user: UserId, account: Account) -> Self {
        Self {
            permit,
            id,
            user,
            account,
            linked_by: LinkedBy::Manual,
        }
    }
}

/// What became of a link.
#[derive(Debug)]
pub enum Linked {
    /// Nobody knew the account, or it was linked to nobody.
    Now(Found),
    /// It was linked to this very user before. What the caller said of the account counts now.
    Already(Found),
}

/// Why an account is not linked.
#[derive(Debug)]
pub enum LinkRefusal {
    /// The tenant has no such user.
    NoUser(UserId),
    /// The tenant has no such provider.
    NoIdentityProvider(IdentityProviderId),
    /// The user is suspended.
    UserSuspended(UserId),
    /// The provider is disabled.
    IdentityProviderDisabled(IdentityProviderId),
    /// The account is linked to another user: this is the identity as it is.
    LinkedToAnother(Box<identity::Model>),
    /// The store could not do it.
    Store(StoreError),
}

impl From<StoreError> for LinkRefusal {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<sea_orm::DbErr> for LinkRefusal {
    fn from(error: sea_orm::DbErr) -> Self {
        Self::Store(error.into())
    }
}

#[async_trait]
impl Change for Link {
    type Done = Linked;
    type Refusal = LinkRefusal;

    const TOGETHER: bool = true;

    fn tenant(&self) -> Option<TenantId> {
        Some(self.permit.tenant())
    }

    async fn apply(&self, tx: &Tx<'_>) -> Result<Applied<Linked>, LinkRefusal> {
        match insert(&[self], tx).await?.first() {
            Some(true) => Ok(self.inserted(tx)),
            _ => self.adopt(tx).await,
        }
    }

    /// Accounts that nobody knows are inserted by one statement, and another finds those that are linked as they are to be.
    /// The others, which are rare, are looked at one by one.
    async fn apply_many(changes: &[&Self], tx: &Tx<'_>) -> Result<Vec<Option<Outcome<Self>>>, StoreError> {
        let inserted = insert(changes, tx).await?;
        let others = changes.iter().zip(&inserted).filter(|(_, inserted)| !**inserted);
        let others: Vec<Lookup> = others.map(|(link, _)| link.lookup()).collect();
        let known = if others.is_empty() {
            Vec::new()
        } else {
            look_up(&others, tx.db).await?
        };
        let mut known = known.into_iter();
        let outcomes = changes.iter().zip(inserted).map(|(link, inserted)| {
            if inserted {
                return Some(Ok(link.inserted(tx)));
            }
            let known = known.next().flatten();
            let known = known.filter(|found| link.is_as_said_in(&found.identity));
            known.map(|found| Ok(Applied::unchanged(Linked::Already(found))))
        });
        Ok(outcomes.collect())
    }

    fn about(&self) -> Option<UserId> {
        Some(self.user)
    }
}

impl Link {
    /// The look-up of its account.
    fn lookup(&self) -> Lookup {
        Lookup {
            tenant: self.permit.tenant(),
            identity_provider_id: self.account.identity_provider_id,
            external_id: self.account.external_id.clone(),
        }
    }

    /// Whether this identity is what the link would make of it, so that nothing is to be done.
    fn is_as_said_in(&self, known: &identity::Model) -> bool {
        let says_nothing_new = |said: Option<&str>, known: Option<&str>| said.is_none() || said == known;
        let Account {
            username,
            email,
            display_name,
            ..
        } = &self.account;
        known.user_id == Some(self.user.0)
            && says_nothing_new(
                username.as_ref().map(ExternalName::as_str),
                known.external_username.as_deref(),
            )
            && says_nothing_new(email.as_ref().map(Email::as_str), known.external_email.as_deref())
            && says_nothing_new(
                display_name.as_ref().map(ExternalName::as_str),
                known.external_display_name.as_deref(),
            )
    }

    /// The row as the insert made it.
    fn row(&self, tx: &Tx<'_>) -> identity::Model {
        identity::Model {
            tenant_id: self.permit.tenant().0,
            id: self.id.0,
            user_id: Some(self.user.0),
            identity_provider_id: self.account.identity_provider_id.0,
            external_id: self.account.external_id.to_string(),
            external_username: self.account.username.as_ref().map(ToString::to_string),
            external_email: self.account.email.as_ref().map(ToString::to_string),
            external_display_name: self.account.display_name.as_ref().map(ToString::to_string),
            linked_by: self.linked_by,
            linked_at: Some(tx.now.0),
            last_synced_at: None,
            created_at: tx.now.0,
            updated_at: tx.now.0,
        }
    }

    fn inserted(&self, tx: &Tx<'_>) -> Applied<Linked> {
        let identity = self.row(tx);
        let record = record(&self.permit, &identity, Some(self.user), "identity.linked");
        // The insert takes active users only.
        let user_active = Some(true);
        Applied::recorded(Linked::Now(Found { identity, user_active }), record)
    }

    /// The insert gave way: because user or provider do not allow it, or because the account is known.
    async fn adopt(&self, tx: &Tx<'_>) -> Result<Applied<Linked>, LinkRefusal> {
        let tenant = self.permit.tenant();
        let user = user::Entity::find_by_id((tenant.0, self.user.0)).one(tx.db).await?;
        let user = user.ok_or(LinkRefusal::NoUser(self.user))?;
        let provider = identity_providers::rows::hold(tx, tenant, self.account.identity_provider_id).await?;
        let no_provider = LinkRefusal::NoIdentityProvider(self.account.identity_provider_id);
        let provider = provider.ok_or(no_provider)?;
        let mut query = account(
            tenant,
            self.account.identity_provider_id,
            self.account.external_id.as_str(),
        );
        if tx.db.get_database_backend() == DatabaseBackend::Postgres {
            query = query.lock_exclusive();
        }
        let known = query.one(tx.db).await?;
        match known {
            // Repeating a link is safe, whatever has become of user and provider since.
            Some(known) if known.user_id == Some(self.user.0) => self.link_again(known, user.active, tx).await,
            _ if !user.active => Err(LinkRefusal::UserSuspended(self.user)),
            _ if !provider.enabled => Err(LinkRefusal::IdentityProviderDisabled(self.account.identity_provider_id)),
            Some(known) if known.user_id.is_some() => Err(LinkRefusal::LinkedToAnother(Box::new(known))),
            Some(known) => {
                let mut linked = self.described(&known, tx);
                linked.user_id = Set(Some(self.user.0));
                linked.linked_by = Set(self.linked_by);
                linked.linked_at = Set(Some(tx.now.0));
                let identity = linked.update(tx.db).await?;
                let record = record(&self.permit, &identity, Some(self.user), "identity.linked");
                let user_active = Some(user.active);
                Ok(Applied::recorded(Linked::Now(Found { identity, user_active }), record))
            }
            // Between the insert and this look another node took the row away. The caller may send it again.
            None => Err(StoreError::Unavailable("the account was being changed at the same time".into()).into()),
        }
    }

    /// Links an account again to the user who has it. Nothing is written unless the account is described in another way
    /// than before.
    async fn link_again(
        &self,
        known: identity::Model,
        user_active: bool,
        tx: &Tx<'_>,
    ) -> Result<Applied<Linked>, LinkRefusal> {
        let account = |identity| {
            Linked::Already(Found {
                identity,
                user_active: Some(user_active),
            })
        };
        let described = self.described(&known, tx);
        let same = [
            (&described.external_username, &known.external_username),
            (&described.external_email, &known.external_email),
            (&described.external_display_name, &known.external_display_name),
        ];
        if same.into_iter().all(|(new, old)| new.try_as_ref() == Some(old)) {
            return Ok(Applied::unchanged(account(known)));
        }
        if let Some(address) = known.external_email.as_deref()
            && described.external_email.try_as_ref() != Some(&known.external_email)
        {
            // Nothing would find the old address again when the user is erased.
            decision_log::forget_address(tx, self.permit.tenant(), &email_key(address)).await?;
        }
        let identity = described.update(tx.db).await?;
        let record = record(&self.permit, &identity, Some(self.user), "identity.updated");
        Ok(Applied::recorded(account(identity), record))
    }

    /// A known identity, which keeps its id, as the caller describes the account; what they did not say stays.
    fn described(&self, known: &identity::Model, tx: &Tx<'_>) -> identity::ActiveModel {
        let said = self.row(tx);
        let mut identity = known.clone().into_active_model();
        identity.external_username = Set(said.external_username.or_else(|| known.external_username.clone()));
        identity.external_email = Set(said.external_email.or_else(|| known.external_email.clone()));
        identity.external_display_name = Set(said
            .external_display_name
            .or_else(|| known.external_display_name.clone()));
        identity.updated_at = Set(tx.now.0);
        identity
    }
}

/// Takes an account away from a user. The account stays known, linked to nobody: if it is linked again it is the same
/// identity, with the same history.
pub struct Unlink {
    permit: Permit,
    user: UserId,
    id: IdentityId,
}

impl Unlink {
    /// Takes this identity away from this user.
    #[must_use]
    pub const fn new(permit: Permit, user: UserId, id: IdentityId) -> Self {
        Self { permit, user, id }
    }
}

impl Unlink {
    /// Keeps the tokens of a suspended user's account refused, although it is no longer the user's.
    async fn bar_if_suspended(&self, identity: &identity::Model, tx: &Tx<'_>) -> Result<(), StoreError> {
        let tenant = self.permit.tenant();
        let user = user::Entity::find_by_id((tenant.0, self.user.0)).one(tx.db).await?;
        match user {
            Some(user) if !user.active => {
                barred_accounts::bar(tx, tenant, std::slice::from_ref(identity), Reason::Suspended).await
            }
            _ => barred_accounts::lift(tx, tenant, identity).await,
        }
    }

    /// Takes down whose the account was: it is erased with them.
    async fn remember(&self, tx: &Tx<'_>) -> Result<(), StoreError> {
        let former = former_link::ActiveModel {
            tenant_id: Set(self.permit.tenant().0),
            user_id: Set(self.user.0),
            identity_id: Set(self.id.0),
        };
        former_link::Entity::insert(former)
            .on_conflict(OnConflict::new().do_nothing().to_owned())
            .exec_without_returning(tx.db)
            .await?;
        Ok(())
    }
}

#[async_trait]
impl Change for Unlink {
    /// Whether the user had the identity.
    type Done = bool;
    type Refusal = StoreError;

    fn tenant(&self) -> Option<TenantId> {
        Some(self.permit.tenant())
    }

    async fn apply(&self, tx: &Tx<'_>) -> Result<Applied<bool>, StoreError> {
        let mut unlinked = identity::Entity::update_many()
            .col_expr(identity::Column::UserId, Expr::value(None::<Uuid>))
            .col_expr(identity::Column::LinkedAt, Expr::value(None::<i64>))
            .col_expr(identity::Column::UpdatedAt, Expr::value(tx.now.0))
            .filter(identity::COLUMN.tenant_id.eq(self.permit.tenant().0))
            .filter(identity::COLUMN.id.eq(self.id.0))
            .filter(identity::COLUMN.user_id.eq(self.user.0))
            .exec_with_returning(tx.db)
            .await?;
        let Some(identity) = unlinked.pop() else {
            return Ok(Applied::unchanged(false));
        };
        self.bar_if_suspended(&identity, tx).await?;
        self.remember(tx).await?;
        let record = record(&self.permit, &identity, Some(self.user), "identity.unlinked");
        Ok(Applied::recorded(true, record))
    }
}

/// What the audit log and the outbox tell of a link, a change of its account, or its end: ids of ours, because both outlive
/// the erasure of a user.
fn record(permit: &Permit, identity: &identity::Model, user: Option<UserId>, event_type: &'static str) -> Record {
    #[derive(Serialize)]
    struct Entry {
        user_id: Option<UserId>,
        identity_provider_id: Uuid,
    }
    #[derive(Serialize)]
    struct Event {
        identity_id: Uuid,
        user_id: Option<UserId>,
        identity_provider_id: Uuid,
        linked_by: String,
    }
    let identity_provider_id = identity.identity_provider_id;
    permit.record(
        "identity",
        identity.id,
        &Entry {
            user_id: user,
            identity_provider_id,
        },
        event_type,
        &Event {
            identity_id: identity.id,
            user_id: user,
            identity_provider_id,
            linked_by: identity.linked_by.to_value(),
        },
    )
}
