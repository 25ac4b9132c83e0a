//! What would other rules have decided? The tenant's last decisions, each decided again under the rules of a candidate.
//!
//! Decisions come from the decision log (what was refused) and from the audit log (what was permitted and changed
//! something). Both keep what was asked; who asked and what it was asked of is looked at as it is now, as it would be if
//! the question came again. A question whose credential is gone, or of which a part is no longer known, cannot be asked
//! again, and is only counted.
//!
//! Nothing is stored. The work is bounded by the number of decisions, by [`TIME`], and takes turns with that of other
//! tenants.

use std::{
    cmp::Reverse,
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use aka_entity::{
    api_key, audit_log_entry, audit_log_entry::ActorType, decision, decision::DecisionKind, identity, user,
};
use cedar_policy::{Context, Entity, EntityUid};
use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::evaluation;
use crate::{
    access::{
        self,
        caller::{Caller, Principal, Target},
        readable::Readable,
        rule_limits::{Excess, Totals},
        tenants::TenantState,
        workers::Job,
    },
    policy::{
        self, Decision, Memo, Query, Verdict,
        rules::{Rule, RuleSet},
    },
    store::{Store, StoreError},
    types::{
        actions::Action,
        clock::Timestamp,
        ids::{IdentityProviderId, PolicyId, PolicyRuleId, TenantId, UserId},
        scopes::Scope,
    },
};

/// How long deciding may take, waiting left out.
const TIME: Duration = Duration::from_secs(5);
/// How long is decided at a time, before it is another tenant's turn.
const PIECE_TIME: Duration = Duration::from_millis(20);
/// Ids in one query: below what SQLite takes as parameters.
const IDS_PER_QUERY: usize = 500;

/// Rules that might be.
#[derive(Default)]
pub struct Candidate {
    /// Whether what the tenant has stays.
    pub keeps: bool,
    /// Policies that are left out of it.
    pub without_policies: Vec<PolicyId>,
    /// Rules that are left out of it.
    pub without_rules: Vec<PolicyRuleId>,
    /// Policies of the tenant whose rules are among what comes to it. Another node may have enabled one this moment: it
    /// counts once.
    pub with_policies: Vec<PolicyId>,
    /// What comes to it, priority by priority.
    pub with: Vec<(i32, Vec<Rule>)>,
}

/// Where a decision was taken down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PastSource {
    /// It was a no.
    DecisionLog,
    /// It was a yes, by which something was changed.
    AuditLog,
}

/// A decision that was taken down.
pub struct Past {
    /// The id of the decision, or of the audit entry.
    pub id: Uuid,
    /// Which of the two it is.
    pub source: PastSource,
    /// Who asked.
    pub actor_id: String,
    /// With what.
    pub actor_type: ActorType,
    /// For what.
    pub action: String,
    /// On what.
    pub resource: String,
    /// The outcome.
    pub verdict: Verdict,
    /// Which rules determined it.
    pub rule_ids: Vec<String>,
    /// When.
    pub at: Timestamp,
    scopes: Vec<Scope>,
    context: Option<Map<String, Value>>,
    /// Of whom the context tells, where it is what is stored of them now.
    context_of: Option<Told>,
}

/// Of whom a context tells.
enum Told {
    /// Of an identity of a user.
    OfIdentityOf(UserId),
    /// Of a user.
    OfUser(UserId),
}

/// A decision that would come out otherwise.
pub struct ChangedDecision {
    /// As it was.
    pub past: Past,
    /// What was asked for.
    pub action: Action,
    /// As it would be.
    pub decision: Decision,
    /// Whether it would be so under the current rules already.
    pub already: bool,
}

/// What a candidate would change.
#[derive(Default)]
pub struct Preview {
    /// How many were not decided again, because the caller may not read what they look at.
    pub withheld: usize,
    /// How many decisions were decided again.
    pub examined: usize,
    /// How many could not be.
    pub undecidable: usize,
    /// Whether there was time for all.
    pub complete: bool,
    /// Those that would come out otherwise, newest first.
    pub changed: Vec<ChangedDecision>,
}

