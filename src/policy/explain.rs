//! Why not? Which rules came nearest to a yes, and which of their clauses were not satisfied, with the values that those
//! saw.
//!
//! A rule's clauses are its constraints on principal and resource, and its conditions, taken apart at every `&&`. Each
//! clause is asked on its own, as a rule that has only this one clause.

use cedar_policy::{
    Authorizer, Decision as CedarDecision, Effect, Expression, Policy, PolicyId, PolicySet, eval_expression,
};
use serde_json::{Value, json};

use super::{
    decision::{Asked, Decision, Verdict},
    rules::{Rule, Slice},
    statement::{self, Statement},
};

/// Explanations that are given at most.
const MAX_EXPLANATIONS: usize = 5;
/// Rules that are looked at for them.
const MAX_RULES: usize = 1_000;

/// What a rule had to do with a decision.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The rule.
    pub rule: Rule,
    /// The clauses for which it did not apply; of a rule that did apply there are none.
    pub unsatisfied: Vec<Clause>,
}

/// A clause that was not satisfied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clause {
    /// The clause, as Cedar writes it.
    pub text: String,
    /// What it looked at, and what it saw there.
    pub values: Vec<(String, String)>,
}

/// Explains a decision that is a no: of a prohibition, the rules that forbid it; else the permits that came nearest.
pub(super) fn explain<'a>(
    decision: &Decision,
    levels: impl Iterator<Item = &'a Slice>,
    asked: &Asked,
) -> Vec<Explanation> {
    let rules = levels.flat_map(|level| level.rules.values());
    match decision.verdict {
        Verdict::Permitted => Vec::new(),
        Verdict::Forbidden => rules
            .filter(|rule| decision.rules.iter().any(|id| *id == rule.statement.id().to_string()))
            .map(|rule| Explanation {
                rule: rule.clone(),
                unsatisfied: Vec::new(),
            })
            .collect(),
        Verdict::NotPermitted | Verdict::Error => {
            let permits = rules
                .filter(|rule| rule.statement.effect() == Effect::Permit)
                .take(MAX_RULES);
            let mut near: Vec<Explanation> = permits
                .map(|rule| Explanation {
                    rule: rule.clone(),
                    unsatisfied: unsatisfied(&rule.statement, asked),
                })
                .collect();
            near.sort_by_key(|explanation| explanation.unsatisfied.len());
            near.truncate(MAX_EXPLANATIONS);
            near
        }
    }
}

/// The clauses of a rule that are not satisfied.
fn unsatisfied(rule: &Policy, asked: &Asked) -> Vec<Clause> {
    let Ok(form) = rule.to_json() else {
        return Vec::new();
    };
    let any = json!({ "op": "All" });
    let mut parts = Vec::new();
    for of in ["principal", "resource"] {
        if form[of] != any {
            let mut part =
                json!({ "effect": "permit", "principal": any, "action": any, "resource": any, "conditions": [] });
            part[of] = form[of].clone();
            parts.push((part, Vec::from([of.to_owned()])));
        }
    }
    for condition in form["conditions"].as_array().into_iter().flatten() {
        let mut conjuncts = Vec::new();
        // What follows `unless` must not hold as a whole: it is not taken apart.
        if condition["kind"] == "when" {
            split(&condition["body"], &mut conjuncts);
        } else {
            conjuncts.push(&condition["body"]);
        }
        for conjunct in conjuncts {
            let condition = json!({ "kind": condition["kind"], "body": conjunct });
            let part = json!({
                "effect": "permit", "principal": any, "action": any, "resource": any, "conditions": [condition],
            });
            let mut looked_at = Vec::new();
            paths(conjunct, &mut looked_at);
            parts.push((part, looked_at));
        }
    }
    parts
        .into_iter()
        .filter_map(|(part, looked_at)| unsatisfied_part(part, looked_at, asked))
        .collect()
}

fn unsatisfied_part(part: Value, looked_at: Vec<String>, asked: &Asked) -> Option<Clause> {
    let rule = Policy::from_json(Some(PolicyId::new("clause")), part).ok()?;
    let text = rule.to_string();
    let set = PolicySet::from_policies([rule.clone()]).ok()?;
    let response = Authorizer::new().is_authorized(&asked.request, &set, &asked.entities);
    if response.decision() == CedarDecision::Allow {
        return None;
    }
    let statement = Statement::of(&rule, &text);
    let clause = statement
        .conditions
        .unwrap_or_else(|| match (&statement.principal, &statement.resource) {
            (statement::Scope::Any, resource) => resource.to_text("resource"),
            (principal, _) => principal.to_text("principal"),
        });
    let values = looked_at.into_iter().map(|path| {
        let seen = match path.parse::<Expression>() {
            Ok(expression) => eval_expression(&asked.request, &asked.entities, &expression).ok(),
            Err(_) => None,
        };
        let seen = seen.map_or_else(|| "absent".to_owned(), |value| value.to_string());
        (path, seen)
    });
    Some(Clause {
        text: clause.split_whitespace().collect::<Vec<_>>().join(" "),
        values: values.collect(),
    })
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

/// The attributes that an expression looks at, as in `context.external_email`.
fn paths(expression: &Value, found: &mut Vec<String>) {
    if let Some(path) = path(expression) {
        // A variable alone says nothing that the caller does not know.
        if path.contains('.') && !found.contains(&path) {
            found.push(path);
        }
        return;
    }
    match expression {
        Value::Object(members) => {
            // `context has external_email` looks at that attribute, too.
            if let Some(has) = members.get("has")
                && let (Some(left), Some(attribute)) = (path(&has["left"]), has["attr"].as_str())
            {
                let path = format!("{left}.{attribute}");
                if !found.contains(&path) {
                    found.push(path);
                }
            }
            members.values().for_each(|value| paths(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| paths(item, found)),
        _ => {}
    }
}

fn path(expression: &Value) -> Option<String> {
    if let Some(variable) = expression.get("Var") {
        return variable.as_str().map(str::to_owned);
    }
    let access = expression.get(".")?;
    Some(format!("{}.{}", path(&access["left"])?, access["attr"].as_str()?))
}
