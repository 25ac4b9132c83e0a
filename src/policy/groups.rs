//! The rules of one level in groups, so that a decision looks only at those whose scope it can meet.
//!
//! Cedar evaluates every rule of a set, one after the other, and most rules of a large tenant name somebody else. What a
//! rule names in its scope is known beforehand: an entity (`==`, `in`), a type (`is`), or nothing. Rules that name the
//! same stand in one group, a set of its own. A decision asks the groups that name nothing, its principal's type, its
//! principal, or whatever its principal is a member of; and of these, those that name the like of its resource. A rule
//! in any other group has a scope that the request does not meet, so that Cedar would not even look at its conditions:
//! leaving it out changes neither the outcome nor the errors.
//!
//! What the groups answer is put together as Cedar does it inside a set: see [`super::decide`]. The conditions of a rule
//! are never looked at here; a level full of rules without a scope is as slow as it is in Cedar. But a group is kept in
//! chunks of bounded cost, so that whoever evaluates it can look at the clock between them.

use std::collections::HashMap;

use cedar_policy::{Entities, EntityTypeName, EntityUid, Policy, PolicyId, PolicySet};

use super::{
    rules::{DuplicateRule, Rule},
    statement::Scope,
};

/// Up to how many entities are compared one by one. It is faster than to look up everything that a principal is a
/// member of, which is a dozen scopes and some roles.
const FEW: usize = 6;

/// What the rules of a chunk cost together, unless one of them alone costs more: a fifth of a millisecond.
const CHUNK_COST: u64 = 200_000;

/// Rules that are evaluated together.
pub(super) struct Chunk {
    /// The rules.
    pub(super) set: PolicySet,
    /// What evaluating all of them costs at worst.
    pub(super) cost: u64,
    /// The one that costs most, and its cost.
    pub(super) most_expensive: (PolicyId, u64),
}

/// Rules by what they name as principal, and among these by what they name as resource.
pub(super) struct Groups(ByScope<ByScope<Vec<Chunk>>>);

impl Groups {
    pub(super) fn new<'a>(rules: impl Iterator<Item = &'a Rule>) -> Result<Self, DuplicateRule> {
        let mut groups: ByScope<ByScope<Vec<Chunk>>> = ByScope::default();
        for rule in rules {
            let statement = &rule.statement;
            let (principal, resource) = (statement.principal_constraint(), statement.resource_constraint());
            let chunks = groups.place(principal.into()).place(resource.into());
            let (id, cost) = (statement.id(), rule.weight.cost);
            let has_room = |last: &Chunk| last.cost.saturating_add(cost) <= CHUNK_COST;
            if !chunks.last().is_some_and(has_room) {
                chunks.push(Chunk {
                    set: PolicySet::new(),
                    cost: 0,
                    most_expensive: (id.clone(), cost),
                });
            }
            let Some(chunk) = chunks.last_mut() else { continue };
            let added = chunk.set.add(Policy::clone(statement));
            added.map_err(|_| DuplicateRule(id.clone()))?;
            chunk.cost = chunk.cost.saturating_add(cost);
            if cost > chunk.most_expensive.1 {
                chunk.most_expensive = (id.clone(), cost);
            }
        }
        Ok(Self(groups))
    }

    /// The chunks of the groups whose rules can apply to a principal and a resource.
    pub(super) fn reached<'a>(
        &'a self,
        principal: &EntityUid,
        resource: &EntityUid,
        entities: &Entities,
    ) -> impl Iterator<Item = &'a Chunk> {
        let of_principal = self.0.reached(principal, entities);
        of_principal
            .into_iter()
            .flat_map(move |of_resource| of_resource.reached(resource, entities))
            .flatten()
    }
}

/// Values by what they are for: anything, any entity of a type, or an entity and its members.
struct ByScope<T> {
    any: Option<T>,
    types: HashMap<EntityTypeName, T>,
    entities: HashMap<EntityUid, T>,
}

impl<T> Default for ByScope<T> {
    fn default() -> Self {
        Self {
            any: None,
            types: HashMap::new(),
            entities: HashMap::new(),
        }
    }
}

impl<T: Default> ByScope<T> {
    /// The value for a scope, an empty one if need be.
    fn place(&mut self, scope: Scope) -> &mut T {
        match scope {
            Scope::Any => self.any.get_or_insert_default(),
            Scope::Is(of_type) => self.types.entry(of_type).or_default(),
            // To be the entity is one way of being in it, and so is being of some type besides: Cedar tells these apart.
            Scope::Eq(entity) | Scope::In(entity) | Scope::IsIn(_, entity) => self.entities.entry(entity).or_default(),
        }
    }

    /// The values for all scopes that an entity can meet.
    fn reached(&self, entity: &EntityUid, known: &Entities) -> Vec<&T> {
        let mut reached: Vec<&T> = self.any.iter().collect();
        reached.extend(self.types.get(entity.type_name()));
        if self.entities.len() <= FEW {
            let named = self.entities.iter();
            let meets = |one: &EntityUid| one == entity || known.is_ancestor_of(one, entity);
            reached.extend(named.filter_map(|(one, value)| meets(one).then_some(value)));
        } else {
            reached.extend(self.entities.get(entity));
            let ancestors = known.ancestors(entity).into_iter().flatten();
            reached.extend(ancestors.filter_map(|ancestor| self.entities.get(ancestor)));
        }
        reached
    }
}
