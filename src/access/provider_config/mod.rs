//! The configuration of an identity provider: what of it may be shown (`shown`), how it is stored (`parts`), and how it is
//! changed.
//!
//! What may be shown is stored as JSON. The rest is sealed; it is opened to use it, and when the configuration is changed. A
//! change names what may be shown in full, because its author has seen that; of the secrets, those that it does not mention
//! stay, and `null` removes one (RFC 7396, JSON Merge Patch).

pub(super) mod parts;
mod shown;

use aka_entity::identity_provider::ProviderType;
use serde_json::{Map, Value};

pub use self::parts::{Parts, seal_rows};
use self::shown::may_be_shown;
use super::tokens::issuers::{Invalid, Issuer};
use crate::outbound::Addresses;

/// The size of a configuration at most, as JSON: room for an inline JWK set of a dozen keys.
pub const MAX_CONFIG_BYTES: usize = 32 * 1024;
/// The fields of an issuer's grants.
const GRANTS: [&str; 2] = ["scopes", "role_scopes"];

/// A configuration as somebody gives it.
#[derive(Clone, Default, PartialEq)]
pub struct Config(Map<String, Value>);

impl Config {
    /// Checks a configuration.
    ///
    /// # Errors
    ///
    /// Which field is wrong, and why.
    pub fn new(config: Map<String, Value>, addresses: Addresses) -> Result<Self, Invalid> {
        check_size(&config)?;
        if has_nul(&config) {
            return Err(("config", "must not contain the character U+0000".into()));
        }
        if let Some(issuer) = Issuer::from_config(&without_nulls(&config))? {
            issuer.check_addresses(addresses)?;
        }
        Ok(Self(config))
    }

    /// The configuration of a new provider.
    #[must_use]
    pub fn to_json(&self) -> Value {
        without_nulls(&self.0)
    }
}

/// What a configuration sets. `null` removes a field, and so sets nothing.
fn without_nulls(config: &Map<String, Value>) -> Value {
    let set = config.iter().filter(|(_, value)| !value.is_null());
    Value::Object(set.map(|(name, value)| (name.clone(), value.clone())).collect())
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Config(***)")
    }
}

/// Checks a whole configuration, with the secrets that have stayed.
///
/// # Errors
///
/// Which field is wrong, and why.
pub fn checked(config: Value) -> Result<Value, Invalid> {
    let Value::Object(fields) = config else {
        return Ok(config);
    };
    check_size(&fields)?;
    let config = without_nulls(&fields);
    Issuer::from_config(&config)?;
    Ok(config)
}

fn check_size(config: &Map<String, Value>) -> Result<(), Invalid> {
    let bytes = serde_json::to_vec(config).map_or(usize::MAX, |json| json.len());
    if bytes > MAX_CONFIG_BYTES {
        return Err(("config", format!("must not be larger than {MAX_CONFIG_BYTES} bytes")));
    }
    Ok(())
}

/// PostgreSQL cannot store this character in JSON.
fn has_nul(members: &Map<String, Value>) -> bool {
    fn in_value(value: &Value) -> bool {
        match value {
            Value::String(text) => text.contains('\0'),
            Value::Array(items) => items.iter().any(in_value),
            Value::Object(members) => has_nul(members),
            _ => false,
        }
    }
    members
        .iter()
        .any(|(name, value)| name.contains('\0') || in_value(value))
}

impl Parts {
    /// The whole configuration, changed. What it says of an issuer's grants is passed on as it is, `null` included: what
    /// that means is decided there.
    #[must_use]
    pub fn changed(&self, provider_type: ProviderType, change: &Config) -> Value {
        let mut whole = self.secrets.clone();
        for (name, value) in &change.0 {
            if GRANTS.contains(&name.as_str()) || may_be_shown(provider_type, name, value) {
                whole.insert(name.clone(), value.clone());
            } else {
                merge(&mut whole, name.clone(), value.clone());
            }
        }
        Value::Object(whole)
    }
}

/// A JSON Merge Patch (RFC 7396) of one member.
fn merge(target: &mut Map<String, Value>, name: String, patch: Value) {
    match patch {
        Value::Null => drop(target.remove(&name)),
        Value::Object(members) => {
            let mut inside = match target.remove(&name) {
                Some(Value::Object(inside)) => inside,
                _ => Map::new(),
            };
            for (name, patch) in members {
                merge(&mut inside, name, patch);
            }
            target.insert(name, Value::Object(inside));
        }
        value => drop(target.insert(name, value)),
    }
}
