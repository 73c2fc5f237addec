use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use super::super::*;
use super::fake::{Fake, plane, populate};

const LIMITS: Limits = Limits {
    memory: 64 << 20,
    processes: 0,
    cpu_percent: 100,
};

/// A filled pool that does not wait.
fn pool(fake: &Fake) -> Cgroups<Fake> {
    let mut cgroups = Cgroups::enter(Some(fake.again()), None);
    cgroups.patience = Duration::ZERO;
    cgroups.fill();
    cgroups
}

fn put(directory: &Path, file: &str, text: &str) {
    fs::write(directory.join(file), text).unwrap();
}

#[test]
fn leaves_are_made_ahead_and_only_what_differs_is_written() {
    let (directory, fake) = plane("memory pids cpu");
    let mut cgroups = pool(&fake);
    let done = fake.done();
    assert_eq!(done[0], "jailer/cgroup.procs=0");
    assert_eq!(
        done[1..7],
        [
            "make jail-1",
            "jail-1/memory.oom.group=1",
            "jail-1/memory.swap.max=0",
            "jail-1/memory.max=268435456",
            "jail-1/pids.max=1",
            "jail-1/cpu.max=100000 100000",
        ]
    );
    assert_eq!(
        done.iter().filter(|what| what.starts_with("make")).count(),
        4
    );
    assert!(cgroups.is_complete());
    assert_eq!(cgroups.degraded(), None);
    assert_eq!(cgroups.limiting().controllers, ["memory", "pids", "cpu"]);
    let leaf = cgroups.take(LIMITS).unwrap().unwrap();
    assert_eq!(fake.done(), ["jail-4/memory.max=67108864"]);
    put(
        &directory.path().join("jail-4"),
        "cpu.stat",
        "usage_usec 250\n",
    );
    assert_eq!(leaf.cpu_us(), Some(250));
    let verdict = cgroups.give_back(leaf);
    assert_eq!((verdict.limit, verdict.cpu_us), (None, Some(250)));
    // The same again costs no write at all, and counts from nothing.
    let leaf = cgroups.take(LIMITS).unwrap().unwrap();
    assert_eq!(leaf.cpu_us(), Some(0));
    cgroups.give_back(leaf);
    assert_eq!(fake.done(), [""; 0]);
    cgroups.close();
    assert_eq!(fake.children().unwrap(), ["jailer"]);
    assert_eq!(cgroups.take(LIMITS).unwrap().map(drop), None);
}

#[test]
fn the_end_says_which_limit_was_met() {
    let (directory, fake) = plane("memory pids cpu");
    let mut cgroups = pool(&fake);
    let own = directory.path().join("jail-4");
    let mut end = |events: &[(&str, &str)]| {
        let leaf = cgroups.take(LIMITS).unwrap().unwrap();
        for (file, text) in events {
            put(&own, file, text);
        }
        cgroups.give_back(leaf)
    };
    assert_eq!(end(&[("memory.peak", "4096\n")]).peak, Some(4096));
    let memory = "oom 1\noom_kill 1\noom_group_kill 1\n";
    let verdict = end(&[("memory.events", memory), ("pids.events", "max 2\n")]);
    assert_eq!(verdict.limit, Some("memory"));
    // Counters stay: what the last jail met is not this one's.
    assert_eq!(end(&[]).limit, None);
    assert_eq!(end(&[("pids.events", "max 3\n")]).limit, Some("processes"));
    // Memory that could not be had, without a kill, is the tool's to deal with.
    let refused = "oom 2\noom_kill 1\noom_group_kill 1\n";
    assert_eq!(end(&[("memory.events", refused)]).limit, None);
}

#[test]
fn what_a_jail_leaves_behind_is_killed_and_a_killed_leaf_is_not_used_again() {
    let (directory, fake) = plane("");
    let mut cgroups = pool(&fake);
    let leaf = cgroups.take(LIMITS).unwrap().unwrap();
    populate(&directory.path().join("jail-4"), true);
    fake.done();
    cgroups.give_back(leaf);
    assert_eq!(fake.done(), ["jail-4/cgroup.kill=1", "remove jail-4"]);
    let mut leaf = cgroups.take(LIMITS).unwrap().unwrap();
    leaf.kill();
    cgroups.give_back(leaf);
    assert_eq!(fake.done(), ["jail-3/cgroup.kill=1", "remove jail-3"]);
}

