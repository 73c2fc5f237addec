//! A process that was started ahead gets what it is to do through a socket: one packet with its
//! name and descriptors.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};

use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};

use super::packet::{Received, receive};
use super::raw;

/// Longest name.
const NAME_MAX: usize = 64;

/// Hands `name` and `fds` to the process at the other end of `link`.
///
/// # Errors
/// Fails where that has ended; nothing of it runs then.
pub fn hand(link: BorrowedFd<'_>, name: &str, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let numbers: Vec<_> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&numbers)];
    let bytes = [IoSlice::new(name.as_bytes())];
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    sendmsg::<UnixAddr>(link.as_raw_fd(), &bytes, &rights, flags, None)?;
    Ok(())
}

/// Waits on standard input, a socket, for what [`hand`] sends. The descriptors become 0, 1, …; all
/// others, the socket too, are closed. `None` where nothing came any more.
///
/// # Errors
/// Fails on anything but such a packet; the process must end then.
pub fn take() -> io::Result<Option<String>> {
    let received = receive(io::stdin().as_fd(), NAME_MAX)?;
    let Some(Received { bytes, fds, cut }) = received else {
        return Ok(None);
    };
    let name = String::from_utf8(bytes).map_err(io::Error::other)?;
    if cut || fds.len() < 3 {
        return Err(io::Error::other("a packet that is no order"));
    }
    place(fds)?;
    Ok(Some(name))
}

/// Numbers `fds` from 0 and closes everything else. The standard library's own handles for 0 to 2
/// mean the new ones after that, and nothing of this process holds another.
fn place(fds: Vec<OwnedFd>) -> io::Result<()> {
    let mut next = 0;
    for fd in fds {
        // The kernel gives the lowest free numbers in order, and 0 to 2 are the socket: none of
        // these is overwritten before it was copied.
        let number = fd.into_raw_fd();
        if number <= next {
            return Err(io::Error::other("descriptors came in another order"));
        }
        raw::copy_to(number, next, 0)?;
        next += 1;
    }
    raw::close_range(next, u32::MAX)?;
    Ok(())
}
