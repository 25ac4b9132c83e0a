//! What may go into a hypothetical decision?
//!
//! Who may ask policy questions (`policies:read`) chooses the rules, or whom they are asked about. With a rule like
//! `resource.email like "a*"` each answer would tell something of a user whom they may not read. So facts of users, keys,
//! providers and identities enter a hypothetical decision only for a caller who may read them there and then, which is for
//! policy to decide. Of themselves everybody may know.

use std::collections::HashMap;

use super::caller::{Caller, PolicyContext, Target};
use crate::{
    store::{Store, StoreError},
    types::{actions::Action, ids::TenantId},
};

/// What a caller may read. Each is decided once.
pub struct Readable<'a> {
    store: &'a Store,
    caller: &'a Caller,
    decided: HashMap<String, bool>,
}

impl<'a> Readable<'a> {
    /// What this caller may read.
    #[must_use]
    pub fn by(store: &'a Store, caller: &'a Caller) -> Self {
        Self {
            store,
            caller,
            decided: HashMap::new(),
        }
    }

    /// The tenant in which that is.
    #[must_use]
    pub fn tenant(&self) -> TenantId {
        self.caller.tenant_id()
    }

    /// Whether the caller may read what rules can look at of something.
    ///
    /// # Errors
    ///
    /// Where the store cannot be asked.
    pub async fn has(&mut self, target: Target) -> Result<bool, StoreError> {
        match target.read_by() {
            Some(_) if self.caller.is(target) => Ok(true),
            Some(action) => self.decide(action, target, PolicyContext::default).await,
            None => Ok(true),
        }
    }

    /// Whether the caller may read the identities of a user.
    ///
    /// # Errors
    ///
    /// Where the store cannot be asked.
    pub async fn has_identities(&mut self, user: Target) -> Result<bool, StoreError> {
        self.decide(Action::ListUserIdentities, user, PolicyContext::default)
            .await
    }

    async fn decide(
        &mut self,
        action: Action,
        target: Target,
        context: fn() -> PolicyContext,
    ) -> Result<bool, StoreError> {
        let question = format!("{action} {}", target.name(self.caller.tenant_id()));
        if let Some(decided) = self.decided.get(&question) {
            return Ok(*decided);
        }
        let decided = self.caller.could(self.store, action, target, context).await?;
        self.decided.insert(question, decided);
        Ok(decided)
    }
}
