//! The decision log: every no of policy to a request, and every rule that could not be evaluated.
//!
//! A refusal must not wait for the database, and whoever is refused must not be able to fill the disk or to keep others
//! from writing. So refusals gather in memory and are written beside the requests, those of a tenant together:
//!
//! * What waits is bounded, for each tenant and in all. What finds no room is dropped and counted, and the log of the
//!   server tells how many.
//! * What is kept is bounded for each tenant: the newest; the oldest go when newer ones come.
//! * What waits when the server stops is written. When it is killed, the refusals of the last half a
//!   second are lost.
//!
//! Decisions about a person, or that saw something of them (the address of an account, say), go when the person is erased
//! ([`erase`]).

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use aka_entity::{
    decision::{self, DecisionKind},
    user,
};
use async_trait::async_trait;
use futures_util::future::join_all;
use sea_orm::{
    ConnectionTrait as _, EntityTrait as _, IntoActiveModel as _, QueryFilter as _, QuerySelect as _, Statement,
};
use uuid::Uuid;

use super::caller::{Caller, Forbidden};
use crate::{
    policy::{DecidedAt, Verdict},
    store::{Applied, Change, Store, StoreError, Tx},
    types::{
        clock::{self},
        ids::{DecisionId, TenantId, UserId},
        request_id::RequestId,
        text::email_key,
    },
};

/// Decisions that are kept of a tenant.
const MAX_KEPT: u32 = 10_000;
/// Decisions of one tenant that may wait.
const MAX_WAITING_OF_TENANT: usize = 128;
/// Decisions of all tenants that may wait.
const MAX_WAITING: usize = 1_024;
/// Tenants whose decisions are written at a time.
const TENANTS_AT_A_TIME: usize = 64;
/// Bytes of a context that are kept. Contexts are made of what the contract limits to less; this is for those to come.
const MAX_CONTEXT_BYTES: usize = 16 * 1024;

/// What waits to be written.
#[derive(Clone, Default)]
pub struct DecisionLog {
    waiting: Arc<Mutex<WaitingDecisions>>,
}

#[derive(Default)]
struct WaitingDecisions {
    of_tenants: HashMap<TenantId, Vec<decision::Model>>,
    number: usize,
    dropped: u64,
}

impl WaitingDecisions {
    fn add(&mut self, tenant: TenantId, decision: decision::Model) {
        let of_tenant = self.of_tenants.entry(tenant).or_default();
        if self.number >= MAX_WAITING || of_tenant.len() >= MAX_WAITING_OF_TENANT {
            self.dropped += 1;
        } else {
            of_tenant.push(decision);
            self.number += 1;
        }
    }

    /// The decisions of some tenants.
    fn take(&mut self) -> Vec<(TenantId, Vec<decision::Model>)> {
        let tenants: Vec<TenantId> = self.of_tenants.keys().take(TENANTS_AT_A_TIME).copied().collect();
        let taken = tenants
            .into_iter()
            .filter_map(|tenant| Some((tenant, self.of_tenants.remove(&tenant)?)));
        let taken: Vec<_> = taken.collect();
        self.number -= taken.iter().map(|(_, decisions)| decisions.len()).sum::<usize>();
        taken
    }
}

impl DecisionLog {
    /// Takes down that a request of a caller was refused.
    pub fn note(&self, caller: &Caller, request: &RequestId, forbidden: &Forbidden) {
        if let Some(decision) = of(caller, request, forbidden) {
            self.waiting().add(caller.tenant_id(), decision);
        }
    }

