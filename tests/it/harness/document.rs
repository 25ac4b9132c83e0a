//! The OpenAPI document that a server serves, as far as answers are checked against it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::node::CLIENT;

/// One operation of the document.
#[derive(Clone, Debug)]
pub struct Documented {
    pub id: String,
    pub method: String,
    /// As in `/v1/users/{id}`.
    pub path: String,
    pub statuses: BTreeSet<u16>,
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
