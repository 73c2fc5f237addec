//! Jails in cgroups of their own, in the cgroup2 of this host. Where no cgroup can be made here,
//! these tests say so, and that the jailer names what it lacks is asserted all the same.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use keepgate::jail::NO_CGROUPS;
use keepgate::jail::cgroup::{Controllers, Delegation, Lack};
use keepgate::sys::spawn::End;
use keepgate::wire::messages::KeeperToJailer;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::driver::{JAILER_UID, Jailer, greeting, link, start};
use super::orders::{LIMITS, null};
use crate::harness::{Cgroup, eventually};

/// A subtree for a jailer, as a supervisor makes it.
pub(super) fn subtree(owner: u32) -> Option<Cgroup> {
    let group = Cgroup::new()?;
    fs::create_dir(group.path().join("jailer")).unwrap();
    for name in Controllers::parse(&group.read("cgroup.controllers")).names() {
        let control = group.path().join("cgroup.subtree_control");
        fs::write(control, format!("+{name}")).unwrap();
    }
    for path in [group.path().into(), group.path().join("cgroup.procs")] {
        chown(path, Some(owner), Some(owner)).unwrap();
    }
    Some(group)
}

/// A jailer that may use `group`.
fn in_group(group: &Cgroup) -> Jailer {
    start(|setup| setup.cgroup = delegation(group.path())).unwrap()
}

pub(super) fn delegation(path: &Path) -> Delegation {
    Delegation {
        path: Some(path.into()),
        lack: None,
    }
}

/// Leaves that are there now.
fn leaves(group: &Cgroup) -> Vec<PathBuf> {
    let names = group.children().into_iter();
    let names = names.filter(|name| name != "jailer");
    names.map(|name| group.path().join(name)).collect()
}

/// Pids in a leaf.
fn inside(leaf: &Path) -> Vec<u32> {
    let text = fs::read_to_string(leaf.join("cgroup.procs")).unwrap_or_default();
    text.lines().map(|line| line.parse().unwrap()).collect()
}

/// The leaf that has a jail, and its pid; after waiting for it.
fn occupied(group: &Cgroup) -> (PathBuf, u32) {
    let found = || {
        let leaves = leaves(group).into_iter();
        let mut taken = leaves.filter_map(|leaf| Some((inside(&leaf).first().copied()?, leaf)));
        taken.next()
    };
    eventually("a jail in a leaf", || found().is_some());
    let (pid, leaf) = found().unwrap();
    (leaf, pid)
}

/// A tree of processes in sessions of their own, in `leaf`.
fn intruders(leaf: &Path) -> Child {
    // A jail of the test's tools may have one process only.
    let room = leaf.join("pids.max");
    if room.exists() {
        fs::write(room, "max").unwrap();
    }
    let script = "echo $$ > \"$0/cgroup.procs\"; \
                  setsid sleep 1000 & setsid bash -c 'sleep 1000 & wait' & wait";
    let child = Command::new("bash")
        .args(["-c", script])
        .arg(leaf)
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    // With the jail itself.
    eventually("the intruders", || inside(leaf).len() == 5);
    child
}

#[test]
fn every_jail_has_a_leaf_that_is_used_again() {
    let Some(group) = subtree(JAILER_UID) else {
        return;
    };
    let jailer = in_group(&group);
    let given = Controllers::parse(&group.read("cgroup.subtree_control"));
    let limiting = &jailer.test.limiting;
    assert!(limiting.kill, "{limiting:?}");
    assert_eq!(limiting.controllers, given.names());
    // Without controllers it says so, by the name that the operator accepts.
    let degraded: &[&str] = if given.all() { &[] } else { &[NO_CGROUPS] };
    assert_eq!(jailer.test.degraded, degraded);
    assert_eq!(limiting.why.is_some(), !given.all(), "{limiting:?}");
    assert_eq!(inside(&group.path().join("jailer")), [jailer.pid]);
    let ahead = leaves(&group).len();
    assert!(ahead > 0);
    let (ticket, _hold) = jailer.wait_in_jail(LIMITS);
    let (leaf, pid) = occupied(&group);
    let own = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let name = leaf.file_name().unwrap().to_str().unwrap();
    assert!(own.lines().any(|line| line.ends_with(name)), "{own}");
    // A second jail is in another one.
    let (second, _hold_second) = jailer.wait_in_jail(LIMITS);
    eventually("two leaves in use", || {
        leaves(&group)
            .iter()
            .filter(|leaf| !inside(leaf).is_empty())
            .count()
            == 2
    });
    for ticket in [ticket, second] {
        jailer.say(&KeeperToJailer::Kill { ticket }, &[], &[]);
        assert_eq!(jailer.hear_end(ticket).unwrap().signal, Some(9));
    }
    let (_, end, _) = jailer.run("noop", "", vec![]);
    let end = end.unwrap();
    assert_eq!((end.code, end.limit.as_deref()), (Some(0), None));
    assert!(end.cpu_us > 0, "{end:?}");
    // Before Linux 6.12 nobody can begin it anew.
    let peak = fs::metadata(leaves(&group)[0].join("memory.peak"));
    let anew = peak.is_ok_and(|meta| meta.mode() & 0o200 != 0);
    assert_eq!(end.peak_kib.is_some(), given.memory && anew, "{end:?}");
    // The killed ones are gone, whoever killed them; the other is still there.
    assert_eq!(leaves(&group).len(), ahead - 2);
    let (_, end, _) = jailer.run("noop", "", vec![]);
    assert_eq!(end.unwrap().code, Some(0));
    assert_eq!(leaves(&group).len(), ahead - 2);
    drop(jailer);
    assert_eq!(leaves(&group), [""; 0].map(PathBuf::from));
}

