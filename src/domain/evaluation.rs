//! What would be decided? Principals and resources as a question names them, whoever asks it.

use std::sync::Arc;

use aka_entity::{api_key, audit_log_entry::ActorType};
use cedar_policy::RestrictedExpression;
use serde_json::{Map, Value};

use super::{
    api_keys,
    caller::{Circumstances, On, Principal},
    ids::{ApiKeyId, IdentityProviderId, TenantId},
    tenant_state::TenantState,
    users,
};
use crate::{
    policy::{self, Capability, Memo, Who, entities},
    store::{Store, StoreError},
};

/// Why a question cannot be asked.
#[derive(Debug)]
pub enum QuestionRefusal {
    /// A text is not of the form that it must have.
    Malformed(String),
    /// The tenant has no such thing.
    NotFound(&'static str),
    /// The store cannot be asked.
    Store(StoreError),
}

impl From<StoreError> for QuestionRefusal {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// The kind and the id of a name like `user:1` or `User::"1"`.
fn kind_and_id(name: &str) -> Option<(String, &str)> {
    let (kind, id) = match name.split_once("::\"") {
        Some((kind, id)) => (kind, id.strip_suffix('"')?),
        None => name.split_once(':')?,
    };
    let kind = kind.chars().filter(|c| *c != '_').collect::<String>().to_lowercase();
    Some((kind, id))
}

/// The principal of a name: `api_key:<id>`, `user:<id>` or `user:<e-mail address>`, in further roles and groups.
///
/// # Errors
///
/// Where there is none.
pub async fn principal(
    store: &Store,
    tenant: TenantId,
    name: &str,
    groups: &[String],
) -> Result<Principal, QuestionRefusal> {
    const FORM: &str = "must be api_key:<id>, user:<id> or user:<e-mail address>";
    let malformed = || QuestionRefusal::Malformed(FORM.into());
    let (kind, id) = kind_and_id(name).ok_or_else(malformed)?;
    let (actor_id, actor_type, entity, identity_provider, scopes) = match kind.as_str() {
        "apikey" => {
            let id: ApiKeyId = id.parse().map_err(|_| malformed())?;
            let key = api_keys::find(store, tenant, id)
                .await?
                .ok_or(QuestionRefusal::NotFound("api_key"))?;
            (
                id.to_string(),
                ActorType::ApiKey,
                api_keys::entity(&key),
                key.identity_provider_id.map(IdentityProviderId),
                api_keys::scopes(&key),
            )
        }
        "user" => {
            let user = match (id.parse(), id.parse()) {
                (Ok(id), _) => users::find(store, tenant, id).await?,
                (_, Ok(email)) => users::find_by_email(store, tenant, &email).await?,
                _ => return Err(malformed()),
            };
            let user = user.ok_or(QuestionRefusal::NotFound("user"))?;
            (
                user.id.to_string(),
                ActorType::Oidc,
                entities::user(&user, &[]),
                None,
                Vec::new(),
            )
        }
        _ => return Err(malformed()),
    };
    let entity = entities::member_of(entity, groups);
    Ok(Principal {
        tenant,
        actor_id,
        actor_type,
        entity,
        identity_provider,
        scopes,
        memo: Memo::default(),
    })
}

/// What a key can do under the rules of its tenant. Empty where a rule of the tenant cannot be read, so that everything is
/// refused.
#[must_use]
pub fn capabilities(tenant: &TenantState, key: &api_key::Model) -> Vec<Capability> {
    let Some(rules) = &tenant.rules else {
        return Vec::new();
    };
    let known = api_keys::entity(key);
    let provider = key
        .identity_provider_id
        .map(|id| tenant.identity_provider_entity(IdentityProviderId(id)).entity);
    let mut entities = vec![known.entity, tenant.entity.entity.clone()];
    entities.extend(provider);
    policy::capabilities(
        rules,
        Who {
            principal: &known.uid,
            tenant: &tenant.entity.uid,
            entities,
        },
    )
}

/// The resource of a name: `user:<id>`, `identity_provider:<id>`, `api_key:<id>`, `policy:<id>` or `tenant:<id>`.
///
/// # Errors
///
/// Where it is none. Only a tenant must exist, and be one's own: the others are decided upon before they are looked for.
pub fn resource(tenant: TenantId, name: &str) -> Result<On, QuestionRefusal> {
    let malformed = || {
        let form = "must be user:<id>, identity_provider:<id>, api_key:<id>, policy:<id> or tenant:<id>";
        QuestionRefusal::Malformed(form.into())
    };
    let (kind, id) = kind_and_id(name).ok_or_else(malformed)?;
    let on = match kind.as_str() {
        "user" => id.parse().map(On::User),
        "identityprovider" => id.parse().map(On::IdentityProvider),
        "apikey" => id.parse().map(On::ApiKey),
        "policy" => id.parse().map(On::Policy),
        "tenant" => match id.parse::<TenantId>() {
            Ok(id) if id == tenant => Ok(On::Tenant),
            Ok(_) => return Err(QuestionRefusal::NotFound("tenant")),
            Err(error) => Err(error),
        },
        _ => return Err(malformed()),
    };
    on.map_err(|_| malformed())
}

/// The circumstances of a JSON object. An identity provider may be given by its id alone.
///
/// # Errors
///
/// Which member is no value of Cedar's.
pub fn circumstances(tenant: &Arc<TenantState>, context: &Map<String, Value>) -> Result<Circumstances, String> {
    let mut circumstances = Circumstances::default();
    for (name, value) in context {
        let provider = (name == "identity_provider")
            .then(|| value.as_str()?.parse().ok())
            .flatten();
        let value = match provider {
            Some(provider) => {
                let known = tenant.identity_provider_entity(provider);
                circumstances.named.push(known.entity);
                RestrictedExpression::new_entity_uid(known.uid)
            }
            None => expression(value).ok_or_else(|| {
                format!("has a member `{name}` that is no value of Cedar's: a text, a whole number, true or false, or a list or object of these")
            })?,
        };
        circumstances.context.push((name.clone().into(), value));
    }
    Ok(circumstances)
}

fn expression(value: &Value) -> Option<RestrictedExpression> {
    Some(match value {
        Value::Bool(value) => RestrictedExpression::new_bool(*value),
        Value::String(text) => RestrictedExpression::new_string(text.clone()),
        Value::Number(number) => RestrictedExpression::new_long(number.as_i64()?),
        Value::Array(items) => RestrictedExpression::new_set(items.iter().map(expression).collect::<Option<Vec<_>>>()?),
        Value::Object(members) => {
            let members = members
                .iter()
                .map(|(name, value)| Some((name.clone(), expression(value)?)));
            RestrictedExpression::new_record(members.collect::<Option<Vec<_>>>()?).ok()?
        }
        Value::Null => return None,
    })
}
