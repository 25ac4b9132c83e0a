//! What must hold for whatever rules a tenant has: generated rules and requests, each answer next to a plain one.
//!
//! A run makes its cases from a seed of its own, which it prints when it fails; `AKA_TEST_SEED` repeats it.

mod generated;
mod plain;

use cedar_policy::{Authorizer, Entities, Policy, PolicyId, PolicySet, Request};

use self::{
    generated::{PlainQuestion, Random, SOUND, UNSOUND, statement},
    plain::{Plain, builtin, decided, plainly, sorted},
};
use super::{
    DecidedAt, Verdict,
    cost::Weight,
    decide,
    rules::{CheckedRule, Level, Rule, RuleSet, StoredRule, check_rule},
    schema::action_entity,
    statement::Statement,
};
use crate::types::{
    actions::Action,
    ids::{PolicyId as TenantPolicyId, PolicyRuleId},
    scopes::Scope,
};

/// How often each outcome came up: a property that only ever sees one of them shows little.
#[derive(Default, Debug)]
struct ObservedFacts {
    permitted: usize,
    forbidden: usize,
    not_permitted: usize,
    errors: usize,
}

impl ObservedFacts {
    fn count(&mut self, verdict: Verdict) {
        *match verdict {
            Verdict::Permitted => &mut self.permitted,
            Verdict::Forbidden => &mut self.forbidden,
            Verdict::NotPermitted => &mut self.not_permitted,
            Verdict::Error => &mut self.errors,
        } += 1;
    }
}

#[test]
fn policies_decide_level_by_level_as_each_rule_does_alone() {
    const TENANTS: usize = 150;
    const REQUESTS: usize = 20;
    let (mut random, from) = Random::seeded();
    let (guard, scopes) = (builtin("guard"), builtin("scopes"));
    let mut seen = ObservedFacts::default();
    // Parsing is what takes time: tenants choose from these.
    let texts: Vec<CheckedRule> = std::iter::repeat_with(|| statement(&mut random, &SOUND))
        .filter_map(|text| check_rule(&text).ok())
        .take(200)
        .collect();
    for tenant in 0..TENANTS {
        let mut policies: Vec<(i32, Vec<Rule>)> = Vec::new();
        let mut plain: Vec<(i32, Plain)> = Vec::new();
        for _ in 0..random.below(6) {
            let policy_id = TenantPolicyId::new();
            let priority = i32::try_from(random.below(4)).expect("small") - 1;
            let mut rules = Vec::new();
            for _ in 0..random.below(12) {
                let checked = random.of(&texts);
                let statement = &checked.statement;
                let id = PolicyRuleId::new();
                let notice = random.once_in(4).then_some("Of the row.");
                plain.push((
                    priority,
                    Plain {
                        statement: statement.new_id(PolicyId::new(id.to_string())),
                        policy: Some(policy_id),
                        notice: notice.or_else(|| statement.annotation("notice")).map(str::to_owned),
                    },
                ));
                let stored = StoredRule {
                    id,
                    policy_id,
                    text: &checked.text,
                    notice,
                    outline: &checked.outline,
                    weight: checked.weight,
                    mark: &checked.mark(),
                };
                rules.push(Rule::of_tenant(stored).expect("it has been parsed before"));
            }
            policies.push((priority, rules));
        }
        let rules = RuleSet::of_policies(policies).expect("their ids are their own");
        let mut levels = vec![guard.iter().collect::<Vec<_>>()];
        for priority in [2, 1, 0, -1] {
            let of_level = plain.iter().filter(|(of, _)| *of == priority);
            levels.push(of_level.map(|(_, rule)| rule).collect());
        }
        levels.push(scopes.iter().collect());
        for _ in 0..REQUESTS {
            let asked = PlainQuestion::new(&mut random);
            let expected = plainly(&levels, &asked);
            seen.count(expected.verdict);
            assert_eq!(
                decided(&rules, &asked),
                expected,
                "AKA_TEST_SEED={from}, tenant {tenant}: {} {} {}",
                asked.principal,
                asked.action,
                asked.resource
            );
        }
    }
    println!("{} decisions: {seen:?}", TENANTS * REQUESTS);
    assert!(
        seen.permitted > 0 && seen.forbidden > 0 && seen.not_permitted > 0,
        "{seen:?}"
    );
}

