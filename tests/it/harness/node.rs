//! Running servers, each with its store.

use std::{
    path::PathBuf,
    process::Command,
    sync::{
        Arc, LazyLock, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use reqwest::Client;
use sea_orm::DatabaseConnection;
use serde_json::json;
use tokio::sync::OnceCell;
use uuid::Uuid;

use super::{
    Answer, Caller,
    caller::Credential,
    child::{Child, Directory},
    document::Document,
    operations,
    postgres::{self, Cluster},
    program, rows, unique,
};

/// Without the system's certificates and proxies: every address is on this machine and plain HTTP.
pub static CLIENT: LazyLock<Client> = LazyLock::new(|| {
    Client::builder()
        .no_proxy()
        .tls_danger_accept_invalid_certs(true)
        .timeout(std::time::Duration::from_secs(30))
        .build()
        .expect("a client")
});

/// Which database a server keeps its data in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    Sqlite,
    Postgres,
}

/// An empty database: its address, and the directory of its file.
pub struct EmptyDatabase {
    pub url: String,
    _directory: Option<Arc<Directory>>,
}

impl Store {
    /// A new database with no tables in it.
    pub async fn empty_database(self) -> EmptyDatabase {
        match self {
            Self::Sqlite => {
                let directory = Arc::new(Directory::new());
                let url = format!("sqlite://{}", directory.path().join("aka.db").display());
                EmptyDatabase {
                    url,
                    _directory: Some(directory),
                }
            }
            Self::Postgres => EmptyDatabase {
                url: postgres::shared().await.new_database().await,
                _directory: None,
            },
        }
    }
}

/// A server and what belongs to it. Stops when the last one who holds it lets go.
#[derive(Clone)]
pub struct Aka {
    node: Arc<Node>,
}

struct Node {
    store: Store,
    address: String,
    process: Mutex<Option<Child>>,
    log: PathBuf,
    data: Arc<Data>,
    document: Document,
}

/// A store that has been set up: tables, the master tenant, and its first key.
struct Data {
    url: String,
    master_id: Uuid,
    master_key: String,
    directory: Arc<Directory>,
    logs: AtomicU32,
    rows: OnceCell<DatabaseConnection>,
}

impl Aka {
    /// The server that the tests of this process share.
    pub async fn shared(store: Store) -> Self {
        static SQLITE: OnceCell<Aka> = OnceCell::const_new();
        static POSTGRES: OnceCell<Aka> = OnceCell::const_new();
        match store {
            Store::Sqlite => SQLITE.get_or_init(|| Self::alone(store)).await.clone(),
            Store::Postgres => POSTGRES.get_or_init(|| Self::alone(store)).await.clone(),
        }
    }

    /// A server with a database of its own.
    pub async fn alone(store: Store) -> Self {
        Self::alone_with(store, &[]).await
    }

    /// A server on SQLite that may have only so many files open: its soft limit and its hard limit.
    pub async fn alone_with_files(soft: u32, hard: u32, settings: &[(&str, &str)]) -> Self {
        let data = Arc::new(Data::new(None));
        let limited = format!("--nofile={soft}:{hard}");
        Self::start_under(&["prlimit", &limited], "TERM", Store::Sqlite, data, settings).await
    }

    /// A server with a database of its own, and further settings.
    pub async fn alone_with(store: Store, settings: &[(&str, &str)]) -> Self {
        let url = match store {
            Store::Sqlite => None,
            Store::Postgres => Some(postgres::shared().await.new_database().await),
        };
        Self::start(store, Arc::new(Data::new(url)), settings).await
    }

    /// A server on a PostgreSQL that the test may stop.
    pub async fn alone_on(cluster: &Cluster) -> Self {
        let data = Data::new(Some(cluster.new_database().await));
        Self::start(Store::Postgres, Arc::new(data), &[]).await
    }

    /// A server on an empty PostgreSQL database at this address.
    pub async fn alone_at(url: String) -> Self {
        Self::start(Store::Postgres, Arc::new(Data::new(Some(url))), &[]).await
    }

    /// Another server on the database of this one, with further settings.
    pub async fn second_node_with(&self, settings: &[(&str, &str)]) -> Self {
        Self::start(self.node.store, Arc::clone(&self.node.data), settings).await
    }

    /// Another server on the database of this one.
    pub async fn second_node(&self) -> Self {
        Self::start(self.node.store, Arc::clone(&self.node.data), &[]).await
    }

    /// Another server on the database of this one, which [`Aka::stop`] does not ask to stop but kills.
    pub async fn second_node_to_be_killed(&self) -> Self {
        Self::start_ended_by("KILL", self.node.store, Arc::clone(&self.node.data), &[]).await
    }

    /// Another server on a copy of the database of this one, with further settings.
    pub async fn on_copy(&self, url: &str, settings: &[(&str, &str)]) -> Self {
        let master = (self.node.data.master_id, &*self.node.data.master_key);
        Self::on_rows(self.node.store, url, master, settings).await
    }

    /// A server on a database with tables and rows: the id of its master tenant, and a key of that.
    pub async fn on_rows(
        store: Store,
        url: &str,
        (master_id, master_key): (Uuid, &str),
        settings: &[(&str, &str)],
    ) -> Self {
        let data = Data {
            url: url.to_owned(),
            master_id,
            master_key: master_key.to_owned(),
            directory: Arc::new(Directory::new()),
            logs: AtomicU32::new(0),
            rows: OnceCell::new(),
        };
        Self::start(store, Arc::new(data), settings).await
    }

    async fn start(store: Store, data: Arc<Data>, settings: &[(&str, &str)]) -> Self {
        Self::start_ended_by("TERM", store, data, settings).await
    }

    async fn start_ended_by(signal: &str, store: Store, data: Arc<Data>, settings: &[(&str, &str)]) -> Self {
        Self::start_under(&[], signal, store, data, settings).await
    }

    /// Starts one by another program, which becomes the server.
    async fn start_under(
        starter: &[&str],
        signal: &str,
        store: Store,
        data: Arc<Data>,
        settings: &[(&str, &str)],
    ) -> Self {
        let mut environment = vec![
            ("DATABASE_URL", data.url.as_str()),
            // The tests' issuers of tokens are on this machine.
            ("AKA_JWKS_ALLOW_PRIVATE", "true"),
        ];
        environment.extend(settings);
        let number = data.logs.fetch_add(1, Ordering::Relaxed);
        let log = data.directory.path().join(format!("serve-{number}.log"));
        let serve = ["serve", "--listen", "127.0.0.1:0"];
        let process = program::start_under(starter, signal, &serve, &environment, &log);
        let line = process.line();
        let address = line
            .strip_prefix("listening on ")
            .filter(|address| address.starts_with("http://127.0.0.1:"))
            .unwrap_or_else(|| panic!("the first line is not the address: {line}\n{}", process.log()))
            .to_owned();
        let document = Document::of(&address).await;
        let process = Mutex::new(Some(process));
        Self {
            node: Arc::new(Node {
                store,
                address,
                process,
                log,
                data,
                document,
            }),
        }
    }

    /// Which store it uses.
    pub fn store(&self) -> Store {
        self.node.store
    }

    /// Where it listens: `http://127.0.0.1:` and the port.
    pub fn address(&self) -> &str {
        &self.node.address
    }

    /// The address of its database.
    pub fn database_url(&self) -> &str {
        &self.node.data.url
    }

    /// The file of its database, on SQLite.
    pub fn database_file(&self) -> PathBuf {
        self.node.data.url.trim_start_matches("sqlite://").into()
    }

    /// Its OpenAPI document.
    pub fn document(&self) -> &Document {
        &self.node.document
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(&self.node.log).expect("the server has a log");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Lets no file grow beyond a length in bytes that it writes to, or takes that back: a disk that is full.
    pub fn limit_files(&self, bytes: Option<u64>) {
        let process = self.node.process.lock().unwrap_or_else(PoisonError::into_inner);
        let id = process.as_ref().expect("the server is running").process_id.to_string();
        let limit = bytes.map_or_else(|| "unlimited".to_owned(), |bytes| bytes.to_string());
        let status = Command::new("prlimit")
            .args(["--pid", &id, &format!("--fsize={limit}:")])
            .status()
            .expect("prlimit, which every Linux has");
        assert!(status.success(), "the limit is set");
    }

    /// Sends its process a signal by name: `STOP` makes it stand still, `CONT` go on.
    pub fn signal(&self, name: &str) {
        let process = self.node.process.lock().unwrap_or_else(PoisonError::into_inner);
        let id = process.as_ref().expect("the server is running").process_id.to_string();
        let status = Command::new("/bin/sh")
            .args(["-c", "kill -s \"$1\" \"$2\"", "kill", name, &id])
            .status();
        assert!(
            status.expect("a shell as /bin/sh, which every Unix has").success(),
            "the signal is sent"
        );
    }

    /// Sends it SIGTERM, without waiting for its end.
    pub fn ask_to_stop(&self) {
        let mut process = self.node.process.lock().unwrap_or_else(PoisonError::into_inner);
        process.as_mut().expect("the server is running").ask_to_stop();
    }

    /// Sends it SIGTERM and waits for its end. Returns what it has printed beside its address, and its status.
    pub fn stop(&self) -> (Vec<String>, i32) {
        let process = self.node.process.lock().unwrap_or_else(PoisonError::into_inner).take();
        process.expect("the server is running").stop()
    }

    /// For looking into its database past it.
    pub async fn rows(&self) -> rows::Rows<'_> {
        let db = self
            .node
            .data
            .rows
            .get_or_init(|| rows::connect(&self.node.data.url))
            .await;
        rows::Rows::new(db)
    }

    /// The first key of the master tenant, which may do everything there.
    pub fn master(&self) -> Caller {
        let key = Credential::Key(self.node.data.master_key.clone());
        Caller::new(self.clone(), self.node.data.master_id, key)
    }

    /// Somebody without a credential, and of no tenant.
    pub fn nobody(&self) -> Caller {
        Caller::new(self.clone(), Uuid::nil(), Credential::None).without_tenant_header()
    }

    /// A new tenant, by a key with every scope.
    pub async fn tenant(&self) -> Caller {
        let slug = unique("tenant");
        let tenant = self
            .master()
            .post("/v1/tenants")
            .json(json!({ "name": slug, "slug": slug }))
            .await
            .expect(201);
        let id = tenant.id();
        let key = self
            .key_of(id, &json!({ "name": "all", "scopes": operations::SCOPES }))
            .await;
        Caller::new(
            self.clone(),
            id,
            Credential::Key(key["raw_key"].as_str().expect("a key").to_owned()),
        )
    }

    /// A new key of a tenant, made by the master tenant.
    pub async fn key_of(&self, tenant: Uuid, key: &serde_json::Value) -> Answer {
        self.master()
            .post(format!("/v1/tenants/{tenant}/api-keys"))
            .json(key)
            .await
            .expect(201)
    }
}

impl Data {
    /// Makes tables, the master tenant and its key by the program's own commands; without an address in a SQLite file.
    fn new(url: Option<String>) -> Self {
        let directory = Arc::new(Directory::new());
        let url = url.unwrap_or_else(|| format!("sqlite://{}", directory.path().join("aka.db").display()));
        let environment = [("DATABASE_URL", url.as_str())];
        program::run_with(&["migrate", "up"], &environment).succeeded();
        let tenant = ["tenant", "create", "--name", "Master", "--slug", "master", "--master"];
        let tenant = program::run_with(&tenant, &environment).json();
        let key = program::run_with(
            &["key", "create", "--tenant", "master", "--scopes", "all"],
            &environment,
        )
        .json();
        let master_id = tenant["id"]
            .as_str()
            .and_then(|id| id.parse().ok())
            .expect("a tenant has an id");
        let master_key = key["raw_key"].as_str().expect("a new key is shown").to_owned();
        Self {
            url,
            master_id,
            master_key,
            directory,
            logs: AtomicU32::new(0),
            rows: OnceCell::new(),
        }
    }
}
