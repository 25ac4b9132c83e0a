//! What every answer must be, whatever a test asks: written by hand from the contract, not taken from the document.

use serde_json::{Map, Value};
use uuid::Uuid;

use super::{
    Answer,
    document::{Document, Found},
};

/// What a member of an object is.
#[derive(Clone, Copy)]
enum Kind {
    Uuid,
    Text,
    Flag,
    Number,
    /// RFC 3339, in UTC and with a `Z`.
    Time,
    OneOf(&'static [&'static str]),
    Texts,
    Object,
    Member(Shape),
    Each(Shape),
    OrNull(&'static Kind),
}

use Kind::{Each, Flag, Member, Number, Object, OneOf, OrNull, Text, Texts, Time};

/// The members of an object: these and no others, and none of them missing.
type Shape = &'static [(&'static str, Kind)];

const PROVIDER_TYPE: Kind = OneOf(&[
    "aws_identity_center",
    "okta",
    "azure_ad",
    "google_workspace",
    "slack",
    "github",
    "pagerduty",
    "custom_scim",
    "oidc",
]);

const USER_IDENTITY: Shape = &[
    ("id", Kind::Uuid),
    ("user_id", OrNull(&Kind::Uuid)),
    ("user_active", OrNull(&Flag)),
    ("identity_provider_id", Kind::Uuid),
    ("provider_name", Text),
    ("provider_type", PROVIDER_TYPE),
    ("external_id", Text),
    ("external_username", OrNull(&Text)),
    ("external_email", OrNull(&Text)),
    ("external_display_name", OrNull(&Text)),
    ("linked_by", OneOf(&["auto", "manual", "scim"])),
    ("last_synced_at", OrNull(&Time)),
    ("created_at", Time),
    ("updated_at", Time),
];

const USER: Shape = &[
    ("id", Kind::Uuid),
    ("email", Text),
    ("name", Text),
    ("roles", Texts),
    ("active", Flag),
    ("email_verified", Flag),
    ("created_at", Time),
    ("updated_at", Time),
];

const IDENTITY_PROVIDER: Shape = &[
    ("id", Kind::Uuid),
    ("name", Text),
    ("provider_type", PROVIDER_TYPE),
    ("config", Object),
    ("config_secrets", Texts),
    ("enabled", Flag),
    ("last_synced_at", OrNull(&Time)),
    ("sync_status", OneOf(&["pending", "syncing", "synced", "failed"])),
    ("sync_error", OrNull(&Text)),
    ("created_at", Time),
    ("updated_at", Time),
];

const TENANT: Shape = &[
    ("id", Kind::Uuid),
    ("name", Text),
    ("slug", Text),
    ("is_master", Flag),
    ("created_at", Time),
    ("updated_at", Time),
];

const API_KEY: Shape = &[
    ("id", Kind::Uuid),
    ("name", Text),
    ("scopes", Texts),
    ("identity_provider_id", OrNull(&Kind::Uuid)),
    ("created_by", Text),
    ("last_used_at", OrNull(&Time)),
    ("expires_at", OrNull(&Time)),
    ("revoked_at", OrNull(&Time)),
    ("revoked_by", OrNull(&Text)),
    ("created_at", Time),
];

/// The only answer that shows a key.
const NEW_API_KEY: Shape = &[
    ("id", Kind::Uuid),
    ("name", Text),
    ("scopes", Texts),
    ("identity_provider_id", OrNull(&Kind::Uuid)),
    ("created_by", Text),
    ("last_used_at", OrNull(&Time)),
    ("expires_at", OrNull(&Time)),
    ("revoked_at", OrNull(&Time)),
    ("revoked_by", OrNull(&Text)),
    ("created_at", Time),
    ("raw_key", Text),
];

const POLICY: Shape = &[
    ("id", Kind::Uuid),
    ("name", Text),
    ("description", OrNull(&Text)),
    ("enabled", Flag),
    ("priority", Number),
    ("rules", Each(POLICY_RULE)),
    ("created_at", Time),
    ("updated_at", Time),
];

