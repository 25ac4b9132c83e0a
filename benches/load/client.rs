//! A minimal HTTP/1.1 client for the measurement: it sends prepared bytes, and reads the status and the body of the response.

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Large enough for the longest responses, which are lists of identities.
const BUFFER: usize = 16 * 1024;

/// A connection that is reused for many requests, one at a time.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer.
pub struct Answer<'a> {
    pub status: u16,
    pub body: &'a [u8],
}

impl Connection {
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::with_capacity(BUFFER),
        })
    }

    /// Sends a request and reads its answer.
    pub async fn ask(&mut self, request: &[u8]) -> io::Result<Answer<'_>> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let mut head = None;
        let head = loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            head = match head {
                Some(head) => Some(head),
                None => Head::read(&self.buffer)?,
            };
            if let Some(head) = &head
                && self.buffer.len() >= head.length + head.body
            {
                break head;
            }
        };
        if self.buffer.len() > head.length + head.body {
            return Err(io::Error::other("the response is longer than its Content-Length"));
        }
        Ok(Answer {
            status: head.status,
            body: &self.buffer[head.length..],
        })
    }
}

/// The parsed head of a response.
struct Head {
    status: u16,
    length: usize,
    body: usize,
}

impl Head {
    /// None: it is not complete yet.
    fn read(bytes: &[u8]) -> io::Result<Option<Self>> {
        const END: &[u8] = b"\r\n\r\n";
        let Some(end) = bytes.windows(END.len()).position(|some| some == END) else {
            return Ok(None);
        };
        let wrong = || io::Error::other("the response is not an HTTP/1.1 response with a Content-Length");
        let text = std::str::from_utf8(&bytes[..end]).map_err(|_| wrong())?;
        let (first, fields) = text.split_once("\r\n").ok_or_else(wrong)?;
        let status = first
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3)?.parse().ok())
            .ok_or_else(wrong)?;
        let body = fields
            .split("\r\n")
            .filter_map(|field| field.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .and_then(|(_, value)| value.trim().parse().ok())
            .ok_or_else(wrong)?;
        Ok(Some(Self {
            status,
            length: end + END.len(),
            body,
        }))
    }
}
