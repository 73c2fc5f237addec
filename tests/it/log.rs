//! The log from outside: verified on a copy, by another user, while the daemon writes.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nix::mount::{MsFlags, mount, umount};
use serde_json::{Value, json};

use crate::harness::{AGENT, Appliance, binary, copy, eventually};

fn verify_as_another(directory: &Path) -> Output {
    Command::new(binary())
        .args(["--json", "log", "verify"])
        .arg(directory)
        .uid(AGENT)
        .gid(AGENT)
        .output()
        .unwrap()
}

fn filled() -> Appliance {
    let appliance = Appliance::start("");
    appliance.enrol("a");
    let mut session = appliance.session("a");
    for _ in 0..5 {
        session.works("file__read", json!({"path": "mail/hello.txt"}));
    }
    appliance
}

fn copied(appliance: &Appliance) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    fs::set_permissions(to.path(), fs::Permissions::from_mode(0o755)).unwrap();
    copy(&appliance.path("state/production/log"), to.path());
    for entry in fs::read_dir(to.path()).unwrap() {
        chown(entry.unwrap().path(), Some(AGENT), Some(AGENT)).unwrap();
    }
    to
}

fn segment(directory: &Path) -> PathBuf {
    let mut all: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    all.retain(|path| path.extension().is_some_and(|extension| extension == "seg"));
    all.pop().unwrap()
}

#[test]
fn a_copy_made_while_the_daemon_writes_verifies_as_another_user() {
    let appliance = filled();
    let mut session = appliance.session("a");
    for _ in 0..20 {
        session.ask(
            "tools/call",
            json!({"name": "file__read", "arguments": {"path": "mail/hello.txt"}}),
        );
    }
    let copy = copied(&appliance);
    let done = verify_as_another(copy.path());
    assert!(done.status.success(), "{done:?}");
    let report: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert!(report["entries"].as_u64().unwrap() > 10, "{report}");
}

#[test]
fn one_flipped_byte_is_named() {
    let appliance = filled();
    let copy = copied(&appliance);
    let path = segment(copy.path());
    let good = fs::read(&path).unwrap();
    for at in (0..good.len() - good.len() / 4).step_by(97) {
        let mut bad = good.clone();
        bad[at] ^= 0x20;
        fs::write(&path, &bad).unwrap();
        let done = verify_as_another(copy.path());
        assert_eq!(done.status.code(), Some(20), "byte {at}: {done:?}");
        assert!(
            String::from_utf8_lossy(&done.stderr).contains(".seg"),
            "{done:?}"
        );
    }
    fs::write(&path, &good).unwrap();
    assert!(verify_as_another(copy.path()).status.success());
}

#[test]
fn an_unwritable_log_refuses_calls_and_says_why() {
    let mut appliance = Appliance::init("");
    let state = appliance.path("state/production");
    fs::create_dir_all(&state).unwrap();
    mount(
        Some("none"),
        &state,
        Some("tmpfs"),
        MsFlags::empty(),
        Some("size=512k"),
    )
    .unwrap();
    appliance.serve();
    appliance.enrol("a");
    let mut session = appliance.session("a");
    let mut refused = None;
    for round in 0..2_000 {
        let result = session.call(
            "file__read",
            json!({"path": "mail/hello.txt", "limit": 1 + round}),
        );
        if result["isError"] == true {
            refused = result["_meta"]["keepgate/class"]
                .as_str()
                .map(ToOwned::to_owned);
            break;
        }
    }
    let class = refused.expect("a full disk was never noticed");
    assert!(
        ["unavailable", "unknown"].contains(&class.as_str()),
        "{class}"
    );
    assert_eq!(
        session.fails("file__read", json!({"path": "mail/hello.txt"})),
        "unavailable"
    );
    // 600 calls a minute, as ever.
    let over = (0..1_200)
        .any(|_| session.fails("file__read", json!({"path": "mail/hello.txt"})) == "over_quota");
    assert!(over, "1200 refused calls cost nothing");
    let status = appliance.json(&["status"]);
    let why = status["planes"]["production"]["log"]["blocked"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert!(!why.is_empty(), "{status}");
    drop(session);
    appliance.stop();
    umount(&state).unwrap();
}

#[test]
fn a_log_that_was_cut_is_not_served_again() {
    let mut appliance = filled();
    appliance.stop();
    let path = segment(&appliance.path("state/production/log"));
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let done = appliance.cli(&["log", "verify"]);
    assert_eq!(
        done.status.code(),
        Some(20),
        "the checkpoint knows more entries: {done:?}"
    );
}

#[test]
fn the_index_is_rebuilt_and_the_key_changes_on_the_record() {
    let mut appliance = filled();
    let before = appliance.entries("call.outcome").len();
    appliance.stop();
    fs::write(
        appliance.path("state/production/index.sqlite"),
        b"no database",
    )
    .unwrap();
    appliance.serve();
    assert_eq!(appliance.entries("call.outcome").len(), before);
    appliance.must(&["log", "rebuild-index"]);
    assert_eq!(appliance.entries("call.outcome").len(), before);
    appliance.must(&["log", "rotate-key"]);
    assert_eq!(appliance.entries("key.changed").len(), 1);
    appliance
        .session("a")
        .works("file__read", json!({"path": "mail/hello.txt"}));
    appliance.stop();
    assert!(appliance.cli(&["log", "verify"]).status.success());
    appliance.serve();
    appliance
        .session("a")
        .works("file__read", json!({"path": "mail/hello.txt"}));
}

#[test]
fn payloads_are_shown_and_results_are_what_the_agent_got() {
    let appliance = filled();
    let outcome = appliance.entries("call.outcome").pop().unwrap();
    let seq = outcome["seq"].to_string();
    let done = appliance.cli(&["log", "show", &seq, "--payload", "result"]);
    assert!(
        String::from_utf8_lossy(&done.stdout).contains("hello from the mailbox"),
        "{done:?}"
    );
}

#[test]
fn what_results_take_in_the_log_counts() {
    let appliance =
        Appliance::start("[planes.production.quota]\nagent_log_bytes_per_day = 1100000\n");
    appliance.enrol("a");
    appliance.put("mail/big", &"x".repeat(300_000));
    let mut session = appliance.session("a");
    let mut read = 0;
    while session.call("file__read", json!({"path": "mail/big", "limit": 300_000}))["isError"]
        == false
    {
        read += 1;
        assert!(read < 6, "results are free");
    }
}

#[test]
fn too_many_calls_are_refused_without_filling_the_log() {
    let appliance = Appliance::start("[planes.production.quota]\nagent_calls_per_minute = 5\n");
    appliance.enrol("a");
    let mut session = appliance.session("a");
    let mut over = 0;
    for _ in 0..40 {
        let result = session.call("file__list", json!({"path": "."}));
        over += usize::from(result["_meta"]["keepgate/class"] == "over_quota");
    }
    assert!(over >= 30, "{over}");
    eventually("the excess is on record once", || {
        appliance.entries("quota.exceeded").len() == 1
    });
}
