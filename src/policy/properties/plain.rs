//! The plain evaluation that decisions are held against: section 4 of the contract, rule by rule.

use cedar_policy::{Authorizer, Effect, Entities, Policy, PolicyId, PolicySet, Request};

use super::generated::PlainQuestion;
use crate::{
    policy::{Verdict, builtin::BUILTIN_TEXT, decide, rules::RuleSet, schema::action_entity},
    types::ids::PolicyId as TenantPolicyId,
};

/// A rule as the contract speaks of it.
pub(super) struct Plain {
    pub(super) statement: Policy,
    pub(super) policy: Option<TenantPolicyId>,
    pub(super) notice: Option<String>,
}

/// What is compared of an answer.
#[derive(Debug, PartialEq)]
pub(super) struct PlainOutcome {
    pub(super) verdict: Verdict,
    pub(super) rules: Vec<String>,
    pub(super) policies: Vec<TenantPolicyId>,
    pub(super) notices: Vec<String>,
}

pub(super) fn sorted<T: Ord>(some: impl Iterator<Item = T>) -> Vec<T> {
    let mut some: Vec<T> = some.collect();
    some.sort();
    some.dedup();
    some
}

/// Section 4 of the contract, word by word: each level on its own from the highest down, each rule of it alone.
pub(super) fn plainly(levels: &[Vec<&Plain>], asked: &PlainQuestion) -> PlainOutcome {
    let (action, entity) = action_entity(asked.action);
    let entities = asked.entities.iter().chain([entity]).cloned();
    let entities = Entities::from_entities(entities, None).expect("no entity is named twice");
    let (principal, resource) = (asked.principal.clone(), asked.resource.clone());
    let request = Request::new(principal, action.clone(), resource, asked.context(), None).expect("a request");
    let none = |verdict| PlainOutcome {
        verdict,
        rules: Vec::new(),
        policies: Vec::new(),
        notices: Vec::new(),
    };
    for level in levels {
        let mut applying = Vec::new();
        for rule in level {
            let alone = PolicySet::from_policies([rule.statement.clone()]).expect("one rule");
            let response = Authorizer::new().is_authorized(&request, &alone, &entities);
            if response.diagnostics().errors().next().is_some() {
                return none(Verdict::Error);
            }
            if response.diagnostics().reason().next().is_some() {
                applying.push(rule);
            }
        }
        let forbidden = applying.iter().any(|rule| rule.statement.effect() == Effect::Forbid);
        applying.retain(|rule| (rule.statement.effect() == Effect::Forbid) == forbidden);
        if !applying.is_empty() {
            return PlainOutcome {
                verdict: if forbidden {
                    Verdict::Forbidden
                } else {
                    Verdict::Permitted
                },
                rules: sorted(applying.iter().map(|rule| rule.statement.id().to_string())),
                policies: sorted(applying.iter().filter_map(|rule| rule.policy)),
                notices: sorted(applying.iter().filter_map(|rule| rule.notice.clone())),
            };
        }
    }
    none(Verdict::NotPermitted)
}

pub(super) fn decided(rules: &RuleSet, asked: &PlainQuestion) -> PlainOutcome {
    let decision = decide(rules, asked.query());
    PlainOutcome {
        verdict: decision.verdict,
        rules: decision.rules,
        policies: decision.policy_ids,
        notices: decision.notices.iter().map(ToString::to_string).collect(),
    }
}

pub(super) fn builtin(level: &str) -> Vec<Plain> {
    let rules: PolicySet = BUILTIN_TEXT.parse().expect("the built-in rules");
    let of_level = rules.policies().filter(|rule| rule.annotation("level") == Some(level));
    of_level
        .map(|rule| Plain {
            statement: rule.new_id(PolicyId::new(rule.annotation("id").expect("an id"))),
            policy: None,
            notice: rule.annotation("notice").map(str::to_owned),
        })
        .collect()
}
