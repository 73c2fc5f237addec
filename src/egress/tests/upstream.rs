//! Remote MCP servers: what egress sends them, and what it makes of their answers.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use serde_json::{Value, json};

use super::fakes::{Server, handle, read_request, serve};
use super::world::World;
use crate::call::id::Id;
use crate::egress::upstream::frames::MESSAGE_MAX;
use crate::wire::frame;
use crate::wire::messages::{
    EgressToKeeper, Era, Got, Hop, KeeperToEgress, Passing, Remote, Unasked, UpstreamLimits,
};

fn remote(url: String) -> Remote {
    Remote {
        url,
        private: vec!["127.0.0.0/8".into()],
        pin_sha256: None,
        headers: vec![("Authorization".into(), "Bearer of-a-slot".into())],
    }
}

/// A keeper's side of one remote server.
struct Asked<'a> {
    world: &'a World,
    upstream: Id,
}

impl<'a> Asked<'a> {
    fn new(world: &'a World, remote: Remote) -> Self {
        let upstream = Id::random().unwrap();
        let say = KeeperToEgress::Upstream {
            upstream,
            remote: Some(remote),
            era: None,
            limits: UpstreamLimits::default(),
            allow: Passing::default(),
        };
        frame::send(world.keeper.as_fd(), &say, &[], &[]).unwrap();
        Self { world, upstream }
    }

    fn next(&self) -> (EgressToKeeper, String) {
        let frame = frame::recv(self.world.keeper.as_fd(), MESSAGE_MAX)
            .unwrap()
            .unwrap();
        (frame.say, String::from_utf8(frame.blob).unwrap())
    }

    fn opened(&self) -> Era {
        match self.next() {
            (EgressToKeeper::Opened { era, .. }, _) => era,
            other => panic!("{other:?}"),
        }
    }

    fn gone(&self) -> String {
        self.gone_by().1
    }

    fn put(&self, name: &str) -> Id {
        self.put_with(name, true, Vec::new())
    }

    fn put_with(&self, name: &str, repeatable: bool, headers: Vec<(String, String)>) -> Id {
        let ticket = Id::random().unwrap();
        let say = KeeperToEgress::Put {
            upstream: self.upstream,
            ticket,
            method: "tools/call".into(),
            progress: true,
            wall_ms: 20_000,
            repeatable,
            headers,
        };
        let params = json!({"name": name, "arguments": {}}).to_string();
        frame::send(self.world.keeper.as_fd(), &say, params.as_bytes(), &[]).unwrap();
        ticket
    }

    fn got(&self, ticket: Id) -> (Got, String) {
        let (got, blob, _) = self.got_by(ticket);
        (got, blob)
    }

