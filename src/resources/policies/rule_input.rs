//! Rules as callers send them: as a statement, or by its parts.

use cedar_policy::{Effect, EntityId, EntityTypeName, EntityUid};
use poem_openapi::{Object, types::MaybeUndefined};
use serde::Deserialize;

use super::errors::invalid_rule;
use super::rule_wire::{ActionScopeType, ScopeType};
use crate::{
    http::{
        error::{Error, InputLocation},
        explanation::EffectName,
    },
    policy::{
        rules::{CheckedRule, MAX_RULE_BYTES, RuleError, check_rule, parse_text},
        statement::{ActionScope, Scope, Statement},
    },
    types::text::Description,
};

/// A rule that is to be added to a policy, or what is to change of one: as a statement, or by its parts. Where both are
/// given they must say the same.
#[derive(Debug, Object, Deserialize)]
#[oai(deny_unknown_fields)]
#[serde(deny_unknown_fields)]
pub struct PolicyRuleInput {
    /// One Cedar statement. Checked against the Cedar schema.
    #[oai(nullable, validator(min_length = 1, max_length = 16384))]
    pub policy_text: Option<String>,
    /// Whether the rule permits or forbids. Needed where there is no `policy_text` and the rule is new.
    #[oai(nullable)]
    pub effect: Option<EffectName>,
    /// How the rule restricts the principal. Absent: not at all, or as before.
    #[oai(nullable)]
    pub principal_scope_type: Option<ScopeType>,
    /// The type of entity of the principal's scope.
    #[oai(nullable)]
    pub principal_entity_type: Option<String>,
    /// The id of the entity of the principal's scope; for `is_in` the whole entity, as in `Scope::"users:read"`.
    #[oai(nullable)]
    pub principal_entity_id: Option<String>,
    /// How the rule restricts the action. Absent: not at all, or as before.
    #[oai(nullable)]
    pub action_scope_type: Option<ActionScopeType>,
    /// The actions, or groups of actions: operation ids and names of scopes.
    #[oai(nullable, validator(max_items = 100))]
    pub action_ids: Option<Vec<String>>,
    /// How the rule restricts the resource. Absent: not at all, or as before.
    #[oai(nullable)]
    pub resource_scope_type: Option<ScopeType>,
    /// The type of entity of the resource's scope.
    #[oai(nullable)]
    pub resource_entity_type: Option<String>,
    /// The id of the entity of the resource's scope; for `is_in` the whole entity.
    #[oai(nullable)]
    pub resource_entity_id: Option<String>,
    /// `when` and `unless` clauses, as Cedar writes them. Null removes them.
    #[serde(default)]
    pub conditions: MaybeUndefined<String>,
    /// What a caller is to read in `notices` when this rule determined the decision. It goes before the `@notice` of
    /// the statement. Null removes it.
    #[serde(default)]
    pub notice: MaybeUndefined<Description>,
}

impl PolicyRuleInput {
    /// Whether any part of the statement is given.
    pub(super) fn has_parts(&self) -> bool {
        self.effect.is_some()
            || self.principal_scope_type.is_some()
            || self.principal_entity_type.is_some()
            || self.principal_entity_id.is_some()
            || self.action_scope_type.is_some()
            || self.action_ids.is_some()
            || self.resource_scope_type.is_some()
            || self.resource_entity_type.is_some()
            || self.resource_entity_id.is_some()
            || !self.conditions.is_undefined()
    }

    /// Checks what can be checked without parsing anything.
    pub(super) fn check_shape(&self, new: bool) -> Result<(), Error> {
        if let Some(text) = self.policy_text.as_ref().filter(|text| text.len() > MAX_RULE_BYTES) {
            let reason = format!("has {} bytes; {MAX_RULE_BYTES} is the most", text.len());
            return Err(Error::field(InputLocation::Body, "policy_text", reason));
        }
        if new && self.policy_text.is_none() && !self.has_parts() {
            let reason = "is missing, and so is `effect`; give one of the two";
            return Err(Error::field(InputLocation::Body, "policy_text", reason));
        }
        Ok(())
    }

    /// The rule: a new one, or one that changes the rule of a text. None: it stays as it is. Parses and checks texts, which
    /// takes up to a tenth of a second.
    pub(super) fn rule(&self, before: Option<&str>) -> Result<Option<CheckedRule>, Error> {
        let invalid = |field: &'static str| move |error: RuleError| invalid_rule(field, &error);
        if let Some(text) = &self.policy_text {
            let rule = check_rule(text).map_err(invalid("policy_text"))?;
            let said = Statement::of(&rule.statement, text);
            if self.has_parts() {
                let parts = self.statement(Some(&said))?;
                if parts != said {
                    let reason = format!(
                        "does not say the same as the other fields, which say: {}",
                        parts.to_text()
                    );
                    return Err(Error::field(InputLocation::Body, "policy_text", reason));
                }
            }
            return Ok(Some(rule));
        }
        if !self.has_parts() {
            return Ok(None);
        }
        let base = match before {
            Some(text) => Some(parse_text(text).map_err(invalid("policy_text"))?),
            None => None,
        };
        let base = base.as_ref().zip(before).map(|(rule, text)| Statement::of(rule, text));
        let statement = self.statement(base.as_ref())?;
        if base.as_ref() == Some(&statement) {
            return Ok(None);
        }
        let text = statement.to_text();
        if text.len() > MAX_RULE_BYTES {
            let reason = format!("make a rule of {} bytes; {MAX_RULE_BYTES} is the most", text.len());
            return Err(Error::field(InputLocation::Body, "conditions", reason));
        }
        let rule = check_rule(&text).map_err(invalid("conditions"))?;
        // Conditions are taken as they are: they must not have ended the statement and begun another one.
        if Statement::of(&rule.statement, &text) != statement {
            let reason = "must be `when` and `unless` clauses and nothing else";
            return Err(Error::field(InputLocation::Body, "conditions", reason));
        }
        Ok(Some(rule))
    }

