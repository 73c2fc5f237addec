//! What is malformed, or comes from somebody else.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::json;

use super::{Rig, chatty};
use crate::front::LINE_MAX;
use crate::front::limits::Limits;
use crate::wire::messages::{Control, KeeperToFront};

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
            "a batch is no message; send one message a line",
            "a batch is no message; send one message a line",
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
    assert_eq!(rig.noted(), "no value starts like this at byte 0");
    let mut agent = rig.session();
    agent.call(1, "{}");
    // One note for all five lines: what comes next is the call.
    let (id, _) = rig.opened();
    rig.reply(&KeeperToFront::Answer { id }, b"{}");
    rig.stop();
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
