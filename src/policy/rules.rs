//! Rules: checking the text of one, and arranging many so that a decision looks only at those that can apply.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, LazyLock},
};

use aka_entity::policy_rule;
use cedar_policy::{
    ActionConstraint, Effect, Entities, EntityUid, ParseErrors, Policy, PolicyId, PolicySet, ResourceConstraint,
    ValidationMode,
};
use sha2::{Digest as _, Sha256};

use super::{
    action::Action,
    groups::Groups,
    schema::{SCHEMA_TEXT, VALIDATOR},
    statement::conditions,
};
use crate::domain::{ids, scopes::Scope, text::Description};

/// The greatest length of a rule in bytes. Room for lists of names; what is longer belongs into roles and groups.
pub const MAX_RULE_BYTES: usize = 16 * 1024;
/// How deep brackets may nest in a rule. People write single digits.
const MAX_NESTING: usize = 50;
/// How many statements may be read at a time.
const MAX_STATEMENTS: usize = 1_000;
/// How many operators may follow one another in a rule: each makes the tree that is evaluated one step deeper.
const MAX_OPERATORS: usize = 500;

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

    fn parsing(errors: &ParseErrors, text: &str) -> Self {
        let error: &dyn miette::Diagnostic = errors;
        let offset = error
            .labels()
            .and_then(|mut labels| labels.next())
            .map(|label| label.offset());
        Self {
            message: errors.to_string(),
            help: error.help().map(|help| help.to_string()),
            position: offset.map(|offset| position(text, offset)),
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

/// Reads one statement and checks it against the schema.
///
/// # Errors
///
/// What is wrong with it, and where.
pub fn parse_rule(text: &str) -> Result<Policy, RuleError> {
    let mut rules = parse_rules(text)?;
    match (rules.pop(), rules.len()) {
        (Some(rule), 0) => Ok(rule),
        (None, _) => Err(RuleError::new(
            "there is no statement; a rule is one statement, permit or forbid",
        )),
        (Some(_), more) => Err(RuleError::new(format!(
            "there are {} statements; a rule is one statement, so make a rule of each",
            more + 1
        ))),
    }
}

/// The mark of a text that was checked against the schema: a hash of both.
#[must_use]
pub fn mark(text: &str) -> [u8; 32] {
    static SCHEMA: LazyLock<Sha256> = LazyLock::new(|| Sha256::new_with_prefix(SCHEMA_TEXT));
    SCHEMA.clone().chain_update(text).finalize().into()
}

/// Reads a stored rule. Checking takes ten times as long as parsing, so one that carries the mark of its own text is not
/// checked again.
///
/// # Errors
///
/// What is wrong with it: the schema has changed since it was stored, or somebody has changed the row by hand.
pub fn stored_rule(row: &policy_rule::Model) -> Result<Policy, RuleError> {
    let text = &row.policy_text;
    if row.checked != mark(text) {
        return parse_rule(text);
    }
    Policy::parse(None, text).map_err(|errors| RuleError::parsing(&errors, text))
}

/// Reads any number of statements and checks each against the schema.
///
/// # Errors
///
/// What is wrong with the first that is wrong, and where.
pub fn parse_rules(text: &str) -> Result<Vec<Policy>, RuleError> {
    check_size(text)?;
    let set: PolicySet = text.parse().map_err(|errors| RuleError::parsing(&errors, text))?;
    if let Some(template) = set.templates().next() {
        return Err(RuleError::new(format!(
            "a template ({}) is not a rule: write the entities in place of ?principal and ?resource",
            template.to_string().lines().next().unwrap_or_default()
        )));
    }
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
            position: offset.map(|offset| position(text, offset)),
        });
    }
    // Cedar names statements policy0, policy1 ... in their order.
    let mut rules: Vec<(usize, Policy)> = set
        .policies()
        .map(|rule| {
            (
                rule.id()
                    .to_string()
                    .trim_start_matches("policy")
                    .parse()
                    .unwrap_or(usize::MAX),
                rule.clone(),
            )
        })
        .collect();
    rules.sort_by_key(|(place, _)| *place);
    for (_, rule) in &rules {
        if let Some(notice) = rule.annotation("notice") {
            Description::new(notice).map_err(|reason| RuleError::new(format!("@notice {reason}")))?;
        }
    }
    Ok(rules.into_iter().map(|(_, rule)| rule).collect())
}

