//! Rules of policies, in both of their forms: the statement in Cedar, and its parts.

use aka_entity::policy_rule;
use cedar_policy::{Effect, EntityId, EntityTypeName, EntityUid};
use poem_openapi::{Enum, Object, OpenApi, types::MaybeUndefined};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    api::Policy,
    changes::NewRule,
    errors::invalid_rule,
    guarded,
    rule_changes::{CreatePolicyRule, DeletePolicyRule, ReorderPolicyRules, UpdatePolicyRule},
};
use crate::{
    access::caller::Target,
    http::{
        Tag,
        answers::{CreatedTagged, Gone, Tagged},
        body::{Answer, Body},
        caller::ApiCaller,
        error::{Error, InputLocation},
        etag::etag,
        explanation::EffectName,
        idempotency::Replayable,
        page::{List, Page},
        params::{Cursor, Limit, OptionalQueryParam, Path},
    },
    policy::{
        self,
        outline::{ActionOutline, Outline, ScopeKind},
        rules::{CheckedRule, MAX_RULE_BYTES, RuleError, check_rule, parse_text, stored_outline},
        statement::{ActionScope, Scope, Statement, conditions},
    },
    resources::policies,
    types::{
        clock::Timestamp,
        ids::{PolicyId, PolicyRuleId},
        text::Description,
    },
};

/// How a rule restricts its principal or its resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Serialize, Deserialize)]
#[oai(rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum ScopeType {
    /// Not at all.
    Any,
    /// To one entity.
    Eq,
    /// To an entity and its members.
    In,
    /// To a type of entity.
    Is,
    /// To a type of entity, and to an entity and its members.
    IsIn,
}

/// How a rule restricts its action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Serialize, Deserialize)]
#[oai(rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum ActionScopeType {
    /// Not at all.
    Any,
    /// To one action.
    Eq,
    /// To some actions, or the members of some groups of actions.
    In,
}

/// One Cedar statement of a policy. Its text is what counts; the other members say what the text says.
#[derive(Debug, Object, Serialize)]
pub struct PolicyRule {
    /// The id of the rule.
    pub id: PolicyRuleId,
    /// The position of the rule in its policy, counted from 0.
    pub ordinal: i32,
    /// Whether the rule permits or forbids.
    pub effect: EffectName,
    /// The Cedar statement, as it was given.
    pub policy_text: String,
    /// How the rule restricts the principal.
    pub principal_scope_type: ScopeType,
    /// The type of entity of the principal's scope; null where there is none. For `is_in` the type after `is`.
    #[oai(nullable)]
    pub principal_entity_type: Option<String>,
    /// The id of the entity of the principal's scope; null where there is none. For `is_in` the whole entity after
    /// `in`, for instance `Scope::"users:read"`.
    #[oai(nullable)]
    pub principal_entity_id: Option<String>,
    /// How the rule restricts the action.
    pub action_scope_type: ActionScopeType,
    /// The actions, or groups of actions, of the action's scope: operation ids and names of scopes.
    pub action_ids: Vec<String>,
    /// How the rule restricts the resource.
    pub resource_scope_type: ScopeType,
    /// The type of entity of the resource's scope; null where there is none. For `is_in` the type after `is`.
    #[oai(nullable)]
    pub resource_entity_type: Option<String>,
    /// The id of the entity of the resource's scope; null where there is none. For `is_in` the whole entity after
    /// `in`.
    #[oai(nullable)]
    pub resource_entity_id: Option<String>,
    /// The `when` and `unless` clauses, as they are written; null where there are none.
    #[oai(nullable)]
    pub conditions: Option<String>,
    /// What a caller reads in `notices` when this rule determined the decision: the `notice` that was given with the
    /// rule, else its `@notice`; null where there is neither.
    #[oai(nullable)]
    pub notice: Option<String>,
    /// What may be wrong with the rule, though it is one and is in force as it stands: that it can never apply, that
    /// characters in it look like others, that it lets more principals than one change API keys, identity providers,
    /// policies or tenants, or that it trusts the name of a principal alone.
    pub warnings: Vec<RuleWarning>,
    /// When the rule was created.
    pub created_at: Timestamp,
}

