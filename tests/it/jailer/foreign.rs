//! Foreign jails: real programs under a manifest.

use std::io::Read;
use std::os::fd::AsFd;
use std::path::PathBuf;

use keepgate::call::id::Id;
use keepgate::wire::manifest::{Class, Manifest};
use keepgate::wire::messages::{JailEnd, KeeperToJailer};

use super::driver::{Jailer, start};
use super::orders::Refused;

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
