//! Where it ends.

use std::time::Duration;

use serde_json::json;

use super::{Rig, chatty};
use crate::front::limits::Limits;
use crate::wire::messages::{Control, KeeperToFront};

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