#[test]
fn the_kill_of_a_cgroup_ends_a_jail() {
    let Some(group) = subtree(JAILER_UID) else {
        return;
    };
    let jailer = in_group(&group);
    let (ticket, _hold) = jailer.wait_in_jail(LIMITS);
    let (leaf, _) = occupied(&group);
    fs::write(leaf.join("cgroup.kill"), "1").unwrap();
    let end = jailer.hear_end(ticket).unwrap();
    assert_eq!((end.signal, end.limit), (Some(9), None));
    // The kernel would kill the next one in there, too: a leaf that was killed is not used again.
    for _ in 0..8 {
        let (_, end, _) = jailer.run("noop", "", vec![]);
        assert_eq!(end.unwrap().code, Some(0));
    }
}

#[test]
fn a_limit_of_the_whole_jail_ends_it_and_is_named() {
    let Some(group) = subtree(JAILER_UID) else {
        return;
    };
    let jailer = in_group(&group);
    if jailer.test.degraded == [NO_CGROUPS] {
        eprintln!("this host has no cgroup controllers: they are tested on a made-up tree only");
        assert!(jailer.test.limiting.controllers.len() < 3);
        return;
    }
    let (input, mut hold) = std::io::pipe().unwrap();
    let ticket = jailer.spawn("file.read", input, null(), vec![], LIMITS);
    let (leaf, _) = occupied(&group);
    let holds = |file: &str| fs::read_to_string(leaf.join(file)).unwrap();
    assert_eq!(holds("memory.max").trim(), LIMITS.memory.to_string());
    assert_eq!(holds("memory.swap.max"), "0\n");
    assert_eq!(holds("memory.oom.group"), "1\n");
    assert_eq!(holds("pids.max"), "1\n");
    assert_eq!(holds("cpu.max"), "100000 100000\n");
    // The limit of its address space, which is the same, would be met first.
    fs::write(leaf.join("memory.max"), "8M").unwrap();
    let endless = vec![7; 1 << 20];
    while hold.write_all(&endless).is_ok() {}
    let end = jailer.hear_end(ticket).unwrap();
    assert_eq!(
        (end.limit.as_deref(), end.signal),
        (Some("memory"), Some(9))
    );
    // A process too many is refused, and the end says so.
    let (ticket, _hold) = jailer.wait_in_jail(LIMITS);
    let (leaf, jail) = occupied(&group);
    let mut bash = Command::new("bash")
        .args(["-c", "echo $$ > \"$0/cgroup.procs\"; : | :"])
        .arg(&leaf)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let refused = || fs::read_to_string(leaf.join("pids.events")).unwrap() != "max 0\n";
    eventually("a refused process", refused);
    kill(Pid::from_raw(i32::try_from(jail).unwrap()), Signal::SIGKILL).unwrap();
    let end = jailer.hear_end(ticket).unwrap();
    assert_eq!(end.limit.as_deref(), Some("processes"), "{end:?}");
    assert!(!bash.wait().unwrap().success());
    let (_, end, _) = jailer.run("noop", "", vec![]);
    assert_eq!(end.unwrap().limit, None);
}

#[test]
fn nothing_in_a_jails_leaf_outlives_the_jail() {
    let Some(group) = subtree(JAILER_UID) else {
        return;
    };
    let jailer = in_group(&group);
    let (ticket, _hold) = jailer.wait_in_jail(LIMITS);
    let (leaf, _) = occupied(&group);
    let mut tree = intruders(&leaf);
    jailer.say(&KeeperToJailer::Kill { ticket }, &[], &[]);
    assert_eq!(
        jailer.hear_end(ticket).unwrap().limit.as_deref(),
        Some("killed")
    );
    assert!(!tree.wait().unwrap().success());
    assert_eq!(inside(&leaf), [0; 0]);
    // A jail that ends by itself takes its leaf's processes with it just the same.
    let (ticket, hold) = jailer.wait_in_jail(LIMITS);
    let (leaf, _) = occupied(&group);
    let mut tree = intruders(&leaf);
    drop(hold);
    jailer.hear_end(ticket).unwrap();
    assert!(!tree.wait().unwrap().success());
    assert_eq!(inside(&leaf), [0; 0]);
}

