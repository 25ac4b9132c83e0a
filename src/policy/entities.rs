//! Entities: who acts and on what, in Cedar's terms. Those of a credential are built once, when it is first seen.

use std::collections::{HashMap, HashSet};

use cedar_policy::{Entity, EntityUid, RestrictedExpression};

use super::{
    cost::MAX_TEXT_CHARS,
    schema::{TYPES, scope_uid, uid},
};
use crate::types::{
    clock::Timestamp,
    ids::{ApiKeyId, IdentityProviderId, PolicyId, TenantId, UserId},
    scopes::Scope,
};

/// What rules can look at of a user.
#[derive(Clone, Copy, Debug)]
pub struct UserFacts<'a> {
    /// The user's id.
    pub id: UserId,
    /// Their address.
    pub email: &'a str,
    /// Whether the address was verified.
    pub email_verified: bool,
    /// Their name.
    pub name: &'a str,
    /// Whether they are not suspended.
    pub active: bool,
}

/// What rules can look at of a tenant.
#[derive(Clone, Copy, Debug)]
pub struct TenantFacts<'a> {
    /// The tenant's id.
    pub id: TenantId,
    /// Its short name.
    pub slug: &'a str,
    /// Whether it is the tenant that manages the others.
    pub is_master: bool,
}

/// What rules can look at of an identity provider.
#[derive(Clone, Copy, Debug)]
pub struct IdentityProviderFacts<'a> {
    /// The provider's id.
    pub id: IdentityProviderId,
    /// Its name.
    pub name: &'a str,
    /// Its type, as the API spells it.
    pub provider_type: &'a str,
    /// Whether it is enabled.
    pub enabled: bool,
}

/// An entity and its name, which can be handed to any number of decisions.
#[derive(Clone, Debug)]
pub struct NamedEntity {
    /// Its name.
    pub uid: EntityUid,
    /// Itself, with attributes and parents.
    pub entity: Entity,
}

impl NamedEntity {
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
) -> NamedEntity {
    let (scopes, parents) = scopes_of(scopes);
    let mut attributes = HashMap::from([("name".to_owned(), text(name)), ("scopes".to_owned(), scopes)]);
    attributes.extend(provider.map(|provider| ("identity_provider".to_owned(), reference(provider))));
    attributes.extend(expires_at.map(|expires_at| ("expires_at".to_owned(), time(expires_at))));
    NamedEntity::new(api_key_uid(id), attributes, parents)
}

/// An API key that the tenant does not have, as a resource; see [`unknown_identity_provider`].
#[must_use]
pub fn unknown_api_key(id: ApiKeyId) -> NamedEntity {
    api_key(id, "", &[], None, None)
}

/// A person with their roles; where it is they who ask, with what their token allows and the provider that issued it.
#[must_use]
pub fn user<'a>(
    user: UserFacts<'_>,
    roles: impl IntoIterator<Item = &'a str>,
    scopes: &[Scope],
    issued_by: Option<IdentityProviderId>,
) -> NamedEntity {
    let (scopes, mut parents) = scopes_of(scopes);
    parents.extend(roles.into_iter().map(|role| uid(&TYPES.role, role)));
    let mut attributes = HashMap::from([
        ("email".to_owned(), text(user.email)),
        ("email_verified".to_owned(), boolean(user.email_verified)),
        ("name".to_owned(), text(user.name)),
        ("active".to_owned(), boolean(user.active)),
        ("scopes".to_owned(), scopes),
    ]);
    attributes.extend(issued_by.map(|provider| ("identity_provider".to_owned(), reference(provider))));
    NamedEntity::new(user_uid(user.id), attributes, parents)
}

/// A user that the tenant does not have, as a resource; see [`unknown_identity_provider`].
#[must_use]
pub fn unknown_user(id: UserId) -> NamedEntity {
    let unknown = UserFacts {
        id,
        email: "",
        email_verified: false,
        name: "",
        active: false,
    };
    user(unknown, [], &[], None)
}

/// The subject of a token that is not linked to a user.
#[must_use]
pub fn subject(
    provider: IdentityProviderId,
    subject: &str,
    email: Option<&str>,
    email_verified: bool,
    scopes: &[Scope],
) -> NamedEntity {
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
    NamedEntity::new(
        uid(&TYPES.subject, &format!("{provider}|{subject}")),
        attributes,
        parents,
    )
}

/// The same entity in further roles and groups.
#[must_use]
pub fn member_of(known: NamedEntity, groups: &[String]) -> NamedEntity {
    let (uid, attributes, mut parents) = known.entity.into_inner();
    for group in groups {
        parents.extend([self::uid(&TYPES.role, group), self::uid(&TYPES.group, group)]);
    }
    NamedEntity::new(uid, attributes, parents)
}

/// Whoever works at the program's own command line: no policy is asked about them.
#[must_use]
pub fn operator() -> NamedEntity {
    NamedEntity::new(uid(&TYPES.subject, "command line"), HashMap::new(), HashSet::new())
}

/// A tenant.
#[must_use]
pub fn tenant(tenant: TenantFacts<'_>) -> NamedEntity {
    let attributes = HashMap::from([
        ("slug".to_owned(), text(tenant.slug)),
        ("is_master".to_owned(), boolean(tenant.is_master)),
    ]);
    NamedEntity::new(uid(&TYPES.tenant, &tenant.id.to_string()), attributes, HashSet::new())
}

/// A provider.
#[must_use]
pub fn identity_provider(provider: IdentityProviderFacts<'_>) -> NamedEntity {
    let attributes = HashMap::from([
        ("name".to_owned(), text(provider.name)),
        ("provider_type".to_owned(), text(provider.provider_type)),
        ("enabled".to_owned(), boolean(provider.enabled)),
    ]);
    NamedEntity::new(identity_provider_uid(provider.id), attributes, HashSet::new())
}

/// A provider that the tenant does not have. A request that names one is decided like any other, so that the answer
/// tells only those something who may ask.
#[must_use]
pub fn unknown_identity_provider(id: IdentityProviderId) -> NamedEntity {
    identity_provider(IdentityProviderFacts {
        id,
        name: "",
        provider_type: "unknown",
        enabled: false,
    })
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
