//! Jails made ahead: they serve one order each, and are no less jails.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use keepgate::jail::probe::Findings;
use keepgate::wire::messages::{JailFault, KeeperToJailer, Limits, OpenAs};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::driver::{Jailer, start};
use super::life::children;
use super::orders::LIMITS;
use crate::harness::eventually;

/// How many.
const AHEAD: usize = 2;

/// A jailer whose jails wait: it had its first order.
fn jailer() -> Jailer {
    let jailer = start(|setup| setup.ahead = AHEAD).unwrap();
    jailer.file("a", b"content");
    assert_eq!(jailer.read("a").unwrap(), "content");
    eventually("jails made ahead", || waiting(&jailer).len() == AHEAD);
    jailer
}

/// Those that wait.
fn waiting(jailer: &Jailer) -> Vec<u32> {
    let waits = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let calls = fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default();
        line == b"keepgate-tool\0ready\0" && !calls.is_empty()
    };
    children(jailer.pid).into_iter().filter(waits).collect()
}

/// Users of all jails.
fn users(jailer: &Jailer) -> BTreeSet<String> {
    let status = |pid| fs::read_to_string(format!("/proc/{pid}/status")).ok();
    let uid = |text: String| {
        Some(
            text.lines()
                .find(|line| line.starts_with("Uid:"))?
                .to_owned(),
        )
    };
    let all = children(jailer.pid).into_iter();
    all.filter_map(status).filter_map(uid).collect()
}

#[test]
fn one_serves_one_order_and_another_takes_its_place() {
    let jailer = jailer();
    let before = waiting(&jailer);
    assert_eq!(jailer.read("a").unwrap(), "content");
    assert_eq!(jailer.read("no"), Err(JailFault::NotFound));
    eventually("as many as before", || waiting(&jailer).len() == AHEAD);
    let kept = waiting(&jailer)
        .iter()
        .filter(|pid| before.contains(pid))
        .count();
    assert_eq!(kept, AHEAD - 1, "the order was served by another");
    // More than are made ahead, at once.
    let many: Vec<_> = (0..8).map(|_| jailer.wait_in_jail(LIMITS)).collect();
    // As many users as there are jails, and those that wait have others.
    eventually("a user each", || users(&jailer).len() >= many.len() + AHEAD);
    for (ticket, _hold) in many {
        jailer.say(&KeeperToJailer::Kill { ticket }, &[], &[]);
        assert_eq!(jailer.hear_end(ticket).unwrap().signal, Some(9));
    }
}

#[test]
fn what_is_forbidden_is_forbidden_there_too() {
    let jailer = jailer();
    let before = waiting(&jailer);
    let (_, end, output) = jailer.run("self-test", "", vec![]);
    assert_eq!(end.unwrap().code, Some(0), "{output}");
    let found: Findings = serde_json::from_str(&output).unwrap();
    assert_eq!(found.succeeded, [""; 0]);
    assert_eq!(found.broken, [""; 0]);
    assert!(found.attempted > 100);
    let gone = before.iter().filter(|pid| !waiting(&jailer).contains(pid));
    assert_eq!(gone.count(), 1, "it was tried in another jail");
    for (part, signal) in [("int80", 31), ("x32", 31)] {
        let (_, end, _) = jailer.run("self-test", part, vec![]);
        assert_eq!(end.unwrap().signal, Some(signal), "{part}");
    }
}

#[test]
fn one_that_died_or_has_other_limits_is_not_used() {
    let jailer = jailer();
    for pid in waiting(&jailer) {
        kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL).unwrap();
        let own = format!("/proc/{pid}");
        eventually("its end is noticed", || !Path::new(&own).exists());
    }
    assert_eq!(jailer.read("a").unwrap(), "content");
    eventually("new ones", || waiting(&jailer).len() == AHEAD);
    let before = waiting(&jailer);
    let other = Limits {
        memory: LIMITS.memory / 2,
        ..LIMITS
    };
    let input =
        keepgate::wire::frame::sealed_memfd("in", br#"{"arguments":{"path":"a"},"mode":"live"}"#)
            .unwrap();
    let files = vec![jailer.order("a", OpenAs::Read)];
    let ticket = jailer.spawn("file.read", input, super::orders::null(), files, other);
    assert_eq!(jailer.hear_end(ticket).unwrap().code, Some(0));
    eventually("ones with these limits", || {
        let now = waiting(&jailer);
        now.len() == AHEAD && now.iter().all(|pid| !before.contains(pid))
    });
}
