//! Who gets through a door, and where it ends.

use std::time::Duration;

use super::web::Web;
use super::{HELLO, META, Rig, TOKEN, chatty};
use crate::front::LINE_MAX;
use crate::front::limits::Limits;
use crate::wire::messages::{Control, FrontToKeeper, KeeperToFront};

fn discover() -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{{{META}}}}}"#)
}

/// What the official conformance suite tries (`dns-rebinding-protection`), in both eras.
#[test]
fn a_name_that_was_made_to_lead_here_is_turned_away() {
    let rig = Rig::new(chatty());
    let address = rig.door();
    let port = address.port();
    let discover = discover();
    for (version, method, body) in [
        ("2025-11-25", "initialize", HELLO),
        ("2026-07-28", "server/discover", discover.as_str()),
    ] {
        let mut web = Web::connect(address).with(TOKEN);
        let (version, method) = (
            format!("MCP-Protocol-Version: {version}"),
            format!("Mcp-Method: {method}"),
        );
        for evil in [
            "evil.example.com".to_owned(),
            format!("evil.example.com:{port}"),
        ] {
            let host = format!("Host: {evil}");
            let origin = format!("Origin: http://{evil}");
            let told = web.post(&[&host, &origin, &version, &method], body);
            assert_eq!(told.status, 403);
            assert_eq!(rig.noted_of("-"), "HTTP for another host");
            let told = web.post(&[&origin, &version, &method], body);
            assert_eq!(told.status, 403);
            assert_eq!(rig.noted_of("-"), "HTTP from another site");
        }
        for own in ["localhost", "127.0.0.1", "[::1]"] {
            let host = format!("Host: {own}:{port}");
            let origin = format!("Origin: http://{own}:{port}");
            web.send("POST", &[&host, &origin, &version, &method], body);
            let (id, ..) = rig.questioned();
            rig.reply(&KeeperToFront::Answer { id }, br#"{"capabilities":{}}"#);
            assert_eq!(web.response().status, 200, "{own}");
        }
    }
    rig.stop();
}

#[test]
fn a_request_needs_a_token_a_path_a_method_and_kinds() {
    let rig = Rig::new(chatty());
    let address = rig.door();
    for token in ["", "wrong"] {
        let mut web = Web::connect(address).with(token);
        let told = web.post(&[], HELLO);
        assert_eq!(told.status, 401);
        assert_eq!(told.header("www-authenticate"), Some("Bearer"));
        assert_eq!(rig.noted_of("-"), "HTTP from nobody that is enrolled");
    }
    let mut web = Web::connect(address).with(TOKEN);
    for (method, more, status) in [
        ("PUT", vec![], 405),
        ("GET", vec![], 405),
        ("DELETE", vec![], 405),
        (
            "GET",
            vec!["Mcp-Session-Id: x", "Accept: application/json"],
            406,
        ),
        ("POST", vec!["Accept: text/html"], 406),
        ("POST", vec!["Content-Type: text/plain"], 415),
    ] {
        web.send(method, &more, "");
        let told = web.response();
        assert_eq!(told.status, status, "{method} {more:?}");
        if status == 405 {
            assert_eq!(told.header("allow"), Some("POST"));
        }
    }
    let head = format!("Host: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n");
    for (line, status) in [
        ("GET /", 404),
        ("GET /mcp/", 404),
        ("GET http://evil.example.com/mcp", 403),
        ("GET http://localhost/mcp", 405),
    ] {
        let mut web = Web::connect(address);
        web.raw(format!("{line} HTTP/1.1\r\n{head}").as_bytes());
        assert_eq!(web.response().status, status, "{line}");
    }
    let mut web = Web::connect(address);
    web.raw(b"GET /mcp HTTP/1.1\r\n\r\n");
    assert_eq!(web.response().status, 403);
    rig.stop();
}

#[test]
fn there_is_an_end_to_heads_bodies_and_waiting() {
    let rig = Rig::new(Limits {
        head: Duration::from_millis(200),
        body: Duration::from_millis(20),
        ..chatty()
    });
    let address = rig.door();
    // One byte after the other, without an end.
    let mut slow = Web::connect(address);
    slow.raw(b"POST /mcp HTTP/1.1\r\nHost: loc");
    assert!(slow.is_closed());
    // Nothing at all.
    assert!(Web::connect(address).is_closed());
    let post = format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n"
    );
    let mut slow = Web::connect(address);
    slow.raw(format!("{post}Content-Length: 10\r\n\r\n{{").as_bytes());
    assert_eq!(slow.response().status, 408);
    assert!(rig.noted_of("w").contains("did not come in time"));
    assert!(slow.is_closed());
    // Too long, and said so; or in pieces.
    let mut long = Web::connect(address);
    long.raw(format!("{post}Content-Length: {}\r\n\r\n", LINE_MAX + 1).as_bytes());
    assert_eq!(long.response().status, 413);
    assert!(rig.noted_of("w").contains("longer"));
    let mut long = Web::connect(address);
    let piece = "x".repeat(LINE_MAX + 1);
    let head = format!(
        "{post}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n",
        piece.len()
    );
    long.raw(head.as_bytes());
    let sent = std::thread::spawn(move || {
        // The front may have had enough before all was sent.
        drop(long.try_raw(piece.as_bytes()));
        long
    });
    let mut long = sent.join().unwrap();
    assert_eq!(long.response().status, 413);
    assert!(rig.noted_of("w").contains("longer"));
    let mut wide = Web::connect(address);
    let filler = "x".repeat(20 << 10);
    wide.raw(format!("GET /mcp HTTP/1.1\r\nHost: localhost\r\nX: {filler}\r\n\r\n").as_bytes());
    assert_eq!(wide.response().status, 431);
    rig.stop();
}

