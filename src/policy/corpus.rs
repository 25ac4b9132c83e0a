//! A corpus: rules in files, with questions to them and the decisions that are expected. `aka policy test` runs it, so
//! that rules can be reviewed and tried like code before they reach a server.
//!
//! A directory is a corpus if it has a `requests.json`. Beside it are
//!
//! * `NAME.cedar`: a policy, any number of rules. A name that begins with a number and `-` has it as its priority
//!   (`100-guardrails.cedar`), any other has 0.
//! * `entities.json`: the users, keys and whatever else the requests speak of, in Cedar's own JSON form, checked against
//!   the schema. Scopes, roles and groups are parents.
//!
//! Questions are decided exactly as the server decides them, the built-in levels included.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use cedar_policy::{Context, Entities, Entity, EntityUid, Policy, PolicyId};
use serde::Deserialize;

use super::{
    Decision, Effort, Query, Verdict,
    cost::Weight,
    decide_and_explain, powers,
    rules::{Rule, RuleSet, parse_rules},
    schema::{SCHEMA, action_entity},
};
use crate::types::actions::Action;

/// The greatest length of a file in bytes.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// What is wrong with a corpus: which file, and what.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", file.display())]
pub struct CorpusError {
    file: PathBuf,
    reason: String,
}

impl CorpusError {
    fn new(file: &Path, reason: impl std::fmt::Display) -> Self {
        Self {
            file: file.to_owned(),
            reason: reason.to_string(),
        }
    }
}

/// A question, and the decision that is expected.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedOutcome {
    /// What the question is about, for the person who reads that it failed.
    name: String,
    /// Who, as in `ApiKey::"sync"`.
    principal: String,
    /// What: an operation id.
    action: String,
    /// On what, as in `User::"ada"`.
    resource: String,
    /// The context of the action; entities as `{"type", "id"}`.
    #[serde(default = "no_members")]
    context: serde_json::Value,
    /// How it comes out.
    decision: Verdict,
    /// The rules that determine it, by their `@id` or else as `FILE:NUMBER`. Absent: any.
    rules: Option<Vec<String>>,
    /// What those rules tell the caller. Absent: anything.
    notices: Option<Vec<String>>,
}

fn no_members() -> serde_json::Value {
    serde_json::Value::Object(serde_json::Map::new())
}

/// What came of a question.
#[derive(Debug)]
pub struct CaseOutcome {
    /// The question's name.
    pub name: String,
    /// How it was decided.
    pub decision: Decision,
    /// What was expected and did not come. Empty: it is as expected.
    pub unexpected: Vec<String>,
}

/// The corpora in a directory: itself, or those right below it, by name.
///
/// # Errors
///
/// Where it cannot be read, or there is none.
pub fn find(directory: &Path) -> Result<Vec<PathBuf>, CorpusError> {
    if directory.join(REQUESTS).is_file() {
        return Ok(vec![directory.to_owned()]);
    }
    let mut corpora: Vec<_> = entries(directory)?
        .into_iter()
        .filter(|path| path.join(REQUESTS).is_file())
        .collect();
    corpora.sort();
    if corpora.is_empty() {
        return Err(CorpusError::new(
            directory,
            format!("there is no {REQUESTS}, neither here nor in a directory right below"),
        ));
    }
    Ok(corpora)
}

const REQUESTS: &str = "requests.json";

/// Asks all questions of one corpus.
///
/// # Errors
///
/// Which file cannot be read, and why: a corpus with a mistake in it has tested nothing.
pub fn run(corpus: &Path) -> Result<Vec<CaseOutcome>, CorpusError> {
    let rules = rules(corpus)?;
    let entities = entities(&corpus.join("entities.json"))?;
    let file = corpus.join(REQUESTS);
    let questions: Vec<ExpectedOutcome> =
        serde_json::from_str(&read(&file)?).map_err(|error| CorpusError::new(&file, error))?;
    if questions.is_empty() {
        return Err(CorpusError::new(&file, "there is no request in it"));
    }
    questions
        .into_iter()
        .map(|question| {
            let name = question.name.clone();
            ask(&rules, &entities, question).map_err(|reason| CorpusError::new(&file, format!("\"{name}\": {reason}")))
        })
        .collect()
}

fn ask(rules: &RuleSet, entities: &[Entity], expected: ExpectedOutcome) -> Result<CaseOutcome, String> {
    let entity = |member: &str, text: &str| {
        text.parse::<EntityUid>()
            .map_err(|_| format!("`{member}` must be an entity, as in User::\"ada\""))
    };
    let principal = entity("principal", &expected.principal)?;
    let action: Action = expected.action.parse()?;
    let context =
        Context::from_json_value(expected.context, Some((&SCHEMA, &action_entity(action).0))).map_err(|error| {
            let diagnostic: &dyn miette::Diagnostic = &error;
            said("`context`", &error, diagnostic)
        })?;
    let query = Query {
        principal: &principal,
        action,
        resource: entity("resource", &expected.resource)?,
        context,
        entities: entities.to_vec(),
    };
    query.check()?;
    let decision = decide_and_explain(rules, query, Effort::THOROUGH);
    let mut unexpected = Vec::new();
    if decision.verdict != expected.decision {
        unexpected.push(format!("it is {}, not {}", decision.verdict, expected.decision));
    }
    let notices: Vec<String> = decision.notices.iter().map(ToString::to_string).collect();
    for (what, is, should_be) in [
        ("rules", &decision.rules, expected.rules),
        ("notices", &notices, expected.notices),
    ] {
        if let Some(mut should_be) = should_be {
            should_be.sort();
            if *is != should_be {
                unexpected.push(format!("its {what} are {is:?}, not {should_be:?}"));
            }
        }
    }
    Ok(CaseOutcome {
        name: expected.name,
        decision,
        unexpected,
    })
}

