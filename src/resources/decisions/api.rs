//! The decision log: what policy has refused, and why.

use super::rows::DecisionFilter;
use aka_entity::{audit_log_entry::ActorType, decision};
use poem_openapi::{Enum, Object, OpenApi};
use serde::Serialize;

use crate::{
    access::caller::Target,
    http::{
        Tag,
        any_object::AnyObject,
        body::Answer,
        caller::ApiCaller,
        error::Error,
        page::{List, Page},
        params::{ActionName, ActorId, Cursor, Limit, OptionalQueryParam, Parameter, Path, RequestName, ResourceName},
    },
    resources::policies::evaluation_api::DecisionKind,
    types::{clock::Timestamp, ids::DecisionId},
};

/// What kind of credential acted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Serialize)]
#[oai(rename = "ActorType", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum ActorTypeName {
    /// An API key.
    ApiKey,
    /// A bearer token.
    Oidc,
    /// A key that is bound to an identity provider.
    Scim,
    /// The program itself.
    System,
}

impl From<ActorType> for ActorTypeName {
    fn from(actor_type: ActorType) -> Self {
        match actor_type {
            ActorType::ApiKey => Self::ApiKey,
            ActorType::Oidc => Self::Oidc,
            ActorType::Scim => Self::Scim,
            ActorType::System => Self::System,
        }
    }
}

/// A request that policy refused. `action`, `resource` and `context` have the form that `evaluatePolicies` takes.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "Decision")]
pub struct RecordedDecision {
    /// The id of the decision.
    pub id: DecisionId,
    /// Who asked: the id of a key or of a user, or the provider and the subject of a token.
    pub actor_id: String,
    /// With what kind of credential.
    pub actor_type: ActorTypeName,
    /// What the credential was given.
    pub scopes: Vec<String>,
    /// What was asked for: an operation id.
    pub action: String,
    /// On what: `user:<id>`, `identity_provider:<id>`, `api_key:<id>`, `policy:<id>` or `tenant:<id>`.
    pub resource: String,
    /// The context of the decision; null if it is not kept, as for users who have been erased.
    #[oai(nullable)]
    pub context: Option<AnyObject>,
    /// The outcome: never `permitted`.
    pub kind: DecisionKind,
    /// The priority at which it was decided; null where that was a built-in level, or none.
    #[oai(nullable)]
    pub priority: Option<i32>,
    /// The policies whose rules determined it.
    pub matching_policy_ids: Vec<String>,
    /// The rules that determined it: their ids, and the names of built-in rules.
    pub matching_rule_ids: Vec<String>,
    /// What those rules told the caller.
    pub notices: Vec<String>,
    /// Under which version of the tenant's rules, keys and providers. A higher one is a later one.
    pub policy_version: i64,
    /// The `X-Request-ID` of the request that was refused; null for decisions of a version that did not keep it.
    #[oai(nullable)]
    pub request_id: Option<String>,
    /// When it was decided.
    pub created_at: Timestamp,
}

/// The texts of a list that the program has stored.
fn texts(list: &serde_json::Value) -> Vec<String> {
    let texts = list.as_array().into_iter().flatten().filter_map(|text| text.as_str());
    texts.map(str::to_owned).collect()
}

impl From<decision::DecisionKind> for DecisionKind {
    fn from(kind: decision::DecisionKind) -> Self {
        match kind {
            decision::DecisionKind::Forbidden => Self::Forbidden,
            decision::DecisionKind::NotPermitted => Self::NotPermitted,
            decision::DecisionKind::Error => Self::Error,
        }
    }
}

impl From<decision::Model> for RecordedDecision {
    fn from(decision: decision::Model) -> Self {
        Self {
            id: DecisionId(decision.id),
            actor_id: decision.actor_id,
            actor_type: decision.actor_type.into(),
            scopes: texts(&decision.scopes),
            action: decision.action,
            resource: decision.resource,
            context: match decision.context {
                Some(serde_json::Value::Object(members)) => Some(AnyObject(members)),
                _ => None,
            },
            kind: decision.kind.into(),
            priority: decision.priority,
            matching_policy_ids: texts(&decision.policy_ids),
            matching_rule_ids: texts(&decision.rule_ids),
            notices: texts(&decision.notices),
            policy_version: decision.policy_version,
            request_id: decision.request_id,
            created_at: Timestamp(decision.created_at),
        }
    }
}

