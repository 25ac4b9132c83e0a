//! Policies and their rules, as a tenant keeps them. What they mean is in [`crate::policy`].

use std::collections::HashSet;

use aka_entity::{policy, policy_rule};
use async_trait::async_trait;
use sea_orm::{
    ActiveModelTrait as _, ConnectionTrait as _, DatabaseBackend, EntityTrait as _, IntoActiveModel as _,
    PaginatorTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
};
use serde::Serialize;
use uuid::Uuid;

use super::{
    caller::Permit,
    ids::{PolicyId, PolicyRuleId, TenantId},
    revision::{Changed, Expected, Revision, check},
    text::{Description, Name},
};
use crate::{
    policy::rules::mark,
    store::{Applied, Change, Record, Store, StoreError, Tx},
};

/// Rules of one tenant at most: what is decided on each request has an end.
pub const MAX_RULES: u64 = 10_000;
/// Rules of one policy at most: it comes as one answer.
pub const MAX_RULES_PER_POLICY: u64 = 1_000;

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
    let Some(policy) = policy::Entity::find_by_id((tenant.0, id.0)).one(store.reader()).await? else {
        return Ok(None);
    };
    let rules = policy_rule::Entity::find()
        .filter(policy_rule::COLUMN.tenant_id.eq(tenant.0))
        .filter(policy_rule::COLUMN.policy_id.eq(id.0))
        .order_by_asc(policy_rule::Column::Ordinal)
        .all(store.reader())
        .await?;
    Ok(Some((policy, rules)))
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
        .one(store.reader())
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
        .one(store.reader())
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
        .all(store.reader())
        .await?;
    if rules.is_empty()
        && policy::Entity::find_by_id((tenant.0, policy.0))
            .one(store.reader())
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
        .all(store.reader())
        .await?;
    let mut rules = policy_rule::Entity::find()
        .filter(policy_rule::COLUMN.tenant_id.eq(tenant.0))
        .filter(
            policy_rule::COLUMN
                .policy_id
                .is_in(policies.iter().map(|policy| policy.id)),
        )
        .order_by_asc(policy_rule::Column::Ordinal)
        .all(store.reader())
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
    Changed,
    /// An order must name each thing once, and this one is not among them, is named twice, or is missing.
    NotAnOrder {
        /// What is wrong.
        reason: String,
    },
    /// The tenant has no such policy.
    NoPolicy,
    /// The policy has no such rule.
    NoRule,
    /// The policy, or the tenant, has as many rules as it may have.
    TooManyRules(u64),
    /// The store could not do it.
    Store(StoreError),
}

impl From<Changed> for PolicyRefusal {
    fn from(_: Changed) -> Self {
        Self::Changed
    }
}

impl From<StoreError> for PolicyRefusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Reference(_) => Self::NoPolicy,
            error => Self::Store(error),
        }
    }
}

impl From<sea_orm::DbErr> for PolicyRefusal {
    fn from(error: sea_orm::DbErr) -> Self {
        StoreError::from(error).into()
    }
}

/// A rule that has been checked and is to be stored.
#[derive(Clone, Debug)]
pub struct NewRule {
    /// Its id.
    pub id: PolicyRuleId,
    /// The statement.
    pub policy_text: String,
    /// What the caller reads when it determined a decision.
    pub notice: Option<Description>,
}

/// Makes a policy.
pub struct CreatePolicy {
    /// That it is permitted.
    pub permit: Permit,
    /// Its id.
    pub id: PolicyId,
    /// Its name.
    pub name: Name,
    /// What it is for.
    pub description: Option<Description>,
    /// Whether its rules are in force.
    pub enabled: bool,
    /// Higher is evaluated first.
    pub priority: i32,
    /// Its rules.
    pub rules: Vec<NewRule>,
}

#[async_trait]
impl Change for CreatePolicy {
    type Done = (policy::Model, Vec<policy_rule::Model>);
    type Refusal = PolicyRefusal;

