//! Starting roles, and watching and signalling processes through pidfds.

use std::ffi::CString;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};

use super::{exec, raw};
use crate::error::{Context, Result};

/// A role's process.
#[derive(Debug)]
pub struct RoleChild {
    /// Process id.
    pub pid: u32,
    /// Refers to the process even when the id is used again.
    pub pidfd: OwnedFd,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Exit status.
    Exited(i32),
    /// Number of the signal that killed it.
    Killed(i32),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(status) => write!(f, "exit status {status}"),
            Self::Killed(signal) => write!(f, "signal {signal}"),
        }
    }
}

/// CPU time and memory a process took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Microseconds of CPU, user and system.
    pub cpu_us: u64,
    /// Peak resident memory in KiB.
    pub rss_kib: u64,
}

/// This process' own executable, for [`role`]; works after the file was replaced or its directory
/// went out of sight.
///
/// # Errors
/// Fails where `/proc` is not there.
pub fn program() -> io::Result<OwnedFd> {
    Ok(open(
        "/proc/self/exe",
        OFlag::O_PATH | OFlag::O_CLOEXEC,
        Mode::empty(),
    )?)
}

/// Starts `program` as `keepgate-ROLE PLANE`: an empty environment, `/dev/null` as 0 and 1, our
/// standard error, `control` as 3, nothing else open, no signal blocked, a session of its own.
///
/// # Errors
/// Names the step that failed.
pub fn role(
    program: impl AsFd,
    role: &str,
    plane: &str,
    control: BorrowedFd<'_>,
) -> Result<RoleChild> {
    let what = || format!("start role `{role}`");
    let name = CString::new(format!("keepgate-{role}")).context(what)?;
    let plane = CString::new(plane).context(what)?;
    let null = File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .context(what)?;
    let error = io::stderr();
    let argv = [name.as_c_str(), &plane];
    let fds = [null.as_fd(), null.as_fd(), error.as_fd(), control];
    let start = exec::Start::new(program.as_fd(), &argv, &fds);
    let child = exec::start(&start).map_err(io::Error::from).context(what)?;
    Ok(RoleChild {
        pid: child.pid.cast_unsigned(),
        pidfd: child.pidfd,
    })
}

/// How the child behind `pidfd` ended, or `None` while it runs. Gives an end once: the child's
/// entry in the process table is gone after that.
///
/// # Errors
/// Fails where it is not our child or its end was given before (`ECHILD`).
pub fn try_wait(pidfd: BorrowedFd<'_>) -> io::Result<Option<End>> {
    loop {
        match waitid(
            Id::PIDFd(pidfd),
            WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG,
        ) {
            Ok(WaitStatus::Exited(_, status)) => return Ok(Some(End::Exited(status))),
            Ok(WaitStatus::Signaled(_, signal, _)) => {
                return Ok(Some(End::Killed(signal as i32)));
            }
            Ok(_) => return Ok(None),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Sends a signal to the process behind `pidfd`; one that has ended already is no error.
///
/// # Errors
/// Fails where this process may not signal it.
pub fn signal(pidfd: BorrowedFd<'_>, signal: Signal) -> io::Result<()> {
    match raw::signal(pidfd.as_raw_fd(), signal as i32) {
        Ok(_) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Waits until the child `pid` has ended; with what it took.
///
/// # Errors
/// Fails where it is not our child.
pub(super) fn wait_pid(pid: libc::pid_t) -> io::Result<(End, Usage)> {
    wait4(pid).map(|(_, end, usage)| (end, usage))
}

/// Waits until any child has ended.
///
/// # Errors
/// Fails where there is none.
pub(super) fn wait_any() -> io::Result<(libc::pid_t, End, Usage)> {
    wait4(-1)
}

#[expect(
    unsafe_code,
    reason = "wait4 tells what the child took, which nix does not wrap"
)]
fn wait4(pid: libc::pid_t) -> io::Result<(libc::pid_t, End, Usage)> {
    let mut status = 0;
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    let ended = loop {
        // SAFETY: both places live until the call returns.
        let answer = unsafe { libc::wait4(pid, &raw mut status, 0, usage.as_mut_ptr()) };
        match Errno::result(answer) {
            Ok(pid) => break pid,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    };
    // SAFETY: all fields are numbers, zeroed above and filled by the kernel.
    let usage = unsafe { usage.assume_init() };
    let micros = |time: libc::timeval| {
        u64::try_from(
            time.tv_sec
                .saturating_mul(1_000_000)
                .saturating_add(time.tv_usec),
        )
        .unwrap_or(0)
    };
    let end = if libc::WIFSIGNALED(status) {
        End::Killed(libc::WTERMSIG(status))
    } else {
        End::Exited(libc::WEXITSTATUS(status))
    };
    let cpu_us = micros(usage.ru_utime).saturating_add(micros(usage.ru_stime));
    Ok((
        ended,
        end,
        Usage {
            cpu_us,
            rss_kib: u64::try_from(usage.ru_maxrss).unwrap_or(0),
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_has_what_it_was_given_and_its_end_is_told_once() {
        let shell = File::open("/bin/sh").unwrap();
        let (read, write) = nix::unistd::pipe().unwrap();
        let null = File::open("/dev/null").unwrap();
        let script = c"ls /proc/self/fd | tr '\n' ' '; env | grep -v -e ^PWD= -e ^_= -e ^SHLVL= -e ^OLDPWD=; exit 3";
        let argv = [c"sh", c"-c", script];
        let fds = [null.as_fd(), write.as_fd(), write.as_fd()];
        let start = exec::Start::new(shell.as_fd(), &argv, &fds);
        let child = exec::start(&start).unwrap();
        drop(write);
        let text = io::read_to_string(File::from(read)).unwrap();
        // `ls` itself opens descriptor 3 to list.
        assert_eq!(text, "0 1 2 3 ");
        let mut fds = [nix::poll::PollFd::new(
            child.pidfd.as_fd(),
            nix::poll::PollFlags::POLLIN,
        )];
        nix::poll::poll(&mut fds, nix::poll::PollTimeout::NONE).unwrap();
        assert_eq!(try_wait(child.pidfd.as_fd()).unwrap(), Some(End::Exited(3)));
        assert!(try_wait(child.pidfd.as_fd()).is_err());
        assert_eq!(End::Killed(9).to_string(), "signal 9");
    }

    #[test]
    fn a_program_that_is_none_names_the_step() {
        let null = File::open("/dev/null").unwrap();
        let error = role(&null, "keeper", "p", null.as_fd()).unwrap_err();
        assert!(error.message().contains("execve"), "{error}");
    }

    #[test]
    fn a_signal_reaches_the_process_behind_a_pidfd() {
        let shell = File::open("/bin/sh").unwrap();
        let (read, _write) = nix::unistd::pipe().unwrap();
        let argv = [c"sh", c"-c", c"read x"];
        let fds = [read.as_fd()];
        let start = exec::Start::new(shell.as_fd(), &argv, &fds);
        let child = exec::start(&start).unwrap();
        assert_eq!(try_wait(child.pidfd.as_fd()).unwrap(), None);
        signal(child.pidfd.as_fd(), Signal::SIGKILL).unwrap();
        assert_eq!(wait_pid(child.pid).unwrap().0, End::Killed(9));
    }
}
