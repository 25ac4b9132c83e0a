//! Taking a text apart into statements before Cedar parses it, and what is wrong with a text that is no rule.

use std::ops::Range;

use cedar_policy::ParseErrors;

/// The greatest length of a rule in bytes. Room for lists of names; what is longer belongs into roles and groups.
pub const MAX_RULE_BYTES: usize = 16 * 1024;
/// How deep brackets may nest in a rule. People write single digits.
const MAX_NESTING: usize = 50;
/// How many statements may be read at a time.
const MAX_STATEMENTS: usize = 1_000;
/// How many operators may follow one another in a rule: each makes the tree that is evaluated one step deeper.
const MAX_OPERATORS: usize = 500;
/// Texts are checked in pieces of about this many bytes, some ten milliseconds of work each, so that other tenants' work
/// comes between them. A longer statement is a piece of its own.
const PIECE_BYTES: usize = 4 * 1024;

/// Why a text is not a rule.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RuleError {
    /// What is wrong, in Cedar's words where it is Cedar that says so.
    pub message: String,
    /// How to mend it, where Cedar has an idea.
    pub help: Option<String>,
    /// Where: line and column from 1, in characters.
    pub position: Option<(usize, usize)>,
}

impl RuleError {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: None,
            position: None,
        }
    }

    /// Why a part of a text that begins at a byte of it does not parse.
    pub(super) fn parsing(errors: &ParseErrors, text: &str, begin: usize) -> Self {
        let error: &dyn miette::Diagnostic = errors;
        let offset = error
            .labels()
            .and_then(|mut labels| labels.next())
            .map(|label| label.offset());
        Self {
            message: errors.to_string(),
            help: error.help().map(|help| help.to_string()),
            position: offset.map(|offset| position(text, begin + offset)),
        }
    }
}

/// Line and column of a byte offset.
pub(in crate::policy) fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}

/// Takes a text apart into pieces of one or more whole statements, each of which can be checked on its own.
///
/// # Errors
///
/// Where it would take too much to parse the text: its tree would be so deep that walking it could exhaust the stack, or
/// it has too many or too long statements. Strings and comments are not counted, as they are not parsed.
pub fn pieces(text: &str) -> Result<Vec<Range<usize>>, RuleError> {
    let (mut depth, mut operators, mut statements, mut begin) = (0_usize, 0_usize, 0_usize, 0_usize);
    let (mut pieces, mut piece) = (Vec::new(), 0_usize);
    let mut rest = text.char_indices().peekable();
    while let Some((at, character)) = rest.next() {
        match character {
            '"' => {
                while let Some((_, character)) = rest.next() {
                    match character {
                        '\\' => drop(rest.next()),
                        '"' => break,
                        _ => {}
                    }
                }
            }
            '/' if rest.peek().is_some_and(|(_, next)| *next == '/') => {
                while rest.next_if(|(_, character)| *character != '\n').is_some() {}
            }
            '(' | '[' | '{' => {
                depth += 1;
                operators += 1;
            }
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            ';' if depth == 0 => {
                statements += 1;
                operators = 0;
                begin = at;
                if at - piece >= PIECE_BYTES {
                    pieces.push(piece..at + 1);
                    piece = at + 1;
                }
            }
            '!' | '&' | '|' | '+' | '-' | '*' | '.' | '<' | '>' | '=' => operators += 1,
            'i' if text[at..].starts_with("if") => operators += 1,
            _ => {}
        }
        let what = match () {
            () if depth > MAX_NESTING => format!("brackets nest more than {MAX_NESTING} deep"),
            () if operators > MAX_OPERATORS => format!("the statement has more than {MAX_OPERATORS} operators"),
            () if at - begin > MAX_RULE_BYTES => format!("the statement has more than {MAX_RULE_BYTES} bytes"),
            () if statements > MAX_STATEMENTS => format!("there are more than {MAX_STATEMENTS} statements"),
            () => continue,
        };
        return Err(RuleError {
            message: what,
            help: Some("write several rules or policies, or test membership in a set, role or group".into()),
            position: Some(position(text, at)),
        });
    }
    // PostgreSQL cannot store it.
    if let Some(at) = text.find('\0') {
        return Err(RuleError {
            message: "the text has the character U+0000".into(),
            help: None,
            position: Some(position(text, at)),
        });
    }
    if piece < text.len() || pieces.is_empty() {
        pieces.push(piece..text.len());
    }
    Ok(pieces)
}
