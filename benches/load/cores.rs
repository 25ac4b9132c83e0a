//! Which process runs on which core.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::Outcome;

/// Sets the cores of a process; part of util-linux.
const TASKSET: &str = "taskset";

/// The available cores, and who uses which.
pub struct Cores {
    /// In the format of `taskset`.
    all: String,
    /// The core of the server, and that of the load generator.
    apart: Option<(u32, u32)>,
}

impl Cores {
    /// Gives server and generator a core each, if requested or, by default, if possible.
    pub fn choose(pin: Option<bool>) -> Outcome<Self> {
        let all = allowed().unwrap_or_default();
        let two = match list(&all).as_slice() {
            [first, second, ..] => Some((*first, *second)),
            _ => None,
        };
        let can = Command::new(TASKSET).arg("--version").stdout(Stdio::null()).status();
        let two = two.filter(|_| can.is_ok_and(|status| status.success()));
        if pin == Some(true) && two.is_none() {
            return Err("--pin true needs two cores and `taskset` (of util-linux)".into());
        }
        let apart = two.filter(|_| pin != Some(false));
        Ok(Self { all, apart })
    }

    /// What to run so that a program runs on the server's core.
    pub fn for_server(&self, program: &Path, arguments: &[&str]) -> (PathBuf, Vec<OsString>) {
        let own = arguments.iter().map(OsString::from);
        match self.apart {
            None => (program.to_owned(), own.collect()),
            Some((core, _)) => {
                let first = ["-c".into(), core.to_string().into(), program.into()].into_iter();
                (PathBuf::from(TASKSET), first.chain(own).collect())
            }
        }
    }

    /// Keeps this process on the generator's core until the guard is dropped. This includes processes that it starts
    /// meanwhile, but not those that it started before.
    pub fn keep_generator(&self) -> Kept<'_> {
        if let Some((_, core)) = self.apart {
            keep_this_process_on(&core.to_string());
        }
        Kept(self)
    }

    /// A description.
    pub fn describe(&self) -> String {
        match self.apart {
            Some((server, load)) => format!("server on core {server}, load generator on core {load}"),
            None => "every process on any core".into(),
        }
    }
}

/// Keeps this process on one core until it is dropped.
pub struct Kept<'a>(&'a Cores);

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        if self.0.apart.is_some() {
            keep_this_process_on(&self.0.all);
        }
    }
}

fn keep_this_process_on(cores: &str) {
    let done = Command::new(TASKSET)
        .args(["--all-tasks", "--cpu-list", "--pid", cores])
        .arg(std::process::id().to_string())
        .stdout(Stdio::null())
        .status();
    assert!(
        done.is_ok_and(|status| status.success()),
        "taskset cannot set the cores of this process"
    );
}

/// The cores that this process may use, e.g. `0-3,8`.
fn allowed() -> Option<String> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    Some(line.trim().to_owned())
}

fn list(cores: &str) -> Vec<u32> {
    let ranges = cores.split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.parse().ok()?..=last.parse().ok()?)
    });
    ranges.flatten().collect()
}
