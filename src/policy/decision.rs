//! One decision: levels from the highest down, the first that determines anything decides.
//!
//! What a decision costs at worst is known while it is made, as each rule has been weighed when it was stored
//! ([`super::cost`]). Nearly all are cheap, and are made where they are asked for ([`decide_quickly`]). One that comes to
//! cost more than [`QUICK_COST`] is given up there and made anew where it keeps no other request from being answered
//! ([`Expensive::decide`]): rules are evaluated chunk by chunk, and after [`EXPENSIVE_TIME`] the answer is no.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use cedar_policy::{AuthorizationError, Authorizer, PolicyId as RuleName};
use serde::Deserialize;

use super::{
    builtin::BUILTIN,
    explain::{self, Effort, Explanation},
    groups::Chunk,
    question::{CedarQuery, Query},
    rules::{RuleSet, Slice},
};
use crate::types::{actions::Action, ids::PolicyId};

/// What a decision may cost where it is asked for: about a millisecond at worst, a hundred times what most decisions take.
const QUICK_COST: u64 = 1_000_000;
/// How long a decision may take that costs more. What a tenant's rules may cost together takes a tenth of it.
const EXPENSIVE_TIME: Duration = Duration::from_secs(1);

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

/// Whether nothing but the principal determines a decision on an action, at any level; of an API key that is bound to a
/// provider, or of another credential.
#[must_use]
pub fn only_principal(rules: &RuleSet, action: Action, bound: bool) -> bool {
    let mut levels = [&BUILTIN.guard, rules, &BUILTIN.scopes].into_iter();
    levels.all(|level| level.only_principal(action, bound))
}

/// Whether a decision on an action looks at attributes of the resource, at any level; of an API key that is bound to a
/// provider, or of another credential.
#[must_use]
pub fn needs_resource(rules: &RuleSet, action: Action, bound: bool) -> bool {
    let mut levels = [&BUILTIN.guard, rules, &BUILTIN.scopes].into_iter();
    levels.any(|level| level.needs_resource(action, bound))
}

/// Decides, whatever it costs.
#[must_use]
pub fn decide(rules: &RuleSet, query: Query<'_>) -> Decision {
    let action = query.action;
    match CedarQuery::new(query) {
        Ok(asked) => decide_asked(rules, action, &asked, &mut Meter::unlimited())
            .unwrap_or_else(|stopped| stopped.decision(action)),
        Err(error) => failed(action, &error),
    }
}

/// Decides, whatever it costs, and says of a no which rules came nearest to a yes.
#[must_use]
pub fn decide_and_explain(rules: &RuleSet, query: Query<'_>, effort: Effort) -> Decision {
    let action = query.action;
    match CedarQuery::new(query) {
        Ok(asked) => decide_and_explain_asked(rules, action, &asked, effort, &mut Meter::unlimited())
            .unwrap_or_else(|stopped| stopped.decision(action)),
        Err(error) => failed(action, &error),
    }
}

/// Decides and explains where that is cheap.
///
/// # Errors
///
/// The question, where it is not: to be decided where it keeps nobody waiting.
pub fn decide_quickly(rules: &RuleSet, query: Query<'_>) -> Result<Decision, Box<Expensive>> {
    let action = query.action;
    let asked = match CedarQuery::new(query) {
        Ok(asked) => asked,
        Err(error) => return Ok(failed(action, &error)),
    };
    let decision = decide_and_explain_asked(rules, action, &asked, Effort::QUICK, &mut Meter::of_cost(QUICK_COST));
    decision.map_err(|_| Box::new(Expensive { action, asked }))
}

/// A question that is expensive to decide.
pub struct Expensive {
    action: Action,
    asked: CedarQuery,
}

impl Expensive {
    /// A question that is to be explained, which is always expensive.
    ///
    /// # Errors
    ///
    /// The decision, where the question cannot be put.
    pub fn new(query: Query<'_>) -> Result<Box<Self>, Decision> {
        let action = query.action;
        match CedarQuery::new(query) {
            Ok(asked) => Ok(Box::new(Self { action, asked })),
            Err(error) => Err(failed(action, &error)),
        }
    }

    /// Decides and explains. When it has taken too long, the answer is no.
    #[must_use]
    pub fn decide(&self, rules: &RuleSet, effort: Effort) -> Decision {
        let mut meter = Meter::of_time(EXPENSIVE_TIME);
        decide_and_explain_asked(rules, self.action, &self.asked, effort, &mut meter)
            .unwrap_or_else(|stopped| stopped.decision(self.action))
    }
}

/// What a decision may cost and how long it may take.
struct Meter {
    cost_left: u64,
    until: Option<Instant>,
    /// The most expensive rule that has been evaluated, and its cost.
    most_expensive: Option<(RuleName, u64)>,
}

