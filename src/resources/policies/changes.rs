//! Changes of policies.

use std::collections::{HashMap, HashSet};

use aka_entity::{policy, policy_rule};
use async_trait::async_trait;
use sea_orm::{
    ActiveModelTrait as _, ConnectionTrait as _, DatabaseBackend, EntityTrait as _, IntoActiveModel as _,
    PaginatorTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, Statement,
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{PolicyRefusal, revision};
use crate::{
    access::{
        caller::Permit,
        rule_limits::{self, Excess, MAX_POLICIES, Totals},
    },
    policy::rules::CheckedRule,
    store::{Applied, Change, Record, StoreError, Tx, rows},
    types::{
        ids::{PolicyId, PolicyRuleId, TenantId},
        text::{Description, Name},
    },
};

/// Rows that are inserted with one statement. Few, as each number of rows is a statement of its own to be prepared.
const ROWS_PER_STATEMENT: usize = 50;

/// A rule that has been checked and is to be stored.
#[derive(Clone, Debug)]
pub struct NewRule {
    /// Its id.
    pub id: PolicyRuleId,
    /// The statement, and what was found out of it.
    pub rule: CheckedRule,
    /// What the caller reads when it determined a decision.
    pub notice: Option<Description>,
}

/// Makes a policy.
#[derive(Clone)]
pub struct CreatePolicy {
    /// That it is permitted.
    pub permit: Permit,
    /// Its id.
    pub id: PolicyId,
    /// Its name.
    pub name: Name,
    /// Its purpose.
    pub description: Option<Description>,
    /// Whether its rules are in force.
    pub enabled: bool,
    /// Policies with a higher priority are evaluated first.
    pub priority: i32,
    /// Its rules.
    pub rules: Vec<NewRule>,
}

#[async_trait]
impl Change for CreatePolicy {
    type Done = (policy::Model, Vec<policy_rule::Model>);
    type Refusal = PolicyRefusal;

    fn tenant(&self) -> Option<TenantId> {
        Some(self.permit.tenant())
    }

    async fn apply(&self, tx: &Tx<'_>) -> Result<Applied<Self::Done>, PolicyRefusal> {
        let tenant = self.permit.tenant();
        let policies = policy::Entity::find().filter(policy::COLUMN.tenant_id.eq(tenant.0));
        let found = policies.count(tx.db).await? + 1;
        if found > MAX_POLICIES {
            return Err(PolicyRefusal::TooManyRules(Excess {
                limit: "policies_of_tenant",
                what: "policies in a tenant",
                max: MAX_POLICIES,
                found,
            }));
        }
        let added = Totals::of(self.rules.iter().map(|new| &new.rule));
        rule_limits::check_change(tx, tenant, self.id, added, Totals::default()).await?;
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
        let rules = (0..).zip(&self.rules);
        let rules: Vec<_> = rules
            .map(|(ordinal, new)| row(tx, tenant, self.id, ordinal, new))
            .collect();
        insert(tx, &rules).await?;
        let record = record(
            &self.permit,
            &policy,
            "policy.created",
            json!({ "rules_added": ids(&rules) }),
        );
        Ok(Applied::recorded((policy, rules), record).in_memory_of_nodes(tenant))
    }
}

/// Changes a policy; what is absent stays.
#[derive(Clone)]
pub struct UpdatePolicy {
    /// That it is permitted.
    pub permit: Permit,
    /// Which one.
    pub id: PolicyId,
    /// Its new name.
    pub name: Option<Name>,
    /// What it is for from now on; `Some(None)` takes the description away.
    pub description: Option<Option<Description>>,
    /// Whether its rules are in force.
    pub enabled: Option<bool>,
    /// Its new priority.
    pub priority: Option<i32>,
    /// Its rules from now on. One that it has already stays as it is, with its id.
    pub rules: Option<Vec<NewRule>>,
    /// Whether its rules are read in any case: for an answer that is kept with the change.
    pub reads_rules: bool,
}

#[async_trait]
impl Change for UpdatePolicy {
    /// The policy, and its rules where they had to be read.
    type Done = (policy::Model, Option<Vec<policy_rule::Model>>);
    type Refusal = PolicyRefusal;

    fn tenant(&self) -> Option<TenantId> {
        Some(self.permit.tenant())
    }

    async fn apply(&self, tx: &Tx<'_>) -> Result<Applied<Self::Done>, PolicyRefusal> {
        let tenant = self.permit.tenant();
        let before = get(tx, tenant, self.id).await?;
        // A thousand rules take longer to read than everything else here.
        let mut rules = None;
        if self.reads_rules || self.rules.is_some() || tx.has_precondition() {
            let found = rules_of(tx, tenant, self.id).await?;
            tx.check_revision(&revision(&before, &found))?;
            rules = Some(found);
        }
        let mut policy = before.clone();
        if let Some(name) = &self.name {
            policy.name = name.to_string();
        }
        if let Some(description) = &self.description {
            policy.description = description.as_ref().map(ToString::to_string);
        }
        policy.enabled = self.enabled.unwrap_or(policy.enabled);
        policy.priority = self.priority.unwrap_or(policy.priority);
        let mut changes = changed(&before, &policy);
        if let Some(new) = &self.rules {
            let replacement = Replacement::new(tx, tenant, self.id, rules.unwrap_or_default(), new);
            replacement.write(tx, tenant, self.id).await?;
            replacement.describe(&mut changes);
            rules = Some(replacement.rules);
        }
        if changes.is_empty() {
            return Ok(Applied::unchanged((policy, rules)));
        }
        policy.updated_at = tx.now.0;
        let policy = policy.into_active_model().reset_all().update(tx.db).await?;
        let record = record(&self.permit, &policy, "policy.updated", Value::Object(changes));
        Ok(Applied::recorded((policy, rules), record).in_memory_of_nodes(tenant))
    }
}

/// The members of a policy that differ, as they were and as they are.
fn changed(before: &policy::Model, after: &policy::Model) -> Map<String, Value> {
    let members = [
        ("name", json!(before.name), json!(after.name)),
        ("description", json!(before.description), json!(after.description)),
        ("enabled", json!(before.enabled), json!(after.enabled)),
        ("priority", json!(before.priority), json!(after.priority)),
    ];
    let differ = members.into_iter().filter(|(_, before, after)| before != after);
    let changed: Map<String, Value> = differ
        .map(|(name, before, after)| (name.to_owned(), json!({ "before": before, "after": after })))
        .collect();
    if changed.is_empty() {
        return Map::new();
    }
    Map::from_iter([("changed".to_owned(), Value::Object(changed))])
}

/// New rules of a policy in place of all that it has.
struct Replacement {
    /// The rules as they are afterwards, in their order.
    rules: Vec<policy_rule::Model>,
    added: Vec<policy_rule::Model>,
    removed: Vec<policy_rule::Model>,
    /// Whether rules that stay change their places.
    moved: bool,
}

impl Replacement {
    /// Finds out what differs. A rule stays if its text is the same, and its notice is in its text.
    fn new(tx: &Tx<'_>, tenant: TenantId, policy: PolicyId, before: Vec<policy_rule::Model>, new: &[NewRule]) -> Self {
        let mut same: HashMap<String, Vec<policy_rule::Model>> = HashMap::new();
        // The first of several that are the same is at the end, from where it is taken.
        for rule in before.into_iter().rev() {
            same.entry(rule.policy_text.clone()).or_default().push(rule);
        }
        let mut replacement = Self {
            rules: Vec::with_capacity(new.len()),
            added: Vec::new(),
            removed: Vec::new(),
            moved: false,
        };
        for (ordinal, new) in (0..).zip(new) {
            let known = same.get_mut(&new.rule.text);
            let known = known.and_then(|known| known.pop_if(|rule| rule.notice.is_none()));
            let rule = if let Some(rule) = known {
                replacement.moved |= rule.ordinal != ordinal;
                policy_rule::Model { ordinal, ..rule }
            } else {
                let rule = row(tx, tenant, policy, ordinal, new);
                replacement.added.push(rule.clone());
                rule
            };
            replacement.rules.push(rule);
        }
        replacement.removed = same.into_values().flatten().collect();
        replacement.removed.sort_by_key(|rule| rule.ordinal);
        replacement
    }

    async fn write(&self, tx: &Tx<'_>, tenant: TenantId, policy: PolicyId) -> Result<(), PolicyRefusal> {
        let (added, removed) = (Totals::of_rows(&self.added), Totals::of_rows(&self.removed));
        rule_limits::check_change(tx, tenant, policy, added, removed).await?;
        for some in self.removed.chunks(ROWS_PER_STATEMENT) {
            policy_rule::Entity::delete_many()
                .filter(policy_rule::COLUMN.tenant_id.eq(tenant.0))
                .filter(policy_rule::COLUMN.id.is_in(some.iter().map(|rule| rule.id)))
                .exec(tx.db)
                .await?;
        }
        insert(tx, &self.added).await?;
        if self.moved {
            order(tx, tenant, policy, self.rules.iter().map(|rule| rule.id)).await?;
        }
        Ok(())
    }

    fn describe(&self, changes: &mut Map<String, Value>) {
        for (name, rules) in [("rules_added", &self.added), ("rules_removed", &self.removed)] {
            if !rules.is_empty() {
                changes.insert(name.into(), json!(ids(rules)));
            }
        }
        if self.moved {
            changes.insert("rule_order".into(), json!(ids(&self.rules)));
        }
    }
}

/// Gives all policies of a tenant new priorities, so that they are evaluated in an order.
#[derive(Clone)]
pub struct ReorderPolicies {
    /// That it is permitted.
    pub permit: Permit,
    /// All policies, the first to be evaluated first.
    pub ids: Vec<PolicyId>,
}

#[async_trait]
impl Change for ReorderPolicies {
    type Done = ();
    type Refusal = PolicyRefusal;

    fn tenant(&self) -> Option<TenantId> {
        Some(self.permit.tenant())
    }

    async fn apply(&self, tx: &Tx<'_>) -> Result<Applied<()>, PolicyRefusal> {
        const POSTGRES: &str = "\
            UPDATE policies SET priority = ($3 - wanted.place + 1)::integer, updated_at = $4
            FROM UNNEST($1::uuid[]) WITH ORDINALITY AS wanted (id, place)
            WHERE tenant_id = $2 AND policies.id = wanted.id AND priority <> $3 - wanted.place + 1";
        const SQLITE: &str = "\
            UPDATE policies SET priority = $3 - wanted.key, updated_at = $4
            FROM json_each($1) AS wanted
            WHERE tenant_id = $2 AND policies.id = unhex(wanted.value) AND priority <> $3 - wanted.key";
        let tenant = self.permit.tenant();
        let mut query = policy::Entity::find().filter(policy::COLUMN.tenant_id.eq(tenant.0));
        if tx.db.get_database_backend() == DatabaseBackend::Postgres {
            query = query.lock_exclusive();
        }
        let policies = query.all(tx.db).await?;
        let wanted: Vec<Uuid> = self.ids.iter().map(|id| id.0).collect();
        check_order(&wanted, policies.iter().map(|policy| policy.id), "policy")?;
        let number = i64::try_from(wanted.len()).unwrap_or(i64::MAX);
        let values = [tenant.0.into(), number.into(), tx.now.0.into()];
        let changed = put_in_order(tx, [POSTGRES, SQLITE], &wanted, values).await?;
        let Some(first) = wanted.first().filter(|_| changed) else {
            return Ok(Applied::unchanged(()));
        };
        let entry = json!({ "ids": wanted });
        let record = self
            .permit
            .record("policy", *first, &entry, "policies.reordered", &entry);
        Ok(Applied::recorded((), record).in_memory_of_nodes(tenant))
    }
}

/// That an order names each of some things once, and nothing else.
pub(super) fn check_order(wanted: &[Uuid], found: impl Iterator<Item = Uuid>, what: &str) -> Result<(), PolicyRefusal> {
    let refuse = |reason: String| Err(PolicyRefusal::NotAnOrder { reason });
    let found: HashSet<Uuid> = found.collect();
    let mut seen = HashSet::new();
    for id in wanted {
        if !found.contains(id) {
            return refuse(format!("has {id}, which is no {what} here"));
        }
        if !seen.insert(id) {
            return refuse(format!("has {id} more than once"));
        }
    }
    match found.iter().find(|id| !seen.contains(id)) {
        Some(missing) => refuse(format!("must name every {what}, but lacks {missing}")),
        None => Ok(()),
    }
}

/// Deletes a policy with its rules.
#[derive(Clone)]
pub struct DeletePolicy {
    /// That it is permitted.
    pub permit: Permit,
    /// Which one.
    pub id: PolicyId,
}

#[async_trait]
impl Change for DeletePolicy {
    type Done = ();
    type Refusal = PolicyRefusal;

    fn tenant(&self) -> Option<TenantId> {
        Some(self.permit.tenant())
    }

    async fn apply(&self, tx: &Tx<'_>) -> Result<Applied<()>, PolicyRefusal> {
        let tenant = self.permit.tenant();
        let policy = get(tx, tenant, self.id).await?;
        let rules = rules_of(tx, tenant, self.id).await?;
        tx.check_revision(&revision(&policy, &rules))?;
        policy::Entity::delete_by_id((tenant.0, self.id.0)).exec(tx.db).await?;
        let record = record(
            &self.permit,
            &policy,
            "policy.deleted",
            json!({ "rules_removed": ids(&rules) }),
        );
        Ok(Applied::recorded((), record).in_memory_of_nodes(tenant))
    }
}

/// A policy, kept from being changed by other nodes until the transaction ends.
pub(super) async fn get(tx: &Tx<'_>, tenant: TenantId, id: PolicyId) -> Result<policy::Model, PolicyRefusal> {
    let mut query = policy::Entity::find_by_id((tenant.0, id.0));
    if tx.db.get_database_backend() == DatabaseBackend::Postgres {
        query = query.lock_exclusive();
    }
    query.one(tx.db).await?.ok_or(PolicyRefusal::NoPolicy(Some(id)))
}

pub(super) async fn rules_of(
    tx: &Tx<'_>,
    tenant: TenantId,
    policy: PolicyId,
) -> Result<Vec<policy_rule::Model>, PolicyRefusal> {
    Ok(policy_rule::Entity::find()
        .filter(policy_rule::COLUMN.tenant_id.eq(tenant.0))
        .filter(policy_rule::COLUMN.policy_id.eq(policy.0))
        .order_by_asc(policy_rule::Column::Ordinal)
        .all(tx.db)
        .await?)
}

/// The row of a new rule.
pub(super) fn row(tx: &Tx<'_>, tenant: TenantId, policy: PolicyId, ordinal: i32, new: &NewRule) -> policy_rule::Model {
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let NewRule { id, rule, notice } = new;
    policy_rule::Model {
        tenant_id: tenant.0,
        id: id.0,
        policy_id: policy.0,
        ordinal,
        policy_text: rule.text.clone(),
        checked: rule.mark().to_vec(),
        notice: notice.as_ref().map(ToString::to_string),
        created_at: tx.now.0,
        outline: rule.outline.clone(),
        bytes: number(rule.text.len() as u64),
        nodes: number(rule.weight.nodes),
        cost: number(rule.weight.cost),
    }
}

/// Inserts rules, whose number and size have been checked.
pub(super) async fn insert(tx: &Tx<'_>, rules: &[policy_rule::Model]) -> Result<(), PolicyRefusal> {
    for some in rules.chunks(ROWS_PER_STATEMENT) {
        policy_rule::Entity::insert_many(some.iter().cloned().map(|rule| rule.into_active_model().reset_all()))
            .exec_without_returning(tx.db)
            .await?;
    }
    Ok(())
}

/// Puts the rules of a policy in an order. Whether any of them has changed its place.
pub(super) async fn order(
    tx: &Tx<'_>,
    tenant: TenantId,
    policy: PolicyId,
    wanted: impl Iterator<Item = Uuid>,
) -> Result<bool, StoreError> {
    const POSTGRES: &str = "\
        UPDATE policy_rules SET ordinal = (wanted.place - 1)::integer
        FROM UNNEST($1::uuid[]) WITH ORDINALITY AS wanted (id, place)
        WHERE tenant_id = $2 AND policy_id = $3 AND policy_rules.id = wanted.id AND ordinal <> wanted.place - 1";
    const SQLITE: &str = "\
        UPDATE policy_rules SET ordinal = wanted.key
        FROM json_each($1) AS wanted
        WHERE tenant_id = $2 AND policy_id = $3 AND policy_rules.id = unhex(wanted.value) AND ordinal <> wanted.key";
    let wanted: Vec<Uuid> = wanted.collect();
    put_in_order(tx, [POSTGRES, SQLITE], &wanted, [tenant.0.into(), policy.0.into()]).await
}

/// Runs one of two statements whose first parameter is an order of ids. Whether it has changed a row.
async fn put_in_order<const N: usize>(
    tx: &Tx<'_>,
    [postgres, sqlite]: [&str; 2],
    wanted: &[Uuid],
    values: [sea_orm::Value; N],
) -> Result<bool, StoreError> {
    let backend = tx.db.get_database_backend();
    let (statement, order) = if backend == DatabaseBackend::Postgres {
        (postgres, rows::uuids(wanted.iter().copied()))
    } else {
        let ids: Vec<_> = wanted.iter().map(Uuid::as_simple).collect();
        (sqlite, rows::json(&ids)?.into())
    };
    let values = std::iter::once(order).chain(values);
    let statement = Statement::from_sql_and_values(backend, statement, values);
    Ok(tx.db.execute_raw(statement).await?.rows_affected() > 0)
}

/// The ids of rules, for a record.
pub(super) fn ids(rules: &[policy_rule::Model]) -> Vec<Uuid> {
    rules.iter().map(|rule| rule.id).collect()
}

/// The audit entry and the event of a change: which policy it was, and what has changed. Not the policy as a whole: that
/// is a thousand times larger than most changes of it.
pub(super) fn record(permit: &Permit, policy: &policy::Model, event_type: &'static str, changes: Value) -> Record {
    let mut entry = json!({ "name": policy.name, "priority": policy.priority, "enabled": policy.enabled });
    if let (Some(entry), Value::Object(changes)) = (entry.as_object_mut(), changes) {
        entry.extend(changes);
    }
    permit.record("policy", policy.id, &entry, event_type, &entry)
}
