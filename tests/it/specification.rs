//! The document: the committed, printed and served versions are the same, and cover every operation of the contract.

use std::{collections::BTreeSet, fs};

use crate::harness::{
    Aka, Value,
    document::Document,
    node::CLIENT,
    on_both_stores,
    operations::OPERATIONS,
    program::{project_file, run as aka},
};

on_both_stores![
    the_served_documents_are_the_committed_one,
    every_operation_of_the_contract_is_documented,
    every_operation_documents_its_errors,
    swagger_ui_loads_nothing_from_other_servers,
];

fn committed() -> String {
    fs::read_to_string(project_file("spec/openapi.yaml")).expect("the document is committed")
}

/// Asserts that two texts are the same, and else shows where they differ.
#[track_caller]
fn assert_same(expected: &str, found: &str, what: &str) {
    /// Lines that are shown of a difference.
    const SHOWN: usize = 40;
    if expected == found {
        return;
    }
    let (expected, found): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), found.lines().collect());
    let before = expected
        .iter()
        .zip(&found)
        .take_while(|(one, other)| one == other)
        .count();
    let behind = expected[before..].iter().rev().zip(found[before..].iter().rev());
    let after = behind.take_while(|(one, other)| one == other).count();
    let changed = |lines: &[&str], sign: char| {
        let lines = &lines[before..lines.len() - after];
        lines
            .iter()
            .take(SHOWN)
            .map(|line| format!("{sign} {line}\n"))
            .collect::<Vec<_>>()
            .concat()
    };
    panic!(
        "{what}, from line {}:\n{}{}",
        before + 1,
        changed(&expected, '-'),
        changed(&found, '+')
    );
}

#[test]
fn the_printed_document_is_the_committed_one() {
    assert_same(
        &committed(),
        &aka(&["spec"]).succeeded(),
        "`aka spec` differs from spec/openapi.yaml",
    );
    let yaml = aka(&["spec", "--format", "yaml"]).succeeded();
    assert_same(
        &committed(),
        &yaml,
        "`aka spec --format yaml` differs from spec/openapi.yaml",
    );
}

#[test]
fn the_printed_json_is_the_same_document() {
    let json: Value = aka(&["spec", "--format", "json"]).json();

    assert_eq!(from_yaml(&committed()), json);
}

