//! Policies and their rules, as a tenant keeps them: how they are found, and why they are not changed. The changes are in
//! [`changes`] and [`rule_changes`]. What they mean is in [`crate::policy`].
//!
//! This file, [`lockout`] and [`errors`] refer to one another: a change of policies can be refused because it would lock everybody
//! out, and how that is told stands with the other refusals.

pub mod api;
pub mod changes;
mod edits;
pub mod errors;
pub mod evaluation;
pub mod evaluation_api;
mod examples;
mod guarded;
pub mod lockout;
mod operations;
pub mod preview;
pub mod preview_api;
pub mod rule_changes;
pub mod rule_checks;
mod rule_input;
pub mod rule_wire;
pub mod rules_api;

use poem_openapi::OpenApi;

pub use self::operations::RESOURCE;

/// The operations on policies, their rules, and what they would decide.
#[must_use]
pub fn operations() -> impl OpenApi {
    (
        api::PoliciesApi,
        rules_api::PolicyRulesApi,
        evaluation_api::PolicyEvaluationApi,
        preview_api::PolicyPreviewApi,
    )
}

use aka_entity::{policy, policy_rule};
use sea_orm::{EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _};
use uuid::Uuid;

use self::lockout::LockedOut;
use crate::{
    access::rule_limits::{Excess, RuleLimitError},
    store::{
        Store, StoreError,
        revision::{Revision, RevisionMismatch},
    },
    types::ids::{PolicyId, PolicyRuleId, TenantId},
};

/// The greatest distance of a priority from 0.
pub const MAX_PRIORITY: i32 = 1_000_000;

/// One policy with its rules in their order.
///
/// # Errors
///
/// [`StoreError`]
pub async fn find(
    store: &Store,
    tenant: TenantId,
    id: PolicyId,
) -> Result<Option<(policy::Model, Vec<policy_rule::Model>)>, StoreError> {
    let Some(policy) = policy::Entity::find_by_id((tenant.0, id.0))
        .one(&store.reader_of(tenant))
        .await?
    else {
        return Ok(None);
    };
    Ok(Some((policy, all_rules(store, tenant, id).await?)))
}

/// All rules of a policy in their order.
///
/// # Errors
///
/// [`StoreError`]
pub async fn all_rules(
    store: &Store,
    tenant: TenantId,
    policy: PolicyId,
) -> Result<Vec<policy_rule::Model>, StoreError> {
    Ok(policy_rule::Entity::find()
        .filter(policy_rule::COLUMN.tenant_id.eq(tenant.0))
        .filter(policy_rule::COLUMN.policy_id.eq(policy.0))
        .order_by_asc(policy_rule::Column::Ordinal)
        .all(&store.reader_of(tenant))
        .await?)
}

/// One rule of a policy.
///
/// # Errors
///
/// [`StoreError`]
pub async fn find_rule(
    store: &Store,
    tenant: TenantId,
    policy: PolicyId,
    id: PolicyRuleId,
) -> Result<Option<policy_rule::Model>, StoreError> {
    Ok(policy_rule::Entity::find_by_id((tenant.0, id.0))
        .filter(policy_rule::COLUMN.policy_id.eq(policy.0))
        .one(&store.reader_of(tenant))
        .await?)
}

/// One rule, whichever policy it belongs to.
///
/// # Errors
///
/// [`StoreError`]
pub async fn find_rule_of_any(
    store: &Store,
    tenant: TenantId,
    id: PolicyRuleId,
) -> Result<Option<policy_rule::Model>, StoreError> {
    Ok(policy_rule::Entity::find_by_id((tenant.0, id.0))
        .one(&store.reader_of(tenant))
        .await?)
}

/// The rules of a policy in their order, after an ordinal. None: the tenant has no such policy.
///
/// # Errors
///
/// [`StoreError`]
pub async fn list_rules(
    store: &Store,
    tenant: TenantId,
    policy: PolicyId,
    after: Option<i32>,
    limit: u64,
) -> Result<Option<Vec<policy_rule::Model>>, StoreError> {
    let mut query = policy_rule::Entity::find()
        .filter(policy_rule::COLUMN.tenant_id.eq(tenant.0))
        .filter(policy_rule::COLUMN.policy_id.eq(policy.0));
    if let Some(after) = after {
        query = query.filter(policy_rule::COLUMN.ordinal.gt(after));
    }
    let rules = query
        .order_by_asc(policy_rule::Column::Ordinal)
        .limit(limit)
        .all(&store.reader_of(tenant))
        .await?;
    if rules.is_empty()
        && policy::Entity::find_by_id((tenant.0, policy.0))
            .one(&store.reader_of(tenant))
            .await?
            .is_none()
    {
        return Ok(None);
    }
    Ok(Some(rules))
}

