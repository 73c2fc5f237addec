//! Writing files: rehearsed until live, undone where the world has not changed.

use std::os::unix::fs::MetadataExt;

use serde_json::{Value, json};

use crate::harness::{Appliance, OWNER};

#[test]
fn a_new_install_rehearses_and_live_is_a_logged_command() {
    let appliance = Appliance::start("");
    appliance.enrol("a");
    let mut session = appliance.session("a");
    let rehearsed = session.works(
        "file__write",
        json!({"path": "out/a.txt", "content": "one\n"}),
    );
    assert_eq!(rehearsed["mode"], "rehearsed");
    assert!(rehearsed["diff"].as_str().unwrap().contains("+one"));
    assert!(!appliance.path("out/a.txt").exists());
    appliance.must(&["mode", "live"]);
    assert_eq!(appliance.entries("mode.set").len(), 1);
    let live = session.works(
        "file__write",
        json!({"path": "out/a.txt", "content": "one\n"}),
    );
    assert_eq!(
        (&live["mode"], &live["created"]),
        (&json!("live"), &json!(true))
    );
    assert_eq!(appliance.get("out/a.txt"), "one\n");
    assert_eq!(
        std::fs::metadata(appliance.path("out/a.txt"))
            .unwrap()
            .uid(),
        OWNER
    );
    let left: Vec<_> = std::fs::read_dir(appliance.path("out")).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

fn intent(appliance: &Appliance) -> String {
    let intents = appliance.entries("call.intent");
    let newest = intents
        .iter()
        .rev()
        .find(|entry| entry["body"]["tool"] == "file.write");
    newest.unwrap()["seq"].to_string()
}

#[test]
fn a_write_is_previewed_undone_and_redone() {
    let appliance = Appliance::start("");
    appliance.enrol("a");
    appliance.must(&["mode", "live"]);
    appliance.put("out/a.txt", "old\n");
    let mut session = appliance.session("a");
    session.works(
        "file__write",
        json!({"path": "out/a.txt", "content": "new\n"}),
    );
    let seq = intent(&appliance);
    let shown = appliance.cli(&["undo", &seq]);
    assert_eq!(
        appliance.get("out/a.txt"),
        "new\n",
        "a preview changes nothing: {shown:?}"
    );
    let done = appliance.must(&["undo", &seq, "--yes"]);
    assert_eq!(appliance.get("out/a.txt"), "old\n");
    let again = done["undo_seq"].to_string();
    appliance.must(&["undo", &again, "--yes"]);
    assert_eq!(appliance.get("out/a.txt"), "new\n");
    let undone = appliance.entries("call.intent");
    assert_eq!(
        undone
            .iter()
            .filter(|e| e["body"]["tool"] == "keepgate.undo")
            .count(),
        2
    );
}

#[test]
fn undo_removes_a_file_that_was_not_there() {
    let appliance = Appliance::start("");
    appliance.enrol("a");
    appliance.must(&["mode", "live"]);
    let mut session = appliance.session("a");
    session.works(
        "file__write",
        json!({"path": "out/new.txt", "content": "x"}),
    );
    appliance.must(&["undo", &intent(&appliance), "--yes"]);
    assert!(!appliance.path("out/new.txt").exists());
}

#[test]
fn undo_is_refused_when_the_world_has_changed() {
    let appliance = Appliance::start("");
    appliance.enrol("a");
    appliance.must(&["mode", "live"]);
    let mut session = appliance.session("a");
    session.works(
        "file__write",
        json!({"path": "out/a.txt", "content": "agent\n"}),
    );
    appliance.put("out/a.txt", "person\n");
    let done = appliance.cli(&["undo", &intent(&appliance), "--yes"]);
    assert_eq!(done.status.code(), Some(10), "{done:?}");
    assert_eq!(appliance.get("out/a.txt"), "person\n");
}

#[test]
fn a_root_that_is_not_writable_is_not_written() {
    let appliance = Appliance::start("");
    appliance.enrol("a");
    appliance.must(&["mode", "live"]);
    let mut session = appliance.session("a");
    let class = session.fails(
        "file__write",
        json!({"path": "mail/hello.txt", "content": "x"}),
    );
    assert_eq!(class, "read_only_root");
    assert_eq!(appliance.get("mail/hello.txt"), "hello from the mailbox\n");
}

#[test]
fn a_write_never_follows_a_link_or_replaces_a_pipe() {
    let appliance = Appliance::start("");
    appliance.enrol("a");
    appliance.must(&["mode", "live"]);
    appliance.put("victim", "precious\n");
    std::os::unix::fs::symlink(appliance.path("victim"), appliance.path("out/link")).unwrap();
    nix::unistd::mkfifo(&appliance.path("out/pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut session = appliance.session("a");
    for (path, classes) in [
        ("out/link", ["outside_root", "wrong_kind"]),
        ("out/pipe", ["wrong_kind"; 2]),
    ] {
        let class = session.fails("file__write", json!({"path": path, "content": "x"}));
        assert!(classes.contains(&class.as_str()), "{path}: {class}");
    }
    assert_eq!(appliance.get("victim"), "precious\n");
    let _: Value = session.works("file__read", json!({"path": "mail/hello.txt"}));
}

#[test]
fn a_file_with_a_second_name_is_not_written() {
    let appliance = Appliance::start("");
    appliance.enrol("a");
    appliance.must(&["mode", "live"]);
    appliance.put("out/one", "old");
    std::fs::hard_link(appliance.path("out/one"), appliance.path("out/two")).unwrap();
    let mut session = appliance.session("a");
    assert_eq!(
        session.fails("file__write", json!({"path": "out/one", "content": "new"})),
        "no_access"
    );
    assert_eq!(appliance.get("out/one"), "old");
}

#[test]
fn content_of_any_bytes_survives() {
    let appliance = Appliance::start("");
    appliance.enrol("a");
    appliance.must(&["mode", "live"]);
    let mut session = appliance.session("a");
    session.works(
        "file__write",
        json!({"path": "out/bin", "base64": "AP8QgA=="}),
    );
    assert_eq!(
        std::fs::read(appliance.path("out/bin")).unwrap(),
        [0, 255, 16, 128]
    );
    let read = session.works("file__read", json!({"path": "out/bin"}));
    assert_eq!(read["base64"], "AP8QgA==");
}
