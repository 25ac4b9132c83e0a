//! Entities: who acts and on what, in Cedar's terms. Those of a credential are built once, when it is first seen.

use std::collections::{HashMap, HashSet};

use aka_entity::{identity_provider, tenant, user};
use cedar_policy::{Entity, EntityUid, RestrictedExpression};
use sea_orm::ActiveEnum as _;

use super::{
    cost::MAX_TEXT_CHARS,
    schema::{TYPES, scope_uid, uid},
};
use crate::{
    access::users::role_names,
    types::{
        clock::Timestamp,
        ids::{ApiKeyId, IdentityProviderId, PolicyId, TenantId, UserId},
        scopes::Scope,
    },
};

/// An entity that can be handed to any number of decisions.
#[derive(Clone, Debug)]
pub struct Known {
    /// Its name.
    pub uid: EntityUid,
    /// Itself, with attributes and parents.
    pub entity: Entity,
}

impl Known {
    fn new(uid: EntityUid, attributes: HashMap<String, RestrictedExpression>, parents: HashSet<EntityUid>) -> Self {
        let entity = Entity::new(uid.clone(), attributes, parents)
            // Only calls of extension functions can fail, and there are none among our attributes.
            .unwrap_or_else(|_| Entity::with_uid(uid.clone()));
        Self { uid, entity }
    }
}

fn text(value: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(value.to_owned())
}

fn boolean(value: bool) -> RestrictedExpression {
    RestrictedExpression::new_bool(value)
}

/// A set of texts, for a context or an attribute.
pub fn texts<'a>(values: impl IntoIterator<Item = &'a str>) -> RestrictedExpression {
    RestrictedExpression::new_set(values.into_iter().map(text))
}

fn scopes_of(scopes: &[Scope]) -> (RestrictedExpression, HashSet<EntityUid>) {
    (
        texts(scopes.iter().map(|scope| scope.as_str())),
        scopes.iter().map(|scope| scope_uid(*scope)).collect(),
    )
}

/// A provider, for a context or an attribute.
#[must_use]
pub fn reference(provider: IdentityProviderId) -> RestrictedExpression {
    RestrictedExpression::new_entity_uid(identity_provider_uid(provider))
}

/// A time, for a context or an attribute: in microseconds, as it is stored, so that comparing is exact.
#[must_use]
pub fn time(time: Timestamp) -> RestrictedExpression {
    RestrictedExpression::new_long(time.0)
}

/// A program with an API key.
#[must_use]
pub fn api_key(
    id: ApiKeyId,
    name: &str,
    scopes: &[Scope],
    provider: Option<IdentityProviderId>,
    expires_at: Option<Timestamp>,
) -> Known {
    let (scopes, parents) = scopes_of(scopes);
    let mut attributes = HashMap::from([("name".to_owned(), text(name)), ("scopes".to_owned(), scopes)]);
    attributes.extend(provider.map(|provider| ("identity_provider".to_owned(), reference(provider))));
    attributes.extend(expires_at.map(|expires_at| ("expires_at".to_owned(), time(expires_at))));
    Known::new(api_key_uid(id), attributes, parents)
}

/// An API key that the tenant does not have, as a resource; see [`unknown_identity_provider`].
#[must_use]
pub fn unknown_api_key(id: ApiKeyId) -> Known {
    api_key(id, "", &[], None, None)
}

/// A person; where it is they who ask, with what their token allows and the provider that issued it.
#[must_use]
pub fn user(user: &user::Model, scopes: &[Scope], issued_by: Option<IdentityProviderId>) -> Known {
    let (scopes, mut parents) = scopes_of(scopes);
    parents.extend(role_names(user).map(|role| uid(&TYPES.role, role)));
    let mut attributes = HashMap::from([
        ("email".to_owned(), text(&user.email)),
        ("email_verified".to_owned(), boolean(user.email_verified)),
        ("name".to_owned(), text(&user.name)),
        ("active".to_owned(), boolean(user.active)),
        ("scopes".to_owned(), scopes),
    ]);
    attributes.extend(issued_by.map(|provider| ("identity_provider".to_owned(), reference(provider))));
    Known::new(user_uid(UserId(user.id)), attributes, parents)
}

