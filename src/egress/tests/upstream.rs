//! Remote MCP servers: what egress sends them, and what it makes of their answers.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::sync::mpsc;

use serde_json::{Value, json};

use super::fakes::{Server, handle, read_request, serve};
use super::world::World;
use crate::call::id::Id;
use crate::egress::upstream::frames::MESSAGE_MAX;
use crate::wire::frame;
use crate::wire::messages::{
    EgressToKeeper, Era, Got, KeeperToEgress, Passing, Remote, Unasked, UpstreamLimits,
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
        match self.next() {
            (EgressToKeeper::Gone { why, .. }, _) => why,
            other => panic!("{other:?}"),
        }
    }

    fn put(&self, name: &str) -> Id {
        let ticket = Id::random().unwrap();
        let say = KeeperToEgress::Put {
            upstream: self.upstream,
            ticket,
            method: "tools/call".into(),
            progress: true,
            wall_ms: 20_000,
        };
        let params = json!({"name": name, "arguments": {}}).to_string();
        frame::send(self.world.keeper.as_fd(), &say, params.as_bytes(), &[]).unwrap();
        ticket
    }

    fn got(&self, ticket: Id) -> (Got, String) {
        match self.next() {
            (EgressToKeeper::Got { ticket: of, got }, blob) if of == ticket => (got, blob),
            other => panic!("{other:?}"),
        }
    }

    fn order(&self, say: &KeeperToEgress) {
        frame::send(self.world.keeper.as_fd(), say, &[], &[]).unwrap();
    }
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
            "server/discover" => return http("400 Bad Request", "text/plain", "", "what?"),
            "initialize" => {
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
        (|_| "[1]".into(), "batches are not served"),
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
