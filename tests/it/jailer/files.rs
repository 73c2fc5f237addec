//! Opening files beneath roots.

use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::os::unix::net::UnixListener;

use keepgate::call::id::Id;
use keepgate::wire::messages::{FileOrder, FileState, JailFault, KeeperToJailer, OpenAs};
use nix::mount::{MsFlags, mount, umount};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};

use super::driver::{Jailer, OWNER, mode, start};

#[test]
fn files_are_read_and_listed() {
    let jailer = Jailer::new();
    jailer.file("a.txt", b"hello");
    fs::create_dir(jailer.path("d")).unwrap();
    chown(jailer.path("d"), Some(OWNER), Some(OWNER)).unwrap();
    jailer.file("d/b", b"deep");
    assert_eq!(jailer.read("a.txt").unwrap(), "hello");
    assert_eq!(jailer.read("d/b").unwrap(), "deep");
    let order = r#"{"arguments":{"path":"x"},"mode":"live"}"#;
    for (path, name) in [(".", "\"a.txt\""), ("d", "\"b\"")] {
        let files = vec![jailer.order(path, OpenAs::Directory)];
        let (_, end, output) = jailer.run("file.list", order, files);
        assert_eq!(end.unwrap().code, Some(0), "{output}");
        assert!(output.contains(name), "{output}");
    }
}

#[test]
fn every_class_of_open_fault() {
    let jailer = Jailer::new();
    let all = Mode::from_bits_truncate(0o666);
    jailer.file("a", b"x");
    fs::create_dir(jailer.path("d")).unwrap();
    mode(&jailer.path("d"), 0o700);
    nix::unistd::mkfifo(&jailer.path("fifo"), all).unwrap();
    chown(jailer.path("fifo"), Some(OWNER), Some(OWNER)).unwrap();
    symlink("/etc/passwd", jailer.path("link")).unwrap();
    symlink(jailer.root.path(), jailer.path("dirlink")).unwrap();
    fs::write(jailer.path("secret"), b"x").unwrap();
    mode(&jailer.path("secret"), 0o600);
    let _socket = UnixListener::bind(jailer.path("socket")).unwrap();
    let device = makedev(1, 3);
    mknod(&jailer.path("device"), SFlag::S_IFCHR, all, device).unwrap();
    for (path, fault) in [
        ("nothing", JailFault::NotFound),
        ("d/nothing", JailFault::NotPermitted),
        ("a/b", JailFault::WrongKind),
        ("d", JailFault::WrongKind),
        ("fifo", JailFault::WrongKind),
        ("socket", JailFault::WrongKind),
        ("device", JailFault::WrongKind),
        ("secret", JailFault::NotPermitted),
        ("link", JailFault::Outside),
        ("dirlink/a", JailFault::Outside),
        ("..", JailFault::Outside),
        ("../etc/passwd", JailFault::Outside),
        ("/etc/passwd", JailFault::Outside),
        ("a\0", JailFault::Outside),
        ("", JailFault::Outside),
    ] {
        assert_eq!(jailer.read(path), Err(fault), "{path:?}");
    }
    for (path, fault) in [
        ("link", JailFault::Outside),
        ("fifo", JailFault::WrongKind),
        (".keepgate-x", JailFault::NotPermitted),
        ("d/x", JailFault::NotPermitted),
        ("secret", JailFault::NotPermitted),
        ("no/x", JailFault::NotFound),
    ] {
        let files = vec![jailer.order(path, OpenAs::Replace)];
        assert_eq!(jailer.refusal(files), fault, "{path:?}");
    }
    assert_eq!(jailer.inspect("link"), Err(JailFault::Outside));
    assert_eq!(jailer.inspect("nothing"), Ok(FileState::Absent));
    assert_eq!(jailer.read("a").unwrap(), "x");
}

#[test]
fn orders_for_what_nobody_may_have_are_refused() {
    let jailer = Jailer::new();
    jailer.file("a", b"x");
    let other = FileOrder {
        root: "/etc".into(),
        ..jailer.order("passwd", OpenAs::Read)
    };
    assert_eq!(jailer.refusal(vec![other]), JailFault::NotFound);
    let two = vec![jailer.order("a", OpenAs::Replace); 2];
    assert_eq!(jailer.refusal(two), JailFault::Failed);
    let say = KeeperToJailer::Inspect {
        ticket: Id::random().unwrap(),
        file: jailer.order("a", OpenAs::Read),
        max: 0,
    };
    assert_eq!(jailer.ask(&say, &[]).unwrap_err().0, JailFault::TooLarge);
}

#[test]
fn a_mount_beneath_a_root_is_outside() {
    let jailer = start(|setup| {
        let below = setup.roots[0].join("proc");
        fs::create_dir(&below).unwrap();
        let flags = MsFlags::empty();
        mount(Some("x"), &below, Some("tmpfs"), flags, None::<&str>).unwrap();
        fs::write(below.join("f"), b"x").unwrap();
    })
    .unwrap();
    let read = jailer.read("proc/f");
    umount(&jailer.path("proc")).unwrap();
    assert_eq!(read, Err(JailFault::Outside));
}

#[test]
fn owner_and_set_uid_are_not_lost_silently() {
    let jailer = Jailer::new();
    jailer.file("suid", b"x");
    mode(&jailer.path("suid"), 0o4755);
    fs::write(jailer.path("roots"), b"x").unwrap();
    mode(&jailer.path("roots"), 0o666);
    for path in ["suid", "roots"] {
        let files = vec![jailer.order(path, OpenAs::Replace)];
        assert_eq!(jailer.refusal(files), JailFault::NotPermitted, "{path}");
    }
}
