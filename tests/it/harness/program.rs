//! The program under test: run once for its output, or as a server.

use std::{
    env,
    ffi::OsStr,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::child::{Child, Directory, Start};

/// Where the program is.
pub fn path() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_aka"))
}

/// Where the program puts the root key of a PostgreSQL, instead of in the developer's own directory.
static DATA_HOME: LazyLock<Directory> = LazyLock::new(Directory::new);

/// Removes the settings that a developer may have in their shell.
fn without_settings(command: &mut Command) {
    command.env("XDG_DATA_HOME", DATA_HOME.path());
    for (name, _) in env::vars_os() {
        let of_aka = name
            .to_str()
            .is_some_and(|name| name.starts_with("AKA_") || name == "DATABASE_URL");
        if of_aka {
            command.env_remove(name);
        }
    }
}

/// What a run of the program left.
#[derive(Debug)]
pub struct Run {
    /// 0 says that it did what it was asked.
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    /// Its output, where it did what it was asked.
    #[track_caller]
    pub fn succeeded(self) -> String {
        assert_eq!(self.status, 0, "the program failed: {}{}", self.stdout, self.stderr);
        self.stdout
    }

    /// Its output as JSON.
    #[track_caller]
    pub fn json(self) -> Value {
        let output = self.succeeded();
        serde_json::from_str(&output).unwrap_or_else(|error| panic!("{error}: {output}"))
    }

    /// What it told a person, where it refused.
    #[track_caller]
    pub fn failed(self) -> String {
        assert_ne!(
            self.status, 0,
            "the program accepted this: {}{}",
            self.stdout, self.stderr
        );
        self.stderr
    }
}

/// Runs the program to its end.
pub fn run(arguments: &[&str]) -> Run {
    run_with(arguments, &[])
}

/// Runs the program to its end, with settings in its environment.
pub fn run_with(arguments: &[&str], environment: &[(&str, &str)]) -> Run {
    let mut command = Command::new(path());
    without_settings(&mut command);
    command.args(arguments);
    finished(command, environment)
}

fn finished(mut command: Command, environment: &[(&str, &str)]) -> Run {
    let output = command
        .envs(environment.iter().copied())
        .output()
        .expect("the program has been built by cargo and can be run");
    Run {
        status: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs the program to its end with this umask.
pub fn run_with_umask(umask: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Run {
    let mut command = Command::new("/bin/sh");
    without_settings(&mut command);
    command
        .args(["-c", "umask \"$1\" && shift && exec \"$@\"", "sh", umask])
        .arg(path())
        .args(arguments);
    finished(command, environment)
}

/// Starts the program as one that goes on until it is stopped by SIGTERM; its log goes to the file `log`.
pub fn start(arguments: &[&str], environment: &[(&str, &str)], log: &Path) -> Child {
    start_ended_by("TERM", arguments, environment, log)
}

/// The same with the signal by which it is stopped: SIGKILL leaves it no time for anything.
pub fn start_ended_by(signal: &str, arguments: &[&str], environment: &[(&str, &str)], log: &Path) -> Child {
    start_under(&[], signal, arguments, environment, log)
}

/// The same by another program, which becomes this one: the words before it on the command line.
pub fn start_under(
    starter: &[&str],
    signal: &str,
    arguments: &[&str],
    environment: &[(&str, &str)],
    log: &Path,
) -> Child {
    let words: Vec<&OsStr> = starter
        .iter()
        .map(OsStr::new)
        .chain([path().as_os_str()])
        .chain(arguments.iter().map(OsStr::new))
        .collect();
    Start::new(signal, log, Path::new(words[0]), &words[1..])
        .environment(|command| {
            without_settings(command);
            command.envs(environment.iter().copied());
        })
        .spawn()
}

/// SHA-256 of a file of the project, in hexadecimal digits.
pub fn digest_of(name: &str) -> String {
    let bytes = fs::read(project_file(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut digits = String::new();
    for byte in Sha256::digest(bytes) {
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

/// A file of the project.
pub fn project_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}
