//! Jails that last and spin: counted by their cgroup, or from `/proc` where they have none.

use std::os::fd::AsFd;

use keepgate::call::id::Id;
use keepgate::wire::messages::{JailEnd, KeeperToJailer};

use super::cgroups::{delegation, subtree};
use super::driver::{JAILER_UID, Jailer, start};
use super::foreign::manifest;
use super::orders::null;

/// Programs that use a processor: by themselves, in a child, in one child after the other.
const SPIN: [&str; 3] = [
    "while :; do :; done",
    "(while :; do :; done) & wait",
    "while :; do /bin/true; done",
];

/// Runs a script in a jail that lasts, to its end.
fn lasts(jailer: &Jailer, script: &str) -> JailEnd {
    let ticket = Id::random().unwrap();
    let say = KeeperToJailer::Run {
        ticket,
        lasting: true,
        manifest: "foreign".into(),
        program: "/bin/sh".into(),
        argv: ["sh", "-c", script].map(str::to_owned).to_vec(),
    };
    jailer.say(&say, &[], &[null().as_fd(); 3]);
    jailer.hear_end(ticket).unwrap()
}

fn all_are_ended(jailer: &Jailer) {
    for script in SPIN {
        let end = lasts(jailer, script);
        assert_eq!(end.limit.as_deref(), Some("cpu"), "{script}: {end:?}");
        assert!(end.wall_us > 1_000_000, "{script}: {end:?}");
    }
    let end = lasts(jailer, "exit 7");
    assert_eq!((end.code, end.limit), (Some(7), None));
}

#[test]
fn a_jail_that_lasts_and_spins_is_ended_by_its_processes_times() {
    let jailer = start(|setup| {
        setup.manifests = vec![manifest()];
        setup.manifests[0].limits.cpu_s = 1;
    });
    all_are_ended(&jailer.unwrap());
}

#[test]
fn a_jail_that_lasts_and_spins_is_ended_by_what_its_cgroup_counts() {
    let Some(group) = subtree(JAILER_UID) else {
        return;
    };
    let jailer = start(|setup| {
        setup.manifests = vec![manifest()];
        setup.manifests[0].limits.cpu_s = 1;
        setup.cgroup = delegation(group.path());
    });
    all_are_ended(&jailer.unwrap());
}
