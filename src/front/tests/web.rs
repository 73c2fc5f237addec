//! A plain HTTP/1.1 client that says exactly what a test wants it to.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use serde_json::Value;

use super::PATIENCE;

/// What came back.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: u16,
    headers: Vec<(String, String)>,
    /// All of it, unless it is a stream of events.
    pub(super) body: Vec<u8>,
}

impl Response {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(super) fn code(&self) -> i64 {
        self.json()["error"]["code"].as_i64().unwrap()
    }
}

/// One connection.
pub(super) struct Web<S: Read + Write> {
    stream: BufReader<S>,
    token: Option<String>,
    host: String,
}

impl Web<TcpStream> {
    pub(super) fn connect(address: std::net::SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        let patience = Duration::from_secs(PATIENCE.unsigned_abs());
        stream.set_read_timeout(Some(patience)).unwrap();
        stream.set_write_timeout(Some(patience)).unwrap();
        Self::over(stream, &address.to_string())
    }

    pub(super) fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => true,
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        }
    }
}

impl<S: Read + Write> Web<S> {
    pub(super) fn over(stream: S, host: &str) -> Self {
        Self {
            stream: BufReader::new(stream),
            token: None,
            host: host.into(),
        }
    }

    pub(super) fn with(mut self, token: &str) -> Self {
        self.token = Some(token.into());
        self
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.try_raw(bytes).unwrap();
    }

    pub(super) fn try_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)?;
        self.stream.get_mut().flush()
    }

    /// Sends a request; `more` are whole header lines, one of which may be another `Host`.
    pub(super) fn send(&mut self, method: &str, more: &[&str], body: &str) {
        let request = self.request(method, more, body);
        self.raw(request.as_bytes());
    }

    /// A POST to a front that may not listen.
    pub(super) fn try_send(&mut self, more: &[&str], body: &str) -> io::Result<()> {
        let request = self.request("POST", more, body);
        self.try_raw(request.as_bytes())
    }

    /// A front that may not answer.
    pub(super) fn try_response(&mut self) -> io::Result<()> {
        match self.stream.fill_buf()?.is_empty() {
            true => Err(io::ErrorKind::UnexpectedEof.into()),
            false => Ok(()),
        }
    }

    fn request(&self, method: &str, more: &[&str], body: &str) -> String {
        let mut head = format!("{method} /mcp HTTP/1.1\r\n");
        if !more.iter().any(|line| line.starts_with("Host:")) {
            head += &format!("Host: {}\r\n", self.host);
        }
        if let Some(token) = &self.token {
            head += &format!("Authorization: Bearer {token}\r\n");
        }
        for line in more {
            head += &format!("{line}\r\n");
        }
        if !more.iter().any(|line| line.starts_with("Accept:")) {
            head += "Accept: application/json, text/event-stream\r\n";
        }
        if method == "POST" {
            if !more.iter().any(|line| line.starts_with("Content-Type:")) {
                head += "Content-Type: application/json\r\n";
            }
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        format!("{head}\r\n{body}")
    }

    /// The next response; of a stream only its head.
    pub(super) fn response(&mut self) -> Response {
        let status = self.line();
        let status = status
            .split(' ')
            .nth(1)
            .unwrap_or_else(|| panic!("`{status}`"));
        let mut response = Response {
            status: status.parse().unwrap(),
            headers: Vec::new(),
            body: Vec::new(),
        };
        loop {
            let line = self.line();
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(": ").unwrap();
            response
                .headers
                .push((name.to_ascii_lowercase(), value.into()));
        }
        if let Some(length) = response.header("content-length") {
            let mut body = vec![0; length.parse().unwrap()];
            self.stream.read_exact(&mut body).unwrap();
            response.body = body;
        }
        response
    }

    pub(super) fn post(&mut self, more: &[&str], body: &str) -> Response {
        self.send("POST", more, body);
        self.response()
    }

    /// The next message of a stream of events; nothing at its end.
    pub(super) fn event(&mut self) -> Option<Value> {
        loop {
            let chunk = self.chunk()?;
            let text = String::from_utf8(chunk).unwrap();
            if text == ":\n\n" {
                continue;
            }
            let data = text.strip_prefix("event: message\ndata: ").unwrap();
            return Some(serde_json::from_str(data.strip_suffix("\n\n").unwrap()).unwrap());
        }
    }

    /// The next chunk of a body, as the front wrote it; nothing at its end.
    pub(super) fn chunk(&mut self) -> Option<Vec<u8>> {
        let length = usize::from_str_radix(&self.line(), 16).unwrap();
        let mut chunk = vec![0; length + 2];
        self.stream.read_exact(&mut chunk).unwrap();
        assert!(chunk.ends_with(b"\r\n"));
        chunk.truncate(length);
        (length > 0).then_some(chunk)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        line.trim_end_matches(['\r', '\n']).to_owned()
    }
}

impl AsFd for Web<TcpStream> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.get_ref().as_fd()
    }
}
