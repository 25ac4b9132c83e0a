//! A network between a server and its database that can drop everything silently.

use std::sync::Arc;

use reqwest::Url;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

/// How often the network has been lost, and whether it is at the moment.
#[derive(Clone, Copy, PartialEq, Eq)]
struct State {
    losses: usize,
    lost: bool,
}

/// A network to a database.
pub struct Network {
    url: String,
    state: Arc<watch::Sender<State>>,
}

impl Network {
    /// A network to the database at this address.
    pub async fn to(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let mut url = Url::parse(url).expect("the address of a database");
        let database = format!("127.0.0.1:{}", url.port().expect("a port"));
        url.set_port(Some(port)).expect("an address with a host");
        let state = Arc::new(watch::Sender::new(State { losses: 0, lost: false }));
        let states = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let database = TcpStream::connect(&database).await.expect("the database is running");
                let (from_client, to_client) = client.into_split();
                let (from_database, to_database) = database.into_split();
                tokio::spawn(forward(from_client, to_database, states.subscribe()));
                tokio::spawn(forward(from_database, to_client, states.subscribe()));
            }
        });
        Self { url: url.into(), state }
    }

    /// The address of the database through this network.
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// From now on nothing passes, and no connection is closed.
    pub fn lose(&self) {
        self.state.send_modify(|state| {
            state.losses += 1;
            state.lost = true;
        });
    }

    /// New connections work again. Those that there were when it was lost, or that were tried since, never do.
    pub fn restore(&self) {
        self.state.send_modify(|state| state.lost = false);
    }
}

/// Forwards what comes until the network is lost; then keeps the connection open and silent.
async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut states: watch::Receiver<State>) {
    let at_first = *states.borrow();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let now = *states.borrow_and_update();
        if at_first.lost || now.losses != at_first.losses {
            std::future::pending::<()>().await;
        }
        tokio::select! {
            _ = states.changed() => {}
            read = from.read(&mut buffer) => {
                let Ok(bytes @ 1..) = read else { return };
                if to.write_all(&buffer[..bytes]).await.is_err() {
                    return;
                }
            }
        }
    }
}
