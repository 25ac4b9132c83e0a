//! The rooms of the house: which may use which. `src/lib.rs` and the README draw the same picture.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Each room with those that it may use. A room is a folder of `src`, or a file at its top.
const ROOMS: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("policy", &["types"]),
    ("outbound", &["types"]),
    ("store", &["types"]),
    ("access", &["policy", "outbound", "store", "types"]),
    ("http", &["access", "policy", "outbound", "store", "types"]),
    ("resources", &["http", "access", "policy", "outbound", "store", "types"]),
    (
        "server",
        &["resources", "http", "access", "policy", "outbound", "store", "types"],
    ),
    ("telemetry", &["config", "types"]),
    ("config", &["server", "store", "http", "types"]),
    (
        "cli",
        &[
            "config",
            "server",
            "resources",
            "http",
            "access",
            "policy",
            "outbound",
            "store",
            "telemetry",
            "types",
        ],
    ),
    ("main", &["cli"]),
    ("lib", &[]),
];

/// Rooms that know the tables. To policy, facts come as values.
const ROOMS_WITH_TABLES: &[&str] = &["store", "access", "http", "resources", "cli"];

fn source_files(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a folder of the sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            source_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// A source without its comments, in which every path of the crate is written out: a line number and a path.
fn paths_in(source: &str, module: &[String]) -> Vec<(usize, String)> {
    let code: Vec<&str> = source
        .lines()
        .map(|line| if line.trim_start().starts_with("//") { "" } else { line })
        .collect();
    let code = code.join("\n");
    let mut paths = Vec::new();
    for (root, base) in [
        ("crate::", &[][..]),
        ("super::", &module[..module.len().saturating_sub(1)]),
    ] {
        for (at, _) in code.match_indices(root) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|before| before.is_alphanumeric() || before == '_' || before == ':') {
                continue;
            }
            let line = code[..at].matches('\n').count() + 1;
            let mut prefix = base.join("::");
            if !prefix.is_empty() {
                prefix.push_str("::");
            }
            for path in expand(&code[at + root.len()..]) {
                paths.push((line, format!("{prefix}{path}")));
            }
        }
    }
    paths
}

/// The paths that the tree at the head of a text stands for: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn expand(text: &str) -> Vec<String> {
    let mut name = String::new();
    let mut rest = text;
    while let Some(next) = rest
        .chars()
        .next()
        .filter(|next| next.is_alphanumeric() || "_:".contains(*next))
    {
        name.push(next);
        rest = &rest[next.len_utf8()..];
    }
    let Some(inner) = rest
        .strip_prefix('{')
        .filter(|_| name.is_empty() || name.ends_with("::"))
    else {
        return vec![name];
    };
    let (mut depth, mut start, mut paths) = (0, 0, Vec::new());
    for (at, character) in inner.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            '}' | ',' if depth == 0 => {
                let one = inner[start..at].trim();
                if !one.is_empty() {
                    paths.extend(expand(one).into_iter().map(|path| format!("{name}{path}")));
                }
                start = at + 1;
                if character == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    paths
}

fn modules() -> Vec<(PathBuf, Vec<String>, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    source_files(&src, &mut files);
    assert!(files.len() > 100, "{} files", files.len());
    let module = |file: PathBuf| {
        let path = file.strip_prefix(&src).expect("a file below src").with_extension("");
        let mut module: Vec<String> = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        if module.last().is_some_and(|last| last == "mod") {
            module.pop();
        }
        let source = fs::read_to_string(&file).expect("a text");
        (file, module, source)
    };
    files.into_iter().map(module).collect()
}

#[test]
fn every_arrow_between_rooms_points_down() {
    let rooms: BTreeMap<&str, &[&str]> = ROOMS.iter().copied().collect();
    let mut back = Vec::new();
    for (file, module, source) in modules() {
        let room = module[0].as_str();
        let allowed = rooms
            .get(room)
            .unwrap_or_else(|| panic!("{room} is a new room: say in ROOMS what it may use"));
        for (line, path) in paths_in(&source, &module) {
            let used = path.split("::").next().unwrap_or_default();
            if rooms.contains_key(used) && used != room && !allowed.contains(&used) {
                back.push(format!("{}:{line}: {room} must not use {path}", file.display()));
            }
        }
    }
    assert!(back.is_empty(), "arrows that run back:\n{}", back.join("\n"));
}

#[test]
fn the_rooms_form_no_circle() {
    let mut reached: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (room, allowed) in ROOMS {
        let mut all: Vec<&str> = Vec::new();
        let mut next: Vec<&str> = allowed.to_vec();
        while let Some(one) = next.pop() {
            if !all.contains(&one) {
                all.push(one);
                let below = ROOMS.iter().find(|(name, _)| *name == one);
                next.extend(below.expect("a room of the list").1);
            }
        }
        assert!(!all.contains(room), "{room} can be reached from itself");
        reached.insert(room, all);
    }
    assert_eq!(reached.len(), ROOMS.len(), "each room is listed once");
}

#[test]
fn only_rooms_that_may_know_the_tables_do() {
    let mut found = Vec::new();
    for (file, module, source) in modules() {
        let code = source.lines().filter(|line| !line.trim_start().starts_with("//"));
        let uses = code.filter(|line| line.contains("aka_entity"));
        if uses.count() > 0 && !ROOMS_WITH_TABLES.contains(&module[0].as_str()) {
            found.push(file.display().to_string());
        }
    }
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn an_arrow_is_seen_however_it_is_written() {
    let module = ["access".to_owned(), "caller".to_owned()];
    let source = "use crate::{\n    http::{self, error::Error},\n    types::ids,\n};\nlet x = crate::server::start();\n\
                  // crate::cli is only spoken of\nuse super::tenants;";
    let paths: Vec<String> = paths_in(source, &module).into_iter().map(|(_, path)| path).collect();
    assert_eq!(
        paths,
        [
            "http::self",
            "http::error::Error",
            "types::ids",
            "server::start",
            "access::tenants"
        ]
    );
}
