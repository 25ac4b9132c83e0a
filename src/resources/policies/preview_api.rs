//! What would a change of policies change? For those who are about to make it.

use aka_entity::policy_rule;
use poem_openapi::{Enum, Object, OpenApi};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    MAX_PRIORITY,
    errors::refused_text,
    evaluation_api::{DecisionKind, PolicyEvaluation},
    preview::{self, Candidate, ChangedDecision, PastSource, Preview},
    rule_checks::check_set,
};
use crate::{
    access::{caller::Target, workers::Job},
    http::{
        Tag,
        body::{Answer, Body},
        caller::ApiCaller,
        error::{Error, InputLocation},
    },
    policy::{self, rules::Rule},
    resources::{decisions::api::ActorTypeName, policies},
    types::{
        clock::Timestamp,
        ids::{PolicyId, PolicyRuleId},
    },
};

/// Decisions that are looked at where the caller does not say.
const DEFAULT_LAST: u32 = 100;
/// Decisions that are looked at, at most.
const MAX_LAST: u32 = 1_000;
/// Things that are named at most.
const MAX_NAMED: usize = 100;
/// Stored rules that are read before it is another tenant's turn: some milliseconds of work.
const READ_AT_A_TIME: usize = 50;

/// A policy that might be.
#[derive(Debug, Object, Deserialize)]
#[oai(deny_unknown_fields)]
#[serde(deny_unknown_fields)]
pub struct CandidatePolicy {
    /// Policies with a higher priority are evaluated first. Default: 0.
    #[oai(nullable, validator(minimum(value = "-1000000"), maximum(value = "1000000")))]
    pub priority: Option<i32>,
    /// Whether its rules are to be in force. Absent: yes.
    #[oai(nullable)]
    pub enabled: Option<bool>,
    /// Its rules: any number of Cedar statements.
    pub cedar_policy_set: String,
}

/// A change of the tenant's policies that might be made.
#[derive(Debug, Object, Deserialize)]
#[oai(deny_unknown_fields)]
#[serde(deny_unknown_fields)]
pub struct PolicyChange {
    /// All policies, in place of those that the tenant has. Not together with the other ways of naming a change.
    #[oai(nullable, validator(max_items = 100))]
    pub policies: Option<Vec<CandidatePolicy>>,
    /// Policies that would be deleted or disabled.
    #[oai(nullable, validator(max_items = 100))]
    pub without_policy_ids: Option<Vec<PolicyId>>,
    /// Rules that would be deleted.
    #[oai(nullable, validator(max_items = 100))]
    pub without_rule_ids: Option<Vec<PolicyRuleId>>,
    /// Policies of the tenant that are disabled and would be enabled.
    #[oai(nullable, validator(max_items = 100))]
    pub with_policy_ids: Option<Vec<PolicyId>>,
    /// Policies that would be added.
    #[oai(nullable, validator(max_items = 100))]
    pub with: Option<Vec<CandidatePolicy>>,
    /// How many of the last decisions to look at. Absent: 100.
    #[oai(nullable, validator(minimum(value = "1"), maximum(value = "1000")))]
    pub last: Option<u32>,
}

/// Where a decision was taken down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Serialize)]
#[oai(rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum DecisionSource {
    /// It was a no: `getDecision` has it.
    DecisionLog,
    /// It was a yes to a change: its audit entry has it.
    AuditLog,
}

/// The outcome of a decision.
#[derive(Debug, Object, Serialize)]
pub struct PastOutcome {
    /// Whether it was permitted.
    pub permitted: bool,
    /// The outcome.
    pub kind: DecisionKind,
    /// The rules that determined it: their ids, and the names of built-in rules.
    pub matching_rule_ids: Vec<String>,
}

