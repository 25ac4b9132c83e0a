//! Many rules, arranged so that a decision looks only at those that can apply.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use cedar_policy::{ActionConstraint, Entities, EntityUid, PolicyId};

use super::Rule;
use crate::{
    policy::groups::{Chunk, Groups},
    types::{actions::Action, scopes::Scope},
};

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
    named: Vec<Arc<RulesForAction>>,
}

/// Levels of rules, sliced by action: for each action its levels, from the highest down, without the empty ones.
pub struct RuleSet {
    slices: Vec<Vec<Slice>>,
    looks_at: Vec<LooksAtByBinding>,
}

/// What decisions on an action look at: those on API keys that are bound to a provider, and those on all others.
#[derive(Clone, Copy)]
struct LooksAtByBinding {
    bound: LooksAt,
    others: LooksAt,
}

/// What decisions look at.
#[derive(Clone, Copy)]
struct LooksAt {
    /// Attributes or groups of the resource.
    resource: bool,
    /// Nothing but who acts.
    only_principal: bool,
}

impl LooksAt {
    const NOTHING: Self = Self {
        resource: false,
        only_principal: true,
    };

    const fn of(rule: &Rule) -> Self {
        Self {
            resource: rule.needs_resource,
            only_principal: rule.only_principal,
        }
    }

    const fn and(self, other: Self) -> Self {
        Self {
            resource: self.resource || other.resource,
            only_principal: self.only_principal && other.only_principal,
        }
    }
}

impl LooksAtByBinding {
    fn of<'a>(rules: impl Iterator<Item = &'a Rule>) -> Self {
        let nothing = Self {
            bound: LooksAt::NOTHING,
            others: LooksAt::NOTHING,
        };
        rules.fold(nothing, |all, rule| Self {
            bound: all.bound.and(LooksAt::of(rule)),
            others: if rule.of_bound_keys {
                all.others
            } else {
                all.others.and(LooksAt::of(rule))
            },
        })
    }

    const fn and(self, other: Self) -> Self {
        Self {
            bound: self.bound.and(other.bound),
            others: self.others.and(other.others),
        }
    }
}

impl RuleSet {
    /// Arranges the rules of a tenant's policies, each with its priority. Policies of one priority are one level.
    ///
    /// # Errors
    ///
    /// Where two rules of one priority have the same id.
    pub fn of_policies<R>(policies: impl IntoIterator<Item = (i32, R)>) -> Result<Self, DuplicateRule>
    where
        R: IntoIterator<Item = Rule>,
    {
        let mut levels: BTreeMap<Reverse<i32>, Vec<Rule>> = BTreeMap::new();
        for (priority, rules) in policies {
            levels.entry(Reverse(priority)).or_default().extend(rules);
        }
        let levels: Vec<Level> = levels
            .into_iter()
            .map(|(Reverse(priority), rules)| Level {
                priority: Some(priority),
                rules,
            })
            .collect();
        Self::new(&levels)
    }

    /// Arranges levels, which come from the highest down.
    ///
    /// # Errors
    ///
    /// Where two rules of a level have the same id.
    pub fn new(levels: &[Level]) -> Result<Self, DuplicateRule> {
        let levels = levels.iter().map(LevelByAction::new).collect::<Result<Vec<_>, _>>()?;
        let of_action = |action: &Action| levels.iter().filter_map(|level| level.slice(*action)).collect();
        let slices: Vec<Vec<Slice>> = Action::ALL.iter().map(of_action).collect();
        let looks_at = |slices: &Vec<Slice>| {
            let named = slices.iter().flat_map(|slice| &slice.named);
            named.fold(LooksAtByBinding::of([].into_iter()), |all, named| {
                all.and(named.looks_at)
            })
        };
        Ok(Self {
            looks_at: slices.iter().map(looks_at).collect(),
            slices,
        })
    }

    /// The levels with rules that can apply to an action, from the highest down.
    #[must_use]
    pub fn slices(&self, action: Action) -> &[Slice] {
        // One entry an action, in the order of their numbers.
        &self.slices[action as usize]
    }

    /// Whether nothing but the principal determines a decision on this action; of an API key that is bound to a provider,
    /// or of another credential.
    #[must_use]
    pub fn only_principal(&self, action: Action, bound: bool) -> bool {
        self.looks_at(action, bound).only_principal
    }

    /// Whether a decision on this action looks at attributes of the resource; of an API key that is bound to a provider,
    /// or of another credential.
    #[must_use]
    pub fn needs_resource(&self, action: Action, bound: bool) -> bool {
        self.looks_at(action, bound).resource
    }

    fn looks_at(&self, action: Action, bound: bool) -> LooksAt {
        let looks_at = self.looks_at[action as usize];
        if bound { looks_at.bound } else { looks_at.others }
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
    pub(in crate::policy) fn reached<'a>(
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
enum NamedAction {
    Nothing,
    Action(Action),
    Group(Scope),
}

impl NamedAction {
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
struct RulesForAction {
    /// By their ids.
    rules: BTreeMap<PolicyId, Rule>,
    /// The same for Cedar.
    groups: Groups,
    looks_at: LooksAtByBinding,
}

impl RulesForAction {
    fn new(rules: BTreeMap<PolicyId, Rule>) -> Result<Self, DuplicateRule> {
        Ok(Self {
            groups: Groups::new(rules.values())?,
            looks_at: LooksAtByBinding::of(rules.values()),
            rules,
        })
    }
}

/// The rules of a level by what they name as action. The actions share them: a rule for every action is kept once.
struct LevelByAction {
    priority: Option<i32>,
    named: HashMap<NamedAction, Arc<RulesForAction>>,
}

impl LevelByAction {
    fn new(level: &Level) -> Result<Self, DuplicateRule> {
        let mut rules: HashMap<NamedAction, BTreeMap<PolicyId, Rule>> = HashMap::new();
        for rule in &level.rules {
            let id = rule.statement.id();
            for named in NamedAction::all_of(rule) {
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
            .map(|(named, rules)| Ok((named, Arc::new(RulesForAction::new(rules)?))));
        Ok(Self {
            priority: level.priority,
            named: named.collect::<Result<_, DuplicateRule>>()?,
        })
    }

    fn slice(&self, action: Action) -> Option<Slice> {
        let named = NamedAction::concerning(action);
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