/// Why there is no preview.
#[derive(Debug)]
pub enum PreviewRefusal {
    /// The tenant would have more rules than it may have, or rules that weigh more.
    TooManyRules(Excess),
    /// The store cannot be asked.
    Store(StoreError),
}

impl From<StoreError> for PreviewRefusal {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Decides the last decisions of a tenant again, as a part of a job of the tenant, as far as the caller who wants to know may
/// read what they look at.
///
/// # Errors
///
/// [`PreviewRefusal`]
pub async fn preview(
    job: &Job,
    asking: &Caller,
    store: &Store,
    tenant: Arc<TenantState>,
    candidate: Candidate,
    last: u64,
) -> Result<Preview, PreviewRefusal> {
    let id = TenantId(tenant.tenant.id);
    let arranging = Arc::clone(&tenant);
    let rules = job.run(move || candidate.arrange(&arranging)).await?;
    let rules = rules.map_err(PreviewRefusal::TooManyRules)?.map(Arc::new);
    let past = past(store, id, last).await?;
    let known = FactsOfDecisions::read(store, id, &past).await?;
    let mut asked = Vec::with_capacity(past.len());
    let mut readable = Readable::by(store, asking);
    let (mut undecidable, mut withheld) = (0, 0);
    for past in past {
        // First, as who is still there is a fact, too.
        if !past.is_readable(&mut readable).await? {
            withheld += 1;
            continue;
        }
        match ask(store, &tenant, &known, &past).await? {
            Some(again) => asked.push((past, again)),
            None => undecidable += 1,
        }
    }
    let mut preview = Preview {
        undecidable,
        withheld,
        complete: true,
        ..Preview::default()
    };
    let mut asked = asked.into_iter();
    let mut took = Duration::ZERO;
    while !asked.as_slice().is_empty() {
        if took > TIME {
            preview.complete = false;
            break;
        }
        let (tenant, rules) = (Arc::clone(&tenant), rules.clone());
        let piece = move || {
            let began = Instant::now();
            while began.elapsed() < PIECE_TIME
                && let Some((past, again)) = asked.next()
            {
                preview.decide(&tenant, rules.as_deref(), past, &again);
            }
            (preview, asked, began.elapsed())
        };
        let time;
        (preview, asked, time) = job.run(piece).await?;
        took += time;
    }
    Ok(preview)
}

/// The last decisions of a tenant, newest first.
async fn past(store: &Store, tenant: TenantId, last: u64) -> Result<Vec<Past>, StoreError> {
    let refused = decision::Entity::find()
        .filter(decision::COLUMN.tenant_id.eq(tenant.0))
        .order_by_desc(decision::Column::Id)
        .limit(last)
        .all(&store.reader_of(tenant))
        .await?;
    let permitted = audit_log_entry::Entity::find()
        .filter(audit_log_entry::COLUMN.tenant_id.eq(tenant.0))
        .filter(audit_log_entry::Column::Decision.is_not_null())
        .order_by_desc(audit_log_entry::Column::Id)
        .limit(last)
        .all(&store.reader_of(tenant))
        .await?;
    let told = seen_now(store, tenant, &permitted).await?;
    let mut past: Vec<Past> = refused.into_iter().map(Past::refused).collect();
    past.extend(permitted.into_iter().map(|entry| Past::permitted(entry, &told)));
    past.sort_by_key(|past| Reverse((past.at, past.id)));
    past.truncate(usize::try_from(last).unwrap_or(usize::MAX));
    Ok(past)
}

/// Of actions whose audit entry has no context, because it says who somebody is: what the row says that the entry names.
async fn seen_now(
    store: &Store,
    tenant: TenantId,
    entries: &[audit_log_entry::Model],
) -> Result<HashMap<Uuid, Map<String, Value>>, StoreError> {
    let of = |action: Action| {
        let entries = entries.iter().filter(move |entry| entry.action == action.as_str());
        entries.map(|entry| entry.resource_id)
    };
    let of_identities: Vec<Uuid> = of(Action::CreateUserIdentity)
        .chain(of(Action::UpdateIdentity))
        .collect();
    let of_users: Vec<Uuid> = of(Action::CreateUser).collect();
    let mut seen = HashMap::new();
    for ids in of_identities.chunks(IDS_PER_QUERY) {
        let rows = identity::Entity::find()
            .filter(identity::COLUMN.tenant_id.eq(tenant.0))
            .filter(identity::COLUMN.id.is_in(ids.iter().copied()))
            .all(&store.reader_of(tenant))
            .await?;
        for row in rows {
            let context = json!({
                "identity_provider": row.identity_provider_id,
                "external_id": row.external_id,
                "external_username": row.external_username,
                "external_email": row.external_email,
                "external_display_name": row.external_display_name,
            });
            seen.insert(row.id, members(context));
        }
    }
    for ids in of_users.chunks(IDS_PER_QUERY) {
        for row in users_of(store, tenant, ids).await? {
            seen.insert(row.id, members(json!({ "email": row.email, "roles": row.roles })));
        }
    }
    Ok(seen)
}

/// The members of an object that have a value.
fn members(object: Value) -> Map<String, Value> {
    match object {
        Value::Object(mut members) => {
            members.retain(|_, value| !value.is_null());
            members
        }
        _ => Map::new(),
    }
}

async fn users_of(store: &Store, tenant: TenantId, ids: &[Uuid]) -> Result<Vec<user::Model>, StoreError> {
    Ok(user::Entity::find()
        .filter(user::COLUMN.tenant_id.eq(tenant.0))
        .filter(user::COLUMN.id.is_in(ids.iter().copied()))
        .all(&store.reader_of(tenant))
        .await?)
}

fn texts(list: &Value) -> Vec<String> {
    let texts = list.as_array().into_iter().flatten().filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}

fn scopes(list: &Value) -> Vec<Scope> {
    texts(list).iter().filter_map(|scope| scope.parse().ok()).collect()
}

impl Past {
    fn refused(row: decision::Model) -> Self {
        Self {
            id: row.id,
            source: PastSource::DecisionLog,
            actor_id: row.actor_id,
            actor_type: row.actor_type,
            action: row.action,
            resource: row.resource,
            verdict: match row.kind {
                DecisionKind::Forbidden => Verdict::Forbidden,
                DecisionKind::NotPermitted => Verdict::NotPermitted,
                DecisionKind::Error => Verdict::Error,
            },
            rule_ids: texts(&row.rule_ids),
            at: Timestamp(row.created_at),
            scopes: scopes(&row.scopes),
            context: row.context.and_then(|context| context.as_object().cloned()),
            context_of: None,
        }
    }

