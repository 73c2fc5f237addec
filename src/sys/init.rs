//! What the first process of a foreign jail needs of the kernel.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::exec::{self, Limit, Lockdown, Start};
use super::filter::Filter;
use super::process::capability;
use super::raw;

/// What the jailer holds and no jail may ever have.
pub(super) const BOUNDING: [u8; 7] = [
    capability::KILL,
    capability::SETGID,
    capability::SETUID,
    capability::NET_ADMIN,
    capability::SYS_CHROOT,
    capability::SYS_ADMIN,
    // Last: it is what dropping the others needs.
    capability::SETPCAP,
];

/// The program of a jail and what it gets.
#[derive(Debug)]
pub struct Program<'a> {
    /// What it is.
    pub file: Executable<'a>,
    /// Its working directory.
    pub directory: &'a CStr,
    /// Its arguments, the name first.
    pub argv: &'a [&'a CStr],
    /// Its environment.
    pub env: &'a [&'a CStr],
    /// Its uid and gid; nothing where there is only one user.
    pub uid: Option<u32>,
    /// Its limits.
    pub limits: &'a [Limit],
    /// Its Landlock ruleset.
    pub ruleset: Option<BorrowedFd<'a>>,
    /// Its seccomp filter, which tells what it refuses.
    pub filter: &'a Filter,
    /// The socket to whoever hears that.
    pub listener: BorrowedFd<'a>,
}

/// What a jail's program is.
#[derive(Debug, Clone, Copy)]
pub enum Executable<'a> {
    /// A file of the jail's view, by its absolute path.
    Path(&'a CStr),
    /// An open file that no view shows.
    Open(BorrowedFd<'a>),
}

/// Why there is no program.
#[derive(Debug)]
pub struct Failure {
    /// The step and what the kernel said.
    pub error: io::Error,
    /// What `execve(2)` said, where all steps before went well.
    pub exec: Option<i32>,
}

/// A program that runs.
#[derive(Debug)]
pub struct Started {
    pid: libc::pid_t,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waited {
    /// Exit status, where it exited.
    pub code: Option<i32>,
    /// Signal, where one killed it.
    pub signal: Option<i32>,
    /// Microseconds of CPU of all processes that ended before it, and its own.
    pub cpu_us: u64,
    /// Peak resident memory of the largest of them, in KiB.
    pub rss_kib: u64,
}

/// Starts the program with this process' standard input, output and error, and nothing else.
///
/// # Errors
/// Names the step that failed; nothing runs then.
pub fn start(program: &Program<'_>) -> Result<Started, Failure> {
    let plain = |error: io::Error| Failure { error, exec: None };
    let parent = super::jail::own_pidfd().map_err(plain)?;
    let (input, output, error) = (io::stdin(), io::stdout(), io::stderr());
    let fds = [input.as_fd(), output.as_fd(), error.as_fd()];
    let directory = program.directory;
    let start = Start {
        program: match program.file {
            Executable::Path(path) => exec::Program::Named { path, directory },
            Executable::Open(file) => exec::Program::Shown { file, directory },
        },
        argv: program.argv,
        env: program.env,
        fds: &fds,
        namespaces: 0,
        network: None,
        cgroup: None,
        ambient: &[],
        lockdown: Some(Lockdown {
            uid: program.uid,
            bounding: &BOUNDING,
            limits: program.limits,
            ruleset: program.ruleset,
            filter: &program.filter.0,
            parent: parent.as_fd(),
            listener: Some(program.listener),
        }),
    };
    match exec::start(&start) {
        Ok(child) => Ok(Started { pid: child.pid }),
        Err(failed) => Err(Failure {
            exec: failed.exec(),
            error: failed.into(),
        }),
    }
}

impl Started {
    /// Waits for its end, and for that of whatever has nobody else to wait for it.
    ///
    /// # Errors
    /// Cannot fail for a child that was not waited for before.
    pub fn wait(self) -> io::Result<Waited> {
        let (mut cpu_us, mut rss_kib) = (0_u64, 0);
        loop {
            let (pid, end, usage) = super::spawn::wait_any()?;
            cpu_us = cpu_us.saturating_add(usage.cpu_us);
            rss_kib = rss_kib.max(usage.rss_kib);
            if pid != self.pid {
                continue;
            }
            let (code, signal) = match end {
                super::spawn::End::Exited(code) => (Some(code), None),
                super::spawn::End::Killed(signal) => (None, Some(signal)),
            };
            return Ok(Waited {
                code,
                signal,
                cpu_us,
                rss_kib,
            });
        }
    }
}

/// Kills this process when the jailer's thread that made it ends. The other end of `link` is the
/// jailer's: where it is closed already, that has happened.
///
/// # Errors
/// Fails where the jailer has ended.
pub fn die_with_jailer(link: BorrowedFd<'_>) -> io::Result<()> {
    die_again()?;
    let mut polled = [PollFd::new(link, PollFlags::POLLIN)];
    poll(&mut polled, PollTimeout::ZERO)?;
    match polled.first().and_then(|fd| fd.revents()) {
        Some(events) if events.contains(PollFlags::POLLHUP) => {
            Err(io::Error::other("the jailer has ended"))
        }
        _ => Ok(()),
    }
}

/// The same after a change of uid, which makes the kernel forget it.
///
/// # Errors
/// What prctl(2) says.
pub fn die_again() -> io::Result<()> {
    raw::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL.into())?;
    Ok(())
}

/// Closes one of the standard descriptors of this process for good. The standard library's handles
/// for it answer `EBADF` after that, which they take for a closed stream.
pub fn close(number: i32) {
    if let Err(errno) = raw::close_range(number, number.cast_unsigned())
        && errno != Errno::EBADF
    {
        tracing::error!(%errno, number, "cannot close a descriptor");
    }
}
