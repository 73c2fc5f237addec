//! Trees: what changes a digest, and what is not read again.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;

use super::*;

fn tree() -> (tempfile::TempDir, PathBuf) {
    let temp = tempfile::tempdir().unwrap();
    let top = temp.path().join("top");
    fs::create_dir_all(top.join("a/b")).unwrap();
    fs::write(top.join("a/file"), "content").unwrap();
    fs::write(top.join("a-file"), "other").unwrap();
    symlink("a/file", top.join("link")).unwrap();
    (temp, top)
}

#[test]
fn every_change_changes_the_digest() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 11] = [
        ("content", |top| {
            fs::write(top.join("a/file"), "Content").unwrap()
        }),
        ("longer", |top| {
            fs::write(top.join("a/file"), "content ").unwrap()
        }),
        ("added", |top| fs::write(top.join("a/b/new"), "").unwrap()),
        ("hidden", |top| fs::write(top.join(".new"), "").unwrap()),
        ("directory", |top| fs::create_dir(top.join("a/c")).unwrap()),
        ("removed", |top| {
            fs::remove_file(top.join("a-file")).unwrap()
        }),
        ("renamed", |top| {
            fs::copy(top.join("a-file"), top.join("b-file")).unwrap();
            fs::remove_file(top.join("a-file")).unwrap();
        }),
        ("mode", |top| mode(&top.join("a/file"), 0o755)),
        ("set-user-id", |top| mode(&top.join("a/file"), 0o4644)),
        ("link", |top| {
            fs::remove_file(top.join("link")).unwrap();
            symlink("a-file", top.join("link")).unwrap();
        }),
        ("file to link", |top| {
            fs::remove_file(top.join("a-file")).unwrap();
            symlink("a/file", top.join("a-file")).unwrap();
        }),
    ];
    for (what, change) in changes {
        let (_temp, top) = tree();
        let before = Measured::read(&top).unwrap();
        assert_eq!(before.sha256(), Measured::read(&top).unwrap().sha256());
        let mut old = before.clone();
        old.began_us += RACY * 2;
        assert!(old.is_unchanged(Top::Host), "{what}");
        change(&top);
        assert!(!old.is_unchanged(Top::Host), "{what}");
        let after = Measured::read(&top).unwrap();
        assert_ne!(before.sha256(), after.sha256(), "{what}");
        let again = before.again(Top::Host).unwrap();
        assert_eq!(again.sha256(), after.sha256(), "{what}");
    }
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn what_is_still_the_same_is_not_read_again() {
    let (_temp, top) = tree();
    let mut measured = Measured::read(&top).unwrap();
    // A digest that no reading gives: where it comes back, nothing was read.
    let mark = |measured: &mut Measured| {
        let entry = measured.entries.get_mut("a/file").unwrap();
        entry.content = Content::File("kept".into());
    };
    mark(&mut measured);
    let kept = |measured: &Measured| {
        let again = measured.again(Top::Host).unwrap();
        again.entries["a/file"].content == Content::File("kept".into())
    };
    // Just made: a second change could have the same time.
    assert!(!kept(&measured));
    measured.began_us += RACY * 2;
    assert!(kept(&measured));
    let content = fs::read(top.join("a/file")).unwrap();
    fs::remove_file(top.join("a/file")).unwrap();
    fs::write(top.join("a/file"), content).unwrap();
    assert!(!kept(&measured));
}

#[test]
fn what_is_known_by_its_stamps_alone_is_no_younger_than_they_can_tell() {
    let (temp, top) = tree();
    let mut measured = Measured::read(&top).unwrap();
    // Just made: a second change could have the same time.
    assert!(!measured.is_unchanged(Top::Host));
    measured.began_us += RACY * 2;
    assert!(measured.is_unchanged(Top::Host));
    let root = fs::File::open(temp.path()).unwrap();
    let within = |path| measured.is_unchanged(Top::Within(root.as_fd(), Path::new(path)));
    assert!(within("top") && within("/top") && !within("top/a") && !within("none"));
    // The same content in another file is the same tree, and not known any more.
    let content = fs::read(top.join("a-file")).unwrap();
    fs::remove_file(top.join("a-file")).unwrap();
    fs::write(top.join("a-file"), content).unwrap();
    assert!(!measured.is_unchanged(Top::Host));
    let again = measured.again(Top::Host).unwrap();
    assert_eq!(again.sha256(), measured.sha256());
}

