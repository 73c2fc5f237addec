//! Starting two processes in a new pid namespace: its first process, and the program, as the second.
//!
//! The first process of a pid namespace gets no signal that it has no handler for, not even from
//! itself (`pid_namespaces(7)`): a program that is the first survives its own `abort(3)` and the end
//! of its pipes. So it is the second, and has no parent in there: both are children of the process
//! that starts them, which hears of the program's end by itself.
//!
//! Neither `unshare(CLONE_NEWPID)` nor `setns` can be taken back by a process without privileges. A
//! third process, which is gone at the end, does it in our place: it shares our memory and our
//! descriptors, while we wait, and makes its children ours (`CLONE_PARENT`).

use nix::errno::Errno;

use super::clone::{CLEAR_SIGHAND, Ready, STACK, clone3};
use super::exec::{Child, Failed, Start, broken};
use super::raw;
use super::spawn::{self, End};

/// Starts `first` as the first process of a new pid namespace and `second` as another one of it.
/// Waits until both run their programs.
///
/// # Errors
/// The step that failed and why; nothing runs then.
pub(super) fn start(first: &Start<'_>, second: &Start<'_>) -> Result<[Child; 2], Failed> {
    // Whoever is cloned with CLONE_PARENT ends with the signal of whoever clones.
    let (first, second) = (Ready::new(first, 0)?, Ready::new(second, 0)?);
    let mut both = Both {
        first,
        second,
        unshared: Ok(0),
    };
    go_between(&mut both)?;
    let Both {
        first,
        second,
        unshared,
    } = both;
    unshared.map_err(|errno| broken("unshare", errno))?;
    let first = first.child()?;
    match second.child() {
        Ok(second) => Ok([first, second]),
        Err(failed) => {
            end(&first);
            Err(failed)
        }
    }
}

/// Ends the first process, and with it all others of its namespace; those of them that are our
/// children must have been waited for.
pub(super) fn end(first: &Child) {
    use std::os::fd::AsFd;
    if let Err(error) = spawn::signal(first.pidfd.as_fd(), nix::sys::signal::Signal::SIGKILL) {
        tracing::error!(%error, "cannot kill a jail's first process");
    }
    if let Err(error) = spawn::wait_pid(first.pid) {
        tracing::error!(%error, "lost the end of a jail's first process");
    }
}

struct Both<'a> {
    first: Ready<'a>,
    second: Ready<'a>,
    unshared: Result<i64, Errno>,
}

/// Has the third process do it, and waits for its end.
#[expect(unsafe_code, reason = "clone3")]
fn go_between(both: &mut Both<'_>) -> Result<(), Failed> {
    let mut stack: Vec<u128> = Vec::with_capacity(STACK / size_of::<u128>());
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_FILES;
    let arguments = libc::clone_args {
        flags: u64::from(flags.cast_unsigned()) | CLEAR_SIGHAND,
        pidfd: 0,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: u64::from(libc::SIGCHLD.cast_unsigned()),
        stack: stack.as_mut_ptr().expose_provenance() as u64,
        stack_size: STACK as u64,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: 0,
    };
    let both = std::ptr::from_mut(both).cast();
    // SAFETY: `between` takes a `Both`. That and the stack outlive its use of them: CLONE_VFORK stops
    // this thread until it has ended, and each of its children stops it in the same way; where it was
    // killed before they were gone, this process ends below.
    let answer = unsafe { clone3(&arguments, both, between) };
    let pid = Errno::result(answer).map_err(|errno| broken("clone3", errno))?;
    let ended = spawn::wait_pid(libc::pid_t::try_from(pid).unwrap_or(-1));
    if !matches!(ended, Ok((End::Exited(0), _))) {
        // Somebody killed it. What it started may still be in our memory and must not find it
        // changed: it finds this process ended, and ends.
        std::process::abort();
    }
    Ok(())
}

/// The life of the third process: its system calls, and nothing else.
#[expect(
    unsafe_code,
    reason = "reads what its parent, which is stopped, left for it"
)]
extern "C" fn between(both: *mut libc::c_void) -> ! {
    // SAFETY: the parent made it for us, and is stopped until we have ended.
    let both = unsafe { &mut *both.cast::<Both<'static>>() };
    let parent = u64::from(libc::CLONE_PARENT.cast_unsigned());
    both.unshared = raw::leave_pids();
    if both.unshared.is_ok() {
        both.first.clone(parent);
        if !both.first.failed() {
            both.second.clone(parent);
        }
    }
    // SAFETY: ends this process only, without running what the parent registered for its exit.
    unsafe { libc::_exit(0) }
}
