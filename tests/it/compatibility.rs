//! The document of the last release compared with the current one: what clients of the release rely on must still
//! hold. A breaking change is allowed only if `spec/released/breaking.txt` declares it, on a line of its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use crate::harness::{Value, json, program::digest_of};

/// The schemas whose values clients are told to expect more of.
const MAY_GROW: &[&str] = &["#/components/schemas/ErrorCode"];

/// Who reads what a schema describes: where the server reads, less is breaking; where the client does, more is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reader {
    Server,
    Client,
}

/// Two documents, and what in the newer would break a client of the older.
struct Comparison<'a> {
    old: &'a Value,
    new: &'a Value,
    found: BTreeSet<String>,
}

/// What would break a client, a line each.
fn breaking(old: &Value, new: &Value) -> BTreeSet<String> {
    let mut comparison = Comparison {
        old,
        new,
        found: BTreeSet::new(),
    };
    for ((path, method), before) in operations(old) {
        let id = before["operationId"].as_str().unwrap_or_default();
        match &new["paths"][path][method] {
            Value::Null => comparison.say(id, "is gone"),
            after => comparison.operation(id, before, after),
        }
    }
    comparison.found
}

fn operations(document: &Value) -> impl Iterator<Item = ((&String, &String), &Value)> {
    let paths = document["paths"].as_object().into_iter().flatten();
    paths.flat_map(|(path, item)| {
        let methods = item.as_object().into_iter().flatten();
        methods.map(move |(method, operation)| ((path, method), operation))
    })
}

