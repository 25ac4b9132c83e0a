//! The claims of README.md, checked against the program.

use std::{collections::BTreeSet, fs, process::Command};

use crate::harness::{
    Aka, Store, Value, json,
    program::{project_file, run as aka},
    run_on,
};

fn readme() -> String {
    fs::read_to_string(project_file("README.md")).expect("there is a README.md")
}

/// The lines of the README's code blocks.
fn code(readme: &str) -> Vec<&str> {
    let mut inside = false;
    let mut lines = Vec::new();
    for line in readme.lines() {
        if line.trim_start().starts_with("```") {
            inside = !inside;
        } else if inside {
            lines.push(line.trim());
        }
    }
    lines
}

/// The arguments of each call of the program in the README's code.
fn calls(readme: &str) -> Vec<Vec<String>> {
    let after = |line: &str| {
        let cargo = line
            .split_once("cargo run")
            .and_then(|(_, rest)| rest.split_once("-- ").map(|(_, rest)| rest));
        let rest = cargo.or_else(|| {
            // Settings may stand before the program.
            let words = line.trim_start_matches("$ ").split_whitespace();
            let mut words = words.skip_while(|word| word.contains('=') || *word == "sudo");
            let program = words.next()?;
            let is_it = program == "aka" || program.ends_with("/aka");
            is_it.then(|| line.split_once("aka ").map_or("", |(_, rest)| rest))
        })?;
        // What stands behind `>` is the shell's.
        let arguments = rest.split_whitespace().take_while(|word| *word != ">");
        Some(arguments.map(str::to_owned).collect())
    };
    code(readme).into_iter().filter_map(after).collect()
}

/// Names that begin like a setting in the environment.
fn settings(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'))
        .filter(|word| (word.starts_with("AKA_") && word.len() > 4) || *word == "DATABASE_URL")
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_commands_of_the_readme_exist() {
    let readme = readme();
    let calls = calls(&readme);
    assert!(
        calls
            .iter()
            .any(|call| call.first().is_some_and(|command| command == "demo")),
        "{calls:?}"
    );
    assert!(
        calls
            .iter()
            .any(|call| call.first().is_some_and(|command| command == "serve")),
        "{calls:?}"
    );
    for call in calls {
        let command: Vec<&str> = call
            .iter()
            .map(String::as_str)
            .take_while(|word| !word.starts_with('-'))
            .collect();
        let help = aka(&[&command[..], &["--help"]].concat()).succeeded();
        for flag in call.iter().filter(|word| word.starts_with("--")) {
            let flag = flag.split('=').next().unwrap_or(flag);
            assert!(help.contains(flag), "`aka {}` has no {flag}\n{help}", command.join(" "));
        }
    }
}

#[test]
fn the_settings_of_the_readme_are_those_of_the_program() {
    let readme = readme();
    let mut of_program = settings(&aka(&["--help"]).succeeded());
    of_program.extend(settings(&aka(&["serve", "--help"]).succeeded()));

    let named = settings(&readme);

    assert_eq!(
        named.difference(&of_program).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "not settings of the program"
    );
    assert_eq!(
        of_program.difference(&named).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "not in README.md"
    );
}

#[test]
fn the_files_of_the_readme_exist() {
    let readme = readme();
    // The targets of Markdown's links, as far as they are files.
    let targets = readme.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    for target in targets.filter(|target| !target.contains("://") && !target.starts_with('#')) {
        let file = target.split('#').next().unwrap_or(target);
        assert!(
            project_file(file).exists(),
            "README.md links to {file}, which is not there"
        );
    }
}

#[test]
fn the_first_requests_of_the_readme_work() {
    run_on(Store::Sqlite, async |server: Aka| {
        let acme = server.tenant().await;
        let readme = readme();
        let code = code(&readme);
        let function = code
            .iter()
            .find(|line| line.starts_with("api() "))
            .expect("what all requests share");
        let requests = code
            .iter()
            .filter(|line| line.starts_with("api http") || line.starts_with("api 'http"));
        let mut ids: Vec<(&str, String)> = Vec::new();
        let mut answer = Value::Null;
        for (request, asks_for) in requests.zip(["USER_ID", "PROVIDER_ID", "", ""]) {
            let mut line = request.replace("http://127.0.0.1:8080", server.address());
            for (name, id) in &ids {
                line = line.replace(name, id);
            }
            let output = Command::new("bash")
                .args(["-c", &format!("{function}\n{line}")])
                .env("KEY", acme.key())
                .env("TENANT", acme.tenant().to_string())
                .output()
                .expect("bash");
            answer = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{line}: {error}"));
            let id = answer["id"].as_str().unwrap_or_else(|| panic!("{line}\n{answer:#}"));
            if !asks_for.is_empty() {
                ids.push((asks_for, id.to_owned()));
            }
        }
        let [(_, user), (_, provider)] = &ids[..] else {
            panic!("two ids: {ids:?}")
        };
        assert_eq!(
            (
                &answer["user_id"],
                &answer["identity_provider_id"],
                &answer["external_id"]
            ),
            (&json!(user), &json!(provider), &json!("583231"))
        );
    });
}
