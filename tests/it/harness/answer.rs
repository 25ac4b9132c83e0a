//! A response, and the checks that every response must pass.

use std::{
    io::Write as _,
    ops::Index,
    process::{Command, Stdio},
};

use reqwest::header::HeaderMap;
use serde_json::Value;
use uuid::Uuid;

use super::{contract, document::Document};

/// What a server answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The request, for the reader of a failure.
    asked: String,
    pub status: u16,
    pub headers: HeaderMap,
    pub bytes: Vec<u8>,
    /// The body, where it is JSON, else null.
    pub json: Value,
}

/// Unpacks with the system's gzip: what the server has written, another program must read.
pub fn unpacked(bytes: &[u8]) -> String {
    let mut gzip = Command::new("gzip")
        .arg("-dc")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("gzip can be run");
    let mut input = gzip.stdin.take().expect("its input");
    let bytes = bytes.to_vec();
    let writing = std::thread::spawn(move || input.write_all(&bytes));
    let output = gzip.wait_with_output().expect("its output");
    writing.join().expect("a thread").expect("it reads everything");
    assert!(output.status.success(), "it is gzip");
    String::from_utf8(output.stdout).expect("UTF-8")
}

impl Answer {
    pub fn new(asked: String, status: u16, headers: HeaderMap, bytes: Vec<u8>) -> Self {
        let is_packed = headers.get("content-encoding").is_some_and(|coding| coding == "gzip");
        let json = if is_packed {
            serde_json::from_str(&unpacked(&bytes))
        } else {
            serde_json::from_slice(&bytes)
        };
        let json = json.unwrap_or(Value::Null);
        Self {
            asked,
            status,
            headers,
            bytes,
            json,
        }
    }

    /// Checks what holds for every answer: see [`contract`] and [`Document`].
    pub fn check(&self, document: &Document, method: &str, path: &str) {
        let wrong = contract::check(self, document, method, path).err();
        assert!(wrong.is_none(), "{}\n{self}", wrong.unwrap_or_default());
    }

    /// The answer, where it has this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "expected {status}\n{self}");
        self
    }

    /// The answer, where it is an error with this status and code.
    #[track_caller]
    pub fn refused(self, status: u16, code: &str) -> Self {
        assert_eq!(
            (self.status, &self["code"]),
            (status, &Value::from(code)),
            "expected {status} {code}\n{self}"
        );
        self
    }

    /// The answer, where it says that this part of the request is wrong: `body`, `path`, `query` or `header`, and the
    /// name of the field or parameter, or of what it is in.
    #[track_caller]
    pub fn refused_input(self, part: &str, field: &str) -> Self {
        self.refused(400, "invalid_input").naming(part, field)
    }

    /// The answer, where it says that the Cedar text in this field of the body is not what it must be.
    #[track_caller]
    pub fn refused_rule(self, field: &str) -> Self {
        self.refused(400, "invalid_rule").naming("body", field)
    }

    #[track_caller]
    fn naming(self, part: &str, field: &str) -> Self {
        let answer = self;
        assert_eq!(answer["details"]["in"], part, "expected details.in\n{answer}");
        let named = answer["details"]["field"].as_str().unwrap_or_default();
        let inside = named
            .strip_prefix(field)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['[', '.']));
        assert!(inside, "expected {field} as details.field\n{answer}");
        answer
    }

    /// The answer, where it says that the tenant has no such thing.
    #[track_caller]
    pub fn refused_as_unknown(self, resource: &str) -> Self {
        let answer = self.refused(404, "not_found");
        assert_eq!(
            answer["details"]["resource"], resource,
            "expected details.resource\n{answer}"
        );
        answer
    }

    /// The member `id`.
    #[track_caller]
    pub fn id(&self) -> Uuid {
        self.uuid("id")
    }

    /// A member that is an id.
    #[track_caller]
    pub fn uuid(&self, member: &str) -> Uuid {
        let id = self[member].as_str().and_then(|id| id.parse().ok());
        id.unwrap_or_else(|| panic!("{member} is not an id\n{self}"))
    }

    /// A header, where it is there.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// A member of the rows of a list.
    #[track_caller]
    pub fn column(&self, member: &str) -> Vec<Value> {
        let rows = self["data"]
            .as_array()
            .unwrap_or_else(|| panic!("this is not a list\n{self}"));
        rows.iter().map(|row| row[member].clone()).collect()
    }

    /// The notices of the rules that determined a refusal.
    pub fn notices(&self) -> Vec<&str> {
        self["notices"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect()
    }
}

impl Index<&str> for Answer {
    type Output = Value;

    fn index(&self, member: &str) -> &Value {
        &self.json[member]
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}\n{} {:?}\n{}", self.asked, self.status, self.headers, self.text())
    }
}
