//! A rule, clause by clause: its constraints on principal and resource, and its conditions, taken apart at every `&&`.
//! Each clause is a rule of its own that has only this one, so that it can be asked on its own.

use cedar_policy::{Policy, PolicyId};
use serde_json::{Value, json};

use super::statement::{Scope, Statement};

/// The operators of Cedar's JSON form that cannot fail on what the schema allows. Arithmetic can overflow, and functions
/// of extensions refuse texts.
const NEVER_FAIL: &[&str] = &[
    "Value",
    "Var",
    "==",
    "!=",
    "in",
    "<",
    "<=",
    ">",
    ">=",
    "&&",
    "||",
    "!",
    "has",
    ".",
    "is",
    "like",
    "contains",
    "containsAll",
    "containsAny",
    "isEmpty",
    "if-then-else",
    "Set",
    "Record",
];

/// A clause of a rule.
pub(super) struct Clause {
    /// The clause as a rule that permits where it is satisfied.
    pub(super) rule: Policy,
    /// The clause as Cedar writes it, with its `when` or `unless`.
    pub(super) text: String,
    /// What must be so for the clause to be satisfied, as an expression.
    pub(super) condition: String,
    /// The attributes that it looks at, as in `context.external_email`; of a constraint its variable.
    pub(super) paths: Vec<String>,
    /// Whether it looks at the resource.
    pub(super) of_resource: bool,
    /// Whether it looks at the context or the action.
    pub(super) of_request: bool,
    /// Whether evaluating it can fail, whatever it looks at.
    pub(super) can_fail: bool,
}

/// Takes a rule apart, in the order in which it is evaluated. None where it has more clauses than so many, or where Cedar
/// cannot write it.
pub(super) fn take_apart(rule: &Policy, most: usize) -> Option<Vec<Clause>> {
    let form = rule.to_json().ok()?;
    let any = json!({ "op": "All" });
    let scopes = ["principal", "resource"].into_iter().filter(|of| form[*of] != any);
    let mut conjuncts = Vec::new();
    for condition in form["conditions"].as_array().into_iter().flatten() {
        let mut bodies = Vec::new();
        // What follows `unless` must not hold as a whole: it is not taken apart.
        if condition["kind"] == "when" {
            split(&condition["body"], &mut bodies);
        } else {
            bodies.push(&condition["body"]);
        }
        conjuncts.extend(bodies.into_iter().map(|body| (&condition["kind"], body)));
    }
    if scopes.clone().count() + conjuncts.len() > most {
        return None;
    }
    let mut clauses = Vec::new();
    for of in scopes {
        let mut part = permit(&any, &[]);
        part[of] = form[of].clone();
        let mut clause = Clause::new(part, &Value::Null)?;
        clause.paths.push(of.to_owned());
        clause.of_resource = of == "resource";
        clauses.push(clause);
    }
    for (kind, body) in conjuncts {
        let condition = json!({ "kind": kind, "body": body });
        clauses.push(Clause::new(permit(&any, &[condition]), body)?);
    }
    Some(clauses)
}

/// A rule that permits, without a scope.
fn permit(any: &Value, conditions: &[Value]) -> Value {
    json!({ "effect": "permit", "principal": any, "action": any, "resource": any, "conditions": conditions })
}

impl Clause {
    fn new(form: Value, body: &Value) -> Option<Self> {
        let rule = Policy::from_json(Some(PolicyId::new("clause")), form).ok()?;
        let written = rule.to_string();
        let statement = Statement::of(&rule, &written);
        let text = statement
            .conditions
            .unwrap_or_else(|| match (&statement.principal, &statement.resource) {
                (Scope::Any, resource) => resource.to_text("resource"),
                (principal, _) => principal.to_text("principal"),
            });
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let inside = |kind: &str| text.strip_prefix(kind)?.trim().strip_prefix('{')?.strip_suffix('}');
        let condition = match (inside("when"), inside("unless")) {
            (Some(body), _) => body.trim().to_owned(),
            (_, Some(body)) => format!("not ({})", body.trim()),
            _ => text.clone(),
        };
        let mut paths = Vec::new();
        self::paths(body, &mut paths);
        Some(Self {
            of_resource: looks_at(body, &["resource"]),
            of_request: looks_at(body, &["context", "action"]),
            can_fail: can_fail(body),
            rule,
            text,
            condition,
            paths,
        })
    }
}

