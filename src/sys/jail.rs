//! Starting a jailed tool: everything that does not change from one jail to the next is made once.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::signal::Signal;

use super::exec::{self, Child, Limit, Lockdown, Start};
use super::filter::Filter;
use super::init::BOUNDING;
use super::raw;
use super::second;
use super::spawn::{self, End, Usage};

/// Namespaces every jail gets new; mount, network and host name are the jailer's own empty ones.
const NAMESPACES: i32 = libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
/// What all native jails of a jailer have in common.
#[derive(Debug)]
pub struct Template {
    /// This process; its end kills every jail.
    pub parent: OwnedFd,
}

/// One native jail.
#[derive(Debug, Clone, Copy)]
pub struct Native<'a> {
    /// Its program; nobody can change it.
    pub program: BorrowedFd<'a>,
    /// A Landlock ruleset that allows no more than to run it; `None` where its lack was accepted.
    pub ruleset: Option<BorrowedFd<'a>>,
    /// Its arguments, the name first.
    pub argv: &'a [&'a CStr],
    /// Its descriptors 0, 1, …
    pub fds: &'a [BorrowedFd<'a>],
    /// What it may ask of the kernel.
    pub filter: &'a Filter,
    /// Hard limits: resource, soft, hard.
    pub limits: &'a [Limit],
    /// Uid and gid; `None` where there is only one user.
    pub uid: Option<u32>,
    /// Where the descriptor goes at which its refused calls are told, where `filter` observes.
    pub listener: Option<BorrowedFd<'a>>,
    /// The cgroup it begins in, where it has one.
    pub cgroup: Option<BorrowedFd<'a>>,
    /// The first process of its pid namespace, where it is not to be that itself.
    pub first: Option<First<'a>>,
}

/// A program that does nothing but be the first process of a jail: what the jail's program could be
/// taken for by the kernel, were it that itself.
#[derive(Debug, Clone, Copy)]
pub struct First<'a> {
    /// It; nobody can change it.
    pub program: BorrowedFd<'a>,
    /// A Landlock ruleset that allows no more than to run it; `None` where its lack was accepted.
    pub ruleset: Option<BorrowedFd<'a>>,
    /// Its arguments, the name first.
    pub argv: &'a [&'a CStr],
    /// What it may ask of the kernel.
    pub filter: &'a Filter,
    /// Hard limits: resource, soft, hard.
    pub limits: &'a [Limit],
    /// What it has as descriptors 0, 1 and 2, where it cannot do without.
    pub stdio: Option<BorrowedFd<'a>>,
}

/// Capabilities a jailer needs for foreign jails, and the first process of each keeps for a moment.
pub const MAKES: [u8; 7] = BOUNDING;

/// The first process of a foreign jail, to be started.
#[derive(Debug)]
pub struct FirstProcess<'a> {
    /// The tools' program.
    pub program: BorrowedFd<'a>,
    /// Its network namespace, which nothing else is in.
    pub network: BorrowedFd<'a>,
    /// Its descriptors, numbered from 0.
    pub fds: &'a [BorrowedFd<'a>],
    /// The cgroup it begins in, where it has one.
    pub cgroup: Option<BorrowedFd<'a>>,
}

impl FirstProcess<'_> {
    /// Starts it in new pid, mount, IPC and host name namespaces.
    ///
    /// # Errors
    /// Names the step that failed; nothing runs then.
    pub fn spawn(&self) -> io::Result<Jailed> {
        let namespaces = NAMESPACES | libc::CLONE_NEWNS;
        let argv = [c"keepgate-tool", c"init"];
        let start = Start {
            namespaces: u64::from(namespaces.cast_unsigned()),
            network: Some(self.network),
            ambient: &MAKES,
            cgroup: self.cgroup,
            ..Start::new(self.program, &argv, self.fds)
        };
        Jailed::start(&start)
    }
}

/// A running jail.
#[derive(Debug)]
pub struct Jailed {
    program: Child,
    /// The first process of its pid namespace, where the program is not that itself.
    first: Option<Child>,
}

impl AsFd for Jailed {
    /// The pidfd of its program: readable once that has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.program.pidfd.as_fd()
    }
}

impl Jailed {
    fn start(start: &Start<'_>) -> io::Result<Self> {
        let program = exec::start(start)?;
        Ok(Self {
            program,
            first: None,
        })
    }

    /// Its number, as this process' pid namespace has it: of the first process of its own, where that is
    /// another one than the program.
    pub fn pid(&self) -> u32 {
        let first = self.first.as_ref().unwrap_or(&self.program);
        first.pid.cast_unsigned()
    }

    /// Kills it. The first process of its pid namespace ends with all others in there, so nothing
    /// outlives it.
    pub fn kill(&self) {
        let first = self.first.as_ref().unwrap_or(&self.program);
        if let Err(error) = spawn::signal(first.pidfd.as_fd(), Signal::SIGKILL) {
            tracing::error!(%error, "cannot kill a jail");
        }
    }

    /// Waits for the end of its program, which is the end of all that is in it.
    ///
    /// # Errors
    /// Cannot fail for a child that was not waited for before.
    pub fn wait(self) -> io::Result<(End, Usage)> {
        let ended = spawn::wait_pid(self.program.pid);
        if let Some(first) = &self.first {
            second::end(first);
        }
        ended
    }
}

impl Template {
    /// Starts a jail.
    ///
    /// # Errors
    /// Names the step that failed; nothing runs then.
    pub fn spawn(&self, jail: &Native<'_>) -> io::Result<Jailed> {
        let lockdown = Lockdown {
            uid: jail.uid,
            bounding: &BOUNDING,
            limits: jail.limits,
            ruleset: jail.ruleset,
            filter: &jail.filter.0,
            parent: self.parent.as_fd(),
            listener: jail.listener,
        };
        let namespaces = match jail.first {
            None => NAMESPACES,
            Some(_) => NAMESPACES & !libc::CLONE_NEWPID,
        };
        let start = Start {
            namespaces: u64::from(namespaces.cast_unsigned()),
            cgroup: jail.cgroup,
            lockdown: Some(lockdown),
            ..Start::new(jail.program, jail.argv, jail.fds)
        };
        let Some(first) = jail.first else {
            return Jailed::start(&start);
        };
        let stdio = first.stdio.map(|fd| [fd; 3]);
        let fds = stdio.as_ref().map_or(&[][..], |fds| &fds[..]);
        let first = Start {
            cgroup: jail.cgroup,
            lockdown: Some(Lockdown {
                limits: first.limits,
                ruleset: first.ruleset,
                filter: &first.filter.0,
                listener: None,
                ..lockdown
            }),
            ..Start::new(first.program, first.argv, fds)
        };
        let [first, program] = second::start(&first, &start)?;
        Ok(Jailed {
            program,
            first: Some(first),
        })
    }
}

/// A pidfd of this process.
///
/// # Errors
/// What pidfd_open(2) says.
#[expect(unsafe_code, reason = "pidfd_open has no wrapper")]
pub fn own_pidfd() -> io::Result<OwnedFd> {
    use std::os::fd::FromRawFd;
    let pid = nix::unistd::getpid().as_raw();
    // SAFETY: both arguments are numbers.
    let fd = unsafe { raw::call(libc::SYS_pidfd_open, [pid.into(), 0, 0, 0, 0, 0]) }?;
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel made it for the call just above.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
