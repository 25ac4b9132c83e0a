//! Deleting identity providers: at once for callers, and piece by piece in the tables.

use std::time::Duration;

use aka_entity::{
    api_key, identity,
    identity_provider::{self},
};
use async_trait::async_trait;
use sea_orm::{
    ActiveModelTrait as _, Condition, ConnectionTrait as _, DatabaseBackend, EntityTrait as _, IntoActiveModel as _,
    QueryFilter as _, QueryOrder as _, QuerySelect as _, Set,
    sea_query::{LockBehavior, LockType},
};
use serde_json::Value;
use uuid::Uuid;

use super::{IdentityProviderRefusal, record, revision, rows::existing};
use crate::{
    access::caller::Permit,
    store::{Applied, Change, Store, StoreError, Tx},
    types::ids::{IdentityProviderId, TenantId},
};

/// Deletes a provider, with what it knows of accounts that are linked to nobody. While an account is linked it stays:
/// links are taken away one by one, by somebody who may, and not by accident.
///
/// There may be millions of such accounts, and everybody's changes would wait for their end. So the provider is only marked
/// as deleted here: from then on it does not exist for callers, nothing can be linked at it, its keys are gone and its name
/// is free. Its accounts go piece by piece ([`remove_deleted`]).
pub struct DeleteIdentityProvider {
    /// That it is permitted.
    pub permit: Permit,
    /// Which one.
    pub id: IdentityProviderId,
}

/// Up to how many linked accounts are counted when a provider cannot be deleted.
pub const MAX_COUNTED: u64 = 1_000;

#[async_trait]
impl Change for DeleteIdentityProvider {
    type Done = ();
    type Refusal = IdentityProviderRefusal;

    fn tenant(&self) -> Option<TenantId> {
        Some(self.permit.tenant())
    }

    async fn apply(&self, tx: &Tx<'_>) -> Result<Applied<()>, IdentityProviderRefusal> {
        let tenant = self.permit.tenant();
        let mut query = existing(tenant, self.id);
        if tx.db.get_database_backend() == DatabaseBackend::Postgres {
            // Waits for links under way on other nodes, and they for this.
            query = query.lock_exclusive();
        }
        let provider = query.one(tx.db).await?;
        let provider = provider.ok_or(IdentityProviderRefusal::NoIdentityProvider(self.id))?;
        tx.check_revision(&revision(&provider))?;
        let linked = identity::Entity::find()
            .select_only()
            .column(identity::Column::Id)
            .filter(identity::COLUMN.tenant_id.eq(tenant.0))
            .filter(identity::COLUMN.identity_provider_id.eq(self.id.0))
            .filter(identity::COLUMN.user_id.is_not_null())
            .limit(MAX_COUNTED)
            .into_tuple::<Uuid>()
            .all(tx.db)
            .await?;
        if !linked.is_empty() {
            return Err(IdentityProviderRefusal::InUse {
                id: self.id,
                linked: linked.len() as u64,
            });
        }
        api_key::Entity::delete_many()
            .filter(api_key::COLUMN.tenant_id.eq(tenant.0))
            .filter(api_key::COLUMN.identity_provider_id.eq(self.id.0))
            .exec(tx.db)
            .await?;
        let record = record(&self.permit, &provider, tx.root_key, "identity_provider.deleted");
        let mut deleted = provider.into_active_model();
        // Neither the name and the issuer of a provider, which are unique, nor its secrets outlive it.
        let name = format!("deleted {}", self.id);
        deleted.name = Set(name.clone());
        deleted.name_key = Set(name);
        deleted.config = Set(Value::Object(serde_json::Map::new()));
        deleted.secrets = Set(None);
        deleted.token_issuer = Set(None);
        deleted.enabled = Set(false);
        deleted.deleted_at = Set(Some(tx.now.0));
        deleted.update(tx.db).await?;
        Ok(Applied::recorded((), record).in_memory_of_nodes(tenant))
    }
}

