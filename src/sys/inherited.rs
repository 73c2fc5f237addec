//! Descriptors that a process was started with, by number. Each can be taken once.

use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

/// Numbers that were taken already, 64 in each.
static TAKEN: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

/// Takes over descriptor `number` (3 to 191) and makes it close-on-exec.
///
/// # Errors
/// Fails where it is not open or was taken before.
#[expect(unsafe_code, reason = "an inherited descriptor is a bare number")]
pub fn take(number: i32) -> io::Result<OwnedFd> {
    let closed = || io::Error::other(format!("descriptor {number} was not handed over"));
    let place = usize::try_from(number).ok().filter(|n| *n >= 3);
    let taken = place.and_then(|n| Some((TAKEN.get(n / 64)?, 1_u64 << (n % 64))));
    let (taken, bit) = taken.ok_or_else(closed)?;
    if taken.fetch_or(bit, Ordering::SeqCst) & bit != 0 {
        return Err(io::Error::other(format!(
            "descriptor {number} was taken before"
        )));
    }
    // SAFETY: the borrow lasts for one fcntl call, which answers EBADF for a number that is not open.
    let probe = unsafe { BorrowedFd::borrow_raw(number) };
    nix::fcntl::fcntl(
        probe,
        nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC),
    )
    .map_err(|_| closed())?;
    // SAFETY: it is open, was inherited across exec, and the bit above makes this the only owner.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
