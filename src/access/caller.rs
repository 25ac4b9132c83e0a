//! Who is calling, and what they have been permitted to do.

use std::{borrow::Cow, fmt::Write as _, sync::Arc};

use aka_entity::audit_log_entry::ActorType;
use aws_lc_rs::hmac;
use cedar_policy::{Context, Entity, EntityUid, RestrictedExpression};
use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{api_keys, readable::Readable, tenants::TenantState, users};
use crate::{
    policy::{self, Decision, Effort, Expensive, Memo, Query, Verdict, entities},
    store::{Record, Store, StoreError, root_key::RootKey},
    types::{
        actions::Action,
        ids::{ApiKeyId, IdentityProviderId, PolicyId, TenantId, UserId},
        scopes::Scope,
    },
};

/// A credential that has been checked. Built once for an API key, for a token each time.
#[derive(Debug)]
pub struct Principal {
    /// The tenant that the credential belongs to.
    pub tenant: TenantId,
    /// The id of a key; of a token the id of its user, or its provider and a pseudonym of its subject.
    pub actor_id: String,
    /// What kind of credential it is.
    pub actor_type: ActorType,
    /// For policy.
    pub entity: entities::NamedEntity,
    /// The provider that the entity names: the issuer of a token, or to which a key is bound.
    pub identity_provider: Option<IdentityProviderId>,
    /// What the credential may do where no rule of the tenant says otherwise.
    pub scopes: Vec<Scope>,
    /// What has been decided already.
    pub memo: Memo,
}

impl Principal {
    /// Who it is, for logs: the id of a key or of a user. Of a subject that is linked to no user only the provider's id.
    #[must_use]
    pub fn in_logs(&self) -> &str {
        let (id, _pseudonym) = self.actor_id.split_once('|').unwrap_or((&self.actor_id, ""));
        id
    }

    /// The provider that the principal is bound to, where it is an API key that is bound to one: it acts there only.
    #[must_use]
    pub fn bound_to(&self) -> Option<IdentityProviderId> {
        let is_key = matches!(self.actor_type, ActorType::ApiKey | ActorType::Scim);
        self.identity_provider.filter(|_| is_key)
    }
}

/// The actor that a subject is which is linked to no user: its provider, and a pseudonym. Subjects are often addresses, and
/// what an actor did stays in the audit log when everything about them is erased. The same subject has the same pseudonym,
/// which nobody can make who has not the root key.
#[must_use]
pub fn actor_of_subject(root_key: &RootKey, tenant: TenantId, provider: IdentityProviderId, subject: &str) -> String {
    /// Enough that no two subjects of a tenant share one.
    const BYTES: usize = 16;
    let key = hmac::Key::new(
        hmac::HMAC_SHA256,
        &root_key.derive("pseudonyms of subjects", Some(tenant)),
    );
    let pseudonym = hmac::sign(&key, &[provider.0.as_bytes(), subject.as_bytes()].concat());
    let pseudonym = pseudonym.as_ref().iter().take(BYTES);
    pseudonym.fold(format!("{provider}|"), |mut actor, byte| {
        let _ = write!(actor, "{byte:02x}");
        actor
    })
}

/// A principal in its tenant: who a request comes from.
#[derive(Clone)]
pub struct Caller {
    /// Who.
    pub principal: Arc<Principal>,
    /// What is known of their tenant.
    pub tenant: Arc<TenantState>,
}

/// What an action is done to.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// To the tenant as a whole: lists, and things that are not there yet.
    Tenant,
    /// To a user, or to their identities.
    User(UserId),
    /// To an identity provider.
    IdentityProvider(IdentityProviderId),
    /// To an API key.
    ApiKey(ApiKeyId),
    /// To a policy or its rules.
    Policy(PolicyId),
}

impl Target {
    /// Its name, as a question to policy has it: `user:<id>`.
    #[must_use]
    pub fn name(self, tenant: TenantId) -> String {
        match self {
            Self::Tenant => format!("tenant:{tenant}"),
            Self::User(id) => format!("user:{id}"),
            Self::IdentityProvider(id) => format!("identity_provider:{id}"),
            Self::ApiKey(id) => format!("api_key:{id}"),
            Self::Policy(id) => format!("policy:{id}"),
        }
    }
}

