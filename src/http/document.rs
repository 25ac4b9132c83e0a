//! The OpenAPI document: `spec/openapi.yaml`, `/openapi.json`, `/openapi.yaml` and the page at `/docs` are this one.
//!
//! The derives of poem-openapi say most of it. What they cannot say is added here, once, from the tables of operations and
//! codes: parameters and refusals, the members of error details, and examples, which speak of what `aka demo` begins with.
//! What a generator of clients would stumble over is put right ([`tidy`]), and what is always there is marked as required.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use poem_openapi::{registry::Registry, types::Type as _};
use serde_json::{Map, Value, json};

use super::{
    caller::TENANT,
    codes::{self, Code},
    error::Error,
    error_body::ErrorBody,
    etag,
    idempotency::IDEMPOTENCY_KEY,
    operations::{Operation, Resource, Routes},
    tidy::{constants_of, quote_time, tidy, type_nullables},
};

/// The document, and the operations that it describes.
pub struct Document {
    value: Value,
    routes: Routes,
    /// The names of the query parameters of each operation, by its id.
    query_parameters: HashMap<&'static str, Vec<String>>,
}

/// Examples that do not belong to one resource.
pub struct SharedExamples {
    /// Of a parameter, by its name.
    pub parameter: fn(&str) -> Option<Value>,
    /// Of a refusal of an operation with a status.
    pub refusal: fn(&Operation, &str) -> Option<Error>,
}

/// The operation that a request asks for.
#[derive(Clone, Copy)]
pub struct Route {
    /// The operation.
    pub operation: &'static Operation,
    /// The names of its query parameters.
    pub query_parameters: &'static [String],
}

impl Document {
    /// Completes what poem-openapi has generated with what the folders of resources say.
    #[must_use]
    pub fn new(generated: &str, resources: &[&'static Resource], shared: &SharedExamples) -> Self {
        // It was written as JSON a line ago.
        let mut value: Value = serde_json::from_str(generated).unwrap_or_default();
        let routes = Routes::new(resources);
        complete(&mut value, resources, shared);
        let operations = resources.iter().flat_map(|resource| resource.operations);
        let query_parameters = operations
            .map(|operation| (operation.id, query_parameters(&value, operation)))
            .collect();
        Self {
            value,
            routes,
            query_parameters,
        }
    }

    /// As JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(&self.value).unwrap_or_default()
    }

    /// As YAML.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        yaml_serde::to_string(&self.value)
            .unwrap_or_default()
            .lines()
            .map(quote_time)
            .collect()
    }

    /// The operation that a request asks for.
    #[must_use]
    pub fn route(&'static self, method: &str, path: &str) -> Option<Route> {
        let operation = self.routes.operation(method, path)?;
        Some(Route {
            operation,
            query_parameters: self.query_parameters.get(operation.id)?,
        })
    }

    /// The methods that a path supports; of a page beside the document, those of a page.
    #[must_use]
    pub fn methods(&self, path: &str) -> Vec<String> {
        self.routes.methods(path)
    }
}

fn query_parameters(document: &Value, operation: &Operation) -> Vec<String> {
    let described = &document["paths"][operation.path][operation.method.to_lowercase()];
    let parameters = described["parameters"].as_array().into_iter().flatten();
    let in_query = parameters.filter(|parameter| parameter["in"] == "query");
    in_query
        .filter_map(|parameter| parameter["name"].as_str().map(str::to_owned))
        .collect()
}