    /// Whether all that deciding again looks at may be read: who asked, what it was asked of, and what the context names.
    async fn is_readable(&self, readable: &mut Readable<'_>) -> Result<bool, StoreError> {
        let tenant = readable.tenant();
        let who = match self.actor_type {
            ActorType::ApiKey | ActorType::Scim => self.actor_id.parse().ok().map(Target::ApiKey),
            ActorType::Oidc => self.actor_id.parse().ok().map(Target::User),
            ActorType::System => None,
        };
        let on = evaluation::resource(tenant, &self.resource).ok();
        let provider = self.context.as_ref().and_then(evaluation::provider_named);
        for fact in [who, on, provider.map(Target::IdentityProvider)].into_iter().flatten() {
            if !readable.has(fact).await? {
                return Ok(false);
            }
        }
        match self.context_of {
            None => Ok(true),
            Some(Told::OfIdentityOf(user)) => readable.has_identities(Target::User(user)).await,
            Some(Told::OfUser(user)) => readable.has(Target::User(user)).await,
        }
    }

    fn permitted(row: audit_log_entry::Model, seen: &HashMap<Uuid, Map<String, Value>>) -> Self {
        let decision = row.decision.unwrap_or_default();
        let kept = decision["context"].as_object().cloned();
        let context_of = match row.action.parse() {
            _ if kept.is_some() => None,
            Ok(Action::CreateUser) => Some(Told::OfUser(UserId(row.resource_id))),
            // The user is gone where the entry does not name one: then nobody may read it.
            Ok(Action::CreateUserIdentity | Action::UpdateIdentity) => {
                let user = decision["resource"]
                    .as_str()
                    .and_then(|name| name.strip_prefix("user:"));
                let user = user.and_then(|id| id.parse().ok());
                Some(Told::OfIdentityOf(user.unwrap_or_default()))
            }
            _ => None,
        };
        let mut context = kept.or_else(|| seen.get(&row.resource_id).cloned());
        if row.action == Action::UpdateIdentity.as_str()
            && let Some(context) = &mut context
        {
            // The id of an account does not change, and is not in the context of this action.
            context.remove("external_id");
        }
        Self {
            id: row.id,
            source: PastSource::AuditLog,
            actor_id: row.actor_id,
            actor_type: row.actor_type,
            action: row.action,
            resource: decision["resource"].as_str().unwrap_or_default().to_owned(),
            verdict: Verdict::Permitted,
            rule_ids: texts(&decision["rule_ids"]),
            at: Timestamp(row.created_at),
            scopes: scopes(&decision["scopes"]),
            context,
            context_of,
        }
    }
}

/// Those who asked, as they are now.
struct FactsOfDecisions {
    principals: HashMap<String, Arc<Principal>>,
}

impl FactsOfDecisions {
    async fn read(store: &Store, tenant: TenantId, past: &[Past]) -> Result<Self, StoreError> {
        let ids = |of_users: bool| {
            let of_type = past
                .iter()
                .filter(move |past| (past.actor_type == ActorType::Oidc) == of_users);
            let mut ids: Vec<Uuid> = of_type.filter_map(|past| past.actor_id.parse().ok()).collect();
            ids.sort_unstable();
            ids.dedup();
            ids
        };
        let mut principals = HashMap::new();
        for some in ids(false).chunks(IDS_PER_QUERY) {
            let keys = api_key::Entity::find()
                .filter(api_key::COLUMN.tenant_id.eq(tenant.0))
                .filter(api_key::COLUMN.id.is_in(some.iter().copied()))
                .all(&store.reader_of(tenant))
                .await?;
            for key in keys {
                let principal = Principal {
                    tenant,
                    actor_id: key.id.to_string(),
                    actor_type: ActorType::ApiKey,
                    entity: access::api_keys::entity(&key),
                    identity_provider: key.identity_provider_id.map(IdentityProviderId),
                    scopes: access::api_keys::scopes(&key),
                    memo: Memo::default(),
                };
                principals.insert(principal.actor_id.clone(), Arc::new(principal));
            }
        }
        for some in ids(true).chunks(IDS_PER_QUERY) {
            for user in users_of(store, tenant, some).await? {
                // The scopes come with a token: those of one decision are not those of another.
                for past in past.iter().filter(|past| past.actor_id == user.id.to_string()) {
                    let principal = Principal {
                        tenant,
                        actor_id: past.actor_id.clone(),
                        actor_type: ActorType::Oidc,
                        entity: access::users::entity(&user, &past.scopes, None),
                        identity_provider: None,
                        scopes: past.scopes.clone(),
                        memo: Memo::default(),
                    };
                    principals.insert(Self::of_user(past), Arc::new(principal));
                }
            }
        }
        Ok(Self { principals })
    }