/// The outcome that a decision would have.
#[derive(Debug, Object, Serialize)]
pub struct PreviewedOutcome {
    /// Whether it would be permitted.
    pub permitted: bool,
    /// The outcome.
    pub kind: DecisionKind,
    /// The policies whose rules would determine it. Those that are only in the request have no ids.
    pub matching_policy_ids: Vec<PolicyId>,
    /// The rules that would determine it: their ids, the names of built-in rules, and of those in the request where they
    /// are, as in `with/0/1` for the second statement of the first policy.
    pub matching_rule_ids: Vec<String>,
    /// The priority at which it would be decided; null where that is a built-in level, or none.
    #[oai(nullable)]
    pub priority: Option<i32>,
    /// Why, for a person.
    pub reason: String,
    /// What the rules that would determine it tell the caller.
    pub notices: Vec<String>,
}

/// A decision that would have a different outcome.
#[derive(Debug, Object, Serialize)]
pub struct PreviewedDecision {
    /// The id of the decision, or of the audit entry.
    pub id: Uuid,
    /// Which of the two it is.
    pub source: DecisionSource,
    /// Who asked: the id of a key or of a user.
    pub actor_id: String,
    /// With what kind of credential.
    pub actor_type: ActorTypeName,
    /// What was asked for: an operation id.
    pub action: String,
    /// On what, as in `user:<id>`.
    pub resource: String,
    /// When it was decided.
    pub created_at: Timestamp,
    /// The outcome.
    pub before: PastOutcome,
    /// The outcome.
    pub after: PreviewedOutcome,
    /// Whether the current rules already decide the same, without the change.
    pub already: bool,
    /// The difference, for a person.
    pub message: String,
}

/// What may be wrong with a rule in the request, though it is one.
#[derive(Debug, Object, Serialize)]
pub struct PreviewWarning {
    /// Where the rule is, as in `with/0/1` for the second statement of the first policy.
    pub rule_id: String,
    /// What may be wrong, or what the rule newly opens and to whom.
    pub message: String,
    /// The line in the statement, from 1; null where it is the rule as a whole.
    #[oai(nullable)]
    pub line: Option<usize>,
    /// The column in the statement, from 1, in characters; null where it is the rule as a whole.
    #[oai(nullable)]
    pub column: Option<usize>,
}

impl PreviewWarning {
    fn new(rule_id: String, warning: policy::RuleWarning) -> Self {
        let (line, column) = warning.position.unzip();
        Self {
            rule_id,
            message: warning.message,
            line,
            column,
        }
    }
}

/// What a change would change.
#[derive(Debug, Object, Serialize)]
pub struct PolicyPreview {
    /// How many decisions were decided again.
    pub examined: u32,
    /// How many of them would come out differently.
    pub changed: u32,
    /// How many could not be decided again: who asked, or what was looked at, is gone or not known.
    pub undecidable: u32,
    /// How many were not decided again because the caller may not read what they look at: who asked (`getUser`,
    /// `getApiKey`), what it was asked of (also `getIdentityProvider`), or the identity that was linked
    /// (`listUserIdentities`).
    pub withheld: u32,
    /// Whether there was time for all. If not, the newest were decided.
    pub complete: bool,
    /// Those that would come out differently, newest first.
    pub decisions: Vec<PreviewedDecision>,
    /// What may be wrong with the rules in the request, though they are rules: see `warnings` of a rule.
    pub warnings: Vec<PreviewWarning>,
}

impl From<ChangedDecision> for PreviewedDecision {
    fn from(changed: ChangedDecision) -> Self {
        let ChangedDecision {
            past,
            action,
            decision,
            already,
        } = changed;
        let after = PolicyEvaluation::new(action, decision);
        let was = DecisionKind::from(past.verdict);
        let by = if past.rule_ids.is_empty() {
            String::new()
        } else {
            format!(" by {}", past.rule_ids.join(", "))
        };
        let message = format!(
            "{action} on {} was {}{by}. It would be {}: {}{}",
            past.resource,
            was.words(),
            after.kind.words(),
            after.reason,
            if already {
                " The current rules already decide the same."
            } else {
                ""
            }
        );
        Self {
            id: past.id,
            source: match past.source {
                PastSource::DecisionLog => DecisionSource::DecisionLog,
                PastSource::AuditLog => DecisionSource::AuditLog,
            },
            actor_id: past.actor_id,
            actor_type: past.actor_type.into(),
            action: past.action,
            resource: past.resource,
            created_at: past.at,
            before: PastOutcome {
                permitted: was == DecisionKind::Permitted,
                kind: was,
                matching_rule_ids: past.rule_ids,
            },
            after: PreviewedOutcome {
                permitted: after.permitted,
                kind: after.kind,
                matching_policy_ids: after.matching_policy_ids,
                matching_rule_ids: after.matching_rule_ids,
                priority: after.priority,
                reason: after.reason,
                notices: after.notices,
            },
            already,
            message,
        }
    }
}

