//! Policies: what a tenant says about who may do what. Their rules are in [`super::policy_rules`].

use aka_entity::{policy, policy_rule};
use poem_openapi::{Object, OpenApi, types::MaybeUndefined};
use serde::{Deserialize, Serialize};

use super::{
    MAX_PRIORITY,
    changes::{CreatePolicy, DeletePolicy, NewRule, ReorderPolicies, UpdatePolicy},
    errors::refused_text,
    guarded,
    rule_checks::check_set,
    rule_wire::PolicyRule,
};
use crate::{
    access::{caller::Target, workers::Job},
    http::{
        Tag,
        answers::{CreatedTagged, Gone, Tagged},
        body::{Answer, Body},
        caller::ApiCaller,
        error::{Error, InputLocation},
        etag::etag,
        idempotency::Replayable,
        page::{List, Page},
        params::{Cursor, Limit, OptionalQueryParam, Path},
    },
    policy::{
        rules::{CheckedRule, parse_text},
        statement::Statement,
    },
    resources::policies,
    types::{
        clock::Timestamp,
        ids::{PolicyId, PolicyRuleId},
        text::{Description, Name},
    },
};

/// Rules that are exported before it is another tenant's turn: some milliseconds of work.
const EXPORTED_AT_A_TIME: usize = 50;

/// A named set of Cedar rules.
///
/// Policies are evaluated from the highest priority down, those of the same priority together. The first priority at
/// which a rule applies decides, and there a `forbid` wins over a `permit`. Where none applies, the scopes of the
/// credential decide.
#[derive(Debug, Object, Serialize)]
pub struct Policy {
    /// The id of the policy.
    pub id: PolicyId,
    /// Its name.
    pub name: String,
    /// Its purpose.
    #[oai(nullable)]
    pub description: Option<String>,
    /// Whether its rules are in force.
    pub enabled: bool,
    /// Policies with a higher priority are evaluated first.
    pub priority: i32,
    /// Its rules, in their order.
    pub rules: Vec<PolicyRule>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When the policy itself was last changed.
    pub updated_at: Timestamp,
}

impl TryFrom<(policy::Model, Vec<policy_rule::Model>)> for Policy {
    type Error = Error;

    fn try_from((policy, rules): (policy::Model, Vec<policy_rule::Model>)) -> Result<Self, Error> {
        Ok(Self {
            id: PolicyId(policy.id),
            name: policy.name,
            description: policy.description,
            enabled: policy.enabled,
            priority: policy.priority,
            rules: rules.into_iter().map(PolicyRule::try_from).collect::<Result<_, _>>()?,
            created_at: Timestamp(policy.created_at),
            updated_at: Timestamp(policy.updated_at),
        })
    }
}

impl Policy {
    /// A policy with its state. Of one with a thousand rules that takes milliseconds.
    fn with_etag(policy: (policy::Model, Vec<policy_rule::Model>)) -> Result<(Answer<Self>, String), Error> {
        let etag = etag(&policies::revision(&policy.0, &policy.1));
        Ok((Answer(Self::try_from(policy)?), etag))
    }

    /// The answer of a policy with its state.
    pub(super) fn tagged(policy: (policy::Model, Vec<policy_rule::Model>)) -> Result<Tagged<Self>, Error> {
        let (policy, etag) = Self::with_etag(policy)?;
        Ok(Tagged::Done(policy, etag))
    }
}

/// A new policy.
#[derive(Debug, Object, Deserialize)]
#[oai(deny_unknown_fields)]
#[serde(deny_unknown_fields)]
pub struct PolicyCreate {
    /// Its name.
    pub name: Name,
    /// Its purpose.
    #[oai(nullable)]
    pub description: Option<Description>,
    /// Whether its rules are in force at once. Default: yes.
    #[oai(nullable)]
    pub enabled: Option<bool>,
    /// Policies with a higher priority are evaluated first. Default: 0.
    #[oai(nullable, validator(minimum(value = "-1000000"), maximum(value = "1000000")))]
    pub priority: Option<i32>,
    /// Its rules: any number of Cedar statements, each of which becomes a rule. Checked against the Cedar schema.
    #[oai(nullable)]
    pub cedar_policy_set: Option<String>,
}

