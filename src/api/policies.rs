//! Policies and their rules: what a tenant says about who may do what.

use aka_entity::{policy, policy_rule};
use cedar_policy::Effect;
use poem_openapi::{Enum, Object, OpenApi};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    Created, Gone, Tag,
    auth::Caller,
    body::{Answer, Body, MAX_POLICY_BODY_BYTES},
    error::{ALWAYS, E404, E409, Error, Failure, In, WITH_BODY},
    page::{List, Page},
    params::{Cursor, Limit, OptionalQuery, Path},
};
use crate::{
    clock::Timestamp,
    domain::{
        caller::On,
        ids::{PolicyId, PolicyRuleId},
        policies::{
            self, CreatePolicy, CreatePolicyRule, DeletePolicy, DeletePolicyRule, MAX_RULES_PER_POLICY, NewRule,
        },
        text::{Description, Name},
    },
    policy::{
        Action,
        rules::{MAX_RULE_BYTES, parse_rule, parse_rules},
        statement::{ActionScope, Scope, Statement},
    },
};

/// The greatest distance of a priority from 0.
const MAX_PRIORITY: i32 = 1_000_000;

/// What a rule does to what it applies to.
#[derive(Debug, Clone, Copy, Enum, Serialize)]
#[oai(rename = "Effect", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum EffectName {
    /// Permits it, unless a rule of the same level forbids it.
    Permit,
    /// Forbids it.
    Forbid,
}

/// How a rule narrows down its principal or its resource.
#[derive(Debug, Clone, Copy, Enum, Serialize)]
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

/// How a rule narrows down its action.
#[derive(Debug, Clone, Copy, Enum, Serialize)]
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
    /// The place of the rule in its policy, from 0.
    pub ordinal: i32,
    /// Whether the rule permits or forbids.
    pub effect: EffectName,
    /// The Cedar statement, as it was given.
    pub policy_text: String,
    /// How the rule narrows down who it is about.
    pub principal_scope_type: ScopeType,
    /// The type of entity of the principal's scope; null where there is none. For `is_in` the type after `is`.
    #[oai(nullable)]
    pub principal_entity_type: Option<String>,
    /// The id of the entity of the principal's scope; null where there is none. For `is_in` the whole entity after
    /// `in`, for instance `Scope::"users:read"`.
    #[oai(nullable)]
    pub principal_entity_id: Option<String>,
    /// How the rule narrows down the action.
    pub action_scope_type: ActionScopeType,
    /// The actions, or groups of actions, of the action's scope: operation ids and names of scopes.
    pub action_ids: Vec<String>,
    /// How the rule narrows down the resource.
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
    /// When the rule was made.
    pub created_at: Timestamp,
}

/// A type, an entity id, and how they narrow down a principal or a resource.
fn scope(scope: Scope) -> (ScopeType, Option<String>, Option<String>) {
    match scope {
        Scope::Any => (ScopeType::Any, None, None),
        Scope::Eq(entity) => (
            ScopeType::Eq,
            Some(entity.type_name().to_string()),
            Some(entity.id().unescaped().to_owned()),
        ),
        Scope::In(entity) => (
            ScopeType::In,
            Some(entity.type_name().to_string()),
            Some(entity.id().unescaped().to_owned()),
        ),
        Scope::Is(of_type) => (ScopeType::Is, Some(of_type.to_string()), None),
        Scope::IsIn(of_type, entity) => (ScopeType::IsIn, Some(of_type.to_string()), Some(entity.to_string())),
    }
}

impl TryFrom<policy_rule::Model> for PolicyRule {
    type Error = Error;

