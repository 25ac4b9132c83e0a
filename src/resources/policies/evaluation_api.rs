//! What would be decided, and why: for those who write rules.

use std::sync::Arc;

use poem_openapi::{Enum, Object, OpenApi};
use serde::{Deserialize, Serialize};

use super::evaluation::{self, QuestionRefusal};
use crate::{
    access::{
        caller::{self, Target},
        readable::Readable,
    },
    http::{
        Tag,
        any_object::AnyObject,
        body::{Answer, Body},
        caller::ApiCaller,
        codes,
        error::{Error, InputLocation},
        explanation::RuleExplanation,
    },
    policy::{
        self, DecidedAt, Decision, Verdict,
        schema::{SCHEMA_JSON, SCHEMA_TEXT},
    },
    types::{actions::Action, ids::PolicyId},
};

/// A question to policy.
#[derive(Debug, Object, Deserialize)]
#[oai(deny_unknown_fields)]
#[serde(deny_unknown_fields)]
pub struct PolicyQuestion {
    /// Who: `api_key:<id>`, `user:<id>` or `user:<email address>`. A user has no scopes here: those come with a token.
    #[oai(validator(max_length = 512))]
    pub principal: String,
    /// Roles and groups to add to the principal's own.
    #[oai(nullable, validator(max_items = 100))]
    pub groups: Option<Vec<String>>,
    /// On what: `user:<id>`, `identity_provider:<id>`, `api_key:<id>`, `policy:<id>` or `tenant:<id>`.
    #[oai(validator(max_length = 512))]
    pub resource: String,
    /// What: an operation id, as in `createUserIdentity`.
    #[oai(validator(max_length = 128))]
    pub action: String,
    /// The context of the action, as the Cedar schema has it. `identity_provider` may be given by its id alone.
    #[oai(nullable)]
    pub context: Option<AnyObject>,
}

/// The outcome of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Serialize)]
#[oai(rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum DecisionKind {
    /// A rule permits it.
    Permitted,
    /// A rule forbids it.
    Forbidden,
    /// No rule permits it.
    NotPermitted,
    /// A rule could not be evaluated, so that the request is refused.
    Error,
}

impl From<Verdict> for DecisionKind {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Permitted => Self::Permitted,
            Verdict::Forbidden => Self::Forbidden,
            Verdict::NotPermitted => Self::NotPermitted,
            Verdict::Error => Self::Error,
        }
    }
}

impl DecisionKind {
    /// For a sentence: it was, or it would be ...
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Permitted => "permitted",
            Self::Forbidden => "forbidden",
            Self::NotPermitted => "not permitted",
            Self::Error => "refused, as a rule could not be evaluated",
        }
    }
}

/// What would be decided.
#[derive(Debug, Object, Serialize)]
pub struct PolicyEvaluation {
    /// Whether it is permitted.
    pub permitted: bool,
    /// The outcome.
    pub kind: DecisionKind,
    /// The policies whose rules determined it. Empty where a built-in rule did, or none.
    pub matching_policy_ids: Vec<PolicyId>,
    /// The rules that determined it: their ids, and the names of built-in rules.
    pub matching_rule_ids: Vec<String>,
    /// The priority at which it was decided; null where that was a built-in level, or none.
    #[oai(nullable)]
    pub priority: Option<i32>,
    /// Why, for a person.
    pub reason: String,
    /// What the rules that determined it tell the caller.
    pub notices: Vec<String>,
    /// If denied: the rules that forbid it, or the rules that came nearest to permitting it, the nearest first.
    pub explanations: Vec<RuleExplanation>,
    /// What the decision did not look at, because the caller may not read it: `principal`, `resource`,
    /// `principal.identity_provider`, `context.identity_provider`.
    pub facts_withheld: Vec<String>,
}

impl PolicyEvaluation {
    /// A decision on an action, in words.
    pub(super) fn new(action: Action, decision: Decision) -> Self {
        let (kind, reason) = match decision.verdict {
            Verdict::Permitted => (
                DecisionKind::Permitted,
                format!("Permitted by {}.", decision.rules.join(", ")),
            ),
            Verdict::Forbidden => (
                DecisionKind::Forbidden,
                format!("Forbidden by {}.", decision.rules.join(", ")),
            ),
            Verdict::NotPermitted => (
                DecisionKind::NotPermitted,
                format!("No rule permits {action} here: neither a policy nor the scopes of the principal."),
            ),
            Verdict::Error => (
                DecisionKind::Error,
                "A rule of the tenant cannot be read or evaluated, so that the request is refused.".to_owned(),
            ),
        };
        Self {
            permitted: decision.is_permitted(),
            kind,
            priority: decision.level.and_then(DecidedAt::priority),
            reason,
            notices: decision.notices.iter().map(ToString::to_string).collect(),
            matching_policy_ids: decision.policy_ids,
            matching_rule_ids: decision.rules,
            explanations: decision.explanations.into_iter().map(RuleExplanation::from).collect(),
            facts_withheld: Vec::new(),
        }
    }
}