/// The fields of a policy to change; absent fields stay as they are.
#[derive(Debug, Object, Deserialize)]
#[oai(deny_unknown_fields)]
#[serde(deny_unknown_fields)]
pub struct PolicyUpdate {
    /// Its name.
    #[oai(nullable)]
    pub name: Option<Name>,
    /// Its purpose. Null removes it.
    #[serde(default)]
    pub description: MaybeUndefined<Description>,
    /// Whether its rules are to be in force.
    #[oai(nullable)]
    pub enabled: Option<bool>,
    /// Policies with a higher priority are evaluated first.
    #[oai(nullable, validator(minimum(value = "-1000000"), maximum(value = "1000000")))]
    pub priority: Option<i32>,
    /// Its rules from now on, in place of all that it has: any number of Cedar statements.
    #[oai(nullable)]
    pub cedar_policy_set: Option<String>,
}

/// The order of all policies.
#[derive(Debug, Object, Deserialize)]
#[oai(deny_unknown_fields)]
#[serde(deny_unknown_fields)]
pub struct PolicyOrder {
    /// All policies of the tenant, the first to be evaluated first.
    #[oai(validator(max_items = 1000))]
    pub ids: Vec<PolicyId>,
}

/// A policy as Cedar text.
#[derive(Debug, Object, Serialize)]
pub struct PolicyExport {
    /// The statements of all rules in their order: the content of a `.cedar` file. The notice of a rule that is not in
    /// its statement is put there as `@notice`.
    pub cedar_policy_set: String,
}

impl PolicyCreate {
    fn priority(priority: i32) -> Result<i32, Error> {
        if !(-MAX_PRIORITY..=MAX_PRIORITY).contains(&priority) {
            let reason = format!("must be from -{MAX_PRIORITY} to {MAX_PRIORITY}");
            return Err(Error::field(InputLocation::Body, "priority", reason));
        }
        Ok(priority)
    }
}

/// The rules of a set of statements.
async fn split(job: &Job, set: Option<String>) -> Result<Option<Vec<NewRule>>, Error> {
    const FIELD: &str = "cedar_policy_set";
    let Some(set) = set else { return Ok(None) };
    let rules = check_set(job, set)
        .await
        .map_err(|refusal| refused_text(FIELD, refusal))?;
    let new = |rule: CheckedRule| NewRule {
        id: PolicyRuleId::new(),
        rule,
        notice: None,
    };
    Ok(Some(rules.into_iter().map(new).collect()))
}

/// A rule as it is exported: its statement, with its notice.
fn exported(rule: &policy_rule::Model) -> Result<String, Error> {
    let Some(notice) = &rule.notice else {
        return Ok(rule.policy_text.clone());
    };
    let parsed = parse_text(&rule.policy_text)
        .map_err(|error| Error::internal(format!("the stored rule {} cannot be read: {error}", rule.id)))?;
    let mut statement = Statement::of(&parsed, &rule.policy_text);
    statement.annotations.insert("notice".into(), notice.clone());
    Ok(statement.to_text())
}

/// The operations on policies.
pub struct PoliciesApi;

