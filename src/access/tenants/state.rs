//! A tenant in memory: the tenant itself, its providers and its rules, all of one version.

use std::{collections::HashMap, sync::Arc};

use aka_entity::{identity_provider, policy_rule, tenant};
use sea_orm::ActiveEnum as _;
use uuid::Uuid;

use crate::{
    access::{stored_policies::PolicyWithRules, tokens::issuers::Issuer, workers::Workers},
    policy::{
        entities::{self, IdentityProviderFacts, NamedEntity},
        rules::{Rule, RuleSet},
    },
    store::root_key::RootKey,
    types::ids::IdentityProviderId,
};

/// A tenant of one version.
pub struct TenantState {
    /// The tenant.
    pub tenant: tenant::Model,
    /// The tenant, for policy.
    pub entity: NamedEntity,
    /// Its rules. Absent: one of them cannot be read, so that every decision is a no.
    pub rules: Option<Arc<RuleSet>>,
    /// Where expensive decisions are made, and other work with its rules is done.
    pub pool: Workers,
    pub(super) providers: HashMap<IdentityProviderId, Provider>,
    pub(super) source: Arc<Vec<PolicyWithRules>>,
    /// The rules by their ids, to be used again as long as their rows are the same.
    pub(super) parsed: HashMap<Uuid, Rule>,
    /// What it takes in memory, about.
    pub(super) bytes: u64,
}

/// A provider of a tenant.
pub struct Provider {
    /// Its row.
    pub model: identity_provider::Model,
    /// For policy.
    pub entity: NamedEntity,
    /// How tokens that it issues are checked, where its configuration says so.
    pub issuer: Option<Issuer>,
}

impl TenantState {
    /// A provider.
    #[must_use]
    pub fn identity_provider(&self, id: IdentityProviderId) -> Option<&Provider> {
        self.providers.get(&id)
    }

    /// The policies that are in force with their rules, as they are stored.
    #[must_use]
    pub fn policies(&self) -> &[PolicyWithRules] {
        &self.source
    }

    /// The enabled providers that issue tokens.
    pub fn issuers(&self) -> impl Iterator<Item = (IdentityProviderId, &Issuer)> {
        let enabled = self.providers.values().filter(|provider| provider.model.enabled);
        enabled.filter_map(|provider| Some((provider.id(), provider.issuer.as_ref()?)))
    }

    /// The enabled provider whose tokens name this issuer.
    #[must_use]
    pub fn issuer(&self, name: &str) -> Option<(IdentityProviderId, &Issuer)> {
        self.issuers().find(|(_, issuer)| issuer.issuer == name)
    }

    /// A provider for policy, also where the tenant has none of this id.
    #[must_use]
    pub fn identity_provider_entity(&self, id: IdentityProviderId) -> NamedEntity {
        self.providers.get(&id).map_or_else(
            || entities::unknown_identity_provider(id),
            |provider| provider.entity.clone(),
        )
    }

    /// A rule that is in force, if its row is one of those that were parsed.
    #[must_use]
    pub fn parsed(&self, rule: &policy_rule::Model) -> Option<&Rule> {
        self.parsed.get(&rule.id)
    }
}

impl std::fmt::Debug for TenantState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TenantState({} version {})", self.tenant.id, self.tenant.version)
    }
}

impl Provider {
    pub(super) fn new(model: identity_provider::Model, root_key: &RootKey) -> Self {
        let facts = IdentityProviderFacts {
            id: IdentityProviderId(model.id),
            name: &model.name,
            provider_type: &model.provider_type.to_value(),
            enabled: model.enabled,
        };
        Self {
            entity: entities::identity_provider(facts),
            issuer: Issuer::of(&model, root_key),
            model,
        }
    }

    pub(super) fn id(&self) -> IdentityProviderId {
        IdentityProviderId(self.model.id)
    }
}
