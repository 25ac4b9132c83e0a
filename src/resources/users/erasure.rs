//! Erasure: nothing that says anything about a user stays, but the ids in the audit log and the events.
//!
//! With the row of the user go
//!
//! * their accounts, those that were theirs and are linked to nobody now included;
//! * answers about them that are kept under an `Idempotency-Key`;
//! * refused requests in the decision log: those on them, those that they made, and those that name their address or one of
//!   their accounts. A refusal that another node has not written yet is looked for a second time ([`UserTraces`]).
//!
//! A user may have many accounts, and whoever writes waits for whoever wrote before. So a change erases at most
//! [`ACCOUNTS_AT_A_TIME`] of them; the user is suspended meanwhile, so that no new ones are linked.

use std::time::Duration;

use aka_entity::{barred_account::Reason, former_link, idempotency_key, identity, user};
use async_trait::async_trait;
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, ConnectionTrait as _, DatabaseBackend, EntityTrait as _,
    IntoActiveModel as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, Set,
    sea_query::{Expr, ExprTrait as _, Query},
};
use tracing::Instrument as _;

use super::{UserRefusal, revision};
use crate::{
    access::{
        barred_accounts,
        caller::{Permit, actor_of_subject},
        decision_log::{self, UserTraces},
    },
    http::caller::ApiCaller,
    store::{Applied, Change, Store, StoreError, Tx},
    types::{
        ids::{IdentityProviderId, TenantId, UserId},
        text::email_key,
    },
};

/// Accounts that are erased with one change: a few milliseconds of the writer's time.
const ACCOUNTS_AT_A_TIME: u64 = 500;
/// After this time every node has written the refusals that it had in memory when the user was erased.
const TRACES_AFTER: Duration = Duration::from_secs(3);

/// Erases a user, or some of their accounts where they have many.
pub struct DeleteUser {
    /// That it is permitted.
    pub permit: Permit,
    /// Who.
    pub id: UserId,
}

/// What a change has erased.
#[derive(Debug)]
pub struct Erased {
    /// Whether the user is gone; else it is to be asked for again.
    pub wholly: bool,
    /// By what refusals that are not written yet are known.
    pub traces: UserTraces,
}

#[async_trait]
impl Change for DeleteUser {
    type Done = Erased;
    type Refusal = UserRefusal;

    fn tenant(&self) -> Option<TenantId> {
        Some(self.permit.tenant())
    }

    async fn apply(&self, tx: &Tx<'_>) -> Result<Applied<Erased>, UserRefusal> {
        let tenant = self.permit.tenant();
        let user = lock(tx, tenant, self.id).await?;
        tx.check_revision(&revision(&user))?;
        let accounts = accounts(tx, tenant, self.id).await?;
        let wholly = (accounts.len() as u64) < ACCOUNTS_AT_A_TIME;
        let mut traces = traces_of(tx, tenant, &accounts);
        if wholly {
            traces.emails.insert(email_key(&user.email));
            traces.actors.insert(self.id.to_string());
        }
        decision_log::erase(tx, tenant, self.id, &traces).await?;
        let linked: Vec<identity::Model> = accounts
            .iter()
            .filter(|account| account.user_id.is_some())
            .cloned()
            .collect();
        barred_accounts::bar(tx, tenant, &linked, Reason::Erased).await?;
        identity::Entity::delete_many()
            .filter(identity::COLUMN.tenant_id.eq(tenant.0))
            .filter(identity::COLUMN.id.is_in(accounts.iter().map(|account| account.id)))
            .exec(tx.db)
            .await?;
        if !wholly {
            let mut suspended = user.into_active_model();
            suspended.active = Set(false);
            suspended.update(tx.db).await?;
            return Ok(Applied::unchanged(Erased { wholly, traces }));
        }
        idempotency_key::Entity::delete_many()
            .filter(idempotency_key::COLUMN.tenant_id.eq(tenant.0))
            .filter(idempotency_key::COLUMN.user_id.eq(self.id.0))
            .exec(tx.db)
            .await?;
        user::Entity::delete_by_id((tenant.0, self.id.0)).exec(tx.db).await?;
        let nothing = serde_json::Map::new();
        let record = self
            .permit
            .record("user", self.id.0, &nothing, "user.deleted", &nothing);
        Ok(Applied::recorded(Erased { wholly, traces }, record))
    }
}

