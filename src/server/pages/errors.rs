//! The pages about errors: one for each code, and their list.

use std::fmt::Write as _;

use super::page;
use crate::{http::codes::Code, resources};

/// The page of the code with this name, if it exists.
pub fn of_code(name: &str) -> Option<String> {
    let codes = resources::codes();
    codes.into_iter().find(|code| code.name == name).map(html)
}

fn html(code: &Code) -> String {
    let (meaning, cause, remedy) = (marked_up(code.meaning), marked_up(code.cause), marked_up(code.remedy));
    let mut details = String::new();
    for detail in code.all_details() {
        let (name, description) = (detail.name, marked_up(detail.description));
        // Writing to a text cannot fail.
        let _ = write!(details, "<tr><td><code>{name}</code></td><td>{description}</td></tr>");
    }
    page(
        code.name,
        &format!(
            "<p><a href=\"/docs/errors\">All errors</a></p><h1><code>{code}</code></h1><p>Status {}. {meaning}</p>\
             <h2>Why it happens</h2><p>{cause}</p><h2>What to do</h2><p>{remedy}</p><h2>What <code>details</code> can have</h2>\
             <table>{details}</table>",
            code.status
        ),
    )
}

/// The list of all pages.
pub fn list() -> String {
    let mut rows = String::new();
    for code in resources::codes() {
        let (page, status, meaning) = (code.page(), code.status, marked_up(code.meaning));
        // Writing to a text cannot fail.
        let _ = write!(
            rows,
            "<tr><td><a href=\"{page}\"><code>{code}</code></a></td><td>{status}</td><td>{meaning}</td></tr>"
        );
    }
    page(
        "Errors",
        &format!(
            "<h1>Errors</h1><p>Every error has a <code>code</code> for programs and a <code>message</code> for \
             people.</p><table>{rows}</table>"
        ),
    )
}

/// Text between backticks becomes code. Nothing in the catalogue is special in HTML.
fn marked_up(text: &str) -> String {
    let parts = text.split('`').enumerate();
    parts
        .map(|(number, part)| match number % 2 {
            0 => part.to_owned(),
            _ => format!("<code>{part}</code>"),
        })
        .collect()
}
