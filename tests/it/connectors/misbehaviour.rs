//! Servers that flood, hang, lie or break: each is told in words, and soon.

use std::time::{Duration, Instant};

use super::Gate;

#[test]
fn whoever_breaks_the_rules_is_told() {
    for (how, why) in [
        ("flood", "the server sends"),
        ("storm", "more than 2000 notices"),
        ("hang", "does not answer `tools/list`"),
        (
            "exit",
            "ended with status 3 before it had answered; it said: fake: something broke",
        ),
        ("wrong-id", "which nobody asked"),
        ("large", "more than 8388608 bytes"),
        ("deep", "nested deeper than"),
        ("not-utf8", "not UTF-8"),
        ("twice", "duplicate key `name`"),
        ("pages", "more than 64 pages"),
        ("garbage", "no message of MCP"),
    ] {
        let gate = Gate::new();
        gate.import("fake", &["FAKE_MCP_DOES=nothing"]);
        let manifest = gate.path("gate/connectors/fake.toml");
        let text = std::fs::read_to_string(&manifest).unwrap();
        let patience = if how == "hang" { 2 } else { 30 };
        let text = text.replace("start_s = 30", &format!("start_s = {patience}"));
        let changed = text.replace("\"nothing\"", &format!("\"{how}\""));
        assert_ne!(changed, text);
        std::fs::write(&manifest, changed).unwrap();
        let began = Instant::now();
        let said = gate.ends(1, &["vet", "fake"]);
        assert!(said.contains(why), "{how}: {said}");
        assert!(said.contains("hint: ") || how != "exit", "{how}: {said}");
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "{how} took {:?}",
            began.elapsed()
        );
    }
}

#[test]
fn what_cannot_be_listed_is_imported_all_the_same_and_cannot_be_approved() {
    let gate = Gate::new();
    gate.import("fake", &["FAKE_MCP_DOES=exit"]);
    let manifest = gate.path("gate/connectors/fake.toml");
    assert!(
        !std::fs::read_to_string(manifest)
            .unwrap()
            .contains("[tools.")
    );
    gate.ends(1, &["vet", "fake"]);
    gate.ends(10, &["approve", "fake", "--by", "alice"]);
}

#[test]
fn a_server_that_says_something_else_each_time_is_found() {
    let gate = Gate::new();
    gate.import("fake", &["FAKE_MCP_DOES=turncoat"]);
    let vetted = gate.json(10, &["vet", "fake"]);
    assert_eq!(vetted["findings"][0]["id"], "unstable-listing@connector");
}