/// What may be wrong with a rule.
#[derive(Debug, Object, Serialize)]
pub struct RuleWarning {
    /// What may be wrong.
    pub message: String,
    /// The line in `policy_text`, from 1; null where it is the rule as a whole.
    #[oai(nullable)]
    pub line: Option<usize>,
    /// The column in `policy_text`, from 1, in characters; null where it is the rule as a whole.
    #[oai(nullable)]
    pub column: Option<usize>,
}

impl From<policy::RuleWarning> for RuleWarning {
    fn from(warning: policy::RuleWarning) -> Self {
        let (line, column) = warning.position.unzip();
        Self {
            message: warning.message,
            line,
            column,
        }
    }
}

impl From<ScopeKind> for ScopeType {
    fn from(kind: ScopeKind) -> Self {
        match kind {
            ScopeKind::Any => Self::Any,
            ScopeKind::Eq => Self::Eq,
            ScopeKind::In => Self::In,
            ScopeKind::Is => Self::Is,
            ScopeKind::IsIn => Self::IsIn,
        }
    }
}

impl TryFrom<policy_rule::Model> for PolicyRule {
    type Error = Error;

    fn try_from(rule: policy_rule::Model) -> Result<Self, Error> {
        // It was checked when it was stored, so that the caller is not to blame where it cannot be read now.
        let outline = stored_outline(&rule)
            .map_err(|error| Error::internal(format!("the stored rule {} cannot be read: {error}", rule.id)))?;
        let Outline {
            forbids,
            principal,
            action,
            resource,
            notice,
            warnings,
        } = outline;
        let (action_scope_type, action_ids) = match action {
            ActionOutline::Any => (ActionScopeType::Any, Vec::new()),
            ActionOutline::Eq(action) => (ActionScopeType::Eq, vec![action]),
            ActionOutline::In(actions) => (ActionScopeType::In, actions),
        };
        Ok(Self {
            id: PolicyRuleId(rule.id),
            ordinal: rule.ordinal,
            effect: if forbids {
                EffectName::Forbid
            } else {
                EffectName::Permit
            },
            principal_scope_type: principal.kind.into(),
            principal_entity_type: principal.entity_type,
            principal_entity_id: principal.entity_id,
            action_scope_type,
            action_ids,
            resource_scope_type: resource.kind.into(),
            resource_entity_type: resource.entity_type,
            resource_entity_id: resource.entity_id,
            conditions: conditions(&rule.policy_text),
            warnings: warnings.into_iter().map(RuleWarning::from).collect(),
            notice: rule.notice.or(notice),
            created_at: Timestamp(rule.created_at),
            policy_text: rule.policy_text,
        })
    }
}

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
    fn has_parts(&self) -> bool {
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
    fn check_shape(&self, new: bool) -> Result<(), Error> {
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
    fn rule(&self, before: Option<&str>) -> Result<Option<CheckedRule>, Error> {
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

/// The order of all rules of a policy.
#[derive(Debug, Object, Deserialize)]
#[oai(deny_unknown_fields)]
#[serde(deny_unknown_fields)]
pub struct PolicyRuleOrder {
    /// All rules of the policy, in their new order.
    #[oai(validator(max_items = 1000))]
    pub ids: Vec<PolicyRuleId>,
}

/// Rules are in the order of their ordinals, not of their ids: a cursor holds the ordinal in place of an id.
fn position_of(ordinal: i32) -> Uuid {
    Uuid::from_u128(ordinal.unsigned_abs().into())
}

/// The ordinal at a position; the last one where a cursor was made up.
fn ordinal_of(position: Uuid) -> i32 {
    i32::try_from(position.as_u128()).unwrap_or(i32::MAX)
}

/// The state of a rule.
fn of_rule(rule: &policy_rule::Model) -> String {
    etag(&policies::rule_revision(rule))
}

/// The operations on rules.
pub struct PolicyRulesApi;

#[OpenApi(tag = "Tag::Policies")]
impl PolicyRulesApi {
    /// List the rules of a policy
    ///
    /// In their order.
    #[oai(
        path = "/v1/policies/:policyId/rules",
        method = "get",
        operation_id = "listPolicyRules"
    )]
    async fn list_rules(
        &self,
        caller: ApiCaller<'_>,
        /// The policy.
        #[oai(name = "policyId")]
        policy_id: Path<PolicyId>,
        /// How many rows to answer with at most.
        limit: OptionalQueryParam<Limit>,
        /// Where the page begins: the `next_cursor` of the page before. Omit it for the first page.
        cursor: OptionalQueryParam<Cursor>,
    ) -> Result<Answer<Page<PolicyRule>>, Error> {
        let (tenant, policy) = (caller.tenant_id(), policy_id.0);
        let list = List::new("policy_rules", tenant, &policy.to_string());
        let wanted = list.wanted(limit, cursor)?;
        caller.may(Target::Policy(policy)).await?;
        let after = wanted.after.map(ordinal_of);
        let rows = policies::list_rules(caller.store(), tenant, policy, after, wanted.to_read()).await?;
        let rows = rows.ok_or_else(|| Error::no_such("policy", policy))?;
        let rules = rows.len();
        let convert = move || {
            rows.into_iter()
                .map(PolicyRule::try_from)
                .collect::<Result<Vec<_>, _>>()
        };
        let rows = caller.show(rules, convert).await??;
        Ok(Answer(list.page(
            &wanted,
            rows,
            |rule| position_of(rule.ordinal),
            |rule| rule,
        )))
    }

    /// Add a rule to a policy
    ///
    /// At its end. It is in force when this answers: on the node that answers at once, on others within two seconds. A
    /// text that is not Cedar, or does not fit the Cedar schema, is refused with `invalid_rule`: Cedar's own message,
    /// and line and column in `details`. What may be wrong with a rule, though it is one, is told in `warnings`: also
    /// what it newly opens, and to whom, if that is the power over API keys, identity providers or policies.
    #[oai(
        path = "/v1/policies/:policyId/rules",
        method = "post",
        operation_id = "createPolicyRule"
    )]
    async fn create_rule(
        &self,
        caller: ApiCaller<'_>,
        /// The policy.
        #[oai(name = "policyId")]
        policy_id: Path<PolicyId>,
        /// Whether to make the change even if it would leave nobody who could take it back.
        force: OptionalQueryParam<bool>,
        body: Body<PolicyRuleInput>,
    ) -> Result<Replayable<CreatedTagged<PolicyRule>>, Error> {
        let (policy, Body(mut input)) = (policy_id.0, body);
        input.check_shape(true)?;
        let permit = caller.may(Target::Policy(policy)).await?;
        let notice = std::mem::take(&mut input.notice).take();
        let rule = caller.job()?.run(move || input.rule(None)).await??;
        let rule = rule.ok_or_else(|| Error::field(InputLocation::Body, "policy_text", "is missing"))?;
        let change = CreatePolicyRule {
            permit,
            policy,
            rule: NewRule {
                id: PolicyRuleId::new(),
                rule,
                notice,
            },
        };
        let written = guarded::write(&caller, change, force.0.unwrap_or_default()).await?;
        let rule = written.done;
        let (location, etag) = (format!("/v1/policies/{policy}/rules/{}", rule.id), of_rule(&rule));
        let created = CreatedTagged::Created(Answer(PolicyRule::try_from(rule)?), location, etag);
        Ok(Replayable::new(created, written.replayed))
    }

    /// Get a rule of a policy
    #[oai(
        path = "/v1/policies/:policyId/rules/:ruleId",
        method = "get",
        operation_id = "getPolicyRule"
    )]
    async fn get_rule(
        &self,
        caller: ApiCaller<'_>,
        /// The policy.
        #[oai(name = "policyId")]
        policy_id: Path<PolicyId>,
        /// The rule.
        #[oai(name = "ruleId")]
        rule_id: Path<PolicyRuleId>,
    ) -> Result<Tagged<PolicyRule>, Error> {
        caller.may(Target::Policy(policy_id.0)).await?;
        let rule = policies::find_rule(caller.store(), caller.tenant_id(), policy_id.0, rule_id.0).await?;
        let rule = rule.ok_or_else(|| Error::no_such("policy_rule", rule_id.0))?;
        let etag = of_rule(&rule);
        Ok(Tagged::Done(Answer(PolicyRule::try_from(rule)?), etag))
    }

    /// Change a rule of a policy
    ///
    /// By its statement, or by parts of it; what is absent stays.
    #[oai(
        path = "/v1/policies/:policyId/rules/:ruleId",
        method = "patch",
        operation_id = "updatePolicyRule"
    )]
    async fn update_rule(
        &self,
        caller: ApiCaller<'_>,
        /// The policy.
        #[oai(name = "policyId")]
        policy_id: Path<PolicyId>,
        /// The rule.
        #[oai(name = "ruleId")]
        rule_id: Path<PolicyRuleId>,
        /// Whether to make the change even if it would leave nobody who could take it back.
        force: OptionalQueryParam<bool>,
        body: Body<PolicyRuleInput>,
    ) -> Result<Replayable<Tagged<PolicyRule>>, Error> {
        let (policy, id, Body(mut input)) = (policy_id.0, rule_id.0, body);
        input.check_shape(false)?;
        let permit = caller.may(Target::Policy(policy)).await?;
        let notice = match std::mem::take(&mut input.notice) {
            MaybeUndefined::Undefined => None,
            MaybeUndefined::Null => Some(None),
            MaybeUndefined::Value(notice) => Some(Some(notice)),
        };
        let before = policies::find_rule(caller.store(), caller.tenant_id(), policy, id).await?;
        let is_of_parts = input.policy_text.is_none() && input.has_parts();
        let made_from = before.as_ref().filter(|_| is_of_parts).map(policies::rule_revision);
        // Parts of a rule that is not there are checked, too: the form of a request goes before what exists.
        let text = before.map_or_else(
            || "permit (principal, action, resource);".to_owned(),
            |row| row.policy_text,
        );
        let rule = caller.job()?.run(move || input.rule(Some(&text))).await??;
        let change = UpdatePolicyRule {
            permit,
            policy,
            id,
            made_from,
            rule,
            notice,
        };
        let written = guarded::write(&caller, change, force.0.unwrap_or_default()).await?;
        let etag = of_rule(&written.done);
        let changed = Tagged::Done(Answer(PolicyRule::try_from(written.done)?), etag);
        Ok(Replayable::new(changed, written.replayed))
    }

    /// Reorder the rules of a policy
    ///
    /// Names all of them. The order is for readers: rules of one policy are evaluated together.
    #[oai(
        path = "/v1/policies/:policyId/rules/reorder",
        method = "patch",
        operation_id = "reorderPolicyRules"
    )]
    async fn reorder(
        &self,
        caller: ApiCaller<'_>,
        /// The policy.
        #[oai(name = "policyId")]
        policy_id: Path<PolicyId>,
        body: Body<PolicyRuleOrder>,
    ) -> Result<Replayable<Tagged<Policy>>, Error> {
        let (policy, ids) = (policy_id.0, body.0.ids);
        let permit = caller.may(Target::Policy(policy)).await?;
        let job = caller.job()?;
        let change = ReorderPolicyRules { permit, policy, ids };
        let written = caller.write_value(change).await?;
        let shown = job.run(move || Policy::tagged(written.done)).await?;
        Ok(Replayable::new(shown?, written.replayed))
    }

    /// Remove a rule from a policy
    #[oai(
        path = "/v1/policies/:policyId/rules/:ruleId",
        method = "delete",
        operation_id = "deletePolicyRule"
    )]
    async fn delete_rule(
        &self,
        caller: ApiCaller<'_>,
        /// The policy.
        #[oai(name = "policyId")]
        policy_id: Path<PolicyId>,
        /// The rule.
        #[oai(name = "ruleId")]
        rule_id: Path<PolicyRuleId>,
        /// Whether to make the change even if it would leave nobody who could take it back.
        force: OptionalQueryParam<bool>,
    ) -> Result<Gone, Error> {
        let permit = caller.may(Target::Policy(policy_id.0)).await?;
        let change = DeletePolicyRule {
            permit,
            policy: policy_id.0,
            id: rule_id.0,
        };
        guarded::write(&caller, change, force.0.unwrap_or_default()).await?;
        Ok(Gone::Done)
    }
}
