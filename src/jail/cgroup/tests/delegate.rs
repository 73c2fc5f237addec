use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use super::super::delegate::Subtree;
use super::super::*;
use super::fake::{Fake, SELF, populate, tree};

const ALL: &str = "memory pids cpu";

/// A cgroup that this process is in, alone or with `others`.
fn own(controllers: &str, others: &str) -> (tempfile::TempDir, Fake) {
    let (directory, fake) = tree(controllers);
    let inside = format!("{SELF}\n{others}");
    fs::write(directory.path().join("cgroup.procs"), inside).unwrap();
    (directory, fake)
}

fn claim(fake: &Fake) -> Result<Subtree<Fake>, Lack> {
    let top = Controllers::parse(ALL);
    Subtree::settle(fake.again(), None, Path::new("/base"), top, SELF)
}

/// Of a process that is in the leaf already.
fn claim_below(fake: &Fake) -> Result<Subtree<Fake>, Lack> {
    let top = Controllers::parse(ALL);
    let own = fake.child("supervisor").unwrap();
    let parent = Some((fake.again(), Path::new("/base")));
    Subtree::settle(own, parent, Path::new("/base/supervisor"), top, SELF)
}

fn refusal(fake: &Fake) -> String {
    claim(fake).map(drop).unwrap_err().why
}

#[test]
fn the_supervisor_moves_out_of_the_way_and_gives_a_jailer_its_own() {
    let (directory, fake) = own(ALL, "");
    let subtree = claim(&fake).unwrap();
    assert_eq!(
        fake.done(),
        [
            "make supervisor",
            "supervisor/cgroup.procs=0",
            "cgroup.subtree_control=+memory",
            "cgroup.subtree_control=+pids",
            "cgroup.subtree_control=+cpu",
        ]
    );
    let given = subtree.plane("production", Some(900));
    assert_eq!(
        given.path.as_deref(),
        Some(Path::new("/base/plane-production"))
    );
    assert_eq!(given.lack, None);
    assert_eq!(
        fake.done(),
        [
            "make plane-production",
            "plane-production/cgroup.max.depth=1",
            "plane-production/cgroup.max.descendants=161",
            "make plane-production/jailer",
            "plane-production/cgroup.subtree_control=+memory",
            "plane-production/cgroup.subtree_control=+pids",
            "plane-production/cgroup.subtree_control=+cpu",
            // Nothing else is the jailer's: neither what limits the plane, nor its controllers.
            "give plane-production 900",
            "give plane-production/cgroup.procs 900",
        ]
    );
    // One user owns everything already.
    assert!(subtree.plane("supervisor", None).path.is_some());
    assert!(!fake.done().join(" ").contains("give"));
    // A jailer that has ended leaves nothing running, and the next one finds no old cgroup.
    fake.child("plane-production")
        .unwrap()
        .make("jail-1")
        .unwrap();
    populate(&directory.path().join("plane-production"), true);
    fake.done();
    assert!(subtree.plane("production", Some(900)).path.is_some());
    let done = fake.done();
    assert_eq!(done[0], "plane-production/cgroup.kill=1");
    let at = |what| done.iter().position(|one| one == what).unwrap();
    assert!(at("remove plane-production/jail-1") < at("remove plane-production"));
    assert!(at("remove plane-production") < at("make plane-production"));
    subtree.release();
    let done = fake.done();
    let end = [
        "cgroup.subtree_control=-memory",
        "cgroup.subtree_control=-pids",
        "cgroup.subtree_control=-cpu",
        "cgroup.procs=0",
        "remove supervisor",
    ];
    assert_eq!(done[done.len() - 5..], end);
    assert_eq!(fake.children().unwrap(), [""; 0]);
    assert_eq!(
        fs::read_to_string(directory.path().join("cgroup.subtree_control")).unwrap(),
        ""
    );
}

#[test]
fn what_was_not_left_to_us_is_not_touched() {
    let (directory, fake) = own(ALL, "77\n");
    assert_eq!(refusal(&fake), "its cgroup `/base` was not delegated to it");
    // With the mark of systemd, others may be there.
    fake.kernel.borrow_mut().delegated = true;
    assert!(claim(&fake).is_ok());
    fake.done();
    fake.kernel.borrow_mut().delegated = false;
    drop(directory);

    let (_directory, fake) = own(ALL, "");
    fake.make("somebodys").unwrap();
    fake.done();
    assert_eq!(refusal(&fake), "its cgroup `/base` was not delegated to it");
    assert_eq!(fake.done(), [""; 0]);

    let (directory, fake) = own(ALL, "");
    fs::remove_file(directory.path().join("cgroup.events")).unwrap();
    assert_eq!(
        refusal(&fake),
        "it runs in the top cgroup, which is nobody's own"
    );
    assert_eq!(fake.done(), [""; 0]);
}

#[test]
fn two_supervisors_do_not_share_a_cgroup() {
    let (directory, fake) = own(ALL, "");
    fake.make("supervisor").unwrap();
    fake.make("plane-a").unwrap();
    populate(&directory.path().join("supervisor"), true);
    fake.done();
    assert_eq!(refusal(&fake), "another Keepgate uses its cgroup");
    assert_eq!(fake.done(), ["make supervisor"], "it is there");
    assert!(directory.path().join("plane-a").exists());
}

