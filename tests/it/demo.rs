//! `aka demo`: the first command of somebody who is new to the project.

use std::process::Command;

use futures_util::{StreamExt as _, stream};

use crate::harness::{
    Uuid, Value,
    child::{Child, Directory},
    program, run,
};

/// Reads what the demo prints up to the line that links an account.
fn curl_line(demo: &Child) -> String {
    loop {
        let line = demo.line();
        if let Some(at) = line.find("curl ") {
            return line[at..].to_owned();
        }
    }
}

/// Runs a line as somebody would who pastes it into a shell. Returns the status and the body.
fn paste(line: &str) -> (u16, Value) {
    let output = Command::new("sh")
        .args([
            "-c",
            &format!("{line} --silent --noproxy '*' --write-out '\\n%{{http_code}}'"),
        ])
        .output()
        .expect("a shell");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{line}\n{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let (answer, status) = text.rsplit_once('\n').expect("curl writes the status last");
    // The line may ask curl to show the head of the answer, too.
    let body = answer.find('{').map_or(answer, |at| &answer[at..]);
    let body = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {text}"));
    (status.parse().expect("a status is a number"), body)
}

#[test]
fn the_printed_command_links_an_account() {
    run(async {
        let directory = Directory::new();
        let demo = program::start(
            &["demo", "--listen", "127.0.0.1:0"],
            &[],
            &directory.path().join("demo.log"),
        );
        let line = curl_line(&demo);

        let (status, linked) = paste(&line);
        assert_eq!(status, 201, "{linked}");
        assert_eq!(linked["linked_by"], "manual");
        let (status, again) = paste(&line);
        assert_eq!((status, again), (200, linked), "the line can be pasted again");

        let (_, status) = demo.stop();
        assert_eq!(status, 0);
    });
}

#[test]
fn a_demo_deletes_its_data() {
    run(async {
        let directory = Directory::new();
        for run in 0..2 {
            let log = directory.path().join(format!("demo-{run}.log"));
            let demo = program::start(&["demo", "--listen", "127.0.0.1:0"], &[], &log);
            let (status, linked) = paste(&curl_line(&demo));
            assert_eq!(status, 201, "{linked}");
            demo.stop();
        }
    });
}

/// What the demo prints: its address and the key that may do everything.
fn address_and_key(demo: &Child) -> (String, String) {
    let mut address = String::new();
    loop {
        let line = demo.line();
        if let Some(at) = line.strip_prefix("listening on ") {
            at.trim().clone_into(&mut address);
        } else if line.starts_with("aka_") {
            return (address, line.trim().to_owned());
        }
    }
}

/// An example with what differs from demo to demo in one form: ids that it does not begin with, times and keys.
fn comparable(text: &str) -> String {
    let words = text.split(' ').map(|word| {
        let bytes = word.as_bytes();
        let is_time = bytes.len() > 19 && bytes.get(4) == Some(&b'-') && bytes.get(10) == Some(&b'T');
        if is_time && word.ends_with('Z') {
            "<time>".to_owned()
        } else if word.starts_with("aka_") {
            "<key>".to_owned()
        } else if Uuid::parse_str(word).is_ok() && !is_of_demo(word) {
            "<id>".to_owned()
        } else {
            word.to_owned()
        }
    });
    let text = words.collect::<Vec<_>>().join(" ");
    if text.starts_with("<key>") {
        "<key>".into()
    } else {
        text
    }
}

/// Whether an id is one that the demo begins with. Examples of what is made new have ids that end in `c2`.
fn is_of_demo(id: &str) -> bool {
    id.starts_with("0198c5a0-0000-7000-8000-") && !id.ends_with("c2")
}

/// Checks that all of an example is in an answer. An answer may have more entries, and a longer text.
fn is_in(example: &Value, answer: &Value) -> bool {
    match (example, answer) {
        (Value::Object(example), Value::Object(answer)) => example
            .iter()
            .all(|(name, value)| answer.get(name).is_some_and(|found| is_in(value, found))),
        (Value::Array(example), Value::Array(answer)) => example
            .iter()
            .all(|value| answer.iter().any(|found| is_in(value, found))),
        (Value::String(example), Value::String(answer)) => {
            let (example, answer) = (comparable(example), comparable(answer));
            // Of what is made, the id is another each time.
            answer == "<id>" || example == answer || (example.contains('\n') && answer.contains(&example))
        }
        (example, answer) => example == answer,
    }
}

/// Sends the example of an operation to a fresh demo. Says what is wrong with the answer.
async fn try_example(document: &Value, path: &str, method: &str, operation: &Value) -> Result<(), String> {
    let resolve = |value: &Value| match value["$ref"].as_str() {
        Some(name) => document
            .pointer(name.trim_start_matches('#'))
            .cloned()
            .unwrap_or_default(),
        None => value.clone(),
    };
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let directory = Directory::new();
    let log = directory.path().join("demo.log");
    let demo = program::start(&["demo", "--listen", "127.0.0.1:0"], &[], &log);
    let (address, key) = address_and_key(&demo);

    let mut path = path.to_owned();
    let mut query = Vec::new();
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let mut headers = vec![("X-API-Key".to_owned(), key)];
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let (name, example) = (text(&parameter["name"]), &parameter["example"]);
        match parameter["in"].as_str() {
            _ if example.is_null() && parameter["required"] == true => return Err(format!("no example of {name}")),
            _ if example.is_null() => {}
            Some("path") => path = path.replace(&format!("{{{name}}}"), &text(example)),
            Some("query") => query.push(format!("{name}={}", text(example))),
            _ => headers.push((name, text(example))),
        }
    }
    let method = method.to_uppercase().parse().expect("a method");
    let mut request = client.request(method, format!("{address}{path}?{}", query.join("&")));
    for (name, value) in headers {
        request = request.header(name, value);
    }
    if !operation["requestBody"].is_null() {
        let schema = resolve(&operation["requestBody"]["content"]["application/json"]["schema"]);
        request = request
            .header("Content-Type", "application/json")
            .body(schema["example"].to_string());
    }
    let answer = request.send().await.map_err(|error| error.to_string())?;
    let status = answer.status();
    let body = answer.text().await.map_err(|error| error.to_string())?;
    demo.stop();
    if !status.is_success() {
        return Err(format!("{status} {body}"));
    }
    let documented = resolve(&operation["responses"][status.as_str()]);
    if body.is_empty() && documented["content"].is_null() {
        return Ok(());
    }
    let content = &documented["content"]["application/json"];
    let example = match &content["example"] {
        Value::Null => resolve(&content["schema"])["example"].clone(),
        example => example.clone(),
    };
    let body: Value = serde_json::from_str(&body).map_err(|error| format!("{error}: {body}"))?;
    if example.is_null() || !is_in(&example, &body) {
        return Err(format!("the example says\n{example}\nbut the answer is\n{body}"));
    }
    Ok(())
}

#[test]
fn every_example_works_unchanged_and_answers_as_documented() {
    run(async {
        let document: Value = yaml_serde::from_str(include_str!("../../spec/openapi.yaml")).expect("YAML");
        let operations: Vec<_> = document["paths"].as_object().expect("paths").iter().collect();
        let operations = operations.into_iter().flat_map(|(path, item)| {
            let methods = item.as_object().into_iter().flatten();
            methods.map(move |(method, operation)| (path, method, operation))
        });
        let tried: Vec<(&Value, Result<(), String>)> = stream::iter(operations)
            .map(async |(path, method, operation)| {
                let outcome = try_example(&document, path, method, operation).await;
                (&operation["operationId"], outcome)
            })
            .buffer_unordered(4)
            .collect()
            .await;
        assert!(tried.len() > 40, "{} operations", tried.len());
        let wrong: Vec<String> = tried
            .into_iter()
            .filter_map(|(operation, outcome)| outcome.err().map(|error| format!("{operation}: {error}")))
            .collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    });
}