impl From<Preview> for PolicyPreview {
    fn from(preview: Preview) -> Self {
        let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Self {
            examined: number(preview.examined),
            changed: number(preview.changed.len()),
            undecidable: number(preview.undecidable),
            withheld: number(preview.withheld),
            complete: preview.complete,
            decisions: preview.changed.into_iter().map(PreviewedDecision::from).collect(),
            warnings: Vec::new(),
        }
    }
}

/// The rules of policies of a request, checked, each with its priority. Those of a policy that is not to be in force are
/// checked, too, and left out.
async fn all_checked(
    job: &Job,
    policies: Vec<CandidatePolicy>,
    within: &str,
) -> Result<(Vec<(i32, Vec<Rule>)>, Vec<PreviewWarning>), Error> {
    let (mut checked, mut warnings) = (Vec::new(), Vec::new());
    for (number, policy) in policies.into_iter().enumerate() {
        let rules = check_set(job, policy.cedar_policy_set).await;
        let rules = rules.map_err(|refusal| refused_text(format!("{within}[{number}].cedar_policy_set"), refusal))?;
        let id = |place: usize| format!("{within}/{number}/{place}");
        for (place, rule) in rules.iter().enumerate() {
            let of_rule = rule.warnings().into_iter();
            warnings.extend(of_rule.map(|warning| PreviewWarning::new(id(place), warning)));
        }
        let rules = rules.iter().enumerate();
        let rules = rules.map(|(place, rule)| Rule::candidate(&rule.statement, rule.weight, &id(place)));
        if policy.enabled.unwrap_or(true) {
            checked.push((policy.priority.unwrap_or_default(), rules.collect()));
        }
    }
    Ok((checked, warnings))
}

impl PolicyChange {
    /// Checks the shape of the change.
    fn check(&self) -> Result<(), Error> {
        let named = [
            ("without_policy_ids", self.without_policy_ids.as_ref().map(Vec::len)),
            ("without_rule_ids", self.without_rule_ids.as_ref().map(Vec::len)),
            ("with_policy_ids", self.with_policy_ids.as_ref().map(Vec::len)),
            ("with", self.with.as_ref().map(Vec::len)),
        ];
        for (field, number) in named {
            if number.is_some() && self.policies.is_some() {
                let reason = "must be absent where `policies` says what all of them are";
                return Err(Error::field(InputLocation::Body, field, reason));
            }
        }
        let all = named
            .into_iter()
            .chain([("policies", self.policies.as_ref().map(Vec::len))]);
        for (field, number) in all {
            if number.is_some_and(|number| number > MAX_NAMED) {
                return Err(Error::field(
                    InputLocation::Body,
                    field,
                    format!("must have {MAX_NAMED} items at most"),
                ));
            }
        }
        for (within, policies) in [("policies", &self.policies), ("with", &self.with)] {
            for (number, policy) in policies.iter().flatten().enumerate() {
                let priority = policy.priority.unwrap_or_default();
                if !(-MAX_PRIORITY..=MAX_PRIORITY).contains(&priority) {
                    let reason = format!("must be from -{MAX_PRIORITY} to {MAX_PRIORITY}");
                    return Err(Error::field(
                        InputLocation::Body,
                        format!("{within}[{number}].priority"),
                        reason,
                    ));
                }
            }
        }
        if !(1..=MAX_LAST).contains(&self.last.unwrap_or(DEFAULT_LAST)) {
            return Err(Error::field(
                InputLocation::Body,
                "last",
                format!("must be from 1 to {MAX_LAST}"),
            ));
        }
        Ok(())
    }

