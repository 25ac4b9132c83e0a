//! Does a change of policies lock everybody out?
//!
//! A rule like `forbid (principal, action, resource);` at a high priority takes from everybody the means to remove it. So
//! a change of policies is tried before it is made: if nobody could take it back under the rules as they would be, it is
//! refused, unless the caller insists.
//!
//! * **Who counts**: the caller; API keys that are neither expired, revoked nor bound and have the scope
//!   `policies:write`; and active users who are linked at an issuer that grants them the scope.
//! * **What counts**: whether they could change or delete the policy that is changed, or create one above it. Where it is
//!   gone, or where all policies are put into an order: whether they could create a policy, or change or delete one.
//! * **Races**: the rules are evaluated before the change is written, with no lock held. The change then holds only while
//!   the tenant's policies are those that were evaluated: `tenants.policies_version` counts their changes, and is compared
//!   and raised in the change's own transaction. Two changes that together lock everybody out cannot both pass, whether
//!   they share a batch, a node, or only the database.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use aka_entity::{api_key, audit_log_entry::ActorType, identity, policy_rule};
use async_trait::async_trait;
use sea_orm::{
    ConnectionTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, Statement,
    sea_query::{Expr, ExprTrait as _},
};

use super::{MAX_PRIORITY, PolicyRefusal, preview::Candidate};
use crate::{
    access::{
        self,
        caller::{Caller, PolicyContext, Principal, Target},
        tenants::TenantState,
        workers::Job,
    },
    policy::{
        Decision, Effort, Expensive, Memo,
        rules::{CheckedRule, Rule, RuleSet, StoredRule},
    },
    store::{Applied, Change, Store, StoreError, Tx},
    types::{
        actions::Action,
        clock,
        ids::{IdentityProviderId, PolicyId, PolicyRuleId, TenantId, UserId},
        scopes::Scope,
    },
};

/// API keys that are asked about at most, beside the caller. A tenant that lets none of so many change policies may have
/// another one that can; it can insist.
const MAX_KEYS: u64 = 100;
/// The same for users.
const MAX_USERS: u64 = 100;
/// Policies that are asked about at most, where it could be any of them.
const MAX_POLICIES: usize = 20;

/// A change of policies that decisions depend on.
#[async_trait]
pub trait PolicyChange: Change<Refusal = PolicyRefusal> + Clone {
    /// In which tenant it is made.
    fn in_tenant(&self) -> TenantId;

    /// What it makes of the tenant's policies. None where it changes nothing that decisions depend on, or will be refused.
    async fn edit(&self, store: &Store) -> Result<Option<Edit>, StoreError>;
}

/// What a change makes of a tenant's policies.
pub enum Edit {
    /// A policy is as it says afterwards.
    Policy {
        /// Which one.
        id: PolicyId,
        /// Its priority and its rules. None: it is not in force.
        in_force: Option<(i32, Vec<NamedRule>)>,
        /// Whether it is there no more.
        deleted: bool,
    },
    /// All policies are in this order, the one that is evaluated first at the head.
    Order(Vec<PolicyId>),
}

/// A rule of the policy that is changed.
#[derive(Clone)]
pub enum NamedRule {
    /// It is there already.
    Stored(policy_rule::Model),
    /// It is new.
    New(PolicyRuleId, Box<CheckedRule>),
}

impl NamedRule {
    pub(super) fn id(&self) -> PolicyRuleId {
        match self {
            Self::Stored(row) => PolicyRuleId(row.id),
            Self::New(id, _) => *id,
        }
    }

    fn text(&self) -> &str {
        match self {
            Self::Stored(row) => &row.policy_text,
            Self::New(_, rule) => &rule.text,
        }
    }

