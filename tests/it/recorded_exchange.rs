//! The exchange recorded in `fixtures/link.http`, which the first clients rely on, must never change. The file was
//! written by hand from the contract, not by the server.

use std::collections::BTreeMap;

use crate::harness::{Aka, Uuid, Value, on_both_stores, raw::Connection};

on_both_stores![the_server_still_answers_as_recorded];

const RECORDED: &str = include_str!("fixtures/link.http");

/// Compares an answer with what was recorded. A `{name}` stands for what it is compared with first, and for the same from
/// then on; `{time}`, `{text}` and `{object}` for any of these.
fn compare(recorded: &Value, answered: &Value, names: &mut BTreeMap<String, String>) -> Result<(), String> {
    let differ = || Err(format!("{answered} instead of {recorded}"));
    match (recorded, answered) {
        (Value::Object(recorded), Value::Object(answered)) => {
            let (was, is): (Vec<_>, Vec<_>) = (recorded.keys().collect(), answered.keys().collect());
            let more = is.iter().filter(|name| !was.contains(name)).count();
            if more > 0 || was.len() != is.len() {
                return Err(format!("has {is:?} instead of {was:?}"));
            }
            recorded
                .iter()
                .try_for_each(|(name, value)| compare(value, &answered[name], names))
        }
        (Value::String(recorded), answered) if recorded.starts_with('{') => match (recorded.as_str(), answered) {
            ("{object}", Value::Object(_)) => Ok(()),
            ("{text}", Value::String(text)) if !text.is_empty() => Ok(()),
            ("{time}", Value::String(time)) if is_time(time) => Ok(()),
            ("{object}" | "{text}" | "{time}", _) => differ(),
            (name, Value::String(answered)) => {
                let known = names.entry(name.to_owned()).or_insert_with(|| answered.clone());
                if known == answered && Uuid::parse_str(answered).is_ok() {
                    Ok(())
                } else {
                    differ()
                }
            }
            _ => differ(),
        },
        _ if recorded == answered => Ok(()),
        _ => differ(),
    }
}

/// RFC 3339, in UTC.
fn is_time(text: &str) -> bool {
    let form = text.bytes().map(|byte| if byte.is_ascii_digit() { b'0' } else { byte });
    let form = String::from_utf8(form.collect()).unwrap_or_default();
    form.starts_with("0000-00-00T00:00:00") && form.ends_with('Z')
}

fn fill(text: &str, names: &BTreeMap<String, String>) -> String {
    names
        .iter()
        .fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
}

async fn the_server_still_answers_as_recorded(aka: Aka) {
    let acme = aka.tenant().await;
    let provider = acme
        .post("/v1/identity-providers")
        .json(crate::harness::json!({ "name": "GitHub", "provider_type": "github" }))
        .await
        .expect(201);
    let mut names: BTreeMap<String, String> = [
        ("{user}", acme.user().await.to_string()),
        ("{tenant}", acme.tenant().to_string()),
        ("{api_key}", acme.key().to_owned()),
        ("{identity_provider}", provider.id().to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    let mut exchanges = 0;
    for exchange in RECORDED.split("### ").skip(1) {
        let (title, exchange) = exchange.split_once('\n').expect("a title");
        let mut parts = exchange.trim().splitn(4, "\n\n").map(str::to_owned);
        let mut part = || parts.next().expect("two heads and two bodies");
        let (head, body, expected_head, expected) = (part(), part(), part(), part());

        let (head, body) = (fill(&head, &names), fill(&body, &names));
        let head = head.replace('\n', "\r\n");
        let request = format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let answer = Connection::open(&aka).await.exchange(request.into_bytes()).await;

        let expected: Value = serde_json::from_str(&expected).expect("JSON");
        if let Err(difference) = compare(&expected, &answer.json, &mut names) {
            panic!("{title} {difference}\n{answer}");
        }
        let mut lines = expected_head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        assert_eq!(status, Some(answer.status.to_string().as_str()), "{title}");
        for line in lines {
            let (name, value) = line.split_once(": ").expect("a header");
            assert_eq!(answer.header(name), Some(fill(value, &names).as_str()), "{title}");
        }
        exchanges += 1;
    }
    assert_eq!(exchanges, 6);
}
