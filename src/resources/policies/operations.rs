//! The operations on policies, their rules, and what they would decide.

use super::{
    errors::{INVALID_RULE, POLICIES_LOCKED, TOO_MANY_RULES},
    examples,
};
use crate::{
    http::operations::{BodyLimits, Operation, Resource},
    types::actions::{Action, TargetKind},
};

/// What this folder brings to the whole.
pub static RESOURCE: Resource = Resource {
    operations: &OPERATIONS,
    codes: &[&INVALID_RULE, &TOO_MANY_RULES, &POLICIES_LOCKED],
    schema_example: examples::of_schema,
    parameter_example: examples::of_parameter,
};

/// The operations.
const OPERATIONS: [Operation; 16] = [
    Operation::get(Action::ListPolicies, "/v1/policies"),
    Operation::post(Action::CreatePolicy, "/v1/policies")
        .body(BodyLimits::POLICIES)
        .rejects(examples::invalid)
        .conflicts(const { &[&TOO_MANY_RULES, &POLICIES_LOCKED] }, examples::too_many),
    Operation::get(Action::GetPolicy, "/v1/policies/{policyId}")
        .on(TargetKind::Policy)
        .finds("policy"),
    Operation::patch(Action::UpdatePolicy, "/v1/policies/{policyId}")
        .on(TargetKind::Policy)
        .finds("policy")
        .if_match()
        .body(BodyLimits::POLICIES)
        .rejects(examples::invalid)
        .conflicts(const { &[&TOO_MANY_RULES, &POLICIES_LOCKED] }, examples::too_many)
        .answers(examples::updated),
    Operation::delete(Action::DeletePolicy, "/v1/policies/{policyId}")
        .on(TargetKind::Policy)
        .finds("policy")
        .if_match()
        .conflicts(const { &[&POLICIES_LOCKED] }, examples::locked),
    Operation::patch(Action::ReorderPolicies, "/v1/policies/reorder")
        .body(BodyLimits::POLICIES)
        .conflicts(const { &[&POLICIES_LOCKED] }, examples::locked),
    Operation::get(Action::ExportPolicy, "/v1/policies/{policyId}/export")
        .on(TargetKind::Policy)
        .finds("policy"),
    Operation::get(Action::ListPolicyRules, "/v1/policies/{policyId}/rules")
        .on(TargetKind::Policy)
        .finds("policy"),
    Operation::post(Action::CreatePolicyRule, "/v1/policies/{policyId}/rules")
        .on(TargetKind::Policy)
        .finds("policy")
        .body(BodyLimits::POLICIES)
        .rejects(examples::invalid)
        .conflicts(const { &[&TOO_MANY_RULES, &POLICIES_LOCKED] }, examples::too_many)
        .answers(examples::created_rule),
    Operation::get(Action::GetPolicyRule, "/v1/policies/{policyId}/rules/{ruleId}")
        .on(TargetKind::Policy)
        .finds("policy_rule"),
    Operation::patch(Action::UpdatePolicyRule, "/v1/policies/{policyId}/rules/{ruleId}")
        .on(TargetKind::Policy)
        .finds("policy_rule")
        .if_match()
        .body(BodyLimits::POLICIES)
        .rejects(examples::invalid)
        .conflicts(const { &[&TOO_MANY_RULES, &POLICIES_LOCKED] }, examples::too_many),
    Operation::delete(Action::DeletePolicyRule, "/v1/policies/{policyId}/rules/{ruleId}")
        .on(TargetKind::Policy)
        .finds("policy_rule")
        .if_match()
        .conflicts(const { &[&POLICIES_LOCKED] }, examples::locked),
    Operation::patch(Action::ReorderPolicyRules, "/v1/policies/{policyId}/rules/reorder")
        .on(TargetKind::Policy)
        .finds("policy")
        .if_match()
        .body(BodyLimits::POLICIES),
    Operation::get(Action::GetPolicySchema, "/v1/policies/schema"),
    Operation::ask(Action::EvaluatePolicies, "/v1/policies/evaluate").finds("policy"),
    Operation::ask(Action::PreviewPolicies, "/v1/policies/preview")
        .finds("policy")
        .body(BodyLimits::POLICIES)
        .conflicts(const { &[&TOO_MANY_RULES] }, examples::too_many),
];
