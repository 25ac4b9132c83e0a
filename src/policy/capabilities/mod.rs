//! What may a principal do? For each action: always, never, or that depends, and on what.
//!
//! The principal is known, and so is the tenant, which is the resource of every action on the tenant as a whole; other
//! resources and the context are not. Each clause of a rule is asked where it looks only at what is known, and taken for
//! open where it looks further. From there the levels are walked as a decision walks them, with every outcome that is
//! possible at each:
//!
//! * a rule applies always, never, or perhaps; one that may fail to be evaluated makes a no possible, as a decision does;
//! * clauses of different rules are taken for independent of one another. Two rules that exclude one another look as if
//!   both could apply, so that the answer is `Depends` where it might have been more definite, but `Always` and `Never`
//!   are never said wrongly.

#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use cedar_policy::{
    Authorizer, Context, Decision as CedarDecision, Effect, Entities, Entity, EntityUid, PolicyId, PolicySet, Request,
};

use super::{
    clauses::{Clause, take_apart},
    decision::{DecidedAt, levels},
    rules::{Rule, RuleSet, Slice},
    schema::{SCHEMA, TYPES, action_entity},
};
use crate::types::actions::Action;

/// Rules that are named for an action at most.
const MAX_RULES: usize = 20;

/// Whether a principal may do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Can {
    /// Whatever the resource and the circumstances are.
    Always,
    /// Never.
    Never,
    /// On them.
    Depends,
}

/// What a principal can do of one action.
pub struct Capability {
    /// The action.
    pub action: Action,
    /// Whether it can.
    pub can: Can,
    /// The rules that can determine it, in the order in which they are evaluated.
    pub rules: Vec<Deciding>,
    /// Rules that can determine it beside those.
    pub more_rules: usize,
}

/// A rule that can determine what is decided.
pub struct Deciding {
    /// The rule.
    pub rule: Rule,
    /// Where it stands.
    pub level: DecidedAt,
    /// What must be so for it to apply. Empty: it always does.
    pub conditions: Vec<String>,
    /// Whether it may turn out that it cannot be evaluated, which is a no.
    pub can_fail: bool,
}

/// Whose capabilities are asked for.
pub struct PrincipalInTenant<'a> {
    /// The principal.
    pub principal: &'a EntityUid,
    /// The tenant.
    pub tenant: &'a EntityUid,
    /// The two, and what the principal names.
    pub entities: Vec<Entity>,
}

/// What a principal can do, action by action, as far as that has been found out. With thousands of rules it takes long, so
/// that it is found out piece by piece.
pub struct Capabilities {
    known: KnownFacts,
    found: Vec<Capability>,
}

impl Capabilities {
    /// Nothing has been found out yet.
    #[must_use]
    pub fn new(who: PrincipalInTenant<'_>) -> Self {
        Self {
            known: KnownFacts {
                principal: who.principal.clone(),
                tenant: who.tenant.clone(),
                // Only an entity that is there twice can fail; without entities nothing is permitted.
                entities: Entities::from_entities(who.entities, None).unwrap_or_else(|_| Entities::empty()),
                rules: HashMap::new(),
            },
            found: Vec::with_capacity(Action::ALL.len()),
        }
    }

    /// Goes on for so long. Whether everything has been found out.
    pub fn go_on(&mut self, rules: &RuleSet, time: Duration) -> bool {
        let until = Instant::now() + time;
        while let Some(action) = Action::ALL.get(self.found.len()) {
            if !self.known.ask_all(rules, *action, until) {
                return false;
            }
            self.found.push(self.known.capability(rules, *action));
        }
        true
    }

    /// What has been found out.
    #[must_use]
    pub fn found(self) -> Vec<Capability> {
        self.found
    }
}

/// Whether a rule applies.
#[derive(Clone)]
struct Applies {
    when: When,
    /// Whether evaluating it can fail.
    can_fail: bool,
}

#[derive(Clone)]
enum When {
    Always,
    Never,
    /// Where all of these are so.
    Perhaps(Vec<String>),
}

/// What is known before anything is asked for.
struct KnownFacts {
    principal: EntityUid,
    tenant: EntityUid,
    entities: Entities,
    /// What was found out of each rule; with the tenant as resource, and with another one.
    rules: HashMap<(PolicyId, bool), Applies>,
}

impl KnownFacts {
    /// Finds out whether each rule for an action applies, as long as there is time. Whether there was.
    fn ask_all(&mut self, rules: &RuleSet, action: Action, until: Instant) -> bool {
        let on_tenant = resource_type(action).is_some_and(|resource| resource == TYPES.tenant);
        for rule in levels(rules, action).flat_map(Slice::rules) {
            if Instant::now() > until {
                return false;
            }
            self.applies(rule, action, on_tenant);
        }
        true
    }

