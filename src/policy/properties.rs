//! What must hold for whatever rules a tenant has: generated rules and requests, each answer next to a plain one.
//!
//! A run makes its cases from a seed of its own, which it prints when it fails; `AKA_TEST_SEED` repeats it.

use std::{
    collections::HashSet,
    hash::{BuildHasher as _, RandomState},
    str::FromStr as _,
};

use cedar_policy::{
    Authorizer, Context, Effect, Entities, Entity, EntityUid, Policy, PolicyId, PolicySet, Request,
    RestrictedExpression,
};

use super::{
    Query, Verdict,
    builtin::BUILTIN_TEXT,
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

// ---------------------------------------------------------------- what is generated

/// A sequence of numbers that look random (SplitMix64): the same for the same seed.
struct Random(u64);

impl Random {
    /// With a seed of this run, or that of a run that is to be repeated.
    fn seeded() -> (Self, u64) {
        let seed = match std::env::var("AKA_TEST_SEED") {
            Ok(seed) => seed.parse().expect("AKA_TEST_SEED is a number"),
            Err(_) => RandomState::new().hash_one(0),
        };
        (Self(seed), seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("it is below a usize")
    }

    /// Whether something happens that happens once in so many times.
    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn of<'a, T>(&mut self, some: &'a [T]) -> &'a T {
        &some[self.below(some.len())]
    }
}

const PRINCIPALS: [&str; 6] = [
    "User::\"1\"",
    "User::\"2\"",
    "ApiKey::\"1\"",
    "ApiKey::\"2\"",
    "Subject::\"p|s\"",
    r#"Subject::"odd \"one\" é""#,
];
const PARENTS: [&str; 8] = [
    "Role::\"hr\"",
    "Role::\"audit\"",
    "Group::\"a\"",
    "Group::\"b\"",
    "Group::\"of groups\"",
    "Scope::\"users:read\"",
    "Scope::\"users:write\"",
    "Scope::\"identities:write\"",
];
const RESOURCES: [&str; 5] = [
    "User::\"1\"",
    "User::\"3\"",
    "Tenant::\"1\"",
    "IdentityProvider::\"1\"",
    "IdentityProvider::\"2\"",
];
/// Few, so that rules and requests meet.
const ACTIONS: [Action; 6] = [
    Action::GetUser,
    Action::ListUsers,
    Action::SuspendUser,
    Action::CreateUserIdentity,
    Action::GetIdentityProvider,
    Action::ListTenants,
];

/// One of the forms in which a scope can name a principal or a resource.
fn scope(random: &mut Random, variable: &str, entities: &[&str], parents: &[&str]) -> String {
    let (entity, parent) = (*random.of(entities), *random.of(parents));
    let of_type = |entity: &str| entity.split("::").next().unwrap_or_default().to_owned();
    match random.below(7) {
        0 | 1 => variable.to_owned(),
        2 => format!("{variable} == {entity}"),
        3 => format!("{variable} in {parent}"),
        4 => format!("{variable} in {entity}"),
        5 => format!("{variable} is {}", of_type(entity)),
        _ => format!("{variable} is {} in {}", of_type(entity), random.of(&[entity, parent])),
    }
}

/// One of the forms in which a scope can name actions.
fn action_scope(random: &mut Random) -> String {
    let (group, other) = (random.of(&ACTIONS).scope(), random.of(&ACTIONS).scope());
    let action = *random.of(&ACTIONS);
    match random.below(6) {
        0 => "action".to_owned(),
        1 | 2 => format!("action == Action::\"{action}\""),
        3 => format!("action in Action::\"{group}\""),
        4 => format!("action in [Action::\"{action}\", Action::\"{group}\"]"),
        _ => format!("action in [Action::\"{group}\", Action::\"{other}\"]"),
    }
}

/// Conditions that come out one way or the other, with what is hard to tell from the end of a statement.
const SOUND: [&str; 7] = [
    "",
    "when { true }",
    "unless { true }",
    "when { principal has name && principal.name == \"{a} // )\" }",
    "when { context has external_email && context.external_email like \"*@example.com\" } // }",
    "when { resource has provider_type && resource.provider_type == \"github\" } unless { principal has email }",
    "when { principal in Role::\"hr\" || (resource in Group::\"a\" && (1 + 1) == 2) }",
];
/// Conditions that cannot be evaluated for some requests.
const UNSOUND: [&str; 3] = [
    "when { principal.name == \"{a} // )\" }",
    "unless { context.external_email == \"me\" }",
    "when { resource.provider_type == \"github\" }",
];

