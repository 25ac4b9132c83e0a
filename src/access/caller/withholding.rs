//! What a refusal does not tell: the values of what the caller may not read.
//!
//! Whether the caller may read something is again for policy to decide, so that this asks for decisions of its own.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{Caller, context::context_is_of_resource, target::Target};
use crate::{
    access::readable::Readable,
    policy::Decision,
    store::{Store, StoreError},
    types::actions::Action,
};

impl Caller {
    /// A refusal without the values that its rules saw in what the caller may not read.
    pub(super) async fn withhold(
        &self,
        store: &Store,
        action: Action,
        target: Target,
        mut decision: Arc<Decision>,
        context: &Map<String, Value>,
    ) -> Result<Arc<Decision>, StoreError> {
        const PROVIDER: &str = "identity_provider";
        let explanations = &decision.explanations;
        let clauses = explanations.iter().flat_map(|explanation| &explanation.unsatisfied);
        let paths: Vec<&str> = clauses
            .flat_map(|clause| clause.values.iter().map(|(path, _)| path.as_str()))
            .collect();
        let looks_at = |what: &str| paths.iter().any(|path| ClausePath::new(path).is_of(what));
        let provider = context.get(PROVIDER).and_then(|id| id.as_str()?.parse().ok());
        let mut readable = Readable::by(store, self);
        // What was asked for is refused already: it need not be asked for again.
        let resource_is_withheld = looks_at("resource")
            && (target.read_by() == Some(action) && !self.is(target) || !readable.has(target).await?);
        let provider_is_withheld = match provider.map(Target::IdentityProvider) {
            Some(provider) if looks_at("context") => !readable.has(provider).await?,
            _ => false,
        };
        let context_is_withheld = looks_at("context") && context_is_of_resource(action) && !self.is(target);
        if !(resource_is_withheld || provider_is_withheld || context_is_withheld) {
            return Ok(decision);
        }
        let explanations = &mut Arc::make_mut(&mut decision).explanations;
        let clauses = explanations
            .iter_mut()
            .flat_map(|explanation| &mut explanation.unsatisfied);
        for (path, value) in clauses.flat_map(|clause| &mut clause.values) {
            let path = ClausePath::new(path);
            let withheld = (resource_is_withheld && path.is_of("resource"))
                || (context_is_withheld && path.is_of("context"))
                || (provider_is_withheld && path.is_inside("context", PROVIDER));
            if withheld {
                WITHHELD.clone_into(value);
            }
        }
        Ok(decision)
    }
}

/// In place of a value that the caller may not read. Values are written as Cedar writes them, a text in quotation marks.
const WITHHELD: &str = "withheld";

/// What a clause looks at: `resource.email`.
struct ClausePath<'a>(Vec<&'a str>);

impl<'a> ClausePath<'a> {
    fn new(path: &'a str) -> Self {
        Self(path.split('.').collect())
    }

    fn is_of(&self, variable: &str) -> bool {
        self.0.first() == Some(&variable)
    }

    /// Whether it is an attribute of an entity that is a member of a variable.
    fn is_inside(&self, variable: &str, member: &str) -> bool {
        self.is_of(variable) && self.0.get(1) == Some(&member) && self.0.len() > 2
    }
}
