//! Rules: checking the text of one before it is stored, and reading it again.

use std::{
    ops::Range,
    sync::{Arc, LazyLock},
};

use aka_entity::policy_rule;
use cedar_policy::{Effect, ParseErrors, Policy, PolicyId, PolicySet, ResourceConstraint, ValidationMode};
use sha2::{Digest as _, Sha256};

pub use super::rule_set::DuplicateRule;
pub use super::rule_set::Level;
pub use super::rule_set::RuleSet;
pub use super::rule_set::Slice;
use super::{
    cost::Weight,
    outline::Outline,
    schema::{SCHEMA_TEXT, VALIDATOR},
    statement::conditions,
    warnings::{RuleWarning, warnings},
};
use crate::types::{ids, text::Description};

/// The greatest length of a rule in bytes. Room for lists of names; what is longer belongs into roles and groups.
pub const MAX_RULE_BYTES: usize = 16 * 1024;
/// How deep brackets may nest in a rule. People write single digits.
const MAX_NESTING: usize = 50;
/// How many statements may be read at a time.
const MAX_STATEMENTS: usize = 1_000;
/// How many operators may follow one another in a rule: each makes the tree that is evaluated one step deeper.
const MAX_OPERATORS: usize = 500;
/// What evaluating a rule may cost at worst: about a millisecond. A comparison with a pattern of twenty characters costs
/// at most 6,000, membership in a list of five hundred addresses 200,000.
pub const MAX_RULE_COST: u64 = 1_000_000;
/// Texts are checked in pieces of about this many bytes, some ten milliseconds of work each, so that other tenants' work
/// comes between them. A longer statement is a piece of its own.
const PIECE_BYTES: usize = 4 * 1024;
/// What is found out of a rule when it is stored. Raised when the program finds out something else of the same text.
const FINDINGS_VERSION: u8 = 1;

/// Why a text is not a rule.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RuleError {
    /// What is wrong, in Cedar's words where it is Cedar that says so.
    pub message: String,
    /// How to mend it, where Cedar has an idea.
    pub help: Option<String>,
    /// Where: line and column from 1, in characters.
    pub position: Option<(usize, usize)>,
}

impl RuleError {
    fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: None,
            position: None,
        }
    }

    /// Why a part of a text that begins at a byte of it does not parse.
    fn parsing(errors: &ParseErrors, text: &str, begin: usize) -> Self {
        let error: &dyn miette::Diagnostic = errors;
        let offset = error
            .labels()
            .and_then(|mut labels| labels.next())
            .map(|label| label.offset());
        Self {
            message: errors.to_string(),
            help: error.help().map(|help| help.to_string()),
            position: offset.map(|offset| position(text, begin + offset)),
        }
    }
}

/// Line and column of a byte offset.
pub(super) fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}

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

/// The mark of a row whose text was checked: a hash of the text, of what was found out of it, and of what it was checked
/// against.
#[must_use]
pub fn mark(text: &str, outline: &str, weight: Weight) -> [u8; 32] {
    static SCHEMA: LazyLock<Sha256> =
        LazyLock::new(|| Sha256::new_with_prefix([FINDINGS_VERSION]).chain_update(SCHEMA_TEXT));
    SCHEMA
        .clone()
        .chain_update(text)
        .chain_update([0])
        .chain_update(outline)
        .chain_update(weight.nodes.to_be_bytes())
        .chain_update(weight.cost.to_be_bytes())
        .finalize()
        .into()
}

/// The weight of a stored rule as its row has it. None: the row was changed by hand, or written by a version of the
/// program that checked rules against something else.
fn marked_weight(row: &policy_rule::Model) -> Option<Weight> {
    let weight = Weight {
        nodes: u64::try_from(row.nodes).ok()?,
        cost: u64::try_from(row.cost).ok()?,
    };
    (row.checked == mark(&row.policy_text, &row.outline, weight)).then_some(weight)
}

/// Reads a stored rule. Checking takes ten times as long as parsing, so one that carries the mark of its own text is not
/// checked again.
///
/// # Errors
///
/// What is wrong with it: the schema has changed since it was stored, or somebody has changed the row by hand.
pub fn stored_rule(row: &policy_rule::Model) -> Result<(Policy, Weight), RuleError> {
    let text = &row.policy_text;
    let Some(weight) = marked_weight(row) else {
        return check_rule(text).map(|rule| (rule.statement, rule.weight));
    };
    Ok((parse_text(text)?, weight))
}

