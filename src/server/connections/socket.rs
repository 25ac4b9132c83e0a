//! The socket of a client. A client that does not read cannot keep it, and hyper's own errors get a body on it.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use rustix::net::Shutdown;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    time::{Instant, Sleep},
};

use super::{activity::Activity, refusal};

/// How long a client may take to read more of a response.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// How much a slow client must at least read within this time, in bytes.
const SLOWEST: usize = 64 * 1024;
/// The maximum size of the system's send buffer, in bytes. The system doubles it for its own use.
const SEND_BUFFER: usize = 256 * 1024;
/// The beginning of HTTP/2's preface (RFC 9113 §3.4), as far as no other protocol has it.
const HTTP2: &[u8] = b"PRI";

/// Settings of a listening socket, which accepted sockets inherit.
///
/// # Errors
///
/// If the system does not support them.
pub fn prepare(listener: &TcpListener) -> io::Result<()> {
    use rustix::net::sockopt;
    // Responses are written at once, so waiting for more data has no benefit.
    sockopt::set_tcp_nodelay(listener, true)?;
    sockopt::set_socket_send_buffer_size(listener, SEND_BUFFER)?;
    // If data is not acknowledged, because the client has disconnected or does not read, the connection is closed.
    #[cfg(target_os = "linux")]
    sockopt::set_tcp_user_timeout(listener, u32::try_from(WRITE_TIMEOUT.as_millis()).unwrap_or(u32::MAX))?;
    Ok(())
}

/// The socket of a client, as hyper reads and writes it.
pub struct Socket {
    stream: Arc<TcpStream>,
    activity: Arc<Activity>,
    /// The deadline by which the client must have read enough; `None` while it reads everything.
    deadline: Option<Pin<Box<Sleep>>>,
    /// How much it has read towards that.
    taken: usize,
    /// An error that replaces a response of hyper.
    refusal: Vec<u8>,
    has_read: bool,
    /// Whether only a part of the first line of a request has arrived.
    in_first_line: bool,
}

impl Socket {
    /// The socket of a connection.
    #[must_use]
    pub const fn new(stream: Arc<TcpStream>, activity: Arc<Activity>) -> Self {
        Self {
            stream,
            activity,
            deadline: None,
            taken: 0,
            refusal: Vec::new(),
            has_read: false,
            in_first_line: false,
        }
    }

    /// Writes as many bytes as possible, within the time that the client has.
    fn write(&mut self, context: &mut Context<'_>, bytes: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        loop {
            if self.stream.poll_write_ready(context)?.is_pending() {
                return self.wait(context).map(Err);
            }
            match self.stream.try_write_vectored(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(written) => {
                    self.taken += written;
                    if self.taken >= SLOWEST {
                        self.took_enough();
                    }
                    self.activity.sent();
                    return Poll::Ready(Ok(written));
                }
                failed => return Poll::Ready(failed),
            }
        }
    }

    fn took_enough(&mut self) {
        self.deadline = None;
        self.taken = 0;
    }

    /// Waits for the client until the deadline.
    fn wait(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let deadline = self
            .deadline
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + WRITE_TIMEOUT)));
        ready!(deadline.as_mut().poll(context));
        tracing::debug!("closing a connection whose client does not read");
        Poll::Ready(io::ErrorKind::TimedOut.into())
    }

    /// Writes the replacement.
    fn write_refusal(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.refusal.is_empty() {
            let refusal = std::mem::take(&mut self.refusal);
            let written = self.write(context, &[IoSlice::new(&refusal)]);
            self.refusal = refusal;
            self.refusal.drain(..ready!(written)?);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            ready!(this.stream.poll_read_ready(context))?;
            let before = buffer.filled().len();
            match this.stream.try_read_buf(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(read) => {
                    let received = buffer.filled().get(before..).unwrap_or_default();
                    if !this.has_read && received.starts_with(HTTP2) {
                        this.activity.speaks_http2();
                    }
                    this.has_read = true;
                    if read > 0 {
                        this.in_first_line |= this.activity.received();
                        this.in_first_line &= !received.contains(&b'\n');
                    }
                    return Poll::Ready(Ok(()));
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.write_refusal(context))?;
        if let Some(head) = bytes.first()
            && let Some(refusal) = refusal::instead_of(head, this.in_first_line)
        {
            this.refusal = refusal;
            return Poll::Ready(Ok(head.len()));
        }
        this.write(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.write_refusal(context))?;
        // Hyper calls this after it has written everything.
        this.took_enough();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.write_refusal(context))?;
        Poll::Ready(rustix::net::shutdown(&*this.stream, Shutdown::Write).map_err(Into::into))
    }
}