    fn read(&self, tenant: &TenantState) -> Option<Rule> {
        match self {
            Self::Stored(row) => {
                let stored = StoredRule::from(row);
                let parsed = tenant.parsed(row).filter(|rule| rule.is_stored_as(stored)).cloned();
                parsed.or_else(|| Rule::of_tenant(stored).ok())
            }
            Self::New(id, rule) => Some(Rule::candidate(&rule.statement, rule.weight, &id.to_string())),
        }
    }
}

/// That a change locks everybody out.
#[derive(Clone, Debug)]
pub struct LockedOut {
    /// What nobody could do any more: the caller could not do it for these reasons.
    pub action: Action,
    /// How that would be decided.
    pub decision: Decision,
    /// The rules of the policy that is changed that determine it: their texts, as new ones have no ids yet.
    pub texts: Vec<String>,
    /// The other rules that determine it: their ids.
    pub rules: Vec<String>,
}

/// What was found out of a change.
#[derive(Clone, Debug)]
pub struct Checked {
    /// Of which version the policies were. None: nobody looked.
    version: Option<i64>,
    locked_out: Option<LockedOut>,
}

impl Checked {
    /// Nobody looked: the change is made whomever it locks out.
    #[must_use]
    pub const fn forced() -> Self {
        Self {
            version: None,
            locked_out: None,
        }
    }
}

/// A change that is made only if it locks nobody out, as was found out of it.
pub struct Guarded<C> {
    /// The change.
    pub change: C,
    /// What was found out of it.
    pub checked: Checked,
}

#[async_trait]
impl<C: PolicyChange> Change for Guarded<C> {
    type Done = C::Done;
    type Refusal = PolicyRefusal;

    fn tenant(&self) -> Option<TenantId> {
        self.change.tenant()
    }

    async fn apply(&self, tx: &Tx<'_>) -> Result<Applied<Self::Done>, PolicyRefusal> {
        let applied = self.change.apply(tx).await?;
        if applied.is_unchanged() {
            return Ok(applied);
        }
        if !raise_version(tx, self.change.in_tenant(), self.checked.version).await? {
            return Err(PolicyRefusal::Overtaken);
        }
        match &self.checked.locked_out {
            None => Ok(applied),
            Some(locked_out) => Err(PolicyRefusal::LocksOut(Box::new(locked_out.clone()))),
        }
    }
}

/// Counts a change of a tenant's policies. False where they are no longer of the version that is expected.
async fn raise_version(tx: &Tx<'_>, tenant: TenantId, expected: Option<i64>) -> Result<bool, StoreError> {
    const RAISE: &str = "UPDATE tenants SET policies_version = policies_version + 1 WHERE id = $1";
    let backend = tx.db.get_database_backend();
    let raise = match expected {
        None => Statement::from_sql_and_values(backend, RAISE, [tenant.into()]),
        Some(expected) => {
            let raise = format!("{RAISE} AND policies_version = $2");
            Statement::from_sql_and_values(backend, raise, [tenant.into(), expected.into()])
        }
    };
    Ok(tx.db.execute_raw(raise).await?.rows_affected() == 1)
}

/// Finds out whether a change locks everybody out of changing policies.
///
/// # Errors
///
/// [`StoreError`]
pub async fn check(store: &Store, caller: &Caller, change: &impl PolicyChange) -> Result<Checked, StoreError> {
    // What is read after the version can only be newer: then it is the version that tells.
    let mut checked = Checked {
        version: Some(caller.tenant.tenant.policies_version),
        locked_out: None,
    };
    let Some(edit) = change.edit(store).await? else {
        return Ok(checked);
    };
    let job = caller.tenant.pool.admit(caller.tenant_id())?;
    let tenant = Arc::clone(&caller.tenant);
    let arranged = job.run(move || {
        let rules = edit.candidate(&tenant).map(|candidate| candidate.arrange(&tenant));
        (edit, rules)
    });
    // Rules that cannot be read refuse everything already, and the change may be what mends it; too many are refused when
    // the change is made.
    let (edit, Some(Ok(Some(rules)))) = arranged.await? else {
        return Ok(checked);
    };
    let rules = Arc::new(rules);
    let ways = edit.ways_back(caller);
    let Some((action, decision)) = no_way_back(store, &job, caller, &rules, &ways).await? else {
        return Ok(checked);
    };
    for other in others(store, caller).await? {
        let other = Caller {
            principal: Arc::new(other),
            tenant: Arc::clone(&caller.tenant),
        };
        if no_way_back(store, &job, &other, &rules, &ways).await?.is_none() {
            return Ok(checked);
        }
    }
    let (texts, rules) = edit.determining(&decision);
    checked.locked_out = Some(LockedOut {
        action,
        decision,
        texts,
        rules,
    });
    Ok(checked)
}

