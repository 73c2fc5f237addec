//! One packet of a `SOCK_SEQPACKET` socket with the descriptors that came with it.

use std::cell::Cell;
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixAddr, recvmsg};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Most descriptors the kernel may hand over in one packet; more are closed and `cut` is set.
const DESCRIPTORS_MAX: usize = 16;

/// A packet as the kernel gave it.
#[derive(Debug)]
pub struct Received {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its descriptors, close-on-exec.
    pub fds: Vec<OwnedFd>,
    /// Bytes or descriptors were lost because there was no room for them.
    pub cut: bool,
}

thread_local! {
    /// Where packets of this thread arrive: most are a hundredth of what they may be, and room for
    /// that would have to be made and zeroed for each.
    static ROOM: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Receives one packet of at most `max` bytes; `None` once the peer has closed.
///
/// # Errors
/// What recvmsg(2) says, except `EINTR`.
pub fn receive(socket: BorrowedFd<'_>, max: usize) -> Result<Option<Received>, Errno> {
    let mut room = ROOM.take();
    if room.len() < max {
        room.resize(max, 0);
    }
    let received = receive_in(socket, room.get_mut(..max).unwrap_or_default());
    ROOM.set(room);
    received
}

fn receive_in(socket: BorrowedFd<'_>, room: &mut [u8]) -> Result<Option<Received>, Errno> {
    let mut space = nix::cmsg_space!([RawFd; DESCRIPTORS_MAX]);
    let mut reset = false;
    let (len, cut, fds) = loop {
        let mut parts = [IoSliceMut::new(room)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        match recvmsg::<UnixAddr>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags) {
            Ok(message) => {
                let mut fds = Vec::new();
                for control in message.cmsgs()? {
                    if let ControlMessageOwned::ScmRights(numbers) = control {
                        fds.extend(numbers.into_iter().map(own));
                    }
                }
                let cut = message
                    .flags
                    .intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC);
                break (message.bytes, cut, fds);
            }
            Err(Errno::EINTR) => {}
            // The peer ended with packets of ours unread. The kernel says so once, before it gives
            // what the peer had sent.
            Err(Errno::ECONNRESET) if !reset => reset = true,
            Err(errno) => return Err(errno),
        }
    };
    let bytes = room.get(..len).unwrap_or_default().to_vec();
    Ok((len > 0).then_some(Received { bytes, fds, cut }))
}

/// Registers a descriptor with the tokio runtime of this thread, to be told of `interest` only.
///
/// # Errors
/// What epoll_ctl(2) says.
#[expect(
    unsafe_code,
    reason = "tokio asks its caller to promise that the descriptor stays open"
)]
pub fn watch(fd: OwnedFd, interest: Interest) -> std::io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the AsyncFd owns the descriptor, which therefore stays open and the same until then.
    unsafe { AsyncFd::register_with_interest(fd, interest) }.map_err(Into::into)
}

#[expect(unsafe_code, reason = "recvmsg(2) gives descriptors as bare numbers")]
fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: the kernel made this descriptor for the recvmsg call just above; nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
