//! The configuration of an identity provider: what of it may be shown, and what is a secret.
//!
//! No list of names can tell every secret, so it is the other way round: for each type of provider [`shown`] lists the
//! fields that may be shown, and **everything else is a secret**. A field of the list is shown only if its value is harmless
//! by its form, too: an address with a password or a query in it is not, nor is that of a webhook, nor a text that looks
//! like a token.
//!
//! What may be shown is stored as JSON. The rest is sealed for its row ([`crate::store::sealing`]); it is opened to use it, and when
//! the configuration is changed. A change names what may be shown in full, because its author has seen that; of the secrets,
//! those that it does not mention stay, and `null` removes one (RFC 7396, JSON Merge Patch).

use aka_entity::identity_provider::{self, ProviderType};
use async_trait::async_trait;
use sea_orm::{EntityTrait as _, QueryFilter as _, QuerySelect as _, sea_query::Expr};
use serde_json::{Map, Value};
use url::Url;

use super::tokens::issuers::{Invalid, Issuer};
use crate::{
    outbound::Addresses,
    store::{Applied, Change, Store, StoreError, Tx, root_key::RootKey, sealing::Place},
    types::ids::TenantId,
};

/// The size of a configuration at most, as JSON: room for an inline JWK set of a dozen keys.
pub const MAX_CONFIG_BYTES: usize = 32 * 1024;
/// The fields of an issuer's grants.
const GRANTS: [&str; 2] = ["scopes", "role_scopes"];
/// For the derivation of the keys under which secrets are sealed.
const PURPOSE: &str = "identity provider secrets";
/// Rows of an older version of the program that are sealed with one commit.
const SEALED_AT_A_TIME: u64 = 100;

/// What the value of a field that may be shown looks like.
#[derive(Clone, Copy)]
enum Form {
    /// An id, a name, a region, a number; or a list of such.
    Id,
    /// The address of a server, or a host; or a list of such.
    Address,
    /// Either of them.
    IdOrAddress,
    /// A JWK set of public keys.
    PublicKeys,
    /// Lists of ids by name.
    ListsOfIds,
}

/// What may be shown of every provider: how its tokens are checked, and addresses that OpenID Connect Discovery publishes.
const OF_EVERY_TYPE: &[(&str, Form)] = &[
    ("issuer", Form::Address),
    ("audience", Form::IdOrAddress),
    ("jwks", Form::PublicKeys),
    ("jwks_uri", Form::Address),
    ("scopes", Form::Id),
    ("role_scopes", Form::ListsOfIds),
    ("client_id", Form::Id),
    ("domain", Form::Address),
    ("domains", Form::Address),
    ("base_url", Form::Address),
    ("authorization_endpoint", Form::Address),
    ("token_endpoint", Form::Address),
    ("userinfo_endpoint", Form::Address),
];

/// What may be shown of a provider of a type beside that.
const fn shown(provider_type: ProviderType) -> &'static [(&'static str, Form)] {
    match provider_type {
        ProviderType::AwsIdentityCenter => &[
            ("region", Form::Id),
            ("account_id", Form::Id),
            ("instance_arn", Form::Id),
            ("identity_store_id", Form::Id),
            ("scim_endpoint", Form::Address),
        ],
        ProviderType::Okta => &[("org_url", Form::Address), ("authorization_server_id", Form::Id)],
        ProviderType::AzureAd => &[
            ("tenant_id", Form::Id),
            ("authority", Form::Address),
            ("cloud", Form::Id),
        ],
        ProviderType::GoogleWorkspace => &[("customer_id", Form::Id), ("project_id", Form::Id)],
        ProviderType::Slack => &[
            ("team_id", Form::Id),
            ("enterprise_id", Form::Id),
            ("app_id", Form::Id),
            ("workspace", Form::Id),
        ],
        ProviderType::Github => &[
            ("organization", Form::Id),
            ("enterprise", Form::Id),
            ("app_id", Form::Id),
            ("installation_id", Form::Id),
            ("api_url", Form::Address),
        ],
        ProviderType::Pagerduty => &[
            ("subdomain", Form::Id),
            ("account_id", Form::Id),
            ("region", Form::Id),
            ("api_url", Form::Address),
        ],
        ProviderType::CustomScim => &[("scim_url", Form::Address), ("scim_version", Form::Id)],
        ProviderType::Oidc => &[("tenant_id", Form::Id), ("organization", Form::Id)],
    }
}

/// Whether a field may be shown: because of its name, and because of its value.
fn may_be_shown(provider_type: ProviderType, name: &str, value: &Value) -> bool {
    let mut both = shown(provider_type).iter().chain(OF_EVERY_TYPE);
    both.find(|(known, _)| *known == name)
        .is_some_and(|(_, form)| form.fits(value))
}

