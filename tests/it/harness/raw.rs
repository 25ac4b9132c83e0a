//! HTTP written by hand, for requests that a client library would not send.

use std::{net::Ipv4Addr, time::Duration};

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use super::{Aka, Answer, Caller};

const PATIENCE: Duration = Duration::from_secs(30);

/// A connection to a server.
pub struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Connection {
    /// Opens one.
    pub async fn open(aka: &Aka) -> Self {
        let address = aka.address().trim_start_matches("http://");
        let stream = TcpStream::connect(address).await.expect("the server listens");
        Self {
            stream,
            received: Vec::new(),
        }
    }

    /// Opens one from an address of this machine: to the server another client.
    pub async fn open_from(aka: &Aka, address: Ipv4Addr) -> Self {
        let stream = connect_from(aka, address, None).await;
        Self {
            stream,
            received: Vec::new(),
        }
    }

    /// Whether the server has closed it, which it may take so long for.
    pub async fn is_closed_within(&mut self, time: Duration) -> bool {
        let mut buffer = [0; 4096];
        let closed = async { while self.stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {} };
        timeout(time, closed).await.is_ok()
    }

    /// Sends bytes. `false`: the server does not want any more.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok()
    }

    /// Sends bytes while it waits for the answer, so that an answer that comes before the end of the request, after
    /// which the server may close, is not missed.
    pub async fn exchange(mut self, request: Vec<u8>) -> Answer {
        let (mut reading, mut writing) = self.stream.into_split();
        let sending = tokio::spawn(async move {
            // The server may have answered and closed before it has read everything.
            let _ = writing.write_all(&request).await;
            writing
        });
        let answer = read_answer(&mut reading, &mut self.received).await.expect("an answer");
        sending.abort();
        answer
    }

    /// The next answer; `None` where the server closes without one.
    pub async fn answer(&mut self) -> Option<Answer> {
        read_answer(&mut self.stream, &mut self.received).await
    }
}

/// A connection from an address of this machine, with the size of the buffer into which it receives, if one is given.
pub async fn connect_from(aka: &Aka, address: Ipv4Addr, receive_buffer: Option<u32>) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    if let Some(bytes) = receive_buffer {
        socket.set_recv_buffer_size(bytes).expect("a size");
    }
    socket.bind((address, 0).into()).expect("an address of this machine");
    let server = aka.address().trim_start_matches("http://");
    socket
        .connect(server.parse().expect("an address"))
        .await
        .expect("the server listens")
}

/// The head of a request by somebody, without the empty line at its end.
pub fn head(caller: &Caller, method: &str, path: &str) -> String {
    let (tenant, key) = (caller.tenant(), caller.key());
    format!("{method} {path} HTTP/1.1\r\nhost: aka\r\nx-tenant-id: {tenant}\r\nx-api-key: {key}\r\n")
}

async fn read_answer(reading: &mut (impl AsyncRead + Unpin), received: &mut Vec<u8>) -> Option<Answer> {
    loop {
        if let Some(answer) = parse(received) {
            return Some(answer);
        }
        let read = timeout(PATIENCE, reading.read_buf(received))
            .await
            .expect("the server answers or closes in time");
        if read.is_ok_and(|count| count > 0) {
            continue;
        }
        return None;
    }
}

/// The first answer in some bytes, where it is complete. Its body must have a length, as all of aka's have.
fn parse(received: &mut Vec<u8>) -> Option<Answer> {
    let end = received.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&received[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let mut headers = HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let name: HeaderName = name.parse().expect("the name of a header");
        headers.append(name, HeaderValue::from_str(value.trim()).expect("the text of a header"));
    }
    let length = headers
        .get("content-length")
        .and_then(|length| length.to_str().ok()?.parse().ok())
        .unwrap_or(0);
    let body = received.get(end..end + length)?.to_vec();
    received.drain(..end + length);
    Some(Answer::new("a request written by hand".into(), status, headers, body))
}