#[OpenApi(tag = "Tag::Policies")]
impl PoliciesApi {
    /// List policies
    ///
    /// Each with its rules, the oldest first.
    #[oai(path = "/v1/policies", method = "get", operation_id = "listPolicies")]
    async fn list(
        &self,
        caller: ApiCaller<'_>,
        /// How many rows to answer with at most.
        limit: OptionalQueryParam<Limit>,
        /// Where the page begins: the `next_cursor` of the page before. Omit it for the first page.
        cursor: OptionalQueryParam<Cursor>,
    ) -> Result<Answer<Page<Policy>>, Error> {
        let tenant = caller.tenant_id();
        let list = List::new("policies", tenant, "");
        let wanted = list.wanted(limit, cursor)?;
        caller.may(Target::Tenant).await?;
        let rows = policies::list(caller.store(), tenant, wanted.after, wanted.to_read()).await?;
        let rules = rows.iter().map(|(_, rules)| rules.len()).sum();
        let convert = move || rows.into_iter().map(Policy::try_from).collect::<Result<Vec<_>, _>>();
        let rows = caller.show(rules, convert).await??;
        Ok(Answer(list.page(&wanted, rows, |policy| policy.id.0, |policy| policy)))
    }

    /// Create a policy
    ///
    /// With its rules, if `cedar_policy_set` has any. They are in force when this answers: on the node that answers at
    /// once, on others within two seconds. A text that is not Cedar, or does not fit the Cedar schema, is refused as a
    /// whole with `invalid_rule`: Cedar's own message, and line and column in `details`. What Cedar only warns of is
    /// stored, and told in the `warnings` of its rule.
    #[oai(path = "/v1/policies", method = "post", operation_id = "createPolicy")]
    async fn create(
        &self,
        caller: ApiCaller<'_>,
        /// Whether to make the change even if it would leave nobody who could take it back.
        force: OptionalQueryParam<bool>,
        body: Body<PolicyCreate>,
    ) -> Result<Replayable<CreatedTagged<Policy>>, Error> {
        let Body(new) = body;
        let priority = PolicyCreate::priority(new.priority.unwrap_or_default())?;
        let PolicyCreate {
            name,
            description,
            enabled,
            cedar_policy_set,
            ..
        } = new;
        let permit = caller.may(Target::Tenant).await?;
        let job = caller.job()?;
        let rules = split(&job, cedar_policy_set).await?.unwrap_or_default();
        let change = CreatePolicy {
            permit,
            id: PolicyId::new(),
            name,
            description,
            enabled: enabled.unwrap_or(true),
            priority,
            rules,
        };
        let force = force.0.unwrap_or_default();
        let written = guarded::write(&caller, change, force).await?;
        let shown = job.run(move || Policy::with_etag(written.done)).await?;
        let (policy, etag) = shown?;
        let location = format!("/v1/policies/{}", policy.0.id);
        let created = CreatedTagged::Created(policy, location, etag);
        Ok(Replayable::new(created, written.replayed))
    }

    /// Get a policy
    ///
    /// With its rules.
    #[oai(path = "/v1/policies/:policyId", method = "get", operation_id = "getPolicy")]
    async fn get(
        &self,
        caller: ApiCaller<'_>,
        /// The policy.
        #[oai(name = "policyId")]
        policy_id: Path<PolicyId>,
    ) -> Result<Tagged<Policy>, Error> {
        caller.may(Target::Policy(policy_id.0)).await?;
        let policy = policies::find(caller.store(), caller.tenant_id(), policy_id.0).await?;
        let policy = policy.ok_or_else(|| Error::no_such("policy", policy_id.0))?;
        caller.show(policy.1.len(), move || Policy::tagged(policy)).await?
    }

    /// Delete a policy
    ///
    /// Its rules go with it.
    #[oai(path = "/v1/policies/:policyId", method = "delete", operation_id = "deletePolicy")]
    async fn delete(
        &self,
        caller: ApiCaller<'_>,
        /// The policy.
        #[oai(name = "policyId")]
        policy_id: Path<PolicyId>,
        /// Whether to make the change even if it would leave nobody who could take it back.
        force: OptionalQueryParam<bool>,
    ) -> Result<Gone, Error> {
        let permit = caller.may(Target::Policy(policy_id.0)).await?;
        let change = DeletePolicy {
            permit,
            id: policy_id.0,
        };
        guarded::write(&caller, change, force.0.unwrap_or_default()).await?;
        Ok(Gone::Done)
    }