#[test]
fn a_sliced_decision_is_the_one_that_all_rules_make_together() {
    const TENANTS: usize = 150;
    const RULES: usize = 60;
    const REQUESTS: usize = 30;
    let (mut random, from) = Random::seeded();
    let conditions: Vec<&str> = SOUND
        .iter()
        .chain(&SOUND)
        .chain(&SOUND)
        .chain(&UNSOUND)
        .copied()
        .collect();
    let texts: Vec<Policy> = std::iter::repeat_with(|| statement(&mut random, &conditions))
        .filter_map(|text| Policy::parse(None, text).ok())
        .take(1_000)
        .collect();
    let mut seen = ObservedFacts::default();
    for tenant in 0..TENANTS {
        let rules: Vec<Rule> = (0..=random.below(RULES))
            .map(|_| {
                let (rule, id) = (random.of(&texts), PolicyRuleId::new());
                Rule::candidate(rule, Weight::of(rule), &id.to_string())
            })
            .collect();
        let together = PolicySet::from_policies(rules.iter().map(|rule| Policy::clone(&rule.statement)));
        let together = together.expect("their ids are their own");
        let level = Level {
            priority: Some(0),
            rules,
        };
        let sliced = RuleSet::new(&[level]).expect("their ids are their own");
        for _ in 0..REQUESTS {
            let asked = PlainQuestion::new(&mut random);
            // Of the built-in rules that have conditions this knows nothing.
            let conditional = [Action::CreateApiKey, Action::RotateApiKey, Action::ConfigureTokenIssuer]
                .contains(&asked.action)
                || [Scope::TenantsRead, Scope::TenantsWrite].contains(&asked.action.scope());
            if conditional {
                continue;
            }
            let (action, entity) = action_entity(asked.action);
            let entities = asked.entities.iter().chain([entity]).cloned();
            let entities = Entities::from_entities(entities, None).expect("no entity is named twice");
            let (principal, resource) = (asked.principal.clone(), asked.resource.clone());
            let request = Request::new(principal, action.clone(), resource, asked.context(), None).expect("a request");
            let response = Authorizer::new().is_authorized(&request, &together, &entities);
            let determining = sorted(response.diagnostics().reason().map(ToString::to_string));
            let expected = match response.decision() {
                _ if response.diagnostics().errors().next().is_some() => Verdict::Error,
                _ if determining.is_empty() => Verdict::NotPermitted,
                cedar_policy::Decision::Allow => Verdict::Permitted,
                cedar_policy::Decision::Deny => Verdict::Forbidden,
            };
            seen.count(expected);
            let decision = decide(&sliced, asked.query());
            let case = format!(
                "AKA_TEST_SEED={from}, tenant {tenant}: {} {} {}",
                asked.principal, asked.action, asked.resource
            );
            match expected {
                Verdict::Error => assert_eq!(decision.verdict, Verdict::Error, "{case}"),
                // Where no rule of the level applies, the built-in ones may.
                Verdict::NotPermitted => assert!(
                    decision.verdict == expected || decision.level == Some(DecidedAt::BuiltIn),
                    "{case}"
                ),
                _ => assert_eq!((decision.verdict, decision.rules), (expected, determining), "{case}"),
            }
        }
    }
    println!("{seen:?}");
    assert!(
        seen.permitted > 0 && seen.forbidden > 0 && seen.not_permitted > 0 && seen.errors > 0,
        "{seen:?}"
    );
}

#[test]
fn the_text_of_a_rule_and_its_members_say_the_same() {
    const RULES: usize = 2_000;
    let (mut random, from) = Random::seeded();
    for _ in 0..RULES {
        let text = statement(&mut random, &SOUND);
        let case = format!("AKA_TEST_SEED={from}: {text}");
        let parsed = Policy::parse(None, &text).unwrap_or_else(|error| panic!("{case}: {error}"));
        let members = Statement::of(&parsed, &text);
        let written = members.to_text();
        let again = Policy::parse(None, &written).unwrap_or_else(|error| panic!("{case}: {written}: {error}"));
        // Cedar's own tree has no spaces and no comments: it is what the text means.
        let meaning = |rule: &Policy| rule.to_json().expect("a rule that was parsed has a JSON form");
        assert_eq!(meaning(&again), meaning(&parsed), "{case}");
        assert_eq!(Statement::of(&again, &written), members, "{case}");
        assert_eq!(Statement::of(&again, &written).to_text(), written, "{case}");
    }
}
