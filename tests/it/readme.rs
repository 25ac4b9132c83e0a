//! What README.md claims, held against the program.

use std::{collections::BTreeSet, fs};

use crate::harness::program::{project_file, run as aka};

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