    /// The statement of these parts, the others being those of a statement that there is.
    fn statement(&self, base: Option<&Statement>) -> Result<Statement, Error> {
        let effect = match (self.effect, base) {
            (Some(EffectName::Permit), _) => Effect::Permit,
            (Some(EffectName::Forbid), _) => Effect::Forbid,
            (None, Some(base)) => base.effect,
            (None, None) => return Err(Error::field(InputLocation::Body, "effect", "is missing")),
        };
        let principal = Part {
            name: "principal",
            scope: self.principal_scope_type,
            entity_type: self.principal_entity_type.as_deref(),
            entity_id: self.principal_entity_id.as_deref(),
        };
        let resource = Part {
            name: "resource",
            scope: self.resource_scope_type,
            entity_type: self.resource_entity_type.as_deref(),
            entity_id: self.resource_entity_id.as_deref(),
        };
        let conditions = match &self.conditions {
            MaybeUndefined::Undefined => base.and_then(|base| base.conditions.clone()),
            MaybeUndefined::Null => None,
            MaybeUndefined::Value(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        };
        Ok(Statement {
            annotations: base.map(|base| base.annotations.clone()).unwrap_or_default(),
            effect,
            principal: principal.scope(base.map(|base| &base.principal))?,
            action: self.action(base.map(|base| &base.action))?,
            resource: resource.scope(base.map(|base| &base.resource))?,
            conditions,
        })
    }

    fn action(&self, base: Option<&ActionScope>) -> Result<ActionScope, Error> {
        let wrong = |reason: &str| Err(Error::field(InputLocation::Body, "action_ids", reason));
        match (self.action_scope_type, self.action_ids.as_deref()) {
            (None, None) => Ok(base.cloned().unwrap_or(ActionScope::Any)),
            (Some(ActionScopeType::Any), None | Some([])) | (None, Some([])) => Ok(ActionScope::Any),
            (Some(ActionScopeType::Any), Some(_)) => wrong("must be empty where action_scope_type is any"),
            (Some(ActionScopeType::Eq), Some([id])) => Ok(ActionScope::Eq(id.clone())),
            (Some(ActionScopeType::Eq), _) => wrong("must have one action where action_scope_type is eq"),
            (Some(ActionScopeType::In), None | Some([])) => {
                wrong("must have an action or group where action_scope_type is in")
            }
            (Some(ActionScopeType::In) | None, Some(ids)) => Ok(ActionScope::In(ids.to_vec())),
        }
    }
}

/// The parts of a constraint on the principal or the resource.
struct Part<'a> {
    name: &'static str,
    scope: Option<ScopeType>,
    entity_type: Option<&'a str>,
    entity_id: Option<&'a str>,
}

impl Part<'_> {
    fn scope(&self, base: Option<&Scope>) -> Result<Scope, Error> {
        let Some(scope) = self.scope else {
            return match (self.entity_type, self.entity_id) {
                (None, None) => Ok(base.cloned().unwrap_or(Scope::Any)),
                _ => Err(self.wrong("scope_type", "is missing, though there is an entity")),
            };
        };
        match scope {
            ScopeType::Any => match (self.entity_type, self.entity_id) {
                (None, None) => Ok(Scope::Any),
                _ => Err(self.wrong("entity_type", "must be absent where the scope is any")),
            },
            ScopeType::Eq => Ok(Scope::Eq(self.entity()?)),
            ScopeType::In => Ok(Scope::In(self.entity()?)),
            ScopeType::Is => match self.entity_id {
                None => Ok(Scope::Is(self.entity_type()?)),
                Some(_) => Err(self.wrong("entity_id", "must be absent where the scope is `is`")),
            },
            ScopeType::IsIn => {
                let entity = self.entity_id.and_then(|entity| entity.parse().ok());
                let entity = entity
                    .ok_or_else(|| self.wrong("entity_id", "must be a whole entity like Scope::\"users:read\""))?;
                Ok(Scope::IsIn(self.entity_type()?, entity))
            }
        }
    }

    fn entity_type(&self) -> Result<EntityTypeName, Error> {
        let name = self
            .entity_type
            .ok_or_else(|| self.wrong("entity_type", "is missing"))?;
        name.parse()
            .map_err(|_| self.wrong("entity_type", "is not the name of a type of entity"))
    }

    fn entity(&self) -> Result<EntityUid, Error> {
        let id = self.entity_id.ok_or_else(|| self.wrong("entity_id", "is missing"))?;
        Ok(EntityUid::from_type_name_and_id(self.entity_type()?, EntityId::new(id)))
    }

    fn wrong(&self, member: &str, reason: &str) -> Error {
        Error::field(InputLocation::Body, format!("{}_{member}", self.name), reason)
    }
}