/// Refuses a text that it would take too much to parse: whose tree would be so deep that walking it could exhaust the
/// stack, or that has too many or too long statements. Strings and comments are not counted, as they are not parsed.
fn check_size(text: &str) -> Result<(), RuleError> {
    let (mut depth, mut operators, mut statements, mut begin) = (0_usize, 0_usize, 0_usize, 0_usize);
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
    match text.find('\0') {
        Some(at) => Err(RuleError {
            message: "the text has the character U+0000".into(),
            help: None,
            position: Some(position(text, at)),
        }),
        None => Ok(()),
    }
}

/// A rule that is in force, and what is said of it when it determines a decision.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The statement; its id is the rule's.
    pub statement: Arc<Policy>,
    /// The policy that it belongs to; built-in rules and those that are only tried belong to none.
    pub policy_id: Option<ids::PolicyId>,
    /// Whether it is part of the program.
    pub built_in: bool,
    /// What the caller reads.
    pub notice: Option<Arc<str>>,
    /// Whether the rule looks at attributes or groups of the resource, so that they must be read before a decision.
    needs_resource: bool,
    /// Whether the rule looks at nothing but who acts.
    only_principal: bool,
}

impl Rule {
    /// A rule of a tenant.
    #[must_use]
    pub fn of_tenant(
        statement: &Policy,
        rule_id: ids::PolicyRuleId,
        policy_id: ids::PolicyId,
        notice: Option<&str>,
    ) -> Self {
        Self::new(statement, &rule_id.to_string(), Some(policy_id), notice)
    }

    /// A built-in rule: its id and notice are annotations.
    #[must_use]
    pub fn builtin(statement: &Policy) -> Self {
        Self {
            built_in: true,
            ..Self::new(statement, statement.annotation("id").unwrap_or_default(), None, None)
        }
    }

    /// A rule that is tried and belongs to no policy yet.
    #[must_use]
    pub fn candidate(statement: &Policy, id: &str) -> Self {
        Self::new(statement, id, None, None)
    }

    fn new(statement: &Policy, id: &str, policy_id: Option<ids::PolicyId>, notice: Option<&str>) -> Self {
        let text = statement.to_cedar().unwrap_or_else(|| statement.to_string());
        let conditions = conditions(&text).unwrap_or_default();
        let (on_resource, on_context) = (conditions.contains("resource"), conditions.contains("context"));
        let resource = statement.resource_constraint();
        let in_group = matches!(resource, ResourceConstraint::In(_) | ResourceConstraint::IsIn(..));
        Self {
            notice: notice.or_else(|| statement.annotation("notice")).map(Arc::from),
            statement: Arc::new(statement.new_id(PolicyId::new(id))),
            policy_id,
            built_in: false,
            needs_resource: in_group || on_resource,
            only_principal: resource == ResourceConstraint::Any && !on_resource && !on_context,
        }
    }

    /// What the rule names as action.
    fn named(&self) -> HashSet<Named> {
        let id = |name: &EntityUid| name.id().unescaped().to_owned();
        match self.statement.action_constraint() {
            ActionConstraint::Any => HashSet::from([Named::Nothing]),
            ActionConstraint::Eq(name) => id(&name).parse().map(Named::Action).into_iter().collect(),
            ActionConstraint::In(names) => {
                let action_or_group = |name| {
                    let id = id(name);
                    id.parse().map(Named::Action).or_else(|_| id.parse().map(Named::Group))
                };
                names.iter().flat_map(action_or_group).collect()
            }
        }
    }
}

/// Rules of one priority.
pub struct Level {
    /// Absent: a built-in level.
    pub priority: Option<i32>,
    /// The rules.
    pub rules: Vec<Rule>,
}

