//! Accounts that are barred: they belonged to a user who was suspended or erased, and are linked to nobody since.
//!
//! The token of a user is refused as long as the user is suspended. Without this, taking the account away from them, or
//! erasing them, would make their token one of a stranger, which is accepted. So a row stays behind in the same
//! transaction. It does not name the account: what it has is a hash under a key of the tenant.
//!
//! A row says nothing of an account that is linked; then it is the user who counts. Linking the account to an active user
//! therefore lifts the bar, and unlinking it from one takes the row away.

use aka_entity::{
    barred_account::{self, Reason},
    identity,
};
use aws_lc_rs::hmac;
use sea_orm::{EntityTrait as _, IntoActiveModel as _, sea_query::OnConflict};

use crate::{
    store::{Store, StoreError, Tx, root_key::RootKey},
    types::ids::{IdentityProviderId, TenantId},
};

/// Rows that are written by one statement: below what SQLite and PostgreSQL take as parameters.
const ROWS_PER_STATEMENT: usize = 1_000;

/// Why an account is barred, where it is. It must be linked to nobody.
///
/// # Errors
///
/// [`StoreError`]
pub async fn find(
    store: &Store,
    tenant: TenantId,
    provider: IdentityProviderId,
    external_id: &str,
) -> Result<Option<Reason>, StoreError> {
    let hash = Hasher::new(store.root_key(), tenant).hash(external_id);
    let row = barred_account::Entity::find_by_id((tenant.0, provider.0, hash));
    Ok(row.one(&store.reader_of(tenant)).await?.map(|row| row.reason))
}

/// Bars accounts of a tenant.
///
/// # Errors
///
/// [`StoreError`]
pub async fn bar(
    tx: &Tx<'_>,
    tenant: TenantId,
    accounts: &[identity::Model],
    reason: Reason,
) -> Result<(), StoreError> {
    let hasher = Hasher::new(tx.root_key, tenant);
    for some in accounts.chunks(ROWS_PER_STATEMENT) {
        let rows = some.iter().map(|account| {
            let row = barred_account::Model {
                tenant_id: tenant.0,
                identity_provider_id: account.identity_provider_id,
                account_hash: hasher.hash(&account.external_id),
                reason,
                created_at: tx.now.0,
            };
            row.into_active_model()
        });
        let key = [
            barred_account::Column::TenantId,
            barred_account::Column::IdentityProviderId,
            barred_account::Column::AccountHash,
        ];
        let known = OnConflict::columns(key)
            .update_columns([barred_account::Column::Reason, barred_account::Column::CreatedAt])
            .to_owned();
        barred_account::Entity::insert_many(rows)
            .on_conflict(known)
            .exec_without_returning(tx.db)
            .await?;
    }
    Ok(())
}

/// Lifts the bar of an account for good: it was linked to an active user, and now is no longer.
///
/// # Errors
///
/// [`StoreError`]
pub async fn lift(tx: &Tx<'_>, tenant: TenantId, account: &identity::Model) -> Result<(), StoreError> {
    let hash = Hasher::new(tx.root_key, tenant).hash(&account.external_id);
    barred_account::Entity::delete_by_id((tenant.0, account.identity_provider_id, hash))
        .exec(tx.db)
        .await?;
    Ok(())
}

/// Makes of the ids of a tenant's accounts what is stored.
struct Hasher(hmac::Key);

impl Hasher {
    fn new(root_key: &RootKey, tenant: TenantId) -> Self {
        let key = root_key.derive("barred accounts", Some(tenant));
        Self(hmac::Key::new(hmac::HMAC_SHA256, &key))
    }

    fn hash(&self, external_id: &str) -> Vec<u8> {
        hmac::sign(&self.0, external_id.as_bytes()).as_ref().to_vec()
    }
}
