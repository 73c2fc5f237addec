//! The stateless era over a unix socket, beside the other one.

use std::io::Write;

use serde_json::{Value, json};

use super::{META, Rig, chatty};
use crate::wire::messages::{Era, FrontToKeeper, KeeperToFront, What};

fn ask(id: u32, method: &str, params: &str) -> String {
    let comma = if params.is_empty() { "" } else { "," };
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{{META}{comma}{params}}}}}"#
    )
}

#[test]
fn requests_stand_for_themselves_on_any_connection() {
    let rig = Rig::new(chatty());
    let mut agent = rig.connect();
    agent.say(&ask(1, "server/discover", ""));
    let (id, method, _) = rig.questioned();
    assert_eq!(method, "server/discover");
    rig.reply(
        &KeeperToFront::Answer { id },
        br#"{"capabilities":{"tools":{}}}"#,
    );
    let found = agent.hear()["result"].take();
    assert_eq!(found["supportedVersions"], json!(["2026-07-28"]));
    assert_eq!(found["resultType"], "complete");
    assert_eq!(
        found["_meta"]["io.modelcontextprotocol/serverInfo"]["version"],
        "7.7"
    );

    agent.say(&ask(2, "tools/list", ""));
    let (FrontToKeeper::List { id, era, .. }, _) = rig.asked() else {
        panic!()
    };
    assert_eq!(era, Era::Stateless);
    rig.reply(&KeeperToFront::Listed { id }, b"[]");
    assert_eq!(
        agent.hear()["result"],
        json!({"resultType":"complete","ttlMs":0,"cacheScope":"private","tools":[]})
    );

    agent.say(&ask(
        3,
        "tools/call",
        r#""name":"t__t","arguments":{"x":1},"requestState":"s""#,
    ));
    let (
        FrontToKeeper::Open {
            id,
            era,
            extra,
            client,
            ..
        },
        blob,
    ) = rig.asked()
    else {
        panic!()
    };
    assert_eq!((era, client.as_str()), (Era::Stateless, "c 1"));
    assert_eq!(&blob[extra..], br#"{"x":1}"#);
    let extra: Value = serde_json::from_slice(&blob[..extra]).unwrap();
    assert_eq!(extra["requestState"], "s");
    assert_eq!(
        extra["_meta"]["io.modelcontextprotocol/protocolVersion"],
        "2026-07-28"
    );
    rig.reply(&KeeperToFront::Answer { id }, br#"{"content":[]}"#);
    assert_eq!(agent.hear()["result"]["resultType"], "complete");
    // It was written out: the keeper need not keep it for another time.
    let (FrontToKeeper::Delivered { id: delivered }, _) = rig.asked() else {
        panic!()
    };
    assert_eq!(delivered, id);

    // A session may begin on the same connection.
    agent.say(super::HELLO);
    rig.greet();
    assert!(agent.hear()["result"].get("resultType").is_none());
    agent.say(&ask(4, "ping", ""));
    assert_eq!(agent.fault().1, -32601);
    assert_eq!(rig.noted(), "unknown method");
    agent.say(r#"{"jsonrpc":"2.0","id":5,"method":"ping"}"#);
    assert_eq!(agent.hear()["result"], json!({}));
    rig.stop();
}

#[test]
fn what_a_client_of_both_eras_tries_first_is_no_misdeed() {
    let rig = Rig::new(chatty());
    let mut agent = rig.connect();
    agent.say(r#"{"jsonrpc":"2.0","id":1,"method":"server/discover"}"#);
    assert_eq!(agent.fault().1, -32602);
    let other = META.replace("2026-07-28", "2031-01-01");
    agent.say(&format!(
        r#"{{"jsonrpc":"2.0","id":2,"method":"server/discover","params":{{{other}}}}}"#
    ));
    let told = agent.hear();
    assert_eq!(told["error"]["code"], -32022);
    assert_eq!(told["error"]["data"]["requested"], "2031-01-01");
    // Nothing was noted of that: the next the keeper hears is the session.
    agent.say(super::HELLO);
    rig.greet();
    agent.hear();
    rig.stop();
}

/// A keeper tells what each agent sees now; the one before it may have shown something else.
#[test]
fn both_eras_are_told_of_lists_that_are_others_though_the_keeper_is_another_one() {
    let mut rig = Rig::new(chatty());
    let lists = |rig: &Rig, agent: &str, tools: &str, prompts: &str| {
        let say = KeeperToFront::Lists {
            agent: agent.into(),
            tools: tools.into(),
            prompts: prompts.into(),
            resources: "1".into(),
        };
        rig.reply(&say, &[]);
    };
    lists(&rig, "a", "1", "1");
    lists(&rig, "b", "1", "1");
    let mut session = rig.session();
    let mut stateless = rig.connect();
    let filter = r#"{"toolsListChanged":true,"promptsListChanged":true}"#;
    let filter = format!(r#""notifications":{filter}"#);
    stateless.say(&ask(1, "subscriptions/listen", &filter));
    let (id, ..) = rig.questioned();
    let agreed = format!("{{{filter}}}");
    rig.reply(&KeeperToFront::Answer { id }, agreed.as_bytes());
    stateless.hear();
    // Another agent's lists, and the same ones again, are no news.
    lists(&rig, "b", "2", "2");
    lists(&rig, "a", "1", "1");
    rig.link();
    lists(&rig, "a", "1", "1");
    lists(&rig, "a", "2", "1");
    lists(&rig, "a", "2", "3");
    for client in [&mut session, &mut stateless] {
        for what in ["tools", "prompts"] {
            let method = format!("notifications/{what}/list_changed");
            assert_eq!(client.hear()["method"], method);
        }
    }
    rig.stop();
}

#[test]
fn news_come_on_the_subscriptions_that_asked_for_them() {
    let rig = Rig::new(chatty());
    let mut agent = rig.connect();
    let listen = |id: u32, filter: &str| {
        ask(
            id,
            "subscriptions/listen",
            &format!(r#""notifications":{filter}"#),
        )
    };
    let mut numbers = Vec::new();
    for (id, filter) in [
        (1, r#"{"toolsListChanged":true}"#),
        (
            2,
            r#"{"resourceSubscriptions":["a:b"],"promptsListChanged":true}"#,
        ),
    ] {
        agent.say(&listen(id, filter));
        let (number, method, _) = rig.questioned();
        assert_eq!(method, "subscriptions/listen");
        rig.reply(
            &KeeperToFront::Answer { id: number },
            format!(r#"{{"notifications":{filter}}}"#).as_bytes(),
        );
        numbers.push(number);
        let told = agent.hear();
        assert_eq!(told["method"], "notifications/subscriptions/acknowledged");
        let filter: Value = serde_json::from_str(filter).unwrap();
        assert_eq!(
            told["params"],
            json!({"_meta":{"io.modelcontextprotocol/subscriptionId":id},"notifications":filter})
        );
    }
    rig.changed(What::Resources);
    rig.changed(What::Tools);
    rig.changed(What::Prompts);
    for uri in ["a:c", "a:b"] {
        let (agent, uri) = ("a".into(), uri.into());
        rig.reply(&KeeperToFront::Updated { agent, uri }, &[]);
    }
    for (method, id) in [
        ("notifications/tools/list_changed", 1),
        ("notifications/prompts/list_changed", 2),
        ("notifications/resources/updated", 2),
    ] {
        let told = agent.hear();
        assert_eq!(told["method"], method);
        let tag = &told["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"];
        assert_eq!(tag, id);
    }
    // A subscription is a request in flight: its id is taken, and it can be cancelled.
    agent.say(&listen(1, "{}"));
    assert_eq!(agent.fault().2, "a request with this `id` is in flight");
    assert_eq!(rig.noted(), "a request with this `id` is in flight");
    agent.say(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#);
    let (id, meant) = rig.cancelled();
    assert!(meant);
    assert_eq!(id, numbers[0]);
    // At the end it is said that it was meant to be one.
    rig.stop_and(|| {
        let told = agent.hear();
        assert_eq!(told["id"], 2);
        assert_eq!(
            told["result"],
            json!({"_meta":{"io.modelcontextprotocol/subscriptionId":2},"resultType":"complete"})
        );
    });
}

#[test]
fn there_is_an_end_to_subscriptions_and_they_end_with_the_input() {
    let limits = crate::front::limits::Limits {
        streams: 1,
        ..chatty()
    };
    let rig = Rig::new(limits);
    let mut agent = rig.connect();
    let listen = |id: u32| ask(id, "subscriptions/listen", r#""notifications":{}"#);
    agent.say(&listen(1));
    let (id, ..) = rig.questioned();
    rig.reply(&KeeperToFront::Answer { id }, br#"{"notifications":{}}"#);
    agent.hear();
    agent.say(&listen(2));
    assert_eq!(agent.fault().1, -32000);
    assert_eq!(
        rig.noted(),
        "too many requests in flight; wait for an answer"
    );
    agent.stream.shutdown(std::net::Shutdown::Write).unwrap();
    let (ended, _) = rig.cancelled();
    assert_eq!(ended, id);
    assert_eq!(agent.hear()["id"], 1);
    assert!(agent.is_closed());
    // Its place is free again.
    let mut agent = rig.connect();
    agent.say(&listen(3));
    rig.questioned();
    agent.stream.flush().unwrap();
    rig.stop();
}

#[test]
fn a_server_cannot_ask_a_client_that_only_answers() {
    let rig = Rig::new(chatty());
    let mut agent = rig.connect();
    agent.say(&ask(1, "tools/call", r#""name":"t__t""#));
    let (FrontToKeeper::Open { id, .. }, _) = rig.asked() else {
        panic!()
    };
    let question = KeeperToFront::Ask {
        id,
        ask: 5,
        method: "sampling/createMessage".into(),
    };
    rig.reply(&question, b"{}");
    let (FrontToKeeper::Said { ask, ok, .. }, _) = rig.asked() else {
        panic!()
    };
    assert_eq!((ask, ok), (5, false));
    rig.reply(&KeeperToFront::Answer { id }, b"{}");
    assert_eq!(agent.hear()["id"], 1);
    rig.stop();
}
