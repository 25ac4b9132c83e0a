//! Changes of single rules, and of their order.

use aka_entity::{policy, policy_rule};
use async_trait::async_trait;
use sea_orm::{ActiveModelTrait as _, EntityTrait as _, IntoActiveModel as _, QueryFilter as _, QueryOrder as _, Set};
use serde_json::{Value, json};

use super::{
    PolicyRefusal,
    changes::{NewRule, check_order, get, insert, order, record, row, rules_of},
    revision, rule_revision,
};
use crate::{
    access::{
        caller::Permit,
        rule_limits::{self, Totals},
    },
    policy::rules::CheckedRule,
    store::{Applied, Change, Tx},
    types::{
        ids::{PolicyId, PolicyRuleId, TenantId},
        text::Description,
    },
};

/// Adds a rule at the end of a policy.
#[derive(Clone)]
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

    fn tenant(&self) -> Option<TenantId> {
        Some(self.permit.tenant())
    }

    async fn apply(&self, tx: &Tx<'_>) -> Result<Applied<Self::Done>, PolicyRefusal> {
        let tenant = self.permit.tenant();
        let policy = get(tx, tenant, self.policy).await?;
        let added = Totals::of([&self.rule.rule]);
        rule_limits::check_change(tx, tenant, self.policy, added, Totals::default()).await?;
        let last = policy_rule::Entity::find()
            .filter(policy_rule::COLUMN.tenant_id.eq(tenant.0))
            .filter(policy_rule::COLUMN.policy_id.eq(self.policy.0))
            .order_by_desc(policy_rule::Column::Ordinal)
            .one(tx.db)
            .await?;
        let ordinal = last.map_or(0, |last| last.ordinal.saturating_add(1));
        let rule = row(tx, tenant, self.policy, ordinal, &self.rule);
        insert(tx, std::slice::from_ref(&rule)).await?;
        let record = record(
            &self.permit,
            &policy,
            "policy_rule.created",
            json!({ "rules_added": [told(&rule)] }),
        );
        Ok(Applied::recorded(rule, record).in_memory_of_nodes(tenant))
    }
}

/// Changes a rule; what is absent stays.
#[derive(Clone)]
pub struct UpdatePolicyRule {
    /// That it is permitted.
    pub permit: Permit,
    /// Where it is.
    pub policy: PolicyId,
    /// Which one.
    pub id: PolicyRuleId,
    /// The revision of the rule that the new text was made from, where only parts of it were given.
    pub made_from: Option<String>,
    /// Its new text.
    pub rule: Option<CheckedRule>,
    /// Its new notice; `Some(None)` takes it away.
    pub notice: Option<Option<Description>>,
}

#[async_trait]
impl Change for UpdatePolicyRule {
    type Done = policy_rule::Model;
    type Refusal = PolicyRefusal;

    fn tenant(&self) -> Option<TenantId> {
        Some(self.permit.tenant())
    }

    async fn apply(&self, tx: &Tx<'_>) -> Result<Applied<Self::Done>, PolicyRefusal> {
        let tenant = self.permit.tenant();
        let policy = get(tx, tenant, self.policy).await?;
        let before = rule_of(tx, tenant, self.policy, self.id).await?;
        tx.check_revision(&rule_revision(&before))?;
        if self
            .made_from
            .as_ref()
            .is_some_and(|made_from| *made_from != rule_revision(&before))
        {
            return Err(PolicyRefusal::RevisionMismatch);
        }
        let new = self.rule.as_ref().filter(|new| new.text != before.policy_text);
        let notice = self
            .notice
            .as_ref()
            .map(|notice| notice.as_ref().map(ToString::to_string));
        let notice = notice.filter(|notice| *notice != before.notice);
        if new.is_none() && notice.is_none() {
            return Ok(Applied::unchanged(before));
        }
        let mut rule = before.clone().into_active_model();
        if let Some(new) = new {
            let (added, removed) = (Totals::of([new]), Totals::of_rows([&before]));
            rule_limits::check_change(tx, tenant, self.policy, added, removed).await?;
            let number = |number: u64| Set(i64::try_from(number).unwrap_or(i64::MAX));
            rule.policy_text = Set(new.text.clone());
            rule.checked = Set(new.mark().to_vec());
            rule.outline = Set(new.outline.clone());
            rule.bytes = number(new.text.len() as u64);
            rule.nodes = number(new.weight.nodes);
            rule.cost = number(new.weight.cost);
        }
        if let Some(notice) = notice {
            rule.notice = Set(notice);
        }
        let rule = rule.update(tx.db).await?;
        let record = record(&self.permit, &policy, "policy_rule.updated", changed(&before, &rule));
        Ok(Applied::recorded(rule, record).in_memory_of_nodes(tenant))
    }
}