/// The outcome of a refused request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub enum RefusalKind {
    /// A rule forbids it.
    Forbidden,
    /// No rule permits it.
    NotPermitted,
    /// A rule could not be evaluated.
    Error,
}

impl Parameter for RefusalKind {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "forbidden" => Ok(Self::Forbidden),
            "not_permitted" => Ok(Self::NotPermitted),
            "error" => Ok(Self::Error),
            _ => Err("must be forbidden, not_permitted or error".into()),
        }
    }
}

impl From<RefusalKind> for decision::DecisionKind {
    fn from(kind: RefusalKind) -> Self {
        match kind {
            RefusalKind::Forbidden => Self::Forbidden,
            RefusalKind::NotPermitted => Self::NotPermitted,
            RefusalKind::Error => Self::Error,
        }
    }
}

/// The operations on the decision log.
pub struct DecisionLogApi;

#[OpenApi(tag = "Tag::Policies")]
impl DecisionLogApi {
    /// List decisions
    ///
    /// Every request that policy has refused, the newest first: those that a rule forbids, those that none permits, and
    /// those on which a rule could not be evaluated. The newest 10,000 are kept. They are written within a second,
    /// beside the requests; where more are refused than can be written, some are left out. What is permitted is in the
    /// audit log, where it changes something.
    #[oai(path = "/v1/decisions", method = "get", operation_id = "listDecisions")]
    #[expect(clippy::too_many_arguments, reason = "each is a parameter of the query")]
    async fn list(
        &self,
        caller: ApiCaller<'_>,
        /// Only those on this action: an operation id.
        action: OptionalQueryParam<ActionName>,
        /// Only those that this key, user or subject asked for.
        actor_id: OptionalQueryParam<ActorId>,
        /// Only those on this resource: its type and id, as in `user:018f2a4e-7c3b-7e21-9d55-0c4f8b1a2d3e`. Types are
        /// `user`, `identity_provider`, `api_key`, `policy` and `tenant`.
        resource: OptionalQueryParam<ResourceName>,
        /// Only those of the request whose answer had this `X-Request-ID`.
        request_id: OptionalQueryParam<RequestName>,
        /// Only those with this outcome.
        kind: OptionalQueryParam<RefusalKind>,
        /// Only those at this time or later.
        from: OptionalQueryParam<Timestamp>,
        /// Only those before this time.
        to: OptionalQueryParam<Timestamp>,
        /// How many rows to answer with at most.
        limit: OptionalQueryParam<Limit>,
        /// Where the page begins: the `next_cursor` of the page before. Omit it for the first page.
        cursor: OptionalQueryParam<Cursor>,
    ) -> Result<Answer<Page<RecordedDecision>>, Error> {
        let tenant = caller.tenant_id();
        let narrowed = DecisionFilter {
            action: action.0.map(|ActionName(action)| action),
            actor_id: actor_id.0.map(|ActorId(id)| id),
            resource: resource.0.map(|ResourceName(name)| name),
            request_id: request_id.0.map(|RequestName(id)| id),
            kind: kind.0.map(decision::DecisionKind::from),
            from: from.0,
            to: to.0,
        };
        let list = List::new("decisions", tenant, &format!("{narrowed:?}"));
        let wanted = list.wanted(limit, cursor)?;
        caller.may(Target::Tenant).await?;
        let rows = super::rows::list(caller.store(), tenant, &narrowed, wanted.after, wanted.to_read()).await?;
        Ok(Answer(list.page(
            &wanted,
            rows,
            |decision| decision.id,
            RecordedDecision::from,
        )))
    }

    /// Get a decision
    #[oai(path = "/v1/decisions/:id", method = "get", operation_id = "getDecision")]
    async fn get(
        &self,
        caller: ApiCaller<'_>,
        /// The decision.
        id: Path<DecisionId>,
    ) -> Result<Answer<RecordedDecision>, Error> {
        caller.may(Target::Tenant).await?;
        let decision = super::rows::find(caller.store(), caller.tenant_id(), id.0).await?;
        let decision = decision.ok_or_else(|| Error::no_such("decision", id.0))?;
        Ok(Answer(decision.into()))
    }
}