const SCOPE_TYPE: Kind = OneOf(&["any", "eq", "in", "is", "is_in"]);

const POLICY_RULE: Shape = &[
    ("id", Kind::Uuid),
    ("ordinal", Number),
    ("effect", OneOf(&["permit", "forbid"])),
    ("policy_text", Text),
    ("principal_scope_type", SCOPE_TYPE),
    ("principal_entity_type", OrNull(&Text)),
    ("principal_entity_id", OrNull(&Text)),
    ("action_scope_type", OneOf(&["any", "eq", "in"])),
    ("action_ids", Texts),
    ("resource_scope_type", SCOPE_TYPE),
    ("resource_entity_type", OrNull(&Text)),
    ("resource_entity_id", OrNull(&Text)),
    ("conditions", OrNull(&Text)),
    ("notice", OrNull(&Text)),
    ("warnings", Each(RULE_WARNING)),
    ("created_at", Time),
];

const RULE_WARNING: Shape = &[
    ("message", Text),
    ("line", OrNull(&Number)),
    ("column", OrNull(&Number)),
];

const EVALUATION: Shape = &[
    ("permitted", Flag),
    ("kind", KIND),
    ("matching_policy_ids", Texts),
    ("matching_rule_ids", Texts),
    ("priority", OrNull(&Number)),
    ("reason", Text),
    ("notices", Texts),
    ("explanations", Each(EXPLANATION)),
    ("facts_withheld", Texts),
];

const EXPLANATION: Shape = &[
    ("rule_id", Text),
    ("policy_id", OrNull(&Kind::Uuid)),
    ("effect", OneOf(&["permit", "forbid"])),
    ("message", Text),
    (
        "unsatisfied",
        Each(&[
            ("clause", Text),
            ("values", Each(&[("expression", Text), ("value", Text)])),
        ]),
    ),
];

const CAPABILITIES: Shape = &[
    ("id", Kind::Uuid),
    ("usable", Flag),
    ("reason", OrNull(&Text)),
    (
        "capabilities",
        Each(&[
            ("action", Text),
            ("verdict", OneOf(&["allow", "deny", "depends"])),
            ("condition", Text),
            (
                "rules",
                Each(&[
                    ("rule_id", Text),
                    ("policy_id", OrNull(&Kind::Uuid)),
                    ("priority", OrNull(&Number)),
                    ("effect", OneOf(&["permit", "forbid"])),
                    ("conditions", Texts),
                ]),
            ),
        ]),
    ),
];

const DECISION: Shape = &[
    ("id", Kind::Uuid),
    ("actor_id", Text),
    ("actor_type", OneOf(&["api_key", "oidc", "scim", "system"])),
    ("scopes", Texts),
    ("action", Text),
    ("resource", Text),
    ("context", OrNull(&Object)),
    ("kind", OneOf(&["forbidden", "not_permitted", "error"])),
    ("priority", OrNull(&Number)),
    ("matching_policy_ids", Texts),
    ("matching_rule_ids", Texts),
    ("notices", Texts),
    ("policy_version", Number),
    ("request_id", OrNull(&Text)),
    ("created_at", Time),
];

const KIND: Kind = OneOf(&["permitted", "forbidden", "not_permitted", "error"]);

const PREVIEW_WARNING: Shape = &[
    ("rule_id", Text),
    ("message", Text),
    ("line", OrNull(&Number)),
    ("column", OrNull(&Number)),
];

const PREVIEW: Shape = &[
    ("examined", Number),
    ("changed", Number),
    ("undecidable", Number),
    ("withheld", Number),
    ("complete", Flag),
    ("warnings", Each(PREVIEW_WARNING)),
    (
        "decisions",
        Each(&[
            ("id", Kind::Uuid),
            ("source", OneOf(&["decision_log", "audit_log"])),
            ("actor_id", Text),
            ("actor_type", OneOf(&["api_key", "oidc", "scim", "system"])),
            ("action", Text),
            ("resource", Text),
            ("created_at", Time),
            (
                "before",
                Member(&[("permitted", Flag), ("kind", KIND), ("matching_rule_ids", Texts)]),
            ),
            (
                "after",
                Member(&[
                    ("permitted", Flag),
                    ("kind", KIND),
                    ("matching_policy_ids", Texts),
                    ("matching_rule_ids", Texts),
                    ("priority", OrNull(&Number)),
                    ("reason", Text),
                    ("notices", Texts),
                ]),
            ),
            ("already", Flag),
            ("message", Text),
        ]),
    ),
];