/// That a decision cost more or took longer than it may.
struct Stopped {
    /// The most expensive rule that was evaluated.
    rule: Option<RuleName>,
}

impl Meter {
    const fn unlimited() -> Self {
        Self {
            cost_left: u64::MAX,
            until: None,
            most_expensive: None,
        }
    }

    fn of_cost(cost: u64) -> Self {
        Self {
            cost_left: cost,
            ..Self::unlimited()
        }
    }

    fn of_time(time: Duration) -> Self {
        Self {
            until: Some(Instant::now() + time),
            ..Self::unlimited()
        }
    }

    /// Counts a chunk before it is evaluated.
    fn count(&mut self, chunk: &Chunk) -> Result<(), Stopped> {
        let cost_left = self.cost_left.checked_sub(chunk.cost);
        let late = self.until.is_some_and(|until| Instant::now() > until);
        let (Some(cost_left), false) = (cost_left, late) else {
            return Err(Stopped {
                rule: self.most_expensive.take().map(|(rule, _)| rule),
            });
        };
        self.cost_left = cost_left;
        if self.until.is_some()
            && self
                .most_expensive
                .as_ref()
                .is_none_or(|(_, most)| chunk.most_expensive.1 > *most)
        {
            self.most_expensive = Some(chunk.most_expensive.clone());
        }
        Ok(())
    }
}

impl Stopped {
    fn decision(self, action: Action) -> Decision {
        let rule = self.rule.map(|rule| rule.to_string());
        tracing::warn!(
            %action,
            most_expensive_rule = rule,
            limit = ?EXPENSIVE_TIME,
            "the rules took too long to evaluate, so the request is refused"
        );
        Decision::undetermined(Verdict::Error)
    }
}

/// All levels for an action, from the highest down.
pub(super) fn levels(rules: &RuleSet, action: Action) -> impl Iterator<Item = &Slice> {
    let (guard, scopes) = (BUILTIN.guard.slices(action), BUILTIN.scopes.slices(action));
    guard.iter().chain(rules.slices(action)).chain(scopes)
}

fn decide_and_explain_asked(
    rules: &RuleSet,
    action: Action,
    asked: &CedarQuery,
    effort: Effort,
    meter: &mut Meter,
) -> Result<Decision, Stopped> {
    let mut decision = decide_asked(rules, action, asked, meter)?;
    decision.explanations = match decision.verdict {
        Verdict::Permitted => Vec::new(),
        Verdict::Forbidden => explain::forbidding(&decision.rules, levels(rules, action), effort),
        Verdict::NotPermitted | Verdict::Error => explain::nearest_permits(levels(rules, action), asked, effort),
    };
    Ok(decision)
}

fn decide_asked(rules: &RuleSet, action: Action, asked: &CedarQuery, meter: &mut Meter) -> Result<Decision, Stopped> {
    for level in levels(rules, action) {
        if let Some(decision) = decide_level(level, asked, meter)? {
            return Ok(decision);
        }
    }
    Ok(Decision::undetermined(Verdict::NotPermitted))
}

/// The decision of one level, where it makes one. What its groups answer is put together as Cedar does it with rules: a
/// forbid outweighs every permit.
fn decide_level(level: &Slice, asked: &CedarQuery, meter: &mut Meter) -> Result<Option<Decision>, Stopped> {
    let (request, entities) = (&asked.request, &asked.entities);
    let (Some(principal), Some(resource)) = (request.principal(), request.resource()) else {
        return Ok(None);
    };
    let mut verdict = None;
    let mut determining = Vec::new();
    for chunk in level.reached(principal, resource, entities) {
        meter.count(chunk)?;
        let response = Authorizer::new().is_authorized(request, &chunk.set, entities);
        if let Some(AuthorizationError::PolicyEvaluationError(error)) = response.diagnostics().errors().next() {
            // Cedar skips a rule that it cannot evaluate, a forbid too. Here that is a no. Its own words about the error may
            // quote what the rule has looked at.
            tracing::warn!(rule = %error.policy_id(), "a rule could not be evaluated, so the request is refused");
            return Ok(Some(Decision::undetermined(Verdict::Error)));
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
        determining.extend(satisfied.filter_map(|id| level.rule(id)));
    }
    let Some(verdict) = verdict else { return Ok(None) };
    let mut decision = Decision::undetermined(verdict);
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
    Ok(Some(decision))
}

fn failed(action: Action, error: &dyn std::fmt::Display) -> Decision {
    tracing::error!(%action, %error, "no decision could be made, so the request is refused");
    Decision::undetermined(Verdict::Error)
}
