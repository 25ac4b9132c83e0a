//! How much of the connections for reading one tenant may use at the same time.
//!
//! Some queries are long: a page of the audit log with a filter that fits hardly any entry, say. A tenant that sends many
//! of them at once would hold every connection, and everybody else would wait for theirs to end. So each tenant has at
//! most a share of the connections; what it sends beyond that waits, and beyond [`MAX_WAITING`] is refused.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use sea_orm::DbErr;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::StoreError;
use crate::types::ids::TenantId;

/// Queries of one tenant that may wait for others of the same tenant.
const MAX_WAITING: usize = 256;
/// How long they may wait.
const WAIT: Duration = Duration::from_secs(5);
const LIMIT: &str = "256 reads waiting at the same time, for 5 seconds at most";

/// The shares of all tenants.
pub struct Shares {
    /// Queries of one tenant that may run at the same time.
    each: usize,
    /// Only tenants that have a query running or waiting are in it.
    tenants: Mutex<HashMap<TenantId, Arc<TenantShare>>>,
}

struct TenantShare {
    running: Arc<Semaphore>,
    /// Queries that run or wait.
    present: AtomicUsize,
}

impl Shares {
    /// Shares of so many queries each.
    pub fn new(each: usize) -> Self {
        Self {
            each,
            tenants: Mutex::default(),
        }
    }

    /// Waits until a tenant may run one more query.
    pub async fn take(self: &Arc<Self>, tenant: TenantId) -> Result<Share, DbErr> {
        let present = Present::new(self, tenant).ok_or_else(too_many)?;
        let permit = Arc::clone(&present.of.running).acquire_owned();
        let permit = tokio::time::timeout(WAIT, permit).await.map_err(|_| too_many())?;
        Ok(Share {
            _permit: permit.map_err(|error| DbErr::Custom(error.to_string()))?,
            _present: present,
        })
    }

    fn tenants(&self) -> MutexGuard<'_, HashMap<TenantId, Arc<TenantShare>>> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The refusal on its way through functions that know only errors of the database.
fn too_many() -> DbErr {
    StoreError::TenantOverloaded(LIMIT).into_db_err()
}

/// The right to run one query. Ends when it is dropped.
pub struct Share {
    _permit: OwnedSemaphorePermit,
    _present: Present,
}

/// A query that runs or waits.
struct Present {
    shares: Arc<Shares>,
    tenant: TenantId,
    of: Arc<TenantShare>,
}

impl Present {
    /// None: too many of the tenant's queries wait.
    fn new(shares: &Arc<Shares>, tenant: TenantId) -> Option<Self> {
        let mut tenants = shares.tenants();
        let of = tenants.entry(tenant).or_insert_with(|| {
            Arc::new(TenantShare {
                running: Arc::new(Semaphore::new(shares.each)),
                present: AtomicUsize::new(0),
            })
        });
        if of.present.load(Ordering::Relaxed) >= shares.each + MAX_WAITING {
            return None;
        }
        of.present.fetch_add(1, Ordering::Relaxed);
        Some(Self {
            shares: Arc::clone(shares),
            tenant,
            of: Arc::clone(of),
        })
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        let mut tenants = self.shares.tenants();
        if self.of.present.fetch_sub(1, Ordering::Relaxed) == 1 {
            tenants.remove(&self.tenant);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_tenant_runs_no_more_than_its_share_and_others_do_not_wait_for_it() {
        let shares = Arc::new(Shares::new(2));
        let (one, other) = (TenantId::new(), TenantId::new());
        let first = shares.take(one).await.expect("a share");
        let _second = shares.take(one).await.expect("a share");
        let third = tokio::spawn({
            let shares = Arc::clone(&shares);
            async move { shares.take(one).await.map(drop) }
        });
        tokio::task::yield_now().await;
        assert!(!third.is_finished(), "it waits for the first two");
        shares.take(other).await.expect("another tenant does not wait");
        drop(first);
        third.await.expect("no panic").expect("a share");
        assert_eq!(shares.tenants().len(), 1, "tenants without queries are forgotten");
    }

    #[tokio::test]
    async fn what_is_too_much_is_refused_as_the_tenants_own_excess() {
        let shares = Arc::new(Shares::new(1));
        let tenant = TenantId::new();
        let _running = shares.take(tenant).await.expect("a share");
        let waiting: Vec<_> = (0..MAX_WAITING)
            .map(|_| {
                let shares = Arc::clone(&shares);
                tokio::spawn(async move { shares.take(tenant).await.map(drop) })
            })
            .collect();
        tokio::task::yield_now().await;
        let too_many = shares.take(tenant).await.map(drop).map_err(StoreError::from);
        assert!(matches!(too_many, Err(StoreError::TenantOverloaded(_))), "{too_many:?}");
        for waits in waiting {
            waits.abort();
        }
    }
}