    async fn apply(&self, tx: &Tx<'_>) -> Result<Applied<Self::Done>, PolicyRefusal> {
        let tenant = self.permit.tenant();
        let policy = policy::Model {
            tenant_id: tenant.0,
            id: self.id.0,
            name: self.name.to_string(),
            description: self.description.as_ref().map(ToString::to_string),
            enabled: self.enabled,
            priority: self.priority,
            created_at: tx.now.0,
            updated_at: tx.now.0,
        };
        policy::Entity::insert(policy.clone().into_active_model())
            .exec_without_returning(tx.db)
            .await?;
        let rules = add_rules(tx, tenant, self.id, &self.rules).await?;
        let record = record(&self.permit, &policy, &rules, "policy.created");
        Ok(Applied::recorded((policy, rules), record).in_memory_of_nodes(tenant))
    }
}

/// Changes a policy; what is absent stays.
pub struct UpdatePolicy {
    /// That it is permitted.
    pub permit: Permit,
    /// Which one.
    pub id: PolicyId,
    /// As which it must be found.
    pub expected: Expected,
    /// Its new name.
    pub name: Option<Name>,
    /// What it is for from now on; `Some(None)` takes the description away.
    pub description: Option<Option<Description>>,
    /// Whether its rules are in force.
    pub enabled: Option<bool>,
    /// Its new priority.
    pub priority: Option<i32>,
    /// New rules in place of all that it has.
    pub rules: Option<Vec<NewRule>>,
}

#[async_trait]
impl Change for UpdatePolicy {
    type Done = (policy::Model, Vec<policy_rule::Model>);
    type Refusal = PolicyRefusal;

    async fn apply(&self, tx: &Tx<'_>) -> Result<Applied<Self::Done>, PolicyRefusal> {
        let tenant = self.permit.tenant();
        let mut policy = get(tx, tenant, self.id).await?;
        let mut rules = rules_of(tx, tenant, self.id).await?;
        check(&self.expected, &revision(&policy, &rules))?;
        let before = (policy.clone(), rules.clone());
        if let Some(name) = &self.name {
            policy.name = name.to_string();
        }
        if let Some(description) = &self.description {
            policy.description = description.as_ref().map(ToString::to_string);
        }
        policy.enabled = self.enabled.unwrap_or(policy.enabled);
        policy.priority = self.priority.unwrap_or(policy.priority);
        if let Some(new) = &self.rules {
            policy_rule::Entity::delete_many()
                .filter(policy_rule::COLUMN.tenant_id.eq(tenant.0))
                .filter(policy_rule::COLUMN.policy_id.eq(self.id.0))
                .exec(tx.db)
                .await?;
            rules = add_rules(tx, tenant, self.id, new).await?;
        }
        if before == (policy.clone(), rules.clone()) {
            return Ok(Applied::unchanged((policy, rules)));
        }
        policy.updated_at = tx.now.0;
        let policy = policy.into_active_model().reset_all().update(tx.db).await?;
        let record = record(&self.permit, &policy, &rules, "policy.updated");
        Ok(Applied::recorded((policy, rules), record).in_memory_of_nodes(tenant))
    }
}

/// Gives all policies of a tenant new priorities, so that they are evaluated in an order.
pub struct ReorderPolicies {
    /// That it is permitted.
    pub permit: Permit,
    /// All policies, the one that is to be evaluated first at the head.
    pub ids: Vec<PolicyId>,
}

#[async_trait]
impl Change for ReorderPolicies {
    type Done = ();
    type Refusal = PolicyRefusal;