    fn waiting(&self) -> MutexGuard<'_, WaitingDecisions> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what waits.
    pub async fn write(&self, store: &Store) {
        let dropped = std::mem::take(&mut self.waiting().dropped);
        if dropped > 0 {
            tracing::warn!(
                decisions = dropped,
                "too many requests were refused at once: these decisions are missing from the decision log"
            );
        }
        loop {
            let taken = self.waiting().take();
            if taken.is_empty() {
                return;
            }
            let written = taken.into_iter().map(async |(tenant, decisions)| {
                let number = decisions.len();
                let outcome = store.write(WriteDecisions { tenant, decisions }).await;
                (number, outcome)
            });
            for (decisions, outcome) in join_all(written).await {
                if let Err(error) = outcome {
                    tracing::warn!(%error, decisions, "decisions could not be written to the decision log");
                }
            }
        }
    }
}

/// What is kept of a refusal.
fn of(caller: &Caller, request: &RequestId, forbidden: &Forbidden) -> Option<decision::Model> {
    let Forbidden {
        action,
        decision,
        target,
        context,
        ..
    } = forbidden;
    let kind = match decision.verdict {
        Verdict::Permitted => return None,
        Verdict::Forbidden => DecisionKind::Forbidden,
        Verdict::NotPermitted => DecisionKind::NotPermitted,
        Verdict::Error => DecisionKind::Error,
    };
    let text = serde_json::to_string(context).unwrap_or_default();
    // PostgreSQL cannot store U+0000, not even in JSON.
    let storable = text.len() <= MAX_CONTEXT_BYTES && !text.contains("\\u0000");
    let tenant = caller.tenant_id();
    let principal = &caller.principal;
    Some(decision::Model {
        tenant_id: tenant.0,
        id: DecisionId::new().0,
        actor_id: principal.actor_id.replace('\0', "\u{fffd}"),
        actor_type: principal.actor_type,
        scopes: principal.scopes.iter().map(|scope| scope.as_str()).collect(),
        action: action.as_str().to_owned(),
        resource: target.name(tenant),
        kind,
        priority: decision.level.and_then(DecidedAt::priority),
        rule_ids: decision.rules.iter().map(String::as_str).collect(),
        policy_ids: decision.policy_ids.iter().map(ToString::to_string).collect(),
        notices: decision.notices.iter().map(AsRef::as_ref).collect(),
        policy_version: caller.tenant.tenant.version,
        context: storable.then(|| context.clone().into()),
        request_id: Some(request.as_str().to_owned()),
        created_at: clock::now().0,
    })
}

/// By what requests about a user are known that do not name them.
#[derive(Clone, Debug, Default)]
pub struct UserTraces {
    /// Addresses, in the form in which they are compared.
    pub emails: HashSet<String>,
    /// Accounts: the id of the provider and the id there.
    pub accounts: HashSet<(Uuid, String)>,
    /// The actors that they were before they were a user here, and as a user.
    pub actors: HashSet<String>,
}

/// Writes decisions of a tenant. No event and no audit entry: nothing was changed.
pub struct WriteDecisions {
    /// The tenant.
    pub tenant: TenantId,
    /// What it was refused.
    pub decisions: Vec<decision::Model>,
}

#[async_trait]
impl Change for WriteDecisions {
    type Done = ();
    type Refusal = StoreError;

    fn tenant(&self) -> Option<TenantId> {
        Some(self.tenant)
    }

    async fn apply(&self, tx: &Tx<'_>) -> Result<Applied<()>, StoreError> {
        let there = users_there(tx, self.tenant, &self.decisions).await?;
        let rows = self.decisions.iter().map(|decision| {
            let mut row = decision.clone();
            // A user who was erased while this waited must not leave anything in it.
            if user_of(&row.resource).is_some_and(|user| !there.contains(&user)) {
                row.context = None;
            }
            row.into_active_model()
        });
        decision::Entity::insert_many(rows)
            .exec_without_returning(tx.db)
            .await?;
        let keep = "DELETE FROM decisions WHERE tenant_id = $1 AND id <= \
                    (SELECT id FROM decisions WHERE tenant_id = $1 ORDER BY id DESC LIMIT 1 OFFSET $2)";
        let values = [self.tenant.into(), i64::from(MAX_KEPT).into()];
        let keep = Statement::from_sql_and_values(tx.db.get_database_backend(), keep, values);
        tx.db.execute_raw(keep).await?;
        Ok(Applied::unchanged(()))
    }
}

