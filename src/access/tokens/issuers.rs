//! Token issuers: what the `config` of an identity provider says of the bearer tokens that are accepted from it.
//!
//! A provider is an issuer where its `config` has `issuer` and `audience`. Its public keys stand there (`jwks`), at an
//! address (`jwks_uri`), or are found by OpenID Connect Discovery from `issuer` alone. What its tokens may have at most
//! stands there, too: `scopes`, and `role_scopes` for the roles of the user to whom a token's subject is linked. Whoever
//! chooses any of these can act as any user of the tenant, so that it takes a scope of its own (`token-issuers:write`).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use aka_entity::{identity_provider, user};
use jsonwebtoken::jwk::JwkSet;
use serde_json::{Value, json};

use super::{
    jwks::{self, UnfitKeys},
    jwks_client::{Remote, discovery_address, keys_address},
};
use crate::{
    access::{provider_config::parts::Parts, users},
    outbound::Addresses,
    store::root_key::RootKey,
    types::{scopes::Scope, text::RoleName},
};

/// The length of an issuer's name at most: it is in an index, where PostgreSQL takes 2,704 bytes.
const MAX_ISSUER_BYTES: usize = 512;
/// Roles in `role_scopes` at most.
const MAX_ROLES: usize = 100;

/// Which field of a configuration is wrong, and why.
pub type Invalid = (&'static str, String);

/// How the tokens of a provider are checked, and what they may do at most.
#[derive(Clone, Debug, PartialEq)]
pub struct Issuer {
    /// What the `iss` claim must be.
    pub issuer: String,
    /// One of these must be in the `aud` claim.
    pub audience: Vec<String>,
    /// Where the public keys are.
    pub keys: KeySource,
    /// What tokens may have at most.
    pub grants: Grants,
}

/// Where an issuer's public keys are.
#[derive(Clone, Debug, PartialEq)]
pub enum KeySource {
    /// In the configuration.
    Inline(Arc<JwkSet>),
    /// Somewhere else, from where they are fetched.
    Remote(Remote),
}

/// The scopes that tokens of an issuer may have at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grants {
    scopes: BTreeSet<Scope>,
    /// Present: a token has only what the roles of its user give it.
    role_scopes: Option<BTreeMap<String, BTreeSet<Scope>>>,
}

impl Grants {
    /// What an issuer may grant where its configuration does not say: what whoever configures it has, without the scopes
    /// that give further rights. Those have to be named.
    pub fn by_default(configured_by: &[Scope]) -> impl Iterator<Item = Scope> {
        configured_by.iter().copied().filter(|scope| !scope.gives_rights())
    }

    /// The scopes that any token may have.
    #[must_use]
    pub fn scopes(&self) -> Vec<Scope> {
        self.scopes.iter().copied().collect()
    }

    /// What remains of the scopes that a token claims. A subject that is linked to no user has no roles.
    #[must_use]
    pub fn limit(&self, claimed: &BTreeSet<Scope>, user: Option<&user::Model>) -> Vec<Scope> {
        let of_roles: Option<BTreeSet<Scope>> = self.role_scopes.as_ref().map(|role_scopes| {
            let roles = user.into_iter().flat_map(users::role_names);
            roles
                .filter_map(|role| role_scopes.get(role))
                .flatten()
                .copied()
                .collect()
        });
        let granted = claimed.intersection(&self.scopes).copied();
        granted
            .filter(|scope| of_roles.as_ref().is_none_or(|allowed| allowed.contains(scope)))
            .collect()
    }

    fn from_config(config: &Value) -> Result<Self, Invalid> {
        let scopes = match config.get("scopes") {
            None | Some(Value::Null) => Self::by_default(Scope::ALL).collect(),
            Some(value) => scopes(value).map_err(|reason| ("config.scopes", reason))?,
        };
        let role_scopes = match config.get("role_scopes") {
            None | Some(Value::Null) => None,
            Some(value) => Some(role_scopes(value).map_err(|reason| ("config.role_scopes", reason))?),
        };
        Ok(Self { scopes, role_scopes })
    }
}

fn scopes(value: &Value) -> Result<BTreeSet<Scope>, String> {
    let items = value.as_array().ok_or("must be an array of scopes")?;
    let scope = |item: &Value| item.as_str().ok_or("must be an array of scopes")?.parse::<Scope>();
    items.iter().map(scope).collect()
}