#[test]
fn gone_is_what_has_no_name_any_more_and_nothing_else() {
    let (_temp, top) = tree();
    let gone = |path: &Path| Measured::is_gone(path, Top::Host);
    assert!(!gone(&top) && !gone(&top.join("link")) && gone(&top.join("none")));
    assert!(gone(&top.join("a-file/below")));
    let held = fs::File::open(&top).unwrap();
    let within = || Measured::is_gone(&top, Top::Within(held.as_fd(), Path::new("a")));
    assert!(!within());
    fs::remove_dir_all(&top).unwrap();
    assert!(gone(&top) && within());
}

#[test]
fn a_tree_within_a_root_is_the_same_and_links_stay_in_there() {
    let (temp, top) = tree();
    let root = fs::File::open(temp.path()).unwrap();
    let own = Measured::read(&top).unwrap();
    let within = |path: &str| {
        let path = Path::new(path);
        Measured::read_at(&top, Top::Within(root.as_fd(), path)).map(|one| one.sha256())
    };
    assert_eq!(within("top").unwrap(), own.sha256());
    assert_eq!(within("/top").unwrap(), own.sha256());
    let file = Measured::read(&top.join("a/file")).unwrap().sha256();
    symlink("/top/a", temp.path().join("way")).unwrap();
    assert_eq!(within("/way/file").unwrap(), file);
    symlink("../../../../../../etc", temp.path().join("out")).unwrap();
    assert!(within("/out/hostname").is_err());
}

#[test]
fn what_others_may_write_is_lent_to_them() {
    let (_temp, top) = tree();
    let own = nix::unistd::geteuid().as_raw();
    let lent = |own: u32| Measured::read(&top).unwrap().lent_to_others(own);
    assert_eq!(lent(own), None);
    // A link's mode says nothing, and its target is looked at where it is.
    for (name, bits, why) in [
        ("a/file", 0o646, "others may write it"),
        ("a/b", 0o1777, "others may write it"),
        ("a-file", 0o664, "its group may write it"),
    ] {
        let before = fs::metadata(top.join(name)).unwrap().permissions();
        mode(&top.join(name), bits);
        let found = lent(own).unwrap();
        assert_eq!((found.path, found.why.as_str()), (top.join(name), why));
        fs::set_permissions(top.join(name), before).unwrap();
    }
    assert_eq!(lent(own), None);
    if own == 0 {
        std::os::unix::fs::chown(top.join("a/file"), Some(4_711), None).unwrap();
        assert_eq!(lent(0).unwrap().why, "it belongs to uid 4711");
        assert_eq!(lent(4_711), None);
    }
}

#[test]
fn a_place_does_not_count_and_a_file_is_a_tree() {
    let (_temp, top) = tree();
    let (_other, elsewhere) = tree();
    let one = Measured::read(&top).unwrap();
    assert_eq!(one.sha256(), Measured::read(&elsewhere).unwrap().sha256());
    let file = Measured::read(&top.join("a/file")).unwrap();
    assert_eq!(file.entries.len(), 1);
    assert_eq!(of_file(&top.join("a/file")).unwrap(), sha256(b"content"));
}

#[test]
fn links_are_not_followed_and_odd_things_are_refused() {
    let (temp, top) = tree();
    fs::write(temp.path().join("outside"), "x").unwrap();
    symlink("../outside", top.join("out")).unwrap();
    symlink(".", top.join("circle")).unwrap();
    let before = Measured::read(&top).unwrap().sha256();
    fs::write(temp.path().join("outside"), "changed").unwrap();
    assert_eq!(before, Measured::read(&top).unwrap().sha256());
    let _socket = UnixListener::bind(top.join("socket")).unwrap();
    let error = Measured::read(&top).unwrap_err();
    assert!(error.message().contains("neither a file"), "{error}");
    assert!(Measured::read(&top.join("none")).is_err());
}