/// What a decision may look at beside principal, action and resource.
#[derive(Default)]
pub struct PolicyContext {
    /// The context, member by member.
    pub context: Vec<(Cow<'static, str>, RestrictedExpression)>,
    /// The entities that the context names.
    pub named: Vec<Entity>,
}

impl PolicyContext {
    /// A context that names no entities.
    #[must_use]
    pub fn of(context: impl IntoIterator<Item = (&'static str, RestrictedExpression)>) -> Self {
        Self {
            context: context.into_iter().map(|(name, value)| (name.into(), value)).collect(),
            named: Vec::new(),
        }
    }
}

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
    on: Target,
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
    /// What was asked.
    pub action: Action,
    /// Why not.
    pub decision: Arc<Decision>,
    /// The scope that would have allowed it.
    pub lacks: Option<Scope>,
    /// Whether the caller may ask policy itself, and so may read what rules say.
    pub may_evaluate: bool,
    /// On what it was asked.
    pub on: Target,
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

/// What became of the circumstances of a request.
enum ContextState<F> {
    /// The decision looked at them.
    Context(Context),
    /// It did not need to.
    NotNeeded(F),
}

impl<F: FnOnce() -> PolicyContext> ContextState<F> {
    /// The context, as a question to policy has it.
    fn context(self) -> Map<String, Value> {
        let context = match self {
            Self::Context(context) => context,
            Self::NotNeeded(circumstances) => context(circumstances().context),
        };
        let Ok(Value::Object(mut members)) = context.to_json_value() else {
            return Map::new();
        };
        for value in members.values_mut() {
            if let Some(id) = value.pointer("/__entity/id").cloned() {
                *value = id;
            }
        }
        members
    }
}

/// A context of these members.
fn context(members: Vec<(Cow<'static, str>, RestrictedExpression)>) -> Context {
    let members = members.into_iter().map(|(name, value)| (name.into_owned(), value));
    // Only a doubled name or a call of an extension function can fail, and there are none.
    Context::from_pairs(members).unwrap_or_else(|_| Context::empty())
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Caller {
    /// The tenant in which the caller acts.
    #[must_use]
    pub fn tenant_id(&self) -> TenantId {
        self.principal.tenant
    }

    /// Whether the caller is itself what an action is done to.
    #[must_use]
    pub fn is(&self, on: Target) -> bool {
        let uid = match on {
            Target::User(id) => entities::user_uid(id),
            Target::ApiKey(id) => entities::api_key_uid(id),
            Target::Tenant | Target::IdentityProvider(_) | Target::Policy(_) => return false,
        };
        uid == self.principal.entity.uid
    }

    /// Asks policy whether the caller may do something, in circumstances that are made only where a rule looks at them.
    ///
    /// # Errors
    ///
    /// [`Refusal::Forbidden`] where policy says no.
    pub async fn may_with(
        &self,
        store: &Store,
        action: Action,
        on: Target,
        circumstances: impl FnOnce() -> PolicyContext,
    ) -> Result<Permit, Refusal> {
        let began = std::time::Instant::now();
        let (decision, seen) = self.decide(store, action, on, circumstances).await?;
        let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        tracing::Span::current().record("policy_us", took);
        if !decision.is_permitted() {
            return Err(self.forbidden(store, action, on, decision, seen.context()).await?);
        }
        let context = keeps_context(action).then(|| seen.context());
        Ok(Permit {
            principal: Arc::clone(&self.principal),
            action,
            grounds: Some(Grounds {
                decision,
                on,
                version: self.tenant.tenant.version,
                context,
            }),
        })
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
        on: Target,
        circumstances: impl FnOnce() -> PolicyContext,
    ) -> Result<bool, StoreError> {
        let (decision, _) = self.decide(store, action, on, circumstances).await?;
        Ok(decision.is_permitted())
    }

    async fn decide<F: FnOnce() -> PolicyContext>(
        &self,
        store: &Store,
        action: Action,
        on: Target,
        circumstances: F,
    ) -> Result<(Arc<Decision>, ContextState<F>), StoreError> {
        let Some(rules) = &self.tenant.rules else {
            return Ok((Arc::new(Decision::error()), ContextState::NotNeeded(circumstances)));
        };
        let version = self.tenant.tenant.version;
        let bound = self.principal.bound_to().is_some();
        let for_all = policy::only_principal(rules, action, bound);
        if for_all && let Some(decision) = self.principal.memo.get(action, version) {
            return Ok((Arc::clone(decision), ContextState::NotNeeded(circumstances)));
        }
        let query = self
            .query(
                store,
                action,
                on,
                circumstances(),
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
        on: Target,
        circumstances: PolicyContext,
        withheld: &[Target],
    ) -> Result<Result<Decision, String>, StoreError> {
        let Some(rules) = &self.tenant.rules else {
            return Ok(Ok(Decision::error()));
        };
        let bound = self.principal.bound_to().is_some();
        let needs_resource = policy::needs_resource(rules, action, bound);
        let mut query = self.query(store, action, on, circumstances, needs_resource).await?;
        for unknown in withheld.iter().filter_map(|on| on.unknown()) {
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
        on: Target,
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
        let resource = self.resource(store, on, with_attributes, &mut named).await?;
        Ok(Query {
            principal: &self.principal.entity.uid,
            action,
            resource,
            context: context(members),
            entities: named,
        })
    }

    async fn forbidden(
        &self,
        store: &Store,
        action: Action,
        on: Target,
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
            self.withhold(store, action, on, decision, &context).await?
        } else {
            decision
        };
        Ok(Refusal::Forbidden(Box::new(Forbidden {
            action,
            decision,
            lacks,
            may_evaluate,
            on,
            context,
        })))
    }

    /// A refusal without the values that its rules saw in what the caller may not read.
    async fn withhold(
        &self,
        store: &Store,
        action: Action,
        on: Target,
        mut decision: Arc<Decision>,
        context: &Map<String, Value>,
    ) -> Result<Arc<Decision>, StoreError> {
        const PROVIDER: &str = "identity_provider";
        let explanations = &decision.explanations;
        let clauses = explanations.iter().flat_map(|explanation| &explanation.unsatisfied);
        let paths: Vec<&str> = clauses
            .flat_map(|clause| clause.values.iter().map(|(path, _)| path.as_str()))
            .collect();
        let looks_at = |what: &str| paths.iter().any(|path| ClausePath::new(path).is_of(what));
        let provider = context.get(PROVIDER).and_then(|id| id.as_str()?.parse().ok());
        let mut readable = Readable::by(store, self);
        // What was asked for is refused already: it need not be asked for again.
        let resource_is_withheld =
            looks_at("resource") && (on.read_by() == Some(action) && !self.is(on) || !readable.has(on).await?);
        let provider_is_withheld = match provider.map(Target::IdentityProvider) {
            Some(provider) if looks_at("context") => !readable.has(provider).await?,
            _ => false,
        };
        let context_is_withheld = looks_at("context") && context_is_of_resource(action) && !self.is(on);
        if !(resource_is_withheld || provider_is_withheld || context_is_withheld) {
            return Ok(decision);
        }
        let explanations = &mut Arc::make_mut(&mut decision).explanations;
        let clauses = explanations
            .iter_mut()
            .flat_map(|explanation| &mut explanation.unsatisfied);
        for (path, value) in clauses.flat_map(|clause| &mut clause.values) {
            let path = ClausePath::new(path);
            let withheld = (resource_is_withheld && path.is_of("resource"))
                || (context_is_withheld && path.is_of("context"))
                || (provider_is_withheld && path.is_inside("context", PROVIDER));
            if withheld {
                WITHHELD.clone_into(value);
            }
        }
        Ok(decision)
    }

    /// The resource's name, and its entity where rules can look at it.
    async fn resource(
        &self,
        store: &Store,
        on: Target,
        with_attributes: bool,
        entities: &mut Vec<Entity>,
    ) -> Result<EntityUid, StoreError> {
        Ok(match on {
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
            resource: grounds.on.name(self.tenant()),
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

/// In place of a value that the caller may not read. Values are written as Cedar writes them, a text in quotation marks.
const WITHHELD: &str = "withheld";

/// What a clause looks at: `resource.email`.
struct ClausePath<'a>(Vec<&'a str>);

impl<'a> ClausePath<'a> {
    fn new(path: &'a str) -> Self {
        Self(path.split('.').collect())
    }

    fn is_of(&self, variable: &str) -> bool {
        self.0.first() == Some(&variable)
    }

    /// Whether it is an attribute of an entity that is a member of a variable.
    fn is_inside(&self, variable: &str, member: &str) -> bool {
        self.is_of(variable) && self.0.get(1) == Some(&member) && self.0.len() > 2
    }
}

/// Whether the context of an action was not sent by the caller, but says how the resource is.
const fn context_is_of_resource(action: Action) -> bool {
    matches!(
        action,
        Action::GetUserIdentity
            | Action::DeleteUserIdentity
            | Action::GetIdentity
            | Action::UpdateIdentity
            | Action::RotateApiKey
    )
}

/// Whether the audit entry of an action keeps the context. Those that are left out say who somebody is, and what they say
/// is in the row that the entry names. Reading is not recorded at all.
fn keeps_context(action: Action) -> bool {
    let personal = matches!(
        action,
        Action::CreateUserIdentity | Action::UpdateIdentity | Action::CreateUser
    );
    action.scope().changes() && !personal
}

/// As JSON. The values are structs of texts, numbers and ids, which cannot fail to be written.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "{}".into())
}