#[test]
fn a_killed_jailers_leaves_are_the_next_ones_to_remove() {
    let Some(group) = subtree(JAILER_UID) else {
        return;
    };
    let mut jailer = in_group(&group);
    let (_, _hold) = jailer.wait_in_jail(LIMITS);
    let (leaf, jail) = occupied(&group);
    let mut tree = intruders(&leaf);
    kill(
        Pid::from_raw(i32::try_from(jailer.pid).unwrap()),
        Signal::SIGKILL,
    )
    .unwrap();
    jailer.end = End::Killed(9);
    drop(jailer);
    let own = format!("/proc/{jail}");
    eventually("the orphan's end", || !Path::new(&own).exists());
    // These are in no namespace of the jail: nothing but the cgroup knows that they belong to it.
    assert_eq!(inside(&leaf).len(), 4);
    let next = in_group(&group);
    assert!(!tree.wait().unwrap().success());
    assert!(next.test.limiting.kill);
    drop(next);
    assert_eq!(leaves(&group), [""; 0].map(PathBuf::from));
}

#[test]
fn five_hundred_jails_leave_no_cgroup() {
    let Some(group) = subtree(JAILER_UID) else {
        return;
    };
    let jailer = in_group(&group);
    let ahead = leaves(&group).len();
    for _ in 0..500 {
        let (_, end, _) = jailer.run("noop", "", vec![]);
        assert_eq!(end.unwrap().code, Some(0));
    }
    assert_eq!(leaves(&group).len(), ahead);
    // Many at a time need more, and not for ever.
    let held: Vec<_> = (0..40).map(|_| jailer.wait_in_jail(LIMITS)).collect();
    eventually("forty leaves in use", || {
        leaves(&group)
            .iter()
            .filter(|leaf| !inside(leaf).is_empty())
            .count()
            == 40
    });
    for (ticket, hold) in held {
        drop(hold);
        jailer.hear_end(ticket).unwrap();
    }
    assert!(leaves(&group).len() < 40, "{:?}", leaves(&group));
    drop(jailer);
    assert_eq!(group.children(), ["jailer"]);
}

#[test]
fn jails_of_a_lost_keeper_give_their_leaves_back() {
    let Some(group) = subtree(JAILER_UID) else {
        return;
    };
    let mut jailer = in_group(&group);
    let ahead = leaves(&group).len();
    let (_, _hold) = jailer.wait_in_jail(LIMITS);
    occupied(&group);
    jailer.link = link(&jailer.control);
    greeting(&jailer.link);
    assert_eq!(leaves(&group).len(), ahead - 1);
    assert!(leaves(&group).iter().all(|leaf| inside(leaf).is_empty()));
}

/// A jailer that has no cgroup serves, and says what it lacks and why.
fn assert_without(jailer: &Jailer, reason: &str) {
    assert_eq!(jailer.test.degraded, [NO_CGROUPS]);
    let limiting = &jailer.test.limiting;
    assert!(
        !limiting.kill && limiting.controllers.is_empty(),
        "{limiting:?}"
    );
    let why = limiting.why.as_deref().unwrap();
    assert!(why.contains(reason), "{why}");
    assert!(limiting.mend.is_some());
    let (_, end, _) = jailer.run("noop", "", vec![]);
    let end = end.unwrap();
    assert_eq!((end.code, end.peak_kib), (Some(0), None));
}

#[test]
fn a_jailer_without_cgroups_serves_and_says_why() {
    let lack = Lack::new("for no reason", "nothing");
    let told = start(|setup| setup.cgroup.lack = Some(lack)).unwrap();
    assert_without(&told, "for no reason");
    let gone = start(|setup| setup.cgroup = delegation(Path::new("/nowhere/at/all"))).unwrap();
    assert_without(&gone, "no cgroup was given");
    // What is somebody else's.
    let Some(group) = subtree(JAILER_UID + 1) else {
        return;
    };
    assert_without(&in_group(&group), "cannot make cgroups: Permission denied");
    assert_eq!(group.children(), ["jailer"]);
    // Its own subtree, but of a cgroup above it cannot bring a process over.
    let procs = group.path().join("cgroup.procs");
    chown(group.path(), Some(JAILER_UID), None).unwrap();
    chown(&procs, Some(0), None).unwrap();
    assert_without(&in_group(&group), "no jail can be started in a cgroup");
    assert_eq!(group.children(), ["jailer"]);
}
