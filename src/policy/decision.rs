//! One decision: levels from the highest down, the first that determines anything decides.

use std::sync::{Arc, OnceLock};

use cedar_policy::{Authorizer, Context, Entities, Entity, EntityUid, Request};
use serde::Deserialize;

use super::{
    action::Action,
    explain::{self, Effort, Explanation},
    rules::{RuleSet, Slice},
    schema::{BUILTIN, SCHEMA, action_entity},
};
use crate::domain::ids::PolicyId;

/// What is asked.
#[derive(Clone)]
pub struct Query<'a> {
    /// Who.
    pub principal: &'a EntityUid,
    /// Does what.
    pub action: Action,
    /// To what.
    pub resource: EntityUid,
    /// In which circumstances.
    pub context: Context,
    /// The entities that the rules may look at.
    pub entities: Vec<Entity>,
}

impl Query<'_> {
    /// Whether its parts go together by the schema.
    ///
    /// # Errors
    ///
    /// What does not, in Cedar's words.
    pub fn check(&self) -> Result<(), String> {
        let action = action_entity(self.action).0.clone();
        let (principal, resource, context) = (self.principal.clone(), self.resource.clone(), self.context.clone());
        let request = Request::new(principal, action, resource, context, Some(&SCHEMA));
        request.map(|_| ()).map_err(|error| error.to_string())
    }
}

/// How a decision came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// A `permit` determined it.
    Permitted,
    /// A `forbid` determined it.
    Forbidden,
    /// No rule applies, which is a no.
    NotPermitted,
    /// A rule could not be evaluated, which is a no.
    Error,
}

impl Verdict {
    /// As it is called in answers and files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Permitted => "permitted",
            Self::Forbidden => "forbidden",
            Self::NotPermitted => "not_permitted",
            Self::Error => "error",
        }
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str(self.as_str())
    }
}

/// A decision, and why.
#[derive(Clone, Debug)]
pub struct Decision {
    /// How it came out.
    pub verdict: Verdict,
    /// The ids of the rules that determined it.
    pub rules: Vec<String>,
    /// The policies to which those rules belong.
    pub policy_ids: Vec<PolicyId>,
    /// What those rules tell the caller.
    pub notices: Vec<Arc<str>>,
    /// Where they stand.
    pub level: Option<DecidedAt>,
    /// Of a no that was asked to be explained: the rules that forbid it, or those that came nearest to a yes.
    pub explanations: Vec<Explanation>,
}

/// The level that decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecidedAt {
    /// One that every tenant has.
    BuiltIn,
    /// The tenant's policies of this priority.
    Priority(i32),
}

impl DecidedAt {
    /// The priority; none where every tenant has the level.
    #[must_use]
    pub const fn priority(self) -> Option<i32> {
        match self {
            Self::Priority(priority) => Some(priority),
            Self::BuiltIn => None,
        }
    }
}

impl Decision {
    const fn undetermined(verdict: Verdict) -> Self {
        Self {
            verdict,
            rules: Vec::new(),
            policy_ids: Vec::new(),
            notices: Vec::new(),
            level: None,
            explanations: Vec::new(),
        }
    }

    /// A no, because a rule could not be read or evaluated.
    #[must_use]
    pub const fn error() -> Self {
        Self::undetermined(Verdict::Error)
    }

    /// Whether the answer is yes.
    #[must_use]
    pub fn is_permitted(&self) -> bool {
        self.verdict == Verdict::Permitted
    }
}

/// Decisions about one principal that nothing but the principal determines, one for each action. They hold for as long
/// as the principal and the rules are the same.
#[derive(Debug)]
pub struct Memo(Box<[OnceLock<OfVersion>]>);

type OfVersion = (i64, Arc<Decision>);

impl Default for Memo {
    fn default() -> Self {
        Self(Action::ALL.iter().map(|_| OnceLock::new()).collect())
    }
}

impl Memo {
    /// The decision that was made under this version of the rules.
    #[must_use]
    pub fn get(&self, action: Action, version: i64) -> Option<&Arc<Decision>> {
        let (of_version, decision) = self.0.get(action as usize)?.get()?;
        (*of_version == version).then_some(decision)
    }

    /// Keeps a decision, unless there is one.
    pub fn keep(&self, action: Action, version: i64, decision: &Arc<Decision>) {
        if let Some(place) = self.0.get(action as usize) {
            let _ = place.set((version, Arc::clone(decision)));
        }
    }
}

