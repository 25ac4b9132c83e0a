//! The way of every change of policies to the door for writing: it is made only if it leaves somebody who could take it back
//! ([`super::lockout`]), unless the caller insists.

use serde::{Serialize, de::DeserializeOwned};

use super::{
    PolicyRefusal,
    lockout::{self, Checked, Guarded, PolicyChange},
};
use crate::http::{
    caller::ApiCaller,
    door::{WriteError, Written},
};

/// How often a change of policies is tried that others overtake. Each time another change of the tenant's policies was
/// made.
const ATTEMPTS: usize = 10;

/// Carries out a change of policies, unless it would lock everybody out and is not forced.
///
/// # Errors
///
/// The change's own refusals, and [`PolicyRefusal::LocksOut`].
pub async fn write<C>(
    caller: &ApiCaller<'_>,
    change: C,
    force: bool,
) -> Result<Written<C::Done>, WriteError<PolicyRefusal>>
where
    C: PolicyChange,
    C::Done: Serialize + DeserializeOwned,
{
    let refused = |error| WriteError::Refused(PolicyRefusal::Store(error));
    let mut who = caller.who().clone();
    for _ in 0..ATTEMPTS {
        let checked = if force {
            Checked::forced()
        } else {
            lockout::check(caller.store(), &who, &change).await.map_err(refused)?
        };
        let guarded = Guarded {
            change: change.clone(),
            checked,
        };
        match caller.write_value(guarded).await {
            Err(WriteError::Refused(PolicyRefusal::Overtaken)) => {}
            outcome => return outcome,
        }
        who = caller.with_tenant_of_now(who).await.map_err(refused)?;
    }
    Err(WriteError::Refused(PolicyRefusal::Overtaken))
}
