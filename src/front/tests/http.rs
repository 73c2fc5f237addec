//! Both eras over HTTP.

use serde_json::{Value, json};

use super::web::Web;
use super::{HELLO, META, Rig, TOKEN, chatty};
use crate::front::limits::Limits;
use crate::wire::messages::{Era, FrontToKeeper, KeeperToFront, What};

pub(super) fn call(id: u32, params: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"t__t"{params}}}}}"#
    )
}

pub(super) fn modern(id: u32, method: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{{META}{params}}}}}"#)
}

/// The headers of a request of the stateless era.
pub(super) fn says(method: &str) -> [&str; 2] {
    ["MCP-Protocol-Version: 2026-07-28", method]
}

pub(super) const CALL: [&str; 3] = [
    "MCP-Protocol-Version: 2026-07-28",
    "Mcp-Method: tools/call",
    "Mcp-Name: t__t",
];

pub(super) fn opened(rig: &Rig) -> (u64, Era) {
    match rig.asked() {
        (FrontToKeeper::Open { id, era, agent, .. }, _) => {
            assert_eq!(agent, "w");
            (id, era)
        }
        (other, _) => panic!("{other:?}"),
    }
}

pub(super) fn session(rig: &Rig, web: &mut Web<std::net::TcpStream>) -> String {
    web.send("POST", &[], HELLO);
    rig.greet();
    let hello = web.response();
    assert_eq!(
        (hello.status, hello.header("content-type")),
        (200, Some("application/json"))
    );
    assert_eq!(hello.json()["result"]["protocolVersion"], "2025-06-18");
    let id = hello.header("mcp-session-id").unwrap().to_owned();
    let told = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    let told = web.post(&[&format!("Mcp-Session-Id: {id}")], told);
    assert_eq!((told.status, told.body.len()), (202, 0));
    format!("Mcp-Session-Id: {id}")
}