/// Takes an expression apart at every `&&`.
fn split<'a>(expression: &'a Value, conjuncts: &mut Vec<&'a Value>) {
    match expression.get("&&") {
        Some(both) => {
            split(&both["left"], conjuncts);
            split(&both["right"], conjuncts);
        }
        None => conjuncts.push(expression),
    }
}

/// The operands of an expression; what is inside a `Value` is none.
fn operands(expression: &Value) -> impl Iterator<Item = &Value> {
    let members = expression.as_object().into_iter().flatten();
    let inside = members
        .filter(|(operator, _)| *operator != "Value")
        .map(|(_, value)| value);
    inside.chain(expression.as_array().into_iter().flatten())
}

fn looks_at(expression: &Value, variables: &[&str]) -> bool {
    let variable = expression.get("Var").and_then(Value::as_str);
    variable.is_some_and(|variable| variables.contains(&variable))
        || operands(expression).any(|operand| looks_at(operand, variables))
}

fn can_fail(expression: &Value) -> bool {
    match expression {
        Value::Object(members) => members.iter().any(|(operator, operand)| match operator.as_str() {
            "Value" | "Var" => false,
            // Its members are named by the author.
            "Record" => operand
                .as_object()
                .into_iter()
                .flatten()
                .any(|(_, value)| can_fail(value)),
            "Set" => operand.as_array().into_iter().flatten().any(can_fail),
            // What an operator has beside expressions are names and patterns.
            known if NEVER_FAIL.contains(&known) => operand
                .as_object()
                .into_iter()
                .flatten()
                .filter(|(name, _)| !["attr", "pattern", "entity_type"].contains(&name.as_str()))
                .any(|(_, value)| can_fail(value)),
            _ => true,
        }),
        _ => false,
    }
}

/// The attributes that an expression looks at, as in `context.external_email`.
fn paths(expression: &Value, found: &mut Vec<String>) {
    if let Some(path) = path(expression) {
        // A variable alone says nothing that the caller does not know.
        if path.contains('.') && !found.contains(&path) {
            found.push(path);
        }
        return;
    }
    // `context has external_email` looks at that attribute, too.
    if let Some(has) = expression.get("has")
        && let (Some(left), Some(attribute)) = (path(&has["left"]), has["attr"].as_str())
    {
        let path = format!("{left}.{attribute}");
        if !found.contains(&path) {
            found.push(path);
        }
    }
    operands(expression).for_each(|operand| paths(operand, found));
}

fn path(expression: &Value) -> Option<String> {
    if let Some(variable) = expression.get("Var") {
        return variable.as_str().map(str::to_owned);
    }
    let access = expression.get(".")?;
    Some(format!("{}.{}", path(&access["left"])?, access["attr"].as_str()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clauses(conditions: &str) -> Vec<Clause> {
        let rule = Policy::parse(
            None,
            format!("permit(principal, action, resource is User) {conditions};"),
        );
        take_apart(&rule.expect("a rule"), 10).expect("it can be written")
    }

    #[test]
    fn a_clause_says_what_it_looks_at_and_whether_it_can_fail() {
        let all = clauses(
            "when { principal.name == \"context\" && context has a && context.a + 1 > 2 && resource.name like \"*x\" } \
             unless { ip(context.b).isLoopback() || principal in resource.groups }",
        );
        let said: Vec<_> = all
            .iter()
            .map(|clause| {
                (
                    clause.condition.as_str(),
                    clause.of_resource,
                    clause.of_request,
                    clause.can_fail,
                )
            })
            .collect();
        assert_eq!(
            said,
            [
                ("resource is User", true, false, false),
                ("principal.name == \"context\"", false, false, false),
                ("context has a", false, true, false),
                ("(context.a + 1) > 2", false, true, true),
                ("resource.name like \"*x\"", true, false, false),
                (
                    "not (ip(context.b).isLoopback() || (principal in resource.groups))",
                    true,
                    true,
                    true
                ),
            ]
        );
    }
}
