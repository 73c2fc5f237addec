//! Actions that are more than one call, or whose answer has to be looked at.

use std::ffi::c_long;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};

use super::raw;

/// Runs `act` in a child. Gives the signal that killed it, 0 where none did.
///
/// # Errors
/// What fork(2) says.
#[expect(unsafe_code, reason = "fork has no safe form")]
fn in_child(act: fn()) -> nix::Result<i32> {
    // SAFETY: the self-test has one thread, so that the child finds no lock held; it makes its call
    // and ends.
    match unsafe { fork() }? {
        ForkResult::Child => {
            act();
            // SAFETY: ends this process only, without running what the parent registered.
            unsafe { libc::_exit(0) }
        }
        ForkResult::Parent { child } => match waitpid(child, None)? {
            WaitStatus::Signaled(_, signal, _) => Ok(signal as i32),
            WaitStatus::Exited(..)
            | WaitStatus::Stopped(..)
            | WaitStatus::PtraceEvent(..)
            | WaitStatus::PtraceSyscall(_)
            | WaitStatus::Continued(_)
            | WaitStatus::StillAlive => Ok(0),
        },
    }
}

/// A child can be made and ends.
pub fn has_children() -> bool {
    in_child(|| {}) == Ok(0)
}

/// Calls of other ABIs, each in a child it must kill; nothing where no child can be made.
pub fn other_abis() -> Vec<(&'static str, bool)> {
    let all: [(_, fn()); 2] = [
        ("abi_i386_int80", super::abi_i386),
        ("abi_x32", super::abi_x32),
    ];
    let tried = all.into_iter().filter_map(|(name, act)| {
        let signal = in_child(act).ok()?;
        Some((name, signal != Signal::SIGSYS as i32))
    });
    tried.collect()
}

/// `bytes` of private memory can be had. Nothing of it is touched.
pub fn maps(bytes: u64) -> bool {
    let Ok(bytes) = c_long::try_from(bytes) else {
        return false;
    };
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    map([
        bytes,
        c_long::from(libc::PROT_READ | libc::PROT_WRITE),
        c_long::from(flags),
        -1,
    ])
}

/// The file can be made machine code of this process.
pub fn maps_as_program(file: BorrowedFd<'_>) -> bool {
    let protection = c_long::from(libc::PROT_READ | libc::PROT_EXEC);
    let private = c_long::from(libc::MAP_PRIVATE);
    map([4096, protection, private, c_long::from(file.as_raw_fd())])
}

#[expect(unsafe_code, reason = "nobody uses what is mapped")]
fn map([bytes, protection, flags, fd]: [c_long; 4]) -> bool {
    let arguments = [0, bytes, protection, flags, fd, 0];
    // SAFETY: a new mapping at a place of the kernel's choice, which nothing refers to.
    let Ok(place) = (unsafe { raw::call(libc::SYS_mmap, arguments) }) else {
        return false;
    };
    // SAFETY: it was made just above.
    unsafe { raw::call(libc::SYS_munmap, [place, bytes, 0, 0, 0, 0]) }.is_ok()
}

/// A descriptor of that number can be had.
#[expect(unsafe_code, reason = "the number belongs to nobody")]
pub fn takes_number(number: i32) -> bool {
    let arguments = [
        0,
        c_long::from(number),
        c_long::from(libc::O_CLOEXEC),
        0,
        0,
        0,
    ];
    // SAFETY: all arguments are numbers, and what is open there is closed by the end of the process.
    unsafe { raw::call(libc::SYS_dup3, arguments) }.is_ok()
}

/// A file that is too large is an error then, and no signal.
///
/// # Errors
/// What sigaction(2) says.
#[expect(unsafe_code, reason = "changes what a signal does")]
pub fn survive_large_files() -> nix::Result<()> {
    // SAFETY: no handler is installed.
    unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) }.map(drop)
}

/// The answer of `prctl(2)` to a question without an argument.
pub fn question(option: i32) -> Result<c_long, Errno> {
    raw::prctl(option, 0)
}
