//! A PostgreSQL server for the measurement, started from the programs installed on the system. The one of the tests is not
//! suitable: it is not durable, and durability is half of what is measured here.

use std::{
    env, fs,
    net::TcpListener,
    os::unix::{fs::chown, process::CommandExt as _},
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use sea_orm::{ConnectOptions, ConnectionTrait as _, Database, DatabaseConnection};

use super::{
    Outcome,
    child::{Child, Directory, Start},
};

/// Commits are durable. The other settings are those that an operator of this machine would choose: memory for the tables, and
/// no checkpoint in the middle of a run.
const SETTINGS: [&str; 8] = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "fsync=on",
    "synchronous_commit=on",
    "full_page_writes=on",
    "shared_buffers=1GB",
    "max_wal_size=8GB",
    "checkpoint_timeout=30min",
];
const START_WITHIN: Duration = Duration::from_secs(30);

/// A PostgreSQL server with its data, which is deleted with it.
pub struct Cluster {
    programs: PathBuf,
    port: u16,
    /// The parent of all its processes.
    pub pid: u32,
    databases: AtomicU32,
    /// Before the directory: what is running must not lose its data.
    _process: Child,
    _directory: Directory,
}

impl Cluster {
    /// Makes a cluster and starts its server.
    pub async fn start() -> Outcome<Self> {
        let programs = programs()?;
        let user = other_than_root();
        let run_as = |command: &mut Command| {
            // The other user may not have access to the current directory.
            command.current_dir("/");
            if let Some((user, group)) = user {
                command.uid(user).gid(group);
            }
        };
        let directory = Directory::new();
        if let Some((user, group)) = user {
            chown(directory.path(), Some(user), Some(group))?;
        }
        let data = directory.path().join("data");
        let mut initdb = Command::new(programs.join("initdb"));
        run_as(&mut initdb);
        let made = initdb
            .args([
                "--username=aka",
                "--auth=trust",
                "--encoding=UTF8",
                "--locale=C",
                "--pgdata",
            ])
            .arg(&data)
            .output()?;
        if !made.status.success() {
            return Err(format!("initdb failed: {}", String::from_utf8_lossy(&made.stderr)).into());
        }
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut arguments = vec!["-D".into(), data.into_os_string(), "-p".into(), port.to_string().into()];
        arguments.extend(SETTINGS.iter().flat_map(|setting| ["-c".into(), setting.into()]));
        let log = directory.path().join("postgres.log");
        // SIGINT is PostgreSQL's fast shutdown.
        let start = Start::new("INT", &log, &programs.join("postgres"), arguments);
        let process = start.environment(run_as).spawn();
        let cluster = Self {
            programs,
            port,
            pid: process.process_id,
            databases: AtomicU32::new(0),
            _process: process,
            _directory: directory,
        };
        cluster.wait().await?;
        Ok(cluster)
    }

    /// Waits until it takes connections.
    async fn wait(&self) -> Outcome<()> {
        const PAUSE: Duration = Duration::from_millis(50);
        let began = Instant::now();
        loop {
            match connect(&self.address("postgres")).await {
                Ok(db) => return Ok(db.close().await?),
                Err(error) if began.elapsed() > START_WITHIN => return Err(error),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// The address of a database.
    fn address(&self, database: &str) -> String {
        format!("postgres://aka@127.0.0.1:{}/{database}", self.port)
    }

    /// Makes an empty database and returns its address.
    pub async fn new_database(&self) -> Outcome<String> {
        let name = format!("aka_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.execute(&[&format!("CREATE DATABASE {name}")]).await?;
        Ok(self.address(&name))
    }

    /// Copies a database that nobody is connected to. Returns the address of the copy.
    pub async fn copy(&self, url: &str) -> Outcome<String> {
        let name = database_of(url);
        let copy = format!("copy_of_{name}");
        let made = format!("CREATE DATABASE {copy} TEMPLATE {name} STRATEGY FILE_COPY");
        self.execute(&[&made, "CHECKPOINT"]).await?;
        Ok(self.address(&copy))
    }

    async fn execute(&self, statements: &[&str]) -> Outcome<()> {
        let db = connect(&self.address("postgres")).await?;
        for statement in statements {
            db.execute_unprepared(statement).await?;
        }
        Ok(db.close().await?)
    }

    /// The version of PostgreSQL.
    pub fn version(&self) -> Outcome<String> {
        let output = Command::new(self.programs.join("postgres")).arg("--version").output()?;
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    /// `pgbench` of the same PostgreSQL, for this server.
    pub fn pgbench(&self) -> Command {
        let mut command = Command::new(self.programs.join("pgbench"));
        command.args(["--host=127.0.0.1", "--username=aka", "--port", &self.port.to_string()]);
        command
    }
}

/// The last part of an address.
pub fn database_of(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or_default()
}

/// One connection.
pub async fn connect(url: &str) -> Outcome<DatabaseConnection> {
    let mut options = ConnectOptions::new(url);
    options.max_connections(1).sqlx_logging(false);
    Ok(Database::connect(options).await?)
}

/// The directory of PostgreSQL's programs: one of `PATH` or, on Debian, that of the newest version.
fn programs() -> Outcome<PathBuf> {
    const NEEDED: [&str; 3] = ["initdb", "postgres", "pgbench"];
    let path = env::var_os("PATH").unwrap_or_default();
    let in_path: Vec<PathBuf> = env::split_paths(&path).collect();
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut packaged: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    packaged.sort_by(|a, b| b.cmp(a));
    let packaged = packaged.into_iter().map(|(_, directory)| directory);
    let found = in_path
        .into_iter()
        .chain(packaged)
        .find(|directory| NEEDED.iter().all(|program| directory.join(program).is_file()));
    found.ok_or_else(|| {
        format!(
            "{} of PostgreSQL are neither in PATH nor in /usr/lib/postgresql; on Debian install them with \
             `apt-get install postgresql`, or leave that store out: --stores sqlite",
            NEEDED.join(", ")
        )
        .into()
    })
}

/// The user that the Debian package creates, or else `nobody`, because PostgreSQL refuses to run as root. `None` if this process
/// does not run as root.
fn other_than_root() -> Option<(u32, u32)> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let is_root = status
        .lines()
        .any(|line| line.starts_with("Uid:") && line.split_whitespace().nth(2) == Some("0"));
    if !is_root {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").ok()?;
    ["postgres", "nobody"].into_iter().find_map(|name| {
        let of_name = |line: &&str| line.split(':').next() == Some(name);
        let fields: Vec<&str> = users.lines().find(of_name)?.split(':').collect();
        Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
    })
}
