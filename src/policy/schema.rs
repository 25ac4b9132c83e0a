//! The Cedar schema, which is part of the program: parsed once, and wrong only if the program is wrong, which a test finds
//! out.

use std::{collections::HashSet, sync::LazyLock};

use cedar_policy::{Entity, EntityId, EntityTypeName, EntityUid, Schema, SchemaFragment, Validator};
use serde_json::{Map, Value};

use crate::types::{actions::Action, scopes::Scope};

/// The schema as its authors wrote it.
pub const SCHEMA_TEXT: &str = include_str!("../../spec/aka.cedarschema");

/// The schema.
pub static SCHEMA: LazyLock<Schema> = LazyLock::new(|| match Schema::from_cedarschema_str(SCHEMA_TEXT) {
    Ok((schema, _)) => schema,
    Err(error) => unreachable!("spec/aka.cedarschema is checked by a test: {error:?}"),
});

/// The schema as programs read it.
pub static SCHEMA_JSON: LazyLock<Map<String, Value>> = LazyLock::new(|| {
    let read = SchemaFragment::from_cedarschema_str(SCHEMA_TEXT).ok();
    match read.and_then(|(fragment, _)| fragment.to_json_value().ok()) {
        Some(Value::Object(members)) => members,
        _ => unreachable!("spec/aka.cedarschema is checked by a test"),
    }
});

/// Checks rules against the schema.
pub static VALIDATOR: LazyLock<Validator> = LazyLock::new(|| Validator::new(SCHEMA.clone()));

/// The types of entities, each under its name in the schema.
#[expect(missing_docs, reason = "the schema says what each is")]
pub struct TypeNames {
    pub api_key: EntityTypeName,
    pub user: EntityTypeName,
    pub subject: EntityTypeName,
    pub scope: EntityTypeName,
    pub role: EntityTypeName,
    pub group: EntityTypeName,
    pub tenant: EntityTypeName,
    pub identity_provider: EntityTypeName,
    pub policy: EntityTypeName,
    pub action: EntityTypeName,
}

/// The types of entities, parsed once.
pub static TYPES: LazyLock<TypeNames> = LazyLock::new(|| {
    let name = |text: &str| match text.parse() {
        Ok(name) => name,
        Err(_) => unreachable!("{text} is the name of a type"),
    };
    TypeNames {
        api_key: name("ApiKey"),
        user: name("User"),
        subject: name("Subject"),
        scope: name("Scope"),
        role: name("Role"),
        group: name("Group"),
        tenant: name("Tenant"),
        identity_provider: name("IdentityProvider"),
        policy: name("Policy"),
        action: name("Action"),
    }
});

/// An entity's name: its type and its id.
#[must_use]
pub fn uid(type_name: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(type_name.clone(), EntityId::new(id))
}

/// The entities of the actions, each in its group, in the order of [`Action::ALL`].
static ACTIONS: LazyLock<Vec<(EntityUid, Entity)>> = LazyLock::new(|| {
    let entity = |action: &Action| {
        let name = uid(&TYPES.action, action.as_str());
        let group = uid(&TYPES.action, action.scope().as_str());
        (name.clone(), Entity::new_no_attrs(name, HashSet::from([group])))
    };
    Action::ALL.iter().map(entity).collect()
});

/// The entity of an action.
#[must_use]
pub fn action_entity(action: Action) -> &'static (EntityUid, Entity) {
    // The list has an entry for each action, in the order of their numbers.
    &ACTIONS[action as usize]
}

/// The entity's name of a scope.
#[must_use]
pub fn scope_uid(scope: Scope) -> EntityUid {
    uid(&TYPES.scope, scope.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_has_exactly_the_actions_and_groups_of_the_program() {
        let names = |uids: Vec<EntityUid>| {
            let mut names: Vec<_> = uids.iter().map(|uid| uid.id().unescaped().to_owned()).collect();
            names.sort();
            names
        };
        let mut expected: Vec<_> = Action::ALL.iter().map(|a| a.as_str().to_owned()).collect();
        expected.extend(Scope::ALL.iter().map(|s| s.as_str().to_owned()));
        expected.sort();
        assert_eq!(names(SCHEMA.actions().cloned().collect()), expected);
        for action in Action::ALL {
            let (name, entity) = action_entity(*action);
            assert_eq!(&entity.uid(), name);
            assert_eq!(name.id().unescaped(), action.as_str());
        }
    }
}