/// Members of an object in the order of their names.
fn members(value: &Value) -> BTreeMap<&String, &Value> {
    value.as_object().into_iter().flatten().collect()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn follow<'a>(document: &'a Value, mut value: &'a Value) -> &'a Value {
    while let Some(at) = value["$ref"].as_str() {
        value = document.pointer(at.trim_start_matches('#')).unwrap_or(&Value::Null);
    }
    value
}

impl Comparison<'_> {
    fn say(&mut self, place: &str, what: impl AsRef<str>) {
        self.found.insert(format!("{place} {}", what.as_ref()));
    }

    fn operation(&mut self, id: &str, before: &Value, after: &Value) {
        if before["operationId"] != after["operationId"] {
            self.say(id, format!("is called {} now", after["operationId"]));
        }
        if items(&before["security"]).next().is_none() && items(&after["security"]).next().is_some() {
            self.say(id, "needs a credential now");
        }
        self.parameters(id, before, after);
        self.request(id, &before["requestBody"], &after["requestBody"]);
        for (status, before) in members(&before["responses"]) {
            // Which errors there are may change: a client goes by the class of a status that it does not know.
            if !status.starts_with('2') && after["responses"][status].is_null() {
                continue;
            }
            match &after["responses"][status] {
                Value::Null => self.say(id, format!("does not answer {status} any more")),
                after => self.response(&format!("{id} {status}"), before, after),
            }
        }
        for status in members(&after["responses"]).into_keys() {
            if status.starts_with('2') && before["responses"][status].is_null() {
                self.say(id, format!("may answer {status} now"));
            }
        }
    }

    fn parameters(&mut self, id: &str, before: &Value, after: &Value) {
        let key = |parameter: &Value| (parameter["in"].to_string(), parameter["name"].to_string());
        let now: BTreeMap<_, _> = items(&after["parameters"]).map(|one| (key(one), one)).collect();
        let then: BTreeMap<_, _> = items(&before["parameters"]).map(|one| (key(one), one)).collect();
        for (name, before) in &then {
            let place = format!("{id} {}", name.1);
            let Some(after) = now.get(name) else {
                self.say(&place, "is gone");
                continue;
            };
            if after["required"] == true && before["required"] != true {
                self.say(&place, "is required now");
            }
            self.schema(&place, &before["schema"], &after["schema"], Reader::Server);
        }
        for (name, _) in now.iter().filter(|(_, parameter)| parameter["required"] == true) {
            if !then.contains_key(name) {
                self.say(&format!("{id} {}", name.1), "is new and required");
            }
        }
    }

    fn request(&mut self, id: &str, before: &Value, after: &Value) {
        let place = format!("{id} body");
        if after["required"] == true && before["required"] != true {
            self.say(&place, "is required now");
        }
        for (media_type, before) in members(&before["content"]) {
            match &after["content"][media_type] {
                Value::Null => self.say(&place, format!("cannot be {media_type} any more")),
                after => self.schema(&place, &before["schema"], &after["schema"], Reader::Server),
            }
        }
    }

    fn response(&mut self, place: &str, before: &Value, after: &Value) {
        let (before, after) = (follow(self.old, before), follow(self.new, after));
        for header in members(&before["headers"]).into_keys() {
            if after["headers"][header].is_null() {
                self.say(place, format!("has no {header} any more"));
            }
        }
        for (media_type, before) in members(&before["content"]) {
            match &after["content"][media_type] {
                Value::Null => self.say(place, format!("is not {media_type} any more")),
                after => self.schema(place, &before["schema"], &after["schema"], Reader::Client),
            }
        }
    }

    fn schema(&mut self, place: &str, before: &Value, after: &Value, reader: Reader) {
        let may_grow = before["$ref"].as_str().is_some_and(|name| MAY_GROW.contains(&name));
        let (before, after) = (follow(self.old, before), follow(self.new, after));
        for name in ["type", "format", "pattern"] {
            // A server that asks for less than it did breaks nobody.
            let less = reader == Reader::Server && after[name].is_null() && name != "type";
            if before[name] != after[name] && !less {
                self.say(
                    place,
                    format!("has the {name} {} instead of {}", after[name], before[name]),
                );
            }
        }
        self.limits(place, before, after, reader);
        self.values(place, before, after, reader, may_grow);
        let nullable = |schema: &Value| schema["nullable"] == true;
        match reader {
            Reader::Server if nullable(before) && !nullable(after) => self.say(place, "cannot be null any more"),
            Reader::Client if !nullable(before) && nullable(after) => self.say(place, "may be null now"),
            _ => {}
        }
        self.properties(place, before, after, reader);
        if !before["items"].is_null() {
            self.schema(&format!("{place}[]"), &before["items"], &after["items"], reader);
        }
        for (number, (before, after)) in items(&before["allOf"]).zip(items(&after["allOf"])).enumerate() {
            // One is how a nullable schema refers to another.
            let place = if number == 0 {
                place.to_owned()
            } else {
                format!("{place}({number})")
            };
            self.schema(&place, before, after, reader);
        }
    }

    fn limits(&mut self, place: &str, before: &Value, after: &Value, reader: Reader) {
        for (name, is_upper) in [
            ("maxLength", true),
            ("maximum", true),
            ("maxItems", true),
            ("minLength", false),
            ("minimum", false),
            ("minItems", false),
        ] {
            let (was, is) = (before[name].as_f64(), after[name].as_f64());
            let narrower = match (was, is) {
                (_, None) => false,
                (None, Some(_)) => true,
                (Some(was), Some(is)) if is_upper => is < was,
                (Some(was), Some(is)) => is > was,
            };
            if reader == Reader::Server && narrower {
                self.say(
                    place,
                    format!("has the {name} {} instead of {}", after[name], before[name]),
                );
            }
        }
    }

    fn values(&mut self, place: &str, before: &Value, after: &Value, reader: Reader, may_grow: bool) {
        let of = |schema: &Value| items(&schema["enum"]).map(ToString::to_string).collect::<BTreeSet<_>>();
        let (then, now) = (of(before), of(after));
        if reader == Reader::Server || may_grow {
            for value in then.difference(&now).filter(|_| !now.is_empty() || may_grow) {
                self.say(place, format!("cannot be {value} any more"));
            }
            if then.is_empty() && !now.is_empty() {
                self.say(place, "has a list of values now");
            }
        } else {
            for value in now.difference(&then) {
                self.say(place, format!("may be {value} now"));
            }
        }
    }

    fn properties(&mut self, place: &str, before: &Value, after: &Value, reader: Reader) {
        let required = |schema: &Value, name: &str| items(&schema["required"]).any(|one| one == name);
        for (name, was) in members(&before["properties"]) {
            let place = format!("{place}.{name}");
            match &after["properties"][name] {
                Value::Null => self.say(&place, "is gone"),
                is => self.schema(&place, was, is, reader),
            }
            match (required(before, name), required(after, name), reader) {
                (false, true, Reader::Server) => self.say(&place, "is required now"),
                (true, false, Reader::Client) if !after["properties"][name].is_null() => {
                    self.say(&place, "may be absent now");
                }
                _ => {}
            }
        }
        for name in members(&after["properties"]).into_keys() {
            if reader == Reader::Server && required(after, name) && before["properties"][name].is_null() {
                self.say(&format!("{place}.{name}"), "is new and required");
            }
        }
    }
}

