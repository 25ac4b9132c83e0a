//! What may an API key do? For those who hand keys out, and for those who wonder what a key that has leaked can do.

use cedar_policy::Effect;
use poem_openapi::{Enum, Object, OpenApi};
use serde::Serialize;

use crate::{
    access::{self, caller::Target},
    http::{Tag, body::Answer, caller::ApiCaller, error::Error, explanation::EffectName, params::Path},
    policy::{self, Can},
    resources::policies::evaluation,
    types::{
        actions::Action,
        clock::{self, Timestamp},
        ids::{ApiKeyId, PolicyId},
    },
};

/// Whether something can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Serialize)]
#[oai(rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum CapabilityVerdict {
    /// It is permitted, whatever the resource and the circumstances are.
    Allow,
    /// It is never permitted.
    Deny,
    /// Resource or circumstances decide.
    Depends,
}

/// A rule that can determine whether an action is permitted.
#[derive(Debug, Object, Serialize)]
pub struct DecidingRule {
    /// The rule: its id, or the name of a built-in rule.
    pub rule_id: String,
    /// The policy that it belongs to; null for a built-in rule.
    #[oai(nullable)]
    pub policy_id: Option<PolicyId>,
    /// The priority of its policy; null for a built-in rule.
    #[oai(nullable)]
    pub priority: Option<i32>,
    /// Whether it permits or forbids.
    pub effect: EffectName,
    /// What must be so for it to apply to this key, as Cedar writes it. Empty: it always applies.
    pub conditions: Vec<String>,
}

/// What a key can do of one action.
#[derive(Debug, Object, Serialize)]
pub struct Capability {
    /// The action: an operation id.
    pub action: String,
    /// Whether the key can do it.
    pub verdict: CapabilityVerdict,
    /// On what that depends, for a person.
    pub condition: String,
    /// The rules that can determine it, in the order in which they are evaluated; the first 20 of them.
    pub rules: Vec<DecidingRule>,
}

/// What an API key can do.
#[derive(Debug, Object, Serialize)]
pub struct ApiKeyCapabilities {
    /// The id of the key.
    pub id: ApiKeyId,
    /// Whether the key is accepted at all: it is neither revoked nor expired.
    pub usable: bool,
    /// Why it is not; null where it is.
    #[oai(nullable)]
    pub reason: Option<String>,
    /// What it can do, action by action: one entry for each.
    pub capabilities: Vec<Capability>,
}

impl From<policy::Capability> for Capability {
    fn from(capability: policy::Capability) -> Self {
        Self {
            action: capability.action.as_str().into(),
            verdict: match capability.can {
                Can::Always => CapabilityVerdict::Allow,
                Can::Never => CapabilityVerdict::Deny,
                Can::Depends => CapabilityVerdict::Depends,
            },
            condition: condition(&capability),
            rules: capability.rules.into_iter().map(DecidingRule::from).collect(),
        }
    }
}

impl From<policy::Deciding> for DecidingRule {
    fn from(deciding: policy::Deciding) -> Self {
        Self {
            rule_id: deciding.rule.statement.id().to_string(),
            policy_id: deciding.rule.policy_id,
            priority: deciding.level.priority(),
            effect: deciding.rule.statement.effect().into(),
            conditions: deciding.conditions,
        }
    }
}

/// On what a capability depends, in words.
fn condition(capability: &policy::Capability) -> String {
    let mut sentences = Vec::new();
    match capability.can {
        Can::Always => sentences.push("Always permitted.".to_owned()),
        Can::Never => sentences.push("Never permitted.".to_owned()),
        Can::Depends => {}
    }
    let mut first = true;
    for deciding in &capability.rules {
        let at = deciding.level.priority();
        let at = at.map_or_else(String::new, |priority| format!(", at priority {priority}"));
        let effect = match deciding.rule.statement.effect() {
            Effect::Permit => "permitted",
            Effect::Forbid => "forbidden",
        };
        let begin = if first { "It is" } else { "Else it is" };
        first = false;
        let mut sentence = format!("{begin} {effect} by {}{at}", deciding.rule.statement.id());
        if !deciding.conditions.is_empty() {
            sentence = format!("{sentence}, where {}", deciding.conditions.join(", and "));
        }
        if deciding.can_fail {
            sentence += " (where that cannot be evaluated, the answer is no)";
        }
        sentences.push(sentence + ".");
    }
    if capability.more_rules > 0 {
        sentences.push(format!("{} further rules can determine it.", capability.more_rules));
    } else if capability.can != Can::Always && capability.rules.iter().all(|deciding| !deciding.conditions.is_empty()) {
        let begin = if first { "No" } else { "Else no" };
        sentences.push(format!(
            "{begin} rule permits it: neither a policy nor the scopes of the key."
        ));
    }
    sentences.join(" ")
}

/// Every action denied.
fn nothing() -> Vec<Capability> {
    let denied = |action: &Action| Capability {
        action: action.as_str().into(),
        verdict: CapabilityVerdict::Deny,
        condition: "Never permitted: see `reason`.".into(),
        rules: Vec::new(),
    };
    Action::ALL.iter().map(denied).collect()
}

/// The operation on what keys can do.
pub struct CapabilitiesApi;

#[OpenApi(tag = "Tag::ApiKeys")]
impl CapabilitiesApi {
    /// List what an API key may do
    ///
    /// For every action whether the key is permitted it always (`allow`), never (`deny`), or only on some resources or
    /// in some circumstances (`depends`), under the current rules. `allow` and `deny` are certain; where rules exclude
    /// one another in ways that only a request shows, the answer is `depends`. The conditions show what rules say, in
    /// their own words.
    #[oai(
        path = "/v1/api-keys/:id/capabilities",
        method = "get",
        operation_id = "getApiKeyCapabilities"
    )]
    async fn get(
        &self,
        caller: ApiCaller<'_>,
        /// The key.
        id: Path<ApiKeyId>,
    ) -> Result<Answer<ApiKeyCapabilities>, Error> {
        caller.may(Target::ApiKey(id.0)).await?;
        let key = access::api_keys::find(caller.store(), caller.tenant_id(), id.0).await?;
        let key = key.ok_or_else(|| Error::no_such("api_key", id.0))?;
        let now = clock::now();
        let reason = match (key.revoked_at, key.expires_at) {
            (Some(at), _) => Some(format!("The key was revoked at {}.", Timestamp(at))),
            (None, Some(at)) if Timestamp(at) <= now => Some(format!("The key expired at {}.", Timestamp(at))),
            _ => None,
        };
        let usable = reason.is_none();
        let unreadable = || {
            "A rule of the tenant cannot be read, so that everything is refused until it is mended or deleted."
                .to_owned()
        };
        let reason = reason.or_else(|| caller.tenant().rules.is_none().then(unreadable));
        let capabilities = if reason.is_some() {
            nothing()
        } else {
            let job = caller.job()?;
            let capabilities = evaluation::capabilities(&job, caller.tenant(), &key).await?;
            job.run(move || capabilities.into_iter().map(Capability::from).collect())
                .await?
        };
        Ok(Answer(ApiKeyCapabilities {
            id: id.0,
            usable,
            reason,
            capabilities,
        }))
    }
}
