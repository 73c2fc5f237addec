//! What goes through, and comes back.

use std::io::{BufRead, Write};

use serde_json::json;

use super::{Rig, chatty};
use crate::wire::messages::{FrontToKeeper, KeeperToFront, What};

#[test]
fn the_keeper_learns_of_a_connection_before_its_first_question() {
    let rig = Rig::new(chatty());
    // Nothing else is said before a question of it, and each one is told.
    for _ in 0..2 {
        let mut agent = rig.connect();
        let (FrontToKeeper::Came { agent: name }, _) = rig.heard() else {
            panic!("a question came first")
        };
        assert_eq!(name, "a");
        let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
        agent.say(ping);
        assert_eq!(agent.hear()["id"], 1);
    }
}

#[test]
fn a_list_and_a_call_go_through_untouched() {
    let rig = Rig::new(chatty());
    let mut agent = rig.session();
    agent.say(r#"{"jsonrpc":"2.0","id":"l","method":"tools/list"}"#);
    let (
        FrontToKeeper::List {
            id, agent: name, ..
        },
        _,
    ) = rig.asked()
    else {
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
    // The keeper learns it, and says what became of it all the same.
    let (cancelled, meant) = rig.cancelled();
    assert!(meant);
    assert_eq!(cancelled, ids[1]);
    for id in ids.iter().rev() {
        rig.reply(&KeeperToFront::Answer { id: *id }, b"{}");
    }
    assert_eq!(agent.hear()["id"], 3);
    assert_eq!(agent.hear()["id"], 1);
    rig.stop();
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
        &KeeperToFront::Changed {
            agent: "nobody".into(),
            what: What::Tools,
        },
        &[],
    );
    rig.changed(What::Tools);
    assert_eq!(
        agent.hear(),
        json!({"jsonrpc":"2.0","method":"notifications/tools/list_changed"})
    );
    early.say(r#"{"jsonrpc":"2.0","id":2,"method":"ping"}"#);
    assert_eq!(early.hear()["id"], 2);
    rig.stop();
}