/// The schema that every rule is checked against.
#[derive(Debug, Object, Serialize)]
pub struct PolicySchema {
    /// As people write it, with its comments: the content of a `.cedarschema` file.
    pub cedar: String,
    /// As programs read it: Cedar's JSON schema format.
    pub json: AnyObject,
}

fn question(field: &'static str) -> impl Fn(QuestionRefusal) -> Error {
    move |refusal| match refusal {
        QuestionRefusal::Malformed(reason) => Error::field(InputLocation::Body, field, reason),
        QuestionRefusal::NotFound(resource, Some(id)) => Error::no_such(resource, id),
        QuestionRefusal::NotFound(resource, None) => Error::none_such(resource),
        QuestionRefusal::Store(error) => error.into(),
    }
}

/// The operations on decisions.
pub struct PolicyEvaluationApi;

#[OpenApi(tag = "Tag::Policies")]
impl PolicyEvaluationApi {
    /// Get the Cedar schema
    ///
    /// What rules can speak of: types of entities with their attributes, and actions with their context.
    #[oai(path = "/v1/policies/schema", method = "get", operation_id = "getPolicySchema")]
    async fn schema(&self, caller: ApiCaller<'_>) -> Result<Answer<PolicySchema>, Error> {
        caller.may(Target::Tenant).await?;
        Ok(Answer(PolicySchema {
            cedar: SCHEMA_TEXT.into(),
            json: AnyObject(SCHEMA_JSON.clone()),
        }))
    }

    /// Evaluate policies
    ///
    /// What would be decided if this principal asked for this action, and why. Nothing is done, and nothing is
    /// recorded.
    ///
    /// The decision looks only at what the caller may read: with `getUser` or `getApiKey` the principal (unless it is
    /// the caller) and the resource, with `getIdentityProvider` a provider that one of them or the context names. What
    /// they may not read is taken as if the tenant did not have it, and named in `facts_withheld`: the decision may
    /// then be another one.
    #[oai(path = "/v1/policies/evaluate", method = "post", operation_id = "evaluatePolicies")]
    async fn evaluate(
        &self,
        caller: ApiCaller<'_>,
        body: Body<PolicyQuestion>,
    ) -> Result<Answer<PolicyEvaluation>, Error> {
        let PolicyQuestion {
            principal,
            groups,
            resource,
            action,
            context,
        } = body.0;
        let action: Action = action
            .parse()
            .map_err(|reason: String| Error::field(InputLocation::Body, "action", reason))?;
        let context = context.unwrap_or_default().0;
        let tenant = Arc::clone(caller.tenant());
        let circumstances = evaluation::circumstances(&tenant, &context)
            .map_err(|reason| Error::field(InputLocation::Body, "context", reason))?;
        let principal = evaluation::principal_name(&principal).map_err(question("principal"))?;
        let on = evaluation::resource(caller.tenant_id(), &resource).map_err(question("resource"));
        // The form of the question is checked before policy is asked, existence after.
        let on = match on {
            Err(error) if *error.code() == codes::INVALID_INPUT => return Err(error),
            on => on,
        };
        caller.may(Target::Tenant).await?;
        let groups = groups.unwrap_or_default();
        let mut readable = Readable::by(caller.store(), caller.who());
        let who = principal.on(caller.store(), caller.tenant_id()).await?;
        let knows_principal = readable.has(who).await?;
        let principal = if knows_principal {
            evaluation::principal(caller.store(), caller.tenant_id(), who, &groups).await
        } else {
            evaluation::unknown_principal(caller.tenant_id(), principal.withheld(who), &groups)
        };
        let principal = principal.map_err(question("principal"))?;
        let needs_resource = tenant
            .rules
            .as_ref()
            .is_some_and(|rules| policy::needs_resource(rules, action, principal.bound_to().is_some()));
        let looked_at = [
            ("resource", on.as_ref().ok().copied().filter(|_| needs_resource)),
            (
                "principal.identity_provider",
                principal.identity_provider.map(Target::IdentityProvider),
            ),
            (
                "context.identity_provider",
                evaluation::provider_named(&context).map(Target::IdentityProvider),
            ),
        ];
        let mut facts_withheld: Vec<&str> = if knows_principal { Vec::new() } else { vec!["principal"] };
        let mut withheld = Vec::new();
        for (name, on) in looked_at {
            if let Some(on) = on
                && !readable.has(on).await?
            {
                facts_withheld.push(name);
                withheld.push(on);
            }
        }
        let asked = caller::Caller {
            principal: Arc::new(principal),
            tenant,
        };
        let outcome = asked
            .explain(caller.store(), action, on?, circumstances, &withheld)
            .await?;
        let decision = outcome.map_err(|reason| {
            Error::field(
                InputLocation::Body,
                "action",
                format!("does not go together with the rest: {reason}"),
            )
        })?;
        Ok(Answer(PolicyEvaluation {
            facts_withheld: facts_withheld.into_iter().map(str::to_owned).collect(),
            ..PolicyEvaluation::new(action, decision)
        }))
    }
}
