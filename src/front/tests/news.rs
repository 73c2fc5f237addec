//! What comes on the way to an answer, and what comes of no question.

use serde_json::json;

use super::{Rig, chatty};
use crate::wire::messages::{FrontToKeeper, KeeperToFront, What};

fn notice(rig: &Rig, id: Option<u64>, method: &str, params: &str) {
    let say = KeeperToFront::Notice {
        agent: "a".into(),
        id,
        method: method.into(),
    };
    rig.reply(&say, params.as_bytes());
}

#[test]
fn progress_carries_the_clients_own_token() {
    let rig = Rig::new(chatty());
    let mut agent = rig.session();
    agent.say(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t__t","_meta":{"progressToken":"mine","k":1}}}"#);
    let (
        FrontToKeeper::Open {
            id,
            extra,
            progress,
            ..
        },
        blob,
    ) = rig.asked()
    else {
        panic!()
    };
    assert!(progress);
    assert_eq!(blob, br#"{"_meta":{"k":1}}{}"#);
    assert_eq!(&blob[extra..], b"{}");
    notice(
        &rig,
        Some(id),
        "notifications/progress",
        r#"{"progressToken":"theirs","progress":0.5}"#,
    );
    notice(
        &rig,
        Some(id),
        "notifications/message",
        r#"{"level":"info","data":1}"#,
    );
    notice(
        &rig,
        None,
        "notifications/message",
        r#"{"level":"debug","data":2}"#,
    );
    rig.reply(&KeeperToFront::Answer { id }, b"{}");
    assert_eq!(
        agent.hear(),
        json!({"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"mine","progress":0.5}})
    );
    assert_eq!(agent.hear()["params"]["data"], 1);
    let (one, other) = (agent.hear(), agent.hear());
    // What belongs to no question may come before or after what does.
    let (told, answer) = if one["id"] == 1 {
        (other, one)
    } else {
        (one, other)
    };
    assert_eq!(
        (&told["params"]["data"], &answer["id"]),
        (&json!(2), &json!(1))
    );
    // One that asked for no progress gets none.
    agent.call(2, "{}");
    let (id, _) = rig.opened();
    notice(
        &rig,
        Some(id),
        "notifications/progress",
        r#"{"progressToken":"theirs","progress":1}"#,
    );
    rig.reply(&KeeperToFront::Answer { id }, b"{}");
    assert_eq!(agent.hear()["id"], 2);
    rig.stop();
}

#[test]
fn a_server_asks_the_client_and_hears_what_it_says() {
    let rig = Rig::new(chatty());
    let (mut agent, mut other) = (rig.session(), rig.session());
    agent.call(1, "{}");
    let (id, _) = rig.opened();
    let ask = KeeperToFront::Ask {
        id,
        ask: 41,
        method: "elicitation/create".into(),
    };
    rig.reply(&ask, br#"{"message":"who?"}"#);
    assert_eq!(
        agent.hear(),
        json!({"jsonrpc":"2.0","id":41,"method":"elicitation/create","params":{"message":"who?"}})
    );
    // Only the conversation that was asked can answer, and once.
    let said = r#"{"jsonrpc":"2.0","id":41,"result":{"action": "accept"}}"#;
    other.say(said);
    other.say(r#"{"jsonrpc":"2.0","id":9,"method":"ping"}"#);
    assert_eq!(other.hear()["id"], 9);
    agent.say(said);
    agent.say(said);
    let (
        FrontToKeeper::Said {
            agent: name,
            ask,
            ok,
        },
        raw,
    ) = rig.asked()
    else {
        panic!()
    };
    assert_eq!((name.as_str(), ask, ok), ("a", 41, true));
    assert_eq!(raw, br#"{"action": "accept"}"#);
    rig.reply(&KeeperToFront::Answer { id }, b"{}");
    assert_eq!(agent.hear()["id"], 1);
    agent.call(2, "{}");
    rig.opened();
    rig.stop();
}

#[test]
fn sessions_are_told_of_the_resources_they_subscribed_to() {
    let rig = Rig::new(chatty());
    let (mut agent, mut other) = (rig.session(), rig.session());
    let ask = |id: u32, what: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"resources/{what}","params":{{"uri":"a:b"}}}}"#
        )
    };
    agent.say(&ask(1, "subscribe"));
    let (id, method, params) = rig.questioned();
    assert_eq!(
        (method.as_str(), params.as_str()),
        ("resources/subscribe", r#"{"uri":"a:b"}"#)
    );
    rig.reply(&KeeperToFront::Answer { id }, b"{}");
    assert_eq!(agent.hear()["result"], json!({}));
    let updated = |uri: &str| KeeperToFront::Updated {
        agent: "a".into(),
        uri: uri.into(),
    };
    rig.reply(&updated("a:c"), &[]);
    rig.reply(&updated("a:b"), &[]);
    rig.changed(What::Resources);
    rig.changed(What::Prompts);
    assert_eq!(agent.hear()["params"], json!({"uri":"a:b"}));
    for one in [&mut agent, &mut other] {
        for what in ["resources", "prompts"] {
            let method = format!("notifications/{what}/list_changed");
            assert_eq!(one.hear()["method"], method);
        }
    }
    agent.say(&ask(2, "unsubscribe"));
    let (id, ..) = rig.questioned();
    rig.reply(&KeeperToFront::Answer { id }, b"{}");
    agent.hear();
    rig.reply(&updated("a:b"), &[]);
    agent.say(r#"{"jsonrpc":"2.0","id":3,"method":"ping"}"#);
    assert_eq!(agent.hear()["id"], 3);
    rig.stop();
}

#[test]
fn a_session_that_could_not_begin_can_begin_again() {
    let rig = Rig::new(chatty());
    let mut agent = rig.connect();
    agent.say(super::HELLO);
    let (id, ..) = rig.questioned();
    let fault = KeeperToFront::Fault {
        id,
        code: -32602,
        message: "no".into(),
    };
    rig.reply(&fault, br#"{"why": 1}"#);
    let told = agent.hear();
    assert_eq!(
        told["error"],
        json!({"code":-32602,"message":"no","data":{"why":1}})
    );
    agent.say(super::HELLO);
    rig.greet();
    assert_eq!(agent.hear()["result"]["protocolVersion"], "2025-06-18");
    rig.stop();
}