    fn try_from(rule: policy_rule::Model) -> Result<Self, Error> {
        // It was checked when it was stored, so that it is no fault of the caller's where it cannot be read now.
        let parsed = parse_rule(&rule.policy_text).map_err(|error| Error::Internal {
            reason: format!("the stored rule {} cannot be read: {error}", rule.id),
        })?;
        let Statement {
            effect,
            principal,
            action,
            resource,
            conditions,
        } = Statement::of(&parsed, &rule.policy_text);
        let (principal_scope_type, principal_entity_type, principal_entity_id) = scope(principal);
        let (resource_scope_type, resource_entity_type, resource_entity_id) = scope(resource);
        let (action_scope_type, action_ids) = match action {
            ActionScope::Any => (ActionScopeType::Any, Vec::new()),
            ActionScope::Eq(action) => (ActionScopeType::Eq, vec![action]),
            ActionScope::In(actions) => (ActionScopeType::In, actions),
        };
        Ok(Self {
            id: PolicyRuleId(rule.id),
            ordinal: rule.ordinal,
            effect: match effect {
                Effect::Permit => EffectName::Permit,
                Effect::Forbid => EffectName::Forbid,
            },
            principal_scope_type,
            principal_entity_type,
            principal_entity_id,
            action_scope_type,
            action_ids,
            resource_scope_type,
            resource_entity_type,
            resource_entity_id,
            conditions,
            notice: rule.notice.or_else(|| parsed.annotation("notice").map(str::to_owned)),
            created_at: Timestamp(rule.created_at),
            policy_text: rule.policy_text,
        })
    }
}

/// A named set of Cedar rules.
///
/// Policies are evaluated from the highest priority down, those of the same priority together. The first priority at
/// which a rule applies decides, and there a `forbid` wins over a `permit`. Where none applies, the scopes of the
/// credential decide.
#[derive(Debug, Object, Serialize)]
pub struct Policy {
    /// The id of the policy.
    pub id: PolicyId,
    /// What it is called.
    pub name: String,
    /// What it is for.
    #[oai(nullable)]
    pub description: Option<String>,
    /// Whether its rules are in force.
    pub enabled: bool,
    /// Higher is evaluated first.
    pub priority: i32,
    /// Its rules, in their order.
    pub rules: Vec<PolicyRule>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When the policy itself was last changed.
    pub updated_at: Timestamp,
}

impl TryFrom<(policy::Model, Vec<policy_rule::Model>)> for Policy {
    type Error = Error;

    fn try_from((policy, rules): (policy::Model, Vec<policy_rule::Model>)) -> Result<Self, Error> {
        Ok(Self {
            id: PolicyId(policy.id),
            name: policy.name,
            description: policy.description,
            enabled: policy.enabled,
            priority: policy.priority,
            rules: rules.into_iter().map(PolicyRule::try_from).collect::<Result<_, _>>()?,
            created_at: Timestamp(policy.created_at),
            updated_at: Timestamp(policy.updated_at),
        })
    }
}

/// A policy that is to be made.
#[derive(Debug, Object, Deserialize)]
#[oai(deny_unknown_fields)]
#[serde(deny_unknown_fields)]
pub struct NewPolicy {
    /// What it is to be called.
    pub name: Name,
    /// What it is for.
    #[oai(nullable)]
    pub description: Option<Description>,
    /// Whether its rules are to be in force at once. Absent: yes.
    #[oai(nullable)]
    pub enabled: Option<bool>,
    /// Higher is evaluated first. Absent: 0.
    #[oai(nullable, validator(minimum(value = "-1000000"), maximum(value = "1000000")))]
    pub priority: Option<i32>,
    /// Its rules: any number of Cedar statements, each of which becomes a rule. Checked against the Cedar schema.
    #[oai(nullable)]
    pub cedar_policy_set: Option<String>,
}

/// A rule that is to be added to a policy.
#[derive(Debug, Object, Deserialize)]
#[oai(deny_unknown_fields)]
#[serde(deny_unknown_fields)]
pub struct NewPolicyRule {
    /// One Cedar statement. Checked against the Cedar schema.
    #[oai(validator(min_length = 1, max_length = 16384))]
    pub policy_text: String,
    /// What a caller is to read in `notices` when this rule determined the decision. It goes before the `@notice` of
    /// the statement.
    #[oai(nullable)]
    pub notice: Option<Description>,
}

fn too_long(statement: &str) -> Option<String> {
    (statement.len() > MAX_RULE_BYTES).then(|| {
        format!(
            "has a statement of {} bytes; {MAX_RULE_BYTES} is the most",
            statement.len()
        )
    })
}

