//! What is said to be certain is decided so: generated rules, each capability next to many decisions.

use std::collections::HashMap;

use cedar_policy::RestrictedExpression;

use super::*;
use crate::{
    policy::{
        Query,
        cost::Weight,
        decide,
        entities::{self, NamedEntity, TenantFacts, UserFacts},
        rules::{Level, parse_rules},
    },
    types::ids::{ApiKeyId, IdentityProviderId, TenantId, UserId},
};

/// Numbers that look as if they were drawn, and are the same each time (xorshift64).
struct Drawn(u64);

impl Drawn {
    fn of<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let place = usize::try_from(self.0 % from.len() as u64).expect("it is small");
        from[place]
    }
}

const CLAUSES: &[&str] = &[
    "true",
    "false",
    "principal.name == \"bot\"",
    "principal.scopes.contains(\"users:read\")",
    "principal has identity_provider && principal.identity_provider.enabled",
    "resource.active",
    "!resource.active",
    "resource.name like \"A*\"",
    "context has external_email && context.external_email like \"*@example.com\"",
    "resource.active || principal.name == \"bot\"",
    "9223372036854775807 + (if resource.active then 1 else 0) > 0",
    "9223372036854775807 + (if principal.name == \"bot\" then 1 else 0) > 0",
    "resource == User::\"0198c5a0-0000-7000-8000-000000000001\"",
    "resource == User::\"nobody\"",
    "action == Action::\"getUser\"",
];

fn rule(drawn: &mut Drawn) -> String {
    format!(
        "{}(principal{}, action{}, resource{}) {};",
        drawn.of(&["permit", "forbid"]),
        drawn.of(&[
            " is ApiKey",
            " is ApiKey in Scope::\"users:read\"",
            " is ApiKey in Scope::\"users:write\""
        ]),
        drawn.of(&[
            " in [Action::\"getUser\", Action::\"createUserIdentity\"]",
            " == Action::\"createUserIdentity\"",
        ]),
        drawn.of(&[
            " is User",
            " is User",
            " == User::\"0198c5a0-0000-7000-8000-000000000001\""
        ]),
        (0..2)
            .map(|_| {
                let clause = drawn.of(CLAUSES);
                format!(
                    "{} {{ {clause} && {} }}",
                    drawn.of(&["when", "unless"]),
                    drawn.of(CLAUSES)
                )
            })
            .collect::<Vec<_>>()
            .join(" ")
    )
}

fn user(number: u128, name: &str, active: bool) -> NamedEntity {
    let facts = UserFacts {
        id: UserId(uuid::Uuid::from_u128(
            0x0198_c5a0_0000_7000_8000_0000_0000_0000 + number,
        )),
        email: "ada@example.com",
        email_verified: true,
        name,
        active,
    };
    entities::user(facts, [], &[], None)
}

/// Whether a decision agrees with what was said to be certain.
fn agrees(can: Can, permitted: bool) -> bool {
    match can {
        Can::Always => permitted,
        Can::Never => !permitted,
        Can::Depends => true,
    }
}

#[test]
fn what_is_certain_is_decided_so_whatever_the_rules_are() {
    const RULE_SETS: usize = 100;
    let tenant = entities::tenant(TenantFacts {
        id: TenantId::new(),
        slug: "acme",
        is_master: false,
    });
    let scope = |text: &str| text.parse().expect("a scope");
    let keys = [
        entities::api_key(ApiKeyId::new(), "bot", &[scope("users:read")], None, None),
        entities::api_key(ApiKeyId::new(), "other", &[scope("identities:write")], None, None),
    ];
    let users = [user(1, "Ada", true), user(2, "Bob", true), user(3, "Ann", false)];
    let provider = entities::unknown_identity_provider(IdentityProviderId::new());
    let email = |text: &str| Some(RestrictedExpression::new_string(text.to_owned()));
    let emails = [None, email("a@example.com"), email("a@elsewhere.example")];
    let mut drawn = Drawn(0x5eed);
    let mut said: HashMap<&str, usize> = HashMap::new();
    let (mut refused, mut decided) = (0, 0);
    for _ in 0..RULE_SETS {
        let number: &usize = drawn.of(&[&1, &2, &3, &5]);
        let text: String = (0..*number).map(|_| rule(&mut drawn)).collect();
        // Cedar sees that some are of no use together with the schema.
        let Ok(rules) = parse_rules(&text) else {
            refused += 1;
            continue;
        };
        let rules = rules.iter().enumerate();
        let rules = rules.map(|(number, rule)| Rule::candidate(rule, Weight::of(rule), &format!("rule {number}")));
        let mut levels = [2, 1].map(|priority| Level {
            priority: Some(priority),
            rules: Vec::new(),
        });
        for rule in rules {
            let level: &usize = drawn.of(&[&0, &1]);
            levels[*level].rules.push(rule);
        }
        let rules = RuleSet::new(&levels).expect("their ids are their own");
        for key in &keys {
            let who = PrincipalInTenant {
                principal: &key.uid,
                tenant: &tenant.uid,
                entities: vec![key.entity.clone(), tenant.entity.clone()],
            };
            let mut all = Capabilities::new(who);
            assert!(all.go_on(&rules, Duration::from_mins(1)), "there is time enough");
            for capability in all.found() {
                if ![Action::GetUser, Action::CreateUserIdentity].contains(&capability.action) {
                    continue;
                }
                *said
                    .entry(match capability.can {
                        Can::Always => "always",
                        Can::Never => "never",
                        Can::Depends => "depends",
                    })
                    .or_default() += 1;
                for (user, email) in users
                    .iter()
                    .flat_map(|user| emails.iter().map(move |email| (user, email)))
                {
                    let mut context = Vec::new();
                    if capability.action == Action::CreateUserIdentity {
                        let uid = RestrictedExpression::new_entity_uid(provider.uid.clone());
                        context.push(("identity_provider".to_owned(), uid));
                        context.push(("external_id".to_owned(), RestrictedExpression::new_string("1".into())));
                        context.extend(email.clone().map(|email| ("external_email".to_owned(), email)));
                    }
                    let query = Query {
                        principal: &key.uid,
                        action: capability.action,
                        resource: user.uid.clone(),
                        context: Context::from_pairs(context).expect("a context"),
                        entities: vec![key.entity.clone(), user.entity.clone(), provider.entity.clone()],
                    };
                    let decision = decide(&rules, query);
                    decided += 1;
                    assert!(
                        agrees(capability.can, decision.is_permitted()),
                        "{text}\n{:?} of {} is {:?}, but {decision:?}",
                        key.uid,
                        capability.action,
                        capability.can
                    );
                }
            }
        }
    }
    assert!(decided > 2_000, "{decided} decisions, {refused} sets of rules refused");
    for one in ["always", "never", "depends"] {
        assert!(said.get(one).is_some_and(|number| *number > 20), "{said:?}");
    }
}
