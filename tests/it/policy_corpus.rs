//! `aka policy test`: the corpora of this project pass, and failures and errors in a corpus are reported.

use std::{fs, path::Path};

use crate::harness::{
    child::Directory,
    program::{self, Run, project_file},
};

fn policy_test(directory: &Path) -> Run {
    program::run(&["policy", "test", directory.to_str().expect("a path in UTF-8")])
}

/// A copy of one of the project's corpora, with a text in one of its files replaced.
fn changed(file: &str, from: &str, to: &str) -> Directory {
    let copy = Directory::new();
    let original = project_file("tests/policies/company-accounts");
    for entry in fs::read_dir(&original).expect("the corpus is there") {
        let path = entry.expect("a file").path();
        let name = path.file_name().expect("a name");
        let mut text = fs::read_to_string(&path).expect("it is a text");
        if name == file {
            assert!(text.contains(from), "{file} has {from}");
            text = text.replacen(from, to, 1);
        }
        fs::write(copy.path().join(name), text).expect("it can be copied");
    }
    copy
}

#[test]
fn the_corpora_of_this_project_pass() {
    let report = policy_test(&project_file("tests/policies")).succeeded();

    assert!(report.ends_with("17 passed, 0 failed\n"), "{report}");
    for name in [
        "company-accounts",
        "on-call",
        "ok      the help desk links without a scope (permitted)",
    ] {
        assert!(report.contains(name), "{report}");
    }
}

#[test]
fn a_directory_with_requests_is_a_corpus_itself() {
    let report = policy_test(&project_file("tests/policies/on-call")).succeeded();

    assert!(report.ends_with("7 passed, 0 failed\n"), "{report}");
}

#[test]
fn a_decision_that_is_not_expected_fails_and_is_explained() {
    let corpus = changed("people.cedar", "help-desk\"", "someone-else\"");

    let run = policy_test(corpus.path());

    assert_eq!(run.status, 1, "{run:?}");
    for told in [
        "FAILED  the help desk links without a scope",
        "it is not_permitted, not permitted",
        "The rule help-desk-links would permit it, if this were so: principal in Role::\"someone-else\"",
        "9 passed, 1 failed",
    ] {
        assert!(run.stdout.contains(told), "{told}\n{run:?}");
    }
    assert!(
        run.stderr.contains("1 requests were not decided as expected"),
        "{run:?}"
    );
}

#[test]
fn rights_that_a_rule_grants_cause_a_warning() {
    let corpus = changed(
        "people.cedar",
        "Action::\"createUserIdentity\"",
        "Action::\"createApiKey\"",
    );

    let run = policy_test(corpus.path());

    let told =
        "warning help-desk-links: this rule lets every caller in Role::\"help-desk\" change API keys (createApiKey)";
    assert!(run.stdout.contains(told), "{run:?}");
}

#[test]
fn missing_expected_notices_and_rules_are_failures() {
    let corpus = changed("100-guardrails.cedar", "The user is suspended.", "They have gone.");

    let run = policy_test(corpus.path());

    assert_eq!(run.status, 1, "{run:?}");
    assert!(run.stdout.contains("its notices are"), "{run:?}");
    assert!(run.stdout.contains("They have gone."), "{run:?}");
}

#[test]
fn an_error_in_a_corpus_is_reported_with_its_location() {
    for (file, from, to, told) in [
        ("people.cedar", "permit (", "permit [", "people.cedar: 4:"),
        (
            "people.cedar",
            "help-desk-links",
            "company-addresses-only",
            "ids must differ",
        ),
        ("people.cedar", "createUserIdentity", "eatCake", "eatCake"),
        ("entities.json", "\"active\": true", "\"active\": 1", "entities.json"),
        ("entities.json", "[", "", "entities.json"),
        ("requests.json", "\"external_id\": \"583231\",", "", "external_id"),
        (
            "requests.json",
            "createUserIdentity",
            "eatCake",
            "\\\"eatCake\\\" is not an action",
        ),
        (
            "requests.json",
            "\"ApiKey::\\\"sync\\\"\"",
            "\"sync\"",
            "`principal` must be an entity",
        ),
        (
            "requests.json",
            "\"decision\": \"permitted\"",
            "\"decision\": \"maybe\"",
            "maybe",
        ),
        ("requests.json", "\"decision\"", "\"verdict\"", "verdict"),
        (
            "requests.json",
            "User::\\\"grace\\\"",
            "Tenant::\\\"grace\\\"",
            "Tenant",
        ),
    ] {
        let corpus = changed(file, from, to);

        let told_instead = policy_test(corpus.path()).failed();

        let told = told.replace("\\\"", "\"");
        assert!(told_instead.contains(&told), "{told}\n{told_instead}");
    }
}

#[test]
fn a_directory_without_requests_is_refused() {
    let empty = Directory::new();

    let told = policy_test(empty.path()).failed();
    assert!(told.contains("there is no requests.json"), "{told}");
    let told = policy_test(&empty.path().join("missing")).failed();
    assert!(told.contains("missing"), "{told}");
}