    fn of_user(past: &Past) -> String {
        format!("{} {:?}", past.actor_id, past.scopes)
    }

    /// Who asked. None where nobody knows them any more: a subject that is not linked to a user is known only by its token.
    fn principal(&self, past: &Past) -> Option<&Arc<Principal>> {
        match past.actor_type {
            ActorType::ApiKey | ActorType::Scim => self.principals.get(&past.actor_id),
            ActorType::Oidc => self.principals.get(&Self::of_user(past)),
            ActorType::System => None,
        }
    }
}

/// A question that can be asked again.
struct Again {
    principal: Arc<Principal>,
    action: Action,
    resource: EntityUid,
    context: Context,
    entities: Vec<Entity>,
}

/// The question of a decision, as it would be asked now. None where a part of it is gone.
async fn ask(
    store: &Store,
    tenant: &Arc<TenantState>,
    known: &FactsOfDecisions,
    past: &Past,
) -> Result<Option<Again>, StoreError> {
    let id = TenantId(tenant.tenant.id);
    let parts = (|| {
        let circumstances = evaluation::circumstances(tenant, past.context.as_ref()?).ok()?;
        let on: Target = evaluation::resource(id, &past.resource).ok()?;
        Some((known.principal(past)?, past.action.parse().ok()?, on, circumstances))
    })();
    let Some((principal, action, on, circumstances)) = parts else {
        return Ok(None);
    };
    let caller = Caller {
        principal: Arc::clone(principal),
        tenant: Arc::clone(tenant),
    };
    let query = caller.query(store, action, on, circumstances, true).await?;
    Ok(Some(Again {
        principal: Arc::clone(principal),
        action,
        resource: query.resource,
        context: query.context,
        entities: query.entities,
    }))
}

impl Again {
    fn decide(&self, rules: Option<&RuleSet>) -> Decision {
        let Some(rules) = rules else {
            return Decision::error();
        };
        let query = Query {
            principal: &self.principal.entity.uid,
            action: self.action,
            resource: self.resource.clone(),
            context: self.context.clone(),
            entities: self.entities.clone(),
        };
        policy::decide(rules, query)
    }
}

impl Preview {
    /// Decides a question again.
    fn decide(&mut self, tenant: &TenantState, rules: Option<&RuleSet>, past: Past, again: &Again) {
        self.examined += 1;
        let decision = again.decide(rules);
        if decision.verdict != past.verdict {
            let now = again.decide(tenant.rules.as_deref());
            self.changed.push(ChangedDecision {
                past,
                action: again.action,
                already: now.verdict == decision.verdict,
                decision,
            });
        }
    }
}

impl Candidate {
    /// The rules of the candidate. None inside where one of those that stay cannot be read: then everything is refused.
    pub(super) fn arrange(&self, tenant: &TenantState) -> Result<Option<RuleSet>, Excess> {
        if self.keeps && tenant.rules.is_none() {
            return Ok(None);
        }
        let left_out = |id| self.without_policies.contains(&id) || self.with_policies.contains(&id);
        let policies = tenant.policies().iter().filter(|_| self.keeps);
        let kept = policies.filter(|(policy, _)| !left_out(PolicyId(policy.id)));
        let kept = kept.map(|(policy, rows)| {
            let rows = rows
                .iter()
                .filter(|row| !self.without_rules.contains(&PolicyRuleId(row.id)));
            let rules = rows.filter_map(|row| tenant.parsed(row).cloned());
            (policy.priority, rules.collect::<Vec<_>>())
        });
        let policies: Vec<(i32, Vec<Rule>)> = kept.chain(self.with.iter().cloned()).collect();
        let rules = policies.iter().flat_map(|(_, rules)| rules);
        let totals = rules.fold(Totals::default(), |all, rule| {
            all.and(rule.statement.to_cedar().map_or(0, |text| text.len()), rule.weight)
        });
        totals.check_of_tenant()?;
        match RuleSet::of_policies(policies) {
            Ok(rules) => Ok(Some(rules)),
            Err(error) => {
                tracing::error!(%error, "the rules of a preview cannot be arranged");
                Ok(None)
            }
        }
    }
}
