//! The server: how it is put together, how it starts, and how it stops.
//!
//! A request comes in through a connection ([`connections`]), passes what surrounds every request ([`surround`]), and
//! reaches an operation or a page ([`pages`]). Beside the requests runs what no request waits for ([`background`]).
//!
//! [`pages`], `surround` and this file refer to one another: a request for which there is nothing is answered with a page, and the
//! pages are routes of the server.

mod accept;
mod background;
pub mod compression;
pub mod connections;
pub mod cross_origin;
pub mod listen;
pub mod pages;
mod surround;

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use poem::{Endpoint, EndpointExt as _, IntoEndpoint as _, Response, get};
use tokio::net::TcpListener;

use self::{
    background::Background, connections::Limits, cross_origin::CrossOrigin, listen::Bound, surround::Surrounded,
};
use crate::{
    access::{
        api_keys::ApiKeys,
        decision_log::DecisionLog,
        provider_config,
        tenants::Tenants,
        tokens::{Tokens, jwks_client::JwksClient},
        workers::Workers,
    },
    http::{App, readiness::Readiness},
    outbound::{self, Addresses},
    resources,
    store::{DatabaseUrl, Store, StoreError, revision::TagKey, root_key::RootKeySource},
};

/// How long requests in progress may take after the server was asked to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the store may take to close afterwards: a database that does not answer must not keep the process alive.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// A server with its store, before it listens.
pub struct Server {
    app: App,
    background: Background,
}

impl Server {
    /// Opens a server on a store whose tables are there.
    ///
    /// # Errors
    ///
    /// Where the store cannot be opened, with its root key.
    pub async fn open(
        url: &DatabaseUrl,
        root_key: &RootKeySource,
        jwks_allow_private: bool,
    ) -> Result<Self, StoreError> {
        let tenants = Tenants::new(Workers::start());
        let store = Store::open(url, root_key, tenants.on_new_version()).await?;
        match provider_config::seal_rows(&store).await {
            // It accepts no changes yet. A server whose clock is right seals them when it starts.
            Err(StoreError::ClockOff(_)) => {}
            sealed => sealed?,
        }
        let addresses = Addresses {
            allow_private: jwks_allow_private,
        };
        let client = outbound::Client::new(addresses).map_err(|error| StoreError::Fault(error.to_string()))?;
        let app = App {
            tokens: Tokens::new(JwksClient::new(client)),
            tags: TagKey::new(store.root_key()),
            store,
            tenants,
            api_keys: ApiKeys::default(),
            decisions: DecisionLog::default(),
            readiness: Readiness::default(),
        };
        let background = Background::start(&app);
        Ok(Self { app, background })
    }

    /// The store.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.app.store
    }

    /// Begins to listen.
    ///
    /// # Errors
    ///
    /// Where the address cannot be had any more.
    pub fn listen(self, bound: Bound, limits: Limits, cross_origin: CrossOrigin) -> Result<Listening, io::Error> {
        let listener = bound.listen()?;
        let address = listener.local_addr()?;
        Ok(Listening {
            server: self,
            limits,
            cross_origin,
            listener,
            address,
        })
    }
}

/// A server that is bound to its address, but does not serve yet.
pub struct Listening {
    server: Server,
    limits: Limits,
    cross_origin: CrossOrigin,
    listener: TcpListener,
    address: SocketAddr,
}

impl Listening {
    /// Where: `http://` and the address that it really has.
    #[must_use]
    pub fn address(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers requests until it is asked to stop; then finishes those that have begun, commits what waits, and closes
    /// the store.
    pub async fn run(self, asked_to_stop: impl Future<Output = ()>) {
        let Self {
            server: Server { app, background },
            limits,
            cross_origin,
            listener,
            address,
        } = self;
        tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "serving");
        let readiness = app.readiness.clone();
        let asked_to_stop = async move {
            asked_to_stop.await;
            tracing::info!("stopping: finishing the requests in progress");
            readiness.stop();
        };
        connections::serve(
            listener,
            limits,
            endpoint(app.clone(), cross_origin),
            asked_to_stop,
            STOP_TIMEOUT,
        )
        .await;
        let closing = async {
            background.end().await;
            app.api_keys.write_use(&app.store).await;
            app.decisions.write(&app.store).await;
            app.store.close().await;
        };
        if tokio::time::timeout(CLOSE_TIMEOUT, closing).await.is_ok() {
            tracing::info!("stopped");
        } else {
            tracing::warn!("stopped without closing the database, which does not respond");
        }
    }
}

/// Waits until the process is asked to stop: SIGINT (Ctrl-C) or SIGTERM.
///
/// # Errors
///
/// If the signals cannot be handled.
pub fn asked_to_stop() -> Result<impl Future<Output = ()>, io::Error> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Everything that is served.
fn endpoint(app: App, cross_origin: CrossOrigin) -> impl Endpoint<Output = Response> {
    let document = resources::document();
    let tags = app.tags.clone();
    let operations = Arc::new(resources::service().into_endpoint());
    let routes = pages::routes()
        .at("/", get(pages::home))
        .nest_no_strip("/v1", Arc::clone(&operations))
        .at("/healthz", Arc::clone(&operations))
        .at("/readyz", operations)
        .data(app);
    Surrounded {
        inner: routes,
        document,
        tags,
        cross_origin,
    }
}
