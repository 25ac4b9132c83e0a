//! Why not? Which rules came nearest to a yes, and which of their clauses were not satisfied, with the values that those
//! saw.

use std::{
    fmt,
    time::{Duration, Instant},
};

use cedar_policy::{Authorizer, Decision as CedarDecision, Effect, Expression, PolicySet, eval_expression};

use super::{
    clauses::{self, take_apart},
    cost::Weight,
    question::CedarQuery,
    rules::{Rule, Slice},
};

/// Explanations that are given at most.
const MAX_EXPLANATIONS: usize = 5;

/// How much is looked at for an explanation. A rule that would take more is left out.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Rules that are taken apart.
    rules: usize,
    /// Clauses that are asked on their own.
    clauses: usize,
    /// What the rules weigh together: taking one apart costs its nodes, asking its clauses what it costs to evaluate.
    weight: Weight,
    /// How long it may take.
    time: Duration,
}

impl Effort {
    /// For somebody who asks why.
    pub const THOROUGH: Self = Self {
        rules: 1_000,
        clauses: 5_000,
        weight: Weight {
            nodes: 50_000,
            cost: 20_000_000,
        },
        time: Duration::from_millis(100),
    };
    /// For every request that is refused: a refusal must not cost much more than a yes.
    pub const QUICK: Self = Self {
        rules: 10,
        clauses: 30,
        weight: Weight {
            nodes: 1_000,
            cost: 200_000,
        },
        time: Duration::from_millis(5),
    };
}

/// What a rule had to do with a decision.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The rule.
    pub rule: Rule,
    /// The clauses for which it did not apply; of a rule that did apply there are none.
    pub unsatisfied: Vec<Clause>,
}

impl Explanation {
    /// The same for a person.
    #[must_use]
    pub fn message(&self) -> String {
        let id = self.rule.statement.id();
        let built_in = if self.rule.built_in { "built-in " } else { "" };
        let rule = format!("The {built_in}rule {id}");
        match (self.rule.statement.effect(), self.unsatisfied.as_slice()) {
            (Effect::Forbid, _) => format!("{rule} forbids it."),
            (Effect::Permit, []) => format!("{rule} permits it, but a higher level decides."),
            (Effect::Permit, clauses) => {
                let clauses: Vec<String> = clauses.iter().map(ToString::to_string).collect();
                format!("{rule} would permit it, if this were so: {}.", clauses.join("; "))
            }
        }
    }
}

/// A clause that was not satisfied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clause {
    /// The clause, as Cedar writes it.
    pub text: String,
    /// What it looked at, and what it saw there.
    pub values: Vec<(String, String)>,
}

impl fmt::Display for Clause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        let seen = |(path, value): &(String, String)| format!("{path} is {value}");
        match self.values.iter().map(seen).collect::<Vec<_>>().join(", ").as_str() {
            "" => Ok(()),
            seen => write!(f, " ({seen})"),
        }
    }
}

/// Explains a prohibition: the rules that forbid it, which have these ids.
pub(super) fn forbidding<'a>(
    ids: &[String],
    levels: impl Iterator<Item = &'a Slice>,
    effort: Effort,
) -> Vec<Explanation> {
    levels
        .flat_map(Slice::rules)
        .filter(|rule| ids.iter().any(|id| *id == rule.statement.id().to_string()))
        .take(effort.rules)
        .map(|rule| Explanation {
            rule: rule.clone(),
            unsatisfied: Vec::new(),
        })
        .collect()
}

/// Explains any other no: the permits that came nearest to a yes.
pub(super) fn nearest_permits<'a>(
    levels: impl Iterator<Item = &'a Slice>,
    asked: &CedarQuery,
    effort: Effort,
) -> Vec<Explanation> {
    let rules = levels.flat_map(Slice::rules);
    let permits = rules.filter(|rule| rule.statement.effect() == Effect::Permit);
    let mut left = effort;
    let until = Instant::now() + effort.time;
    let mut near: Vec<Explanation> = permits
        .take(effort.rules)
        .take_while(|_| Instant::now() < until)
        .filter_map(|rule| {
            let unsatisfied = unsatisfied(rule, asked, &mut left)?;
            Some(Explanation {
                rule: rule.clone(),
                unsatisfied,
            })
        })
        .collect();
    near.sort_by_key(|explanation| explanation.unsatisfied.len());
    near.truncate(MAX_EXPLANATIONS);
    near
}

/// The clauses of a rule that are not satisfied. None where that would take more than what is left.
fn unsatisfied(rule: &Rule, asked: &CedarQuery, left: &mut Effort) -> Option<Vec<Clause>> {
    let weight = Weight {
        nodes: left.weight.nodes.checked_sub(rule.weight.nodes)?,
        cost: left.weight.cost.checked_sub(rule.weight.cost)?,
    };
    let clauses = take_apart(&rule.statement, left.clauses)?;
    left.weight = weight;
    left.clauses -= clauses.len();
    Some(
        clauses
            .into_iter()
            .filter_map(|clause| unsatisfied_clause(clause, asked))
            .collect(),
    )
}

fn unsatisfied_clause(clause: clauses::Clause, asked: &CedarQuery) -> Option<Clause> {
    let set = PolicySet::from_policies([clause.rule]).ok()?;
    let response = Authorizer::new().is_authorized(&asked.request, &set, &asked.entities);
    if response.decision() == CedarDecision::Allow {
        return None;
    }
    let values = clause.paths.into_iter().map(|path| {
        let seen = match path.parse::<Expression>() {
            Ok(expression) => eval_expression(&asked.request, &asked.entities, &expression).ok(),
            Err(_) => None,
        };
        let seen = seen.map_or_else(|| "absent".to_owned(), |value| value.to_string());
        (path, seen)
    });
    Some(Clause {
        text: clause.text,
        values: values.collect(),
    })
}
