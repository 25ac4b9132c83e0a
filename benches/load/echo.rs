//! The reference for the cost of HTTP and JSON alone: a minimal poem-openapi server. Its only operation looks like a link (two
//! typed headers, an id in the path, a validated JSON body), stores nothing, and answers with the body.

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    path::Path,
    time::Duration,
};

use poem::{
    Route, Server,
    listener::{Acceptor as _, Listener as _, TcpListener},
};
use poem_openapi::{Object, OpenApi, OpenApiService, param, payload::Json};
use uuid::Uuid;

use super::{
    Outcome,
    child::{Child, Start},
    cores::Cores,
};

/// With this argument the benchmark runs as that server, in a separate process like the program.
pub const ARGUMENT: &str = "--echo-server";

#[derive(Object)]
struct Account {
    identity_provider_id: Uuid,
    #[oai(validator(min_length = 1, max_length = 256))]
    external_id: String,
    #[oai(validator(min_length = 1, max_length = 256))]
    external_username: Option<String>,
    #[oai(validator(min_length = 1, max_length = 254))]
    external_email: Option<String>,
}

struct Api;

#[OpenApi]
#[expect(clippy::unused_async, reason = "poem-openapi takes nothing else")]
impl Api {
    #[oai(path = "/v1/users/:id/identities", method = "post")]
    async fn echo(
        &self,
        #[oai(name = "X-API-Key")] key: param::Header<String>,
        #[oai(name = "X-Tenant-ID")] tenant: param::Header<Uuid>,
        id: param::Path<Uuid>,
        account: Json<Account>,
    ) -> Json<Account> {
        let _ = (key, tenant, id);
        account
    }
}

/// Serves until the process is killed.
pub fn serve() -> Outcome<()> {
    // As in the program.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let acceptor = TcpListener::bind("127.0.0.1:0").into_acceptor().await?;
        let address = acceptor.local_addr();
        let address = address.first().and_then(|address| address.as_socket_addr());
        let address = address.ok_or_else(|| io::Error::other("no address"))?;
        writeln!(io::stdout(), "{address}")?;
        let routes = Route::new().nest("/", OpenApiService::new(Api, "echo", "1"));
        Server::new_with_acceptor(acceptor)
            .idle_timeout(Duration::from_secs(75))
            .run(routes)
            .await?;
        Ok(())
    })
}

/// The server, running.
pub struct Echo {
    pub address: SocketAddr,
    pub process: Child,
    pub pid: u32,
}

impl Echo {
    pub fn start(cores: &Cores, directory: &Path) -> Outcome<Self> {
        let (program, arguments) = cores.for_server(&std::env::current_exe()?, &[ARGUMENT]);
        let start = Start::new("TERM", &directory.join("echo.log"), &program, arguments);
        let process = start.spawn();
        Ok(Self {
            address: process.line().parse()?,
            pid: process.process_id,
            process,
        })
    }
}
