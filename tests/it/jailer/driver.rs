//! A jailer, started as a hardened supervisor starts it.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::mpsc::{Sender, channel};

use keepgate::jail::cgroup::Delegation;
use keepgate::jail::confine::Confine;
use keepgate::jail::foreign::users::Users;
use keepgate::jailer::JailerSetup;
use keepgate::sys::filter::Filter;
use keepgate::sys::process;
use keepgate::sys::spawn::{self, End};
use keepgate::wire::frame;
use keepgate::wire::messages::{Control, JailerToKeeper, Report, Role, SelfTest};
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;

pub(crate) use crate::harness::OWNER;

/// The uid of the jailer.
pub(super) const JAILER_UID: u32 = 64_901;
/// The first uid of its jails.
pub(crate) const JAIL_UID: u32 = 64_910;
/// How many there are.
pub(crate) const JAIL_UIDS: u32 = 64;

/// How a jailer was started.
pub(super) enum Process {
    /// As a supervisor does.
    Role(spawn::RoleChild),
    /// By something that became a jailer.
    Other(Child),
}

impl Process {
    fn pid(&self) -> u32 {
        match self {
            Self::Role(child) => child.pid,
            Self::Other(child) => child.id(),
        }
    }

    /// Waits for its end; gives that once.
    fn end(&mut self) -> End {
        match self {
            Self::Role(child) => {
                let mut polled = [PollFd::new(child.pidfd.as_fd(), PollFlags::POLLIN)];
                poll(&mut polled, PollTimeout::NONE).unwrap();
                spawn::try_wait(child.pidfd.as_fd()).unwrap().unwrap()
            }
            Self::Other(child) => {
                let status = child.wait().unwrap();
                let exited = status.code().map(End::Exited);
                exited.or(status.signal().map(End::Killed)).unwrap()
            }
        }
    }
}

/// A jailer that serves. Dropped, it stops in order, unless it was killed.
pub(crate) struct Jailer {
    process: Process,
    pub(crate) pid: u32,
    pub(crate) control: OwnedFd,
    pub(crate) link: OwnedFd,
    pub(super) root: tempfile::TempDir,
    pub(super) test: SelfTest,
    /// How it must end.
    pub(super) end: End,
    /// Keeps the thread that started it: the end of that is the jailer's.
    hold: Option<Sender<()>>,
}

/// What a jailer with `root` is told.
pub(super) fn setup(root: &Path) -> JailerSetup {
    JailerSetup {
        confine: Confine {
            uid: Some(JAILER_UID),
            ..Confine::default()
        },
        plane: "test".into(),
        jail_users: Some(Users {
            first: JAIL_UID,
            count: JAIL_UIDS,
        }),
        pins: std::collections::BTreeMap::new(),
        manifests: vec![],
        observe: false,
        ahead: 0,
        separation: "separate uids".into(),
        roots: vec![root.into()],
        accept: vec![keepgate::jail::cgroup::NO_CGROUPS.into()],
        cgroup: Delegation::default(),
    }
}

/// The product, to be started.
pub(crate) fn program() -> OwnedFd {
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    open(&crate::harness::binary(), flags, Mode::empty()).unwrap()
}

/// Starts a jailer with one root; or why it is none.
pub(crate) fn start(change: impl FnOnce(&mut JailerSetup)) -> Result<Jailer, String> {
    assert!(nix::unistd::geteuid().is_root(), "this test needs root");
    let root = tempfile::tempdir().unwrap();
    chown(root.path(), Some(OWNER), Some(OWNER)).unwrap();
    mode(root.path(), 0o700);
    let mut setup = setup(root.path());
    change(&mut setup);
    let observed = setup.observe || setup.manifests.iter().any(|manifest| manifest.observe);
    let (control, theirs) = frame::pair().unwrap();
    let (told, child) = channel();
    let (hold, released) = channel::<()>();
    // The supervisor's filter, which the jailer inherits, is for this one thread.
    std::thread::spawn(move || {
        process::no_new_privs().unwrap();
        if !observed {
            Filter::supervisor().unwrap().install().unwrap();
        }
        let child = spawn::role(program(), "jailer", "test", theirs.as_fd()).unwrap();
        drop(theirs);
        told.send(child).unwrap();
        // Nothing is ever sent: this is until the jailer is dropped.
        assert!(released.recv().is_err());
    });
    let process = Process::Role(child.recv().unwrap());
    begin(process, control, root, &setup, Some(hold))
}

/// Sets up the jailer in `child`, and links to it.
pub(super) fn begin(
    mut process: Process,
    control: OwnedFd,
    root: tempfile::TempDir,
    setup: &JailerSetup,
    hold: Option<Sender<()>>,
) -> Result<Jailer, String> {
    let blob = serde_json::to_vec(setup).unwrap();
    frame::send(control.as_fd(), &Control::Setup, &blob, &[]).unwrap();
    let report = || frame::recv::<Report>(control.as_fd(), 0).unwrap().unwrap();
    let mut said = report();
    if let Report::Partly { .. } = said.say {
        said = report();
    }
    if let Report::Unfit { why, hint } = said.say {
        assert_eq!(process.end(), End::Exited(1));
        return Err(format!("{why}; {}", hint.unwrap_or_default()));
    }
    assert!(matches!(said.say, Report::Ready));
    let link = link(&control);
    let test = greeting(&link);
    Ok(Jailer {
        pid: process.pid(),
        process,
        control,
        link,
        root,
        test,
        end: End::Exited(0),
        hold,
    })
}

/// A new link in place of the old one.
pub(super) fn link(control: &OwnedFd) -> OwnedFd {
    let (link, theirs) = frame::pair().unwrap();
    let peer = Role::Keeper;
    frame::send(
        control.as_fd(),
        &Control::Link { peer },
        &[],
        &[theirs.as_fd()],
    )
    .unwrap();
    link
}

/// The first message on a link, which must be that of a fit jailer.
pub(super) fn greeting(link: &OwnedFd) -> SelfTest {
    let first = frame::recv::<JailerToKeeper>(link.as_fd(), 0);
    let first = first.unwrap().unwrap().say;
    let JailerToKeeper::SelfTest { report, fit: true } = first else {
        panic!("{first:?}")
    };
    report
}

/// Sets permission bits.
pub(crate) fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

impl Jailer {
    /// As root starts it.
    pub(super) fn new() -> Self {
        start(|_| {}).unwrap()
    }

    /// A path beneath the root.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Writes a file of the root's owner.
    pub(super) fn file(&self, name: &str, content: &[u8]) {
        fs::write(self.path(name), content).unwrap();
        chown(self.path(name), Some(OWNER), Some(OWNER)).unwrap();
    }

    /// Names in the root, sorted.
    pub(super) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.root.path()).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Jailer {
    fn drop(&mut self) {
        drop(frame::send(self.control.as_fd(), &Control::Stop, &[], &[]));
        if std::thread::panicking() {
            return;
        }
        assert_eq!(self.process.end(), self.end);
        self.hold = None;
    }
}