/// Parses the text of one statement that has been checked before.
///
/// # Errors
///
/// Where it is none.
pub fn parse_text(text: &str) -> Result<Policy, RuleError> {
    Policy::parse(None, text).map_err(|errors| RuleError::parsing(&errors, text, 0))
}

/// What a stored rule says. Of a row without its mark it is read from the text, without the warnings: a reader need not
/// wait until the text has been checked.
///
/// # Errors
///
/// Where the text is no rule.
pub fn stored_outline(row: &policy_rule::Model) -> Result<Outline, RuleError> {
    let text = &row.policy_text;
    if marked_weight(row).is_some()
        && let Ok(outline) = serde_json::from_str(&row.outline)
    {
        return Ok(outline);
    }
    Ok(Outline::of(&parse_text(text)?, text, Vec::new()))
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

/// Takes a text apart into pieces of one or more whole statements, each of which can be checked on its own.
///
/// # Errors
///
/// Where it would take too much to parse the text: its tree would be so deep that walking it could exhaust the stack, or
/// it has too many or too long statements. Strings and comments are not counted, as they are not parsed.
pub fn pieces(text: &str) -> Result<Vec<Range<usize>>, RuleError> {
    let (mut depth, mut operators, mut statements, mut begin) = (0_usize, 0_usize, 0_usize, 0_usize);
    let (mut pieces, mut piece) = (Vec::new(), 0_usize);
    let mut rest = text.char_indices().peekable();
    while let Some((at, character)) = rest.next() {
        match character {
            '"' => {
                while let Some((_, character)) = rest.next() {
                    match character {
                        '\\' => drop(rest.next()),
                        '"' => break,
                        _ => {}
                    }
                }
            }
            '/' if rest.peek().is_some_and(|(_, next)| *next == '/') => {
                while rest.next_if(|(_, character)| *character != '\n').is_some() {}
            }
            '(' | '[' | '{' => {
                depth += 1;
                operators += 1;
            }
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            ';' if depth == 0 => {
                statements += 1;
                operators = 0;
                begin = at;
                if at - piece >= PIECE_BYTES {
                    pieces.push(piece..at + 1);
                    piece = at + 1;
                }
            }
            '!' | '&' | '|' | '+' | '-' | '*' | '.' | '<' | '>' | '=' => operators += 1,
            'i' if text[at..].starts_with("if") => operators += 1,
            _ => {}
        }
        let what = match () {
            () if depth > MAX_NESTING => format!("brackets nest more than {MAX_NESTING} deep"),
            () if operators > MAX_OPERATORS => format!("the statement has more than {MAX_OPERATORS} operators"),
            () if at - begin > MAX_RULE_BYTES => format!("the statement has more than {MAX_RULE_BYTES} bytes"),
            () if statements > MAX_STATEMENTS => format!("there are more than {MAX_STATEMENTS} statements"),
            () => continue,
        };
        return Err(RuleError {
            message: what,
            help: Some("write several rules or policies, or test membership in a set, role or group".into()),
            position: Some(position(text, at)),
        });
    }
    // PostgreSQL cannot store it.
    if let Some(at) = text.find('\0') {
        return Err(RuleError {
            message: "the text has the character U+0000".into(),
            help: None,
            position: Some(position(text, at)),
        });
    }
    if piece < text.len() || pieces.is_empty() {
        pieces.push(piece..text.len());
    }
    Ok(pieces)
}

/// A rule that is in force, and what is said of it when it determines a decision.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each says something else of the rule")]
pub struct Rule {
    /// The statement; its id is the rule's.
    pub statement: Arc<Policy>,
    /// The policy that it belongs to; built-in rules and those that are only tried belong to none.
    pub policy_id: Option<ids::PolicyId>,
    /// Whether it is part of the program.
    pub built_in: bool,
    /// What the caller reads.
    pub notice: Option<Arc<str>>,
    /// What it takes to keep and to evaluate it.
    pub weight: Weight,
    /// Whether the rule looks at attributes or groups of the resource, so that they must be read before a decision.
    pub(super) needs_resource: bool,
    /// Whether the rule looks at nothing but who acts.
    pub(super) only_principal: bool,
    /// Whether the rule, a built-in one, can apply only to API keys that are bound to a provider.
    pub(super) of_bound_keys: bool,
}

impl Rule {
    /// A rule of a tenant, as it is stored.
    ///
    /// # Errors
    ///
    /// Where it cannot be read: see [`stored_rule`].
    pub fn of_tenant(row: &policy_rule::Model) -> Result<Self, RuleError> {
        let (statement, weight) = stored_rule(row)?;
        let (id, policy_id) = (ids::PolicyRuleId(row.id), ids::PolicyId(row.policy_id));
        let rule = Self::new(&statement, weight, &id.to_string(), Some(policy_id));
        Ok(match &row.notice {
            Some(notice) => Self {
                notice: Some(Arc::from(notice.as_str())),
                ..rule
            },
            None => rule,
        })
    }

    /// Whether this is the rule of a row: its text, notice and policy are the same.
    #[must_use]
    pub fn is_of(&self, row: &policy_rule::Model) -> bool {
        let notice = row.notice.as_deref().or_else(|| self.statement.annotation("notice"));
        self.policy_id == Some(ids::PolicyId(row.policy_id))
            && self.notice.as_deref() == notice
            && self.statement.to_cedar().is_some_and(|text| text == row.policy_text)
    }

    /// A built-in rule: its id and notice are annotations.
    #[must_use]
    pub fn builtin(statement: &Policy) -> Self {
        Self {
            built_in: true,
            of_bound_keys: statement.annotation("only") == Some("bound keys"),
            ..Self::candidate(
                statement,
                Weight::of(statement),
                statement.annotation("id").unwrap_or_default(),
            )
        }
    }

    /// A rule that is tried and belongs to no policy yet.
    #[must_use]
    pub fn candidate(statement: &Policy, weight: Weight, id: &str) -> Self {
        Self::new(statement, weight, id, None)
    }

    fn new(statement: &Policy, weight: Weight, id: &str, policy_id: Option<ids::PolicyId>) -> Self {
        let text = statement.to_cedar().unwrap_or_else(|| statement.to_string());
        let conditions = conditions(&text).unwrap_or_default();
        let (on_resource, on_context) = (conditions.contains("resource"), conditions.contains("context"));
        let resource = statement.resource_constraint();
        let in_group = matches!(resource, ResourceConstraint::In(_) | ResourceConstraint::IsIn(..));
        Self {
            notice: statement.annotation("notice").map(Arc::from),
            weight,
            statement: Arc::new(statement.new_id(PolicyId::new(id))),
            policy_id,
            built_in: false,
            needs_resource: in_group || on_resource,
            only_principal: resource == ResourceConstraint::Any && !on_resource && !on_context,
            of_bound_keys: false,
        }
    }
}

/// `permit` or `forbid`.
#[must_use]
pub const fn effect_name(effect: Effect) -> &'static str {
    match effect {
        Effect::Permit => "permit",
        Effect::Forbid => "forbid",
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

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

    #[test]
    fn a_row_that_was_changed_by_hand_is_checked_again() {
        let text = "permit (principal is User, action, resource) when { principal has name };";
        let rule = check_rule(text).expect("a rule");
        let number = |number: u64| i64::try_from(number).expect("it is small");
        let row = policy_rule::Model {
            tenant_id: Uuid::nil(),
            id: Uuid::nil(),
            policy_id: Uuid::nil(),
            ordinal: 0,
            checked: rule.mark().to_vec(),
            policy_text: rule.text.clone(),
            notice: None,
            created_at: 0,
            outline: rule.outline.clone(),
            bytes: 0,
            nodes: number(rule.weight.nodes),
            cost: number(rule.weight.cost),
        };
        assert_eq!(stored_rule(&row).expect("it is as it was").1, rule.weight);

        let cheaper = policy_rule::Model { cost: 1, ..row.clone() };
        assert_eq!(stored_rule(&cheaper).expect("it is a rule").1, rule.weight);
        let forbids = policy_rule::Model {
            outline: rule.outline.replace("\"forbids\":false", "\"forbids\":true"),
            ..row.clone()
        };
        assert!(!stored_outline(&forbids).expect("it is a rule").forbids);
        let wrong = policy_rule::Model {
            policy_text: rule.text.replace("has name", ".name == 7"),
            ..row
        };
        stored_rule(&wrong).expect_err("it does not go with the schema");
    }
}
