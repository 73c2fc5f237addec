//! Foreign jails: real programs under a manifest.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use keepgate::call::id::Id;
use keepgate::wire::manifest::{Class, Destination, Manifest};
use keepgate::wire::messages::{JailEnd, JailerToKeeper, KeeperToJailer};
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
pub(super) fn manifest() -> Manifest {
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
        let say = KeeperToJailer::Run {
            ticket: Id::random().unwrap(),
            manifest: "foreign".into(),
            program: argv[0].into(),
            argv: argv.map(str::to_owned).to_vec(),
        };
        self.say(&say, &[], &[input.as_fd(), write.as_fd(), errors.as_fd()]);
        drop(write);
        let mut line = String::new();
        BufReader::new(read).read_line(&mut line).unwrap();
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

/// How long a jail may take to begin.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many jails follow each other, with more and with fewer networks made ahead than that.
const FOLLOWING: usize = 4;

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
        let own = || of(&format!("/proc/{}/ns/net", jailer.pid));
        let mut seen = BTreeSet::from([of("/proc/self/ns/net")]);
        // One that makes networks ahead may be in one of those at any time.
        let stays_home = (ahead == 0).then(own);
        assert!(stays_home.iter().all(|home| seen.insert(home.clone())));
        // They stay, so that no number is given twice because its network is gone.
        let all: Vec<_> = (0..FOLLOWING).map(|_| jailer.stays()).collect();
        for (told, _) in &all {
            assert!(told.starts_with("net:["), "{told}");
            assert!(seen.insert(told.clone()), "{ahead}: {seen:?}");
        }
        match stays_home {
            Some(home) => assert_eq!(own(), home, "it came back"),
            None => assert!(seen.insert(own()), "it is in a network of a jail"),
        }
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
    let ticket = Id::random().unwrap();
    let say = KeeperToJailer::Run {
        ticket,
        manifest: "foreign".into(),
        program: "/bin/true".into(),
        argv: vec!["true".into()],
    };
    let null = super::orders::null();
    jailer.say(&say, &[], &[null.as_fd(); 3]);
    // It waits for the jail's first process to become one, and goes no further: it hears the whole
    // life of the jail at once.
    let since = Instant::now();
    while children(jailer.pid).is_empty() {
        // Without a pause: the moment is short.
        assert!(since.elapsed() < PATIENCE, "no jail");
    }
    let pid = Pid::from_raw(i32::try_from(jailer.pid).unwrap());
    kill(pid, Signal::SIGSTOP).unwrap();
    eventually("its end", || {
        let ended = |pid| {
            fs::read_to_string(format!("/proc/{pid}/stat"))
                .unwrap()
                .contains(") Z ")
        };
        let all = children(jailer.pid);
        assert_ne!(all, [0; 0], "the jailer went on");
        all.into_iter().all(ended)
    });
    kill(pid, Signal::SIGCONT).unwrap();
    let first = jailer.hear();
    assert!(matches!(first.say, JailerToKeeper::Listening { ticket: of } if of == ticket));
    assert_eq!(first.fds.len(), 1);
    assert_eq!(jailer.hear_end(ticket).unwrap().code, Some(0));
}
