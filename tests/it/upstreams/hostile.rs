//! Servers that break the rules, in real jails: each ends and says why, egress does not grow, and
//! nobody else waits for them.

use keepgate::keeper::upstreams::Failure;
use keepgate::wire::messages::Era;
use serde_json::json;

use super::world::{World, server};
use crate::harness::eventually;

/// How each ends: what is asked of it, and what the operator is told.
const ENDS: [(&str, &str); 10] = [
    ("exit", "exited with status 3; its last words: last word"),
    ("long", "a line of more than 4259840 bytes"),
    ("deep", "nested deeper than 64 levels"),
    ("binary", "not UTF-8"),
    ("twice", "duplicate key `a`"),
    ("wrong", "question 4711, which was not asked"),
    (
        "banner",
        "no message (no value starts like this at byte 0): `Listening on port 3000`",
    ),
    ("large", "a line of more than 4259840 bytes"),
    ("storm", "far more notifications than it may"),
    ("again", "not asked, or twice"),
];

/// Bytes by which egress may grow: a line of the longest, read, checked, and passed on.
const GROWTH: u64 = 48 << 20;

#[test]
fn whoever_breaks_the_rules_ends_alone_and_egress_does_not_grow() {
    let world = World::plain();
    let server = server("good", |_| {});
    let count = || world.text("neighbour", &server, "count", &json!({}))[2].clone();
    assert_eq!(count(), 1);
    let before = world.egress.peak();
    for (how, why) in ENDS {
        std::thread::scope(|scope| {
            let call = || world.call(how, &server, "misbehave", &json!({"how": how}));
            let asked = scope.spawn(call);
            // The neighbour is answered while this goes on.
            count();
            match asked.join().unwrap() {
                Err(failure) => assert!(matches!(failure, Failure::Lost(_)), "{how}: {failure:?}"),
                // The first answer counted.
                Ok(_) => assert_eq!(how, "again"),
            }
        });
        eventually("it has ended", || world.status(how)["state"] == "resting");
        let error = world.status(how)["error"].to_string();
        assert!(error.contains(&why.replace('"', "\\\"")), "{how}: {error}");
    }
    let grown = world.egress.peak() - before;
    eprintln!("egress grew by {} KiB at most", grown / 1024);
    assert!(grown < GROWTH, "egress grew by {grown} bytes");
    let neighbour = world.status("neighbour");
    assert_eq!(
        (&neighbour["starts"], &neighbour["state"]),
        (&json!(1), &json!("open"))
    );
}

#[test]
fn a_server_that_only_talks_to_its_standard_error_hangs_alone() {
    let world = World::plain();
    let server = server("good", |_| {});
    let count = || world.text("neighbour", &server, "count", &json!({}))[2].clone();
    count();
    let before = world.egress.peak();
    std::thread::scope(|scope| {
        let params = br#"{"name":"misbehave","arguments":{"how":"stderr"}}"#;
        let asked = scope.spawn(|| {
            let question = keepgate::keeper::upstreams::Question {
                agent: "talker",
                era: Era::Stateless,
                ticket: keepgate::call::id::Id::random().unwrap(),
                method: "tools/call",
                params,
                wall: std::time::Duration::from_secs(5),
                progress: false,
                effect: true,
                headers: &[],
            };
            world.upstreams.ask(&server, question, &mut |_| {})
        });
        while !asked.is_finished() {
            count();
        }
        assert_eq!(asked.join().unwrap(), Err(Failure::TimedOut));
    });
    // Its standard error is not its end, and neither is it kept.
    assert_eq!(world.status("talker")["state"], "open");
    let grown = world.egress.peak() - before;
    assert!(grown < 8 << 20, "egress grew by {grown} bytes");
}

#[test]
fn a_server_that_never_answers_is_given_up_at_its_start() {
    let world = World::plain();
    let silent = server("silent", |server| server.limits.start_ms = 500);
    let failure = world.call("a", &silent, "count", &json!({})).unwrap_err();
    let Failure::Unavailable(why) = failure else {
        panic!("{failure:?}")
    };
    assert!(why.contains("did not answer in time at its start"), "{why}");
}