impl Form {
    fn fits(self, value: &Value) -> bool {
        match (self, value) {
            (Self::PublicKeys, _) => are_public_keys(value),
            (Self::ListsOfIds, Value::Object(lists)) => {
                let mut lists = lists.iter();
                lists.all(|(name, list)| is_id(name) && Self::Id.fits(list))
            }
            (Self::ListsOfIds, _) => false,
            (_, Value::Array(items)) => items.iter().all(|item| item.is_string() && self.fits(item)),
            (Self::Id, Value::String(text)) => is_id(text),
            (Self::Address, Value::String(text)) => is_address(text),
            (Self::IdOrAddress, Value::String(text)) => is_id(text) || is_address(text),
            (Self::Id, Value::Number(_) | Value::Bool(_)) => true,
            _ => false,
        }
    }
}

/// Whether a text is an id or a name, and nothing that looks like a token or a password.
fn is_id(text: &str) -> bool {
    /// Ids and names of companies are shorter.
    const MAX: usize = 128;
    let known = |c: char| c.is_alphanumeric() || " ._:/@,&-".contains(c);
    text.len() <= MAX && text.chars().all(known) && !text.contains("://") && !looks_like_a_token(text)
}

/// Whether a text is the address of a server, or a host, which gives nobody who knows it any right.
fn is_address(text: &str) -> bool {
    let absolute = if text.contains("://") {
        text.to_owned()
    } else {
        format!("https://{text}")
    };
    let Ok(url) = Url::parse(&absolute) else {
        return false;
    };
    let plain = ["http", "https"].contains(&url.scheme())
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    // Who knows the address of a webhook can call it.
    let webhook = absolute.to_ascii_lowercase().contains("hook");
    plain && !webhook && !looks_like_a_token(&absolute)
}

/// Whether a text has a part that looks like a token, a key or a password: because it begins as those of a well-known
/// service, or because it is long and mixed.
fn looks_like_a_token(text: &str) -> bool {
    /// A UUID has parts of 12 at most, ids of directories some more.
    const LONG: usize = 24;
    /// The tokens of these services are longer.
    const SHORTEST: usize = 20;
    const BEGINNINGS: [&str; 23] = [
        "ghp_",
        "gho_",
        "ghu_",
        "ghs_",
        "ghr_",
        "github_pat_",
        "glpat-",
        "xoxa-",
        "xoxb-",
        "xoxe-",
        "xoxp-",
        "xoxr-",
        "xoxs-",
        "xapp-",
        "sk-",
        "sk_",
        "rk_",
        "whsec_",
        "ya29.",
        "eyj",
        "npm_",
        "pypi-",
        "aka_",
    ];
    // Google's ids of clients are long, and no secret.
    if text.ends_with(".apps.googleusercontent.com") {
        return false;
    }
    let lower = text.to_ascii_lowercase();
    if lower.contains("-----begin") {
        return true;
    }
    let begins = |part: &str| part.len() >= SHORTEST && BEGINNINGS.iter().any(|beginning| part.starts_with(beginning));
    // Keys of AWS.
    let access_key = |part: &str| part.len() == SHORTEST && (part.starts_with("akia") || part.starts_with("asia"));
    let mixed = |part: &str| {
        part.len() >= LONG
            && part.contains(|c: char| c.is_ascii_digit())
            && part.contains(|c: char| c.is_ascii_alphabetic())
    };
    lower.split(['/', ' ', ',', ':', '@', '&']).any(begins)
        || lower
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .any(|part| mixed(part) || access_key(part))
}

/// Whether a value is a JWK set with nothing in it but public keys (RFC 7517, RFC 7518 §6).
fn are_public_keys(value: &Value) -> bool {
    const MEMBERS: [&str; 14] = [
        "kty", "use", "key_ops", "alg", "kid", "x5u", "x5c", "x5t", "x5t#S256", "n", "e", "crv", "x", "y",
    ];
    let Value::Object(set) = value else { return false };
    let Some(Value::Array(keys)) = set.get("keys") else {
        return false;
    };
    let public = |key: &Value| {
        key.as_object().is_some_and(|key| {
            let known = key.keys().all(|member| MEMBERS.contains(&member.as_str()));
            known && key.get("kty").is_some_and(|kty| kty != "oct")
        })
    };
    set.len() == 1 && keys.iter().all(public)
}

/// Whether the name of a secret may be shown. Somebody may have put a secret where a name belongs.
fn is_name(name: &str) -> bool {
    /// Names such as `scim_bearer_token_2` are shorter and have fewer digits than any secret.
    const MAX: usize = 40;
    const MAX_DIGITS: usize = 3;
    let known = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    (1..=MAX).contains(&name.len())
        && name.chars().all(known)
        && name.chars().filter(char::is_ascii_digit).count() <= MAX_DIGITS
        && !looks_like_a_token(name)
}

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

/// A whole configuration in two parts, which have no field in common.
#[derive(Clone, Default, PartialEq)]
pub struct Parts {
    shown: Map<String, Value>,
    secrets: Map<String, Value>,
}

