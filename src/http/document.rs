//! The OpenAPI document: `spec/openapi.yaml`, `/openapi.json`, `/openapi.yaml` and the page at `/docs` are this one.
//!
//! The derives of poem-openapi say most of it. What they cannot say is added here, once, by rules that hold for every
//! operation: what a generator of clients would stumble over is put right ([`tidy`]), what is always there is marked as
//! required, and examples are put in, which speak of what `aka demo` begins with.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use poem::http::Method;
use poem_openapi::{ContactObject, LicenseObject, OpenApi, OpenApiService, ServerObject};
use serde_json::{Map, Value, json};

use super::{error_code::ErrorCode, idempotency::IDEMPOTENCY_KEY};
use crate::{
    resources::{
        api_keys::{api::ApiKeysApi, capabilities::CapabilitiesApi},
        decisions::api::DecisionLogApi,
        examples,
        health::HealthApi,
        identities::api::IdentitiesApi,
        identity_providers::api::IdentityProvidersApi,
        policies::{
            api::PoliciesApi, evaluation_api::PolicyEvaluationApi, preview_api::PolicyPreviewApi,
            rules_api::PolicyRulesApi,
        },
        tenants::api::TenantsApi,
        users::api::UsersApi,
    },
    server::{compression::StaticPage, pages::Tool},
};

const DESCRIPTION: &str = "\
aka knows which external accounts belong to which user. A company's people exist in Okta, Entra, Google, GitHub, Slack, \
PagerDuty and AWS; aka says that Slack `U024` and GitHub `583231` are one person, who linked them, and which rule allowed \
it.

**Credentials.** Every operation but those on health takes an API key in `X-API-Key`, or a token of an issuer that the \
tenant has configured in `Authorization: Bearer`; one of the two. `X-Tenant-ID` is the tenant that the credential belongs \
to.

**Decisions.** Each request is decided by the tenant's Cedar policies, and by the scopes of the credential where none \
applies. A `403` says in `notices` what the rules that refused it have to say.

**Errors** have one shape, `ApiError`, whatever went wrong. `code` is for programs and does not change; `message` is for \
people. Checks are made in this order: credential (`401`), tenant (`403` `tenant_mismatch`), shape of the input (`400`, \
`413`, `415`), policy (`403` `forbidden`), existence (`404`) and conflict (`409`).

**Repeating.** A request that changes something by `POST` or `PATCH` takes an `Idempotency-Key`: sent again with the same \
key, it is answered as it was the first time, and nothing is changed twice. `PUT` and `DELETE` can be repeated as they are.

**Success** is answered when the change is durable, together with its entry in the audit log and its event.";

/// The operations, as poem serves them.
#[must_use]
pub fn service() -> OpenApiService<impl OpenApi, ()> {
    let operations = (
        IdentitiesApi,
        UsersApi,
        IdentityProvidersApi,
        PoliciesApi,
        PolicyRulesApi,
        PolicyEvaluationApi,
        PolicyPreviewApi,
        DecisionLogApi,
        ApiKeysApi,
        CapabilitiesApi,
        TenantsApi,
        HealthApi,
    );
    OpenApiService::new(operations, "aka", env!("CARGO_PKG_VERSION"))
        .description(DESCRIPTION)
        .server(ServerObject::new("/").description("The server that this document comes from."))
        .contact(ContactObject::new().name("The operators of this server"))
        .license(LicenseObject::new("Apache-2.0").url("https://www.apache.org/licenses/LICENSE-2.0"))
}

/// The document in its forms, made once.
pub struct Document {
    json: StaticPage,
    yaml: StaticPage,
    swagger_ui: Tool,
    redoc: Tool,
    /// The paths, those without parameters first.
    routes: Vec<PathItem>,
}

