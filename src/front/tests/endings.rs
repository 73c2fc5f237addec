//! Requests over HTTP that end otherwise than with an answer at once.

use serde_json::json;

use super::http::{CALL, call, modern, opened, says, session};
use super::web::Web;
use super::{Rig, TOKEN, chatty};
use crate::front::limits::Limits;
use crate::wire::messages::{FrontToKeeper, KeeperToFront};

#[test]
fn a_call_that_its_client_cancels_ends_without_an_answer_and_no_failure() {
    let rig = Rig::new(chatty());
    let address = rig.door();
    let mut web = Web::connect(address).with(TOKEN);
    let id = session(&rig, &mut web);
    for (number, accept, status) in [
        (1, "Accept: application/json, text/event-stream", 200),
        (2, "Accept: application/json", 202),
    ] {
        let mut calls = Web::connect(address).with(TOKEN);
        calls.send("POST", &[&id, accept], &call(number, ""));
        let (asked, _) = opened(&rig);
        let cancel = json!({
            "jsonrpc": "2.0",
            "method": "notifications/cancelled",
            "params": {"requestId": number},
        });
        assert_eq!(web.post(&[&id], &cancel.to_string()).status, 202);
        let (cancelled, meant) = rig.cancelled();
        assert!(meant);
        assert_eq!(cancelled, asked);
        rig.reply(&KeeperToFront::Answer { id: asked }, br#"{"content":[]}"#);
        let ended = calls.response();
        assert_eq!(ended.status, status, "{accept}");
        if status == 200 {
            assert_eq!(ended.header("content-type"), Some("text/event-stream"));
            assert!(calls.event().is_none());
        }
    }
    rig.stop();
}

#[test]
fn a_resource_that_is_not_there_is_told_as_each_era_does() {
    let rig = Rig::new(chatty());
    let mut web = Web::connect(rig.door()).with(TOKEN);
    let id = session(&rig, &mut web);
    let missing = |id| KeeperToFront::Fault {
        id,
        code: -32002,
        message: "there is no resource".into(),
    };
    let data = br#"{"uri":"a:b"}"#;
    let read = r#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"a:b"}}"#;
    web.send("POST", &[&id], read);
    let (number, ..) = rig.questioned();
    rig.reply(&missing(number), data);
    let told = web.response();
    assert_eq!((told.status, told.code()), (200, -32002));
    let mut headers = says("Mcp-Method: resources/read").to_vec();
    headers.push("Mcp-Name: a:b");
    web.send(
        "POST",
        &headers,
        &modern(2, "resources/read", r#","uri":"a:b""#),
    );
    let (number, ..) = rig.questioned();
    rig.reply(&missing(number), data);
    let told = web.response();
    assert_eq!((told.status, told.code()), (400, -32602));
    assert_eq!(told.json()["error"]["data"]["uri"], "a:b");
    rig.stop();
}

#[test]
fn a_call_that_takes_long_shows_signs_of_life() {
    let rig = Rig::new(Limits {
        heartbeat: std::time::Duration::from_millis(20),
        ..chatty()
    });
    let mut web = Web::connect(rig.door()).with(TOKEN);
    let body = modern(1, "tools/call", r#","name":"t__t""#);
    web.send("POST", &CALL, &body);
    let (id, _) = opened(&rig);
    let stream = web.response();
    assert_eq!(stream.header("content-type"), Some("text/event-stream"));
    assert_eq!(web.chunk().unwrap(), b":\n\n");
    rig.reply(&KeeperToFront::Answer { id }, br#"{"content":[]}"#);
    assert_eq!(web.event().unwrap()["id"], 1);
    assert!(web.event().is_none());
    let (FrontToKeeper::Delivered { id: delivered }, _) = rig.asked() else {
        panic!()
    };
    assert_eq!(delivered, id);
    rig.stop();
}
