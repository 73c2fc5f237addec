//! The jailer as an ordinary user starts it.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Child, Command};

use keepgate::wire::frame;
use keepgate::wire::messages::{FileOrder, OpenAs};

use super::driver::{Process, begin, mode, setup};
use super::orders::present;
use crate::harness::Cgroup;

/// `nobody`: a user without a single right.
const NOBODY: u32 = 65_534;

/// Starts the program as a role is started, but as another user, and in `group` where there is one:
/// `bash` gives it the name of a jailer, and its standard input as descriptor 3.
fn start_as_nobody(program: &Path, control: OwnedFd, group: Option<&Path>) -> Child {
    let jailer = "exec -a keepgate-jailer \"$0\" test 3<&0 0</dev/null";
    let script = "[[ -z $0 ]] || echo $$ > \"$0/cgroup.procs\" || exit; \
                  exec setpriv --reuid \"$1\" --regid \"$1\" --clear-groups bash --norc -c \"$2\" \"$3\"";
    Command::new("bash")
        .args(["--norc", "-c", script])
        .arg(group.unwrap_or(Path::new("")))
        .args([&NOBODY.to_string(), jailer])
        .arg(program)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .stdin(control)
        .spawn()
        .unwrap()
}

#[test]
fn an_ordinary_user_has_the_same_jail() {
    works(None);
    // The same in a cgroup that was delegated to this user.
    let Some(group) = super::cgroups::subtree(NOBODY) else {
        return;
    };
    let own = group.path().join("jailer/cgroup.procs");
    chown(own, Some(NOBODY), Some(NOBODY)).unwrap();
    works(Some(&group));
    assert_eq!(group.children(), ["jailer"]);
}

fn works(group: Option<&Cgroup>) {
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
    // Only root brings a process here from somewhere else.
    let before = group.map(|group| group.path().join("jailer"));
    setup.cgroup.path = group.map(|group| group.path().into());
    let process = Process::Other(start_as_nobody(&program, theirs, before.as_deref()));
    let jailer = begin(process, control, root, &setup, None).unwrap();
    assert_eq!(
        jailer.test.limiting.kill,
        group.is_some(),
        "{:?}",
        jailer.test
    );
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
