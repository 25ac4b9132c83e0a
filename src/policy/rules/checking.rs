//! Checking the text of a rule before it is stored: whether it is one, what it says, and what it can cost.

use std::ops::Range;

use cedar_policy::{Policy, PolicySet, ValidationMode};

use super::{
    mark::mark,
    text::{RuleError, pieces, position},
};
use crate::{
    policy::{
        cost::Weight,
        outline::Outline,
        schema::VALIDATOR,
        warnings::{RuleWarning, warnings},
    },
    types::text::Description,
};

/// What evaluating a rule may cost at worst: about a millisecond. A comparison with a pattern of twenty characters costs
/// at most 6,000, membership in a list of five hundred addresses 200,000.
pub const MAX_RULE_COST: u64 = 1_000_000;

/// A rule that has been checked, with what was found out of it.
#[derive(Clone, Debug)]
pub struct CheckedRule {
    /// The rule as Cedar has it.
    pub statement: Policy,
    /// Its text.
    pub text: String,
    /// What the text says, as it is kept beside it.
    pub outline: String,
    /// What it takes to keep and to evaluate it.
    pub weight: Weight,
}

impl CheckedRule {
    /// Checks a statement against the schema that was parsed from its own text, which begins at a byte of another one,
    /// where that is known: errors name their place in that one.
    fn new(
        statement: Policy,
        own_text: String,
        weight: Weight,
        text: &str,
        begin: Option<usize>,
    ) -> Result<Self, RuleError> {
        let set = PolicySet::from_policies([statement.clone()]).map_err(|error| RuleError::new(error.to_string()))?;
        let result = VALIDATOR.validate(&set, ValidationMode::Strict);
        if let Some(error) = result.validation_errors().next() {
            let diagnostic: &dyn miette::Diagnostic = error;
            let offset = diagnostic
                .labels()
                .and_then(|mut labels| labels.next())
                .map(|label| label.offset());
            return Err(RuleError {
                // Cedar names the statement by a number that the author has never seen.
                message: error
                    .to_string()
                    .split_once("`, ")
                    .map_or_else(|| error.to_string(), |(_, text)| text.to_owned()),
                help: diagnostic.help().map(|help| help.to_string()),
                position: begin.zip(offset).map(|(begin, offset)| position(text, begin + offset)),
            });
        }
        if let Some(notice) = statement.annotation("notice") {
            Description::new(notice).map_err(|reason| RuleError::new(format!("@notice {reason}")))?;
        }
        let outline = Outline::of(&statement, &own_text, warnings(&statement, &result, &own_text)).to_text();
        Ok(Self {
            statement,
            text: own_text,
            outline,
            weight,
        })
    }

    /// What may be wrong with it, though it is a rule.
    #[must_use]
    pub fn warnings(&self) -> Vec<RuleWarning> {
        serde_json::from_str::<Outline>(&self.outline).map_or_else(|_| Vec::new(), |outline| outline.warnings)
    }

    /// The mark of this rule's row: see [`mark`].
    #[must_use]
    pub fn mark(&self) -> [u8; 32] {
        mark(&self.text, &self.outline, self.weight)
    }
}

/// Reads one statement and checks it against the schema.
///
/// # Errors
///
/// What is wrong with it, and where.
pub fn parse_rule(text: &str) -> Result<Policy, RuleError> {
    check_rule(text).map(|rule| rule.statement)
}

/// Reads one statement, checks it against the schema, and finds out what it says and what it can cost.
///
/// # Errors
///
/// What is wrong with it, and where.
pub fn check_rule(text: &str) -> Result<CheckedRule, RuleError> {
    let mut rules = check_rules(text)?;
    match (rules.pop(), rules.len()) {
        (Some(rule), 0) if rule.text == text => Ok(rule),
        // The text is kept as it was given, with the comments before and after the statement: places in it are others.
        (Some(rule), 0) => CheckedRule::new(parse_text(text)?, text.to_owned(), rule.weight, text, Some(0)),
        (None, _) => Err(RuleError::new(
            "there is no statement; a rule is one statement, permit or forbid",
        )),
        (Some(_), more) => Err(RuleError::new(format!(
            "there are {} statements; a rule is one statement, so make a rule of each",
            more + 1
        ))),
    }
}

/// Parses the text of one statement that has been checked before.
///
/// # Errors
///
/// Where it is none.
pub fn parse_text(text: &str) -> Result<Policy, RuleError> {
    Policy::parse(None, text).map_err(|errors| RuleError::parsing(&errors, text, 0))
}