#[test]
fn there_is_an_end_to_connections_bodies_and_calls() {
    let rig = Rig::new(Limits {
        door_connections: 2,
        agent_calls: 1,
        agent_bodies: 4096,
        ..chatty()
    });
    let address = rig.door();
    let mut one = Web::connect(address).with(TOKEN);
    let headers = [
        "MCP-Protocol-Version: 2026-07-28",
        "Mcp-Method: server/discover",
    ];
    one.send("POST", &headers, &discover());
    let (id, ..) = rig.questioned();
    let mut two = Web::connect(address).with(TOKEN);
    let busy = two.post(&headers, &discover());
    assert_eq!((busy.status, busy.code()), (429, -32000));
    assert!(rig.noted_of("w").contains("too many requests in flight"));
    let large = two.post(&headers, &format!("{}{}", discover(), " ".repeat(5000)));
    assert_eq!(
        (large.status, large.header("retry-after")),
        (429, Some("1"))
    );
    assert!(rig.noted_of("w").contains("being read"));
    let mut three = Web::connect(address);
    assert!(three.is_closed());
    assert_eq!(rig.noted_of("-"), "too many connections over HTTP");
    rig.reply(&KeeperToFront::Answer { id }, b"{}");
    assert_eq!(one.response().status, 200);
    drop(one);
    // A place that was given back can be taken; the front learns of it a moment later.
    let mut id = None;
    while id.is_none() {
        let mut next = Web::connect(address).with(TOKEN);
        if next.try_send(&headers, &discover()).is_ok() && rig.hears_before(&next) {
            id = Some(rig.questioned().0);
        } else {
            rig.noted_of("-");
        }
    }
    rig.stop();
}

#[test]
fn strangers_make_room_for_each_other_and_keep_nobody_out() {
    let rig = Rig::new(Limits {
        strangers: 2,
        ..chatty()
    });
    let address = rig.door();
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let mut known = Web::connect(address).with(TOKEN);
    assert_eq!(known.post(&[], ping).status, 400);
    let mut oldest = Web::connect(address);
    oldest.raw(b"POST /mcp HTTP/1.1\r\n");
    let mut others: Vec<_> = (0..2).map(|_| Web::connect(address)).collect();
    assert!(oldest.is_closed());
    // Whoever has proved to be an agent stays, and one more gets in.
    assert_eq!(known.post(&[], ping).status, 400);
    let mut next = Web::connect(address).with(TOKEN);
    assert_eq!(next.post(&[], ping).status, 400);
    assert!(others.remove(0).is_closed());
    rig.stop();
}

