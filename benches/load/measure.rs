//! The course of the measurement: stores, paths and connections, each with its reference.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use super::{
    Outcome,
    aka::Aka,
    cores::Cores,
    echo::Echo,
    load::{Load, quantile},
    machine::Machine,
    options::{Options, Path, Store, name},
    postgres::Cluster,
    processes::{Memory, seconds_of, seconds_of_all, seconds_of_family},
    reference::{self, Pgbench},
    report::{Figure, Processor, Report, Section},
    requests::Requests,
    setup::{self, Place, Subject},
};

/// How often the server is started to see how long that takes.
const STARTS: usize = 5;
/// How long the server rests before its memory is looked at.
const REST: Duration = Duration::from_secs(1);

/// Measures everything that is asked for, prints it, and writes it to files.
pub async fn everything(options: &Options) -> Outcome<()> {
    let cores = Cores::choose(options.pin)?;
    let cluster = if options.stores.contains(&Store::Postgres) {
        Some(Cluster::start().await?)
    } else {
        None
    };
    let mut report = Report::new(Machine::describe(&cores, cluster.as_ref())?, options);
    let mut failures = Vec::new();
    for &store in &options.stores {
        for &rows in &options.rows {
            eprintln!("{}, {rows} identities: being prepared", name(&store));
            let subject = setup::prepare(store, rows, options, &cores, cluster.as_ref()).await?;
            let measuring = Measuring::begin(options, &cores, &subject).await?;
            let (section, failed) = measuring.everything().await?;
            report.sections.push(section);
            failures.extend(failed);
        }
    }
    report.publish()?;
    if failures.is_empty() {
        Ok(())
    } else {
        Err(failures.join("\n").into())
    }
}

/// The measurement of one store.
struct Measuring<'a> {
    options: &'a Options,
    cores: &'a Cores,
    subject: &'a Subject<'a>,
    aka: Aka,
    echo: Echo,
    section: Section,
    /// What the references have reached.
    references: HashMap<Reference, f64>,
    runs_of_references: u64,
    /// Links that were answered.
    links: u64,
    /// Of these, those that had an `Idempotency-Key`.
    keyed_links: u64,
    /// Answers that were not as expected.
    failures: Vec<String>,
}

/// What a figure is compared with.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Reference {
    Loop,
    PgbenchLinks,
    PgbenchLookups,
    /// With so many connections.
    Echo(u16),
    /// Another path of aka, with as many connections.
    Path(Path),
}

impl Reference {
    fn of(path: Path, store: Store, connections: u16) -> Self {
        match (path, store) {
            (Path::Link, Store::Sqlite) => Self::Loop,
            (Path::Link, Store::Postgres) => Self::PgbenchLinks,
            (Path::Lookup, Store::Postgres) => Self::PgbenchLookups,
            (Path::Lookup | Path::LookupHot | Path::List, _) => Self::Echo(connections),
            (Path::GetUser | Path::ListUsers, _) => Self::Path(Path::Lookup),
            (Path::KeyedLink, _) => Self::Path(Path::Link),
        }
    }

    fn name(self) -> String {
        match self {
            Self::Loop => "loop".into(),
            Self::PgbenchLinks | Self::PgbenchLookups => "pgbench".into(),
            Self::Echo(_) => "echo".into(),
            Self::Path(path) => name(&path),
        }
    }
}

/// The ratio to its reference that a path is to reach at least.
const fn aim(path: Path, store: Store) -> Option<f64> {
    match (path, store) {
        (Path::Link, Store::Sqlite) => Some(2.5),
        (Path::Link, Store::Postgres) => Some(1.8),
        (Path::KeyedLink, _) | (Path::Lookup, Store::Postgres) => Some(0.7),
        (Path::Lookup, Store::Sqlite) => Some(0.35),
        (Path::LookupHot, _) => Some(0.6),
        (Path::GetUser, _) => Some(0.8),
        (Path::ListUsers, _) => Some(0.5),
        (Path::List, _) => None,
    }
}

/// One run.
struct Run {
    per_second: f64,
    p50: u32,
    p99: u32,
    used: Processor,
    expected: u64,
    unexpected: BTreeMap<u16, u64>,
}

