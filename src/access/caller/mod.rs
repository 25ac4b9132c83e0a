//! Who is calling, and what policy lets them do.
//!
//! A [`Caller`] asks. On that stand permits and refusals (`permit`) and what a refusal does not tell (`withholding`), which
//! asks again: what a caller may read ([`readable`](super::readable)) is a decision, too. Those files look at this one, and
//! this one at none of them.

mod context;
mod permit;
mod principal;
mod target;
mod withholding;

use std::sync::Arc;

use cedar_policy::{Entity, EntityUid};

use self::context::{ContextState, context};
pub use self::{
    context::PolicyContext,
    permit::{Forbidden, Permit, Refusal},
    principal::{Principal, actor_of_subject},
    target::Target,
};
use super::{api_keys::rows as api_keys, tenants::TenantState, users};
use crate::{
    policy::{self, Decision, Effort, Expensive, Query, entities},
    store::{Store, StoreError},
    types::{actions::Action, ids::TenantId},
};

/// A principal in its tenant: who a request comes from.
#[derive(Clone)]
pub struct Caller {
    /// Who.
    pub principal: Arc<Principal>,
    /// What is known of their tenant.
    pub tenant: Arc<TenantState>,
}

impl Caller {
    /// The tenant in which the caller acts.
    #[must_use]
    pub fn tenant_id(&self) -> TenantId {
        self.principal.tenant
    }

    /// Whether the caller is itself what an action is done to.
    #[must_use]
    pub fn is(&self, target: Target) -> bool {
        let uid = match target {
            Target::User(id) => entities::user_uid(id),
            Target::ApiKey(id) => entities::api_key_uid(id),
            Target::Tenant | Target::IdentityProvider(_) | Target::Policy(_) => return false,
        };
        uid == self.principal.entity.uid
    }

    /// Whether policy would let the caller do something beside what was asked for. Nobody is refused anything by this.
    ///
    /// # Errors
    ///
    /// Where the store cannot be asked.
    pub async fn could(
        &self,
        store: &Store,
        action: Action,
        target: Target,
        context: impl FnOnce() -> PolicyContext,
    ) -> Result<bool, StoreError> {
        let (decision, _) = self.decide(store, action, target, context).await?;
        Ok(decision.is_permitted())
    }

    async fn decide<F: FnOnce() -> PolicyContext>(
        &self,
        store: &Store,
        action: Action,
        target: Target,
        context: F,
    ) -> Result<(Arc<Decision>, ContextState<F>), StoreError> {
        let Some(rules) = &self.tenant.rules else {
            return Ok((Arc::new(Decision::error()), ContextState::NotNeeded(context)));
        };
        let version = self.tenant.tenant.version;
        let bound = self.principal.bound_to().is_some();
        let for_all = policy::only_principal(rules, action, bound);
        if for_all && let Some(decision) = self.principal.memo.get(action, version) {
            return Ok((Arc::clone(decision), ContextState::NotNeeded(context)));
        }
        let query = self
            .query(
                store,
                action,
                target,
                context(),
                policy::needs_resource(rules, action, bound),
            )
            .await?;
        let seen = ContextState::Context(query.context.clone());
        let decision = match policy::decide_quickly(rules, query) {
            Ok(decision) => decision,
            Err(expensive) => {
                let job = self.tenant.pool.admit_decision(self.principal.tenant)?;
                let rules = Arc::clone(rules);
                job.run(move || expensive.decide(&rules, Effort::QUICK)).await?
            }
        };
        let decision = Arc::new(decision);
        if for_all {
            self.principal.memo.keep(action, version, &decision);
        }
        Ok((decision, seen))
    }

    /// Decides without any consequence, and explains a no. What is withheld is taken for unknown.
    ///
    /// # Errors
    ///
    /// Where the store cannot be asked. Inside, where principal, action, resource and context do not go together by
    /// the schema: Cedar's own words.
    pub async fn explain(
        &self,
        store: &Store,
        action: Action,
        target: Target,
        context: PolicyContext,
        withheld: &[Target],
    ) -> Result<Result<Decision, String>, StoreError> {
        let Some(rules) = &self.tenant.rules else {
            return Ok(Ok(Decision::error()));
        };
        let bound = self.principal.bound_to().is_some();
        let needs_resource = policy::needs_resource(rules, action, bound);
        let mut query = self.query(store, action, target, context, needs_resource).await?;
        for unknown in withheld.iter().filter_map(|target| target.unknown()) {
            query.entities.retain(|entity| entity.uid() != unknown.uid);
            query.entities.push(unknown.entity);
        }
        if let Err(reason) = query.check() {
            return Ok(Err(reason));
        }
        match Expensive::new(query) {
            Ok(expensive) => {
                let job = self.tenant.pool.admit(self.principal.tenant)?;
                let rules = Arc::clone(rules);
                Ok(Ok(job.run(move || expensive.decide(&rules, Effort::THOROUGH)).await?))
            }
            Err(decision) => Ok(Ok(decision)),
        }
    }

    /// A question in the terms of policy, with what it may look at.
    ///
    /// # Errors
    ///
    /// Where the store cannot be asked.
    pub async fn query(
        &self,
        store: &Store,
        action: Action,
        target: Target,
        PolicyContext {
            context: members,
            mut named,
        }: PolicyContext,
        with_attributes: bool,
    ) -> Result<Query<'_>, StoreError> {
        named.push(self.principal.entity.entity.clone());
        if let Some(provider) = self.principal.identity_provider {
            let provider = self.tenant.identity_provider_entity(provider);
            named.retain(|entity| entity.uid() != provider.uid);
            named.push(provider.entity);
        }
        let resource = self.resource(store, target, with_attributes, &mut named).await?;
        Ok(Query {
            principal: &self.principal.entity.uid,
            action,
            resource,
            context: context(members),
            entities: named,
        })
    }

    /// The resource's name, and its entity where rules can look at it.
    async fn resource(
        &self,
        store: &Store,
        target: Target,
        with_attributes: bool,
        entities: &mut Vec<Entity>,
    ) -> Result<EntityUid, StoreError> {
        Ok(match target {
            Target::Tenant => {
                entities.push(self.tenant.entity.entity.clone());
                self.tenant.entity.uid.clone()
            }
            Target::IdentityProvider(id) => {
                let provider = self.tenant.identity_provider_entity(id);
                // The same provider may already be there, named by the principal or the context.
                entities.retain(|entity| entity.uid() != provider.uid);
                entities.push(provider.entity);
                provider.uid
            }
            Target::User(id) => {
                let uid = entities::user_uid(id);
                if with_attributes && uid != self.principal.entity.uid {
                    let user = users::find(store, self.tenant_id(), id).await?;
                    entities.push(match &user {
                        Some(user) => users::entity(user, &[], None).entity,
                        None => entities::unknown_user(id).entity,
                    });
                }
                uid
            }
            Target::ApiKey(id) => {
                let uid = entities::api_key_uid(id);
                if with_attributes && uid != self.principal.entity.uid {
                    let key = api_keys::find(store, self.tenant_id(), id).await?;
                    entities.push(match &key {
                        Some(key) => api_keys::entity(key).entity,
                        None => entities::unknown_api_key(id).entity,
                    });
                }
                uid
            }
            Target::Policy(id) => entities::policy_uid(id),
        })
    }
}
