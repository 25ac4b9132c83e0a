//! What each change of policies makes of them, for the question whether it locks everybody out.

use aka_entity::{policy, policy_rule};
use async_trait::async_trait;

use super::{
    changes::{CreatePolicy, DeletePolicy, NewRule, ReorderPolicies, UpdatePolicy},
    lockout::{Edit, NamedRule, PolicyChange},
    rule_changes::{CreatePolicyRule, DeletePolicyRule, UpdatePolicyRule},
};
use crate::{
    resources::policies,
    store::{Store, StoreError},
    types::ids::{PolicyId, TenantId},
};

/// A policy that is in force with these rules. None where it is not in force, before and after.
fn in_force(policy: &policy::Model, rules: Vec<NamedRule>) -> Option<Edit> {
    policy.enabled.then(|| Edit::Policy {
        id: PolicyId(policy.id),
        in_force: Some((policy.priority, rules)),
        deleted: false,
    })
}

fn named(rows: Vec<policy_rule::Model>) -> Vec<NamedRule> {
    rows.into_iter().map(NamedRule::Stored).collect()
}

fn new(rules: &[NewRule]) -> Vec<NamedRule> {
    let new = |new: &NewRule| NamedRule::New(new.id, Box::new(new.rule.clone()));
    rules.iter().map(new).collect()
}

#[async_trait]
impl PolicyChange for CreatePolicy {
    fn in_tenant(&self) -> TenantId {
        self.permit.tenant()
    }

    async fn edit(&self, _: &Store) -> Result<Option<Edit>, StoreError> {
        Ok(self.enabled.then(|| Edit::Policy {
            id: self.id,
            in_force: Some((self.priority, new(&self.rules))),
            deleted: false,
        }))
    }
}

#[async_trait]
impl PolicyChange for UpdatePolicy {
    fn in_tenant(&self) -> TenantId {
        self.permit.tenant()
    }

    async fn edit(&self, store: &Store) -> Result<Option<Edit>, StoreError> {
        if self.enabled.is_none() && self.priority.is_none() && self.rules.is_none() {
            return Ok(None);
        }
        let Some((policy, rows)) = policies::find(store, self.permit.tenant(), self.id).await? else {
            return Ok(None);
        };
        let after = self.enabled.unwrap_or(policy.enabled).then(|| {
            let rules = self.rules.as_deref().map_or_else(|| named(rows), new);
            (self.priority.unwrap_or(policy.priority), rules)
        });
        Ok((policy.enabled || after.is_some()).then_some(Edit::Policy {
            id: self.id,
            in_force: after,
            deleted: false,
        }))
    }
}

#[async_trait]
impl PolicyChange for DeletePolicy {
    fn in_tenant(&self) -> TenantId {
        self.permit.tenant()
    }

    async fn edit(&self, store: &Store) -> Result<Option<Edit>, StoreError> {
        let found = policies::find(store, self.permit.tenant(), self.id).await?;
        Ok(found.filter(|(policy, _)| policy.enabled).map(|_| Edit::Policy {
            id: self.id,
            in_force: None,
            deleted: true,
        }))
    }
}

#[async_trait]
impl PolicyChange for ReorderPolicies {
    fn in_tenant(&self) -> TenantId {
        self.permit.tenant()
    }

    async fn edit(&self, _: &Store) -> Result<Option<Edit>, StoreError> {
        Ok(Some(Edit::Order(self.ids.clone())))
    }
}

#[async_trait]
impl PolicyChange for CreatePolicyRule {
    fn in_tenant(&self) -> TenantId {
        self.permit.tenant()
    }

    async fn edit(&self, store: &Store) -> Result<Option<Edit>, StoreError> {
        let found = policies::find(store, self.permit.tenant(), self.policy).await?;
        Ok(found.and_then(|(policy, rows)| {
            let mut rules = named(rows);
            rules.extend(new(std::slice::from_ref(&self.rule)));
            in_force(&policy, rules)
        }))
    }
}

#[async_trait]
impl PolicyChange for UpdatePolicyRule {
    fn in_tenant(&self) -> TenantId {
        self.permit.tenant()
    }

    async fn edit(&self, store: &Store) -> Result<Option<Edit>, StoreError> {
        let Some(rule) = &self.rule else { return Ok(None) };
        let found = policies::find(store, self.permit.tenant(), self.policy).await?;
        Ok(found.and_then(|(policy, rows)| {
            let mut rules = named(rows);
            let changed = rules.iter_mut().find(|rule| rule.id() == self.id)?;
            *changed = NamedRule::New(self.id, Box::new(rule.clone()));
            in_force(&policy, rules)
        }))
    }
}

#[async_trait]
impl PolicyChange for DeletePolicyRule {
    fn in_tenant(&self) -> TenantId {
        self.permit.tenant()
    }

    async fn edit(&self, store: &Store) -> Result<Option<Edit>, StoreError> {
        let found = policies::find(store, self.permit.tenant(), self.policy).await?;
        Ok(found.and_then(|(policy, rows)| {
            let mut rules = named(rows);
            rules.retain(|rule| rule.id() != self.id);
            in_force(&policy, rules)
        }))
    }
}