/// One statement.
fn statement(random: &mut Random, conditions: &[&str]) -> String {
    let notice = match random.below(4) {
        0 => "@notice(\"Don't \\\"permit(\\\" \\u{e9}\")\n",
        1 => "// forbid(\n@notice(\"Ask.\") @id (\"a\")\n",
        _ => "",
    };
    let effect = random.of(&["permit", "permit", "forbid"]);
    let principal = scope(random, "principal", &PRINCIPALS, &PARENTS);
    let action = action_scope(random);
    let resource = scope(random, "resource", &RESOURCES, &PARENTS);
    format!(
        "{notice}{effect} (\n  {principal}, // who (\n  {action},{resource}) {}\n;",
        random.of(conditions)
    )
}

/// What is asked of the rules.
struct PlainQuestion {
    principal: EntityUid,
    action: Action,
    resource: EntityUid,
    email: Option<&'static str>,
    entities: Vec<Entity>,
}

fn uid(text: &str) -> EntityUid {
    EntityUid::from_str(text).expect("the name of an entity")
}

impl PlainQuestion {
    fn new(random: &mut Random) -> Self {
        let mut entities = Vec::new();
        let principal = uid(random.of::<&str>(&PRINCIPALS));
        let mut resource = uid(random.of::<&str>(&RESOURCES));
        if random.once_in(8) {
            resource = principal.clone();
        }
        let mut named = HashSet::from([principal.clone()]);
        named.insert(resource.clone());
        for name in named {
            // A resource is not always known; and who acts may be in one group, or in more than are compared one by one.
            if name != principal && random.once_in(3) {
                continue;
            }
            let parents: HashSet<_> = (0..random.below(6)).map(|_| uid(random.of::<&str>(&PARENTS))).collect();
            let attributes = [
                ("name", "{a} // )"),
                ("email", "me@example.com"),
                ("provider_type", "github"),
            ];
            let attributes = attributes.into_iter().filter_map(|(attribute, value)| {
                let value = RestrictedExpression::new_string(value.to_owned());
                (!random.once_in(2)).then(|| (attribute.to_owned(), value))
            });
            entities.push(Entity::new(name, attributes.collect(), parents).expect("attributes are texts"));
        }
        // A group of groups: being in one is being in the other.
        let above = HashSet::from([uid("Group::\"of groups\"")]);
        entities.push(Entity::new_no_attrs(uid("Group::\"a\""), above));
        let actions = if random.once_in(10) { Action::ALL } else { &ACTIONS };
        Self {
            principal,
            action: *random.of(actions),
            resource,
            email: *random.of(&[None, Some("me@example.com"), Some("me")]),
            entities,
        }
    }

    fn context(&self) -> Context {
        let email = self
            .email
            .map(|email| RestrictedExpression::new_string(email.to_owned()));
        Context::from_pairs(email.map(|email| ("external_email".to_owned(), email))).expect("one name, once")
    }

    fn query(&self) -> Query<'_> {
        Query {
            principal: &self.principal,
            action: self.action,
            resource: self.resource.clone(),
            context: self.context(),
            entities: self.entities.clone(),
        }
    }
}

// ---------------------------------------------------------------- the plain evaluation

/// A rule as the contract speaks of it.
struct Plain {
    statement: Policy,
    policy: Option<TenantPolicyId>,
    notice: Option<String>,
}

/// What is compared of an answer.
#[derive(Debug, PartialEq)]
struct PlainOutcome {
    verdict: Verdict,
    rules: Vec<String>,
    policies: Vec<TenantPolicyId>,
    notices: Vec<String>,
}

fn sorted<T: Ord>(some: impl Iterator<Item = T>) -> Vec<T> {
    let mut some: Vec<T> = some.collect();
    some.sort();
    some.dedup();
    some
}

/// Section 4 of the contract, word by word: each level on its own from the highest down, each rule of it alone.
fn plainly(levels: &[Vec<&Plain>], asked: &PlainQuestion) -> PlainOutcome {
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

fn decided(rules: &RuleSet, asked: &PlainQuestion) -> PlainOutcome {
    let decision = decide(rules, asked.query());
    PlainOutcome {
        verdict: decision.verdict,
        rules: decision.rules,
        policies: decision.policy_ids,
        notices: decision.notices.iter().map(ToString::to_string).collect(),
    }
}

fn builtin(level: &str) -> Vec<Plain> {
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

// ---------------------------------------------------------------- the properties

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
                    decision.verdict == expected || decision.level == Some(super::DecidedAt::BuiltIn),
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