    /// The rules as the change would leave them.
    async fn candidate(mut self, caller: &ApiCaller<'_>, job: &Job) -> Result<(Candidate, Vec<PreviewWarning>), Error> {
        let (store, tenant) = (caller.store(), caller.tenant_id());
        let keeps = self.policies.is_none();
        let (with, warnings) = match (self.policies.take(), self.with.take()) {
            (Some(policies), _) => all_checked(job, policies, "policies").await?,
            (None, Some(with)) => all_checked(job, with, "with").await?,
            (None, None) => (Vec::new(), Vec::new()),
        };
        let mut candidate = Candidate {
            keeps,
            with_policies: Vec::new(),
            without_policies: self.without_policy_ids.take().unwrap_or_default(),
            without_rules: self.without_rule_ids.take().unwrap_or_default(),
            with,
        };
        for id in &candidate.without_policies {
            let found = policies::find(store, tenant, *id).await?;
            found.ok_or_else(|| Error::no_such("policy", *id))?;
        }
        for id in &candidate.without_rules {
            let found = policies::find_rule_of_any(store, tenant, *id).await?;
            found.ok_or_else(|| Error::no_such("policy_rule", *id))?;
        }
        for id in self.with_policy_ids.take().unwrap_or_default() {
            let (policy, rules) = policies::find(store, tenant, id)
                .await?
                .ok_or_else(|| Error::no_such("policy", id))?;
            if !policy.enabled && !candidate.with_policies.contains(&id) {
                candidate.with_policies.push(id);
                candidate.with.push((policy.priority, stored(job, rules).await?));
            }
        }
        Ok((candidate, warnings))
    }
}

/// The rules of a policy of the tenant that is not in force.
async fn stored(job: &Job, rows: Vec<policy_rule::Model>) -> Result<Vec<Rule>, Error> {
    let (mut rows, mut rules) = (rows.into_iter(), Vec::new());
    while !rows.as_slice().is_empty() {
        let some: Vec<_> = rows.by_ref().take(READ_AT_A_TIME).collect();
        let read = |row: &policy_rule::Model| {
            Rule::of_tenant(row)
                .map_err(|error| Error::internal(format!("the stored rule {} cannot be read: {error}", row.id)))
        };
        let some = job.run(move || some.iter().map(read).collect::<Result<Vec<_>, _>>());
        rules.extend(some.await??);
    }
    Ok(rules)
}

/// The operation that tells what a change would change.
pub struct PolicyPreviewApi;

#[OpenApi(tag = "Tag::Policies")]
impl PolicyPreviewApi {
    /// Preview a change of policies
    ///
    /// Which of the tenant's last decisions would come out differently: those that were refused, and those that were
    /// permitted and changed something. Name what would be left out (`without_policy_ids`, `without_rule_ids`), enabled
    /// (`with_policy_ids`) or added (`with`), or all policies (`policies`); with none of these, the current rules are
    /// compared with what was decided. Each decision is made again with its own action and context, but with who asked
    /// and what was asked of as they are now: their scopes, roles and attributes. Decisions of which the caller may not
    /// read all this are left out, and counted in `withheld`. `warnings` tells what a rule newly opens, and to whom.
    /// Nothing is stored, and nothing comes into force.
    #[oai(path = "/v1/policies/preview", method = "post", operation_id = "previewPolicies")]
    async fn preview(&self, caller: ApiCaller<'_>, body: Body<PolicyChange>) -> Result<Answer<PolicyPreview>, Error> {
        let Body(change) = body;
        change.check()?;
        let last = change.last.unwrap_or(DEFAULT_LAST);
        caller.may(Target::Tenant).await?;
        let job = caller.job()?;
        let (candidate, warnings) = change.candidate(&caller, &job).await?;
        let tenant = caller.tenant().clone();
        let preview = preview::preview(&job, caller.who(), caller.store(), tenant, candidate, last.into()).await?;
        Ok(Answer(PolicyPreview {
            warnings,
            ..preview.into()
        }))
    }
}