impl NewPolicy {
    fn priority(&self) -> Result<i32, Error> {
        let priority = self.priority.unwrap_or_default();
        if priority.abs() > MAX_PRIORITY {
            let reason = format!("must be from -{MAX_PRIORITY} to {MAX_PRIORITY}");
            return Err(Error::field(In::Body, "priority", reason));
        }
        Ok(priority)
    }
}

/// The rules of a set of statements.
fn split(set: &str) -> Result<Vec<NewRule>, Error> {
    const FIELD: &str = "cedar_policy_set";
    let rules = parse_rules(set).map_err(|error| Error::InvalidRule { field: FIELD, error })?;
    if rules.len() as u64 > MAX_RULES_PER_POLICY {
        let reason = format!("has {} statements; {MAX_RULES_PER_POLICY} is the most", rules.len());
        return Err(Error::field(In::Body, FIELD, reason));
    }
    let rule = |rule: &cedar_policy::Policy| {
        // Cedar keeps the text of what it has parsed from a text.
        let policy_text = rule.to_cedar().unwrap_or_else(|| rule.to_string());
        match too_long(&policy_text) {
            Some(reason) => Err(Error::field(In::Body, FIELD, reason)),
            None => Ok(NewRule {
                policy_text,
                notice: None,
            }),
        }
    };
    rules.iter().map(rule).collect()
}

/// Does what takes milliseconds, such as parsing a thousand rules, where no other request waits for it.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::Internal {
        reason: error.to_string(),
    })?
}

/// Rules are in the order of their ordinals, not of their ids: a cursor holds the ordinal in place of an id.
fn position_of(ordinal: i32) -> Uuid {
    Uuid::from_u128(ordinal.unsigned_abs().into())
}

/// The ordinal at a position; the last one where a cursor was made up.
fn ordinal_of(position: Uuid) -> i32 {
    i32::try_from(position.as_u128()).unwrap_or(i32::MAX)
}

/// The operations on policies.
pub struct PoliciesApi;

#[OpenApi(tag = "Tag::Policies")]
impl PoliciesApi {
    /// List policies
    ///
    /// Each with its rules, the oldest first. Needs the scope `policies:read`, or a policy that permits
    /// `listPolicies`.
    #[oai(path = "/v1/policies", method = "get", operation_id = "listPolicies")]
    async fn list(
        &self,
        /// The tenant. It must be the one that the credential belongs to.
        #[oai(name = "X-Tenant-ID")]
        caller: Caller<'_>,
        /// How many rows to answer with at most.
        limit: OptionalQuery<Limit>,
        /// Where the page begins: the `next_cursor` of the page before. Omit it for the first page.
        cursor: OptionalQuery<Cursor>,
    ) -> Result<Answer<Page<Policy>>, Failure<{ ALWAYS }>> {
        let tenant = caller.tenant_id();
        let list = List::new("policies", tenant, "");
        let wanted = list.wanted(limit, cursor)?;
        caller.may(Action::ListPolicies, On::Tenant).await?;
        let rows = policies::list(caller.store(), tenant, wanted.after, wanted.to_read()).await?;
        let rows = aside(move || rows.into_iter().map(Policy::try_from).collect::<Result<Vec<_>, _>>()).await?;
        Ok(Answer(list.page(&wanted, rows, |policy| policy.id.0, |policy| policy)))
    }

    /// Create a policy
    ///
    /// With its rules, if `cedar_policy_set` has any. They are in force when this answers: on the node that answers
    /// at once, on others within two seconds. A text that is not Cedar, or does not fit the Cedar schema, is refused
    /// as a whole with `invalid_rule`: Cedar's own message, and line and column in `details`. Needs the scope
    /// `policies:write`, or a policy that permits `createPolicy`.
    #[oai(path = "/v1/policies", method = "post", operation_id = "createPolicy")]
    async fn create(
        &self,
        /// The tenant. It must be the one that the credential belongs to.
        #[oai(name = "X-Tenant-ID")]
        caller: Caller<'_>,
        body: Body<NewPolicy, MAX_POLICY_BODY_BYTES>,
    ) -> Result<Created<Policy>, Failure<{ WITH_BODY | E409 }>> {
        let Body(new) = body;
        let priority = new.priority()?;
        let NewPolicy {
            name,
            description,
            enabled,
            cedar_policy_set,
            ..
        } = new;
        let rules = aside(move || cedar_policy_set.as_deref().map_or(Ok(Vec::new()), split)).await?;
        let permit = caller.may(Action::CreatePolicy, On::Tenant).await?;
        let id = PolicyId::new();
        let enabled = enabled.unwrap_or(true);
        let change = CreatePolicy {
            permit,
            id,
            name,
            description,
            enabled,
            priority,
            rules,
        };
        let policy = caller.store().write(change).await?;
        let policy = aside(move || Policy::try_from(policy)).await?;
        Ok(Created::Created(Answer(policy), format!("/v1/policies/{id}")))
    }