/// Whether nothing but the principal determines a decision on an action, at any level.
#[must_use]
pub fn only_principal(rules: &RuleSet, action: Action) -> bool {
    let mut levels = [&BUILTIN.guard, rules, &BUILTIN.scopes].into_iter();
    levels.all(|level| level.only_principal(action))
}

/// A question in Cedar's terms.
pub(super) struct Asked {
    pub(super) request: Request,
    pub(super) entities: Entities,
}

impl Asked {
    fn new(query: Query<'_>) -> Result<Self, String> {
        let (action, action_entity) = action_entity(query.action);
        let mut entities = query.entities;
        entities.push(action_entity.clone());
        let principal = query.principal.clone();
        let request = Request::new(principal, action.clone(), query.resource, query.context, None);
        Ok(Self {
            request: request.map_err(|error| error.to_string())?,
            entities: Entities::from_entities(entities, None).map_err(|error| error.to_string())?,
        })
    }
}

/// Decides.
#[must_use]
pub fn decide(rules: &RuleSet, query: Query<'_>) -> Decision {
    let action = query.action;
    match Asked::new(query) {
        Ok(asked) => decide_asked(rules, action, &asked),
        Err(error) => failed(action, &error),
    }
}

/// Decides, and says of a no which rules came nearest to a yes.
#[must_use]
pub fn decide_and_explain(rules: &RuleSet, query: Query<'_>, effort: Effort) -> Decision {
    let action = query.action;
    match Asked::new(query) {
        Ok(asked) => {
            let mut decision = decide_asked(rules, action, &asked);
            decision.explanations = explain::explain(&decision, levels(rules, action), &asked, effort);
            decision
        }
        Err(error) => failed(action, &error),
    }
}

/// All levels for an action, from the highest down.
pub(super) fn levels(rules: &RuleSet, action: Action) -> impl Iterator<Item = &Slice> {
    let (guard, scopes) = (BUILTIN.guard.slices(action), BUILTIN.scopes.slices(action));
    guard.iter().chain(rules.slices(action)).chain(scopes)
}

fn decide_asked(rules: &RuleSet, action: Action, asked: &Asked) -> Decision {
    levels(rules, action)
        .find_map(|level| decide_level(level, asked))
        .unwrap_or(Decision::undetermined(Verdict::NotPermitted))
}

/// The decision of one level, where it makes one. What its groups answer is put together as Cedar does it with rules: a
/// forbid outweighs every permit.
fn decide_level(level: &Slice, asked: &Asked) -> Option<Decision> {
    let (request, entities) = (&asked.request, &asked.entities);
    let (principal, resource) = (request.principal()?, request.resource()?);
    let mut verdict = None;
    let mut determining = Vec::new();
    for set in level.reached(principal, resource, entities) {
        let response = Authorizer::new().is_authorized(request, set, entities);
        if let Some(error) = response.diagnostics().errors().next() {
            // Cedar skips a rule that it cannot evaluate, a forbid too. Here that is a no.
            tracing::warn!(%error, "a rule could not be evaluated, so that the request is refused");
            return Some(Decision::undetermined(Verdict::Error));
        }
        let mut satisfied = response.diagnostics().reason().peekable();
        if satisfied.peek().is_none() {
            continue;
        }
        let said = match response.decision() {
            cedar_policy::Decision::Allow => Verdict::Permitted,
            cedar_policy::Decision::Deny => Verdict::Forbidden,
        };
        match (verdict, said) {
            (Some(Verdict::Forbidden), Verdict::Permitted) => continue,
            (Some(Verdict::Permitted), Verdict::Forbidden) => determining.clear(),
            _ => {}
        }
        verdict = Some(said);
        determining.extend(satisfied.filter_map(|id| level.rules.get(id)));
    }
    let mut decision = Decision::undetermined(verdict?);
    decision.level = Some(level.priority.map_or(DecidedAt::BuiltIn, DecidedAt::Priority));
    for rule in determining {
        decision.rules.push(rule.statement.id().to_string());
        decision.policy_ids.extend(rule.policy_id);
        decision.notices.extend(rule.notice.clone());
    }
    decision.rules.sort();
    // A rule that names an action and its group is in the groups of both.
    decision.rules.dedup();
    decision.policy_ids.sort();
    decision.policy_ids.dedup();
    decision.notices.sort();
    decision.notices.dedup();
    Some(decision)
}

fn failed(action: Action, error: &dyn std::fmt::Display) -> Decision {
    tracing::error!(%action, %error, "a decision could not be made, so that the request is refused");
    Decision::undetermined(Verdict::Error)
}