#[test]
fn a_leaf_that_cannot_be_emptied_is_not_used_again_until_it_is() {
    let (directory, fake) = plane("");
    let mut cgroups = pool(&fake);
    fake.kernel.borrow_mut().immortal = true;
    let own = directory.path().join("jail-4");
    let leaf = cgroups.take(LIMITS).unwrap().unwrap();
    populate(&own, true);
    cgroups.give_back(leaf);
    let other = cgroups.take(LIMITS).unwrap().unwrap();
    assert_eq!(other.name, "jail-3");
    assert!(own.exists());
    // It is gone as soon as nobody is in it any more.
    populate(&own, false);
    cgroups.give_back(other);
    drop(cgroups.take(LIMITS).unwrap());
    assert!(!own.exists());
}

#[test]
fn there_is_an_end_to_leaves_and_few_are_kept() {
    let (_directory, fake) = plane("");
    let mut cgroups = pool(&fake);
    let leaves: Vec<_> = (0..LEAVES_MAX)
        .map(|_| cgroups.take(LIMITS).unwrap().unwrap())
        .collect();
    let error = cgroups.take(LIMITS).unwrap_err();
    assert!(
        error.to_string().contains("160 cgroups are in use"),
        "{error}"
    );
    for leaf in leaves {
        cgroups.give_back(leaf);
    }
    assert_eq!(fake.children().unwrap().len(), 1 + 16);
    assert!(cgroups.take(LIMITS).unwrap().is_some());
}

#[test]
fn memory_that_a_jail_leaves_is_not_the_next_ones_loss() {
    let (directory, fake) = plane("memory");
    let mut cgroups = pool(&fake);
    for (left, again) in [(16 << 20, true), ((16 << 20) + 1, false)] {
        let leaf = cgroups.take(LIMITS).unwrap().unwrap();
        let own = directory.path().join(&leaf.name);
        put(&own, "memory.current", &format!("{left}\n"));
        cgroups.give_back(leaf);
        assert_eq!(own.exists(), again, "{left}");
    }
}

#[test]
fn what_an_earlier_jailer_left_is_killed_and_removed() {
    let (directory, fake) = plane("");
    for name in ["jail-1", "jail-9"] {
        fake.make(name).unwrap();
        populate(&directory.path().join(name), true);
    }
    fake.child("jail-9").unwrap().make("deeper").unwrap();
    fake.done();
    let mut cgroups = pool(&fake);
    let done = fake.done();
    for what in [
        "jail-1/cgroup.kill=1",
        "remove jail-9/deeper",
        "remove jail-9",
    ] {
        assert!(done.iter().any(|one| one == what), "{what} in {done:?}");
    }
    assert!(!directory.path().join("jail-9").exists());
    assert!(cgroups.take(LIMITS).unwrap().is_some());
}

#[test]
fn an_earlier_jailers_leaf_that_stays_keeps_its_name() {
    let (directory, fake) = plane("");
    fake.make("jail-1").unwrap();
    populate(&directory.path().join("jail-1"), true);
    fake.kernel.borrow_mut().immortal = true;
    let mut cgroups = pool(&fake);
    assert!(cgroups.limiting().kill, "{:?}", cgroups.limiting());
    assert_eq!(cgroups.take(LIMITS).unwrap().unwrap().name, "jail-5");
}

