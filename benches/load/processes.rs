//! Memory and processor time of processes, as the system reports them.

use std::fs;

/// The unit of times in `/proc/<pid>/stat`: 100 a second, on every Linux (`getconf CLK_TCK`).
const TICKS_PER_SECOND: f64 = 100.0;

/// Memory of a process in mebibytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// In memory now.
    pub resident: f64,
    /// The peak.
    pub peak: f64,
}

impl Memory {
    pub fn of(pid: u32) -> Self {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let field = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name))?;
            let kibibytes: f64 = value.trim().strip_suffix(" kB")?.parse().ok()?;
            Some(kibibytes / 1024.0)
        };
        Self {
            resident: field("VmRSS:").unwrap_or_default(),
            peak: field("VmHWM:").unwrap_or_default(),
        }
    }
}

/// The processor time of a process in seconds.
pub fn seconds_of(pid: u32) -> f64 {
    ticks_of(pid).unwrap_or_default() / TICKS_PER_SECOND
}

/// The processor time of a process and its children in seconds.
pub fn seconds_of_family(parent: u32) -> f64 {
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|pid| pid.parse().ok());
    children.chain([parent]).map(seconds_of).sum()
}

/// The processor time of the whole machine in seconds.
pub fn seconds_of_all() -> f64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let first = stat.lines().next().unwrap_or_default();
    // In proc(5): user, nice, system, idle, iowait, irq, softirq, steal; what follows is part of the first two.
    let ticks = first.split_whitespace().skip(1).take(8).zip(0..);
    let busy = ticks.filter(|(_, place)| !(3..=4).contains(place));
    busy.filter_map(|(ticks, _)| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_SECOND
}

fn ticks_of(pid: u32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in brackets, which may contain any character. In proc(5) the fields after it
    // are numbered from 3; 14 is the time in the program, and 15 the time in the kernel.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |field: usize| fields.get(field - 3)?.parse::<f64>().ok();
    Some(ticks(14)? + ticks(15)?)
}