#[test]
fn a_session_begins_calls_listens_and_ends() {
    let rig = Rig::new(chatty());
    let address = rig.door();
    let mut web = Web::connect(address).with(TOKEN);
    let id = session(&rig, &mut web);
    // An answer at once is one message.
    web.send(
        "POST",
        &[&id, "MCP-Protocol-Version: 2025-06-18"],
        &call(1, ""),
    );
    let (number, era) = opened(&rig);
    assert_eq!(era, Era::Session);
    rig.reply(&KeeperToFront::Answer { id: number }, br#"{"content":[]}"#);
    let answer = web.response();
    assert_eq!(
        answer.json(),
        json!({"jsonrpc":"2.0","id":1,"result":{"content":[]}})
    );
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    // What comes before it makes a stream of it.
    web.send("POST", &[&id], &call(2, r#","_meta":{"progressToken":7}"#));
    let (number, _) = opened(&rig);
    let notice = KeeperToFront::Notice {
        agent: "w".into(),
        id: Some(number),
        method: "notifications/progress".into(),
    };
    rig.reply(&notice, br#"{"progress":1}"#);
    let stream = web.response();
    assert_eq!(
        (stream.status, stream.header("content-type")),
        (200, Some("text/event-stream"))
    );
    assert_eq!(
        web.event().unwrap()["params"],
        json!({"progressToken":7,"progress":1})
    );
    let ask = KeeperToFront::Ask {
        id: number,
        ask: 3,
        method: "roots/list".into(),
    };
    rig.reply(&ask, b"{}");
    assert_eq!(web.event().unwrap()["id"], 3);
    let mut other = Web::connect(address).with(TOKEN);
    let said = other.post(&[&id], r#"{"jsonrpc":"2.0","id":3,"result":{"roots":[]}}"#);
    assert_eq!(said.status, 202);
    let (FrontToKeeper::Said { ask, ok, .. }, raw) = rig.asked() else {
        panic!()
    };
    assert_eq!(
        (ask, ok, raw.as_slice()),
        (3, true, &br#"{"roots":[]}"#[..])
    );
    rig.reply(&KeeperToFront::Answer { id: number }, b"{}");
    assert_eq!(web.event().unwrap()["id"], 2);
    assert!(web.event().is_none());
    // News have a stream of their own; a second one takes the place of the first.
    let mut one = Web::connect(address).with(TOKEN);
    one.send("GET", &[&id], "");
    assert_eq!(one.response().status, 200);
    rig.changed_of("w", What::Tools);
    assert_eq!(
        one.event().unwrap()["method"],
        "notifications/tools/list_changed"
    );
    let mut two = Web::connect(address).with(TOKEN);
    two.send("GET", &[&id], "");
    assert_eq!(two.response().status, 200);
    assert!(one.event().is_none());
    rig.changed_of("w", What::Tools);
    assert!(two.event().is_some());
    // Whoever ends it ends its stream.
    web.send("DELETE", &[&id], "");
    assert_eq!(web.response().status, 204);
    assert!(two.event().is_none());
    for method in ["POST", "GET", "DELETE"] {
        web.send(method, &[&id], if method == "POST" { LIST } else { "" });
        assert_eq!(web.response().status, 404, "{method}");
    }
    rig.stop();
}

const LIST: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;

#[test]
fn a_session_is_its_agents_own_and_old_ones_make_room() {
    let rig = Rig::new(Limits {
        sessions: 2,
        ..chatty()
    });
    let address = rig.door();
    rig.admit_token("v", "other");
    let mut web = Web::connect(address).with(TOKEN);
    let first = session(&rig, &mut web);
    let mut other = Web::connect(address).with("other");
    assert_eq!(other.post(&[&first], LIST).status, 404);
    let none = web.post(&[], LIST);
    assert_eq!((none.status, none.code()), (400, -32600));
    assert_eq!(web.post(&["Mcp-Session-Id: x"], LIST).status, 404);
    let wrong = web.post(&[&first, "MCP-Protocol-Version: 2025-06-17"], LIST);
    assert_eq!((wrong.status, wrong.code()), (400, -32602));
    assert!(rig.noted_of("w").contains("`_meta`"));
    let again = web.post(&[&first], HELLO);
    assert_eq!((again.status, again.code()), (400, -32600));
    assert_eq!(rig.noted_of("w"), "the session has begun already");
    let second = session(&rig, &mut web);
    let third = session(&rig, &mut web);
    assert_eq!(web.post(&[&first], LIST).status, 404);
    for known in [&second, &third] {
        let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
        assert_eq!(web.post(&[known], ping).json()["result"], json!({}));
    }
    // One that nobody could begin is none.
    let refused = web.post(&[], r#"{"jsonrpc":"2.0","id":0,"method":"initialize"}"#);
    assert_eq!(refused.header("mcp-session-id"), None);
    assert_eq!(refused.code(), -32602);
    rig.stop();
}

#[test]
fn the_stateless_era_needs_no_session() {
    let rig = Rig::new(chatty());
    let mut web = Web::connect(rig.door()).with(TOKEN);
    web.send(
        "POST",
        &says("Mcp-Method: server/discover"),
        &modern(1, "server/discover", ""),
    );
    let (id, method, _) = rig.questioned();
    assert_eq!(method, "server/discover");
    rig.reply(&KeeperToFront::Answer { id }, br#"{"capabilities":{}}"#);
    let found = web.response();
    assert_eq!(found.status, 200);
    assert_eq!(found.header("mcp-session-id"), None);
    assert_eq!(
        found.json()["result"]["supportedVersions"],
        json!(["2026-07-28"])
    );
    let repeats = [CALL[0], CALL[1], CALL[2], "Mcp-Param-X:  y "];
    web.send(
        "POST",
        &repeats,
        &modern(2, "tools/call", r#","name":"t__t""#),
    );
    let (
        FrontToKeeper::Open {
            id, era, mirrored, ..
        },
        _,
    ) = rig.asked()
    else {
        panic!()
    };
    assert_eq!(era, Era::Stateless);
    let said = ("mcp-param-x".to_owned(), Some("y".to_owned()));
    assert_eq!(mirrored, Some(vec![said]));
    rig.reply(&KeeperToFront::Answer { id }, b"{}");
    assert_eq!(
        web.response().json()["result"],
        json!({"resultType":"complete"})
    );
    let (FrontToKeeper::Delivered { id: delivered }, _) = rig.asked() else {
        panic!()
    };
    assert_eq!(delivered, id);
    // Two clients of one agent may use the same id at the same time.
    let mut other = Web::connect(rig.address()).with(TOKEN);
    web.send("POST", &CALL, &modern(3, "tools/call", r#","name":"t__t""#));
    let (one, _) = opened(&rig);
    other.send("POST", &CALL, &modern(3, "tools/call", r#","name":"t__t""#));
    let (two, _) = opened(&rig);
    for id in [two, one] {
        let message = "gone".to_owned();
        let code = if id == two { -32021 } else { -32601 };
        let data = br#"{"requiredCapabilities":{"sampling":{}}}"#;
        rig.reply(&KeeperToFront::Fault { id, code, message }, data);
    }
    let missing = other.response();
    assert_eq!((missing.status, missing.code()), (400, -32021));
    assert_eq!(
        missing.json()["error"]["data"]["requiredCapabilities"],
        json!({"sampling":{}})
    );
    let unknown = web.response();
    assert_eq!((unknown.status, unknown.code()), (404, -32601));
    assert_eq!(unknown.json()["id"], 3);
    rig.stop();
}

#[test]
fn the_body_decides_and_headers_that_say_otherwise_are_refused() {
    let rig = Rig::new(chatty());
    let mut web = Web::connect(rig.door()).with(TOKEN);
    let list = modern(1, "tools/list", "");
    let other = META.replace("2026-07-28", "v999");
    let other = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{{{other}}}}}"#);
    let call = modern(1, "tools/call", r#","name":"t__t""#);
    let version = "MCP-Protocol-Version: 2026-07-28";
    for (headers, body, status, code) in [
        (
            vec![version, "Mcp-Method: prompts/list"],
            &list,
            400,
            -32020,
        ),
        (vec![version], &list, 400, -32020),
        (vec!["Mcp-Method: tools/list"], &list, 400, -32020),
        (
            vec!["MCP-Protocol-Version: 2025-11-25", "Mcp-Method: tools/list"],
            &list,
            400,
            -32020,
        ),
        (vec![version, "Mcp-Method: TOOLS/LIST"], &list, 400, -32020),
        (
            vec![version, "Mcp-Method: tools/list", "Mcp-Method: tools/list"],
            &list,
            400,
            -32020,
        ),
        (vec![version, "Mcp-Method: tools/call"], &call, 400, -32020),
        (
            vec![version, "Mcp-Method: tools/call", "Mcp-Name: t__u"],
            &call,
            400,
            -32020,
        ),
        (vec![version, "Mcp-Method: tools/list"], &other, 400, -32020),
        (
            vec!["MCP-Protocol-Version: v999", "Mcp-Method: tools/list"],
            &other,
            400,
            -32022,
        ),
        (
            vec![version, "Mcp-Method: tools/list"],
            &LIST.to_owned(),
            400,
            -32602,
        ),
        (
            vec![version, "Mcp-Method: ping"],
            &modern(1, "ping", ""),
            404,
            -32601,
        ),
        (
            vec![version, "Mcp-Method: x"],
            &modern(1, "x", ""),
            404,
            -32601,
        ),
        (vec![version], &"{".to_owned(), 400, -32700),
        (vec![version], &"[]".to_owned(), 400, -32600),
    ] {
        let told = web.post(&headers, body);
        assert_eq!(
            (told.status, told.code()),
            (status, code),
            "{headers:?} {body}"
        );
        rig.noted_of("w");
    }
    // Names of headers are the same in any case, and space around values does not count.
    for method in ["mcp-method: tools/list", "MCP-METHOD:   tools/list  "] {
        web.send("POST", &says(method), &list);
        let (FrontToKeeper::List { id, .. }, _) = rig.asked() else {
            panic!()
        };
        rig.reply(&KeeperToFront::Listed { id }, b"[]");
        assert_eq!(web.response().status, 200);
    }
    rig.stop();
}

#[test]
fn who_closes_the_stream_gives_up_the_call() {
    let rig = Rig::new(chatty());
    let address = rig.door();
    // Before anything was answered, and after.
    for streams in [false, true] {
        let mut web = Web::connect(address).with(TOKEN);
        let body = modern(1, "tools/call", r#","name":"t__t""#);
        web.send("POST", &CALL, &body);
        let (id, _) = opened(&rig);
        if streams {
            let notice = KeeperToFront::Notice {
                agent: "w".into(),
                id: Some(id),
                method: "notifications/message".into(),
            };
            rig.reply(&notice, b"{}");
            assert_eq!(web.response().status, 200);
            assert!(web.event().is_some());
        }
        drop(web);
        let (cancelled, meant) = rig.cancelled();
        assert!(!meant);
        assert_eq!(cancelled, id);
        rig.reply(&KeeperToFront::Answer { id }, b"{}");
    }
    // A session's call goes on.
    let mut web = Web::connect(address).with(TOKEN);
    let id = session(&rig, &mut web);
    web.send("POST", &[&id], &call(1, ""));
    let (number, _) = opened(&rig);
    drop(web);
    let mut web = Web::connect(address).with(TOKEN);
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
    assert_eq!(web.post(&[&id], cancel).status, 202);
    let (cancelled, meant) = rig.cancelled();
    assert!(meant);
    assert_eq!(cancelled, number);
    rig.stop();
}

#[test]
fn news_come_on_a_stream_with_signs_of_life() {
    let rig = Rig::new(Limits {
        heartbeat: std::time::Duration::from_millis(20),
        ..chatty()
    });
    let mut web = Web::connect(rig.door()).with(TOKEN);
    let filter = r#","notifications":{"toolsListChanged":true}"#;
    let listen = modern(9, "subscriptions/listen", filter);
    web.send("POST", &says("Mcp-Method: subscriptions/listen"), &listen);
    let (id, ..) = rig.questioned();
    rig.reply(
        &KeeperToFront::Answer { id },
        br#"{"notifications":{"toolsListChanged":true}}"#,
    );
    let stream = web.response();
    assert_eq!(stream.header("content-type"), Some("text/event-stream"));
    assert_eq!(stream.header("x-accel-buffering"), Some("no"));
    let first = web.event().unwrap();
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
    assert_eq!(web.chunk().unwrap(), b":\n\n");
    rig.changed_of("w", What::Prompts);
    rig.changed_of("w", What::Tools);
    let told = web.event().unwrap();
    assert_eq!(told["method"], "notifications/tools/list_changed");
    let tag = &told["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"];
    assert_eq!(tag, &Value::from(9));
    drop(web);
    let (ended, _) = rig.cancelled();
    assert_eq!(ended, id);
    rig.stop();
}

#[test]
fn who_reads_one_kind_of_answer_gets_that() {
    let rig = Rig::new(chatty());
    let mut web = Web::connect(rig.door()).with(TOKEN);
    let body = modern(1, "tools/call", r#","name":"t__t""#);
    let with = |accept| [CALL[0], CALL[1], CALL[2], accept];
    web.send("POST", &with("Accept: application/json"), &body);
    let (id, _) = opened(&rig);
    let notice = KeeperToFront::Notice {
        agent: "w".into(),
        id: Some(id),
        method: "notifications/message".into(),
    };
    rig.reply(&notice, b"{}");
    rig.reply(&KeeperToFront::Answer { id }, b"{}");
    assert_eq!(web.response().json()["id"], 1);
    assert!(matches!(rig.asked().0, FrontToKeeper::Delivered { .. }));
    web.send("POST", &with("Accept: text/event-stream"), &body);
    let (id, _) = opened(&rig);
    rig.reply(&KeeperToFront::Answer { id }, b"{}");
    assert_eq!(
        web.response().header("content-type"),
        Some("text/event-stream")
    );
    assert_eq!(web.event().unwrap()["id"], 1);
    assert!(web.event().is_none());
    assert!(matches!(rig.asked().0, FrontToKeeper::Delivered { .. }));
    rig.stop();
}
