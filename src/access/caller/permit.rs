//! Permits: the yes of policy, without which no change can be built, and its no.

use std::sync::Arc;

use aka_entity::audit_log_entry::ActorType;
use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{
    Caller,
    context::{PolicyContext, keeps_context},
    principal::Principal,
    target::Target,
};
use crate::{
    policy::{Decision, Memo, Verdict, entities},
    store::{Record, Store, StoreError},
    types::{
        actions::Action,
        ids::{PolicyId, TenantId},
        scopes::Scope,
    },
};

/// That a principal was permitted an action: what every change must show, and what its audit entry tells.
#[derive(Clone, Debug)]
pub struct Permit {
    principal: Arc<Principal>,
    action: Action,
    /// What permitted it; none where it is an operator at the command line who acts.
    grounds: Option<Grounds>,
}

/// A decision, and what else it takes to decide again.
#[derive(Clone, Debug)]
struct Grounds {
    decision: Arc<Decision>,
    target: Target,
    version: i64,
    context: Option<Map<String, Value>>,
}

/// What an audit entry keeps of the decision that permitted it. No personal data: that is in the rows which the entry
/// names, for as long as they are there.
#[derive(Serialize)]
struct KeptDecision<'a> {
    resource: String,
    rule_ids: &'a [String],
    policy_ids: &'a [PolicyId],
    policy_version: i64,
    scopes: &'a [Scope],
    context: &'a Option<Map<String, Value>>,
}

/// That policy says no to a request, and what it was asked.
#[derive(Debug)]
pub struct Forbidden {
    /// What was to be done.
    pub action: Action,
    /// Why not.
    pub decision: Arc<Decision>,
    /// The scope that would have allowed it.
    pub lacks: Option<Scope>,
    /// Whether the caller may ask policy itself, and so may read what rules say.
    pub may_evaluate: bool,
    /// What it was to be done to.
    pub target: Target,
    /// The context that the decision saw.
    pub context: Map<String, Value>,
}

/// Why a request is not carried out.
#[derive(Debug)]
pub enum Refusal {
    /// Policy says no.
    Forbidden(Box<Forbidden>),
    /// The store could not be asked.
    Store(StoreError),
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Caller {
    /// Asks policy whether the caller may do something, in a context that is made only where a rule looks at it.
    ///
    /// # Errors
    ///
    /// [`Refusal::Forbidden`] where policy says no.
    pub async fn may_with(
        &self,
        store: &Store,
        action: Action,
        target: Target,
        context: impl FnOnce() -> PolicyContext,
    ) -> Result<Permit, Refusal> {
        let began = std::time::Instant::now();
        let (decision, seen) = self.decide(store, action, target, context).await?;
        let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        tracing::Span::current().record("policy_us", took);
        if !decision.is_permitted() {
            return Err(self
                .forbidden(store, action, target, decision, seen.into_json())
                .await?);
        }
        let context = keeps_context(action).then(|| seen.into_json());
        Ok(Permit {
            principal: Arc::clone(&self.principal),
            action,
            grounds: Some(Grounds {
                decision,
                target,
                version: self.tenant.tenant.version,
                context,
            }),
        })
    }

    async fn forbidden(
        &self,
        store: &Store,
        action: Action,
        target: Target,
        decision: Arc<Decision>,
        context: Map<String, Value>,
    ) -> Result<Refusal, StoreError> {
        let lacks = (decision.verdict == Verdict::NotPermitted && !self.principal.scopes.contains(&action.scope()))
            .then_some(action.scope());
        tracing::info!(
            %action,
            verdict = ?decision.verdict,
            rules = ?decision.rules,
            "refused by policy"
        );
        let evaluation = Action::EvaluatePolicies;
        let may_evaluate = self
            .could(store, evaluation, Target::Tenant, PolicyContext::default)
            .await?;
        let decision = if may_evaluate {
            self.withhold(store, action, target, decision, &context).await?
        } else {
            decision
        };
        Ok(Refusal::Forbidden(Box::new(Forbidden {
            action,
            decision,
            lacks,
            may_evaluate,
            target,
            context,
        })))
    }
}

impl Permit {
    /// A permit for what an operator does at the program's own command line, which no policy stands in front of.
    #[must_use]
    pub fn of_operator(tenant: TenantId, action: Action) -> Self {
        let principal = Principal {
            tenant,
            actor_id: "command line".into(),
            actor_type: ActorType::System,
            entity: entities::operator(),
            identity_provider: None,
            scopes: Vec::new(),
            memo: Memo::default(),
        };
        Self {
            principal: Arc::new(principal),
            action,
            grounds: None,
        }
    }

    /// The tenant in which the action is permitted.
    #[must_use]
    pub fn tenant(&self) -> TenantId {
        self.principal.tenant
    }

    /// The scopes of who acts.
    #[must_use]
    pub fn scopes(&self) -> &[Scope] {
        &self.principal.scopes
    }

    /// Who acts.
    #[must_use]
    pub fn actor_id(&self) -> &str {
        &self.principal.actor_id
    }

    fn kept(&self, grounds: &Grounds) -> String {
        json(&KeptDecision {
            resource: grounds.target.name(self.tenant()),
            rule_ids: &grounds.decision.rules,
            policy_ids: &grounds.decision.policy_ids,
            policy_version: grounds.version,
            scopes: &self.principal.scopes,
            context: &grounds.context,
        })
    }

    /// The audit entry and the event of a change in this tenant.
    pub fn record(
        &self,
        resource_type: &'static str,
        resource_id: Uuid,
        metadata: &impl Serialize,
        event_type: &'static str,
        payload: &impl Serialize,
    ) -> Record {
        Record {
            tenant: self.tenant(),
            actor_id: self.principal.actor_id.clone(),
            actor_type: self.principal.actor_type,
            action: self.action.as_str(),
            resource_type,
            resource_id,
            metadata: json(metadata),
            reasoning: match &self.grounds {
                None => "done by an operator at the command line".into(),
                Some(grounds) => format!("permitted by {}", grounds.decision.rules.join(", ")),
            },
            decision: self.grounds.as_ref().map(|grounds| self.kept(grounds)),
            event_type,
            payload: json(payload),
        }
    }
}

/// As JSON. The values are structs of texts, numbers and ids, which cannot fail to be written.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "{}".into())
}