impl<'a> Measuring<'a> {
    async fn begin(options: &'a Options, cores: &'a Cores, subject: &'a Subject<'a>) -> Outcome<Self> {
        let (url, directory) = (subject.url(), subject.directory.path());
        let start = async || Aka::start(&url, &options.server_log, cores, directory).await;
        let mut times = Vec::new();
        for _ in 1..STARTS {
            let aka = start().await?;
            times.push(aka.ready_in.as_secs_f64() * 1000.0);
            aka.stop()?;
        }
        let aka = start().await?;
        times.push(aka.ready_in.as_secs_f64() * 1000.0);
        tokio::time::sleep(REST).await;
        let section = Section {
            store: subject.store,
            rows: subject.data.rows,
            ready_in_ms: median(&mut times),
            resident_idle_mib: Memory::of(aka.pid).resident,
            resident_after_mib: 0.0,
            resident_peak_mib: 0.0,
            figures: Vec::new(),
        };
        Ok(Self {
            options,
            cores,
            subject,
            aka,
            echo: Echo::start(cores, directory)?,
            section,
            references: HashMap::new(),
            runs_of_references: 0,
            links: 0,
            keyed_links: 0,
            failures: Vec::new(),
        })
    }

    /// Measures every path. Returns what was found, and what was not as expected.
    async fn everything(mut self) -> Outcome<(Section, Vec<String>)> {
        for &path in &self.options.paths {
            let mut peak = (0.0, 0);
            for &connections in &self.options.connections {
                let per_second = self.closed_loop(path, connections).await?;
                if per_second > peak.0 {
                    peak = (per_second, connections);
                }
            }
            if self.options.rate {
                self.at_half(path, peak.1, peak.0 / 2.0).await?;
            }
        }
        let memory = Memory::of(self.aka.pid);
        self.section.resident_after_mib = memory.resident;
        self.section.resident_peak_mib = memory.peak;
        self.aka.stop()?;
        self.echo.process.stop();
        self.subject.check(self.links, self.keyed_links).await?;
        Ok((self.section, self.failures))
    }

    /// Measures a path, its reference taking turns with it unless it is known. Returns the rate.
    async fn closed_loop(&mut self, path: Path, connections: u16) -> Outcome<f64> {
        let requests = Arc::new(Requests::to_aka(path, &self.subject.data));
        let reference = Reference::of(path, self.subject.store, connections);
        // Another path takes turns with it each time: what is asked is what the one costs more than the other.
        let known = self.references.contains_key(&reference) && !matches!(reference, Reference::Path(_));
        let (mut runs, mut echoes, mut rates) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..self.options.runs {
            runs.push(self.run_aka(path, &requests, connections, None).await?);
            match reference {
                _ if known => {}
                Reference::Echo(connections) => echoes.push(self.run_echo(connections).await?),
                Reference::Path(other) => {
                    let requests = Arc::new(Requests::to_aka(other, &self.subject.data));
                    rates.push(self.run_aka(other, &requests, connections, None).await?.per_second);
                }
                _ => rates.push(self.run_reference(reference)?),
            }
        }
        if !known {
            if let Reference::Echo(connections) = reference {
                rates = echoes.iter().map(|run| run.per_second).collect();
                self.add(figure("echo", connections, &echoes));
            }
            self.references.insert(reference, median(&mut rates));
        }
        let mut figure = figure(&name(&path), connections, &runs);
        let per_second = figure.per_second;
        figure.reference = Some(reference.name());
        figure.reference_per_second = self.references.get(&reference).copied();
        figure.ratio = figure.reference_per_second.map(|reference| per_second / reference);
        figure.aim = aim(path, self.subject.store);
        self.add(figure);
        Ok(per_second)
    }

    /// Measures a path at a rate.
    async fn at_half(&mut self, path: Path, connections: u16, per_second: f64) -> Outcome<()> {
        let requests = Arc::new(Requests::to_aka(path, &self.subject.data));
        let mut runs = Vec::new();
        for _ in 0..self.options.runs {
            runs.push(self.run_aka(path, &requests, connections, Some(per_second)).await?);
        }
        let mut figure = figure(&name(&path), connections, &runs);
        figure.at_rate = true;
        self.add(figure);
        Ok(())
    }

    fn add(&mut self, figure: Figure) {
        eprintln!("  {figure}");
        self.section.figures.push(figure);
    }

    async fn run_aka(
        &mut self,
        path: Path,
        requests: &Arc<Requests>,
        connections: u16,
        per_second: Option<f64>,
    ) -> Outcome<Run> {
        let load = self.load(self.aka.address, connections, requests);
        let run = self.run(&load, per_second, self.aka.pid).await?;
        if matches!(path, Path::Link | Path::KeyedLink) {
            self.links += run.expected;
        }
        if path == Path::KeyedLink {
            self.keyed_links += run.expected;
        }
        for (status, count) in &run.unexpected {
            self.failures.push(format!(
                "{}, {}: {count} answers of status {status}, and not {}",
                name(&self.subject.store),
                name(&path),
                requests.expected()
            ));
        }
        Ok(run)
    }

