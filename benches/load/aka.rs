//! The program under test.

use std::{
    net::SocketAddr,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{
    Outcome,
    child::{Child, Start},
    client::Connection,
    cores::Cores,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_aka");

/// Runs a command of the program to its end. Returns what it printed.
pub fn run(url: &str, arguments: &[&str]) -> Outcome<String> {
    let mut command = Command::new(PROGRAM);
    without_settings(&mut command);
    let output = command.args(arguments).env("DATABASE_URL", url).output()?;
    if output.status.success() {
        Ok(String::from_utf8(output.stdout)?)
    } else {
        let error = String::from_utf8_lossy(&output.stderr);
        Err(format!("aka {}: {}", arguments.join(" "), error.trim()).into())
    }
}

/// Removes the settings that a developer may have in their shell.
fn without_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("AKA_")) {
            command.env_remove(name);
        }
    }
}

/// The server, running.
pub struct Aka {
    pub address: SocketAddr,
    pub process: Child,
    pub pid: u32,
    /// The time from the start of the process until it listens.
    pub ready_in: Duration,
}

impl Aka {
    /// Starts it on a store, and checks that it answers.
    pub async fn start(url: &str, log: &str, cores: &Cores, directory: &Path) -> Outcome<Self> {
        let arguments = ["serve", "--listen", "127.0.0.1:0"];
        let (program, arguments) = cores.for_server(Path::new(PROGRAM), &arguments);
        let start = Start::new("TERM", &directory.join("aka.log"), &program, arguments).environment(|command| {
            without_settings(command);
            command.env("DATABASE_URL", url).env("AKA_LOG", log);
        });
        let began = Instant::now();
        let process = start.spawn();
        let line = process.line();
        let ready_in = began.elapsed();
        let address = line
            .strip_prefix("listening on http://")
            .ok_or_else(|| format!("the first line of the server is not as expected: {line}"))?;
        let address = address.parse()?;
        let request = b"GET /readyz HTTP/1.1\r\nHost: aka\r\n\r\n";
        let status = Connection::open(address).await?.ask(request).await?.status;
        if status != 200 {
            return Err(format!("the server that has just started is not ready: {status}").into());
        }
        Ok(Self {
            address,
            pid: process.process_id,
            process,
            ready_in,
        })
    }

    /// Stops it gracefully.
    pub fn stop(self) -> Outcome<()> {
        match self.process.stop() {
            (_, 0) => Ok(()),
            (_, status) => Err(format!("the server ended with status {status}").into()),
        }
    }
}

/// Creates resources with the operations of the server.
pub struct Caller {
    connection: Connection,
    key: String,
    tenant: String,
}

impl Caller {
    pub async fn new(aka: &Aka, key: &str, tenant: &str) -> Outcome<Self> {
        Ok(Self {
            connection: Connection::open(aka.address).await?,
            key: key.to_owned(),
            tenant: tenant.to_owned(),
        })
    }

    /// Creates a resource. Returns it as the server shows it.
    pub async fn make(&mut self, path: &str, body: &Value) -> Outcome<Value> {
        let body = body.to_string();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: aka\r\nX-API-Key: {}\r\nX-Tenant-ID: {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.key,
            self.tenant,
            body.len()
        );
        let answer = self.connection.ask(request.as_bytes()).await?;
        if answer.status == 201 {
            Ok(serde_json::from_slice(answer.body)?)
        } else {
            let body = String::from_utf8_lossy(answer.body);
            Err(format!("{path}: {} {body}", answer.status).into())
        }
    }
}
