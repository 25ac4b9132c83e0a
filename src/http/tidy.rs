//! What poem-openapi and YAML libraries write, put right for generators of clients.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// What generators of clients should call the values of an enum, where the values alone would not do: in Go the constants
/// of all enums share one namespace, and each of these has a value that another enum has, too.
pub fn constants_of(name: &str, schema: &Value) -> Option<Value> {
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
pub fn type_nullables(value: &mut Value, types: &BTreeMap<String, Value>) {
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

/// A line of YAML with its end. A text that looks like a time is put in quotes: readers of YAML 1.1, which most are, would
/// make another thing of it.
pub fn quote_time(line: &str) -> String {
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
pub fn tidy(value: &mut Value) {
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
