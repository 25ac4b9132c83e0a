//! What would be decided? Principals and resources as a question names them, whoever asks it.

use std::{sync::Arc, time::Duration};

use aka_entity::{api_key, audit_log_entry::ActorType};
use cedar_policy::RestrictedExpression;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::{
    access::{
        self,
        caller::{PolicyContext, Principal, Target},
        tenants::TenantState,
        workers::Job,
    },
    policy::{
        Capabilities, Capability, Memo, PrincipalInTenant,
        cost::{MAX_SET_ELEMENTS, MAX_TEXT_CHARS},
        entities,
    },
    resources::users,
    store::{Store, StoreError},
    types::{
        ids::{ApiKeyId, IdentityProviderId, TenantId, UserId},
        text::Email,
    },
};

/// The member of a link's context that is the domain of the account's address.
const DOMAIN: &str = "external_email_domain";

/// Why a question cannot be asked.
#[derive(Debug)]
pub enum QuestionRefusal {
    /// A text is not of the form that it must have.
    Malformed(String),
    /// The tenant has no such thing.
    NotFound(&'static str, Option<Uuid>),
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

/// Whom a question is asked about.
#[derive(Debug)]
pub enum PrincipalName {
    /// An API key.
    ApiKey(ApiKeyId),
    /// A user.
    User(UserId),
    /// The user of an address.
    UserOf(Email),
}

/// Reads the name of a principal: `api_key:<id>`, `user:<id>` or `user:<email address>`.
///
/// # Errors
///
/// Where it is none.
pub fn principal_name(name: &str) -> Result<PrincipalName, QuestionRefusal> {
    const FORM: &str = "must be api_key:<id>, user:<id> or user:<email address>";
    let malformed = || QuestionRefusal::Malformed(FORM.into());
    let (kind, id) = kind_and_id(name).ok_or_else(malformed)?;
    match kind.as_str() {
        "apikey" => id.parse().map(PrincipalName::ApiKey).map_err(|_| malformed()),
        "user" => match (id.parse(), id.parse()) {
            (Ok(id), _) => Ok(PrincipalName::User(id)),
            (_, Ok(email)) => Ok(PrincipalName::UserOf(email)),
            _ => Err(malformed()),
        },
        _ => Err(malformed()),
    }
}

impl PrincipalName {
    /// Who that is, to be decided upon: also where the tenant has nobody of this name.
    ///
    /// # Errors
    ///
    /// [`StoreError`]
    pub async fn on(&self, store: &Store, tenant: TenantId) -> Result<Target, StoreError> {
        Ok(match self {
            Self::ApiKey(id) => Target::ApiKey(*id),
            Self::User(id) => Target::User(*id),
            Self::UserOf(email) => {
                let user = users::find_by_email(store, tenant, email).await?;
                Target::User(user.map_or_else(UserId::new, |user| UserId(user.id)))
            }
        })
    }
}

impl PrincipalName {
    /// Who is decided upon for a caller who may not read `on`. An address must not tell whether somebody has it, nor whose
    /// it is: it stands for nobody.
    #[must_use]
    pub const fn withheld(&self, on: Target) -> Target {
        match self {
            Self::UserOf(_) => Target::User(UserId(Uuid::nil())),
            Self::ApiKey(_) | Self::User(_) => on,
        }
    }
}

/// The principal that a question is asked about, in further roles and groups.
///
/// # Errors
///
/// Where the tenant has none of that id.
pub async fn principal(
    store: &Store,
    tenant: TenantId,
    on: Target,
    groups: &[String],
) -> Result<Principal, QuestionRefusal> {
    let (actor_id, actor_type, entity, identity_provider, scopes) = match on {
        Target::ApiKey(id) => {
            let key = access::api_keys::find(store, tenant, id)
                .await?
                .ok_or(QuestionRefusal::NotFound("api_key", Some(id.0)))?;
            (
                id.to_string(),
                ActorType::ApiKey,
                access::api_keys::entity(&key),
                key.identity_provider_id.map(IdentityProviderId),
                access::api_keys::scopes(&key),
            )
        }
        Target::User(id) => {
            let user = access::users::find(store, tenant, id).await?;
            // A user who was named by an address that nobody has has no id.
            let user = user.ok_or(QuestionRefusal::NotFound("user", None))?;
            (
                user.id.to_string(),
                ActorType::Oidc,
                access::users::entity(&user, &[], None),
                None,
                Vec::new(),
            )
        }
        Target::Tenant | Target::IdentityProvider(_) | Target::Policy(_) => {
            return Err(QuestionRefusal::NotFound("principal", None));
        }
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

/// A principal of whom nothing may be looked at, in further roles and groups: as if the tenant had nobody of that id.
///
/// # Errors
///
/// Where it can be no principal.
pub fn unknown_principal(tenant: TenantId, on: Target, groups: &[String]) -> Result<Principal, QuestionRefusal> {
    let (actor_id, actor_type) = match on {
        Target::ApiKey(id) => (id.to_string(), ActorType::ApiKey),
        Target::User(id) => (id.to_string(), ActorType::Oidc),
        Target::Tenant | Target::IdentityProvider(_) | Target::Policy(_) => {
            return Err(QuestionRefusal::NotFound("principal", None));
        }
    };
    let unknown = on.unknown().ok_or(QuestionRefusal::NotFound("principal", None))?;
    Ok(Principal {
        tenant,
        actor_id,
        actor_type,
        entity: entities::member_of(unknown, groups),
        identity_provider: None,
        scopes: Vec::new(),
        memo: Memo::default(),
    })
}

/// What a key can do under the rules of its tenant, found out as a part of a job of the tenant. Empty where a rule of the
/// tenant cannot be read, so that everything is refused.
///
/// # Errors
///
/// [`StoreError`]
pub async fn capabilities(
    job: &Job,
    tenant: &TenantState,
    key: &api_key::Model,
) -> Result<Vec<Capability>, StoreError> {
    /// How long is found out at a time, before it is another tenant's turn.
    const PIECE_TIME: Duration = Duration::from_millis(20);
    let Some(rules) = &tenant.rules else {
        return Ok(Vec::new());
    };
    let known = access::api_keys::entity(key);
    let provider = key
        .identity_provider_id
        .map(|id| tenant.identity_provider_entity(IdentityProviderId(id)).entity);
    let mut entities = vec![known.entity, tenant.entity.entity.clone()];
    entities.extend(provider);
    let mut capabilities = Capabilities::new(PrincipalInTenant {
        principal: &known.uid,
        tenant: &tenant.entity.uid,
        entities,
    });
    loop {
        let rules = Arc::clone(rules);
        let piece = move || {
            let all = capabilities.go_on(&rules, PIECE_TIME);
            (capabilities, all)
        };
        let all;
        (capabilities, all) = job.run(piece).await?;
        if all {
            return Ok(capabilities.found());
        }
    }
}

/// The resource of a name: `user:<id>`, `identity_provider:<id>`, `api_key:<id>`, `policy:<id>` or `tenant:<id>`.
///
/// # Errors
///
/// Where it is none. Only a tenant must exist, and be one's own: the others are decided upon before they are looked for.
pub fn resource(tenant: TenantId, name: &str) -> Result<Target, QuestionRefusal> {
    let malformed = || {
        let form = "must be user:<id>, identity_provider:<id>, api_key:<id>, policy:<id> or tenant:<id>";
        QuestionRefusal::Malformed(form.into())
    };
    let (kind, id) = kind_and_id(name).ok_or_else(malformed)?;
    let on = match kind.as_str() {
        "user" => id.parse().map(Target::User),
        "identityprovider" => id.parse().map(Target::IdentityProvider),
        "apikey" => id.parse().map(Target::ApiKey),
        "policy" => id.parse().map(Target::Policy),
        "tenant" => match id.parse::<TenantId>() {
            Ok(id) if id == tenant => Ok(Target::Tenant),
            Ok(id) => return Err(QuestionRefusal::NotFound("tenant", Some(id.0))),
            Err(error) => Err(error),
        },
        _ => return Err(malformed()),
    };
    on.map_err(|_| malformed())
}

/// The provider that a context names.
#[must_use]
pub fn provider_named(context: &Map<String, Value>) -> Option<IdentityProviderId> {
    context.get("identity_provider")?.as_str()?.parse().ok()
}

/// The circumstances of a JSON object. An identity provider may be given by its id alone.
///
/// # Errors
///
/// Which member is no value of Cedar's.
pub fn circumstances(tenant: &Arc<TenantState>, context: &Map<String, Value>) -> Result<PolicyContext, String> {
    let mut circumstances = PolicyContext::default();
    for (name, value) in context {
        let provider = provider_named(context).filter(|_| name == "identity_provider");
        let value = match provider {
            Some(provider) => {
                let known = tenant.identity_provider_entity(provider);
                circumstances.named.push(known.entity);
                RestrictedExpression::new_entity_uid(known.uid)
            }
            None => expression(value)
                .map_err(|reason| format!("has a member `{name}` that is not a value of Cedar: {reason}"))?,
        };
        circumstances.context.push((name.clone().into(), value));
    }
    // A link has it beside the address, from which it follows.
    let address: Option<Email> = context
        .get("external_email")
        .and_then(|value| value.as_str()?.parse().ok());
    if let Some(address) = address.filter(|_| !context.contains_key(DOMAIN)) {
        circumstances
            .context
            .push((DOMAIN.into(), RestrictedExpression::new_string(address.domain())));
    }
    Ok(circumstances)
}

/// A value as large as those are that real requests bring: rules are weighed for these.
fn expression(value: &Value) -> Result<RestrictedExpression, String> {
    const KINDS: &str = "a string, a whole number, true or false, or an array or object of these";
    Ok(match value {
        Value::Bool(value) => RestrictedExpression::new_bool(*value),
        Value::String(text) if text.chars().count() > MAX_TEXT_CHARS => {
            return Err(format!("a string must not be longer than {MAX_TEXT_CHARS} characters"));
        }
        Value::String(text) => RestrictedExpression::new_string(text.clone()),
        Value::Number(number) => RestrictedExpression::new_long(number.as_i64().ok_or(KINDS)?),
        Value::Array(items) if items.len() > MAX_SET_ELEMENTS => {
            return Err(format!("an array must not have more than {MAX_SET_ELEMENTS} items"));
        }
        Value::Array(items) => {
            RestrictedExpression::new_set(items.iter().map(expression).collect::<Result<Vec<_>, _>>()?)
        }
        Value::Object(members) => {
            let members = members
                .iter()
                .map(|(name, value)| Ok((name.clone(), expression(value)?)));
            let members = members.collect::<Result<Vec<_>, String>>()?;
            RestrictedExpression::new_record(members).map_err(|error| error.to_string())?
        }
        Value::Null => return Err(KINDS.into()),
    })
}
