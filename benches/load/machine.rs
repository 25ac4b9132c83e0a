//! The machine that the figures were measured on, without which they mean nothing.

use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
    process::Command,
    time::Instant,
};

use serde::Serialize;

use super::{Outcome, child::Directory, cores::Cores, postgres::Cluster};

/// The machine and the versions of what runs on it.
#[derive(Serialize)]
pub struct Machine {
    date: String,
    commit: String,
    processor: String,
    cores: usize,
    pinning: String,
    memory_gib: f64,
    kernel: String,
    rustc: String,
    sqlite: String,
    postgres: Option<String>,
    /// The file system of the data directory.
    file_system: String,
    /// How long it takes to write 4 KiB durably.
    fdatasync_us: u128,
}

impl Machine {
    pub fn describe(cores: &Cores, cluster: Option<&Cluster>) -> Outcome<Self> {
        let first = |file: &str, name: &str| {
            let text = fs::read_to_string(file).unwrap_or_default();
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.split_once(':'));
            value.map_or_else(String::new, |(_, value)| value.trim().to_owned())
        };
        let memory = first("/proc/meminfo", "MemTotal");
        let memory: f64 = memory.trim_end_matches(" kB").parse().unwrap_or_default();
        let directory = Directory::new();
        Ok(Self {
            date: ::aka::types::clock::now().to_string(),
            commit: output(Command::new("git").args(["describe", "--always", "--dirty"])),
            processor: first("/proc/cpuinfo", "model name"),
            cores: std::thread::available_parallelism()?.get(),
            pinning: cores.describe(),
            memory_gib: memory / 1024.0 / 1024.0,
            kernel: output(Command::new("uname").arg("-sr")),
            rustc: output(Command::new("rustc").arg("--version")),
            sqlite: rusqlite::version().to_owned(),
            postgres: cluster.map(Cluster::version).transpose()?,
            file_system: file_system(directory.path()),
            fdatasync_us: fdatasync(directory.path())?,
        })
    }

    /// As text for people.
    pub fn lines(&self) -> String {
        let Self {
            date,
            commit,
            processor,
            cores,
            pinning,
            memory_gib,
            kernel,
            rustc,
            sqlite,
            postgres,
            file_system,
            fdatasync_us,
        } = self;
        let postgres = postgres
            .as_ref()
            .map_or_else(String::new, |version| format!(", {version}"));
        format!(
            "{date}, commit {commit}\n\
             {processor}, {cores} cores, {memory_gib:.1} GiB, {kernel}; {pinning}\n\
             data on {file_system}, where 4 KiB are on the disk in {fdatasync_us} us\n\
             {rustc}, SQLite {sqlite}{postgres}\n"
        )
    }
}

fn output(command: &mut Command) -> String {
    let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).output();
    output.map_or_else(
        |_| "unknown".into(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

/// The type of the file system of a directory: that of its longest mount point.
fn file_system(directory: &Path) -> String {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let above = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (point, kind) = (fields.next()?, fields.next()?);
        directory.starts_with(point).then_some((point.len(), kind))
    });
    above
        .max_by_key(|(length, _)| *length)
        .map_or_else(|| "unknown".into(), |(_, kind)| kind.to_owned())
}

/// The median time to append 4 KiB durably, in microseconds.
fn fdatasync(directory: &Path) -> Outcome<u128> {
    const TIMES: usize = 201;
    let mut file = File::create(directory.join("fdatasync"))?;
    let mut times = Vec::with_capacity(TIMES);
    for _ in 0..TIMES {
        file.write_all(&[1; 4096])?;
        let began = Instant::now();
        file.sync_data()?;
        times.push(began.elapsed().as_micros());
    }
    times.sort_unstable();
    Ok(times[TIMES / 2])
}
