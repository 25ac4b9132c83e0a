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
//! are never looked at here; a level full of rules without a scope is as slow as it is in Cedar.

use std::collections::HashMap;

use cedar_policy::{Entities, EntityTypeName, EntityUid, Policy, PolicySet};

use super::{rules::Rule, statement::Scope};

/// Up to how many entities are compared one by one. It is faster than to look up everything that a principal is a
/// member of, which is a dozen scopes and some roles.
const FEW: usize = 6;

/// Rules by what they name as principal, and among these by what they name as resource.
pub(super) struct Groups(ByScope<ByScope<PolicySet>>);

impl Groups {
    pub(super) fn new(rules: &[&Rule]) -> Self {
        let mut groups: ByScope<ByScope<PolicySet>> = ByScope::default();
        for rule in rules {
            let statement = &rule.statement;
            let (principal, resource) = (statement.principal_constraint(), statement.resource_constraint());
            let group = groups.place(principal.into()).place(resource.into());
            // Ids are unique: primary keys of the rules' table, or checked by the test of the built-in ones.
            if let Err(error) = group.add(Policy::clone(statement)) {
                unreachable!("{error}");
            }
        }
        Self(groups)
    }

    /// The groups whose rules can apply to a principal and a resource.
    pub(super) fn reached<'a>(
        &'a self,
        principal: &EntityUid,
        resource: &EntityUid,
        entities: &Entities,
    ) -> impl Iterator<Item = &'a PolicySet> {
        let of_principal = self.0.reached(principal, entities);
        of_principal
            .into_iter()
            .flat_map(move |of_resource| of_resource.reached(resource, entities))
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