impl Document {
    /// The document. The first who asks makes it, which takes some milliseconds.
    #[must_use]
    pub fn get() -> &'static Self {
        static DOCUMENT: LazyLock<Document> = LazyLock::new(Document::new);
        &DOCUMENT
    }

    fn new() -> Self {
        let service = service();
        let raw = service.spec();
        // It was written as JSON a line ago.
        let mut document: Value = serde_json::from_str(&raw).unwrap_or_default();
        complete(&mut document);
        let json = serde_json::to_string_pretty(&document).unwrap_or_default();
        Self {
            yaml: serde_yaml::to_string(&document)
                .unwrap_or_default()
                .lines()
                .map(quote_time)
                .collect::<String>()
                .into(),
            swagger_ui: swagger_ui(&service.swagger_ui_html(), &json),
            redoc: redoc(&service.redoc_html(), &json),
            routes: routes(&document),
            json: json.into(),
        }
    }

    /// As JSON.
    #[must_use]
    pub const fn json(&self) -> &StaticPage {
        &self.json
    }

    /// As YAML.
    #[must_use]
    pub const fn yaml(&self) -> &StaticPage {
        &self.yaml
    }

    /// The page with which the operations can be tried. It loads nothing from elsewhere.
    #[must_use]
    pub const fn swagger_ui(&self) -> &Tool {
        &self.swagger_ui
    }

    /// The page for those who read. It loads nothing from elsewhere, either.
    #[must_use]
    pub const fn redoc(&self) -> &Tool {
        &self.redoc
    }

    /// The methods that a path supports; of a page beside the document, those of a page.
    #[must_use]
    pub fn methods(&self, path: &str) -> Vec<String> {
        let of_pages = || ["GET", "HEAD", "OPTIONS"].map(str::to_owned).to_vec();
        self.path_item(path).map_or_else(of_pages, |item| item.methods.clone())
    }

    /// The operation that a request asks for.
    #[must_use]
    pub fn operation(&self, method: &Method, path: &str) -> Option<&Operation> {
        // HEAD is answered like GET.
        let method = if method == Method::HEAD { &Method::GET } else { method };
        let operations = &self.path_item(path)?.operations;
        operations.iter().find(|operation| operation.method == method.as_str())
    }

    fn path_item(&self, path: &str) -> Option<&PathItem> {
        self.routes.iter().find(|item| item.fits(path))
    }
}

/// What the document says of an operation.
pub struct Operation {
    method: String,
    /// Its id.
    pub id: String,
    /// The names of its query parameters.
    pub query_parameters: Vec<String>,
}

impl Operation {
    fn new(method: &str, operation: &Value) -> Option<Self> {
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        let in_query = parameters.filter(|parameter| parameter["in"] == "query");
        Some(Self {
            method: method.to_uppercase(),
            id: operation["operationId"].as_str()?.to_owned(),
            query_parameters: in_query
                .filter_map(|parameter| parameter["name"].as_str().map(str::to_owned))
                .collect(),
        })
    }
}

/// What the document says of a path.
struct PathItem {
    segments: Vec<String>,
    operations: Vec<Operation>,
    /// The methods that it supports, those beside its operations included.
    methods: Vec<String>,
}

impl PathItem {
    fn fits(&self, path: &str) -> bool {
        let mut segments = path.split('/');
        self.segments.iter().all(|expected| {
            segments
                .next()
                .is_some_and(|segment| expected.starts_with('{') || expected == segment)
        }) && segments.next().is_none()
    }
}

/// The page of Swagger UI: its style and script, taken from a page that has them.
fn swagger_ui(page: &str, document: &str) -> Tool {
    let begin = format!(
        "SwaggerUIBundle({{ dom_id: '#ui', spec: {}, deepLinking: true }})",
        in_script(document)
    );
    let (style, script) = (element(page, "style"), element(page, "script"));
    Tool::new("/docs", "Try the API", style, "<div id=\"ui\"></div>", [script, &begin])
}

/// The page of Redoc: its script, taken from a page that has it, without its maker's logo, which it would load.
fn redoc(page: &str, document: &str) -> Tool {
    const LOGO: &str = "https://cdn.redoc.ly/redoc/logo-mini.svg";
    let begin = format!(
        "Redoc.init({}, {{}}, document.getElementById('redoc'))",
        in_script(document)
    );
    let script = element(page, "script").replace(LOGO, "data:,");
    Tool::new(
        "/reference",
        "API reference",
        "",
        "<div id=\"redoc\"></div>",
        [&script, &begin],
    )
}