const HEALTH: Shape = &[("status", OneOf(&["ok"]))];

/// What an operation answers when it has done what it was asked.
#[derive(Clone, Copy)]
enum Success {
    One(Shape),
    Page(Shape),
    Nothing,
}

use Success::{Nothing, One, Page};

/// The successes of each operation of the contract.
const SUCCESSES: &[(&str, &[u16], Success)] = &[
    ("createUserIdentity", &[201, 200], One(USER_IDENTITY)),
    ("listUserIdentities", &[200], Page(USER_IDENTITY)),
    ("getUserIdentity", &[200], One(USER_IDENTITY)),
    ("deleteUserIdentity", &[204], Nothing),
    ("getIdentity", &[200], One(USER_IDENTITY)),
    ("updateIdentity", &[200], One(USER_IDENTITY)),
    ("lookupIdentity", &[200], One(USER_IDENTITY)),
    ("listUsers", &[200], Page(USER)),
    ("createUser", &[201], One(USER)),
    ("getUser", &[200], One(USER)),
    ("updateUser", &[200], One(USER)),
    ("suspendUser", &[200], One(USER)),
    ("deleteUser", &[204], Nothing),
    ("listIdentityProviders", &[200], Page(IDENTITY_PROVIDER)),
    ("createIdentityProvider", &[201], One(IDENTITY_PROVIDER)),
    ("getIdentityProvider", &[200], One(IDENTITY_PROVIDER)),
    ("updateIdentityProvider", &[200], One(IDENTITY_PROVIDER)),
    ("deleteIdentityProvider", &[204], Nothing),
    ("listTenants", &[200], Page(TENANT)),
    ("createTenant", &[201], One(TENANT)),
    ("getTenant", &[200], One(TENANT)),
    ("updateTenant", &[200], One(TENANT)),
    ("createTenantApiKey", &[201], One(NEW_API_KEY)),
    ("listApiKeys", &[200], Page(API_KEY)),
    ("createApiKey", &[201], One(NEW_API_KEY)),
    ("getApiKey", &[200], One(API_KEY)),
    ("getApiKeyCapabilities", &[200], One(CAPABILITIES)),
    ("revokeApiKey", &[204], Nothing),
    ("rotateApiKey", &[201], One(NEW_API_KEY)),
    ("listPolicies", &[200], Page(POLICY)),
    ("createPolicy", &[201], One(POLICY)),
    ("getPolicy", &[200], One(POLICY)),
    ("updatePolicy", &[200], One(POLICY)),
    ("exportPolicy", &[200], One(&[("cedar_policy_set", Text)])),
    ("reorderPolicies", &[204], Nothing),
    ("getPolicySchema", &[200], One(&[("cedar", Text), ("json", Object)])),
    ("evaluatePolicies", &[200], One(EVALUATION)),
    ("previewPolicies", &[200], One(PREVIEW)),
    ("listDecisions", &[200], Page(DECISION)),
    ("getDecision", &[200], One(DECISION)),
    ("deletePolicy", &[204], Nothing),
    ("listPolicyRules", &[200], Page(POLICY_RULE)),
    ("createPolicyRule", &[201], One(POLICY_RULE)),
    ("getPolicyRule", &[200], One(POLICY_RULE)),
    ("updatePolicyRule", &[200], One(POLICY_RULE)),
    ("reorderPolicyRules", &[200], One(POLICY)),
    ("deletePolicyRule", &[204], Nothing),
    ("getHealth", &[200], One(HEALTH)),
    ("getReadiness", &[200], One(HEALTH)),
];