#[test]
fn a_revoked_agent_is_cut_off_wherever_it_is() {
    let rig = Rig::new(chatty());
    let address = rig.door();
    let mut web = Web::connect(address).with(TOKEN);
    web.send("POST", &[], HELLO);
    rig.greet();
    let id = web.response().header("mcp-session-id").unwrap().to_owned();
    let id = format!("Mcp-Session-Id: {id}");
    let mut stream = Web::connect(address).with(TOKEN);
    stream.send("GET", &[&id], "");
    assert_eq!(stream.response().status, 200);
    let mut calls = Web::connect(address).with(TOKEN);
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t"}}"#;
    calls.send("POST", &[&id], call);
    let (FrontToKeeper::Open { id: number, .. }, _) = rig.asked() else {
        panic!()
    };
    rig.tell(&Control::Unlisten { agent: "w".into() }, None);
    assert!(stream.event().is_none());
    assert_eq!(calls.response().status, 503);
    let (cancelled, _) = rig.cancelled();
    assert_eq!(cancelled, number);
    assert_eq!(web.post(&[&id], call).status, 401);
    rig.noted_of("-");
    // Enrolled again with another token, it is somebody else.
    rig.admit_token("w", "new");
    let mut web = Web::connect(address).with("new");
    assert_eq!(web.post(&[&id], call).status, 404);
    rig.stop();
}

#[test]
fn an_agent_that_reads_nothing_is_let_go() {
    let rig = Rig::new(Limits {
        stall: Duration::from_millis(50),
        door_connections: 1,
        ..chatty()
    });
    let address = rig.door();
    let mut web = Web::connect(address).with(TOKEN);
    let headers = [
        "MCP-Protocol-Version: 2026-07-28",
        "Mcp-Method: tools/call",
        "Mcp-Name: t",
    ];
    let call = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{{META},"name":"t"}}}}"#
    );
    web.send("POST", &headers, &call);
    let (FrontToKeeper::Open { id, .. }, _) = rig.asked() else {
        panic!()
    };
    // More than the kernel holds for somebody who does not read.
    let long = format!("{{\"x\":\"{}\"}}", "x".repeat(4 << 20));
    rig.reply(&KeeperToFront::Answer { id }, long.as_bytes());
    // Its place is free in the end, and what it did not read was not delivered: the keeper hears of
    // nothing but those who come after.
    loop {
        let mut next = Web::connect(address).with("wrong");
        let served = next.try_send(&[], HELLO).is_ok() && next.try_response().is_ok();
        let noted = rig.noted_of("-");
        if served {
            assert_eq!(noted, "HTTP from nobody that is enrolled");
            break;
        }
        assert_eq!(noted, "too many connections over HTTP");
    }
    drop(web);
    rig.stop();
}

#[test]
fn a_stop_ends_streams_and_lets_calls_end() {
    let rig = Rig::new(chatty());
    let address = rig.door();
    let mut web = Web::connect(address).with(TOKEN);
    let headers = [
        "MCP-Protocol-Version: 2026-07-28",
        "Mcp-Method: subscriptions/listen",
    ];
    let listen = format!(
        r#"{{"jsonrpc":"2.0","id":5,"method":"subscriptions/listen","params":{{{META},"notifications":{{}}}}}}"#
    );
    web.send("POST", &headers, &listen);
    let (id, ..) = rig.questioned();
    rig.reply(&KeeperToFront::Answer { id }, br#"{"notifications":{}}"#);
    assert_eq!(web.response().status, 200);
    web.event().unwrap();
    rig.stop_and(|| {
        let last = web.event().unwrap();
        assert_eq!(
            (&last["id"], &last["result"]["resultType"]),
            (&5.into(), &"complete".into())
        );
    });
}
