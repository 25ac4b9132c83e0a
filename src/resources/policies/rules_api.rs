//! Rules of policies, in both of their forms: the statement in Cedar, and its parts.

use aka_entity::policy_rule;
use poem_openapi::{Object, OpenApi, types::MaybeUndefined};
use serde::Deserialize;
use uuid::Uuid;

use super::{
    api::Policy,
    changes::NewRule,
    guarded,
    rule_changes::{CreatePolicyRule, DeletePolicyRule, ReorderPolicyRules, UpdatePolicyRule},
};
use super::{rule_input::PolicyRuleInput, rule_wire::PolicyRule};
use crate::{
    access::caller::Target,
    http::{
        Tag,
        answers::{CreatedTagged, Gone, Tagged},
        body::{Answer, Body},
        caller::ApiCaller,
        error::{Error, InputLocation},
        etag::etag,
        idempotency::Replayable,
        page::{List, Page},
        params::{Cursor, Limit, OptionalQueryParam, Path},
    },
    resources::policies,
    types::ids::{PolicyId, PolicyRuleId},
};

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