/// What serves the document itself and its pages, of which the document does not speak.
const PAGES: &[&str] = &["/openapi.json", "/openapi.yaml", "/docs", "/reference", "/favicon.ico"];

/// Checks an answer.
pub fn check(answer: &Answer, document: &Document, method: &str, path: &str) -> Result<(), String> {
    if answer.header("x-request-id").is_none_or(str::is_empty) {
        return Err("the answer has no X-Request-ID".into());
    }
    match answer.status {
        200..300 => {}
        304 if answer.bytes.is_empty() && answer.header("etag").is_some() => {}
        _ => check_error(answer, document, method)?,
    }
    match document.find(method, path) {
        Found::Operation(operation) => {
            document.check(operation, answer, method)?;
            if (200..300).contains(&answer.status) && method != "HEAD" {
                check_success(answer, &operation.id)?;
            }
        }
        Found::OtherMethods(methods) => {
            let allowed = answer.header("allow").unwrap_or_default();
            let allowed: Vec<&str> = allowed.split(',').map(str::trim).collect();
            if answer.status != 405 || !methods.iter().all(|one| allowed.contains(&one.as_str())) {
                return Err(format!("a wrong method is a 405 with {methods:?} in Allow"));
            }
        }
        Found::Nothing => {
            let page = path == "/" || PAGES.iter().any(|page| path.starts_with(page));
            if !page && answer.status != 404 {
                return Err("a path that is not in the document is a 404".into());
            }
        }
    }
    Ok(())
}

/// The contract's Error, and nothing else.
fn check_error(answer: &Answer, document: &Document, method: &str) -> Result<(), String> {
    if answer.header("content-type") != Some("application/json") {
        return Err("an error is application/json".into());
    }
    if method == "HEAD" {
        return Ok(());
    }
    let error = answer.json.as_object().ok_or("an error is an object")?;
    for required in ["code", "message"] {
        if error.get(required).and_then(Value::as_str).is_none_or(str::is_empty) {
            return Err(format!("an error has a text {required}"));
        }
    }
    let code = error["code"].as_str().unwrap_or_default();
    check_details(code, &answer.json["details"], document)?;
    let page = format!("/docs/errors/{code}");
    if answer.json["details"]["documentation"] != page {
        return Err(format!("an error points at {page}"));
    }
    for (name, value) in error {
        let right = match name.as_str() {
            "code" | "message" => true,
            "details" => value.is_object(),
            "notices" => value.as_array().is_some_and(|all| all.iter().all(Value::is_string)),
            _ => false,
        };
        if !right {
            return Err(format!("an error has no such {name}: {value}"));
        }
    }
    match answer.status {
        401 if answer.header("www-authenticate").is_none() => Err("a 401 names the schemes in WWW-Authenticate".into()),
        429 | 503 if answer.header("retry-after").is_none() => {
            Err("a 429 or 503 says in Retry-After when to try again".into())
        }
        405 if answer.header("allow").is_none() => Err("a 405 names the methods in Allow".into()),
        _ => Ok(()),
    }
}

/// Every member of `details` is in the document, which names its code beside it; and so is every mistake in the input.
fn check_details(code: &str, details: &Value, document: &Document) -> Result<(), String> {
    let documented = &document.json["components"]["schemas"]["ErrorDetails"]["properties"];
    for name in details.as_object().into_iter().flatten().map(|(name, _)| name) {
        let description = &documented[name]["description"].as_str().unwrap_or_default();
        if !description.contains(&format!("`{code}`")) && !description.contains("every code") {
            return Err(format!("the document does not say that {code} has details.{name}"));
        }
    }
    if code == "invalid_input" {
        let first = ["field", "in", "reason"].map(|name| &details["errors"][0][name]);
        if first != ["field", "in", "reason"].map(|name| &details[name]) {
            return Err("details.errors begins with another mistake than details".into());
        }
    }
    Ok(())
}