/// The content of the first element of a name.
fn element<'a>(page: &'a str, name: &str) -> &'a str {
    let content = page
        .split_once(&format!("<{name}"))
        .and_then(|(_, rest)| rest.split_once('>'))
        .and_then(|(_, rest)| rest.split_once(&format!("</{name}>")));
    content.map_or("", |(content, _)| content)
}

/// A document as a part of a script that stands in a page: nothing in it ends the script.
fn in_script(document: &str) -> String {
    document.replace("</", "<\\/").replace("<!--", "<\\!--")
}

/// The routes of a document, those without parameters first.
fn routes(document: &Value) -> Vec<PathItem> {
    let mut routes: Vec<_> = members(&document["paths"])
        .map(|(path, item)| {
            let operations: Vec<Operation> = members(item)
                .filter_map(|(method, operation)| Operation::new(method, operation))
                .collect();
            let mut methods: Vec<String> = operations.iter().map(|operation| operation.method.clone()).collect();
            if methods.iter().any(|method| method == "GET") {
                methods.push("HEAD".into());
            }
            methods.push("OPTIONS".into());
            PathItem {
                segments: path.split('/').map(str::to_owned).collect(),
                operations,
                methods,
            }
        })
        .collect();
    routes.sort_by_key(|item| item.segments.iter().filter(|segment| segment.starts_with('{')).count());
    routes
}

/// A line of YAML with its end. A text that looks like a time is put in quotes: readers of YAML 1.1, which most are, would
/// make another thing of it.
fn quote_time(line: &str) -> String {
    let looks_like_time = |value: &str| {
        let digits = value.bytes().zip(b"dddd-dd-ddT".iter());
        value.len() > 10
            && digits.into_iter().all(|(byte, like)| {
                if *like == b'd' {
                    byte.is_ascii_digit()
                } else {
                    byte == *like
                }
            })
    };
    match line.rsplit_once(' ') {
        Some((before, value)) if looks_like_time(value) => format!("{before} '{value}'\n"),
        _ => format!("{line}\n"),
    }
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn members_mut(value: &mut Value) -> impl Iterator<Item = (&String, &mut Value)> {
    value.as_object_mut().into_iter().flat_map(Map::iter_mut)
}

/// Adds what the derives cannot say.
fn complete(document: &mut Value) {
    tidy(document);
    let requests = request_schemas(document);
    for (name, schema) in members_mut(&mut document["components"]["schemas"]) {
        if requests.contains(name) {
            schema["additionalProperties"] = json!(false);
        } else if schema["type"] == "object" && !["ApiError", "ErrorDetails"].contains(&name.as_str()) {
            // An answer has all its members, those without a value as null.
            schema["required"] = members(&schema["properties"]).map(|(name, _)| name.as_str()).collect();
        }
        if let Some(names) = constants_of(name, schema) {
            schema["x-enum-varnames"] = names;
        }
        if let Some(example) = examples::of_schema(name) {
            schema["example"] = example;
        }
    }
    let types: BTreeMap<String, Value> = members(&document["components"]["schemas"])
        .map(|(name, schema)| (format!("#/components/schemas/{name}"), schema["type"].clone()))
        .collect();
    type_nullables(&mut document["components"]["schemas"], &types);
    // What it is stands in the schema itself; a description beside a reference would take `allOf`, which some generators
    // make another type of.
    document["components"]["schemas"]["ApiError"]["properties"]["details"] =
        json!({ "$ref": "#/components/schemas/ErrorDetails" });
    // An empty schema means the same, but generators warn of it here.
    document["components"]["schemas"]["ErrorDetails"]["additionalProperties"] = json!(true);
    let mut shared = Map::new();
    for (path, item) in members_mut(&mut document["paths"]) {
        for (method, operation) in members_mut(item) {
            if ["post", "patch"].contains(&method.as_str()) {
                let parameter = idempotency_key(!operation["responses"]["422"].is_null());
                if let Some(parameters) = operation["parameters"].as_array_mut() {
                    parameters.push(parameter);
                }
            }
            let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut);
            for parameter in parameters.into_iter().flatten() {
                let name = parameter["name"].as_str().unwrap_or_default();
                if let Some(example) = examples::of_parameter(path, name) {
                    parameter["example"] = example;
                }
            }
            if method == "get" && !operation["responses"]["200"]["headers"]["ETag"].is_null() {
                let etag = operation["responses"]["200"]["headers"]["ETag"].clone();
                if let Some(parameters) = operation["parameters"].as_array_mut() {
                    parameters.push(if_none_match());
                }
                let description = "It is still as `If-None-Match` says. There is no content.";
                operation["responses"]["304"] = json!({ "description": description, "headers": { "ETag": etag } });
            }
            if operation["security"].is_null() {
                // Said, so that nobody takes it for forgotten.
                operation["security"] = json!([]);
            }
            let id = operation["operationId"].as_str().unwrap_or_default().to_owned();
            // It is the path that answers it, whichever operation was meant.
            operation["responses"]["405"] = method_not_allowed();
            for (status, response) in members_mut(&mut operation["responses"]) {
                complete_response(&id, status, response);
                share(&mut shared, status, response);
            }
            if let Some(responses) = operation["responses"].as_object_mut() {
                responses.sort_keys();
            }
        }
    }
    document["components"]["responses"] = Value::Object(shared);
    document["components"]["headers"] = headers();
    sort_tags(document);
}