/// The places of a document, other than its examples, at which there is a null, which OpenAPI allows nowhere.
fn nulls(value: &Value, at: &str) -> Vec<String> {
    match value {
        Value::Null => vec![at.to_owned()],
        Value::Object(members) => members
            .iter()
            .filter(|(name, _)| *name != "example")
            .flat_map(|(name, value)| nulls(value, &format!("{at}/{name}")))
            .collect(),
        Value::Array(items) => items.iter().flat_map(|item| nulls(item, at)).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn nothing_in_the_document_is_null() {
    assert_eq!(nulls(&from_yaml(&committed()), ""), Vec::<String>::new());
}

/// Go has one namespace for everything that a client is generated into: types, their constructors (`New` and the name of
/// the type) and the constants of all enums.
#[test]
fn names_in_a_generated_go_client_are_unique() {
    let document = from_yaml(&committed());
    let mut names: Vec<String> = Vec::new();
    for (name, schema) in document["components"]["schemas"].as_object().expect("schemas") {
        names.push(name.replace('_', ""));
        if schema["type"] == "object" {
            names.push(format!("New{}", name.replace('_', "")));
        }
        let values = schema["enum"].as_array().into_iter().flatten().map(Value::to_string);
        match schema["x-enum-varnames"].as_array() {
            Some(constants) => {
                assert_eq!(constants.len(), values.count(), "{name} has a constant for each value");
                names.extend(constants.iter().map(|name| name.as_str().expect("a name").to_owned()));
            }
            None => names.extend(values.map(|value| value.trim_matches('"').to_uppercase())),
        }
    }
    names.sort();
    let doubled: Vec<&[String]> = names.windows(2).filter(|pair| pair[0] == pair[1]).collect();

    assert_eq!(doubled, Vec::<&[String]>::new());
}

fn from_yaml(text: &str) -> Value {
    yaml_serde::from_str(text).expect("the document is YAML")
}

async fn the_served_documents_are_the_committed_one(aka: Aka) {
    let fetch = async |path: &str| {
        let answer = CLIENT
            .get(format!("{}{path}", aka.address()))
            .send()
            .await
            .expect("an answer");
        assert_eq!(answer.status(), 200);
        answer.text().await.expect("a text")
    };

    assert_same(
        &committed(),
        &fetch("/openapi.yaml").await,
        "/openapi.yaml differs from spec/openapi.yaml",
    );
    let json: Value = serde_json::from_str(&fetch("/openapi.json").await).expect("JSON");
    assert_eq!(from_yaml(&committed()), json);
}

async fn every_operation_of_the_contract_is_documented(aka: Aka) {
    let documented: BTreeSet<(&str, &str)> = aka
        .document()
        .operations
        .iter()
        .map(|one| (one.id.as_str(), one.method.as_str()))
        .collect();
    let mut expected: BTreeSet<(&str, &str)> = OPERATIONS.iter().map(|one| (one.id, one.method.as_str())).collect();
    expected.extend([("getHealth", "GET"), ("getReadiness", "GET")]);

    assert_eq!(documented, expected);
    for operation in OPERATIONS {
        let path = operation.path_to_nothing();
        let crate::harness::document::Found::Operation(found) = aka.document().find(operation.method.as_str(), &path)
        else {
            panic!("{path} is not documented");
        };
        assert_eq!(found.id, operation.id);
    }
}

async fn every_operation_documents_its_errors(aka: Aka) {
    let Document { json, operations } = aka.document();
    let schemes = &json["components"]["securitySchemes"];
    let kind = |name: &str| [&schemes[name]["type"], &schemes[name]["in"], &schemes[name]["scheme"]].map(Value::as_str);
    assert_eq!(kind("apiKey"), [Some("apiKey"), Some("header"), None]);
    assert_eq!(kind("bearerToken"), [Some("http"), None, Some("bearer")]);
    for operation in operations {
        let item = &json["paths"][&operation.path][operation.method.to_lowercase()];
        let id = &operation.id;
        for member in ["summary", "description"] {
            assert!(
                item[member].as_str().is_some_and(|text| text.len() > 8),
                "{id} has no {member}"
            );
        }
        for (status, response) in item["responses"].as_object().expect("responses") {
            let response = match response["$ref"].as_str() {
                Some(reference) => json
                    .pointer(reference.trim_start_matches('#'))
                    .expect("the reference leads somewhere"),
                None => response,
            };
            let content = &response["content"]["application/json"];
            if ["204", "304"].contains(&status.as_str()) {
                assert!(
                    response["content"].as_object().is_none_or(serde_json::Map::is_empty),
                    "{id} {status}"
                );
            } else {
                assert!(content["schema"].is_object(), "{id} {status} has no schema");
            }
        }
        if OPERATIONS.iter().any(|one| one.id == id) {
            let parameters = item["parameters"].as_array().expect("parameters");
            let tenant = parameters.iter().find(|parameter| parameter["name"] == "X-Tenant-ID");
            assert_eq!(tenant.expect("the tenant")["schema"]["format"], "uuid", "{id}");
            for status in [401, 403, 405, 429, 500, 503] {
                assert!(operation.statuses.contains(&status), "{id} does not speak of {status}");
            }
            assert!(
                item["security"].as_array().is_some_and(|all| all.len() == 2),
                "{id} does not name both schemes"
            );
        }
        if item["requestBody"].is_object() {
            assert!(operation.statuses.is_superset(&BTreeSet::from([400, 413, 415])), "{id}");
        }
    }
}

async fn swagger_ui_loads_nothing_from_other_servers(aka: Aka) {
    let answer = CLIENT
        .get(format!("{}/docs", aka.address()))
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 200);
    let media_type = answer.headers()["content-type"].to_str().expect("a text").to_owned();
    assert!(media_type.starts_with("text/html"), "{media_type}");
    let page = answer.text().await.expect("a text");

    assert!(page.contains("createUserIdentity"), "the page knows the document");
    for loaded in [
        "<script src=\"http",
        "<script src=\"//",
        "<link href=\"http",
        "href=\"//",
        "@import",
    ] {
        assert!(
            !page.contains(loaded),
            "the page loads something from elsewhere: {loaded}"
        );
    }
}