    async fn apply(&self, tx: &Tx<'_>) -> Result<Applied<()>, PolicyRefusal> {
        let tenant = self.permit.tenant();
        let mut query = policy::Entity::find().filter(policy::COLUMN.tenant_id.eq(tenant.0));
        if tx.db.get_database_backend() == DatabaseBackend::Postgres {
            query = query.lock_exclusive();
        }
        let policies = query.all(tx.db).await?;
        let wanted: Vec<Uuid> = self.ids.iter().map(|id| id.0).collect();
        check_order(&wanted, policies.iter().map(|policy| policy.id), "policy")?;
        let mut first = None;
        for mut policy in policies {
            let place = wanted.iter().position(|id| *id == policy.id).unwrap_or_default();
            let priority = i32::try_from(wanted.len() - place).unwrap_or(i32::MAX);
            if policy.priority != priority {
                policy.priority = priority;
                policy.updated_at = tx.now.0;
                policy.into_active_model().reset_all().update(tx.db).await?;
                first = first.or(wanted.first());
            }
        }
        let Some(first) = first else {
            return Ok(Applied::unchanged(()));
        };
        let entry = Order { ids: &wanted };
        let record = self
            .permit
            .record("policy", *first, &entry, "policies.reordered", &entry);
        Ok(Applied::recorded((), record).in_memory_of_nodes(tenant))
    }
}

/// What the records tell of an order.
#[derive(Serialize)]
struct Order<'a> {
    ids: &'a [Uuid],
}

/// That an order names each of some things once, and nothing else.
fn check_order(wanted: &[Uuid], found: impl Iterator<Item = Uuid>, what: &str) -> Result<(), PolicyRefusal> {
    let refuse = |reason: String| Err(PolicyRefusal::NotAnOrder { reason });
    let found: HashSet<Uuid> = found.collect();
    let mut seen = HashSet::new();
    for id in wanted {
        if !found.contains(id) {
            return refuse(format!("has {id}, which is no {what} here"));
        }
        if !seen.insert(id) {
            return refuse(format!("has {id} twice"));
        }
    }
    match found.iter().find(|id| !seen.contains(id)) {
        Some(missing) => refuse(format!("must name every {what}, but lacks {missing}")),
        None => Ok(()),
    }
}

/// Deletes a policy with its rules.
pub struct DeletePolicy {
    /// That it is permitted.
    pub permit: Permit,
    /// Which one.
    pub id: PolicyId,
    /// As which it must be found.
    pub expected: Expected,
}

#[async_trait]
impl Change for DeletePolicy {
    type Done = ();
    type Refusal = PolicyRefusal;

    async fn apply(&self, tx: &Tx<'_>) -> Result<Applied<()>, PolicyRefusal> {
        let tenant = self.permit.tenant();
        let policy = get(tx, tenant, self.id).await?;
        if self.expected.is_some() {
            check(
                &self.expected,
                &revision(&policy, &rules_of(tx, tenant, self.id).await?),
            )?;
        }
        policy::Entity::delete_by_id((tenant.0, self.id.0)).exec(tx.db).await?;
        let record = record(&self.permit, &policy, &[], "policy.deleted");
        Ok(Applied::recorded((), record).in_memory_of_nodes(tenant))
    }
}

/// Adds a rule at the end of a policy.
pub struct CreatePolicyRule {
    /// That it is permitted.
    pub permit: Permit,
    /// Where it goes.
    pub policy: PolicyId,
    /// The rule.
    pub rule: NewRule,
}

#[async_trait]
impl Change for CreatePolicyRule {
    type Done = policy_rule::Model;
    type Refusal = PolicyRefusal;

    async fn apply(&self, tx: &Tx<'_>) -> Result<Applied<Self::Done>, PolicyRefusal> {
        let tenant = self.permit.tenant();
        let policy = get(tx, tenant, self.policy).await?;
        let rules = add_rules(tx, tenant, self.policy, std::slice::from_ref(&self.rule)).await?;
        let record = record(&self.permit, &policy, &rules, "policy_rule.created");
        let [rule] = <[_; 1]>::try_from(rules).map_err(|_| StoreError::Fault("one rule makes one row".into()))?;
        Ok(Applied::recorded(rule, record).in_memory_of_nodes(tenant))
    }
}

/// Changes a rule; what is absent stays.
pub struct UpdatePolicyRule {
    /// That it is permitted.
    pub permit: Permit,
    /// Where it is.
    pub policy: PolicyId,
    /// Which one.
    pub id: PolicyRuleId,
    /// As which it must be found.
    pub expected: Expected,
    /// Its new text.
    pub policy_text: Option<String>,
    /// Its new notice; `Some(None)` takes it away.
    pub notice: Option<Option<Description>>,
}