fn document(yaml: &str) -> Value {
    yaml_serde::from_str(yaml).expect("YAML")
}

fn released() -> Value {
    document(include_str!("../../spec/released/openapi.yaml"))
}

#[test]
fn the_released_document_changes_only_with_a_release() {
    /// The last release, and SHA-256 of its document.
    const RELEASE: (&str, &str) = (
        "0.1.0",
        "4ffa0861d78a1ffbe579e15e8d7fce91cf9d4e7b9a9129b4ac90227dfbf2daa4",
    );
    let digest = digest_of("spec/released/openapi.yaml");
    let found = released();
    assert_eq!(
        (found["info"]["version"].as_str(), digest.as_str()),
        (Some(RELEASE.0), RELEASE.1),
        "spec/released/openapi.yaml is not the document of the last release; see spec/released/README.md"
    );
}

#[test]
fn every_breaking_change_is_declared() {
    let now = document(include_str!("../../spec/openapi.yaml"));
    let declared: BTreeSet<String> = include_str!("../../spec/released/breaking.txt")
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect();
    let mut wrong = String::new();
    let breaking = breaking(&released(), &now);
    for line in breaking.difference(&declared) {
        let _ = writeln!(wrong, "breaks clients of the last release: {line}");
    }
    for line in declared.difference(&breaking) {
        let _ = writeln!(wrong, "is declared as breaking, and breaks nothing: {line}");
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// Changes the released document, and says what that would break.
fn after(change: impl FnOnce(&mut Value)) -> Vec<String> {
    let old = released();
    let mut new = old.clone();
    change(&mut new);
    breaking(&old, &new).into_iter().collect()
}

fn at<'a>(document: &'a mut Value, pointer: &str) -> &'a mut Value {
    document.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}"))
}

fn remove(document: &mut Value, pointer: &str, name: &str) {
    let removed = at(document, pointer).as_object_mut().expect("an object").remove(name);
    assert!(removed.is_some(), "no {name} in {pointer}");
}

const LINK: &str = "/paths/~1v1~1users~1{id}~1identities/post";
/// The schema of the released document, which has its name from there.
const NEW_USER: &str = "/components/schemas/NewUser";
const USER: &str = "/components/schemas/User";

