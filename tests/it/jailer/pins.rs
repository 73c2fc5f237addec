//! What a manifest pins: looked at before each start and while a program runs, by nobody who others
//! wait for.

use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use keepgate::call::id::Id;
use keepgate::catalog::connector::Tree;
use keepgate::catalog::connector::tree::Measured;
use keepgate::wire::messages::{JailFault, JailerToKeeper, KeeperToJailer};

use super::driver::{Jailer, mode, start};
use super::foreign::manifest;
use super::orders::null;

/// Enough that reading it takes longer than starting a few jails does.
const LARGE: u64 = 512 << 20;

/// A directory that is shown, and in it one that is pinned.
struct Place {
    shown: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let shown = tempfile::tempdir().unwrap();
        mode(shown.path(), 0o755);
        let place = Self { shown };
        fs::create_dir(place.pinned()).unwrap();
        mode(&place.pinned(), 0o755);
        place.write("one", "1");
        place.write("two", "2");
        place
    }

    fn pinned(&self) -> PathBuf {
        self.shown.path().join("pinned")
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.pinned().join(name), text).unwrap();
        mode(&self.pinned().join(name), 0o644);
    }

    /// A jailer with a manifest that pins it, and one that pins nothing.
    fn jailer(&self, tree: Tree) -> Jailer {
        start(|setup| {
            let mut pins = manifest();
            pins.name = "pins".into();
            pins.ro.push(self.shown.path().into());
            setup.pins = [(pins.name.clone(), vec![tree])].into();
            setup.manifests = vec![manifest(), pins];
        })
        .unwrap()
    }
}

fn tree(path: &Path) -> Tree {
    Measured::read(path).unwrap().tree()
}

impl Jailer {
    /// Orders a program that waits as long as what is returned is kept.
    fn waits(&self) -> (Id, OwnedFd) {
        let (input, hold) = std::io::pipe().unwrap();
        let ticket = Id::random().unwrap();
        let say = KeeperToJailer::Run {
            ticket,
            lasting: true,
            manifest: "pins".into(),
            program: "/bin/cat".into(),
            argv: vec!["cat".into()],
        };
        self.say(&say, &[], &[input.as_fd(), null().as_fd(), null().as_fd()]);
        (ticket, hold.into())
    }

    /// What it says of a program that is not what was pinned: whether it ran, and what changed.
    fn altered(&self, ticket: Id) -> (bool, String) {
        let said = self.hear().say;
        let JailerToKeeper::Altered {
            ticket: of,
            why,
            changes,
            ran,
        } = said
        else {
            panic!("{said:?}")
        };
        assert_eq!(of, ticket);
        assert!(!changes.is_empty());
        (ran, why)
    }

    fn runs(&self) {
        let (end, out, errors) = self.jail("pins", &["/bin/echo", "runs"]);
        assert_eq!(
            (end.unwrap().code, out.as_str()),
            (Some(0), "runs\n"),
            "{errors}"
        );
    }
}

#[test]
fn a_large_tree_holds_up_nobody_elses_start() {
    let place = Place::new();
    let large = File::create(place.pinned().join("large")).unwrap();
    large.set_len(LARGE).unwrap();
    let jailer = place.jailer(Tree {
        path: place.pinned(),
        sha256: "0".repeat(64),
    });
    let (ticket, _hold) = jailer.waits();
    let (withdrawn, _hold) = jailer.waits();
    // Both are answered while it is still being read.
    let (_, end, _) = jailer.run("noop", "", vec![]);
    assert_eq!(end.unwrap().code, Some(0));
    let (end, out, _) = jailer.jail("foreign", &["/bin/echo", "others"]);
    assert_eq!((end.unwrap().code, out.as_str()), (Some(0), "others\n"));
    // What waits can be withdrawn, and its ticket was used.
    let say = KeeperToJailer::Kill { ticket: withdrawn };
    jailer.say(&say, &[], &[]);
    let (fault, detail) = jailer.hear_end(withdrawn).unwrap_err();
    assert_eq!(fault, JailFault::Failed);
    assert!(detail.contains("before it was started"), "{detail}");
    let (ran, why) = jailer.altered(ticket);
    assert!(!ran && why.contains("changed in digest"), "{why}");
}

#[test]
fn what_is_changed_while_a_program_runs_ends_it() {
    let place = Place::new();
    let jailer = place.jailer(tree(&place.pinned()));
    let (ticket, _hold) = jailer.waits();
    // The same content in another file is no change.
    fs::write(place.shown.path().join("new"), "1").unwrap();
    mode(&place.shown.path().join("new"), 0o644);
    fs::rename(place.shown.path().join("new"), place.pinned().join("one")).unwrap();
    jailer.runs();
    place.write("two", "3");
    let (ran, why) = jailer.altered(ticket);
    assert!(ran && why.contains("two` changed in content"), "{why}");
    let end = jailer.hear_end(ticket).unwrap();
    assert_eq!(
        (end.limit.as_deref(), end.signal),
        (Some("killed"), Some(9))
    );
    // It is not started either, until it is what it was.
    let (other, _hold) = jailer.waits();
    let (ran, why) = jailer.altered(other);
    assert!(!ran && why.contains("two` changed in content"), "{why}");
    let (end, out, _) = jailer.jail("foreign", &["/bin/echo", "others"]);
    assert_eq!((end.unwrap().code, out.as_str()), (Some(0), "others\n"));
    place.write("two", "2");
    jailer.runs();
}

#[test]
fn what_is_not_there_is_not_started_and_no_change_when_it_is_back() {
    let place = Place::new();
    let jailer = place.jailer(tree(&place.pinned()));
    jailer.runs();
    let away = place.shown.path().join("away");
    fs::rename(place.pinned(), &away).unwrap();
    let (end, ..) = jailer.jail("pins", &["/bin/echo", "runs"]);
    let (fault, detail) = end.unwrap_err();
    assert_eq!(fault, JailFault::NotFound);
    assert!(detail.contains("is not there"), "{detail}");
    fs::rename(&away, place.pinned()).unwrap();
    jailer.runs();
    // A program that runs meanwhile ends, and nothing is said to have changed.
    let (ticket, _hold) = jailer.waits();
    jailer.runs();
    fs::rename(place.pinned(), &away).unwrap();
    let end = jailer.hear_end(ticket).unwrap();
    assert_eq!(end.limit.as_deref(), Some("killed"));
    fs::rename(&away, place.pinned()).unwrap();
    jailer.runs();
}