fn role_scopes(value: &Value) -> Result<BTreeMap<String, BTreeSet<Scope>>, String> {
    let roles = value
        .as_object()
        .ok_or(r#"must be an object like {"admin": ["users:read"]}"#)?;
    if roles.len() > MAX_ROLES {
        return Err(format!("must not have more than {MAX_ROLES} roles"));
    }
    let of_role = |(role, value): (&String, &Value)| {
        let name = RoleName::new(role.clone()).map_err(|reason| format!("has the role \"{role}\", which {reason}"))?;
        let scopes = scopes(value).map_err(|reason| format!("has the role \"{role}\", whose value {reason}"))?;
        Ok((name.to_string(), scopes))
    };
    roles.iter().map(of_role).collect()
}

impl Issuer {
    /// The issuer that a provider is, where it is one. Of providers that named the same issuer before that was refused,
    /// only the first has it in its row.
    #[must_use]
    pub fn of(provider: &identity_provider::Model, root_key: &RootKey) -> Option<Self> {
        let config = Parts::open(provider, root_key).inspect_err(|error| {
            tracing::error!(%error, "the tokens of a provider are not accepted");
        });
        let issuer = Self::from_config(&config.ok()?.whole()).ok().flatten()?;
        (provider.token_issuer.as_ref() == Some(&issuer.issuer)).then_some(issuer)
    }

    /// Reads a configuration. `Ok(None)`: it describes no issuer.
    ///
    /// # Errors
    ///
    /// Which field is wrong, and why.
    pub fn from_config(config: &Value) -> Result<Option<Self>, Invalid> {
        let named = ["issuer", "audience", "jwks", "jwks_uri"]
            .iter()
            .any(|name| config.get(name).is_some());
        if !named {
            return Ok(None);
        }
        let issuer = match config.get("issuer") {
            Some(Value::String(issuer)) if (1..=MAX_ISSUER_BYTES).contains(&issuer.len()) => issuer.clone(),
            _ => {
                let reason =
                    format!("must be a string of 1 to {MAX_ISSUER_BYTES} bytes: the `iss` claim of the tokens");
                return Err(("config.issuer", reason));
            }
        };
        let audience = audience(config.get("audience")).ok_or_else(|| {
            let reason = "must be a string or an array of strings: the `aud` claim of tokens that are for this server";
            ("config.audience", reason.to_owned())
        })?;
        let keys = match (config.get("jwks"), config.get("jwks_uri")) {
            (Some(set), None) => KeySource::Inline(Arc::new(inline_keys(set)?)),
            (None, Some(Value::String(uri))) => KeySource::Remote(Remote::At(uri.clone())),
            (None, None) => KeySource::Remote(Remote::DiscoveredFrom(issuer.clone())),
            (None, Some(_)) => {
                let reason = "must be a string: the address of the issuer's JWK set";
                return Err(("config.jwks_uri", reason.into()));
            }
            (Some(_), Some(_)) => {
                let reason = "must not be given together with config.jwks: the keys are either in the configuration or \
                              fetched from an address";
                return Err(("config.jwks_uri", reason.into()));
            }
        };
        let grants = Grants::from_config(config)?;
        Ok(Some(Self {
            issuer,
            audience,
            keys,
            grants,
        }))
    }

    /// Checks that the issuer's keys may be fetched from where they are.
    ///
    /// # Errors
    ///
    /// Which field is wrong, and why.
    pub fn check_addresses(&self, addresses: Addresses) -> Result<(), Invalid> {
        match &self.keys {
            KeySource::Inline(_) => Ok(()),
            KeySource::Remote(Remote::At(uri)) => {
                let checked = keys_address(addresses, uri);
                checked.map(|_| ()).map_err(|reason| ("config.jwks_uri", reason))
            }
            KeySource::Remote(Remote::DiscoveredFrom(issuer)) => {
                let checked = discovery_address(addresses, issuer);
                checked.map(|_| ()).map_err(|reason| ("config.issuer", reason))
            }
        }
    }
}

/// Writes into the configuration of an issuer what it grants, where it does not say so itself: what it granted before,
/// else what is granted by default by whoever configures it. A `null` forgets what was granted before.
pub fn complete_grants(config: &mut Value, before: Option<&Issuer>, configured_by: &[Scope]) {
    let Ok(Some(_)) = Issuer::from_config(config) else {
        return;
    };
    let before = before.map(|issuer| &issuer.grants);
    if config.get("scopes").is_none() {
        let scopes = before.map(|grants| json!(grants.scopes));
        config["scopes"] = scopes.unwrap_or_default();
    }
    if config["scopes"].is_null() {
        let scopes: BTreeSet<Scope> = Grants::by_default(configured_by).collect();
        config["scopes"] = json!(scopes);
    }
    match (
        config.get("role_scopes"),
        before.and_then(|grants| grants.role_scopes.as_ref()),
    ) {
        (None, Some(role_scopes)) => config["role_scopes"] = json!(role_scopes),
        (Some(Value::Null), _) => {
            if let Some(members) = config.as_object_mut() {
                members.remove("role_scopes");
            }
        }
        _ => {}
    }
}

fn audience(value: Option<&Value>) -> Option<Vec<String>> {
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    match value? {
        Value::Array(all) if !all.is_empty() => all.iter().map(text).collect(),
        value => text(value).map(|one| vec![one]),
    }
}

fn inline_keys(set: &Value) -> Result<JwkSet, Invalid> {
    // RFC 7518 §6: the members of private and symmetric keys.
    let private = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];
    let mut keys = set.get("keys").and_then(Value::as_array).into_iter().flatten();
    if keys.any(|key| private.iter().any(|member| key.get(member).is_some())) {
        return Err((
            "config.jwks",
            "must hold public keys only; one of these is private or symmetric".into(),
        ));
    }
    jwks::read(set, UnfitKeys::Refuse).map_err(|reason| ("config.jwks", reason))
}