#[test]
fn a_supervisor_that_begins_in_its_leaf_stays_there() {
    // Put there by systemd, beside a process that systemd keeps there for a moment.
    let (directory, fake) = tree(ALL);
    fake.make("supervisor").unwrap();
    let leaf = directory.path().join("supervisor");
    fs::write(leaf.join("cgroup.procs"), format!("{SELF}\n78\n")).unwrap();
    let path = |subtree: &Subtree<Fake>| subtree.plane("p", None).path;
    assert_ne!(
        claim_below(&fake).ok().as_ref().and_then(path).as_deref(),
        Some(Path::new("/base/plane-p"))
    );
    fake.kernel.borrow_mut().delegated = true;
    let subtree = claim_below(&fake).unwrap();
    assert_eq!(path(&subtree).unwrap(), Path::new("/base/plane-p"));
    // The next one of one that was killed, without a mark: nobody else is there.
    fake.kernel.borrow_mut().delegated = false;
    fs::write(leaf.join("cgroup.procs"), format!("{SELF}\n")).unwrap();
    fake.done();
    let subtree = claim_below(&fake).unwrap();
    assert!(!fake.done().join(" ").contains("cgroup.procs"));
    assert_eq!(path(&subtree).unwrap(), Path::new("/base/plane-p"));
    subtree.release();
    assert_eq!(fake.children().unwrap(), ["supervisor"]);
    // With somebody above, it is a leaf like any other.
    fs::write(directory.path().join("cgroup.procs"), "77\n").unwrap();
    let subtree = claim_below(&fake).unwrap();
    assert_eq!(
        path(&subtree).unwrap(),
        Path::new("/base/supervisor/plane-p")
    );
}

#[test]
fn what_an_earlier_supervisor_left_is_killed_and_removed() {
    let (directory, fake) = own(ALL, "");
    for name in ["supervisor", "plane-old"] {
        fake.make(name).unwrap();
    }
    fake.child("plane-old").unwrap().make("jail-3").unwrap();
    populate(&directory.path().join("plane-old"), true);
    fake.done();
    claim(&fake).unwrap();
    let done = fake.done();
    for what in [
        "plane-old/cgroup.kill=1",
        "remove plane-old/jail-3",
        "remove plane-old",
    ] {
        assert!(done.iter().any(|one| one == what), "{what} in {done:?}");
    }
}

#[test]
fn missing_controllers_are_named_with_what_mends_them() {
    let (_directory, fake) = own("pids cpu", "");
    let subtree = claim(&fake).unwrap();
    let given = subtree.plane("p", None);
    assert!(given.path.is_some());
    let lack = given.lack.unwrap();
    assert_eq!(lack.why, "no controller for memory in `/base`");
    assert!(lack.mend.contains("Delegate=memory pids cpu"), "{lack:?}");
    let done = fake.done();
    assert!(done.contains(&"plane-p/cgroup.subtree_control=+pids".into()));
    assert!(!done.join(" ").contains("+memory"), "{done:?}");
}

#[test]
fn a_controller_that_cannot_be_enabled_takes_no_other_with_it() {
    let (_directory, fake) = own(ALL, "");
    fake.fail("cgroup.subtree_control=+memory", ErrorKind::ResourceBusy);
    let lack = claim(&fake).unwrap().plane("p", None).lack.unwrap();
    assert!(
        lack.why
            .starts_with("no controller for memory in `/base`: "),
        "{lack:?}"
    );
    assert!(
        fake.done()
            .contains(&"plane-p/cgroup.subtree_control=+cpu".into())
    );
}

#[test]
fn a_cgroup_that_cannot_be_written_is_left_as_it_was() {
    for (fails, kind) in [
        ("make supervisor", ErrorKind::ReadOnlyFilesystem),
        ("make supervisor", ErrorKind::PermissionDenied),
        ("supervisor/cgroup.procs", ErrorKind::PermissionDenied),
    ] {
        let (_directory, fake) = own(ALL, "");
        fake.fail(fails, kind);
        let why = refusal(&fake);
        assert!(
            why.starts_with("it cannot use its cgroup `/base`: "),
            "{why}"
        );
        assert_eq!(fake.children().unwrap(), [""; 0], "{fails}");
    }
}

#[test]
fn a_plane_without_a_cgroup_does_not_keep_others_from_theirs() {
    for fails in [
        "make plane-a",
        "plane-a/cgroup.max",
        "make plane-a/jailer",
        "plane-a/cgroup.subtree_control",
        "give plane-a",
        "give plane-a/cgroup.procs",
    ] {
        let (_directory, fake) = own(ALL, "");
        fake.fail(fails, ErrorKind::PermissionDenied);
        let subtree = claim(&fake).unwrap();
        let given = subtree.plane("a", Some(1));
        assert_eq!(given.path, None, "{fails}");
        let why = given.lack.unwrap().why;
        assert!(
            why.starts_with("make the cgroup `/base/plane-a`: "),
            "{why}"
        );
        assert!(subtree.plane("b", Some(2)).path.is_some(), "{fails}");
        let mut left = fake.children().unwrap();
        left.sort();
        assert_eq!(left, ["plane-b", "supervisor"], "{fails}");
    }
}
