//! A client that costs nothing: requests made ahead, one connection each, answers read by length.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Instant;

/// What is sent as an echo.
const TEXT: &str = "hello";

/// Where a server is, and how to speak to it.
pub(crate) enum Place {
    /// HTTP on this port of loopback, with this bearer token.
    Http { port: u16, token: String },
    /// Lines over a unix socket.
    Unix(String),
}

impl Place {
    /// From the words [`Place::words`] made.
    pub(crate) fn parse(kind: &str, at: &str, token: &str) -> Self {
        match kind {
            "http" => Self::Http {
                port: at.parse().unwrap(),
                token: token.into(),
            },
            _ => Self::Unix(at.into()),
        }
    }

    /// As arguments of another process.
    pub(crate) fn words(&self) -> [String; 3] {
        match self {
            Self::Http { port, token } => ["http".into(), port.to_string(), token.clone()],
            Self::Unix(path) => ["unix".into(), path.clone(), String::new()],
        }
    }

    fn connect(&self) -> Box<dyn Talk> {
        match self {
            Self::Http { port, token } => Box::new(Http::connect(*port, token)),
            Self::Unix(path) => Box::new(Lines::connect(path)),
        }
    }
}

/// One connection with its session.
trait Talk {
    /// Sends a message, and reads the answer where there is one to come.
    fn say(&mut self, message: &str, answered: bool) -> String;
}

struct Http {
    stream: BufReader<TcpStream>,
    token: String,
    session: String,
}

impl Http {
    fn connect(port: u16, token: &str) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream: BufReader::new(stream),
            token: token.into(),
            session: String::new(),
        }
    }
}

impl Talk for Http {
    fn say(&mut self, message: &str, _: bool) -> String {
        let request = format!(
            "POST /mcp HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\
             MCP-Protocol-Version: 2025-11-25\r\n{}Content-Length: {}\r\n\r\n{message}",
            self.stream.get_ref().peer_addr().unwrap().port(),
            self.token,
            self.session,
            message.len(),
        );
        self.stream.get_mut().write_all(request.as_bytes()).unwrap();
        let (mut line, mut length) = (String::new(), 0);
        self.stream.read_line(&mut line).unwrap();
        assert!(line.contains(" 20"), "{line}");
        loop {
            line.clear();
            self.stream.read_line(&mut line).unwrap();
            let Some((name, value)) = line.split_once(':') else {
                break;
            };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().unwrap(),
                "mcp-session-id" => self.session = format!("Mcp-Session-Id: {}\r\n", value.trim()),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).unwrap();
        String::from_utf8(body).unwrap()
    }
}

struct Lines(BufReader<UnixStream>);

impl Lines {
    fn connect(path: &str) -> Self {
        Self(BufReader::new(UnixStream::connect(path).unwrap()))
    }
}

impl Talk for Lines {
    fn say(&mut self, message: &str, answered: bool) -> String {
        let stream = self.0.get_mut();
        stream.write_all(format!("{message}\n").as_bytes()).unwrap();
        let mut line = String::new();
        if answered {
            self.0.read_line(&mut line).unwrap();
        }
        line
    }
}

/// Microseconds of each of `calls` echoes by each of `callers` at a time, after some for warmth.
pub(crate) fn echo(place: &Place, tool: &str, callers: usize, calls: usize) -> Vec<f64> {
    let all: Vec<Vec<f64>> = std::thread::scope(|scope| {
        let one = || scope.spawn(|| converse(&mut *place.connect(), tool, calls));
        let threads: Vec<_> = (0..callers).map(|_| one()).collect();
        threads.into_iter().map(|one| one.join().unwrap()).collect()
    });
    all.into_iter().flatten().collect()
}

fn converse(talk: &mut dyn Talk, tool: &str, calls: usize) -> Vec<f64> {
    let hello = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"bench","version":"0"}}}"#;
    talk.say(hello, true);
    talk.say(
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        false,
    );
    let warm = 10;
    let mut times = Vec::with_capacity(calls);
    for id in 1..=calls + warm {
        let message = format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{tool}","arguments":{{"text":"{TEXT}"}}}}}}"#
        );
        let begun = Instant::now();
        let answer = talk.say(&message, true);
        let took = begun.elapsed().as_secs_f64() * 1e6;
        assert!(answer.contains(TEXT), "{answer}");
        if id > warm {
            times.push(took);
        }
    }
    times
}