/// What generators of clients should call the values of an enum, where the values alone would not do: in Go the constants
/// of all enums share one namespace, and each of these has a value that another enum has, too.
fn constants_of(name: &str, schema: &Value) -> Option<Value> {
    const WITH_SHARED_VALUES: [&str; 5] = [
        "ActionScopeType",
        "ActorType",
        "DecisionKind",
        "RefusalKind",
        "ScopeType",
    ];
    let values = schema["enum"]
        .as_array()
        .filter(|_| WITH_SHARED_VALUES.contains(&name))?;
    let pascal_case = |word: &str| match word.split_at_checked(1) {
        Some((first, rest)) => format!("{}{rest}", first.to_ascii_uppercase()),
        None => String::new(),
    };
    let constant = |value: &Value| {
        let words = value.as_str().unwrap_or_default().split('_').map(pascal_case);
        format!("{name}{}", words.collect::<String>())
    };
    Some(values.iter().map(constant).collect())
}

/// Says of what type a schema is that may be null and refers to another: without one, `nullable` has no effect
/// (OpenAPI 3.0.3, "Data Types").
fn type_nullables(value: &mut Value, types: &BTreeMap<String, Value>) {
    if value["nullable"] == true
        && value["type"].is_null()
        && let Some(of_type) = value["allOf"][0]["$ref"].as_str().and_then(|name| types.get(name))
    {
        value["type"] = of_type.clone();
    }
    match value {
        Value::Object(members) => members.values_mut().for_each(|member| type_nullables(member, types)),
        Value::Array(values) => values.iter_mut().for_each(|value| type_nullables(value, types)),
        _ => {}
    }
}

/// Puts an answer that is the same for many operations into one place.
fn share(shared: &mut Map<String, Value>, status: &str, response: &mut Value) {
    let name = match status {
        "400" => "InvalidInput",
        "401" => "Unauthenticated",
        "403" => "Forbidden",
        "405" => "MethodNotAllowed",
        "408" => "RequestTimeout",
        "413" => "PayloadTooLarge",
        "415" => "UnsupportedMediaType",
        "422" => "IdempotencyKeyReused",
        "429" => "TooManyRequests",
        "500" => "Internal",
        "503" => "Unavailable",
        _ => return,
    };
    if shared.entry(name).or_insert_with(|| response.clone()) == response {
        *response = json!({ "$ref": format!("#/components/responses/{name}") });
    }
}

/// Puts the tags into the order in which their operations stand.
fn sort_tags(document: &mut Value) {
    let operations = members(&document["paths"]).flat_map(|(_, item)| members(item));
    let order: Vec<Value> = operations.map(|(_, operation)| operation["tags"][0].clone()).collect();
    if let Some(tags) = document["tags"].as_array_mut() {
        tags.sort_by_key(|tag| order.iter().position(|name| *name == tag["name"]));
    }
}

