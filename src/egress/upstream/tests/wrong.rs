//! Servers that break the rules: each is told why it ends, and ends.

use serde_json::json;

use super::super::client::ASKS_MAX;
use super::super::stdio;
use super::Machine;
use crate::wire::messages::{EgressToKeeper, Era, Got, Passing};

fn answer(id: u64) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#)
}

#[test]
fn answers_to_what_was_not_asked_end_it() {
    let mut machine = Machine::open(|_| {});
    assert!(
        machine
            .says(&answer(77))
            .unwrap_err()
            .contains("question 77, which was not asked")
    );
    let mut machine = Machine::open(|_| {});
    machine.put("tools/call", "{}");
    let id = machine.question()["id"].as_u64().unwrap();
    machine.says(&answer(id)).unwrap();
    assert!(machine.says(&answer(id)).unwrap_err().contains("or twice"));
    // On the stream of one question, the answer to another.
    let mut machine = Machine::open(|_| {});
    machine.put("tools/call", "{}");
    machine.put("tools/call", "{}");
    let id = machine.question()["id"].as_u64().unwrap();
    let told = machine
        .client
        .hear(answer(id).as_bytes(), Some(id - 1), machine.now);
    assert!(told.unwrap_err().contains("in place of another"));
}

#[test]
fn a_storm_of_notifications_ends_it_and_little_is_passed_on() {
    for line in [
        r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/unknown"}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#,
        r#"{"jsonrpc":"2.0","id":"x","method":"ping"}"#,
        "",
    ] {
        let mut machine = Machine::open(|_| {});
        let ended = (0..10_000).find(|_| machine.says(line).is_err());
        assert_eq!(ended, Some(2_100), "{line}");
        // Twice the rate at once, and not one more.
        assert!(machine.told.len() <= 200, "{line}: {}", machine.told.len());
        assert!(machine.sent.len() <= 2_100, "{line}");
    }
    let mut machine = Machine::open(|_| {});
    let line = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{}}"#;
    for _ in 0..100 {
        machine.says(line).unwrap();
    }
    assert_eq!(machine.told.len(), 100);
}

#[test]
fn what_it_asks_is_bounded() {
    let mut machine = Machine::open(|settings| {
        settings.allow = Passing {
            roots: true,
            ..Passing::default()
        };
    });
    machine.put("tools/call", "{}");
    machine.sent.clear();
    for id in 0..ASKS_MAX + 3 {
        let ask = json!({"jsonrpc": "2.0", "id": id, "method": "roots/list"});
        machine.say(&ask);
    }
    assert_eq!(machine.told.len(), ASKS_MAX);
    assert_eq!(machine.sent.len(), 3);
    assert_eq!(machine.sent[0]["error"]["code"], -32000);
    let twice = json!({"jsonrpc": "2.0", "id": 0, "method": "roots/list"}).to_string();
    assert!(
        machine
            .says(&twice)
            .unwrap_err()
            .contains("twice under one id")
    );
}

#[test]
fn a_stateless_server_asks_nothing() {
    let mut machine = Machine::stateless(|settings| settings.allow.roots = true);
    machine.put("tools/call", "{}");
    machine.sent.clear();
    machine.say(&json!({"jsonrpc": "2.0", "id": 1, "method": "roots/list"}));
    assert_eq!((machine.sent.len(), machine.told.len()), (0, 0));
}

#[test]
fn a_beginning_that_goes_wrong_says_so() {
    let mut machine = Machine::new(|_| {});
    assert!(
        machine
            .later(30_000)
            .unwrap_err()
            .contains("did not answer in time")
    );
    let hello = |version: &str| {
        let mut machine = Machine::new(|settings| settings.era = Some(Era::Session));
        let id = &machine.question()["id"];
        let result = json!({"protocolVersion": version, "capabilities": {"tools": {}}});
        let line = json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string();
        let heard = machine.says(&line);
        (machine, heard)
    };
    assert!(
        hello("1999-01-01")
            .1
            .unwrap_err()
            .contains("protocol version `1999-01-01`")
    );
    let (mut machine, heard) = hello("2025-06-18");
    heard.unwrap();
    assert!(
        machine
            .later(30_000)
            .unwrap_err()
            .contains("did not list in time")
    );
    let (mut machine, _) = hello("2025-06-18");
    let id = &machine.question()["id"];
    let error = json!({"jsonrpc": "2.0", "id": id, "error": {"code": -1, "message": "\u{1b}"}});
    let why = machine.says(&error.to_string()).unwrap_err();
    assert_eq!(why, "it refuses `tools/list`: \\u{1b} (code -1)");
    let mut machine = Machine::new(|_| {});
    let id = &machine.question()["id"];
    let error = json!({"code": -32022, "message": "", "data": {"supported": ["2031-01-01"]}});
    let line = json!({"jsonrpc": "2.0", "id": id, "error": error}).to_string();
    assert!(
        machine
            .says(&line)
            .unwrap_err()
            .contains("only `2031-01-01`")
    );
}

#[test]
fn with_it_ends_everything_it_was_asked() {
    let mut machine = Machine::open(|_| {});
    let (one, two) = (
        machine.put("tools/call", "{}"),
        machine.put("tools/call", "{}"),
    );
    let words = format!("{}\u{1b}end", "x".repeat(10_000));
    machine.client.end("it had to", false, words.as_bytes());
    machine.drain();
    assert_eq!(machine.got(one).0, Got::Lost);
    assert_eq!(machine.got(two).0, Got::Lost);
    let [(EgressToKeeper::Gone { why, words, .. }, _)] = machine.told.as_slice() else {
        panic!("{:?}", machine.told)
    };
    assert_eq!(why, "it had to");
    assert!(
        words.len() == 4096 && words.ends_with("x\\u{1b}end"),
        "{words}"
    );
}

#[test]
fn a_line_without_end_is_refused_before_it_is_kept() {
    let why = stdio::flood().unwrap_err();
    assert!(why.contains("a line of more than 4259840 bytes"), "{why}");
}
