//! What is generated: rules, and questions to them.

use std::{
    collections::HashSet,
    hash::{BuildHasher as _, RandomState},
    str::FromStr as _,
};

use cedar_policy::{Context, Entity, EntityUid, RestrictedExpression};

use crate::{policy::Query, types::actions::Action};

/// A sequence of numbers that look random (SplitMix64): the same for the same seed.
pub(super) struct Random(u64);

impl Random {
    /// With a seed of this run, or that of a run that is to be repeated.
    pub(super) fn seeded() -> (Self, u64) {
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

    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("it is below a usize")
    }

    /// Whether something happens that happens once in so many times.
    pub(super) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub(super) fn of<'a, T>(&mut self, some: &'a [T]) -> &'a T {
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
pub(super) const SOUND: [&str; 7] = [
    "",
    "when { true }",
    "unless { true }",
    "when { principal has name && principal.name == \"{a} // )\" }",
    "when { context has external_email && context.external_email like \"*@example.com\" } // }",
    "when { resource has provider_type && resource.provider_type == \"github\" } unless { principal has email }",
    "when { principal in Role::\"hr\" || (resource in Group::\"a\" && (1 + 1) == 2) }",
];
/// Conditions that cannot be evaluated for some requests.
pub(super) const UNSOUND: [&str; 3] = [
    "when { principal.name == \"{a} // )\" }",
    "unless { context.external_email == \"me\" }",
    "when { resource.provider_type == \"github\" }",
];

/// One statement.
pub(super) fn statement(random: &mut Random, conditions: &[&str]) -> String {
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
pub(super) struct PlainQuestion {
    pub(super) principal: EntityUid,
    pub(super) action: Action,
    pub(super) resource: EntityUid,
    email: Option<&'static str>,
    pub(super) entities: Vec<Entity>,
}

fn uid(text: &str) -> EntityUid {
    EntityUid::from_str(text).expect("the name of an entity")
}

impl PlainQuestion {
    pub(super) fn new(random: &mut Random) -> Self {
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

    pub(super) fn context(&self) -> Context {
        let email = self
            .email
            .map(|email| RestrictedExpression::new_string(email.to_owned()));
        Context::from_pairs(email.map(|email| ("external_email".to_owned(), email))).expect("one name, once")
    }

    pub(super) fn query(&self) -> Query<'_> {
        Query {
            principal: &self.principal,
            action: self.action,
            resource: self.resource.clone(),
            context: self.context(),
            entities: self.entities.clone(),
        }
    }
}