#[async_trait]
impl Change for UpdatePolicyRule {
    type Done = policy_rule::Model;
    type Refusal = PolicyRefusal;

    async fn apply(&self, tx: &Tx<'_>) -> Result<Applied<Self::Done>, PolicyRefusal> {
        let tenant = self.permit.tenant();
        let policy = get(tx, tenant, self.policy).await?;
        let mut rule = rule_of(tx, tenant, self.policy, self.id).await?;
        check(&self.expected, &rule_revision(&rule))?;
        let before = rule.clone();
        if let Some(text) = &self.policy_text {
            rule.policy_text.clone_from(text);
            rule.checked = mark(text).to_vec();
        }
        if let Some(notice) = &self.notice {
            rule.notice = notice.as_ref().map(ToString::to_string);
        }
        if rule == before {
            return Ok(Applied::unchanged(rule));
        }
        let rule = rule.into_active_model().reset_all().update(tx.db).await?;
        let record = record(
            &self.permit,
            &policy,
            std::slice::from_ref(&rule),
            "policy_rule.updated",
        );
        Ok(Applied::recorded(rule, record).in_memory_of_nodes(tenant))
    }
}

/// Puts the rules of a policy into an order.
pub struct ReorderPolicyRules {
    /// That it is permitted.
    pub permit: Permit,
    /// Where they are.
    pub policy: PolicyId,
    /// As which the policy must be found.
    pub expected: Expected,
    /// All rules of the policy in their new order.
    pub ids: Vec<PolicyRuleId>,
}

#[async_trait]
impl Change for ReorderPolicyRules {
    type Done = (policy::Model, Vec<policy_rule::Model>);
    type Refusal = PolicyRefusal;

    async fn apply(&self, tx: &Tx<'_>) -> Result<Applied<Self::Done>, PolicyRefusal> {
        let tenant = self.permit.tenant();
        let policy = get(tx, tenant, self.policy).await?;
        let mut rules = rules_of(tx, tenant, self.policy).await?;
        check(&self.expected, &revision(&policy, &rules))?;
        let wanted: Vec<Uuid> = self.ids.iter().map(|id| id.0).collect();
        check_order(&wanted, rules.iter().map(|rule| rule.id), "rule of this policy")?;
        let mut changed = false;
        for rule in &mut rules {
            let place = wanted.iter().position(|id| *id == rule.id).unwrap_or_default();
            let ordinal = i32::try_from(place).unwrap_or(i32::MAX);
            if rule.ordinal != ordinal {
                changed = true;
                rule.ordinal = ordinal;
                rule.clone().into_active_model().reset_all().update(tx.db).await?;
            }
        }
        rules.sort_by_key(|rule| rule.ordinal);
        if !changed {
            return Ok(Applied::unchanged((policy, rules)));
        }
        let record = record(&self.permit, &policy, &rules, "policy_rules.reordered");
        Ok(Applied::recorded((policy, rules), record).in_memory_of_nodes(tenant))
    }
}

/// Removes a rule from a policy.
pub struct DeletePolicyRule {
    /// That it is permitted.
    pub permit: Permit,
    /// Where it is.
    pub policy: PolicyId,
    /// Which one.
    pub id: PolicyRuleId,
    /// As which it must be found.
    pub expected: Expected,
}

#[async_trait]
impl Change for DeletePolicyRule {
    type Done = ();
    type Refusal = PolicyRefusal;

    async fn apply(&self, tx: &Tx<'_>) -> Result<Applied<()>, PolicyRefusal> {
        let tenant = self.permit.tenant();
        let policy = get(tx, tenant, self.policy).await?;
        let rule = rule_of(tx, tenant, self.policy, self.id).await?;
        check(&self.expected, &rule_revision(&rule))?;
        policy_rule::Entity::delete_by_id((tenant.0, self.id.0))
            .exec(tx.db)
            .await?;
        let record = record(&self.permit, &policy, &[rule], "policy_rule.deleted");
        Ok(Applied::recorded((), record).in_memory_of_nodes(tenant))
    }
}

