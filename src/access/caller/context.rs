//! The context of a decision: what a request brings beside who asks for what.

use std::borrow::Cow;

use cedar_policy::{Context, Entity, RestrictedExpression};
use serde_json::{Map, Value};

use crate::types::actions::Action;

/// What a decision may look at beside principal, action and resource.
#[derive(Default)]
pub struct PolicyContext {
    /// The context, member by member.
    pub context: Vec<(Cow<'static, str>, RestrictedExpression)>,
    /// The entities that the context names.
    pub named: Vec<Entity>,
}

impl PolicyContext {
    /// A context that names no entities.
    #[must_use]
    pub fn of(context: impl IntoIterator<Item = (&'static str, RestrictedExpression)>) -> Self {
        Self {
            context: context.into_iter().map(|(name, value)| (name.into(), value)).collect(),
            named: Vec::new(),
        }
    }
}

/// What became of the context that a request can be decided in.
pub(super) enum ContextState<F> {
    /// The decision was made in it.
    Context(Context),
    /// The decision did not need it, so that it has not been made.
    NotNeeded(F),
}

impl<F: FnOnce() -> PolicyContext> ContextState<F> {
    /// The context, as a question to policy has it.
    pub(super) fn into_json(self) -> Map<String, Value> {
        let context = match self {
            Self::Context(context) => context,
            Self::NotNeeded(make) => context(make().context),
        };
        let Ok(Value::Object(mut members)) = context.to_json_value() else {
            return Map::new();
        };
        for value in members.values_mut() {
            if let Some(id) = value.pointer("/__entity/id").cloned() {
                *value = id;
            }
        }
        members
    }
}

/// A context of these members.
pub(super) fn context(members: Vec<(Cow<'static, str>, RestrictedExpression)>) -> Context {
    let members = members.into_iter().map(|(name, value)| (name.into_owned(), value));
    // Only a doubled name or a call of an extension function can fail, and there are none.
    Context::from_pairs(members).unwrap_or_else(|_| Context::empty())
}

/// Whether the context of an action was not sent by the caller, but says how the resource is.
pub(super) const fn context_is_of_resource(action: Action) -> bool {
    matches!(
        action,
        Action::GetUserIdentity
            | Action::DeleteUserIdentity
            | Action::GetIdentity
            | Action::UpdateIdentity
            | Action::RotateApiKey
    )
}

/// Whether the audit entry of an action keeps the context. Those that are left out say who somebody is, and what they say
/// is in the row that the entry names. Reading is not recorded at all.
pub(super) fn keeps_context(action: Action) -> bool {
    let personal = matches!(
        action,
        Action::CreateUserIdentity | Action::UpdateIdentity | Action::CreateUser
    );
    action.scope().changes() && !personal
}