/// The user of a resource's name.
fn user_of(resource: &str) -> Option<Uuid> {
    resource.strip_prefix("user:")?.parse().ok()
}

/// Which of the users that decisions are about there are.
async fn users_there(tx: &Tx<'_>, tenant: TenantId, decisions: &[decision::Model]) -> Result<Vec<Uuid>, StoreError> {
    let named: Vec<Uuid> = decisions
        .iter()
        .filter_map(|decision| user_of(&decision.resource))
        .collect();
    if named.is_empty() {
        return Ok(named);
    }
    Ok(user::Entity::find()
        .select_only()
        .column(user::Column::Id)
        .filter(user::COLUMN.tenant_id.eq(tenant.0))
        .filter(user::COLUMN.id.is_in(named))
        .into_tuple()
        .all(tx.db)
        .await?)
}

/// What tells whom a decision is about.
const ABOUT: &str = "\
    SELECT id, resource, actor_id, context ->> 'email', context ->> 'external_email', context ->> 'identity_provider', \
    context ->> 'external_id' FROM decisions WHERE tenant_id = $1";
/// Decisions that are removed with one statement: below what the databases take as parameters.
const REMOVED_AT_A_TIME: usize = 1_000;

/// Removes the decisions about a user: what was asked of them, what they asked for themselves, and what names an address or
/// an account of theirs. It looks at every decision of the tenant, of which there are [`MAX_KEPT`] at most.
///
/// # Errors
///
/// [`StoreError`]
pub async fn erase(tx: &Tx<'_>, tenant: TenantId, user: UserId, traces: &UserTraces) -> Result<(), StoreError> {
    remove(tx, tenant, Some(&format!("user:{user}")), traces).await
}

/// Removes the decisions that name an address which a user no longer has: nothing would find them when the user is erased.
///
/// # Errors
///
/// [`StoreError`]
pub async fn forget_address(tx: &Tx<'_>, tenant: TenantId, email_key: &str) -> Result<(), StoreError> {
    let traces = UserTraces {
        emails: [email_key.to_owned()].into(),
        ..UserTraces::default()
    };
    remove(tx, tenant, None, &traces).await
}

/// Removes the decisions on a resource, and those that show a trace.
async fn remove(tx: &Tx<'_>, tenant: TenantId, resource: Option<&str>, traces: &UserTraces) -> Result<(), StoreError> {
    let backend = tx.db.get_database_backend();
    let mut found = Vec::new();
    for row in tx
        .db
        .query_all_raw(Statement::from_sql_and_values(backend, ABOUT, [tenant.into()]))
        .await?
    {
        let id: Uuid = row.try_get_by_index(0)?;
        let (on, actor): (String, String) = (row.try_get_by_index(1)?, row.try_get_by_index(2)?);
        let text = |index| row.try_get_by_index::<Option<String>>(index);
        let emails = [text(3)?, text(4)?];
        // A look-up is done to the provider, and does not name it again.
        let provider = text(5)?.or_else(|| on.strip_prefix("identity_provider:").map(str::to_owned));
        let account = provider.and_then(|id| id.parse().ok()).zip(text(6)?);
        let is_theirs = resource == Some(&*on)
            || traces.actors.contains(&actor)
            || emails
                .iter()
                .flatten()
                .any(|email| traces.emails.contains(&email_key(email)))
            || account.is_some_and(|account| traces.accounts.contains(&account));
        if is_theirs {
            found.push(id);
        }
    }
    for some in found.chunks(REMOVED_AT_A_TIME) {
        decision::Entity::delete_many()
            .filter(decision::COLUMN.tenant_id.eq(tenant.0))
            .filter(decision::COLUMN.id.is_in(some.iter().copied()))
            .exec(tx.db)
            .await?;
    }
    Ok(())
}
