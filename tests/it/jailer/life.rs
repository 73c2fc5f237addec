//! What a jail is while it runs, and how it ends.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use keepgate::sys::spawn::End;
use keepgate::wire::frame::sealed_memfd;
use keepgate::wire::messages::{KeeperToJailer, Limits, OpenAs};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::driver::{Jailer, greeting, link};
use super::orders::{LIMITS, null};
use crate::harness::eventually;

/// Child processes of a single-threaded process.
pub(super) fn children(pid: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    text.split_whitespace()
        .map(|pid| pid.parse().unwrap())
        .collect()
}

fn assert_status(pid: u32, lines: &[&str]) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    for line in lines {
        assert!(status.contains(line), "{line:?} in {status}");
    }
}

#[test]
fn limits_end_a_jail_and_say_which() {
    let jailer = Jailer::new();
    let limits = Limits {
        wall_ms: 50,
        ..LIMITS
    };
    let (ticket, _hold) = jailer.wait_in_jail(limits);
    let end = jailer.hear_end(ticket).unwrap();
    assert_eq!((end.limit.as_deref(), end.signal), (Some("wall"), Some(9)));
    assert!(end.wall_us >= 50_000, "{end:?}");
    let (ticket, _hold) = jailer.wait_in_jail(LIMITS);
    jailer.say(&KeeperToJailer::Kill { ticket }, &[], &[]);
    let end = jailer.hear_end(ticket).unwrap();
    assert_eq!(end.limit.as_deref(), Some("killed"));
    // An endless standard input: the memory limit ends it, and nothing else suffers.
    let endless = |name, limits| {
        let input = File::open(name).unwrap();
        let ticket = jailer.spawn("file.read", input, null(), vec![], limits);
        jailer.hear_end(ticket).unwrap()
    };
    let limits = Limits {
        memory: 256 << 20,
        ..LIMITS
    };
    let end = endless("/dev/zero", limits);
    assert_ne!(end.code, Some(0), "{end:?}");
    assert_eq!(end.limit, None, "{end:?}");
    assert!(end.rss_kib < 256 << 10, "{end:?}");
    let limits = Limits {
        memory: 1 << 40,
        cpu_s: 1,
        ..LIMITS
    };
    let end = endless("/dev/urandom", limits);
    assert_eq!(end.limit.as_deref(), Some("cpu"), "{end:?}");
    let (_, end, _) = jailer.run("noop", "", vec![]);
    assert_eq!(end.unwrap().code, Some(0));
}

#[test]
fn jails_die_with_the_link_and_with_the_jailer() {
    let mut jailer = Jailer::new();
    let pid = jailer.pid;
    let (_, _hold) = jailer.wait_in_jail(LIMITS);
    eventually("a jail", || children(pid).len() == 1);
    // The old end is closed before the supervisor brings the new one.
    jailer.link = keepgate::wire::frame::pair().unwrap().0;
    eventually("the jail's end", || children(pid).is_empty());
    jailer.link = link(&jailer.control);
    greeting(&jailer.link);
    let (_, _hold) = jailer.wait_in_jail(LIMITS);
    eventually("another jail", || children(pid).len() == 1);
    let jail = children(pid)[0];
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL).unwrap();
    jailer.end = End::Killed(9);
    let own = format!("/proc/{jail}");
    eventually("the orphan's end", || !Path::new(&own).exists());
}

#[test]
fn a_jail_holds_nothing_but_its_descriptors() {
    let jailer = Jailer::new();
    let pid = jailer.pid;
    let (ticket, _hold) = jailer.wait_in_jail(LIMITS);
    eventually("a jail", || children(pid).len() == 1);
    let jail = children(pid)[0];
    // Before that it is the jailer's child on its way.
    eventually("the tool", || {
        let line = fs::read(format!("/proc/{jail}/cmdline")).unwrap();
        line.starts_with(b"keepgate-tool\0")
    });
    assert_status(
        jail,
        &[
            "CapEff:\t0000000000000000",
            "CapPrm:\t0000000000000000",
            "CapBnd:\t0000000000000000",
            "NoNewPrivs:\t1",
            "Seccomp:\t2",
            "Uid:\t64910\t64910\t64910\t64910",
            "Gid:\t64910\t64910\t64910\t64910",
            "Groups:\t \n",
            "SigBlk:\t0000000000000000",
            "Umask:\t0077",
        ],
    );
    let see = |what: &str| format!("/proc/{jail}/{what}");
    assert_eq!(fs::read_dir(see("fd")).unwrap().count(), 3);
    assert_eq!(fs::read(see("environ")).unwrap(), b"");
    assert_eq!(fs::read_dir(see("root")).unwrap().count(), 0);
    for space in ["pid", "ipc", "uts", "net", "mnt"] {
        let theirs = fs::read_link(see(&format!("ns/{space}"))).unwrap();
        let ours = fs::read_link(format!("/proc/self/ns/{space}")).unwrap();
        assert_ne!(theirs, ours, "{space}");
    }
    assert_status(
        pid,
        &[
            "CapEff:\t00000000002001e0",
            "CapPrm:\t00000000002001e0",
            "CapBnd:\t00000000002001e0",
            "NoNewPrivs:\t1",
            "Seccomp:\t2",
            "Uid:\t64901\t64901\t64901\t64901",
        ],
    );
    jailer.say(&KeeperToJailer::Kill { ticket }, &[], &[]);
    assert_eq!(jailer.hear_end(ticket).unwrap().signal, Some(9));
}

#[test]
fn a_flood_of_output_is_the_readers_to_end() {
    let jailer = Jailer::new();
    // A reader that stops reading: the tool blocks on a full pipe until the keeper kills it.
    jailer.file("long", "x".repeat(3 << 20).as_bytes());
    let order = br#"{"arguments":{"path":"x","limit":1048576},"mode":"live"}"#;
    let input = sealed_memfd("in", order).unwrap();
    let (mut read, write) = std::io::pipe().unwrap();
    let files = vec![jailer.order("long", OpenAs::Read)];
    let ticket = jailer.spawn("file.read", input, write, files, LIMITS);
    read.read_exact(&mut [0; 1024]).unwrap();
    jailer.say(&KeeperToJailer::Kill { ticket }, &[], &[]);
    let end = jailer.hear_end(ticket).unwrap();
    assert_eq!(end.limit.as_deref(), Some("killed"));
}