/// Accounts that are removed in one transaction: a few milliseconds, in which others wait.
const PIECE: u64 = 64;
/// Time between two pieces, so that a deletion does not keep the disk busy.
const BETWEEN_PIECES: Duration = Duration::from_millis(5);

/// Removes some accounts of a provider that is deleted; when none are left, the provider itself.
struct RemoveAccounts {
    tenant: TenantId,
    provider: IdentityProviderId,
    /// The account after which to look: those before it are gone.
    after: String,
}

/// What became of it.
enum Removed {
    /// Some are removed, up to this account. There may be more.
    UpTo(String),
    /// Everything is removed.
    All,
    /// Another node is at it.
    Elsewhere,
}

#[async_trait]
impl Change for RemoveAccounts {
    type Done = Removed;
    type Refusal = StoreError;

    fn tenant(&self) -> Option<TenantId> {
        Some(self.tenant)
    }

    async fn apply(&self, tx: &Tx<'_>) -> Result<Applied<Removed>, StoreError> {
        let mut query = identity_provider::Entity::find_by_id((self.tenant.0, self.provider.0))
            .filter(identity_provider::COLUMN.deleted_at.is_not_null());
        if tx.db.get_database_backend() == DatabaseBackend::Postgres {
            query = query.lock_with_behavior(LockType::Update, LockBehavior::SkipLocked);
        }
        if query.one(tx.db).await?.is_none() {
            return Ok(Applied::unchanged(Removed::Elsewhere));
        }
        let of_provider = Condition::all()
            .add(identity::COLUMN.tenant_id.eq(self.tenant.0))
            .add(identity::COLUMN.identity_provider_id.eq(self.provider.0))
            .add(identity::COLUMN.external_id.gt(self.after.as_str()));
        let piece: Vec<(Uuid, String)> = identity::Entity::find()
            .select_only()
            .columns([identity::Column::Id, identity::Column::ExternalId])
            .filter(of_provider)
            .order_by_asc(identity::Column::ExternalId)
            .limit(PIECE)
            .into_tuple()
            .all(tx.db)
            .await?;
        let last = piece.last().map(|(_, external_id)| external_id.clone());
        let Some(last) = last else {
            identity_provider::Entity::delete_by_id((self.tenant.0, self.provider.0))
                .exec(tx.db)
                .await?;
            return Ok(Applied::unchanged(Removed::All));
        };
        identity::Entity::delete_many()
            .filter(identity::COLUMN.tenant_id.eq(self.tenant.0))
            .filter(identity::COLUMN.id.is_in(piece.into_iter().map(|(id, _)| id)))
            .exec(tx.db)
            .await?;
        Ok(Applied::unchanged(Removed::UpTo(last)))
    }
}

/// Removes the accounts of providers that were deleted, on this node or another, or before a restart. Nodes that do so at the
/// same time take turns by the row of the provider.
///
/// # Errors
///
/// [`StoreError`]
pub async fn remove_deleted(store: &Store) -> Result<(), StoreError> {
    /// Providers that are dealt with one after the other before new ones are looked for.
    const AT_A_TIME: u64 = 16;
    let deleted: Vec<(Uuid, Uuid)> = identity_provider::Entity::find()
        .select_only()
        .columns([identity_provider::Column::TenantId, identity_provider::Column::Id])
        .filter(identity_provider::COLUMN.deleted_at.is_not_null())
        .order_by_asc(identity_provider::Column::DeletedAt)
        .limit(AT_A_TIME)
        .into_tuple()
        .all(store.reader())
        .await?;
    for (tenant, provider) in deleted {
        let (tenant, provider) = (TenantId(tenant), IdentityProviderId(provider));
        let mut after = String::new();
        loop {
            let remove = RemoveAccounts {
                tenant,
                provider,
                after,
            };
            match store.write(remove).await? {
                Removed::UpTo(last) => after = last,
                Removed::All => {
                    tracing::info!(%tenant, %provider, "a deleted identity provider and its accounts are removed");
                    break;
                }
                Removed::Elsewhere => break,
            }
            tokio::time::sleep(BETWEEN_PIECES).await;
        }
    }
    Ok(())
}