/// The rules of one level that can apply to one action.
pub struct Slice {
    /// The priority of the level; absent for a built-in level.
    pub priority: Option<i32>,
    /// The rules, by their ids.
    pub rules: BTreeMap<PolicyId, Rule>,
    /// The same for Cedar.
    groups: Vec<Arc<Groups>>,
}

/// Levels of rules, sliced by action: for each action its levels, from the highest down, without the empty ones.
pub struct RuleSet {
    slices: Vec<Vec<Slice>>,
    needs_resource: Vec<bool>,
    only_principal: Vec<bool>,
}

impl RuleSet {
    /// Arranges levels, which come from the highest down.
    #[must_use]
    pub fn new(levels: &[Level]) -> Self {
        let levels: Vec<Sorted<'_>> = levels.iter().map(Sorted::new).collect();
        let of_action = |action: &Action| levels.iter().filter_map(|level| level.slice(*action)).collect();
        let slices: Vec<Vec<Slice>> = Action::ALL.iter().map(of_action).collect();
        let rules = |slices: &[Slice], what: fn(&Rule) -> bool| -> Vec<bool> {
            slices.iter().flat_map(|slice| slice.rules.values()).map(what).collect()
        };
        let needs_resource = |slices: &Vec<Slice>| rules(slices, |rule| rule.needs_resource).contains(&true);
        let only_principal = |slices: &Vec<Slice>| !rules(slices, |rule| rule.only_principal).contains(&false);
        Self {
            needs_resource: slices.iter().map(needs_resource).collect(),
            only_principal: slices.iter().map(only_principal).collect(),
            slices,
        }
    }

    /// The levels with rules that can apply to an action, from the highest down.
    #[must_use]
    pub fn slices(&self, action: Action) -> &[Slice] {
        // One entry an action, in the order of their numbers.
        &self.slices[action as usize]
    }

    /// Whether nothing but the principal determines a decision on this action.
    #[must_use]
    pub fn only_principal(&self, action: Action) -> bool {
        self.only_principal[action as usize]
    }

    /// Whether a decision on this action looks at attributes of the resource.
    #[must_use]
    pub fn needs_resource(&self, action: Action) -> bool {
        self.needs_resource[action as usize]
    }
}

impl Slice {
    /// The sets of rules that can apply to a principal and a resource.
    pub(super) fn reached<'a>(
        &'a self,
        principal: &EntityUid,
        resource: &EntityUid,
        entities: &Entities,
    ) -> impl Iterator<Item = &'a PolicySet> {
        let groups = self.groups.iter();
        groups.flat_map(move |groups| groups.reached(principal, resource, entities))
    }
}

/// What a rule names as action.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Named {
    Nothing,
    Action(Action),
    Group(Scope),
}

impl Named {
    /// What a rule must name one of to concern an action.
    fn concerning(action: Action) -> [Self; 3] {
        [Self::Nothing, Self::Action(action), Self::Group(action.scope())]
    }
}

/// The rules of a level by what they name as action. The actions share them: a rule for every action is kept once.
struct Sorted<'a> {
    priority: Option<i32>,
    rules: HashMap<Named, Vec<&'a Rule>>,
    groups: HashMap<Named, Arc<Groups>>,
}

impl<'a> Sorted<'a> {
    fn new(level: &'a Level) -> Self {
        let mut rules: HashMap<Named, Vec<&'a Rule>> = HashMap::new();
        for rule in &level.rules {
            for named in rule.named() {
                rules.entry(named).or_default().push(rule);
            }
        }
        let groups = rules
            .iter()
            .map(|(named, rules)| (*named, Arc::new(Groups::new(rules))));
        Self {
            priority: level.priority,
            groups: groups.collect(),
            rules,
        }
    }

    fn slice(&self, action: Action) -> Option<Slice> {
        let named = Named::concerning(action);
        let rules = named.iter().filter_map(|named| self.rules.get(named)).flatten();
        let rules: BTreeMap<_, _> = rules
            .map(|rule| (rule.statement.id().clone(), (*rule).clone()))
            .collect();
        (!rules.is_empty()).then(|| Slice {
            priority: self.priority,
            rules,
            groups: named
                .iter()
                .filter_map(|named| self.groups.get(named))
                .cloned()
                .collect(),
        })
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