#[test]
fn without_controllers_leaves_are_for_the_kill_and_the_lack_has_a_name() {
    for (controllers, missing) in [
        ("", "memory, pids, cpu"),
        ("pids", "memory, cpu"),
        ("memory pids", "cpu"),
    ] {
        let (_directory, fake) = plane(controllers);
        let mut cgroups = pool(&fake);
        assert_eq!(cgroups.degraded(), Some(NO_CGROUPS), "{controllers}");
        let limiting = cgroups.limiting();
        assert!(limiting.kill);
        let why = limiting.why.unwrap();
        assert!(why.ends_with(missing), "{why}");
        assert!(limiting.mend.unwrap().contains("Delegate="));
        // What there is, is used.
        let mut leaf = cgroups.take(LIMITS).unwrap().unwrap();
        let limits = fake.done().join(" ");
        for name in ["memory", "pids", "cpu"] {
            let written = limits.contains(&format!("{name}.max="));
            assert_eq!(written, controllers.contains(name), "{name} in {limits}");
        }
        leaf.kill();
        assert_eq!(fake.done(), ["jail-4/cgroup.kill=1"]);
    }
}

#[test]
fn without_a_cgroup_there_is_no_leaf_and_the_reason_is_told() {
    let mut cgroups = Cgroups::<Fake>::enter(None, Some(Lack::new("no such luck", "have some")));
    cgroups.fill();
    assert!(cgroups.take(LIMITS).unwrap().is_none());
    assert_eq!(cgroups.degraded(), Some(NO_CGROUPS));
    assert!(cgroups.fd().is_none());
    let limiting = cgroups.limiting();
    assert!(!limiting.kill && limiting.controllers.is_empty());
    assert_eq!(limiting.why.as_deref(), Some("no such luck"));
    assert_eq!(limiting.mend.as_deref(), Some("have some"));
    assert!(Cgroups::<Fake>::enter(None, None).limiting().why.is_some());
}

#[test]
fn what_cannot_be_used_at_start_is_given_up_without_a_trace() {
    for (fails, kind) in [
        ("jailer/cgroup.procs", ErrorKind::PermissionDenied),
        ("make jail-", ErrorKind::ReadOnlyFilesystem),
        ("jail-1/memory.oom.group", ErrorKind::PermissionDenied),
        ("jail-1/memory.swap.max", ErrorKind::PermissionDenied),
        ("jail-2/memory.max", ErrorKind::InvalidInput),
        ("jail-3/pids.max", ErrorKind::NotFound),
        ("jail-4/cpu.max", ErrorKind::InvalidInput),
    ] {
        let (_directory, fake) = plane("memory pids cpu");
        fake.fail(fails, kind);
        let mut cgroups = pool(&fake);
        assert_eq!(cgroups.degraded(), Some(NO_CGROUPS), "{fails}");
        let why = cgroups.limiting().why.unwrap();
        assert!(
            why.contains(&std::io::Error::from(kind).to_string()),
            "{why}"
        );
        assert!(cgroups.take(LIMITS).unwrap().is_none(), "{fails}");
        assert_eq!(fake.children().unwrap(), ["jailer"], "{fails}");
    }
    // A kernel that counts no swap has none to forbid.
    let (_directory, fake) = plane("memory pids cpu");
    fake.fail("jail-1/memory.swap.max", ErrorKind::NotFound);
    assert!(pool(&fake).is_complete());
}

#[test]
fn a_limit_that_was_taken_and_forgotten_is_noticed() {
    let (directory, fake) = plane("pids");
    let mut leaf = Leaf::make(&fake, "x".into(), Controllers::parse("pids")).unwrap();
    leaf.limit(LIMITS).unwrap();
    leaf.check().unwrap();
    put(&directory.path().join("x"), "pids.max", "max\n");
    let error = leaf.check().unwrap_err().to_string();
    assert_eq!(error, "pids.max holds `max` in place of `1`");
}

#[test]
fn a_limit_that_cannot_be_set_later_keeps_the_jail_from_starting() {
    let (directory, fake) = plane("memory pids cpu");
    let mut cgroups = pool(&fake);
    fake.fail("jail-4/memory.max", ErrorKind::NotFound);
    let error = cgroups.take(LIMITS).unwrap_err().to_string();
    assert!(error.starts_with("write memory.max: "), "{error}");
    // The leaf, whose limits nobody knows now, is gone; the next one serves.
    assert!(!directory.path().join("jail-4").exists());
    assert_eq!(cgroups.take(LIMITS).unwrap().unwrap().name, "jail-3");
}
