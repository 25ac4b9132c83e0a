//! The address to listen on, as people write it, and its socket.

use std::{fmt, io, net::SocketAddr, str::FromStr};

use tokio::net::{TcpListener, TcpSocket};

/// The number of connections that the system may queue until they are accepted.
const BACKLOG: u32 = 1024;
/// The loopback address, which only programs on this machine can reach.
const LOOPBACK: &str = "127.0.0.1";

/// An address and port, as in `127.0.0.1:8080` or `[::1]:8080`, a host name and port, or a port alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    host: String,
    port: u16,
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || {
            "expected an address and port (127.0.0.1:8080 or [::1]:8080), a host name and port (localhost:8080), or a \
             port (8080)"
                .to_owned()
        };
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self {
                host: address.ip().to_string(),
                port: address.port(),
            });
        }
        let (host, port) = text.rsplit_once(':').unwrap_or((LOOPBACK, text));
        let is_name = |host: &str| {
            !host.is_empty()
                && host
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
        };
        let port = Some(port).filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
        match port.and_then(|port| port.parse().ok()) {
            Some(port) if is_name(host) => Ok(Self {
                host: host.to_owned(),
                port,
            }),
            _ => Err(refused()),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl Listen {
    /// Binds the address without accepting connections yet. A server does this before it opens its database, so that
    /// a server that cannot listen changes nothing.
    ///
    /// # Errors
    ///
    /// If the address cannot be bound.
    pub async fn bind(&self) -> Result<Bound, io::Error> {
        let named = |error: io::Error| self.named(&error);
        let mut addresses: Vec<SocketAddr> = tokio::net::lookup_host((self.host.as_str(), self.port))
            .await
            .map_err(named)?
            .collect();
        // If a name has addresses of both kinds, clients that support only one kind support this one.
        addresses.sort_by_key(SocketAddr::is_ipv6);
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in addresses {
            match bind(address) {
                Ok(socket) => {
                    return Ok(Bound {
                        socket,
                        wanted: self.clone(),
                    });
                }
                Err(error) => failure = error,
            }
        }
        Err(named(failure))
    }

    fn named(&self, error: &io::Error) -> io::Error {
        let advice = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "; another program listens there. Stop it, or choose another port with --listen (or AKA_LISTEN)"
            }
            io::ErrorKind::PermissionDenied => "; ports below 1024 need a privilege",
            _ => "",
        };
        io::Error::new(error.kind(), format!("cannot listen on {self}: {error}{advice}"))
    }
}

fn bind(address: SocketAddr) -> Result<TcpSocket, io::Error> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }?;
    // As usual for servers: connections of a server that has just ended do not prevent the next one from listening.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// A bound socket that does not accept connections yet.
pub struct Bound {
    socket: TcpSocket,
    wanted: Listen,
}

impl Bound {
    /// Starts to accept connections.
    ///
    /// # Errors
    ///
    /// If another program listens on the address since.
    pub fn listen(self) -> Result<TcpListener, io::Error> {
        let Self { socket, wanted } = self;
        socket.listen(BACKLOG).map_err(|error| wanted.named(&error))
    }
}