/// What every answer has, and an example of what it is where it is an error.
fn complete_response(operation: &str, status: &str, response: &mut Value) {
    let header = |name: &str| json!({ "$ref": format!("#/components/headers/{name}") });
    if !response["headers"].is_object() {
        response["headers"] = json!({});
    }
    response["headers"]["X-Request-ID"] = header("X-Request-ID");
    if !["getHealth", "getReadiness"].contains(&operation) {
        response["headers"]["Cache-Control"] = header("Cache-Control");
    }
    match status {
        "401" => response["headers"]["WWW-Authenticate"] = header("WWW-Authenticate"),
        "405" => response["headers"]["Allow"] = header("Allow"),
        "429" | "503" => response["headers"]["Retry-After"] = header("Retry-After"),
        _ => {}
    }
    let of_success = || examples::of_answer(operation).filter(|_| status.starts_with('2'));
    if status == "409" {
        let codes: Vec<String> = conflicts_of(operation).iter().map(|code| format!("`{code}`")).collect();
        let (description, of) = (
            &response["description"],
            if codes.len() == 1 { "Code" } else { "Codes" },
        );
        let description = description.as_str().unwrap_or_default();
        response["description"] = json!(format!("{description} {of}: {}.", codes.join(", ")));
    }
    if let Some(example) = of_success().or_else(|| examples::of_error(operation, status)) {
        response["content"]["application/json"]["example"] = example;
    }
}

fn method_not_allowed() -> Value {
    json!({
        "description": "The path does not support the method of the request; the header `Allow` lists those that it \
            supports. Code: `method_not_allowed`.",
        "content": { "application/json": { "schema": { "$ref": "#/components/schemas/ApiError" } } },
    })
}

/// The parameter `If-None-Match`.
fn if_none_match() -> Value {
    json!({
        "name": "If-None-Match",
        "in": "header",
        "description": "The `ETag` of what the caller has already: where it is still so, the answer is `304` without content.",
        "required": false,
        "schema": { "type": "string" },
    })
}

/// The parameter `Idempotency-Key`.
fn idempotency_key(has_effect: bool) -> Value {
    let description = if has_effect {
        "A random UUID of the caller's choice, for this request alone. If the answer is lost, the same request can be sent \
         again with the same key: within 24 hours it is not carried out again, but answered as it was then, with \
         `Idempotent-Replayed: true`. An error is not kept: it has changed nothing. Each credential has keys of its own."
    } else {
        "Has no effect: this operation changes nothing, and can be repeated as it is."
    };
    json!({
        "name": IDEMPOTENCY_KEY,
        "in": "header",
        "description": description,
        "required": false,
        "schema": { "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$" },
    })
}

/// With what an operation can be in conflict.
fn conflicts_of(operation: &str) -> &'static [ErrorCode] {
    match operation {
        "createUserIdentity" => &[
            ErrorCode::IdentityAlreadyLinked,
            ErrorCode::IdentityProviderDisabled,
            ErrorCode::UserSuspended,
        ],
        "createUser" | "updateUser" => &[ErrorCode::UserAlreadyExists],
        "createIdentityProvider" | "updateIdentityProvider" => &[ErrorCode::IdentityProviderAlreadyExists],
        "createTenant" => &[ErrorCode::TenantAlreadyExists],
        "deleteIdentityProvider" => &[ErrorCode::IdentityProviderInUse],
        "rotateApiKey" => &[ErrorCode::ApiKeyEnded, ErrorCode::ApiKeyRotated],
        "createPolicy" | "updatePolicy" | "createPolicyRule" | "updatePolicyRule" => {
            &[ErrorCode::TooManyRules, ErrorCode::PoliciesLocked]
        }
        "previewPolicies" => &[ErrorCode::TooManyRules],
        "deletePolicy" | "reorderPolicies" | "deletePolicyRule" => &[ErrorCode::PoliciesLocked],
        _ => &[],
    }
}