fn check_success(answer: &Answer, operation: &str) -> Result<(), String> {
    let known = SUCCESSES.iter().find(|(id, ..)| *id == operation);
    let (_, statuses, success) = known.ok_or_else(|| format!("{operation} is not an operation of the contract"))?;
    if !statuses.contains(&answer.status) {
        return Err(format!("{operation} does not answer {}", answer.status));
    }
    if matches!(success, Nothing) {
        return if answer.bytes.is_empty() {
            Ok(())
        } else {
            Err(format!("{operation} answers no body"))
        };
    }
    if answer.header("content-type") != Some("application/json") {
        return Err("an answer is application/json".into());
    }
    let object = answer.json.as_object().ok_or("an answer is an object")?;
    match success {
        Nothing => Ok(()),
        One(shape) => check_shape(object, shape, operation),
        Page(shape) => {
            let next = object.get("next_cursor").unwrap_or(&Value::Null);
            if object.get("has_more") != Some(&Value::Bool(next.is_string())) {
                return Err("has_more says whether there is a next_cursor".into());
            }
            check_page(object, shape, operation)
        }
    }
}

fn check_page(page: &Map<String, Value>, shape: Shape, at: &str) -> Result<(), String> {
    const ENVELOPE: Shape = &[("data", Each(&[])), ("next_cursor", OrNull(&Text)), ("has_more", Flag)];
    check_names(page, ENVELOPE, at)?;
    check_value(&page["data"], Each(shape), at)
}

fn check_shape(object: &Map<String, Value>, shape: Shape, at: &str) -> Result<(), String> {
    check_names(object, shape, at)?;
    shape
        .iter()
        .try_for_each(|(name, kind)| check_value(&object[*name], *kind, &format!("{at}.{name}")))
}

fn check_names(object: &Map<String, Value>, shape: Shape, at: &str) -> Result<(), String> {
    if let Some((missing, _)) = shape.iter().find(|(name, _)| !object.contains_key(*name)) {
        return Err(format!("{at} has no {missing}"));
    }
    match object.keys().find(|name| !shape.iter().any(|(known, _)| known == name)) {
        Some(other) => Err(format!("{at} has a {other}, of which the contract does not speak")),
        None => Ok(()),
    }
}

fn check_value(value: &Value, kind: Kind, at: &str) -> Result<(), String> {
    let right = match kind {
        Kind::Uuid => value
            .as_str()
            .is_some_and(|text| Uuid::try_parse(text).is_ok_and(|id| id.to_string() == text)),
        Text => value.is_string(),
        Flag => value.is_boolean(),
        Number => value.is_i64(),
        Time => value.as_str().is_some_and(is_time),
        OneOf(names) => value.as_str().is_some_and(|text| names.contains(&text)),
        Texts => value.as_array().is_some_and(|all| all.iter().all(Value::is_string)),
        Object => value.is_object(),
        OrNull(_) if value.is_null() => true,
        OrNull(kind) => return check_value(value, *kind, at),
        Member(shape) => {
            let object = value.as_object().ok_or_else(|| format!("{at} is not an object"))?;
            return check_shape(object, shape, at);
        }
        Each(shape) => {
            let rows = value.as_array().ok_or_else(|| format!("{at} is not an array"))?;
            let rows = rows
                .iter()
                .map(|row| row.as_object().ok_or_else(|| format!("a row of {at} is not an object")));
            return rows.into_iter().try_for_each(|row| check_shape(row?, shape, at));
        }
    };
    if right {
        Ok(())
    } else {
        Err(format!("{at} is not what the contract says: {value}"))
    }
}

/// Whether a text is a time as RFC 3339 §5.6 has it, in UTC, with a `Z` and any number of decimals.
fn is_time(text: &str) -> bool {
    let Some((date_time, decimals)) = text
        .strip_suffix('Z')
        .map(|text| text.split_once('.').unwrap_or((text, "0")))
    else {
        return false;
    };
    let digits = date_time
        .bytes()
        .zip(b"0000-00-00T00:00:00")
        .all(|(byte, like)| match like {
            b'0' => byte.is_ascii_digit(),
            other => byte == *other,
        });
    digits && date_time.len() == 19 && !decimals.is_empty() && decimals.bytes().all(|byte| byte.is_ascii_digit())
}
