//! A PostgreSQL server that the tests start, from the programs installed on the system.

use std::{
    env, fs,
    net::TcpListener,
    os::unix::{fs::chown, process::CommandExt as _},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use sea_orm::{ConnectOptions, ConnectionTrait as _, Database, DatabaseConnection};
use tokio::sync::OnceCell;

use super::{
    child::{Child, Directory, Start},
    eventually,
};

/// Connections that the server allows: several nodes of aka, each with its pool, and the tests' own.
const MAX_CONNECTIONS: &str = "200";
const START_WITHIN: Duration = Duration::from_secs(30);
/// The server trusts every local connection; the password is there to be looked for in logs, where it must not be.
pub const PASSWORD: &str = "password-of-the-test-database";

/// The cluster that the tests share, one for each test process.
pub async fn shared() -> &'static Cluster {
    static SHARED: OnceCell<Cluster> = OnceCell::const_new();
    SHARED.get_or_init(Cluster::start).await
}

/// Runs one of PostgreSQL's own programs for clients, such as `pg_dump`.
pub fn run_program(name: &str, arguments: &[&str]) {
    // Where the server programs in PATH are links, the others are beside what these point to.
    let server = Programs::find().postgres.canonicalize().expect("a program");
    let output = Command::new(server.with_file_name(name))
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{name} cannot be run: {error}"));
    assert!(
        output.status.success(),
        "{name} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A PostgreSQL server with its data.
pub struct Cluster {
    programs: Programs,
    directory: Directory,
    port: u16,
    running: Option<Child>,
    databases: AtomicU32,
}

impl Cluster {
    /// Makes a cluster and starts its server.
    pub async fn start() -> Self {
        let programs = Programs::find();
        let directory = Directory::new();
        let data = directory.path().join("data");
        if let Some((user, group)) = programs.run_as {
            chown(directory.path(), Some(user), Some(group)).expect("root may give a directory away");
        }
        let made = programs
            .command(&programs.initdb)
            .args([
                "--username=aka",
                "--auth=trust",
                "--no-sync",
                "--encoding=UTF8",
                "--locale=C",
                "--pgdata",
            ])
            .arg(&data)
            .output()
            .expect("initdb can be run");
        assert!(
            made.status.success(),
            "initdb failed: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        let port = free_port();
        let mut cluster = Self {
            programs,
            directory,
            port,
            running: None,
            databases: AtomicU32::new(0),
        };
        cluster.resume().await;
        cluster
    }

    /// Stops the server as its operator would: open connections are ended, data stays.
    pub fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop();
        }
    }

    /// Starts the server again, on the same port with the same data.
    pub async fn resume(&mut self) {
        let data = self.directory.path().join("data");
        let port = self.port.to_string();
        // Durability is PostgreSQL's promise and not under test here; what the tests kill is aka.
        let settings = [
            "listen_addresses=127.0.0.1".to_owned(),
            "unix_socket_directories=".to_owned(),
            format!("port={port}"),
            format!("max_connections={MAX_CONNECTIONS}"),
            "fsync=off".to_owned(),
            "full_page_writes=off".to_owned(),
        ];
        let mut arguments = vec!["-D".into(), data.into_os_string()];
        arguments.extend(settings.iter().flat_map(|setting| ["-c".into(), setting.into()]));
        let log = self.directory.path().join("postgres.log");
        // SIGINT is PostgreSQL's fast shutdown.
        let server = Start::new("INT", &log, &self.programs.postgres, arguments)
            .environment(|command| self.programs.run_as(command))
            .spawn();
        let address = self.address("postgres");
        eventually(START_WITHIN, "PostgreSQL takes connections", async || {
            connect(&address)
                .await
                .map_err(|error| format!("{error}\n{}", server.log()))
        })
        .await;
        self.running = Some(server);
    }

    /// The address of a database of this cluster.
    pub fn address(&self, database: &str) -> String {
        format!("postgres://aka:{PASSWORD}@127.0.0.1:{}/{database}", self.port)
    }

    /// Makes an empty database and returns its address.
    pub async fn new_database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let db = connect(&self.address("postgres")).await.expect("the server is running");
        db.execute_unprepared(&format!("CREATE DATABASE {name}"))
            .await
            .expect("a database can be made");
        db.close().await.expect("a connection can be closed");
        self.address(&name)
    }
}

async fn connect(address: &str) -> Result<DatabaseConnection, String> {
    let mut options = ConnectOptions::new(address);
    options
        .max_connections(1)
        .connect_timeout(Duration::from_secs(1))
        .sqlx_logging(false);
    Database::connect(options).await.map_err(|error| error.to_string())
}

/// A port that nobody listens on at the moment.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}

/// The server programs, and the user to run them as.
struct Programs {
    initdb: PathBuf,
    postgres: PathBuf,
    /// User and group: PostgreSQL refuses to run as root.
    run_as: Option<(u32, u32)>,
}

impl Programs {
    fn find() -> Self {
        let in_path = env::var_os("PATH")
            .map(|path| env::split_paths(&path).collect::<Vec<_>>())
            .unwrap_or_default();
        let directory = in_path
            .into_iter()
            .chain(packaged())
            .find(|directory| directory.join("initdb").is_file() && directory.join("postgres").is_file())
            .expect(
                "the tests need the programs of a PostgreSQL server, `initdb` and `postgres`, in PATH or below \
                 /usr/lib/postgresql; on Debian and Ubuntu install them with `apt-get install postgresql`",
            );
        Self {
            initdb: directory.join("initdb"),
            postgres: directory.join("postgres"),
            run_as: other_than_root(),
        }
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        self.run_as(&mut command);
        command
    }

    fn run_as(&self, command: &mut Command) {
        // The directory of the tests may be one that the other user cannot enter.
        command.current_dir("/");
        if let Some((user, group)) = self.run_as {
            command.uid(user).gid(group);
        }
    }
}

/// Where Debian's packages put the programs, the newest version first.
fn packaged() -> Vec<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort();
    versions.into_iter().rev().map(|(_, directory)| directory).collect()
}

/// The user that the Debian package makes, or else nobody in particular; `None` where this process is not root.
fn other_than_root() -> Option<(u32, u32)> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let is_root = status
        .lines()
        .any(|line| line.starts_with("Uid:") && line.split_whitespace().nth(2) == Some("0"));
    if !is_root {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").expect("a list of users");
    ["postgres", "nobody"].into_iter().find_map(|name| {
        let fields: Vec<&str> = users.lines().map(|line| line.split(':')).find_map(|mut fields| {
            let is_it = fields.clone().next() == Some(name);
            is_it.then(|| fields.by_ref().collect())
        })?;
        Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
    })
}
