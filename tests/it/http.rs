//! `http.request` through jail and egress, against a real server on loopback.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use crate::harness::Appliance;

/// A server that answers a few paths and counts what reaches it.
struct Server {
    port: u16,
    seen: Arc<AtomicUsize>,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || answer(stream, port));
            }
        });
        Self { port, seen }
    }

    fn rules(&self) -> String {
        format!(
            "[[planes.production.http]]\nscheme = \"http\"\nhost = \"127.0.0.1\"\nport = {}\n\
             methods = [\"GET\", \"POST\"]\npath = \"/ok\"\nprivate = [\"127.0.0.0/8\"]\n",
            self.port
        )
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn seen(&self) -> usize {
        self.seen.load(Ordering::SeqCst)
    }
}

fn answer(stream: TcpStream, port: u16) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut first = String::new();
    reader.read_line(&mut first).unwrap();
    let mut line = String::new();
    while reader.read_line(&mut line).is_ok_and(|len| len > 2) {
        line.clear();
    }
    let path = first.split_whitespace().nth(1).unwrap_or_default();
    let (status, headers, body) = match path {
        "/ok/away" => (
            "302 Found",
            format!("Location: http://127.0.0.1:{}/ok\r\n", port + 1),
            "",
        ),
        "/ok/again" => ("302 Found", "Location: /ok/there\r\n".to_owned(), ""),
        "/ok/loop" => ("302 Found", "Location: /ok/loop\r\n".to_owned(), ""),
        _ => ("200 OK", String::new(), "hello"),
    };
    let mut stream = stream;
    let head = format!(
        "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    drop(
        stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(body.as_bytes())),
    );
}

#[test]
fn a_listed_request_is_made_and_recorded_hop_by_hop() {
    let server = Server::start();
    let appliance = Appliance::start(&server.rules());
    appliance.enrol("a");
    let mut session = appliance.session("a");
    let got = session.works(
        "http__request",
        json!({"method": "GET", "url": server.url("/ok")}),
    );
    assert_eq!(
        (&got["status"], &got["text"]),
        (&json!(200), &json!("hello"))
    );
    let got = session.works(
        "http__request",
        json!({"method": "GET", "url": server.url("/ok/again")}),
    );
    assert_eq!(got["text"], "hello");
    assert!(got["url"].as_str().unwrap().ends_with("/ok/there"), "{got}");
    let hops = appliance.entries("call.outcome").pop().unwrap()["body"]["hops"].clone();
    assert_eq!(hops.as_array().unwrap().len(), 2, "{hops}");
    assert_eq!(server.seen(), 3);
}

#[test]
fn what_is_not_listed_never_reaches_the_network() {
    let server = Server::start();
    let appliance = Appliance::start(&server.rules());
    appliance.enrol("a");
    let mut session = appliance.session("a");
    for url in [
        server.url("/other"),
        server.url("/okay"),
        server.url("/ok/../other"),
        format!("http://localhost:{}/ok", server.port),
        format!("http://2130706433:{}/ok", server.port),
        format!("http://127.0.0.1.:{}/ok", server.port),
        format!("http://user@127.0.0.1:{}/ok", server.port),
        format!("http://[::ffff:127.0.0.1]:{}/ok", server.port),
        "http://169.254.169.254/latest/meta-data".to_owned(),
        "https://collector.example/steal".to_owned(),
        "file:///etc/passwd".to_owned(),
    ] {
        let class = session.fails("http__request", json!({"method": "GET", "url": url}));
        assert!(
            ["host_not_allowed", "bad_argument"].contains(&class.as_str()),
            "{url}: {class}"
        );
    }
    let class = session.fails(
        "http__request",
        json!({"method": "DELETE", "url": server.url("/ok")}),
    );
    assert_eq!(class, "host_not_allowed");
    assert_eq!(server.seen(), 0);
}

#[test]
fn a_redirect_out_of_the_list_is_not_followed() {
    let server = Server::start();
    let appliance = Appliance::start(&server.rules());
    appliance.enrol("a");
    let mut session = appliance.session("a");
    for path in ["/ok/away", "/ok/loop"] {
        session.fails(
            "http__request",
            json!({"method": "GET", "url": server.url(path)}),
        );
    }
}

#[test]
fn an_effect_is_not_made_in_rehearsal_and_needs_a_person_when_live() {
    let server = Server::start();
    let appliance = Appliance::start(&server.rules());
    appliance.enrol("a");
    appliance.policy("permit (principal, action, resource);");
    let mut session = appliance.session("a");
    let post = json!({"method": "POST", "url": server.url("/ok"), "body": "x"});
    assert_eq!(
        session.fails("http__request", post.clone()),
        "rehearsed_not_executed"
    );
    appliance.must(&["mode", "live"]);
    assert_eq!(session.fails("http__request", post), "needs_person");
    assert_eq!(server.seen(), 0);
}