/// Why somebody can go none of these ways under some rules: the decision on the first. None where they can go one.
async fn no_way_back(
    store: &Store,
    job: &Job,
    who: &Caller,
    rules: &Arc<RuleSet>,
    ways: &[(Action, Target)],
) -> Result<Option<(Action, Decision)>, StoreError> {
    let mut first = None;
    for (action, on) in ways {
        let query = who.query(store, *action, *on, PolicyContext::default(), false).await?;
        let decision = match Expensive::new(query) {
            Ok(question) => {
                let rules = Arc::clone(rules);
                job.run(move || question.decide(&rules, Effort::QUICK)).await?
            }
            Err(decision) => decision,
        };
        if decision.is_permitted() {
            return Ok(None);
        }
        first = first.or(Some((*action, decision)));
    }
    Ok(first)
}

impl Edit {
    /// The rules as they are afterwards. None where one of them cannot be read.
    fn candidate(&self, tenant: &TenantState) -> Option<Candidate> {
        let candidate = |without_policies, with| Candidate {
            keeps: true,
            without_policies,
            with,
            ..Candidate::default()
        };
        match self {
            Self::Policy { id, in_force, .. } => {
                let with = in_force.iter().map(|(priority, rules)| {
                    let rules = rules.iter().map(|rule| rule.read(tenant));
                    Some((*priority, rules.collect::<Option<Vec<_>>>()?))
                });
                Some(candidate(vec![*id], with.collect::<Option<_>>()?))
            }
            Self::Order(order) => {
                let policies = tenant.policies();
                let with = policies.iter().map(|(policy, rows)| {
                    let place = order.iter().position(|id| id.0 == policy.id)?;
                    let priority = i32::try_from(order.len() - place).unwrap_or(i32::MAX);
                    let rules = rows.iter().map(|row| tenant.parsed(row).cloned());
                    Some((priority, rules.collect::<Option<Vec<_>>>()?))
                });
                let all = policies.iter().map(|(policy, _)| PolicyId(policy.id)).collect();
                Some(candidate(all, with.collect::<Option<_>>()?))
            }
        }
    }

    /// How the change could be taken back.
    fn ways_back(&self, caller: &Caller) -> Vec<(Action, Target)> {
        let of_policy =
            |id: PolicyId| [Action::UpdatePolicy, Action::DeletePolicy].map(|action| (action, Target::Policy(id)));
        match self {
            Self::Policy {
                id,
                in_force,
                deleted: false,
            } => {
                let mut ways = of_policy(*id).to_vec();
                // A policy above it can permit again what it forbids; beside it, a forbid would win.
                if in_force.as_ref().is_none_or(|(priority, _)| *priority < MAX_PRIORITY) {
                    ways.push((Action::CreatePolicy, Target::Tenant));
                }
                ways
            }
            Self::Policy { .. } | Self::Order(_) => {
                let policies = caller.tenant.policies().iter().take(MAX_POLICIES);
                let policies = policies.flat_map(|(policy, _)| of_policy(PolicyId(policy.id)));
                [(Action::CreatePolicy, Target::Tenant)]
                    .into_iter()
                    .chain(policies)
                    .collect()
            }
        }
    }