impl Parts {
    /// The parts of a configuration.
    #[must_use]
    pub fn of(provider_type: ProviderType, config: Value) -> Self {
        let Value::Object(config) = config else {
            return Self::default();
        };
        let parts = config
            .into_iter()
            .partition(|(name, value)| may_be_shown(provider_type, name, value));
        let (shown, secrets): (Map<_, _>, Map<_, _>) = parts;
        Self { shown, secrets }
    }

    /// The parts of a stored configuration.
    ///
    /// # Errors
    ///
    /// Where the secrets cannot be opened.
    pub fn open(provider: &identity_provider::Model, root_key: &RootKey) -> Result<Self, StoreError> {
        let mut whole = provider.config.as_object().cloned().unwrap_or_default();
        if let Some(sealed) = &provider.secrets {
            let cannot = || StoreError::Fault(format!("the secrets of provider {} cannot be opened", provider.id));
            let secrets = place(provider).open(root_key, sealed).map_err(|_| cannot())?;
            let secrets: Map<String, Value> = serde_json::from_slice(&secrets).map_err(|_| cannot())?;
            whole.extend(secrets);
        }
        Ok(Self::of(provider.provider_type, Value::Object(whole)))
    }

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

    /// The configuration, for use.
    #[must_use]
    pub fn whole(&self) -> Value {
        let mut whole = self.shown.clone();
        whole.extend(self.secrets.clone());
        Value::Object(whole)
    }

    /// The names of the secrets that may be shown themselves.
    #[must_use]
    pub fn names_of_secrets(&self) -> Vec<String> {
        let mut names: Vec<String> = self.secrets.keys().filter(|name| is_name(name)).cloned().collect();
        names.sort_unstable();
        names
    }

    /// What may be shown.
    #[must_use]
    pub fn into_shown(self) -> Map<String, Value> {
        self.shown
    }

    /// Puts the parts into a row.
    ///
    /// # Errors
    ///
    /// Where they cannot be sealed.
    pub fn store(&self, provider: &mut identity_provider::Model, root_key: &RootKey) -> Result<(), StoreError> {
        let cannot = |_| StoreError::Fault("the secrets of a provider cannot be sealed".into());
        let secrets = Value::Object(self.secrets.clone()).to_string();
        provider.secrets = Some(place(provider).seal(root_key, secrets.as_bytes()).map_err(cannot)?);
        provider.config = Value::Object(self.shown.clone());
        Ok(())
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

fn place(provider: &identity_provider::Model) -> Place {
    Place {
        purpose: PURPOSE,
        tenant: TenantId(provider.tenant_id),
        row: provider.id,
    }
}

/// Seals the secrets in rows that an older version of the program has written, some of them.
struct SealRows;

#[async_trait]
impl Change for SealRows {
    /// How many rows it has sealed.
    type Done = u64;
    type Refusal = StoreError;

    fn tenant(&self) -> Option<TenantId> {
        None
    }

    async fn apply(&self, tx: &Tx<'_>) -> Result<Applied<u64>, StoreError> {
        let rows = identity_provider::Entity::find()
            .filter(identity_provider::COLUMN.secrets.is_null())
            .limit(SEALED_AT_A_TIME)
            .all(tx.db)
            .await?;
        let mut sealed = 0;
        for mut row in rows {
            Parts::open(&row, tx.root_key)?.store(&mut row, tx.root_key)?;
            // Another node may have sealed it meanwhile.
            let updated = identity_provider::Entity::update_many()
                .col_expr(identity_provider::Column::Config, Expr::value(row.config))
                .col_expr(identity_provider::Column::Secrets, Expr::value(row.secrets))
                .filter(identity_provider::COLUMN.tenant_id.eq(row.tenant_id))
                .filter(identity_provider::COLUMN.id.eq(row.id))
                .filter(identity_provider::COLUMN.secrets.is_null())
                .exec(tx.db)
                .await?;
            sealed += updated.rows_affected;
        }
        Ok(Applied::unchanged(sealed))
    }
}

/// Seals the secrets in rows that an older version of the program has written. Nodes that start together share the work.
///
/// # Errors
///
/// [`StoreError`]
pub async fn seal_rows(store: &Store) -> Result<(), StoreError> {
    let mut sealed = 0;
    loop {
        match store.write(SealRows).await? {
            0 => break,
            some => sealed += some,
        }
    }
    if sealed > 0 {
        tracing::info!(providers = sealed, "sealed the secrets of identity providers");
        // They stood in the rows before.
        if let Err(error) = store.rewrite("identity_providers").await {
            tracing::warn!(
                %error,
                "the files of the database may still hold these secrets unsealed: run VACUUM (PostgreSQL: VACUUM FULL \
                 identity_providers)"
            );
        }
    }
    Ok(())
}