/// A user that the tenant does not have, as a resource; see [`unknown_identity_provider`].
#[must_use]
pub fn unknown_user(id: UserId) -> Known {
    let attributes = HashMap::from([
        ("email".to_owned(), text("")),
        ("email_verified".to_owned(), boolean(false)),
        ("name".to_owned(), text("")),
        ("active".to_owned(), boolean(false)),
        ("scopes".to_owned(), texts([])),
    ]);
    Known::new(user_uid(id), attributes, HashSet::new())
}

/// The subject of a token that is not linked to a user.
#[must_use]
pub fn subject(
    provider: IdentityProviderId,
    subject: &str,
    email: Option<&str>,
    email_verified: bool,
    scopes: &[Scope],
) -> Known {
    let (scopes, parents) = scopes_of(scopes);
    let mut attributes = HashMap::from([
        ("identity_provider".to_owned(), reference(provider)),
        ("subject".to_owned(), text(subject)),
        ("email_verified".to_owned(), boolean(email_verified)),
        ("scopes".to_owned(), scopes),
    ]);
    // Of what a request brings into a decision nothing is longer: rules are weighed for that.
    if let Some(email) = email.filter(|email| email.chars().count() <= MAX_TEXT_CHARS) {
        attributes.insert("email".to_owned(), text(email));
    }
    Known::new(
        uid(&TYPES.subject, &format!("{provider}|{subject}")),
        attributes,
        parents,
    )
}

/// The same entity in further roles and groups.
#[must_use]
pub fn member_of(known: Known, groups: &[String]) -> Known {
    let (uid, attributes, mut parents) = known.entity.into_inner();
    for group in groups {
        parents.extend([self::uid(&TYPES.role, group), self::uid(&TYPES.group, group)]);
    }
    Known::new(uid, attributes, parents)
}

/// Whoever works at the program's own command line: no policy is asked about them.
#[must_use]
pub fn operator() -> Known {
    Known::new(uid(&TYPES.subject, "command line"), HashMap::new(), HashSet::new())
}

/// A tenant.
#[must_use]
pub fn tenant(tenant: &tenant::Model) -> Known {
    let attributes = HashMap::from([
        ("slug".to_owned(), text(&tenant.slug)),
        ("is_master".to_owned(), boolean(tenant.is_master)),
    ]);
    Known::new(
        uid(&TYPES.tenant, &TenantId(tenant.id).to_string()),
        attributes,
        HashSet::new(),
    )
}

/// A provider.
#[must_use]
pub fn identity_provider(provider: &identity_provider::Model) -> Known {
    described_provider(
        IdentityProviderId(provider.id),
        &provider.name,
        &provider.provider_type.to_value(),
        provider.enabled,
    )
}

/// A provider that the tenant does not have. A request that names one is decided like any other, so that the answer
/// tells only those something who may ask.
#[must_use]
pub fn unknown_identity_provider(id: IdentityProviderId) -> Known {
    described_provider(id, "", "unknown", false)
}

fn described_provider(id: IdentityProviderId, name: &str, provider_type: &str, enabled: bool) -> Known {
    let attributes = HashMap::from([
        ("name".to_owned(), text(name)),
        ("provider_type".to_owned(), text(provider_type)),
        ("enabled".to_owned(), boolean(enabled)),
    ]);
    Known::new(identity_provider_uid(id), attributes, HashSet::new())
}

/// The name of a user.
#[must_use]
pub fn user_uid(id: UserId) -> EntityUid {
    uid(&TYPES.user, &id.to_string())
}

/// The name of an API key.
#[must_use]
pub fn api_key_uid(id: ApiKeyId) -> EntityUid {
    uid(&TYPES.api_key, &id.to_string())
}

/// The name of a provider.
#[must_use]
pub fn identity_provider_uid(id: IdentityProviderId) -> EntityUid {
    uid(&TYPES.identity_provider, &id.to_string())
}

/// The name of a policy.
#[must_use]
pub fn policy_uid(id: PolicyId) -> EntityUid {
    uid(&TYPES.policy, &id.to_string())
}
