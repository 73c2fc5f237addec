//! What each role holds and may do, as the kernel tells it, and what happens when one dies.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use keepgate::wire::frame;
use keepgate::wire::messages::{Proof, Report};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::harness::{Appliance, binary, eventually};

const ROLES: [&str; 4] = ["keeper", "jailer", "front", "egress"];

fn status(pid: i32, field: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text
        .lines()
        .find(|line| line.starts_with(&format!("{field}:")));
    line.unwrap_or_else(|| panic!("no {field}"))
        .split_once(':')
        .unwrap()
        .1
        .trim()
        .to_owned()
}

/// Kinds of descriptors a process holds: `socket`, `pipe`, `/path`, `anon_inode`.
fn descriptors(pid: i32) -> Vec<String> {
    let mut all = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
        if let Ok(target) = fs::read_link(entry.unwrap().path()) {
            all.push(target.display().to_string());
        }
    }
    all
}

/// Inodes of the sockets of the network families in the host's network namespace.
fn network_sockets() -> BTreeSet<String> {
    let mut inodes = BTreeSet::new();
    for table in [
        "tcp", "tcp6", "udp", "udp6", "raw", "raw6", "packet", "netlink",
    ] {
        let Ok(text) = fs::read_to_string(format!("/proc/net/{table}")) else {
            continue;
        };
        let column = match table {
            "packet" => 8,
            "netlink" => 9,
            _ => 9,
        };
        for line in text.lines().skip(1) {
            inodes.extend(line.split_whitespace().nth(column).map(ToOwned::to_owned));
        }
    }
    inodes
}

#[test]
fn every_role_has_its_own_uid_its_capabilities_and_no_more() {
    let appliance = Appliance::start("");
    let mut uids = BTreeSet::new();
    for role in ROLES {
        let pid = appliance.role(role);
        let uid = status(pid, "Uid");
        let one: BTreeSet<&str> = uid.split_whitespace().collect();
        assert_eq!(one.len(), 1, "{role} keeps another uid: {uid}");
        assert!(!one.contains("0"), "{role} is root");
        assert!(uids.insert(uid.clone()), "{role} shares its uid");
        assert_eq!(status(pid, "NoNewPrivs"), "1", "{role}");
        assert_eq!(status(pid, "Seccomp"), "2", "{role}");
        let effective = u64::from_str_radix(&status(pid, "CapEff"), 16).unwrap();
        let permitted = u64::from_str_radix(&status(pid, "CapPrm"), 16).unwrap();
        // KILL 5, SETGID 6, SETUID 7, SETPCAP 8, SYS_CHROOT 18, SYS_ADMIN 21
        let allowed = if role == "jailer" {
            1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 18 | 1 << 21
        } else {
            0_u64
        };
        assert_eq!(
            (effective | permitted) & !allowed,
            0,
            "{role}: {effective:x} {permitted:x}"
        );
        assert_eq!(status(pid, "CapAmb"), "0000000000000000", "{role}");
    }
}

#[test]
fn no_role_holds_a_descriptor_it_does_not_need() {
    let appliance = Appliance::start("");
    let network = network_sockets();
    let own = appliance.directory.path().display().to_string();
    for role in ROLES {
        let pid = appliance.role(role);
        for target in descriptors(pid) {
            let socket = target
                .strip_prefix("socket:[")
                .and_then(|t| t.strip_suffix(']'));
            let needed = match (role, target.as_str()) {
                (_, "/dev/null") => true,
                (_, other) if other.starts_with("anon_inode:") => true,
                (_, other) if other.ends_with("/serve.log") => true,
                _ if socket.is_some_and(|inode| !network.contains(inode)) => true,
                ("keeper", other) => other.starts_with(&format!("{own}/state/production/")),
                // Its roots (each the top of a mount of its own), the tools' program, and its own
                // descriptors by name, to give an unnamed file its name.
                ("jailer", "/") => true,
                ("jailer", other) => other.starts_with("/memfd:") || other == format!("/{pid}/fd"),
                _ => false,
            };
            assert!(needed, "{role} holds {target}");
        }
    }
}

#[test]
fn a_role_that_dies_is_started_again_and_calls_go_on() {
    let appliance = Appliance::start("");
    appliance.enrol("a");
    for role in ["jailer", "egress", "keeper", "front"] {
        let before = appliance.role(role);
        kill(Pid::from_raw(before), Signal::SIGKILL).unwrap();
        eventually("another process has the role", || {
            let text = fs::read(appliance.path("run/status.json")).unwrap();
            let status: serde_json::Value = serde_json::from_slice(&text).unwrap();
            let pid = status["planes"]["production"][role]["pid"].as_i64();
            pid.is_some_and(|pid| pid != i64::from(before))
        });
        appliance.ready();
        eventually("the agent's socket answers", || {
            let mut session = appliance.session("a");
            session.call("file__read", json!({"path": "mail/hello.txt"}))["isError"] == false
        });
    }
    assert!(appliance.cli(&["log", "verify"]).status.success());
}