/// The codes of all errors, in the order in which a request meets them.
#[must_use]
pub fn catalogue(resources: &[&'static Resource]) -> Vec<&'static Code> {
    let of_resources = resources.iter().flat_map(|resource| resource.codes);
    let all = codes::BEFORE_RESOURCES.iter().chain(of_resources);
    all.chain(codes::AFTER_RESOURCES).copied().collect()
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn members_mut(value: &mut Value) -> impl Iterator<Item = (&String, &mut Value)> {
    value.as_object_mut().into_iter().flat_map(Map::iter_mut)
}

/// Adds what the derives cannot say.
fn complete(document: &mut Value, resources: &[&'static Resource], examples: &SharedExamples) {
    describe_errors(document, &catalogue(resources));
    tidy(document);
    let requests = request_schemas(document);
    for (name, schema) in members_mut(&mut document["components"]["schemas"]) {
        complete_schema(name, schema, &requests);
        let example = resources.iter().find_map(|resource| (resource.schema_example)(name));
        if let Some(example) = example {
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
    for resource in resources {
        for operation in resource.operations {
            let described = &mut document["paths"][operation.path][operation.method.to_lowercase()];
            complete_operation(described, operation, (resource, examples), &mut shared);
        }
    }
    document["components"]["responses"] = Value::Object(shared);
    document["components"]["headers"] = headers();
    sort_tags(document);
}

/// Lists the codes of all errors and the members of their details.
fn describe_errors(document: &mut Value, catalogue: &[&'static Code]) {
    let schemas = &mut document["components"]["schemas"];
    schemas["ErrorCode"] = json!({
        "type": "string",
        "description": "What went wrong, for a program. It stays the same when the message changes. Later versions may add \
            codes: a program that does not know one goes by the status.",
        "enum": catalogue.iter().map(|code| code.name).collect::<Vec<_>>(),
    });
    let mut registry = Registry::new();
    ErrorBody::register(&mut registry);
    let mut properties = Map::new();
    for detail in catalogue.iter().flat_map(|code| code.all_details()) {
        if properties.contains_key(detail.name) {
            continue;
        }
        let mut schema = serde_json::to_value((detail.schema)(&mut registry)).unwrap_or_default();
        let with = catalogue
            .iter()
            .filter(|code| code.all_details().any(|of_code| of_code.name == detail.name));
        let with: Vec<String> = with.map(|code| format!("`{code}`")).collect();
        let with = if with.len() == catalogue.len() {
            "every code".to_owned()
        } else {
            with.join(", ")
        };
        let description = format!("{} With {with}.", detail.description);
        if let Some(reference) = schema.get("$ref").cloned() {
            schema = json!({ "allOf": [{ "$ref": reference }] });
        }
        schema["description"] = json!(description);
        properties.insert(detail.name.into(), schema);
    }
    schemas["ErrorDetails"] = json!({
        "title": "ErrorDetails",
        "type": "object",
        "description": "The context of an error, for a program. Each code has members of its own, and only those that apply \
            are present. Later versions may add members.",
        "properties": properties,
    });
    for (name, schema) in registry.schemas {
        if schemas[&name].is_null() {
            schemas[&name] = serde_json::to_value(schema).unwrap_or_default();
        }
    }
    if let Some(schemas) = schemas.as_object_mut() {
        schemas.sort_keys();
    }
}

fn complete_schema(name: &str, schema: &mut Value, requests: &BTreeSet<String>) {
    if requests.contains(name) {
        schema["additionalProperties"] = json!(false);
    } else if schema["type"] == "object" && !["ApiError", "ErrorDetails"].contains(&name) {
        // An answer has all its members, those without a value as null.
        schema["required"] = members(&schema["properties"]).map(|(name, _)| name.as_str()).collect();
    }
    if let Some(names) = constants_of(name, schema) {
        schema["x-enum-varnames"] = names;
    }
}

/// Adds to an operation what its row in the table says.
fn complete_operation(
    described: &mut Value,
    operation: &'static Operation,
    (resource, examples): (&Resource, &SharedExamples),
    shared: &mut Map<String, Value>,
) {
    if let Some(needs) = operation.needs() {
        let description = described["description"].as_str().unwrap_or_default();
        described["description"] = json!(format!("{description}\n\n{needs}").trim_start());
    }
    complete_parameters(described, operation, (resource, examples));
    let etag = described["responses"]["200"]["headers"]["ETag"].clone();
    if operation.method == "GET" && !etag.is_null() {
        let description = "Not modified: the caller's copy is still current. There is no content.";
        described["responses"]["304"] = json!({ "description": description, "headers": { "ETag": etag } });
    }
    if described["security"].is_null() {
        // Said, so that nobody takes it for forgotten.
        described["security"] = json!([]);
    }
    for (status, description) in operation.refusals() {
        described["responses"][status.to_string()] = json!({
            "description": description,
            "content": { "application/json": { "schema": { "$ref": "#/components/schemas/ApiError" } } },
        });
    }
    for (status, response) in members_mut(&mut described["responses"]) {
        complete_response(operation, status, response, examples);
        share(shared, status, response);
    }
    if let Some(responses) = described["responses"].as_object_mut() {
        responses.sort_keys();
    }
}

fn complete_parameters(described: &mut Value, operation: &Operation, (own, shared): (&Resource, &SharedExamples)) {
    let mut parameters = Vec::new();
    if operation.action.is_some() {
        parameters.push(tenant(operation));
    }
    if let Some(declared) = described["parameters"].as_array() {
        parameters.extend(declared.iter().cloned());
    }
    if operation.if_match {
        parameters.push(if_match());
    }
    if operation.may_have_key() {
        parameters.push(idempotency_key(operation.is_carried_out_once()));
    }
    if operation.method == "GET" && !described["responses"]["200"]["headers"]["ETag"].is_null() {
        parameters.push(if_none_match());
    }
    for parameter in &mut parameters {
        let name = parameter["name"].as_str().unwrap_or_default();
        if let Some(example) = (own.parameter_example)(name).or_else(|| (shared.parameter)(name)) {
            parameter["example"] = example;
        }
    }
    if !parameters.is_empty() {
        described["parameters"] = Value::Array(parameters);
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
fn complete_response(operation: &Operation, status: &str, response: &mut Value, examples: &SharedExamples) {
    let header = |name: &str| json!({ "$ref": format!("#/components/headers/{name}") });
    if !response["headers"].is_object() {
        response["headers"] = json!({});
    }
    response["headers"]["X-Request-ID"] = header("X-Request-ID");
    if operation.action.is_some() {
        response["headers"]["Cache-Control"] = header("Cache-Control");
    }
    if status == "401" {
        response["headers"]["WWW-Authenticate"] = header("WWW-Authenticate");
    }
    if status == "405" {
        response["headers"]["Allow"] = header("Allow");
    }
    if ["429", "503"].contains(&status) {
        response["headers"]["Retry-After"] = header("Retry-After");
    }
    if status.starts_with('2') && operation.is_carried_out_once() {
        response["headers"]["Idempotent-Replayed"] = header("Idempotent-Replayed");
    }
    let example = if status.starts_with('2') {
        operation.examples.answer.map(|example| example())
    } else {
        error_example(operation, status, examples).and_then(|error| serde_json::to_value(error.into_body()).ok())
    };
    if let Some(example) = example {
        response["content"]["application/json"]["example"] = example;
    }
}

/// An example of a refusal, as the server words it.
fn error_example(operation: &Operation, status: &str, examples: &SharedExamples) -> Option<Error> {
    let own = match status {
        "400" => operation.examples.invalid,
        "404" => operation.examples.missing,
        "409" => operation.examples.conflict,
        _ => None,
    };
    own.map(|example| example())
        .or_else(|| (examples.refusal)(operation, status))
}

/// The parameter `X-Tenant-ID`.
fn tenant(operation: &Operation) -> Value {
    let description = if operation.is_of_master() {
        "The tenant that the credential belongs to: the master tenant."
    } else {
        "The tenant. It must be the one that the credential belongs to."
    };
    json!({
        "name": TENANT,
        "in": "header",
        "required": true,
        "description": description,
        "schema": { "type": "string", "format": "uuid" },
    })
}

/// The parameter `If-Match`.
fn if_match() -> Value {
    json!({
        "name": "If-Match",
        "in": "header",
        "required": false,
        "description": "The `ETag` of the resource as it was read: it is changed only if it is still the same.",
        "schema": { "type": "string", "pattern": etag::TAGS },
    })
}

/// The parameter `If-None-Match`.
fn if_none_match() -> Value {
    json!({
        "name": "If-None-Match",
        "in": "header",
        "required": false,
        "description": "The `ETag` of the caller's copy. If it is still current, the answer is `304` without content.",
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
        "required": false,
        "description": description,
        "schema": { "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$" },
    })
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
        "Idempotent-Replayed": {
            "description": "`true`: the request was carried out before, with this `Idempotency-Key`, and this is the answer \
                that was given then.",
            "required": false,
            "schema": { "type": "string", "enum": ["true"] },
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