/// The row of the user, for this transaction alone: whatever another node is writing about them comes before, or finds
/// them gone.
async fn lock(tx: &Tx<'_>, tenant: TenantId, id: UserId) -> Result<user::Model, UserRefusal> {
    let mut query = user::Entity::find_by_id((tenant.0, id.0));
    if tx.db.get_database_backend() == DatabaseBackend::Postgres {
        query = query.lock_exclusive();
    }
    query.one(tx.db).await?.ok_or(UserRefusal::NoUser(id))
}

/// Accounts that are theirs, and those that were and are nobody's now; some of them.
async fn accounts(tx: &Tx<'_>, tenant: TenantId, id: UserId) -> Result<Vec<identity::Model>, StoreError> {
    let mut former = Query::select();
    former
        .column(former_link::Column::IdentityId)
        .from(former_link::Entity)
        .and_where(former_link::Column::TenantId.eq(tenant.0))
        .and_where(former_link::Column::UserId.eq(id.0));
    let query = |of: Expr| {
        identity::Entity::find()
            .filter(identity::COLUMN.tenant_id.eq(tenant.0))
            .filter(of)
            .order_by_asc(identity::Column::Id)
            .limit(ACCOUNTS_AT_A_TIME)
            .all(tx.db)
    };
    let mut accounts = query(identity::Column::UserId.eq(id.0)).await?;
    let theirs_once = identity::Column::UserId
        .is_null()
        .and(identity::Column::Id.in_subquery(former));
    accounts.extend(query(theirs_once).await?);
    Ok(accounts)
}

/// By what requests are known that speak of these accounts.
fn traces_of(tx: &Tx<'_>, tenant: TenantId, accounts: &[identity::Model]) -> UserTraces {
    let mut traces = UserTraces::default();
    for account in accounts {
        let provider = account.identity_provider_id;
        let actor = actor_of_subject(tx.root_key, tenant, IdentityProviderId(provider), &account.external_id);
        traces.actors.insert(actor);
        traces.emails.extend(account.external_email.as_deref().map(email_key));
        traces.accounts.insert((provider, account.external_id.clone()));
    }
    traces
}

/// Looks for traces again, in refusals that nodes have written since.
struct EraseTraces {
    tenant: TenantId,
    user: UserId,
    traces: UserTraces,
}

#[async_trait]
impl Change for EraseTraces {
    type Done = ();
    type Refusal = StoreError;

    fn tenant(&self) -> Option<TenantId> {
        Some(self.tenant)
    }

    async fn apply(&self, tx: &Tx<'_>) -> Result<Applied<()>, StoreError> {
        decision_log::erase(tx, self.tenant, self.user, &self.traces).await?;
        Ok(Applied::unchanged(()))
    }
}

/// Erases a user, in as many changes as it takes. It goes on where the caller has gone. Refusals that wait to be written are
/// written first, so that none that names the user is missed.
///
/// # Errors
///
/// Why they are not erased.
pub async fn erase(caller: &ApiCaller<'_>, permit: Permit, user: UserId) -> Result<(), UserRefusal> {
    caller.decisions().write(caller.store()).await;
    let (store, mut expected) = (caller.store().clone(), caller.expected());
    let erasing = async move {
        loop {
            let change = DeleteUser {
                permit: permit.clone(),
                id: user,
            };
            let Erased { wholly, traces } = store.write_if(change, expected.take()).await?;
            tokio::spawn(erase_again(store.clone(), permit.tenant(), user, traces));
            if wholly {
                store.remove_traces();
                return Ok(());
            }
        }
    };
    let ended = tokio::spawn(erasing.in_current_span()).await;
    ended.unwrap_or_else(|_| Err(StoreError::Unavailable("the erasure was given up".into()).into()))
}

async fn erase_again(store: Store, tenant: TenantId, user: UserId, traces: UserTraces) {
    tokio::time::sleep(TRACES_AFTER).await;
    if let Err(error) = store.write(EraseTraces { tenant, user, traces }).await {
        tracing::warn!(%tenant, %user, %error, "refusals that name an erased user could not be looked for again");
    }
    store.remove_traces();
}
