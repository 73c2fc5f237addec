//! Roles of this command's own: a jailer, and an egress where the jail has a way out. They are
//! started, set up and confined as a supervisor does it, and end with this process.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::Signal;
use nix::unistd::dup2_stderr;
use serde::Serialize;

use super::users::Own;
use crate::config::Config;
use crate::egress::EgressSetup;
use crate::error::{Context, Error, Kind, Result};
use crate::jail::cgroup::Delegation;
use crate::jail::confine::Confine;
use crate::jail::foreign::users::Users;
use crate::jail::{NO_CGROUPS, TOO_OLD};
use crate::jailer::JailerSetup;
use crate::sys::spawn::{self, End, RoleChild};
use crate::wire::frame;
use crate::wire::manifest::Manifest;
use crate::wire::messages::{Control, JailerToKeeper, Report, Role, SelfTest, Unusable};
use crate::wire::text::Escaped;

/// How long a role has to get ready.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long it has to stop in order.
const STOPPING: Duration = Duration::from_secs(2);
/// What a private role is called where a plane's name belongs.
pub(in crate::cli) const NAME: &str = "run";
/// Longest end of a role's diagnostics that an error shows, in characters.
const LAST_WORDS: usize = 300;
/// Longest reason and hint of a role's that an error shows, in characters.
const WORDS_MAX: usize = 1_000;

/// A role, ready, and the keeper's end of the link to it.
#[derive(Debug)]
pub(in crate::cli) struct Private {
    role: Role,
    child: RoleChild,
    control: OwnedFd,
    /// Where the keeper speaks with it.
    pub(in crate::cli) link: OwnedFd,
    words: File,
}

/// A jailer that has tested itself.
#[derive(Debug)]
pub(in crate::cli) struct Jailer {
    /// Its process and links.
    pub(in crate::cli) role: Private,
    /// What its self-test found.
    pub(in crate::cli) test: SelfTest,
}

/// Starts a jailer for this one manifest, with the cgroups it may use.
///
/// # Errors
/// Fails where it cannot serve, and, `strict`, where a protection is missing.
pub(in crate::cli) fn jailer(
    manifest: &Manifest,
    users: Option<Own>,
    cgroup: Delegation,
    strict: bool,
) -> Result<Jailer> {
    let setup = jailer_setup(manifest, users, cgroup, strict);
    let role = Private::start(Role::Jailer, &setup)?;
    let heard = frame::recv::<JailerToKeeper>(role.link.as_fd(), 0)?;
    let Some(JailerToKeeper::SelfTest { fit: true, report }) = heard.map(|frame| frame.say) else {
        return Err(Error::new("the jailer did not pass its self-test"));
    };
    if let Some(Unusable { why, hint, .. }) = report.unusable.first() {
        return Err(cannot(Role::Jailer, why, hint.as_deref()));
    }
    if strict && !report.degraded.is_empty() {
        let what = format!("protection is missing here: {}", report.degraded.join(", "));
        return Err(Error::of(Kind::Degraded, what)
            .hint("`keepgate doctor` says what mends it; without `--strict` it is only told"));
    }
    Ok(Jailer { role, test: report })
}

/// Starts an egress that asks the DNS servers of this host; `roots` are the certification
/// authorities (PEM) it believes, of no use to one that only holds tunnels.
///
/// # Errors
/// Fails where it cannot serve.
pub(in crate::cli) fn egress(
    users: Option<Own>,
    strict: bool,
    roots: Vec<String>,
) -> Result<Private> {
    let setup = EgressSetup {
        confine: confine(users.map(|users| users.egress), strict),
        plane: NAME.into(),
        resolvers: Config::default().resolvers(),
        ca: Vec::new(),
        roots,
    };
    Private::start(Role::Egress, &setup)
}

fn jailer_setup(
    manifest: &Manifest,
    users: Option<Own>,
    cgroup: Delegation,
    strict: bool,
) -> JailerSetup {
    let separation = match users {
        Some(_) => "separate uids",
        None => "one user",
    };
    JailerSetup {
        confine: confine(users.map(|users| users.jailer), strict),
        plane: NAME.into(),
        jail_users: users.map(|users| Users {
            first: users.jail,
            count: 1,
        }),
        pins: std::collections::BTreeMap::new(),
        manifests: vec![manifest.clone()],
        // Of Keepgate's own tools, which this jailer never runs.
        observe: false,
        ahead: 0,
        separation: separation.into(),
        roots: Vec::new(),
        accept: accepted(strict),
        cgroup,
    }
}

fn confine(uid: Option<u32>, strict: bool) -> Confine {
    Confine {
        uid,
        gid: uid,
        accept: accepted(strict),
        ..Confine::default()
    }
}

/// What a person who runs a program by hand is told instead of being refused.
fn accepted(strict: bool) -> Vec<String> {
    match strict {
        true => Vec::new(),
        false => vec![TOO_OLD.into(), NO_CGROUPS.into()],
    }
}

impl Private {
    fn start(role: Role, setup: &impl Serialize) -> Result<Self> {
        let what = || format!("start the {}", role.name());
        let (control, theirs) = frame::pair()?;
        let program = spawn::program().context(|| "open this program".into())?;
        // Diagnostics of a role are not the program's standard error; they are kept for the case
        // that it fails.
        let words = memfd_create("keepgate-words", MFdFlags::MFD_CLOEXEC).context(what)?;
        let child = aside(words.as_fd(), || {
            spawn::role(&program, role.name(), NAME, theirs.as_fd())
        })??;
        drop(theirs);
        let (link, far) = frame::pair()?;
        let mut started = Self {
            role,
            child,
            control,
            link,
            words: words.into(),
        };
        let blob = serde_json::to_vec(setup).context(what)?;
        started.tell(&Control::Setup, &blob, &[])?;
        started.ready()?;
        let peer = Role::Keeper;
        started.tell(&Control::Link { peer }, &[], &[far.as_fd()])?;
        Ok(started)
    }