fn headers() -> Value {
    json!({
        "X-Request-ID": {
            "description": "The id of the request, for finding it in logs: that of the request's own X-Request-ID if \
                valid (1 to 64 of `A-Z a-z 0-9 - _ . :`), else a new UUID.",
            "required": true,
            "schema": { "type": "string" },
            "example": "0198c5a0-7c3b-7e21-9d55-0c4f8b1a2d3e",
        },
        "Cache-Control": {
            "description": "`no-store` of changes, whose answers may hold a key; `private, no-cache` of the rest \
                (RFC 9111 §5.2.2).",
            "required": true,
            "schema": { "type": "string" },
            "example": "private, no-cache",
        },
        "WWW-Authenticate": {
            "description": "The ways to show a credential (RFC 9110 §11.6.1).",
            "required": true,
            "schema": { "type": "string" },
            "example": "ApiKey realm=\"aka\", header=\"X-API-Key\"",
        },
        "Allow": {
            "description": "The methods that the path supports (RFC 9110 §10.2.1).",
            "required": true,
            "schema": { "type": "string" },
            "example": "GET, POST, HEAD, OPTIONS",
        },
        "Retry-After": {
            "description": "After how many seconds the request may be sent again (RFC 9110 §10.2.3).",
            "required": true,
            "schema": { "type": "integer", "minimum": 1 },
            "example": 1,
        },
    })
}

/// The names of the schemas of requests' bodies, and of what is in them.
fn request_schemas(document: &Value) -> BTreeSet<String> {
    let operations = members(&document["paths"]).flat_map(|(_, item)| members(item));
    let mut names = BTreeSet::new();
    for (_, operation) in operations {
        references(&operation["requestBody"], document, &mut names);
    }
    names
}

/// The names of the schemas of objects to which a part of the document refers, and of those to which these refer.
fn references(part: &Value, document: &Value, names: &mut BTreeSet<String>) {
    if let Some(reference) = part["$ref"].as_str()
        && let Some(name) = reference.strip_prefix("#/components/schemas/")
    {
        let schema = &document["components"]["schemas"][name];
        if schema["type"] == "object" && names.insert(name.to_owned()) {
            references(schema, document, names);
        }
    }
    match part {
        Value::Object(parts) => parts.values().for_each(|part| references(part, document, names)),
        Value::Array(parts) => parts.iter().for_each(|part| references(part, document, names)),
        _ => {}
    }
}

/// Gives a header the name that it goes by.
fn rename(headers: &mut Map<String, Value>, from: &str, to: &str) {
    if let Some(mut header) = headers.shift_remove(from) {
        if to == "Location" {
            header["schema"]["format"] = json!("uri-reference");
        }
        if let Some(header) = header.as_object_mut() {
            header.remove("deprecated");
        }
        headers.insert(to.into(), header);
    }
}

/// Puts right what generators of clients stumble over, and leaves out what says nothing.
fn tidy(value: &mut Value) {
    match value {
        Value::Object(object) => {
            // A reference with a description beside it: the description belongs beside `allOf`, not into it.
            if let Some(Value::Array(all)) = object.get("allOf")
                && let [reference, Value::Object(beside)] = all.as_slice()
                && reference.get("$ref").is_some()
            {
                let (reference, beside) = (reference.clone(), beside.clone());
                object.insert("allOf".into(), json!([reference]));
                object.extend(beside);
            }
            // Limits of integers are written as numbers with a fraction.
            for limit in ["minimum", "maximum"] {
                if let Some(number) = object.get(limit).and_then(Value::as_f64)
                    && let Ok(whole) = format!("{number}").parse::<i64>()
                {
                    object.insert(limit.into(), whole.into());
                }
            }
            if object.contains_key("in") && object.contains_key("schema") {
                let told = ["name", "in", "required", "description", "schema"];
                *object = told.iter().filter_map(|name| object.remove_entry(*name)).collect();
            }
            if let Some(Value::Object(headers)) = object.get_mut("headers") {
                rename(headers, "LOCATION", "Location");
                rename(headers, "ETAG", "ETag");
            }
            object.retain(|name, value| {
                let empty = value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty);
                !(empty && ["content", "headers", "servers", "tags"].contains(&name.as_str()))
            });
            object.values_mut().for_each(tidy);
        }
        Value::Array(values) => values.iter_mut().for_each(tidy),
        _ => {}
    }
}