#[test]
fn breaking_changes_are_found() {
    let link = |name: &str| format!("{LINK}/{name}");
    assert_eq!(
        after(|new| remove(new, "/paths/~1v1~1users~1{id}~1identities", "post")),
        ["createUserIdentity is gone"]
    );
    assert_eq!(
        after(|new| *at(new, &link("operationId")) = json!("link")),
        ["createUserIdentity is called \"link\" now"]
    );
    assert_eq!(
        after(|new| remove(new, &link("responses"), "200")),
        ["createUserIdentity does not answer 200 any more"]
    );
    assert_eq!(
        after(|new| at(new, &link("responses"))["202"] = json!({ "description": "Later." })),
        ["createUserIdentity may answer 202 now"]
    );
    assert_eq!(
        after(|new| remove(new, &link("responses/201/headers"), "Location")),
        ["createUserIdentity 201 has no Location any more"]
    );
    let parameter = json!({ "name": "mode", "in": "query", "required": true, "schema": { "type": "string" } });
    assert_eq!(
        after(|new| at(new, &link("parameters"))
            .as_array_mut()
            .expect("a list")
            .push(parameter)),
        ["createUserIdentity \"mode\" is new and required"]
    );
    assert_eq!(
        after(|new| {
            at(new, NEW_USER)["required"]
                .as_array_mut()
                .expect("a list")
                .push(json!("roles"));
        }),
        ["createUser body.roles is required now"]
    );
    assert_eq!(
        after(|new| at(new, NEW_USER)["properties"]["name"]["maxLength"] = json!(10)),
        ["createUser body.name has the maxLength 10 instead of 256"]
    );
    assert_eq!(
        after(|new| remove(new, &format!("{NEW_USER}/properties"), "roles")),
        ["createUser body.roles is gone"]
    );
    let of_users = after(|new| remove(new, &format!("{USER}/properties"), "email"));
    assert!(
        of_users.contains(&"getUser 200.email is gone".to_owned()),
        "{of_users:?}"
    );
    assert!(
        of_users.contains(&"listUsers 200.data[].email is gone".to_owned()),
        "{of_users:?}"
    );
    let of_users = after(|new| at(new, USER)["properties"]["name"]["nullable"] = json!(true));
    assert!(
        of_users.contains(&"getUser 200.name may be null now".to_owned()),
        "{of_users:?}"
    );
    let of_users = after(|new| at(new, USER)["properties"]["active"]["type"] = json!("string"));
    let text_for_flag = "getUser 200.active has the type \"string\" instead of \"boolean\"".to_owned();
    assert!(of_users.contains(&text_for_flag), "{of_users:?}");
    let codes = after(|new| {
        at(new, "/components/schemas/ErrorCode/enum")
            .as_array_mut()
            .expect("a list")
            .remove(0);
    });
    assert!(codes.iter().any(|line| line.ends_with("any more")), "{codes:?}");
    let linked_by = after(|new| {
        at(new, "/components/schemas/LinkedBy/enum")
            .as_array_mut()
            .expect("a list")
            .push(json!("magic"));
    });
    assert!(
        linked_by.iter().all(|line| line.ends_with("may be \"magic\" now")),
        "{linked_by:?}"
    );
    assert!(!linked_by.is_empty());
}

#[test]
fn compatible_changes_are_not_reported() {
    let nothing: Vec<String> = Vec::new();
    assert_eq!(after(|_| {}), nothing);
    assert_eq!(
        after(|new| new["paths"]["/v1/groups"] = json!({ "get": { "operationId": "listGroups", "responses": {} } })),
        nothing
    );
    let optional = json!({ "name": "mode", "in": "query", "required": false, "schema": { "type": "string" } });
    assert_eq!(
        after(|new| {
            at(new, &format!("{LINK}/parameters"))
                .as_array_mut()
                .expect("a list")
                .push(optional);
        }),
        nothing
    );
    assert_eq!(
        after(|new| at(new, USER)["properties"]["title"] = json!({ "type": "string" })),
        nothing
    );
    assert_eq!(
        after(|new| at(new, NEW_USER)["properties"]["title"] = json!({ "type": "string" })),
        nothing
    );
    assert_eq!(
        after(|new| at(new, NEW_USER)["properties"]["name"]["maxLength"] = json!(1000)),
        nothing
    );
    assert_eq!(
        after(|new| {
            at(new, "/components/schemas/ErrorCode/enum")
                .as_array_mut()
                .expect("a list")
                .push(json!("teapot"));
        }),
        nothing
    );
    assert_eq!(
        after(|new| at(new, &format!("{LINK}/responses"))["429"] = json!({ "description": "Too many." })),
        nothing
    );
}
