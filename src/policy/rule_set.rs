//! Many rules, arranged so that a decision looks only at those that can apply.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use cedar_policy::{ActionConstraint, Entities, EntityUid, PolicyId};

use super::{
    action::Action,
    groups::{Chunk, Groups},
    rules::Rule,
};
use crate::domain::scopes::Scope;

/// Rules of one priority.
pub struct Level {
    /// Absent: a built-in level.
    pub priority: Option<i32>,
    /// The rules.
    pub rules: Vec<Rule>,
}

/// Two rules of one level have the same id.
#[derive(Debug, thiserror::Error)]
#[error("two rules have the id {0}")]
pub struct DuplicateRule(pub PolicyId);

/// The rules of one level that can apply to one action.
pub struct Slice {
    /// The priority of the level; absent for a built-in level.
    pub priority: Option<i32>,
    named: Vec<Arc<OfName>>,
}

/// Levels of rules, sliced by action: for each action its levels, from the highest down, without the empty ones.
pub struct RuleSet {
    slices: Vec<Vec<Slice>>,
    needs_resource: Vec<bool>,
    only_principal: Vec<bool>,
}

impl RuleSet {
    /// Arranges levels, which come from the highest down.
    ///
    /// # Errors
    ///
    /// Where two rules of a level have the same id.
    pub fn new(levels: &[Level]) -> Result<Self, DuplicateRule> {
        let levels = levels.iter().map(Sorted::new).collect::<Result<Vec<_>, _>>()?;
        let of_action = |action: &Action| levels.iter().filter_map(|level| level.slice(*action)).collect();
        let slices: Vec<Vec<Slice>> = Action::ALL.iter().map(of_action).collect();
        let any = |slices: &[Slice], what: fn(&OfName) -> bool| {
            slices.iter().flat_map(|slice| &slice.named).any(|named| what(named))
        };
        Ok(Self {
            needs_resource: slices
                .iter()
                .map(|slices| any(slices, |named| named.needs_resource))
                .collect(),
            only_principal: slices
                .iter()
                .map(|slices| !any(slices, |named| !named.only_principal))
                .collect(),
            slices,
        })
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
    /// The rules, each once.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        let named = self.named.iter().enumerate();
        named.flat_map(|(place, named)| {
            let before = &self.named[..place];
            // A rule that names an action and its group is kept under both.
            let new = |id: &PolicyId| !before.iter().any(|other| other.rules.contains_key(id));
            named.rules.iter().filter_map(move |(id, rule)| new(id).then_some(rule))
        })
    }

    /// The rule with an id.
    #[must_use]
    pub fn rule(&self, id: &PolicyId) -> Option<&Rule> {
        self.named.iter().find_map(|named| named.rules.get(id))
    }

    /// The sets of rules that can apply to a principal and a resource.
    pub(super) fn reached<'a>(
        &'a self,
        principal: &EntityUid,
        resource: &EntityUid,
        entities: &Entities,
    ) -> impl Iterator<Item = &'a Chunk> {
        let groups = self.named.iter().map(|named| &named.groups);
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

    /// What a rule names.
    fn all_of(rule: &Rule) -> HashSet<Self> {
        let id = |name: &EntityUid| name.id().unescaped().to_owned();
        match rule.statement.action_constraint() {
            ActionConstraint::Any => HashSet::from([Self::Nothing]),
            ActionConstraint::Eq(name) => id(&name).parse().map(Self::Action).into_iter().collect(),
            ActionConstraint::In(names) => {
                let action_or_group = |name| {
                    let id = id(name);
                    id.parse().map(Self::Action).or_else(|_| id.parse().map(Self::Group))
                };
                names.iter().flat_map(action_or_group).collect()
            }
        }
    }
}

/// The rules of a level that name the same as action.
struct OfName {
    /// By their ids.
    rules: BTreeMap<PolicyId, Rule>,
    /// The same for Cedar.
    groups: Groups,
    needs_resource: bool,
    only_principal: bool,
}

impl OfName {
    fn new(rules: BTreeMap<PolicyId, Rule>) -> Result<Self, DuplicateRule> {
        Ok(Self {
            groups: Groups::new(rules.values())?,
            needs_resource: rules.values().any(|rule| rule.needs_resource),
            only_principal: rules.values().all(|rule| rule.only_principal),
            rules,
        })
    }
}

/// The rules of a level by what they name as action. The actions share them: a rule for every action is kept once.
struct Sorted {
    priority: Option<i32>,
    named: HashMap<Named, Arc<OfName>>,
}

impl Sorted {
    fn new(level: &Level) -> Result<Self, DuplicateRule> {
        let mut rules: HashMap<Named, BTreeMap<PolicyId, Rule>> = HashMap::new();
        for rule in &level.rules {
            let id = rule.statement.id();
            for named in Named::all_of(rule) {
                if rules
                    .entry(named)
                    .or_default()
                    .insert(id.clone(), rule.clone())
                    .is_some()
                {
                    return Err(DuplicateRule(id.clone()));
                }
            }
        }
        let named = rules
            .into_iter()
            .map(|(named, rules)| Ok((named, Arc::new(OfName::new(rules)?))));
        Ok(Self {
            priority: level.priority,
            named: named.collect::<Result<_, DuplicateRule>>()?,
        })
    }

    fn slice(&self, action: Action) -> Option<Slice> {
        let named = Named::concerning(action);
        let named: Vec<_> = named
            .iter()
            .filter_map(|named| self.named.get(named))
            .cloned()
            .collect();
        (!named.is_empty()).then_some(Slice {
            priority: self.priority,
            named,
        })
    }
}