/// The policies of a tenant with their rules, oldest first, after a position.
///
/// # Errors
///
/// [`StoreError`]
pub async fn list(
    store: &Store,
    tenant: TenantId,
    after: Option<Uuid>,
    limit: u64,
) -> Result<Vec<(policy::Model, Vec<policy_rule::Model>)>, StoreError> {
    let mut query = policy::Entity::find().filter(policy::COLUMN.tenant_id.eq(tenant.0));
    if let Some(after) = after {
        query = query.filter(policy::COLUMN.id.gt(after));
    }
    let policies = query
        .order_by_asc(policy::Column::Id)
        .limit(limit)
        .all(&store.reader_of(tenant))
        .await?;
    let mut rules = policy_rule::Entity::find()
        .filter(policy_rule::COLUMN.tenant_id.eq(tenant.0))
        .filter(
            policy_rule::COLUMN
                .policy_id
                .is_in(policies.iter().map(|policy| policy.id)),
        )
        .order_by_asc(policy_rule::Column::Ordinal)
        .all(&store.reader_of(tenant))
        .await?;
    Ok(policies
        .into_iter()
        .map(|policy| {
            let (own, others) = rules.drain(..).partition(|rule| rule.policy_id == policy.id);
            rules = others;
            (policy, own)
        })
        .collect())
}

/// The state of a policy with its rules.
#[must_use]
pub fn revision(policy: &policy::Model, rules: &[policy_rule::Model]) -> String {
    let policy = Revision::default()
        .and(policy.id)
        .and(&policy.name)
        .and_text(policy.description.as_deref())
        .and([u8::from(policy.enabled)])
        .and(policy.priority.to_be_bytes());
    rules.iter().fold(policy, and_rule).text()
}

/// The state of one rule.
#[must_use]
pub fn rule_revision(rule: &policy_rule::Model) -> String {
    and_rule(Revision::default(), rule).text()
}

fn and_rule(revision: Revision, rule: &policy_rule::Model) -> Revision {
    revision
        .and(rule.id)
        .and(rule.ordinal.to_be_bytes())
        .and(&rule.policy_text)
        .and_text(rule.notice.as_deref())
}

/// Why a policy or rule is not made or changed.
#[derive(Debug)]
pub enum PolicyRefusal {
    /// It is not as the change expects it: somebody else has changed it.
    RevisionMismatch,
    /// An order must name each thing once, and this one is not among them, is named twice, or is missing.
    NotAnOrder {
        /// What is wrong.
        reason: String,
    },
    /// The tenant has no such policy.
    NoPolicy(Option<PolicyId>),
    /// The policy has no such rule.
    NoRule(PolicyRuleId),
    /// The policy, or the tenant, would have more rules than it may have, or rules that weigh more.
    TooManyRules(Excess),
    /// Nobody could take it back.
    LocksOut(Box<LockedOut>),
    /// The policies of the tenant have changed since it was found out whether somebody could take it back.
    Overtaken,
    /// The store could not do it.
    Store(StoreError),
}

impl From<RevisionMismatch> for PolicyRefusal {
    fn from(_: RevisionMismatch) -> Self {
        Self::RevisionMismatch
    }
}

impl From<RuleLimitError> for PolicyRefusal {
    fn from(error: RuleLimitError) -> Self {
        match error {
            RuleLimitError::Exceeded(excess) => Self::TooManyRules(excess),
            RuleLimitError::Store(error) => Self::Store(error),
        }
    }
}

impl From<StoreError> for PolicyRefusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Reference(_) => Self::NoPolicy(None),
            error => Self::Store(error),
        }
    }
}

impl From<sea_orm::DbErr> for PolicyRefusal {
    fn from(error: sea_orm::DbErr) -> Self {
        StoreError::from(error).into()
    }
}
