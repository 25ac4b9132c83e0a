//! The OpenAPI document that a server serves, and the checks of responses against it.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::header::HeaderName;
use serde_json::Value;

use super::{answer::Answer, node::CLIENT};

/// One operation of the document.
#[derive(Clone, Debug)]
pub struct Documented {
    pub id: String,
    pub method: String,
    /// As in `/v1/users/{id}`.
    pub path: String,
    pub statuses: BTreeSet<u16>,
    responses: BTreeMap<u16, Value>,
}

/// What the document says.
pub struct Document {
    pub json: Value,
    pub operations: Vec<Documented>,
}

/// What a method and a path are for the document.
pub enum Found<'a> {
    Operation(&'a Documented),
    /// The path is one, but not with this method; with these it is.
    OtherMethods(BTreeSet<String>),
    Nothing,
}

impl Document {
    /// Fetches the document of a server.
    pub async fn of(address: &str) -> Self {
        let answer = CLIENT
            .get(format!("{address}/openapi.json"))
            .send()
            .await
            .expect("the server has been started");
        assert_eq!(answer.status(), 200, "the document is served");
        let bytes = answer.bytes().await.expect("a body");
        Self::new(serde_json::from_slice(&bytes).expect("/openapi.json is JSON"))
    }

    fn new(json: Value) -> Self {
        let mut operations = Vec::new();
        for (path, item) in json["paths"].as_object().expect("the document has paths") {
            for (method, operation) in item.as_object().expect("a path has operations") {
                if !["get", "put", "post", "delete", "patch", "head", "options"].contains(&method.as_str()) {
                    continue;
                }
                let id = operation["operationId"].as_str();
                let responses = operation["responses"].as_object().expect("an operation has responses");
                operations.push(Documented {
                    id: id
                        .unwrap_or_else(|| panic!("{method} {path} has no operationId"))
                        .to_owned(),
                    method: method.to_uppercase(),
                    path: path.clone(),
                    statuses: responses.keys().filter_map(|status| status.parse().ok()).collect(),
                    responses: responses
                        .iter()
                        .filter_map(|(status, response)| Some((status.parse().ok()?, resolve(&json, response))))
                        .collect(),
                });
            }
        }
        Self { json, operations }
    }

    /// What the document says of a method and a path, which may have a query. `HEAD` is `GET` without its body.
    pub fn find(&self, method: &str, path: &str) -> Found<'_> {
        let method = if method == "HEAD" { "GET" } else { method };
        let path = path.split('?').next().unwrap_or_default();
        let mut of_path: Vec<&Documented> = self.operations.iter().filter(|one| fits(&one.path, path)).collect();
        // `/v1/identities/lookup` goes before `/v1/identities/{id}`.
        let fewest = of_path
            .iter()
            .map(|one| one.path.matches('{').count())
            .min()
            .unwrap_or_default();
        of_path.retain(|one| one.path.matches('{').count() == fewest);
        match of_path.iter().find(|one| one.method == method) {
            Some(operation) => Found::Operation(operation),
            None if of_path.is_empty() => Found::Nothing,
            None => Found::OtherMethods(of_path.into_iter().map(|one| one.method.clone()).collect()),
        }
    }
}

/// The headers of any answer, of which no document speaks.
const OF_ANY: &[&str] = &[
    "content-type",
    "content-encoding",
    "content-length",
    "transfer-encoding",
    "date",
    "connection",
    "allow",
    "vary",
    "x-content-type-options",
];

