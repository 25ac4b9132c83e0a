//! What does a rule open? A `permit` that reaches further than its author may have meant is not refused, as it may be
//! meant; but it is told, with what it opens and to whom.
//!
//! This is computed from what the rule covers: the actions of its action constraint that its principal and resource
//! constraints leave possible by the schema. Its conditions are not evaluated. That there are some is told.

use cedar_policy::{Effect, EntityTypeName, Policy};
use serde_json::Value;

use super::{
    schema::{SCHEMA, TYPES, action_entity},
    statement::{ActionScope, Scope as Constraint, Statement},
};
use crate::types::{actions::Action, scopes::Scope};

/// The scopes by which rights can be given to others or to oneself, and what their actions are about.
const POWERS: &[(Scope, &str)] = &[
    (Scope::ApiKeysWrite, "API keys"),
    (Scope::IdentityProvidersWrite, "identity providers"),
    (Scope::PoliciesWrite, "policies"),
    (
        Scope::TokenIssuersWrite,
        "with the scope token-issuers:write token issuers",
    ),
    (Scope::TenantsWrite, "with the scope tenants:write tenants"),
];

/// What a rule reaches further than its author may have meant.
pub(super) fn warnings(rule: &Policy, text: &str) -> impl Iterator<Item = String> + use<> {
    [opened(rule, text), trusted_name(rule)].into_iter().flatten()
}

/// The powers that a rule newly opens, and to whom. None where it opens none, or where it names one principal and the
/// actions themselves: that is no oversight.
fn opened(rule: &Policy, text: &str) -> Option<String> {
    if rule.effect() != Effect::Permit {
        return None;
    }
    let statement = Statement::of(rule, text);
    if matches!(statement.principal, Constraint::Eq(_)) && statement.action != ActionScope::Any {
        return None;
    }
    let powers: Vec<String> = POWERS
        .iter()
        .filter(|(scope, _)| !is_of(&statement.principal, *scope))
        .filter_map(|(scope, what)| {
            let of_scope = Action::ALL.iter().filter(|action| action.scope() == *scope);
            let opened: Vec<&str> = of_scope
                .filter(|action| covers(&statement, **action))
                .map(|action| action.as_str())
                .collect();
            (!opened.is_empty()).then(|| format!("{what} ({})", opened.join(", ")))
        })
        .collect();
    if powers.is_empty() {
        return None;
    }
    let conditions = if statement.conditions.is_some() {
        ", wherever its conditions hold"
    } else {
        ""
    };
    Some(format!(
        "this rule lets {} change {}{conditions}: name the actions or the principals that you mean, unless this is what you \
         want",
        whom(&statement.principal),
        listed(&powers),
    ))
}

/// Whether a principal constraint admits only those who have a scope: the rule gives them nothing new of it.
fn is_of(principal: &Constraint, scope: Scope) -> bool {
    match principal {
        Constraint::In(entity) | Constraint::IsIn(_, entity) => {
            *entity.type_name() == TYPES.scope && entity.id().unescaped() == scope.as_str()
        }
        _ => false,
    }
}

/// Whether a rule can apply to an action.
fn covers(statement: &Statement, action: Action) -> bool {
    let named = |id: &String| *id == action.as_str() || *id == action.scope().as_str();
    let of_action = match &statement.action {
        ActionScope::Any => true,
        ActionScope::Eq(id) => id == action.as_str(),
        ActionScope::In(ids) => ids.iter().any(named),
    };
    let action = &action_entity(action).0;
    let mut principals = SCHEMA.principals_for_action(action).into_iter().flatten();
    let mut resources = SCHEMA.resources_for_action(action).into_iter().flatten();
    of_action
        && principals.any(|of_type| admits(&statement.principal, of_type))
        && resources.any(|of_type| admits(&statement.resource, of_type))
}

/// Whether a constraint admits entities of a type.
fn admits(constraint: &Constraint, of_type: &EntityTypeName) -> bool {
    let in_entity = |group: &EntityTypeName| {
        let members = match group {
            scope if *scope == TYPES.scope => vec![&TYPES.api_key, &TYPES.user, &TYPES.subject],
            group if *group == TYPES.role || *group == TYPES.group => vec![&TYPES.user],
            _ => Vec::new(),
        };
        group == of_type || members.contains(&of_type)
    };
    match constraint {
        Constraint::Any => true,
        Constraint::Eq(entity) => entity.type_name() == of_type,
        Constraint::In(entity) => in_entity(entity.type_name()),
        Constraint::Is(is) => is == of_type,
        Constraint::IsIn(is, entity) => is == of_type && in_entity(entity.type_name()),
    }
}

/// Whom a principal constraint admits, in words.
fn whom(principal: &Constraint) -> String {
    let kind = |of_type: &EntityTypeName| match of_type {
        key if *key == TYPES.api_key => "every API key",
        user if *user == TYPES.user => "every user",
        _ => "every subject of a token",
    };
    match principal {
        Constraint::Any => "every caller".into(),
        Constraint::Eq(entity) => entity.to_string(),
        Constraint::In(entity) => format!("every caller in {entity}"),
        Constraint::Is(of_type) => kind(of_type).into(),
        Constraint::IsIn(of_type, entity) => format!("{} in {entity}", kind(of_type)),
    }
}

fn listed(items: &[String]) -> String {
    match items.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    }
}

/// That a rule takes the name of its principal for who they are, which whoever makes keys or users can choose. None where
/// it also says by its scope or its conditions who they are.
fn trusted_name(rule: &Policy) -> Option<String> {
    let form = rule.to_json().ok()?;
    if !matches!(rule.principal_constraint().into(), Constraint::Any | Constraint::Is(_)) {
        return None;
    }
    let mut seen = Seen::default();
    let conditions = form["conditions"].as_array().into_iter().flatten();
    conditions.for_each(|condition| seen.look(&condition["body"]));
    (seen.name && !seen.identity).then(|| {
        "this rule trusts the name of its principal alone, which whoever creates keys or users can choose: compare the id, \
         as in `principal == ApiKey::\"<id>\"`, or test a role, a group or the identity provider"
            .to_owned()
    })
}

/// What conditions look at of the principal.
#[derive(Default)]
struct Seen {
    /// Its name is compared with something.
    name: bool,
    /// It itself, or an attribute that tells who or where it is.
    identity: bool,
}

impl Seen {
    fn look(&mut self, expression: &Value) {
        match expression {
            Value::Object(members) => {
                for (operator, operand) in members {
                    match operator.as_str() {
                        "Value" => {}
                        "Var" => self.identity |= operand == "principal",
                        "." if operand["left"]["Var"] == "principal" => match operand["attr"].as_str() {
                            Some("name") => self.name = true,
                            Some("active" | "email_verified" | "expires_at" | "scopes") => {}
                            _ => self.identity = true,
                        },
                        // Whether there is an attribute, or of which type the principal is, says nothing of who it is.
                        "has" | "is" if operand["left"]["Var"] == "principal" && operand["in"].is_null() => {}
                        _ => self.look(operand),
                    }
                }
            }
            Value::Array(values) => values.iter().for_each(|value| self.look(value)),
            _ => {}
        }
    }
}