    /// With the requests that were made for it.
    fn got_by(&self, ticket: Id) -> (Got, String, Vec<Hop>) {
        loop {
            match self.next() {
                (
                    EgressToKeeper::Got {
                        ticket: of,
                        got,
                        hops,
                    },
                    blob,
                ) if of == ticket => return (got, blob, hops),
                (EgressToKeeper::Hops { .. }, _) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// What is told before its end, and why it ended.
    fn gone_by(&self) -> (Vec<Hop>, String) {
        let mut all = Vec::new();
        loop {
            match self.next() {
                (EgressToKeeper::Hops { hops, .. }, _) => all.extend(hops),
                (EgressToKeeper::Gone { why, .. }, _) => return (all, why),
                other => panic!("{other:?}"),
            }
        }
    }

    fn order(&self, say: &KeeperToEgress) {
        frame::send(self.world.keeper.as_fd(), say, &[], &[]).unwrap();
    }
}

/// Answers the requests of a connection one after the other, until `reply` has no answer; which of all
/// connections it is comes first.
fn serve_on(
    reply: impl Fn(usize, usize, &str) -> Option<Vec<u8>> + Send + Sync + 'static,
) -> (Server, Arc<AtomicUsize>) {
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    let server = handle(move |stream, requests| {
        let connection = count.fetch_add(1, Ordering::SeqCst);
        for number in 0.. {
            let request = read_request(stream);
            let Some(answer) = reply(connection, number, &request).filter(|_| !request.is_empty())
            else {
                return;
            };
            drop(requests.send(request));
            stream.write_all(&answer).unwrap();
        }
    });
    (server, connections)
}

fn body(request: &str) -> Value {
    let (_, body) = request.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap_or_default()
}

fn http(status: &str, kind: &str, more: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{more}\r\n{body}"
    )
    .into_bytes()
}

fn json_of(answer: &Value) -> Vec<u8> {
    http("200 OK", "application/json", "", &answer.to_string())
}

/// Answers the questions of a beginning, the rest as `rest` says.
fn stateless(request: &str, rest: impl Fn(&Value) -> Vec<u8>) -> Vec<u8> {
    let asked = body(request);
    let result = match asked["method"].as_str().unwrap_or_default() {
        "server/discover" => json!({"supportedVersions": ["2026-07-28"],
            "capabilities": {"tools": {}}}),
        "tools/list" => json!({"tools": [{"name": "x"}]}),
        _ => return rest(&asked),
    };
    json_of(&json!({"jsonrpc": "2.0", "id": asked["id"], "result": result}))
}

#[test]
fn a_stateless_server_is_told_in_headers_what_the_body_says() {
    let server = serve(|request| {
        stateless(request, |asked| {
            let id = &asked["id"];
            let progress = json!({"jsonrpc": "2.0", "method": "notifications/progress",
                "params": {"progressToken": id, "progress": 1}});
            let text = format!(
                ": hello\n\nevent: message\ndata: {progress}\n\n\
                 data: {{\"jsonrpc\":\"2.0\",\"id\":{id},\ndata: \"result\":{{ \"a\" : 1.0 }}}}\n\n"
            );
            http("200 OK", "text/event-stream", "", &text)
        })
    });
    let world = World::plain();
    let asked = Asked::new(&world, remote(server.url("/mcp")));
    assert_eq!(asked.opened(), Era::Stateless);
    let ticket = asked.put("größe");
    let (EgressToKeeper::Notice { ticket: of, .. }, _) = asked.next() else {
        panic!()
    };
    assert_eq!(of, Some(ticket));
    assert_eq!(asked.got(ticket), (Got::Result, "{ \"a\" : 1.0 }".into()));
    let all: Vec<String> = server.requests.try_iter().collect();
    assert_eq!(all.len(), 3);
    for request in &all {
        let lower = request.to_ascii_lowercase();
        assert!(request.starts_with("POST /mcp HTTP/1.1\r\n"), "{request}");
        for header in [
            "mcp-protocol-version: 2026-07-28",
            "content-type: application/json",
            "accept: application/json, text/event-stream",
            "authorization: bearer of-a-slot",
        ] {
            assert!(lower.contains(header), "{header}: {request}");
        }
        let method = body(request)["method"].as_str().unwrap().to_owned();
        assert!(
            request.contains(&format!("mcp-method: {method}\r\n")),
            "{request}"
        );
        let version = &body(request)["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"];
        assert_eq!(version, "2026-07-28");
    }
    assert!(
        all[2].contains("mcp-name: =?base64?Z3LDtsOfZQ==?=\r\n"),
        "{}",
        all[2]
    );
}

#[test]
fn a_session_server_has_a_session_and_its_end() {
    let (ended, ends) = mpsc::channel();
    let server = serve(move |request| {
        let asked = body(request);
        let session = request
            .to_ascii_lowercase()
            .contains("mcp-session-id: s-1\r\n");
        let result = match asked["method"].as_str().unwrap_or_default() {
            // A session of a question that was refused is none.
            "server/discover" => {
                let more = "Mcp-Session-Id: s-0\r\n";
                return http("400 Bad Request", "text/plain", more, "what?");
            }
            "initialize" => {
                let lower = request.to_ascii_lowercase();
                assert!(!lower.contains("mcp-session-id"), "{request}");
                let result = json!({"protocolVersion": "2025-06-18",
                    "capabilities": {"tools": {}}});
                let answer = json!({"jsonrpc": "2.0", "id": asked["id"], "result": result});
                let more = "Mcp-Session-Id: s-1\r\n";
                return http("200 OK", "application/json", more, &answer.to_string());
            }
            _ if !session => return http("404 Not Found", "text/plain", "", ""),
            "tools/list" => json!({"tools": []}),
            "tools/call" => json!({"content": []}),
            "" if request.starts_with("DELETE ") => {
                ended.send(request.to_owned()).unwrap();
                return http("200 OK", "text/plain", "", "");
            }
            "" => return http("405 Method Not Allowed", "text/plain", "", ""),
            _ => return http("202 Accepted", "text/plain", "", ""),
        };
        json_of(&json!({"jsonrpc": "2.0", "id": asked["id"], "result": result}))
    });
    let world = World::plain();
    let asked = Asked::new(&world, remote(server.url("/mcp")));
    assert_eq!(asked.opened(), Era::Session);
    let ticket = asked.put("x");
    assert_eq!(asked.got(ticket), (Got::Result, "{\"content\":[]}".into()));
    let upstream = asked.upstream;
    asked.order(&KeeperToEgress::Close { upstream });
    assert_eq!(asked.gone(), "the keeper has closed it");
    let request = ends.recv().unwrap().to_ascii_lowercase();
    assert!(
        request.contains("mcp-protocol-version: 2025-06-18"),
        "{request}"
    );
    // What is over cannot be asked.
    let ticket = asked.put("x");
    assert_eq!(asked.got(ticket).0, Got::Refused(Unasked::NotOpen));
}

#[test]
fn what_a_question_runs_into_is_told_and_others_go_on() {
    let server = serve(|request| {
        stateless(request, |asked| {
            let error = json!({"code": -32021, "message": "elicitation needed"});
            let error = json!({"jsonrpc": "2.0", "id": asked["id"], "error": error}).to_string();
            match asked["params"]["name"].as_str().unwrap() {
                "moved" => http("307 Moved", "text/plain", "Location: http://127.0.0.1:1/\r\n", ""),
                "denied" => http("403 Forbidden", "text/html", "", "<b>no</b>"),
                "modern" => http("400 Bad Request", "application/json", "", &error),
                "accepted" => http("202 Accepted", "text/plain", "", ""),
                "cut" => b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{}".to_vec(),
                _ => http("200 OK", "text/event-stream", "", "data: \n\n"),
            }
        })
    });
    let world = World::plain();
    let asked = Asked::new(&world, remote(server.url("/mcp")));
    asked.opened();
    let lost = |name: &str| {
        let (got, why) = asked.got(asked.put(name));
        assert_eq!(got, Got::Lost, "{name}");
        why
    };
    assert!(lost("moved").contains("status 307"));
    assert!(lost("denied").contains("status 403"));
    assert!(lost("accepted").contains("no answer"));
    assert!(lost("stream").contains("stream ended before the answer"));
    assert!(!lost("cut").is_empty());
    let (got, error) = asked.got(asked.put("modern"));
    assert!(got == Got::Error && error.contains("-32021"), "{error}");
}

#[test]
fn a_remote_server_that_breaks_the_rules_ends() {
    type Says = fn(&Value) -> String;
    let cases: [(Says, &str); 4] = [
        (|_| "x".repeat(MESSAGE_MAX + 1), "a message of more than"),
        (|_| "[1]".into(), "a batch is no message"),
        (
            |asked| {
                format!(
                    "{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":{{\"a\":1,\"a\":2}}}}",
                    asked["id"]
                )
            },
            "duplicate key",
        ),
        (
            |_| json!({"jsonrpc": "2.0", "id": 1, "result": {}}).to_string(),
            "in place of another",
        ),
    ];
    let world = World::plain();
    for (says, why) in cases {
        let server = serve(move |request| {
            stateless(request, |asked| {
                http("200 OK", "application/json", "", &says(asked))
            })
        });
        let asked = Asked::new(&world, remote(server.url("/mcp")));
        asked.opened();
        let ticket = asked.put("x");
        assert_eq!(asked.got(ticket).0, Got::Lost);
        let told = asked.gone();
        assert!(told.contains(why), "{told}");
    }
}

#[test]
fn only_the_approved_address_is_dialled() {
    let server: Server = serve(|_| Vec::new());
    let world = World::plain();
    let public = Remote {
        private: Vec::new(),
        ..remote(server.url("/mcp"))
    };
    let why = Asked::new(&world, public).gone();
    assert!(why.contains("127.0.0.1 is"), "{why}");
    let why = Asked::new(&world, remote("http://127.0.0.1/a/../b".into())).gone();
    assert!(!why.is_empty());
    assert_eq!(server.requests.try_iter().count(), 0);
}

#[test]
fn who_gives_up_a_question_closes_its_stream() {
    let (closed, closes) = mpsc::channel();
    let server = handle(move |stream, requests| {
        let request = read_request(stream);
        let answer = stateless(&request, |_| {
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n: working\n\n".to_vec()
        });
        stream.write_all(&answer).unwrap();
        let asked = body(&request)["method"] == "tools/call";
        drop(requests.send(request));
        if asked {
            drop(stream.read_to_end(&mut Vec::new()));
            closed.send(()).unwrap();
        }
    });
    let world = World::plain();
    let asked = Asked::new(&world, remote(server.url("/mcp")));
    asked.opened();
    let ticket = asked.put("x");
    while body(&server.requests.recv().unwrap())["method"] != "tools/call" {}
    asked.order(&KeeperToEgress::Revoke { ticket });
    assert_eq!(asked.got(ticket).0, Got::Cancelled);
    closes.recv().unwrap();
    assert!(server.requests.try_recv().is_err(), "nothing else was sent");
}

fn done(asked: &Value) -> Vec<u8> {
    json_of(&json!({"jsonrpc": "2.0", "id": asked["id"], "result": {}}))
}

#[test]
fn a_connection_is_used_again_by_its_own_agent_and_for_what_changes_nothing() {
    let (server, connections) = serve_on(|_, _, request| Some(stateless(request, done)));
    let count = || connections.load(Ordering::SeqCst);
    let world = World::plain();
    let asked = Asked::new(&world, remote(server.url("/mcp")));
    asked.opened();
    for _ in 0..5 {
        let (got, _, hops) = asked.got_by(asked.put("x"));
        assert_eq!(got, Got::Result);
        let [hop] = hops.as_slice() else {
            panic!("{hops:?}")
        };
        assert_eq!(hop.target, format!("POST {}", server.url("/mcp")));
        assert_eq!(hop.address, Some(server.address.to_string()));
        assert_eq!((hop.status, hop.fault.as_deref()), (Some(200), None));
        assert!(hop.bytes > 10, "{hop:?}");
    }
    assert_eq!(count(), 1);
    // What may change something is never written to a connection that has waited.
    let ticket = asked.put_with("x", false, Vec::new());
    assert_eq!(asked.got(ticket).0, Got::Result);
    assert_eq!(count(), 2);
    // Another upstream is another agent's, or another connector's: it shares none.
    let other = Asked::new(&world, remote(server.url("/mcp")));
    other.opened();
    assert_eq!(other.got(other.put("x")).0, Got::Result);
    assert_eq!(count(), 3);
    for request in server.requests.try_iter() {
        assert!(
            !request.to_ascii_lowercase().contains("connection: close"),
            "{request}"
        );
    }
    let upstream = asked.upstream;
    asked.order(&KeeperToEgress::Close { upstream });
    let (hops, _) = asked.gone_by();
    assert_eq!(hops.len(), 2, "its beginning: {hops:?}");
}

#[test]
fn what_changes_nothing_is_asked_again_where_a_connection_ended_as_it_waited() {
    // Each connection answers two requests, takes a third, and ends without an answer.
    let (server, connections) =
        serve_on(|_, number, request| (number < 2).then(|| stateless(request, done)));
    let world = World::plain();
    let asked = Asked::new(&world, remote(server.url("/mcp")));
    asked.opened();
    let mut faults = 0;
    for _ in 0..6 {
        let (got, _, hops) = asked.got_by(asked.put("x"));
        assert_eq!(got, Got::Result);
        let (last, before) = hops.split_last().unwrap();
        assert_eq!(last.fault, None);
        faults += before.iter().filter(|hop| hop.fault.is_some()).count();
    }
    assert!(
        faults > 0 && connections.load(Ordering::SeqCst) > 2,
        "{faults}"
    );
}

#[test]
fn arguments_are_said_in_headers_to_a_server_of_the_stateless_era_only() {
    let params = || {
        let text = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        vec![
            text("Region", "us-west1"),
            text("Greeting", "Hello, 世界"),
            text("Text", "a\r\nHost: b"),
            text("bad name", "x"),
        ]
    };
    let (server, _) = serve_on(|_, _, request| Some(stateless(request, done)));
    let world = World::plain();
    let asked = Asked::new(&world, remote(server.url("/mcp")));
    asked.opened();
    let ticket = asked.put_with("x", true, params());
    assert_eq!(asked.got(ticket).0, Got::Result);
    let request = server
        .requests
        .try_iter()
        .last()
        .unwrap()
        .to_ascii_lowercase();
    for header in [
        "mcp-param-region: us-west1\r\n",
        "mcp-param-greeting: =?base64?sgvsbg8sios4luevja==?=\r\n",
        "mcp-param-text: =?base64?yq0ksg9zddogyg==?=\r\n",
    ] {
        assert!(request.contains(header), "{header}: {request}");
    }
    assert!(
        !request.contains("bad name") && !request.contains("host: b"),
        "{request}"
    );

    let (server, _) = serve_on(|_, _, request| Some(session(request, |_| None)));
    let asked = Asked::new(&world, remote(server.url("/mcp")));
    assert_eq!(asked.opened(), Era::Session);
    let ticket = asked.put_with("x", true, params());
    assert_eq!(asked.got(ticket).0, Got::Result);
    let all: String = server.requests.try_iter().collect();
    assert!(!all.to_ascii_lowercase().contains("mcp-param-"), "{all}");
}

/// A server of the session era; `stream` answers a GET.
fn session(request: &str, stream: impl Fn(&str) -> Option<Vec<u8>>) -> Vec<u8> {
    let asked = body(request);
    let result = match asked["method"].as_str().unwrap_or_default() {
        "server/discover" => return http("400 Bad Request", "text/plain", "", "what?"),
        "initialize" => json!({"protocolVersion": "2025-11-25",
            "capabilities": {"tools": {"listChanged": true}}}),
        "tools/list" => json!({"tools": [{"name": "x"}]}),
        "tools/call" => json!({"content": []}),
        "" if request.starts_with("GET ") => {
            let none = || http("405 Method Not Allowed", "text/plain", "", "");
            return stream(request).unwrap_or_else(none);
        }
        _ => return http("202 Accepted", "text/plain", "", ""),
    };
    json_of(&json!({"jsonrpc": "2.0", "id": asked["id"], "result": result}))
}

#[test]
fn a_stream_that_ends_is_asked_for_again_and_what_was_missed_is_listed_again() {
    let (streamed, streams) = mpsc::channel();
    let streams_made = AtomicUsize::new(0);
    let (server, _) = serve_on(move |_, _, request| {
        Some(session(request, |request| {
            streamed.send(request.to_owned()).unwrap();
            match streams_made.fetch_add(1, Ordering::SeqCst) {
                0 => Some(http(
                    "200 OK",
                    "text/event-stream",
                    "",
                    "id: 7\nretry: 1\ndata:\n\n",
                )),
                _ => None,
            }
        }))
    });
    let world = World::plain();
    let asked = Asked::new(&world, remote(server.url("/mcp")));
    assert_eq!(asked.opened(), Era::Session);
    let first = streams.recv().unwrap().to_ascii_lowercase();
    assert!(!first.contains("last-event-id"), "{first}");
    let second = streams.recv().unwrap().to_ascii_lowercase();
    assert!(second.contains("last-event-id: 7\r\n"), "{second}");
    let (EgressToKeeper::Changed { .. }, tools) = asked.next() else {
        panic!("nothing was listed again")
    };
    assert!(tools.contains("\"x\""), "{tools}");
    // The second time it said that it has none: it is not asked a third time, and serves on.
    assert_eq!(asked.got(asked.put("x")).0, Got::Result);
    assert!(streams.try_recv().is_err());
}