    async fn run_echo(&self, connections: u16) -> Outcome<Run> {
        let requests = Arc::new(Requests::to_echo(&self.subject.data));
        let load = self.load(self.echo.address, connections, &requests);
        let run = self.run(&load, None, self.echo.pid).await?;
        if run.unexpected.is_empty() {
            Ok(run)
        } else {
            Err(format!("the echo answered otherwise than expected: {:?}", run.unexpected).into())
        }
    }

    fn run_reference(&mut self, reference: Reference) -> Outcome<f64> {
        let run = self.runs_of_references;
        self.runs_of_references += 1;
        let data = &self.subject.data;
        let pgbench = |cluster| Pgbench {
            cluster,
            data,
            directory: self.subject.directory.path(),
            measured: self.measured(),
        };
        match (reference, &self.subject.place) {
            (Reference::PgbenchLookups, Place::Postgres { cluster, url, .. }) => pgbench(cluster).lookups(url),
            (Reference::PgbenchLinks, Place::Postgres { cluster, copy, .. }) => pgbench(cluster).links(copy, run),
            (Reference::Loop, Place::Sqlite { copy, .. }) => {
                reference::sqlite_links(copy, data, self.warm_up(), self.measured())
            }
            _ => Err("this store has no such reference".into()),
        }
    }

    fn load(&self, address: SocketAddr, connections: u16, requests: &Arc<Requests>) -> Load {
        Load {
            address,
            connections,
            requests: Arc::clone(requests),
            warm_up: self.warm_up(),
            measured: self.measured(),
        }
    }

    const fn warm_up(&self) -> Duration {
        Duration::from_secs(self.options.warm_up)
    }

    const fn measured(&self) -> Duration {
        Duration::from_secs(self.options.seconds)
    }

    async fn run(&self, load: &Load, per_second: Option<f64>, server: u32) -> Outcome<Run> {
        let mut looks = Vec::new();
        let look = || looks.push(used(server, self.subject.place.database_pid()));
        let kept = self.cores.keep_generator();
        let answers = match per_second {
            None => load.closed_loop(look).await?,
            Some(per_second) => load.at_rate(per_second, look).await?,
        };
        drop(kept);
        let [before, after] = looks[..] else {
            return Err("the run has a beginning and an end".into());
        };
        let seconds = load.measured.as_secs_f64();
        let share = |part: fn(&Processor) -> f64| (part(&after) - part(&before)) / seconds;
        #[expect(clippy::cast_precision_loss, reason = "there are not so many answers")]
        let per_second = answers.times.len() as f64 / seconds;
        Ok(Run {
            per_second,
            p50: quantile(&answers.times, 0.5),
            p99: quantile(&answers.times, 0.99),
            used: Processor {
                server: share(|used| used.server),
                generator: share(|used| used.generator),
                database: share(|used| used.database),
                rest: share(|used| used.rest).max(0.0),
            },
            expected: answers.expected,
            unexpected: answers.unexpected,
        })
    }
}

/// The seconds of cores that have been used by each.
fn used(server: u32, database: Option<u32>) -> Processor {
    let (server, generator) = (seconds_of(server), seconds_of(std::process::id()));
    let database = database.map_or(0.0, seconds_of_family);
    Processor {
        server,
        generator,
        database,
        rest: seconds_of_all() - server - generator - database,
    }
}

/// The medians of some runs.
fn figure(path: &str, connections: u16, runs: &[Run]) -> Figure {
    let middle = |value: fn(&Run) -> f64| median(&mut runs.iter().map(value).collect::<Vec<_>>());
    Figure {
        path: path.to_owned(),
        connections,
        at_rate: false,
        runs: runs.iter().map(|run| run.per_second).collect(),
        per_second: middle(|run| run.per_second),
        p50_ms: middle(|run| f64::from(run.p50) / 1000.0),
        p99_ms: middle(|run| f64::from(run.p99) / 1000.0),
        reference: None,
        reference_per_second: None,
        ratio: None,
        aim: None,
        processor: Processor {
            server: middle(|run| run.used.server),
            generator: middle(|run| run.used.generator),
            database: middle(|run| run.used.database),
            rest: middle(|run| run.used.rest),
        },
    }
}

/// The one in the middle; of two in the middle the lower.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len().saturating_sub(1) / 2;
    values.get(middle).copied().unwrap_or_default()
}
