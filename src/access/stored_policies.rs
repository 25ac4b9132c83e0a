//! The policies of a tenant that are in force, as they are stored.

use std::collections::HashMap;

use aka_entity::{policy, policy_rule};
use sea_orm::{EntityTrait as _, QueryFilter as _, QueryOrder as _};

use crate::{
    policy::{cost::Weight, rules::StoredRule},
    store::{Store, StoreError},
    types::ids::{PolicyId, PolicyRuleId, TenantId},
};

/// A policy and its rules, in the order in which they are shown.
pub type PolicyWithRules = (policy::Model, Vec<policy_rule::Model>);

/// The policies of a tenant that are in force, from the highest priority down.
///
/// # Errors
///
/// [`StoreError`]
pub async fn read(store: &Store, tenant: TenantId) -> Result<Vec<PolicyWithRules>, StoreError> {
    let db = store.reader();
    let policies = policy::Entity::find()
        .filter(policy::COLUMN.tenant_id.eq(tenant.0))
        .filter(policy::COLUMN.enabled.eq(true))
        .order_by_desc(policy::Column::Priority)
        .order_by_asc(policy::Column::Id)
        .all(db)
        .await?;
    let mut rules: HashMap<_, Vec<policy_rule::Model>> = HashMap::new();
    let rows = policy_rule::Entity::find()
        .filter(policy_rule::COLUMN.tenant_id.eq(tenant.0))
        .order_by_asc(policy_rule::Column::Ordinal)
        .all(db)
        .await?;
    for rule in rows {
        rules.entry(rule.policy_id).or_default().push(rule);
    }
    let with_rules = policies
        .into_iter()
        .map(|policy| (rules.remove(&policy.id).unwrap_or_default(), policy));
    Ok(with_rules.map(|(rules, policy)| (policy, rules)).collect())
}

impl<'a> From<&'a policy_rule::Model> for StoredRule<'a> {
    fn from(row: &'a policy_rule::Model) -> Self {
        // A negative number was written by hand: no mark fits it, nor any other number that is wrong.
        let number = |number: i64| u64::try_from(number).unwrap_or(u64::MAX);
        Self {
            id: PolicyRuleId(row.id),
            policy_id: PolicyId(row.policy_id),
            text: &row.policy_text,
            notice: row.notice.as_deref(),
            outline: &row.outline,
            weight: Weight {
                nodes: number(row.nodes),
                cost: number(row.cost),
            },
            mark: &row.checked,
        }
    }
}