    fn tell(&self, say: &Control, blob: &[u8], fds: &[BorrowedFd<'_>]) -> Result<()> {
        frame::send_within(self.control.as_fd(), say, blob, fds, PATIENCE)
    }

    /// Waits until it says that it serves.
    fn ready(&mut self) -> Result<()> {
        let mut polled = [PollFd::new(self.control.as_fd(), PollFlags::POLLIN)];
        let patience = PollTimeout::try_from(PATIENCE).unwrap_or(PollTimeout::MAX);
        let name = self.role.name();
        match poll(&mut polled, patience) {
            Ok(0) => return Err(Error::new(format!("the {name} did not get ready"))),
            Ok(_) => {}
            Err(errno) => return Err(Error::new(format!("wait for the {name}")).because(errno)),
        }
        match frame::recv::<Report>(self.control.as_fd(), 0)?.map(|frame| frame.say) {
            Some(Report::Ready) => Ok(()),
            // The link tells which, and why.
            Some(Report::Partly { .. }) if self.role == Role::Jailer => self.ready(),
            Some(Report::Unfit { why, hint }) => Err(cannot(self.role, &why, hint.as_deref())),
            Some(
                Report::Partly { .. }
                | Report::Agents { .. }
                | Report::Admitted { .. }
                | Report::Look { .. },
            ) => Err(Error::new(format!("the {name} talks nonsense"))),
            None => Err(self.died()),
        }
    }

    /// Its process, to be watched for its end.
    pub(in crate::cli) fn process(&self) -> BorrowedFd<'_> {
        self.child.pidfd.as_fd()
    }

    /// Why it is gone, as far as its end and its last words tell.
    pub(in crate::cli) fn died(&mut self) -> Error {
        let name = self.role.name();
        // Its link is closed a little before it has ended.
        if let Ok(Some(End::Killed(number))) = self.end_within(STOPPING) {
            let signal = Signal::try_from(number).map_or("a signal", Signal::as_str);
            let what =
                format!("the {name} of this jail was killed by {signal}, and the jail with it");
            return Error::new(what).hint(
                "somebody did that, or the kernel for lack of memory (`dmesg` says so); what the \
                 program did until then is done",
            );
        }
        let mut words = String::new();
        // Nothing to tell is no reason to fail differently.
        let read = self.words.rewind();
        drop(read.and_then(|()| self.words.read_to_string(&mut words)));
        let last = words.lines().rfind(|line| !line.trim().is_empty());
        Error::new(match last {
            Some(line) => format!("the {name} died: {}", Escaped::cut(line, LAST_WORDS)),
            None => format!("the {name} died"),
        })
    }

    fn ended_within(&self, patience: Duration) -> bool {
        !matches!(self.end_within(patience), Ok(None))
    }

    /// How it ended, which is told once.
    fn end_within(&self, patience: Duration) -> io::Result<Option<End>> {
        let until = Instant::now() + patience;
        loop {
            match spawn::try_wait(self.process()) {
                Ok(None) => {}
                ended => return ended,
            }
            let left = until.saturating_duration_since(Instant::now());
            let mut polled = [PollFd::new(self.process(), PollFlags::POLLIN)];
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
            if matches!(poll(&mut polled, timeout), Ok(0)) {
                return Ok(None);
            }
        }
    }
}

impl Drop for Private {
    /// In order where it still listens, and by force where it does not. No jail is left: they die
    /// with their jailer.
    fn drop(&mut self) {
        let told = frame::send_within(self.control.as_fd(), &Control::Stop, &[], &[], STOPPING);
        if told.is_ok() && self.ended_within(STOPPING) {
            return;
        }
        if spawn::signal(self.process(), Signal::SIGKILL).is_ok() {
            self.ended_within(STOPPING);
        }
    }
}

fn cannot(role: Role, why: &str, hint: Option<&str>) -> Error {
    let why = Escaped::again(why, WORDS_MAX).to_string();
    let error = Error::new(format!("the {} cannot serve: {why}", role.name()));
    match hint {
        Some(hint) => error.hint(Escaped::again(hint, WORDS_MAX).to_string()),
        None => error.hint(mend(&why)),
    }
}

/// What mends a jail that did not pass its self-test.
fn mend(why: &str) -> &'static str {
    // A user namespace gets a `/proc` of its own only where it sees a whole one already
    // (mount_namespaces(7), "restrictions": `mnt_already_visible()` of the kernel).
    match why.contains("/proc: Operation not permitted") {
        true => {
            "a part of this container's `/proc` is hidden, and so no jail gets one of its own: start \
             the container without that (`--security-opt systempaths=unconfined` of docker and \
             podman), or run this as root"
        }
        false => "`keepgate doctor` says what this host lacks",
    }
}

/// Does something while `there` stands for standard error. This process has one thread.
fn aside<T>(there: BorrowedFd<'_>, act: impl FnOnce() -> T) -> Result<T> {
    let what = || "set standard error aside".to_owned();
    let own = io::stderr().as_fd().try_clone_to_owned().context(what)?;
    dup2_stderr(there).context(what)?;
    let done = act();
    dup2_stderr(own).context(what)?;
    Ok(done)
}