    /// Get a policy
    ///
    /// With its rules. Needs the scope `policies:read`, or a policy that permits `getPolicy`.
    #[oai(path = "/v1/policies/:policyId", method = "get", operation_id = "getPolicy")]
    async fn get(
        &self,
        /// The tenant. It must be the one that the credential belongs to.
        #[oai(name = "X-Tenant-ID")]
        caller: Caller<'_>,
        /// The policy.
        #[oai(name = "policyId")]
        policy_id: Path<PolicyId>,
    ) -> Result<Answer<Policy>, Failure<{ ALWAYS | E404 }>> {
        caller.may(Action::GetPolicy, On::Policy(policy_id.0)).await?;
        let policy = policies::find(caller.store(), caller.tenant_id(), policy_id.0).await?;
        let policy = policy.ok_or(Error::not_found("policy"))?;
        Ok(Answer(aside(move || Policy::try_from(policy)).await?))
    }

    /// Delete a policy
    ///
    /// Its rules go with it. Needs the scope `policies:write`, or a policy that permits `deletePolicy`.
    #[oai(path = "/v1/policies/:policyId", method = "delete", operation_id = "deletePolicy")]
    async fn delete(
        &self,
        /// The tenant. It must be the one that the credential belongs to.
        #[oai(name = "X-Tenant-ID")]
        caller: Caller<'_>,
        /// The policy.
        #[oai(name = "policyId")]
        policy_id: Path<PolicyId>,
    ) -> Result<Gone, Failure<{ ALWAYS | E404 }>> {
        let permit = caller.may(Action::DeletePolicy, On::Policy(policy_id.0)).await?;
        caller
            .store()
            .write(DeletePolicy {
                permit,
                id: policy_id.0,
            })
            .await?;
        Ok(Gone::Done)
    }