    /// The rules that determined a decision: the texts of those of the policy that is changed, and the ids of the others.
    fn determining(&self, decision: &Decision) -> (Vec<String>, Vec<String>) {
        let own = match self {
            Self::Policy {
                in_force: Some((_, rules)),
                ..
            } => rules.as_slice(),
            Self::Policy { .. } | Self::Order(_) => &[],
        };
        let of_policy = |id: &String| own.iter().find(|own| own.id().to_string() == *id);
        let texts = decision.rules.iter().filter_map(of_policy);
        let others = decision.rules.iter().filter(|id| of_policy(id).is_none());
        (
            texts.map(|rule| rule.text().to_owned()).collect(),
            others.cloned().collect(),
        )
    }
}

/// Who else could change policies: API keys, then users.
async fn others(store: &Store, caller: &Caller) -> Result<Vec<Principal>, StoreError> {
    let mut others = keys(store, caller.tenant_id()).await?;
    others.extend(token_users(store, caller).await?);
    Ok(others)
}

async fn keys(store: &Store, tenant: TenantId) -> Result<Vec<Principal>, StoreError> {
    let scopes = Expr::col(api_key::Column::Scopes).cast_as("text");
    let keys = api_key::Entity::find()
        .filter(api_key::COLUMN.tenant_id.eq(tenant.0))
        .filter(api_key::COLUMN.revoked_at.is_null())
        .filter(api_key::COLUMN.identity_provider_id.is_null())
        .filter(
            api_key::COLUMN
                .expires_at
                .is_null()
                .or(api_key::COLUMN.expires_at.gt(clock::now().0)),
        )
        .filter(scopes.like(format!("%\"{}\"%", Scope::PoliciesWrite)))
        .order_by_asc(api_key::Column::Id)
        .limit(MAX_KEYS)
        .all(store.reader())
        .await?;
    let principal = |key: api_key::Model| Principal {
        tenant,
        actor_id: key.id.to_string(),
        actor_type: ActorType::ApiKey,
        entity: access::api_keys::entity(&key),
        identity_provider: None,
        scopes: access::api_keys::scopes(&key),
        memo: Memo::default(),
    };
    Ok(keys.into_iter().map(principal).collect())
}

async fn token_users(store: &Store, caller: &Caller) -> Result<Vec<Principal>, StoreError> {
    let tenant = caller.tenant_id();
    let issuers: HashMap<_, _> = caller.tenant.issuers().map(|(id, issuer)| (id.0, issuer)).collect();
    if issuers.is_empty() {
        return Ok(Vec::new());
    }
    let linked = identity::Entity::find()
        .filter(identity::COLUMN.tenant_id.eq(tenant.0))
        .filter(identity::COLUMN.identity_provider_id.is_in(issuers.keys().copied()))
        .filter(identity::COLUMN.user_id.is_not_null())
        .order_by_asc(identity::Column::Id)
        .limit(MAX_USERS)
        .all(store.reader())
        .await?;
    let claimed = BTreeSet::from([Scope::PoliciesWrite]);
    let mut principals = Vec::new();
    for identity in linked {
        let Some(id) = identity.user_id.map(UserId) else {
            continue;
        };
        let user = access::users::find(store, tenant, id).await?;
        let issuer = issuers.get(&identity.identity_provider_id);
        let (Some(user), Some(issuer)) = (user.filter(|user| user.active), issuer) else {
            continue;
        };
        let scopes = issuer.grants.limit(&claimed, Some(&user));
        if scopes.is_empty() {
            continue;
        }
        let provider = IdentityProviderId(identity.identity_provider_id);
        principals.push(Principal {
            tenant,
            actor_id: id.to_string(),
            actor_type: ActorType::Oidc,
            entity: access::users::entity(&user, &scopes, Some(provider)),
            identity_provider: Some(provider),
            scopes,
            memo: Memo::default(),
        });
    }
    Ok(principals)
}