/// Reads any number of statements and checks each against the schema.
///
/// # Errors
///
/// What is wrong with the first that is wrong, and where.
pub fn parse_rules(text: &str) -> Result<Vec<Policy>, RuleError> {
    Ok(check_rules(text)?.into_iter().map(|rule| rule.statement).collect())
}

fn check_rules(text: &str) -> Result<Vec<CheckedRule>, RuleError> {
    let mut rules = Vec::new();
    for piece in pieces(text)? {
        rules.extend(check_piece(text, piece)?);
    }
    Ok(rules)
}

/// Checks the statements in a piece of a text: see [`pieces`].
///
/// # Errors
///
/// What is wrong with the first that is wrong, and where in the whole text.
pub fn check_piece(text: &str, piece: Range<usize>) -> Result<Vec<CheckedRule>, RuleError> {
    let begin = piece.start;
    let part = text.get(piece).unwrap_or_default();
    let set: PolicySet = part
        .parse()
        .map_err(|errors| RuleError::parsing(&errors, text, begin))?;
    if let Some(template) = set.templates().next() {
        return Err(RuleError::new(format!(
            "a template ({}) is not a rule: write the entities in place of ?principal and ?resource",
            template.to_string().lines().next().unwrap_or_default()
        )));
    }
    // Cedar names statements policy0, policy1 ... in their order.
    let number = |rule: &Policy| rule.id().to_string().trim_start_matches("policy").parse();
    let mut rules: Vec<(usize, Policy)> = set
        .policies()
        .map(|rule| (number(rule).unwrap_or(usize::MAX), rule.clone()))
        .collect();
    rules.sort_by_key(|(place, _)| *place);
    let check = |rule: &Policy| {
        // Cedar keeps the text of what it has parsed from a text.
        let own_text = rule.to_cedar().unwrap_or_else(|| rule.to_string());
        let place = part.find(&own_text).map(|at| begin + at);
        // What a rule costs is found out before Cedar checks it, which takes longer.
        let weight = Weight::of(rule);
        if weight.cost > MAX_RULE_COST {
            return Err(too_expensive(weight.cost, place.map(|at| position(text, at))));
        }
        let alone = Policy::parse(None, &own_text).map_err(|errors| RuleError::parsing(&errors, text, begin))?;
        CheckedRule::new(alone, own_text, weight, text, place)
    };
    rules.iter().map(|(_, rule)| check(rule)).collect()
}

fn too_expensive(cost: u64, position: Option<(usize, usize)>) -> RuleError {
    RuleError {
        message: format!(
            "evaluating the rule could cost {cost} units of about a nanosecond; the limit for a rule is {MAX_RULE_COST}"
        ),
        help: Some(
            "shorten its patterns and sets, or write several rules: `like` costs the length of the pattern times the \
             length of the text, a set the number of its elements"
                .into(),
        ),
        position,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_checked_in_pieces_with_places_in_the_whole() {
        const RULES: usize = 200;
        let rule = |number: usize| {
            format!(
                "// Rule {number}; with (a \"comment\n@notice(\"Ask; {number} }}\")\npermit (principal, action, resource) \
                 when {{ principal has name && principal.name like \"*; \\\" {number}\" }};\n"
            )
        };
        let text: String = (0..RULES).map(rule).collect();

        let parts = pieces(&text).expect("it can be parsed");
        let checked = check_rules(&text).expect("they are rules");

        assert!(parts.len() > 3, "{parts:?}");
        assert_eq!(parts.first().map(|part| part.start), Some(0));
        assert_eq!(parts.last().map(|part| part.end), Some(text.len()));
        assert!(parts.windows(2).all(|pair| pair[0].end == pair[1].start), "{parts:?}");
        let notices: Vec<_> = checked
            .iter()
            .map(|rule| rule.statement.annotation("notice").unwrap_or_default().to_owned())
            .collect();
        let expected: Vec<_> = (0..RULES).map(|number| format!("Ask; {number} }}")).collect();
        assert_eq!(notices, expected);

        let wrong = text.replacen("principal.name like \"*; \\\" 150\"", "principal.nome == \"\"", 1);
        let error = check_rules(&wrong).expect_err("there is no such attribute");
        assert_eq!(error.position.map(|(line, _)| line), Some(150 * 3 + 3), "{error:?}");
        let broken = text.replacen(
            "permit (principal, action, resource) when { principal has name && principal.name like \"*; \\\" 150\"",
            "permit (",
            1,
        );
        let error = check_rules(&broken).expect_err("it does not parse");
        assert_eq!(error.position.map(|(line, _)| line), Some(150 * 3 + 3), "{error:?}");
    }
}