    fn capability(&mut self, rules: &RuleSet, action: Action) -> Capability {
        let on_tenant = resource_type(action).is_some_and(|resource| resource == TYPES.tenant);
        let (mut may_yes, mut may_no, mut decided) = (false, false, false);
        let mut deciding = Vec::new();
        for level in levels(rules, action) {
            let at = level.priority.map_or(DecidedAt::BuiltIn, DecidedAt::Priority);
            let mut forbids = None;
            let mut permits = None;
            let mut found: Vec<(&Rule, Applies)> = level
                .rules()
                .map(|rule| (rule, self.applies(rule, action, on_tenant)))
                .filter(|(_, applies)| !matches!(applies.when, When::Never))
                .collect();
            // What is certain first, a forbid before a permit, as it wins.
            found.sort_by_key(|(rule, applies)| {
                let open = matches!(applies.when, When::Perhaps(_));
                (
                    rule.statement.effect() == Effect::Permit,
                    open,
                    rule.statement.id().to_string(),
                )
            });
            let forbidden = found.iter().any(|(rule, applies)| {
                rule.statement.effect() == Effect::Forbid && matches!(applies.when, When::Always)
            });
            for (rule, applies) in found {
                let certain = matches!(applies.when, When::Always);
                may_no |= applies.can_fail;
                match rule.statement.effect() {
                    Effect::Forbid => forbids = forbids.max(Some(certain)),
                    // Beside a forbid that always applies it determines nothing, nor beside another permit that does.
                    Effect::Permit if forbidden || (permits == Some(true) && !certain && !applies.can_fail) => continue,
                    Effect::Permit => permits = permits.max(Some(certain)),
                }
                let conditions = match applies.when {
                    When::Perhaps(conditions) => conditions,
                    When::Always | When::Never => Vec::new(),
                };
                deciding.push((rule, at, conditions, applies.can_fail));
            }
            may_no |= forbids.is_some();
            may_yes |= permits.is_some();
            if forbids == Some(true) || permits == Some(true) {
                decided = true;
                break;
            }
        }
        may_no |= !decided;
        let can = match (may_yes, may_no) {
            (true, false) => Can::Always,
            (false, _) => Can::Never,
            (true, true) => Can::Depends,
        };
        Capability {
            action,
            can,
            more_rules: deciding.len().saturating_sub(MAX_RULES),
            rules: deciding
                .into_iter()
                .take(MAX_RULES)
                .map(|(rule, level, conditions, can_fail)| Deciding {
                    rule: rule.clone(),
                    level,
                    conditions,
                    can_fail,
                })
                .collect(),
        }
    }

    fn applies(&mut self, rule: &Rule, action: Action, on_tenant: bool) -> Applies {
        let place = (rule.statement.id().clone(), on_tenant);
        let known = self.rules.get(&place).cloned();
        let applies = known.unwrap_or_else(|| {
            let applies = self.find_out(rule, on_tenant);
            self.rules.insert(place, applies.clone());
            applies
        });
        // Of a resource that is not known, the action tells the type.
        match (applies.when, rule.statement.resource_constraint()) {
            (When::Perhaps(mut conditions), cedar_policy::ResourceConstraint::Is(of_type)) if !on_tenant => {
                if resource_type(action).is_some_and(|resource| resource != of_type) {
                    return Applies {
                        when: When::Never,
                        can_fail: false,
                    };
                }
                conditions.retain(|condition| *condition != format!("resource is {of_type}"));
                let when = if conditions.is_empty() {
                    When::Always
                } else {
                    When::Perhaps(conditions)
                };
                Applies {
                    when,
                    can_fail: applies.can_fail,
                }
            }
            (when, _) => Applies {
                when,
                can_fail: applies.can_fail,
            },
        }
    }

    /// Asks the clauses of a rule, as far as what they look at is known.
    fn find_out(&self, rule: &Rule, on_tenant: bool) -> Applies {
        let Some(clauses) = take_apart(&rule.statement, usize::MAX) else {
            let condition = "the rule applies, which cannot be told beforehand".to_owned();
            return Applies {
                when: When::Perhaps(vec![condition]),
                can_fail: true,
            };
        };
        let mut open = Vec::new();
        let mut can_fail = false;
        for clause in clauses {
            let known = !clause.of_request && (on_tenant || !clause.of_resource);
            match known.then(|| self.ask(&clause)) {
                Some(Some(true)) => {}
                // What stands before it may fail before this one is looked at.
                Some(Some(false)) if !can_fail => {
                    return Applies {
                        when: When::Never,
                        can_fail,
                    };
                }
                Some(Some(false)) => {
                    open.push(clause.condition);
                    break;
                }
                // It fails, unless what stands before it is not so.
                Some(None) => {
                    can_fail = true;
                    open.push(clause.condition);
                }
                None => {
                    can_fail |= clause.can_fail;
                    open.push(clause.condition);
                }
            }
        }
        let when = if open.is_empty() {
            When::Always
        } else {
            When::Perhaps(open)
        };
        Applies { when, can_fail }
    }

    /// Whether a clause is satisfied. None where it cannot be evaluated.
    fn ask(&self, clause: &Clause) -> Option<bool> {
        // The clause looks at neither action nor context; nor at the resource, unless that is the tenant.
        let action = action_entity(Action::ListUsers).0.clone();
        let (principal, tenant) = (self.principal.clone(), self.tenant.clone());
        let request = Request::new(principal, action, tenant, Context::empty(), None).ok()?;
        let set = PolicySet::from_policies([clause.rule.clone()]).ok()?;
        let response = Authorizer::new().is_authorized(&request, &set, &self.entities);
        let failed = response.diagnostics().errors().next().is_some();
        (!failed).then(|| response.decision() == CedarDecision::Allow)
    }
}

/// What an action is done to. The schema has one type for each.
fn resource_type(action: Action) -> Option<cedar_policy::EntityTypeName> {
    let mut types = SCHEMA.resources_for_action(&action_entity(action).0)?;
    let first = types.next()?.clone();
    types.next().is_none().then_some(first)
}
