//! Foreign jails: real programs under a manifest.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use keepgate::call::id::Id;
use keepgate::wire::manifest::{Class, Destination, Manifest};
use keepgate::wire::messages::{JailEnd, JailerToKeeper, KeeperToJailer};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::driver::{Jailer, start};
use super::life::children;
use super::orders::Refused;
use crate::harness::eventually;

/// Directories of a system that programs need and that are there.
const SYSTEM: [&str; 9] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/etc/alternatives",
    "/etc/ssl",
    "/etc/ld.so.cache",
];

/// What `foreign` is without a file.
pub(crate) fn manifest() -> Manifest {
    let mut manifest = Manifest::of(Class::Foreign);
    let there = SYSTEM
        .iter()
        .map(PathBuf::from)
        .filter(|path| path.exists());
    manifest.ro = there.collect();
    manifest
}

fn jailer(manifest: Manifest) -> Jailer {
    start(|setup| {
        setup.roots = vec![];
        setup.manifests = vec![manifest];
    })
    .unwrap()
}

impl Jailer {
    /// Runs `program` under the manifest to its end: end or fault, output, errors.
    pub(super) fn jail(
        &self,
        name: &str,
        argv: &[&str],
    ) -> (Result<JailEnd, Refused>, String, String) {
        let ticket = Id::random().unwrap();
        let (mut read, write) = std::io::pipe().unwrap();
        let (mut errors, errors_write) = std::io::pipe().unwrap();
        let input = super::orders::null();
        let say = KeeperToJailer::Run {
            ticket,
            lasting: false,
            manifest: name.into(),
            program: argv[0].into(),
            argv: argv.iter().map(|&text| text.into()).collect(),
        };
        self.say(
            &say,
            &[],
            &[input.as_fd(), write.as_fd(), errors_write.as_fd()],
        );
        drop((write, errors_write));
        let (mut out, mut err) = (String::new(), String::new());
        read.read_to_string(&mut out).unwrap();
        errors.read_to_string(&mut err).unwrap();
        (self.hear_end(ticket), out, err)
    }
}

impl Jailer {
    /// A jail that tells its network and then waits as long as what else is returned is kept.
    fn stays(&self) -> (String, impl Drop + use<>) {
        let (input, hold) = std::io::pipe().unwrap();
        let (read, write) = std::io::pipe().unwrap();
        let errors = super::orders::null();
        let argv = ["/bin/sh", "-c", "readlink /proc/self/ns/net; read x"];
        let ticket = Id::random().unwrap();
        let say = KeeperToJailer::Run {
            ticket,
            lasting: false,
            manifest: "foreign".into(),
            program: argv[0].into(),
            argv: argv.map(str::to_owned).to_vec(),
        };
        self.say(&say, &[], &[input.as_fd(), write.as_fd(), errors.as_fd()]);
        drop(write);
        let mut line = String::new();
        BufReader::new(read).read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "{:?}", self.hear_end(ticket));
        (line.trim_end().to_owned(), OwnedFd::from(hold))
    }
}

#[test]
fn a_shell_runs_and_sees_what_it_was_shown() {
    let jailer = jailer(manifest());
    let script =
        "cd / && ls -d bin dev etc proc tmp usr; ls /proc; echo hi > /tmp/x; cat /tmp/x; id -u";
    let (end, out, err) = jailer.jail("foreign", &["/bin/sh", "-c", script]);
    assert_eq!(end.unwrap().code, Some(0), "{err}");
    assert!(
        out.starts_with("bin\ndev\netc\nproc\ntmp\nusr\n1\n2\n"),
        "{out}"
    );
    assert!(out.ends_with("hi\n64910\n"), "{out}");
}

/// How many jails follow each other, with more and with fewer networks made ahead than that.
const FOLLOWING: usize = 4;

/// The network of a jailer that has nothing to do. It is in a jail's for a moment whenever it makes
/// one; asleep in poll(2) it has made all it wants.
fn home(pid: u32) -> String {
    eventually("a jailer at rest", || {
        let call = fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap();
        call.starts_with(&format!("{} ", libc::SYS_poll))
    });
    let link = fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
    link.display().to_string()
}

#[test]
fn each_jail_has_a_network_nobody_was_in() {
    let of = |path: &str| fs::read_link(path).unwrap().display().to_string();
    for ahead in [0, 2, 2 * FOLLOWING] {
        let jailer = start(|setup| {
            setup.roots = vec![];
            setup.manifests = vec![manifest()];
            setup.ahead = ahead;
        })
        .unwrap();
        let own = home(jailer.pid);
        let mut seen = BTreeSet::from([of("/proc/self/ns/net"), own.clone()]);
        assert_eq!(seen.len(), 2);
        // They stay, so that no number is given twice because its network is gone.
        let all: Vec<_> = (0..FOLLOWING).map(|_| jailer.stays()).collect();
        for (told, _) in all {
            assert!(told.starts_with("net:["), "{told}");
            assert!(seen.insert(told), "{ahead}: {seen:?}");
        }
        assert_eq!(home(jailer.pid), own, "it came back");
    }
}

#[test]
fn the_proxys_socket_comes_first_though_the_jail_has_ended() {
    let net = Destination {
        host: "a.example".into(),
        port: 443,
        private: vec![],
    };
    let jailer = jailer(Manifest {
        net: vec![net],
        ..manifest()
    });
    // The moment is short, and missed where others keep this machine busy.
    let heard_at_once = (0..TRIES).any(|_| hears_a_whole_life(&jailer));
    assert!(heard_at_once, "missed the moment {TRIES} times");
}

/// How often that is tried.
const TRIES: usize = 100;

/// Stops the jailer while a jail runs, until that has ended; false where the jailer was faster. The
/// proxy's socket comes first in any case.
fn hears_a_whole_life(jailer: &Jailer) -> bool {
    let ticket = Id::random().unwrap();
    let say = KeeperToJailer::Run {
        ticket,
        lasting: false,
        manifest: "foreign".into(),
        program: "/bin/true".into(),
        argv: vec!["true".into()],
    };
    let null = super::orders::null();
    jailer.say(&say, &[], &[null.as_fd(); 3]);
    let speaks = || {
        let mut polled = [PollFd::new(jailer.link.as_fd(), PollFlags::POLLIN)];
        poll(&mut polled, PollTimeout::ZERO).unwrap() > 0
    };
    // It waits for the jail's first process to become one, and goes no further.
    while children(jailer.pid).is_empty() && !speaks() {}
    let pid = Pid::from_raw(i32::try_from(jailer.pid).unwrap());
    kill(pid, Signal::SIGSTOP).unwrap();
    eventually("its end", || {
        let ended = |pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
            stat.is_ok_and(|stat| stat.contains(") Z "))
        };
        children(jailer.pid).into_iter().all(ended)
    });
    let in_time = !speaks() && !children(jailer.pid).is_empty();
    kill(pid, Signal::SIGCONT).unwrap();
    let first = jailer.hear();
    assert!(matches!(first.say, JailerToKeeper::Listening { ticket: of } if of == ticket));
    assert_eq!(first.fds.len(), 1);
    assert_eq!(jailer.hear_end(ticket).unwrap().code, Some(0));
    in_time
}
