//! One question: whether somebody may do something.

use cedar_policy::{Context, Entities, Entity, EntityUid, Request};

use super::schema::{SCHEMA, action_entity};
use crate::types::actions::Action;

/// What is asked.
#[derive(Clone)]
pub struct Query<'a> {
    /// Who.
    pub principal: &'a EntityUid,
    /// Does what.
    pub action: Action,
    /// To what.
    pub resource: EntityUid,
    /// In which circumstances.
    pub context: Context,
    /// The entities that the rules may look at.
    pub entities: Vec<Entity>,
}

impl Query<'_> {
    /// Whether its parts go together by the schema.
    ///
    /// # Errors
    ///
    /// What does not, in Cedar's words.
    pub fn check(&self) -> Result<(), String> {
        let action = action_entity(self.action).0.clone();
        let (principal, resource, context) = (self.principal.clone(), self.resource.clone(), self.context.clone());
        let request = Request::new(principal, action, resource, context, Some(&SCHEMA));
        request.map(|_| ()).map_err(|error| error.to_string())
    }
}

/// A question in Cedar's terms.
pub(super) struct CedarQuery {
    pub(super) request: Request,
    pub(super) entities: Entities,
}

impl CedarQuery {
    /// What is wrong is told without Cedar's own words, which name entities: those of some subjects are addresses.
    pub(super) fn new(query: Query<'_>) -> Result<Self, &'static str> {
        let (action, action_entity) = action_entity(query.action);
        let mut entities = query.entities;
        entities.push(action_entity.clone());
        let principal = query.principal.clone();
        let request = Request::new(principal, action.clone(), query.resource, query.context, None);
        Ok(Self {
            request: request.map_err(|_| "principal, action, resource and context do not go together")?,
            entities: Entities::from_entities(entities, None).map_err(|_| "two entities contradict one another")?,
        })
    }
}