/// A policy, kept from being changed by other nodes until the transaction ends.
async fn get(tx: &Tx<'_>, tenant: TenantId, id: PolicyId) -> Result<policy::Model, PolicyRefusal> {
    let mut query = policy::Entity::find_by_id((tenant.0, id.0));
    if tx.db.get_database_backend() == DatabaseBackend::Postgres {
        query = query.lock_exclusive();
    }
    query.one(tx.db).await?.ok_or(PolicyRefusal::NoPolicy)
}

async fn rules_of(tx: &Tx<'_>, tenant: TenantId, policy: PolicyId) -> Result<Vec<policy_rule::Model>, PolicyRefusal> {
    Ok(policy_rule::Entity::find()
        .filter(policy_rule::COLUMN.tenant_id.eq(tenant.0))
        .filter(policy_rule::COLUMN.policy_id.eq(policy.0))
        .order_by_asc(policy_rule::Column::Ordinal)
        .all(tx.db)
        .await?)
}

async fn rule_of(
    tx: &Tx<'_>,
    tenant: TenantId,
    policy: PolicyId,
    id: PolicyRuleId,
) -> Result<policy_rule::Model, PolicyRefusal> {
    let query = policy_rule::Entity::find_by_id((tenant.0, id.0)).filter(policy_rule::COLUMN.policy_id.eq(policy.0));
    query.one(tx.db).await?.ok_or(PolicyRefusal::NoRule)
}

async fn add_rules(
    tx: &Tx<'_>,
    tenant: TenantId,
    policy: PolicyId,
    rules: &[NewRule],
) -> Result<Vec<policy_rule::Model>, PolicyRefusal> {
    let of_tenant = policy_rule::Entity::find().filter(policy_rule::COLUMN.tenant_id.eq(tenant.0));
    let of_policy = of_tenant.clone().filter(policy_rule::COLUMN.policy_id.eq(policy.0));
    let added = rules.len() as u64;
    for (query, max) in [(of_tenant, MAX_RULES), (of_policy.clone(), MAX_RULES_PER_POLICY)] {
        if query.count(tx.db).await? + added > max {
            return Err(PolicyRefusal::TooManyRules(max));
        }
    }
    let last = of_policy.order_by_desc(policy_rule::Column::Ordinal).one(tx.db).await?;
    let first = last.map_or(0, |last| last.ordinal + 1);
    let rows: Vec<policy_rule::Model> = (first..)
        .zip(rules)
        .map(|(ordinal, rule)| policy_rule::Model {
            tenant_id: tenant.0,
            id: rule.id.0,
            policy_id: policy.0,
            ordinal,
            policy_text: rule.policy_text.clone(),
            checked: mark(&rule.policy_text).to_vec(),
            notice: rule.notice.as_ref().map(ToString::to_string),
            created_at: tx.now.0,
        })
        .collect();
    for row in &rows {
        policy_rule::Entity::insert(row.clone().into_active_model())
            .exec_without_returning(tx.db)
            .await?;
    }
    Ok(rows)
}

fn record(permit: &Permit, policy: &policy::Model, rules: &[policy_rule::Model], event_type: &'static str) -> Record {
    #[derive(Serialize)]
    struct Entry<'a> {
        name: &'a str,
        priority: i32,
        enabled: bool,
        rules: Vec<RuleEntry<'a>>,
    }
    #[derive(Serialize)]
    struct RuleEntry<'a> {
        id: Uuid,
        policy_text: &'a str,
    }
    let rules = rules
        .iter()
        .map(|rule| RuleEntry {
            id: rule.id,
            policy_text: &rule.policy_text,
        })
        .collect();
    let entry = Entry {
        name: &policy.name,
        priority: policy.priority,
        enabled: policy.enabled,
        rules,
    };
    permit.record("policy", policy.id, &entry, event_type, &entry)
}