    /// Change a policy
    ///
    /// Absent fields stay as they are. With `cedar_policy_set` all rules are replaced, or none where one of them is wrong.
    #[oai(path = "/v1/policies/:policyId", method = "patch", operation_id = "updatePolicy")]
    async fn update(
        &self,
        caller: ApiCaller<'_>,
        /// The policy.
        #[oai(name = "policyId")]
        policy_id: Path<PolicyId>,
        /// Whether to make the change even if it would leave nobody who could take it back.
        force: OptionalQueryParam<bool>,
        body: Body<PolicyUpdate>,
    ) -> Result<Replayable<Tagged<Policy>>, Error> {
        let id = policy_id.0;
        let PolicyUpdate {
            name,
            description,
            enabled,
            priority,
            cedar_policy_set,
        } = body.0;
        let priority = priority.map(PolicyCreate::priority).transpose()?;
        let description = match description {
            MaybeUndefined::Undefined => None,
            MaybeUndefined::Null => Some(None),
            MaybeUndefined::Value(description) => Some(Some(description)),
        };
        let permit = caller.may(Target::Policy(id)).await?;
        let job = caller.job()?;
        let rules = split(&job, cedar_policy_set).await?;
        let change = UpdatePolicy {
            permit,
            id,
            name,
            description,
            enabled,
            priority,
            rules,
            reads_rules: caller.keeps_answer(),
        };
        let force = force.0.unwrap_or_default();
        let written = guarded::write(&caller, change, force).await?;
        let (policy, rules) = written.done;
        let rules = match rules {
            Some(rules) => rules,
            None => policies::all_rules(caller.store(), caller.tenant_id(), id).await?,
        };
        let shown = job.run(move || Policy::tagged((policy, rules))).await?;
        Ok(Replayable::new(shown?, written.replayed))
    }

    /// Reorder the policies
    ///
    /// Names all of them, the first to be evaluated first. Gives each a priority of its own.
    #[oai(path = "/v1/policies/reorder", method = "patch", operation_id = "reorderPolicies")]
    async fn reorder(
        &self,
        caller: ApiCaller<'_>,
        /// Whether to make the change even if it would leave nobody who could take it back.
        force: OptionalQueryParam<bool>,
        body: Body<PolicyOrder>,
    ) -> Result<Replayable<Gone>, Error> {
        let permit = caller.may(Target::Tenant).await?;
        let change = ReorderPolicies {
            permit,
            ids: body.0.ids,
        };
        let force = force.0.unwrap_or_default();
        let written = guarded::write(&caller, change, force).await?;
        Ok(Replayable::new(Gone::Done, written.replayed))
    }

    /// Export a policy as Cedar text
    ///
    /// What `cedar_policy_set` takes back.
    #[oai(
        path = "/v1/policies/:policyId/export",
        method = "get",
        operation_id = "exportPolicy"
    )]
    async fn export(
        &self,
        caller: ApiCaller<'_>,
        /// The policy.
        #[oai(name = "policyId")]
        policy_id: Path<PolicyId>,
    ) -> Result<Answer<PolicyExport>, Error> {
        caller.may(Target::Policy(policy_id.0)).await?;
        let policy = policies::find(caller.store(), caller.tenant_id(), policy_id.0).await?;
        let (_, rules) = policy.ok_or_else(|| Error::no_such("policy", policy_id.0))?;
        let (job, mut rules, mut statements) = (caller.job()?, rules.into_iter(), Vec::new());
        while !rules.as_slice().is_empty() {
            let some: Vec<_> = rules.by_ref().take(EXPORTED_AT_A_TIME).collect();
            let some = job.run(move || some.iter().map(exported).collect::<Result<Vec<_>, _>>());
            statements.extend(some.await??);
        }
        Ok(Answer(PolicyExport {
            cedar_policy_set: statements.join("\n\n"),
        }))
    }
}