#[test]
fn a_stopped_keeper_stops_its_plane_and_no_other() {
    let mut appliance = Appliance::init("[planes.public]\n");
    appliance.serve();
    appliance.enrol("a");
    let uid = crate::harness::AGENT.to_string();
    appliance.must(&["--plane", "public", "agent", "add", "b", "--uid", &uid]);
    // The keeper's state is made unreadable to it, so that it cannot come back.
    let segment = fs::read_dir(appliance.path("state/production/log"))
        .unwrap()
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|e| e == "seg"))
        .unwrap();
    let good = fs::read(&segment).unwrap();
    let mut bad = good.clone();
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    let mut session = appliance.session("a");
    let before = appliance.role("keeper");
    fs::write(&segment, &bad).unwrap();
    kill(Pid::from_raw(before), Signal::SIGKILL).unwrap();
    eventually("status says why the keeper does not serve", || {
        let done = appliance.cli(&["status"]);
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        done.status.code() != Some(0) && text.contains("log")
    });
    let answer = session.request(
        "tools/call",
        json!({"name": "file__read", "arguments": {"path": "mail/hello.txt"}}),
    );
    let failed = answer["error"].is_object() || answer["result"]["isError"] == true;
    assert!(failed, "{answer}");
    let other = appliance.must(&["--plane", "public", "agent", "list"]);
    assert_eq!(other["agents"][0]["name"], "b");
    fs::write(&segment, &good).unwrap();
    eventually("the keeper serves again", || appliance.serving());
}

/// The control link of a role, as somebody has it who took the role over.
#[expect(
    unsafe_code,
    reason = "no wrapper takes a descriptor out of another process"
)]
fn control_of(pid: i32) -> OwnedFd {
    // SAFETY: all arguments are numbers.
    let pidfd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    assert!(pidfd >= 0);
    // SAFETY: all arguments are numbers; roles have their control link at 3.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd, 3, 0) };
    assert!(fd >= 0);
    let [_pidfd, fd] = [pidfd, fd].map(|fd| {
        // SAFETY: the two calls above made these descriptors for us.
        unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).unwrap()) }
    });
    fd
}

#[test]
fn a_role_that_was_taken_over_gets_no_socket_made() {
    let appliance = Appliance::start("");
    let admin = fs::metadata(appliance.path("run/production/admin.sock")).unwrap();
    for (role, name) in [
        ("front", "reader"),
        ("egress", "../../../pwned"),
        ("jailer", "../admin"),
        ("keeper", "../../../pwned"),
        ("keeper", "../admin"),
    ] {
        appliance.ready();
        let pid = appliance.role(role);
        let agents = vec![(name.to_owned(), Proof::Uid(crate::harness::AGENT))];
        let report = Report::Agents { agents };
        frame::send(control_of(pid).as_fd(), &report, &[], &[]).unwrap();
        eventually("the role that said so was ended", || {
            let text = fs::read(appliance.path("run/status.json")).unwrap();
            let status: serde_json::Value = serde_json::from_slice(&text).unwrap();
            status["planes"]["production"][role]["pid"].as_i64() != Some(i64::from(pid))
        });
    }
    appliance.ready();
    assert!(!appliance.path("pwned.sock").exists());
    assert_eq!(
        fs::read_dir(appliance.path("run/production/agents"))
            .unwrap()
            .count(),
        0
    );
    let now = fs::metadata(appliance.path("run/production/admin.sock")).unwrap();
    assert_eq!((admin.ino(), admin.uid()), (now.ino(), now.uid()));
}

#[test]
fn few_descriptors_by_default_are_raised() {
    let mut appliance = Appliance::init("");
    let mut command = Command::new("prlimit");
    command.args(["--nofile=256:", "--"]).arg(binary());
    appliance.serve_by(command);
    for role in ["keeper", "jailer", "front", "egress"] {
        let limits = fs::read_to_string(format!("/proc/{}/limits", appliance.role(role))).unwrap();
        let line = limits
            .lines()
            .find(|line| line.starts_with("Max open files"));
        let mut words = line.unwrap().split_ascii_whitespace().skip(3);
        let mut number = || words.next().unwrap().parse::<u64>().unwrap();
        let (soft, hard) = (number(), number());
        assert_eq!(soft, hard.min(keepgate::supervisor::DESCRIPTORS), "{role}");
    }
}

#[test]
fn nobody_else_can_hold_the_lock() {
    let appliance = Appliance::start("");
    let mode = fs::metadata(appliance.path("run/serve.lock"))
        .unwrap()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_second_supervisor_is_refused() {
    let appliance = Appliance::start("");
    let done = appliance.cli(&["serve"]);
    assert_eq!(done.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&done.stderr).contains("another `keepgate serve`"));
}

/// What of the processor a process has used, in nanoseconds, by all of its threads.
fn used(pid: i32) -> u64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let of = |thread: std::io::Result<fs::DirEntry>| {
        let text = fs::read_to_string(thread.unwrap().path().join("schedstat")).unwrap();
        let first = text.split(' ').next().unwrap();
        first.parse::<u64>().unwrap()
    };
    threads.map(of).sum()
}

#[test]
fn whoever_has_nothing_to_do_does_nothing() {
    let agents = "[planes.production.agents.a.runtime]\npaths = [\"/usr/share/doc/base-files\"]\n";
    let listens = crate::web::local(crate::web::port());
    for extra in ["", agents, &listens] {
        let appliance = Appliance::start(extra);
        let mut all: Vec<_> = ROLES.map(|role| (role, appliance.role(role))).to_vec();
        all.push(("supervisor", appliance.supervisor()));
        for (name, pid) in all {
            // Other programs begin and end meanwhile; one that turns in a circle would have its share.
            eventually(&format!("{name} sleeps"), || {
                let before = used(pid);
                for _ in 0..5 {
                    let done = Command::new(binary()).arg("--version").output().unwrap();
                    assert!(done.status.success());
                }
                used(pid) == before
            });
        }
    }
}