/// What may be wrong with the rules of a corpus, though they are rules: what they newly open, and to whom.
///
/// # Errors
///
/// Which file cannot be read, and why.
pub fn warnings(corpus: &Path) -> Result<Vec<String>, CorpusError> {
    let warnings = statements(corpus)?.into_iter().flat_map(|(_, statement)| {
        let text = statement.to_cedar().unwrap_or_else(|| statement.to_string());
        let warnings = powers::warnings(&statement, &text);
        warnings.map(move |warning| format!("{}: {warning}", statement.id()))
    });
    Ok(warnings.collect())
}

/// The rules of all `.cedar` files, in levels.
fn rules(corpus: &Path) -> Result<RuleSet, CorpusError> {
    let rules = statements(corpus)?.into_iter().map(|(priority, statement)| {
        let id = statement.id().to_string();
        (priority, [Rule::candidate(&statement, Weight::of(&statement), &id)])
    });
    RuleSet::of_policies(rules).map_err(|error| CorpusError::new(corpus, error))
}

/// The statements of all `.cedar` files with the priorities of their policies, each under its own id.
fn statements(corpus: &Path) -> Result<Vec<(i32, Policy)>, CorpusError> {
    let mut all = Vec::new();
    let mut seen = BTreeMap::new();
    for file in entries(corpus)? {
        if file.extension().is_none_or(|extension| extension != "cedar") {
            continue;
        }
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = read(&file)?;
        let statements = parse_rules(&text).map_err(|error| {
            let at = error
                .position
                .map_or_else(String::new, |(line, column)| format!("{line}:{column}: "));
            let help = error.help.map_or_else(String::new, |help| format!("; {help}"));
            CorpusError::new(&file, format!("{at}{}{help}", error.message))
        })?;
        for (number, statement) in statements.iter().enumerate() {
            let id = statement
                .annotation("id")
                .map_or_else(|| format!("{name}:{}", number + 1), str::to_owned);
            if let Some(other) = seen.insert(id.clone(), name.clone()) {
                let reason = format!("the rule {id} is there already, in {other}; ids must differ");
                return Err(CorpusError::new(&file, reason));
            }
            all.push((priority(&name), statement.new_id(PolicyId::new(&id))));
        }
    }
    Ok(all)
}

/// The number at the beginning of a file's name.
fn priority(name: &str) -> i32 {
    let (sign, digits) = name.strip_prefix('-').map_or((1, name), |rest| (-1, rest));
    let number = digits
        .split_once('-')
        .and_then(|(number, _)| number.parse::<i32>().ok());
    number.map_or(0, |number| sign * number)
}

fn entities(file: &Path) -> Result<Vec<Entity>, CorpusError> {
    let value: serde_json::Value = serde_json::from_str(&read(file)?).map_err(|error| CorpusError::new(file, error))?;
    let entities = Entities::from_json_value(value, Some(&SCHEMA)).map_err(|error| {
        let diagnostic: &dyn miette::Diagnostic = &error;
        CorpusError::new(file, said("an entity", &error, diagnostic))
    })?;
    // Those of the schema are added; a decision brings the one that it needs.
    let is_action = |entity: &Entity| entity.uid().type_name().basename() == "Action";
    Ok(entities.into_iter().filter(|entity| !is_action(entity)).collect())
}

/// An error of Cedar's with its causes and its help, which it does not print by itself.
fn said(what: &str, error: &dyn std::error::Error, diagnostic: &dyn miette::Diagnostic) -> String {
    let mut text = format!("{what}: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    diagnostic.help().map_or(text.clone(), |help| format!("{text}; {help}"))
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>, CorpusError> {
    let listed = || -> io::Result<Vec<PathBuf>> { fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect() };
    let mut entries = listed().map_err(|error| CorpusError::new(directory, error))?;
    entries.sort();
    Ok(entries)
}

fn read(file: &Path) -> Result<String, CorpusError> {
    let size = fs::metadata(file).map_err(|error| CorpusError::new(file, error))?.len();
    if size > MAX_FILE_BYTES {
        return Err(CorpusError::new(
            file,
            format!("it has more than {MAX_FILE_BYTES} bytes"),
        ));
    }
    fs::read_to_string(file).map_err(|error| CorpusError::new(file, error))
}
