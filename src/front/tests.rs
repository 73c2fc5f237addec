//! The front on a thread, with real unix sockets, a supervisor's end and a keeper's end.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::time::TimeVal;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::limits::Limits;
use super::*;
use crate::wire::frame;
use crate::wire::messages::{FrontToKeeper, KeeperToFront, Role};

/// No test waits longer for what should come.
const PATIENCE: i64 = 20;

struct Rig {
    control: OwnedFd,
    keeper: OwnedFd,
    directory: TempDir,
    front: JoinHandle<Result<()>>,
}

impl Rig {
    fn new(limits: Limits) -> Self {
        let (control, theirs) = frame::pair().unwrap();
        patient(&control);
        let setup = FrontSetup {
            confine: Confine::default(),
            plane: "p".into(),
            version: "7.7".into(),
        };
        let front = std::thread::spawn(move || run_within(theirs, setup, limits));
        let ready = frame::recv::<Report>(control.as_fd(), 0).unwrap().unwrap();
        assert!(matches!(ready.say, Report::Ready));
        let directory = tempfile::tempdir().unwrap();
        let (keeper, _) = frame::pair().unwrap();
        let mut rig = Self {
            control,
            keeper,
            directory,
            front,
        };
        rig.link();
        rig.listen("a", nix::unistd::getuid().as_raw());
        rig
    }

    fn tell(&self, control: &Control, fd: Option<&OwnedFd>) {
        let fds: Vec<_> = fd.iter().map(|fd| fd.as_fd()).collect();
        frame::send(self.control.as_fd(), control, &[], &fds).unwrap();
    }

    fn link(&mut self) {
        let (ours, theirs) = frame::pair().unwrap();
        patient(&ours);
        self.tell(&Control::Link { peer: Role::Keeper }, Some(&theirs));
        self.keeper = ours;
    }

    fn listen(&self, agent: &str, uid: u32) {
        let listener = UnixListener::bind(self.directory.path().join(agent)).unwrap();
        self.tell(
            &Control::Listen {
                agent: agent.into(),
                uid,
            },
            Some(&listener.into()),
        );
    }

    fn connect(&self) -> Agent {
        Agent::new(UnixStream::connect(self.directory.path().join("a")).unwrap())
    }

