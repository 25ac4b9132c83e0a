//! The structured form of a rule: what its text says, member by member. The text is what is stored; the members are
//! derived whenever they are shown, so that the two cannot disagree. A rule that comes as members is written as a text
//! first.

use std::collections::BTreeMap;

use cedar_policy::{
    ActionConstraint, Effect, EntityTypeName, EntityUid, Policy, PrincipalConstraint, ResourceConstraint,
};

/// A statement, member by member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Its annotations, by name.
    pub annotations: BTreeMap<String, String>,
    /// Whether it permits or forbids.
    pub effect: Effect,
    /// Who it is about.
    pub principal: Scope,
    /// What it is about.
    pub action: ActionScope,
    /// On what.
    pub resource: Scope,
    /// Its `when` and `unless` clauses, as they are written.
    pub conditions: Option<String>,
}

/// A constraint on the principal or the resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// None.
    Any,
    /// It is this entity.
    Eq(EntityUid),
    /// It is this entity, or a member of it.
    In(EntityUid),
    /// It is of this type.
    Is(EntityTypeName),
    /// It is of this type, and this entity or a member of it.
    IsIn(EntityTypeName, EntityUid),
}

impl From<PrincipalConstraint> for Scope {
    fn from(constraint: PrincipalConstraint) -> Self {
        match constraint {
            PrincipalConstraint::Any => Self::Any,
            PrincipalConstraint::Eq(entity) => Self::Eq(entity),
            PrincipalConstraint::In(entity) => Self::In(entity),
            PrincipalConstraint::Is(of_type) => Self::Is(of_type),
            PrincipalConstraint::IsIn(of_type, entity) => Self::IsIn(of_type, entity),
        }
    }
}

impl From<ResourceConstraint> for Scope {
    fn from(constraint: ResourceConstraint) -> Self {
        match constraint {
            ResourceConstraint::Any => Self::Any,
            ResourceConstraint::Eq(entity) => Self::Eq(entity),
            ResourceConstraint::In(entity) => Self::In(entity),
            ResourceConstraint::Is(of_type) => Self::Is(of_type),
            ResourceConstraint::IsIn(of_type, entity) => Self::IsIn(of_type, entity),
        }
    }
}

/// A constraint on the action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActionScope {
    /// None.
    Any,
    /// It is this one.
    Eq(String),
    /// It is one of these, or a member of one.
    In(Vec<String>),
}

impl Statement {
    /// Reads a rule that was parsed from a text.
    #[must_use]
    pub fn of(rule: &Policy, text: &str) -> Self {
        let id = |action: &EntityUid| action.id().unescaped().to_owned();
        Self {
            annotations: rule
                .annotations()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            effect: rule.effect(),
            principal: rule.principal_constraint().into(),
            action: match rule.action_constraint() {
                ActionConstraint::Any => ActionScope::Any,
                ActionConstraint::Eq(action) => ActionScope::Eq(id(&action)),
                ActionConstraint::In(actions) => ActionScope::In(actions.iter().map(id).collect()),
            },
            resource: rule.resource_constraint().into(),
            conditions: conditions(text),
        }
    }

    /// The statement as a text. Whether it is a rule, only Cedar can say: conditions are taken as they are.
    #[must_use]
    pub fn to_text(&self) -> String {
        let annotation = |(name, value): (&String, &String)| format!("@{name}({})\n", quoted(value));
        let annotations: Vec<String> = self.annotations.iter().map(annotation).collect();
        let action = |id: &String| format!("Action::{}", quoted(id));
        let action = match &self.action {
            ActionScope::Any => "action".to_owned(),
            ActionScope::Eq(id) => format!("action == {}", action(id)),
            ActionScope::In(ids) => match ids.as_slice() {
                [id] => format!("action in {}", action(id)),
                ids => format!("action in [{}]", ids.iter().map(action).collect::<Vec<_>>().join(", ")),
            },
        };
        let (effect, principal, resource) = (
            effect_name(self.effect),
            self.principal.to_text("principal"),
            self.resource.to_text("resource"),
        );
        let conditions = self
            .conditions
            .as_ref()
            .map_or_else(String::new, |conditions| format!("\n{conditions}"));
        // Conditions may end with a comment, which must not swallow the end of the statement.
        let end = if conditions.rsplit('\n').next().is_some_and(|line| line.contains("//")) {
            "\n;"
        } else {
            ";"
        };
        let annotations = annotations.concat();
        format!("{annotations}{effect} (\n  {principal},\n  {action},\n  {resource}\n){conditions}{end}")
    }
}

impl Scope {
    /// The constraint as a text, on the variable of this name.
    pub(super) fn to_text(&self, of: &str) -> String {
        match self {
            Self::Any => of.to_owned(),
            Self::Eq(entity) => format!("{of} == {entity}"),
            Self::In(entity) => format!("{of} in {entity}"),
            Self::Is(of_type) => format!("{of} is {of_type}"),
            Self::IsIn(of_type, entity) => format!("{of} is {of_type} in {entity}"),
        }
    }
}

/// `permit` or `forbid`.
const fn effect_name(effect: Effect) -> &'static str {
    match effect {
        Effect::Permit => "permit",
        Effect::Forbid => "forbid",
    }
}

/// A text in quotes, as Cedar writes it.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.escape_debug())
}

/// What stands between the scope of a statement and its end: what follows the last bracket that closes before the
/// first brace. The text is known to parse, so that only strings and comments have to be told from the rest.
#[must_use]
pub fn conditions(text: &str) -> Option<String> {
    let (mut depth, mut begin) = (0_usize, 0);
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
            '(' => depth += 1,
            ')' => {
                depth = depth.saturating_sub(1);
                begin = at + 1;
            }
            '{' if depth == 0 => break,
            _ => {}
        }
    }
    let clauses = text.get(begin..)?.trim();
    let clauses = clauses.strip_suffix(';').unwrap_or(clauses).trim_end();
    (!clauses.is_empty()).then(|| clauses.to_owned())
}

#[cfg(test)]
mod tests {
    use super::conditions;

    #[test]
    fn conditions_are_what_follows_the_scope() {
        for (text, expected) in [
            ("permit(principal, action, resource);", None),
            ("permit (principal, action, resource) ;", None),
            (
                "forbid(principal, action, resource) when { true };",
                Some("when { true }"),
            ),
            (
                "@notice(\"Don't (ever) \\\" permit( it\")\nforbid (\n  principal, // all of (them\n  action,\n  \
                 resource\n)\nwhen { principal has name }\nunless { context.ip == \")\" };",
                Some("when { principal has name }\nunless { context.ip == \")\" }"),
            ),
            (
                "@permit(\"x\") @ permit (\"y\") permit(principal, action, resource) unless { false };",
                Some("unless { false }"),
            ),
            (
                "// permit(\npermit(principal, action in [Action::\"a\"], resource) when { (1 + 1) == 2 };",
                Some("when { (1 + 1) == 2 }"),
            ),
        ] {
            assert_eq!(conditions(text).as_deref(), expected, "{text}");
        }
    }
}
