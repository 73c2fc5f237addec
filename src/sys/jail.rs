//! Starting a jailed tool: everything that does not change from one jail to the next is made once.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, fchmod};

use super::exec::{self, Limit, Lockdown, Start};
use super::filter::Filter;
use super::process::capability;
use super::raw;
use super::spawn::{self, End, Usage};

/// Namespaces every jail gets new; mount, network and host name are the jailer's own empty ones.
const NAMESPACES: i32 = libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
/// What the jailer holds and no jail may ever have.
const BOUNDING: [u8; 5] = [
    capability::KILL,
    capability::SETGID,
    capability::SETUID,
    capability::SYS_ADMIN,
    // Last: it is what dropping the others needs.
    capability::SETPCAP,
];
/// Descriptors of a tool at most (`RLIMIT_NOFILE`).
const FDS: u64 = 32;
/// Bytes of stack.
const STACK: u64 = 8 << 20;

/// What all jails of a jailer have in common.
#[derive(Debug)]
pub struct Template {
    /// The tools' program; nobody can change it.
    pub program: OwnedFd,
    /// A Landlock ruleset without a single rule; `None` where its lack was accepted.
    pub ruleset: Option<OwnedFd>,
    /// What tools may ask of the kernel.
    pub filter: Filter,
    /// Uid and gid of tools; `None` where there is only one user.
    pub uid: Option<u32>,
    /// This process; its end kills every jail.
    pub parent: OwnedFd,
}

/// Hard limits that differ between jails.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Seconds of CPU time.
    pub cpu_s: u64,
    /// Bytes of address space.
    pub memory: u64,
    /// Bytes of the largest file written.
    pub file: u64,
}

/// A running jail.
#[derive(Debug)]
pub struct Jailed {
    pid: libc::pid_t,
    pidfd: OwnedFd,
}

impl AsFd for Jailed {
    /// Its pidfd: readable once it has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl Jailed {
    /// Kills it. It is the first process of its pid namespace, so nothing in there outlives it.
    pub fn kill(&self) {
        if let Err(error) = spawn::signal(self.as_fd(), Signal::SIGKILL) {
            tracing::error!(%error, "cannot kill a jail");
        }
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// Cannot fail for a child that was not waited for before.
    pub fn wait(self) -> io::Result<(End, Usage)> {
        spawn::wait_pid(self.pid)
    }
}

impl Template {
    /// Starts `tool` with `fds` as its descriptors 0, 1, …
    ///
    /// # Errors
    /// Names the step that failed; nothing runs then.
    pub fn spawn(&self, tool: &str, fds: &[BorrowedFd<'_>], limits: Limits) -> io::Result<Jailed> {
        let tool = CString::new(tool)?;
        let limits = limits.all();
        let start = Start {
            program: self.program.as_fd(),
            argv: &[c"keepgate-tool", &tool],
            fds,
            namespaces: u64::from(NAMESPACES.cast_unsigned()),
            lockdown: Some(Lockdown {
                uid: self.uid,
                bounding: &BOUNDING,
                limits: &limits,
                ruleset: self.ruleset.as_ref().map(AsFd::as_fd),
                filter: &self.filter.0,
                parent: self.parent.as_fd(),
            }),
        };
        let child = exec::start(&start)?;
        Ok(Jailed {
            pid: child.pid,
            pidfd: child.pidfd,
        })
    }
}

impl Limits {
    fn all(self) -> [Limit; 13] {
        let hard = |resource, value| (resource, value, value);
        [
            // SIGXCPU at the soft limit names the reason; SIGKILL a second later ends the rest.
            (libc::RLIMIT_CPU, self.cpu_s, self.cpu_s.saturating_add(1)),
            hard(libc::RLIMIT_AS, self.memory),
            hard(libc::RLIMIT_FSIZE, self.file),
            hard(libc::RLIMIT_STACK, STACK),
            hard(libc::RLIMIT_NOFILE, FDS),
            hard(libc::RLIMIT_NPROC, 0),
            hard(libc::RLIMIT_CORE, 0),
            hard(libc::RLIMIT_MEMLOCK, 0),
            hard(libc::RLIMIT_MSGQUEUE, 0),
            hard(libc::RLIMIT_SIGPENDING, 0),
            hard(libc::RLIMIT_LOCKS, 0),
            hard(libc::RLIMIT_NICE, 0),
            hard(libc::RLIMIT_RTPRIO, 0),
        ]
    }
}

/// This process' own executable as a sealed memory file that can be run but not read, so that the
/// kernel makes what runs from it undumpable (`would_dump()` in the kernel's exec).
///
/// # Errors
/// Fails where `/proc` is not there or `vm.memfd_noexec` is 2.
pub fn sealed_program() -> io::Result<OwnedFd> {
    let mut own = File::open("/proc/self/exe")?;
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let executable = MFdFlags::from_bits_retain(libc::MFD_EXEC);
    let memory = memfd_create("keepgate-tool", flags | executable).map_err(noexec)?;
    let mut memory = File::from(memory);
    io::copy(&mut own, &mut memory)?;
    fchmod(&memory, Mode::from_bits_truncate(0o111))?;
    let memory = OwnedFd::from(memory);
    let seals = SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK;
    fcntl(
        &memory,
        FcntlArg::F_ADD_SEALS(seals | SealFlag::F_SEAL_SEAL),
    )?;
    Ok(memory)
}

fn noexec(errno: Errno) -> io::Error {
    if errno != Errno::EACCES {
        return errno.into();
    }
    let what = "this system lets no memory file be executed: set vm.memfd_noexec to 0 or 1";
    io::Error::new(ErrorKind::PermissionDenied, what)
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