    /// List the rules of a policy
    ///
    /// In their order. Needs the scope `policies:read`, or a policy that permits `listPolicyRules`.
    #[oai(
        path = "/v1/policies/:policyId/rules",
        method = "get",
        operation_id = "listPolicyRules"
    )]
    async fn list_rules(
        &self,
        /// The tenant. It must be the one that the credential belongs to.
        #[oai(name = "X-Tenant-ID")]
        caller: Caller<'_>,
        /// The policy.
        #[oai(name = "policyId")]
        policy_id: Path<PolicyId>,
        /// How many rows to answer with at most.
        limit: OptionalQuery<Limit>,
        /// Where the page begins: the `next_cursor` of the page before. Omit it for the first page.
        cursor: OptionalQuery<Cursor>,
    ) -> Result<Answer<Page<PolicyRule>>, Failure<{ ALWAYS | E404 }>> {
        let (tenant, policy) = (caller.tenant_id(), policy_id.0);
        let list = List::new("policy_rules", tenant, &policy.to_string());
        let wanted = list.wanted(limit, cursor)?;
        caller.may(Action::ListPolicyRules, On::Policy(policy)).await?;
        let after = wanted.after.map(ordinal_of);
        let rows = policies::list_rules(caller.store(), tenant, policy, after, wanted.to_read()).await?;
        let rows = rows.ok_or(Error::not_found("policy"))?;
        let rows = aside(move || {
            rows.into_iter()
                .map(PolicyRule::try_from)
                .collect::<Result<Vec<_>, _>>()
        })
        .await?;
        Ok(Answer(list.page(
            &wanted,
            rows,
            |rule| position_of(rule.ordinal),
            |rule| rule,
        )))
    }

    /// Add a rule to a policy
    ///
    /// At its end. It is in force when this answers: on the node that answers at once, on others within two seconds.
    /// A text that is not Cedar, or does not fit the Cedar schema, is refused with `invalid_rule`: Cedar's own
    /// message, and line and column in `details`. Needs the scope `policies:write`, or a policy that permits
    /// `createPolicyRule`.
    #[oai(
        path = "/v1/policies/:policyId/rules",
        method = "post",
        operation_id = "createPolicyRule"
    )]
    async fn create_rule(
        &self,
        /// The tenant. It must be the one that the credential belongs to.
        #[oai(name = "X-Tenant-ID")]
        caller: Caller<'_>,
        /// The policy.
        #[oai(name = "policyId")]
        policy_id: Path<PolicyId>,
        body: Body<NewPolicyRule, MAX_POLICY_BODY_BYTES>,
    ) -> Result<Created<PolicyRule>, Failure<{ WITH_BODY | E404 | E409 }>> {
        let (policy, Body(NewPolicyRule { policy_text, notice })) = (policy_id.0, body);
        if let Some(reason) = too_long(&policy_text) {
            return Err(Error::field(In::Body, "policy_text", reason).into());
        }
        parse_rule(&policy_text).map_err(|error| Error::InvalidRule {
            field: "policy_text",
            error,
        })?;
        let permit = caller.may(Action::CreatePolicyRule, On::Policy(policy)).await?;
        let change = CreatePolicyRule {
            permit,
            policy,
            rule: NewRule { policy_text, notice },
        };
        let rule = PolicyRule::try_from(caller.store().write(change).await?)?;
        let location = format!("/v1/policies/{policy}/rules/{}", rule.id);
        Ok(Created::Created(Answer(rule), location))
    }

    /// Get a rule of a policy
    ///
    /// Needs the scope `policies:read`, or a policy that permits `getPolicyRule`.
    #[oai(
        path = "/v1/policies/:policyId/rules/:ruleId",
        method = "get",
        operation_id = "getPolicyRule"
    )]
    async fn get_rule(
        &self,
        /// The tenant. It must be the one that the credential belongs to.
        #[oai(name = "X-Tenant-ID")]
        caller: Caller<'_>,
        /// The policy.
        #[oai(name = "policyId")]
        policy_id: Path<PolicyId>,
        /// The rule.
        #[oai(name = "ruleId")]
        rule_id: Path<PolicyRuleId>,
    ) -> Result<Answer<PolicyRule>, Failure<{ ALWAYS | E404 }>> {
        caller.may(Action::GetPolicyRule, On::Policy(policy_id.0)).await?;
        let rule = policies::find_rule(caller.store(), caller.tenant_id(), policy_id.0, rule_id.0).await?;
        Ok(Answer(PolicyRule::try_from(
            rule.ok_or(Error::not_found("policy_rule"))?,
        )?))
    }

    /// Remove a rule from a policy
    ///
    /// Needs the scope `policies:write`, or a policy that permits `deletePolicyRule`.
    #[oai(
        path = "/v1/policies/:policyId/rules/:ruleId",
        method = "delete",
        operation_id = "deletePolicyRule"
    )]
    async fn delete_rule(
        &self,
        /// The tenant. It must be the one that the credential belongs to.
        #[oai(name = "X-Tenant-ID")]
        caller: Caller<'_>,
        /// The policy.
        #[oai(name = "policyId")]
        policy_id: Path<PolicyId>,
        /// The rule.
        #[oai(name = "ruleId")]
        rule_id: Path<PolicyRuleId>,
    ) -> Result<Gone, Failure<{ ALWAYS | E404 }>> {
        let permit = caller.may(Action::DeletePolicyRule, On::Policy(policy_id.0)).await?;
        caller
            .store()
            .write(DeletePolicyRule {
                permit,
                policy: policy_id.0,
                id: rule_id.0,
            })
            .await?;
        Ok(Gone::Done)
    }
}
