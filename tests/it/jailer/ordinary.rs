//! The jailer as an ordinary user starts it.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};

use keepgate::wire::frame;
use keepgate::wire::messages::{FileOrder, OpenAs};

use super::driver::{Process, begin, mode, setup};
use super::orders::present;

/// `nobody`: a user without a single right.
const NOBODY: u32 = 65_534;

/// Starts the program as a role is started, but as another user: `bash` gives it the name of a
/// jailer, and its standard input as descriptor 3.
fn start_as_nobody(program: &Path, control: OwnedFd) -> Child {
    Command::new("bash")
        .args(["-c", "exec -a keepgate-jailer \"$0\" test 3<&0 0</dev/null"])
        .arg(program)
        .env_clear()
        .uid(NOBODY)
        .gid(NOBODY)
        .stdin(control)
        .spawn()
        .unwrap()
}

#[test]
fn an_ordinary_user_has_the_same_jail() {
    // A place for the program that this user can see.
    let directory = tempfile::tempdir().unwrap();
    mode(directory.path(), 0o755);
    let program = directory.path().join("keepgate");
    fs::copy(crate::harness::binary(), &program).unwrap();
    mode(&program, 0o755);
    let root = tempfile::tempdir_in(directory.path()).unwrap();
    chown(root.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    let mut setup = setup(root.path());
    setup.confine.uid = None;
    setup.jail_users = None;
    setup.separation = keepgate::keeper::ONE_USER.into();
    let (control, theirs) = frame::pair().unwrap();
    let process = Process::Other(start_as_nobody(&program, theirs));
    let jailer = begin(process, control, root, &setup, None).unwrap();
    assert_eq!(jailer.test.succeeded, [""; 0]);
    assert_eq!(jailer.test.separation, "one user");
    fs::write(jailer.path("a"), b"mine").unwrap();
    chown(jailer.path("a"), Some(NOBODY), Some(NOBODY)).unwrap();
    let order = |open| FileOrder {
        uid: None,
        gid: None,
        ..jailer.order("a", open)
    };
    let text = r#"{"arguments":{"path":"a","content":"new"},"mode":"live"}"#;
    let (_, end, output) = jailer.run("file.read", text, vec![order(OpenAs::Read)]);
    assert_eq!(end.unwrap().code, Some(0), "{output}");
    assert!(output.contains("mine"), "{output}");
    let (ticket, end, output) = jailer.run("file.write", text, vec![order(OpenAs::Replace)]);
    assert_eq!(end.unwrap().code, Some(0), "{output}");
    let mode = fs::metadata(jailer.path("a")).unwrap().permissions().mode();
    let before = present(b"mine", mode & 0o7777);
    jailer.publish(ticket, before, b"new").unwrap();
    assert_eq!(fs::read(jailer.path("a")).unwrap(), b"new");
}
