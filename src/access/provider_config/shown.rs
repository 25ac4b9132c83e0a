//! What of a configuration may be shown, and what is a secret.
//!
//! No list of names can tell every secret, so it is the other way round: for each type of provider [`shown`] lists the
//! fields that may be shown, and **everything else is a secret**. A field of the list is shown only if its value is harmless
//! by its form, too: an address with a password or a query in it is not, nor is that of a webhook, nor a text that looks
//! like a token.

use aka_entity::identity_provider::ProviderType;
use serde_json::Value;
use url::Url;

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
pub(super) fn may_be_shown(provider_type: ProviderType, name: &str, value: &Value) -> bool {
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
pub(super) fn is_name(name: &str) -> bool {
    /// Names such as `scim_bearer_token_2` are shorter and have fewer digits than any secret.
    const MAX: usize = 40;
    const MAX_DIGITS: usize = 3;
    let known = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    (1..=MAX).contains(&name.len())
        && name.chars().all(known)
        && name.chars().filter(char::is_ascii_digit).count() <= MAX_DIGITS
        && !looks_like_a_token(name)
}