impl Document {
    /// Checks headers and body of an answer against what the document says of its status.
    pub fn check(&self, operation: &Documented, answer: &Answer, method: &str) -> Result<(), String> {
        let response = operation.responses.get(&answer.status);
        let response = response.ok_or_else(|| format!("{} is not documented for {}", answer.status, operation.id))?;
        let code = answer.json["code"].as_str().filter(|_| answer.status >= 400);
        let told = response["description"].as_str().unwrap_or_default();
        if let Some(code) = code
            && !told.contains(&format!("`{code}`"))
        {
            return Err(format!("{} {} does not speak of {code}", operation.id, answer.status));
        }
        let headers: BTreeMap<String, &Value> = response["headers"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, header)| (name.to_lowercase(), header))
            .collect();
        for (name, header) in &headers {
            if resolve(&self.json, header)["required"] == true && answer.header(name).is_none() {
                return Err(format!("the answer has no {name}"));
            }
        }
        for name in answer.headers.keys().map(HeaderName::as_str) {
            let known = headers.contains_key(name) || OF_ANY.contains(&name) || name.starts_with("access-control-");
            if !known {
                return Err(format!("the header {name} is not documented for {}", operation.id));
            }
        }
        let schema = &response["content"]["application/json"]["schema"];
        match (schema, answer.bytes.is_empty()) {
            (_, true) if method == "HEAD" => Ok(()),
            (Value::Null, true) => Ok(()),
            (Value::Null, false) => Err("an answer without a documented body has one".into()),
            (schema, _) => self.fits(schema, &answer.json, "$"),
        }
    }

    /// Whether a value is what a schema describes: no member that it does not name, and none missing.
    fn fits(&self, schema: &Value, value: &Value, place: &str) -> Result<(), String> {
        let schema = resolve(&self.json, schema);
        if value.is_null() {
            let anything = schema["type"].is_null() && schema["allOf"].is_null();
            return if schema["nullable"] == true || anything {
                Ok(())
            } else {
                Err(format!("{place} is null"))
            };
        }
        for part in schema["allOf"].as_array().into_iter().flatten() {
            self.fits(part, value, place)?;
        }
        let right = match schema["type"].as_str() {
            Some("object") => value.is_object(),
            Some("array") => value.is_array(),
            Some("string") => value.is_string(),
            Some("boolean") => value.is_boolean(),
            Some("integer") => value.is_i64() || value.is_u64(),
            Some("number") => value.is_number(),
            _ => true,
        };
        if !right {
            return Err(format!("{place} is {value}, and no {}", schema["type"]));
        }
        let text = value.as_str().unwrap_or_default();
        let formed = match schema["format"].as_str() {
            Some("uuid") => uuid::Uuid::parse_str(text).is_ok(),
            Some("date-time") => text.contains('T') && text.ends_with('Z'),
            _ => true,
        };
        if !formed {
            return Err(format!("{place} is {value}, and no {}", schema["format"]));
        }
        if let Some(values) = schema["enum"].as_array()
            && !values.contains(value)
        {
            return Err(format!("{place} is {value}, which is not documented"));
        }
        for (number, item) in value.as_array().into_iter().flatten().enumerate() {
            self.fits(&schema["items"], item, &format!("{place}[{number}]"))?;
        }
        let Some(properties) = schema["properties"].as_object() else {
            return Ok(());
        };
        for name in schema["required"].as_array().into_iter().flatten() {
            if value.get(name.as_str().unwrap_or_default()).is_none() {
                return Err(format!("{place} has no {name}"));
            }
        }
        for (name, member) in value.as_object().into_iter().flatten() {
            match properties.get(name) {
                Some(schema) => self.fits(schema, member, &format!("{place}.{name}"))?,
                None if schema["additionalProperties"].is_object() || schema["additionalProperties"] == true => {}
                None => return Err(format!("{place}.{name} is not documented")),
            }
        }
        Ok(())
    }
}

fn resolve(document: &Value, value: &Value) -> Value {
    match value["$ref"].as_str() {
        Some(at) => resolve(
            document,
            document
                .pointer(at.trim_start_matches('#'))
                .expect("it leads somewhere"),
        ),
        None => value.clone(),
    }
}

fn fits(template: &str, path: &str) -> bool {
    let (mut template, mut path) = (template.split('/'), path.split('/'));
    loop {
        match (template.next(), path.next()) {
            (None, None) => return true,
            (Some(expected), Some(segment)) => {
                let fits = if expected.starts_with('{') {
                    !segment.is_empty()
                } else {
                    expected == segment
                };
                if !fits {
                    return false;
                }
            }
            _ => return false,
        }
    }
}
