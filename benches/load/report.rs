//! What was measured, for people and for programs.

use std::{
    fmt::{self, Write as _},
    fs,
    path::{Path as FilePath, PathBuf},
};

use serde::Serialize;

use super::{
    Outcome,
    machine::Machine,
    options::{LookAt, Options, Store, name},
    plot::{self, Panel, Series},
};

/// When something else has kept so much of a core busy, a figure is marked.
const DISTURBED: f64 = 0.1;

/// Everything.
#[derive(Serialize)]
pub struct Report {
    machine: Machine,
    conditions: Conditions,
    pub sections: Vec<Section>,
}

/// What was asked for.
#[derive(Serialize)]
struct Conditions {
    tenants: u64,
    rules_of_each_tenant: u64,
    rules_look_at: LookAt,
    runs: u16,
    seconds: u64,
    warm_up_seconds: u64,
    server_log: String,
}

/// One store with so many identities.
#[derive(Serialize)]
pub struct Section {
    pub store: Store,
    pub rows: u64,
    pub ready_in_ms: f64,
    pub resident_idle_mib: f64,
    pub resident_after_mib: f64,
    pub resident_peak_mib: f64,
    pub figures: Vec<Figure>,
}

/// One path with so many connections: medians of the runs.
#[derive(Serialize)]
pub struct Figure {
    pub path: String,
    pub connections: u16,
    /// Whether requests came at half of the rate that the path had reached, and not in a closed loop.
    pub at_rate: bool,
    pub per_second: f64,
    /// Each run.
    pub runs: Vec<f64>,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub reference: Option<String>,
    pub reference_per_second: Option<f64>,
    pub ratio: Option<f64>,
    /// The ratio that the path is to reach at least.
    pub aim: Option<f64>,
    pub processor: Processor,
}

/// Cores that were kept busy, e.g. 0.5.
#[derive(Serialize, Clone, Copy)]
pub struct Processor {
    pub server: f64,
    pub generator: f64,
    /// PostgreSQL's processes; SQLite works in the server's.
    pub database: f64,
    /// Everything else on the machine. Where it is much, the figures are too low.
    pub rest: f64,
}

/// The figure's part of a line of the table.
impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let half = if self.at_rate { " (half)" } else { "" };
        let path = format!("{}{half}", self.path);
        let Processor {
            server,
            generator,
            database,
            rest,
        } = self.processor;
        write!(
            f,
            "{path:<17} {:>5} {:>9.0} {:>8.2} {:>8.2}   ",
            self.connections, self.per_second, self.p50_ms, self.p99_ms
        )?;
        match (&self.reference, self.reference_per_second, self.ratio) {
            (Some(name), Some(per_second), Some(ratio)) => write!(f, "{name:<9} {per_second:>8.0} {ratio:>6.2}")?,
            _ => write!(f, "{:<25}", "")?,
        }
        match self.aim {
            Some(aim) => write!(f, " {aim:>5.2}   ")?,
            None => write!(f, "{:<9}", "")?,
        }
        write!(f, "{server:.2} / {generator:.2} / {database:.2} / {rest:.2}")?;
        f.write_str(if rest > DISTURBED { " !" } else { "" })
    }
}

impl Report {
    pub fn new(machine: Machine, options: &Options) -> Self {
        Self {
            machine,
            conditions: Conditions {
                tenants: options.tenants,
                rules_of_each_tenant: options.rules,
                rules_look_at: options.rules_look_at,
                runs: options.runs,
                seconds: options.seconds,
                warm_up_seconds: options.warm_up,
                server_log: options.server_log.clone(),
            },
            sections: Vec::new(),
        }
    }

    /// Prints the table, and writes table, JSON and plots to files.
    pub fn publish(&self) -> Outcome<()> {
        let directory = directory();
        fs::create_dir_all(&directory)?;
        let table = self.table()?;
        println!("{table}");
        fs::write(directory.join("load.txt"), &table)?;
        fs::write(directory.join("load.json"), serde_json::to_string_pretty(self)?)?;
        self.plot(&directory)?;
        println!("written to {}", directory.display());
        Ok(())
    }

