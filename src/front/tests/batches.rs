//! Batches, which revision 2025-03-26 has and no other.

use serde_json::{Value, json};

use super::http::call;
use super::web::Web;
use super::{HELLO, Rig, TOKEN, chatty};
use crate::wire::messages::{FrontToKeeper, KeeperToFront};

const PING: &str = r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#;
const TOLD: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

fn hello() -> String {
    HELLO.replace("2025-06-18", "2025-03-26")
}

fn session(rig: &Rig, web: &mut Web<std::net::TcpStream>) -> String {
    web.send("POST", &[], &hello());
    rig.greet();
    let hello = web.response();
    assert_eq!(hello.json()["result"]["protocolVersion"], "2025-03-26");
    format!(
        "Mcp-Session-Id: {}",
        hello.header("mcp-session-id").unwrap()
    )
}

/// The next thing the keeper is asked, past what was noted of messages that are none.
fn asked(rig: &Rig) -> FrontToKeeper {
    loop {
        let asked = rig.asked().0;
        if !matches!(asked, FrontToKeeper::Malformed { .. }) {
            return asked;
        }
    }
}

fn opened(rig: &Rig) -> u64 {
    let FrontToKeeper::Open { id, .. } = asked(rig) else {
        panic!()
    };
    id
}

#[test]
fn a_line_may_be_a_batch_whose_messages_are_answered_one_by_one() {
    let rig = Rig::new(chatty());
    let mut agent = rig.connect();
    agent.say(&hello());
    rig.greet();
    agent.hear();
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
    let bad = r#"{"jsonrpc":"2.0","id":7}"#;
    let all = [TOLD, &call(1, ""), PING, bad, cancel, "8", &hello()];
    agent.say(&format!(" [{}]", all.join(",\t")));
    // The call is on its way, and the others were answered in their order.
    assert_eq!(agent.hear()["id"], "p");
    let code = |agent: &mut super::Agent| {
        let (id, code, _) = agent.fault();
        (id, code)
    };
    assert_eq!(code(&mut agent), (json!(7), -32600));
    assert_eq!(code(&mut agent), (Value::Null, -32600));
    let (id, code, message) = agent.fault();
    assert_eq!((id, code), (json!(0), -32600));
    assert!(message.contains("begun already"), "{message}");
    let number = opened(&rig);
    let FrontToKeeper::Cancel { id, meant: true } = asked(&rig) else {
        panic!()
    };
    assert_eq!(id, number);
    rig.reply(&KeeperToFront::Answer { id }, b"{}");
    for (line, why) in [
        ("[]".to_owned(), "an array of 1 to 64 messages"),
        (
            format!("[{}]", [TOLD; 65].join(",")),
            "an array of 1 to 64 messages",
        ),
        (format!("[{PING}"), "at byte"),
        (format!("[[{PING}]]"), "a batch is no message"),
    ] {
        agent.say(&line);
        let (_, _, said) = agent.fault();
        assert!(said.contains(why), "{said}");
    }
    rig.stop();
}

#[test]
fn other_revisions_have_none() {
    let rig = Rig::new(chatty());
    let batch = format!("[{PING}]");
    let mut early = rig.connect();
    early.say(&batch);
    assert!(early.fault().2.contains("a batch is no message"));
    rig.noted();
    let mut agent = rig.session();
    agent.say(&batch);
    assert!(agent.fault().2.contains("a batch is no message"));
    rig.stop();

    let rig = Rig::new(chatty());
    let mut web = Web::connect(rig.door()).with(TOKEN);
    let id = super::http::session(&rig, &mut web);
    for headers in [&[id.as_str()][..], &[]] {
        let refused = web.post(headers, &batch);
        assert_eq!((refused.status, refused.code()), (400, -32600));
    }
    rig.stop();
}

#[test]
fn over_http_a_batch_is_answered_by_a_stream_or_by_one_array() {
    let rig = Rig::new(chatty());
    let address = rig.door();
    let mut web = Web::connect(address).with(TOKEN);
    let id = session(&rig, &mut web);
    let batch = format!("[{},{PING},{},{{}}]", call(1, ""), call(2, ""));
    let answers = |web: &mut Web<std::net::TcpStream>, headers: &[&str]| {
        web.send("POST", headers, &batch);
        let numbers = [opened(&rig), opened(&rig)];
        for id in numbers.into_iter().rev() {
            let body = json!({"content": [], "number": id}).to_string();
            rig.reply(&KeeperToFront::Answer { id }, body.as_bytes());
        }
        numbers
    };
    let of = |all: &[Value], id: Value| {
        let mut own = all.iter().filter(|one| one["id"] == id);
        let found = own.next().unwrap_or_else(|| panic!("{all:?}")).clone();
        assert!(own.next().is_none(), "{all:?}");
        found
    };
    for accept in ["text/event-stream, application/json", "application/json"] {
        let accept = format!("Accept: {accept}");
        let numbers = answers(&mut web, &[&id, &accept]);
        let got = web.response();
        assert_eq!(got.status, 200);
        let all = match got.header("content-type") {
            Some("text/event-stream") => std::iter::from_fn(|| web.event()).collect(),
            Some("application/json") => got.json().as_array().unwrap().clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(all.len(), 4, "{all:?}");
        for (ours, theirs) in [(1, numbers[0]), (2, numbers[1])] {
            assert_eq!(of(&all, json!(ours))["result"]["number"], theirs);
        }
        assert_eq!(of(&all, json!("p"))["result"], json!({}));
        assert_eq!(of(&all, Value::Null)["error"]["code"], -32600);
    }
    // Nothing in it wants an answer.
    let told = web.post(&[&id], &format!("[{TOLD},{TOLD}]"));
    assert_eq!((told.status, told.body.len()), (202, 0));
    let none = web.post(&[&id], "[]");
    assert_eq!((none.status, none.code()), (400, -32600));
    rig.stop();
}