/// The members of a rule that differ, as they were and as they are.
fn changed(before: &policy_rule::Model, after: &policy_rule::Model) -> Value {
    let mut changed = json!({});
    if before.policy_text != after.policy_text {
        changed["policy_text"] = json!({ "before": before.policy_text, "after": after.policy_text });
    }
    if before.notice != after.notice {
        changed["notice"] = json!({ "before": before.notice, "after": after.notice });
    }
    json!({ "rules_changed": [{ "id": after.id, "changed": changed }] })
}

/// Puts the rules of a policy into an order.
pub struct ReorderPolicyRules {
    /// That it is permitted.
    pub permit: Permit,
    /// Where they are.
    pub policy: PolicyId,
    /// All rules of the policy in their new order.
    pub ids: Vec<PolicyRuleId>,
}

#[async_trait]
impl Change for ReorderPolicyRules {
    type Done = (policy::Model, Vec<policy_rule::Model>);
    type Refusal = PolicyRefusal;

    fn tenant(&self) -> Option<TenantId> {
        Some(self.permit.tenant())
    }

    async fn apply(&self, tx: &Tx<'_>) -> Result<Applied<Self::Done>, PolicyRefusal> {
        let tenant = self.permit.tenant();
        let policy = get(tx, tenant, self.policy).await?;
        let mut rules = rules_of(tx, tenant, self.policy).await?;
        tx.check_revision(&revision(&policy, &rules))?;
        let wanted: Vec<_> = self.ids.iter().map(|id| id.0).collect();
        check_order(&wanted, rules.iter().map(|rule| rule.id), "rule of this policy")?;
        if !order(tx, tenant, self.policy, wanted.iter().copied()).await? {
            return Ok(Applied::unchanged((policy, rules)));
        }
        let places: std::collections::HashMap<_, i32> = wanted.iter().zip(0..).collect();
        for rule in &mut rules {
            rule.ordinal = places.get(&rule.id).copied().unwrap_or(rule.ordinal);
        }
        rules.sort_by_key(|rule| rule.ordinal);
        let record = record(
            &self.permit,
            &policy,
            "policy_rules.reordered",
            json!({ "rule_order": wanted }),
        );
        Ok(Applied::recorded((policy, rules), record).in_memory_of_nodes(tenant))
    }
}

/// Removes a rule from a policy.
#[derive(Clone)]
pub struct DeletePolicyRule {
    /// That it is permitted.
    pub permit: Permit,
    /// Where it is.
    pub policy: PolicyId,
    /// Which one.
    pub id: PolicyRuleId,
}

#[async_trait]
impl Change for DeletePolicyRule {
    type Done = ();
    type Refusal = PolicyRefusal;

    fn tenant(&self) -> Option<TenantId> {
        Some(self.permit.tenant())
    }

    async fn apply(&self, tx: &Tx<'_>) -> Result<Applied<()>, PolicyRefusal> {
        let tenant = self.permit.tenant();
        let policy = get(tx, tenant, self.policy).await?;
        let rule = rule_of(tx, tenant, self.policy, self.id).await?;
        tx.check_revision(&rule_revision(&rule))?;
        policy_rule::Entity::delete_by_id((tenant.0, self.id.0))
            .exec(tx.db)
            .await?;
        let record = record(
            &self.permit,
            &policy,
            "policy_rule.deleted",
            json!({ "rules_removed": [told(&rule)] }),
        );
        Ok(Applied::recorded((), record).in_memory_of_nodes(tenant))
    }
}

/// A rule that has come or gone, for a record.
fn told(rule: &policy_rule::Model) -> Value {
    json!({ "id": rule.id, "policy_text": rule.policy_text, "notice": rule.notice })
}

async fn rule_of(
    tx: &Tx<'_>,
    tenant: TenantId,
    policy: PolicyId,
    id: PolicyRuleId,
) -> Result<policy_rule::Model, PolicyRefusal> {
    let query = policy_rule::Entity::find_by_id((tenant.0, id.0)).filter(policy_rule::COLUMN.policy_id.eq(policy.0));
    query.one(tx.db).await?.ok_or(PolicyRefusal::NoRule(id))
}