    fn table(&self) -> Result<String, fmt::Error> {
        let Conditions {
            tenants,
            rules_of_each_tenant,
            rules_look_at,
            runs,
            seconds,
            warm_up_seconds,
            server_log,
        } = &self.conditions;
        let mut table = self.machine.lines();
        writeln!(
            table,
            "{tenants} tenants of {rules_of_each_tenant} rules that look at the {}; medians of {runs} runs of {seconds} s \
             after {warm_up_seconds} s; the server logs `{server_log}`",
            name(rules_look_at)
        )?;
        let figures = || self.sections.iter().flat_map(|section| &section.figures);
        if figures().any(|figure| figure.processor.rest > DISTURBED) {
            writeln!(
                table,
                "!: something else was busy on the machine, so that this figure is too low"
            )?;
        }
        for section in &self.sections {
            writeln!(
                table,
                "\n{}, {} identities: ready in {:.0} ms; resident {:.0} MiB idle, {:.0} MiB after the load ({:.0} MiB at most)",
                name(&section.store),
                section.rows,
                section.ready_in_ms,
                section.resident_idle_mib,
                section.resident_after_mib,
                section.resident_peak_mib
            )?;
            writeln!(
                table,
                "  {:<17} {:>5} {:>9} {:>8} {:>8}   {:<9} {:>8} {:>6} {:>5}   cores of server / generator / database / the rest",
                "path", "conn.", "req/s", "p50 ms", "p99 ms", "reference", "req/s", "ratio", "aim"
            )?;
            for figure in &section.figures {
                writeln!(table, "  {figure}")?;
            }
        }
        Ok(table)
    }

    /// Plots what was measured with more than one number of connections, or of identities.
    fn plot(&self, directory: &FilePath) -> Outcome<()> {
        for store in [Store::Sqlite, Store::Postgres] {
            let sections: Vec<&Section> = self.sections.iter().filter(|section| section.store == store).collect();
            for section in &sections {
                let series = |value: fn(&Figure) -> f64| {
                    by_path(
                        section
                            .figures
                            .iter()
                            .map(|figure| (figure, f64::from(figure.connections))),
                        value,
                    )
                };
                let title = format!("aka on {}, {} identities", name(&store), section.rows);
                let file = format!("{}-{}-connections.svg", name(&store), section.rows);
                draw(directory, &file, &title, "connections", series)?;
            }
            let series = |value: fn(&Figure) -> f64| {
                // With the number of connections that all have.
                let first = sections.first().and_then(|section| section.figures.first());
                let figures = sections.iter().flat_map(|section| {
                    #[expect(clippy::cast_precision_loss, reason = "a place in a plot")]
                    section.figures.iter().map(|figure| (figure, section.rows as f64))
                });
                let with =
                    figures.filter(|(figure, _)| first.is_some_and(|first| figure.connections == first.connections));
                by_path(with, value)
            };
            let title = format!("aka on {}", name(&store));
            let file = format!("{}-identities.svg", name(&store));
            draw(directory, &file, &title, "identities", series)?;
        }
        Ok(())
    }
}

/// A line for each path.
fn by_path<'a>(figures: impl Iterator<Item = (&'a Figure, f64)>, value: fn(&Figure) -> f64) -> Vec<Series> {
    let mut lines: Vec<Series> = Vec::new();
    for (figure, x) in figures.filter(|(figure, _)| !figure.at_rate) {
        let point = (x, value(figure));
        let name = &figure.path;
        match lines.iter_mut().find(|line| line.name == *name) {
            Some(line) => line.points.push(point),
            None => lines.push(Series {
                name: name.clone(),
                points: vec![point],
            }),
        }
    }
    lines
}

fn draw(
    directory: &FilePath,
    file: &str,
    title: &str,
    x: &str,
    series: impl Fn(fn(&Figure) -> f64) -> Vec<Series>,
) -> Outcome<()> {
    let rates = series(|figure| figure.per_second);
    if rates.iter().all(|line| line.points.len() < 2) {
        return Ok(());
    }
    let panels = [
        Panel {
            title: "requests a second",
            series: rates,
        },
        Panel {
            title: "p99, ms",
            series: series(|figure| figure.p99_ms),
        },
    ];
    fs::write(directory.join(file), plot::svg(title, x, &panels)?)?;
    Ok(())
}

/// `target/bench`, wherever that is.
fn directory() -> PathBuf {
    let tmp = FilePath::new(env!("CARGO_TARGET_TMPDIR"));
    tmp.parent().unwrap_or(tmp).join("bench")
}