    fn session(&self) -> Agent {
        let mut agent = self.connect();
        agent.say(r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","clientInfo":{"name":"c","version":"1"}}}"#);
        assert_eq!(agent.hear()["result"]["serverInfo"]["version"], "7.7");
        agent.say(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        agent
    }

    fn asked(&self) -> (FrontToKeeper, Vec<u8>) {
        let frame = frame::recv(self.keeper.as_fd(), 2 << 20).unwrap().unwrap();
        (frame.say, frame.blob)
    }

    fn opened(&self) -> (u64, String) {
        match self.asked() {
            (
                FrontToKeeper::Open {
                    id, agent, client, ..
                },
                blob,
            ) => {
                assert_eq!((agent.as_str(), client.as_str()), ("a", "c 1"));
                (id, String::from_utf8(blob).unwrap())
            }
            (other, _) => panic!("{other:?}"),
        }
    }

    fn noted(&self) -> String {
        match self.asked() {
            (FrontToKeeper::Malformed { agent, why }, _) => {
                assert_eq!(agent, "a");
                why
            }
            (other, _) => panic!("{other:?}"),
        }
    }

    fn reply(&self, say: &KeeperToFront, blob: &[u8]) {
        frame::send(self.keeper.as_fd(), say, blob, &[]).unwrap();
    }

    fn stop(self) {
        self.tell(&Control::Stop, None);
        self.front.join().unwrap().unwrap();
    }
}

fn patient(socket: &OwnedFd) {
    setsockopt(socket, ReceiveTimeout, &TimeVal::new(PATIENCE, 0)).unwrap();
}

/// Waits until one of both can be read; true where it is `one`.
fn first_of(one: impl AsFd, other: impl AsFd) -> bool {
    let watch = |fd| PollFd::new(fd, PollFlags::POLLIN);
    let mut fds = [watch(one.as_fd()), watch(other.as_fd())];
    assert!(poll(&mut fds, 20_000_u16).unwrap() > 0, "nothing came");
    fds[0].any().unwrap()
}

struct Agent {
    stream: UnixStream,
    lines: BufReader<UnixStream>,
}

impl Agent {
    fn new(stream: UnixStream) -> Self {
        let patience = Duration::from_secs(PATIENCE.unsigned_abs());
        stream.set_read_timeout(Some(patience)).unwrap();
        stream.set_write_timeout(Some(patience)).unwrap();
        Self {
            lines: BufReader::new(stream.try_clone().unwrap()),
            stream,
        }
    }

    fn say(&mut self, line: &str) {
        self.stream
            .write_all(format!("{line}\n").as_bytes())
            .unwrap();
    }

    fn call(&mut self, id: u32, arguments: &str) {
        self.say(&format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"t__t","arguments":{arguments}}}}}"#
        ));
    }

    fn hear(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        assert!(line.ends_with('\n'), "the front closed: `{line}`");
        serde_json::from_str(&line).unwrap()
    }

    fn fault(&mut self) -> (Value, i64, String) {
        let mut answer = self.hear();
        let message = answer["error"]["message"].as_str().unwrap().to_owned();
        (
            answer["id"].take(),
            answer["error"]["code"].as_i64().unwrap(),
            message,
        )
    }

    fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        match self.lines.read_to_end(&mut rest) {
            Ok(_) => true,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

/// Every line is noted, so that tests see each of them.
fn chatty() -> Limits {
    Limits {
        note_every: Duration::ZERO,
        ..Limits::default()
    }
}

#[test]
fn a_list_and_a_call_go_through_untouched() {
    let rig = Rig::new(chatty());
    let mut agent = rig.session();
    agent.say(r#"{"jsonrpc":"2.0","id":"l","method":"tools/list"}"#);
    let (FrontToKeeper::List { id, agent: name }, _) = rig.asked() else {
        panic!()
    };
    assert_eq!(name, "a");
    rig.reply(&KeeperToFront::Listed { id }, b"[\n {\"name\":\"t__t\"}\n]");
    assert_eq!(
        agent.hear(),
        json!({"jsonrpc":"2.0","id":"l","result":{"tools":[{"name":"t__t"}]}})
    );

    agent.call(5, r#"{ "b":1.0,"a":"\u0061" }"#);
    let (id, blob) = rig.opened();
    assert_eq!(blob, r#"{ "b":1.0,"a":"\u0061" }"#);
    let result = format!(
        r#"{{"content":[],"later":{{"z":1,"a":"{}"}}}}"#,
        "x".repeat(4 << 20)
    );
    rig.reply(&KeeperToFront::Answer { id }, result.as_bytes());
    let mut line = String::new();
    agent.lines.read_line(&mut line).unwrap();
    assert!(line == format!("{{\"jsonrpc\":\"2.0\",\"id\":5,\"result\":{result}}}\n"));

    agent.call(6, "{}");
    let (id, _) = rig.opened();
    let message = "unknown tool".to_owned();
    rig.reply(
        &KeeperToFront::Fault {
            id,
            code: -32602,
            message,
        },
        &[],
    );
    assert_eq!(agent.fault(), (json!(6), -32602, "unknown tool".into()));
    rig.stop();
}

#[test]
fn answers_come_in_any_order_and_a_cancelled_one_never() {
    let rig = Rig::new(chatty());
    let mut agent = rig.session();
    for id in 1..=3 {
        agent.call(id, "{}");
    }
    let ids: Vec<u64> = (0..3).map(|_| rig.opened().0).collect();
    agent.say(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2}}"#);
    agent.say(r#"{"jsonrpc":"2.0","id":9,"method":"ping"}"#);
    assert_eq!(agent.hear()["id"], 9);
    for id in ids.iter().rev() {
        rig.reply(&KeeperToFront::Answer { id: *id }, b"{}");
    }
    assert_eq!(agent.hear()["id"], 3);
    assert_eq!(agent.hear()["id"], 1);
    rig.stop();
}

#[test]
fn malformed_lines_are_answered_noted_and_survived() {
    let rig = Rig::new(chatty());
    let mut agent = rig.session();
    let deep = "[".repeat(70);
    let call = |params: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#)
    };
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(LINE_MAX));
    let twice = call(r#"{"name":"t","arguments":{"pay":1,"pay":2}}"#);
    for (line, code, told, noted) in [
        (
            "{\"a\":",
            -32700,
            "the document ends where a value should be at byte 5",
            "the document ends where a value should be at byte 5",
        ),
        (
            deep.as_str(),
            -32700,
            "nested deeper than 64 levels at byte 64 in `",
            "nested deeper than 64 levels at byte 64",
        ),
        (
            &twice,
            -32700,
            "duplicate key `pay` at byte 88 in `/params/arguments`",
            "duplicate key at byte 88",
        ),
        (
            &long,
            -32600,
            "a line is longer than 1572864 bytes",
            "a line is longer than 1572864 bytes",
        ),
        (
            "[]",
            -32600,
            "batches are not served; send one message a line",
            "batches are not served; send one message a line",
        ),
        (
            r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
            -32600,
            "`id` is neither",
            "`id` is neither a string nor a whole number",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"nope"}"#,
            -32601,
            "unknown method `nope`",
            "unknown method",
        ),
        (
            &call("{}"),
            -32602,
            "`name` is missing or not a string",
            "`name` is missing or not a string",
        ),
        (
            &call(r#"{"name":"t","arguments":7}"#),
            -32602,
            "`arguments` is not an object",
            "`arguments` is not an object",
        ),
    ] {
        agent.say(line);
        let (_, got, message) = agent.fault();
        assert_eq!(got, code, "{message}");
        assert!(message.starts_with(told), "{message}");
        assert_eq!(rig.noted(), noted);
    }
    agent.stream.write_all(b"\xff\xfe\n").unwrap();
    assert_eq!(agent.fault().2, "not UTF-8 at byte 0");
    assert_eq!(rig.noted(), "not UTF-8 at byte 0");
    agent.say("\r\n  ");
    agent.say(r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"t"}}"#);
    assert_eq!(rig.noted(), "a request without an id");
    agent.say(r#"{"jsonrpc":"2.0","id":2,"method":"ping"}"#);
    assert_eq!(agent.hear()["result"], json!({}));
    rig.stop();
}

#[test]
fn notes_are_few_and_abuse_ends_the_connection() {
    let rig = Rig::new(Limits {
        note_every: Duration::from_secs(3600),
        strikes: 5,
        ..Limits::default()
    });
    let mut agent = rig.session();
    for _ in 0..5 {
        agent.say("x");
    }
    for _ in 0..5 {
        assert_eq!(agent.fault().1, -32700);
    }
    assert_eq!(agent.fault().2, "too many malformed messages");
    assert!(agent.is_closed());
    let mut agent = rig.session();
    agent.call(1, "{}");
    assert_eq!(rig.noted(), "no value starts like this at byte 0");
    // One note for all five lines: what comes next is the call.
    let (id, _) = rig.opened();
    rig.reply(&KeeperToFront::Answer { id }, b"{}");
    rig.stop();
}

#[test]
fn a_dead_keeper_is_said_and_a_new_one_serves() {
    let mut rig = Rig::new(chatty());
    let mut agent = rig.session();
    agent.call(1, "{}");
    rig.opened();
    // One way to die leaves an unread question behind, which the kernel tells as a reset.
    agent.call(2, "{}");
    assert!(first_of(&rig.keeper, &rig.keeper));
    let (gone, _) = frame::pair().unwrap();
    rig.keeper = gone;
    let mut lost = vec![agent.fault(), agent.fault()];
    lost.sort_by_key(|(id, ..)| id.as_u64());
    let why = "the keeper is not available any more; whether the call took effect is unknown";
    assert_eq!(
        lost,
        [
            (json!(1), -32603, why.into()),
            (json!(2), -32603, why.into())
        ]
    );
    agent.call(4, "{}");
    let why = "the keeper is not available; nothing was done";
    assert_eq!(agent.fault(), (json!(4), -32603, why.into()));

    rig.link();
    // The supervisor's word travels on another socket than the agent's: ask until it has come.
    let mut id = 5;
    let answered = loop {
        agent.call(id, "{}");
        if first_of(&rig.keeper, &agent.stream) {
            break rig.opened().0;
        }
        assert_eq!(agent.fault().1, -32603);
        id += 1;
    };
    rig.reply(&KeeperToFront::Answer { id: answered }, b"{}");
    assert_eq!(agent.hear()["id"], id);

    // A second link replaces a living one.
    agent.call(100, "{}");
    rig.opened();
    rig.link();
    assert_eq!(agent.fault().0, 100);
    rig.stop();
}

#[test]
fn a_keeper_that_misbehaves_ends_the_role() {
    let rig = Rig::new(chatty());
    nix::unistd::write(&rig.keeper, b"\x07nonsense").unwrap();
    let error = rig.front.join().unwrap().unwrap_err();
    assert!(error.message().contains("bad frame"), "{error}");
}

#[test]
fn another_uid_is_turned_away() {
    let rig = Rig::new(chatty());
    rig.tell(&Control::Unlisten { agent: "a".into() }, None);
    std::fs::remove_file(rig.directory.path().join("a")).unwrap();
    rig.listen("a", nix::unistd::getuid().as_raw() + 1);
    let mut agent = rig.connect();
    assert!(agent.is_closed());
    assert_eq!(rig.noted(), format!("peer uid {}", nix::unistd::getuid()));
    rig.stop();
}

#[test]
fn a_revoked_agent_is_cut_off() {
    let rig = Rig::new(chatty());
    let mut agent = rig.session();
    agent.call(1, "{}");
    let (id, _) = rig.opened();
    rig.tell(&Control::Unlisten { agent: "a".into() }, None);
    assert!(agent.is_closed());
    rig.reply(&KeeperToFront::Answer { id }, b"{}");
    let refused = UnixStream::connect(rig.directory.path().join("a")).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    rig.stop();
}

#[test]
fn there_is_an_end_to_connections_and_calls() {
    let limits = Limits {
        connections: 2,
        calls: 2,
        agent_calls: 3,
        ..chatty()
    };
    let rig = Rig::new(limits);
    let mut one = rig.session();
    let mut two = rig.session();
    let mut three = rig.connect();
    assert_eq!(three.fault().1, -32000);
    assert!(three.is_closed());
    assert_eq!(rig.noted(), "too many connections");

    one.call(1, "{}");
    let (first, _) = rig.opened();
    one.call(1, "{}");
    assert_eq!(one.fault().2, "a request with this `id` is in flight");
    assert_eq!(rig.noted(), "a request with this `id` is in flight");
    one.call(2, "{}");
    rig.opened();
    one.call(3, "{}");
    let busy = "too many requests in flight; wait for an answer";
    assert_eq!(one.fault(), (json!(3), -32000, busy.into()));
    assert_eq!(rig.noted(), busy);
    two.call(4, "{}");
    rig.opened();
    two.call(5, "{}");
    assert_eq!(two.fault(), (json!(5), -32000, busy.into()));
    assert_eq!(rig.noted(), busy);

    rig.reply(&KeeperToFront::Answer { id: first }, b"{}");
    assert_eq!(one.hear()["id"], 1);
    two.call(6, "{}");
    rig.opened();
    rig.tell(&Control::Unlisten { agent: "a".into() }, None);
    assert!(one.is_closed() && two.is_closed());
}

#[test]
fn who_never_begins_or_never_reads_is_closed() {
    let limits = Limits {
        handshake: Duration::from_millis(20),
        ..chatty()
    };
    let rig = Rig::new(limits);
    let mut agent = rig.connect();
    assert!(agent.is_closed());
    assert_eq!(rig.noted(), "no session was begun in time");
    rig.stop();

    let rig = Rig::new(Limits {
        unread: 1 << 20,
        ..chatty()
    });
    let mut agent = rig.session();
    let long = format!("\"{}\"", "x".repeat(400 << 10));
    for id in 1..=3 {
        agent.call(id, "{}");
        let (id, _) = rig.opened();
        rig.reply(&KeeperToFront::Answer { id }, long.as_bytes());
    }
    assert_eq!(rig.noted(), "the agent leaves too much unread");
    assert!(agent.is_closed());
    rig.stop();

    let rig = Rig::new(Limits {
        stall: Duration::from_millis(20),
        unread_pause: 0,
        ..chatty()
    });
    let mut agent = rig.session();
    let long = format!("\"{}\"", "x".repeat(4 << 20));
    agent.call(1, "{}");
    let (id, _) = rig.opened();
    rig.reply(&KeeperToFront::Answer { id }, long.as_bytes());
    assert!(agent.waits_for_hangup());
    rig.stop();
}

impl Agent {
    /// The other side closes although nothing is read.
    fn waits_for_hangup(&mut self) -> bool {
        let mut fds = [PollFd::new(self.stream.as_fd(), PollFlags::empty())];
        poll(&mut fds, 20_000_u16).unwrap() > 0
    }
}

#[test]
fn what_was_asked_before_the_input_ended_is_answered() {
    let rig = Rig::new(chatty());
    let mut agent = rig.session();
    agent.call(1, "{}");
    agent.stream.write_all(b"{\"half").unwrap();
    agent.stream.shutdown(std::net::Shutdown::Write).unwrap();
    let (id, _) = rig.opened();
    assert_eq!(rig.noted(), "the last line does not end");
    rig.reply(&KeeperToFront::Answer { id }, b"{}");
    assert_eq!(agent.hear()["id"], 1);
    assert!(agent.is_closed());
    rig.stop();
}

#[test]
fn a_changed_list_is_told_to_open_sessions_only() {
    let rig = Rig::new(chatty());
    let mut early = rig.connect();
    early.say(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#);
    early.hear();
    let mut agent = rig.session();
    rig.reply(
        &KeeperToFront::ListChanged {
            agent: "nobody".into(),
        },
        &[],
    );
    rig.reply(&KeeperToFront::ListChanged { agent: "a".into() }, &[]);
    assert_eq!(
        agent.hear(),
        json!({"jsonrpc":"2.0","method":"notifications/tools/list_changed"})
    );
    early.say(r#"{"jsonrpc":"2.0","id":2,"method":"ping"}"#);
    assert_eq!(early.hear()["id"], 2);
    rig.stop();
}

#[test]
fn a_stop_lets_calls_in_flight_end() {
    let rig = Rig::new(chatty());
    let mut agent = rig.session();
    agent.call(1, "{}");
    let (id, _) = rig.opened();
    rig.tell(&Control::Stop, None);
    let refused = loop {
        agent.say(r#"{"jsonrpc":"2.0","id":"x","method":"tools/list"}"#);
        match rig.asked() {
            (FrontToKeeper::List { id, .. }, _) => {
                rig.reply(&KeeperToFront::Listed { id }, b"[]");
                agent.hear();
            }
            (FrontToKeeper::Malformed { why, .. }, _) => break why,
            (other, _) => panic!("{other:?}"),
        }
    };
    assert_eq!(refused, "keepgate is stopping");
    assert_eq!(agent.fault().2, "keepgate is stopping");
    rig.reply(&KeeperToFront::Answer { id }, b"{}");
    assert_eq!(agent.hear()["id"], 1);
    rig.front.join().unwrap().unwrap();
    assert!(agent.is_closed());
}
