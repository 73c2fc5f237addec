//! Frames between roles: one `SOCK_SEQPACKET` packet each, at most 64 KiB.
//!
//! ```text
//! packet  = version(1) ‖ where(1) ‖ meta-length(u32 LE) ‖ meta (JSON) ‖ blob
//! where   = 0  the blob follows the meta
//!           1  the blob is the last descriptor: a memfd sealed against write, grow and shrink
//! ```
//!
//! A peer is another role of the same binary, but it may have been taken over: every length is
//! checked before use, seals are checked before a byte is read, and a packet that is cut, too long
//! or of another version ends the link.

use std::fs::File;
use std::io::{IoSlice, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SealFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, sendmsg, socketpair,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::error::{Context, Error, Result};
use crate::sys::packet::{Received, receive, watch};

/// Longest packet.
pub const PACKET_MAX: usize = 64 << 10;
/// Most descriptors in one frame.
pub const DESCRIPTORS_MAX: usize = 8;
const VERSION: u8 = 1;
const HEADER: usize = 6;
/// Blobs up to here travel inside the packet.
const INLINE_MAX: usize = 32 << 10;

/// One received frame.
#[derive(Debug)]
pub struct Frame<T> {
    /// The message.
    pub say: T,
    /// Bytes that belong to it.
    pub blob: Vec<u8>,
    /// Descriptors that belong to it, close-on-exec.
    pub fds: Vec<OwnedFd>,
}

/// A connected pair of links, close-on-exec.
///
/// # Errors
/// Fails where the process has no descriptors left.
pub fn pair() -> Result<(OwnedFd, OwnedFd)> {
    socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )
    .context(|| "make a pair of links".into())
}

/// Sends one frame; blocks while the peer's queue is full.
///
/// # Errors
/// Fails where the peer is gone or the message is longer than a packet may be.
pub fn send<T: Serialize>(
    socket: BorrowedFd<'_>,
    say: &T,
    blob: &[u8],
    fds: &[BorrowedFd<'_>],
) -> Result<()> {
    let packet = Packet::new(say, blob, fds)?;
    packet
        .send(socket, MsgFlags::MSG_NOSIGNAL)
        .context(|| "send to a peer role".into())
}

/// As [`send`], but waits for a full queue no longer than `patience`: for whoever must not depend
/// on its peer.
///
/// # Errors
/// As [`send`], and where the queue is still full then.
pub fn send_within<T: Serialize>(
    socket: BorrowedFd<'_>,
    say: &T,
    blob: &[u8],
    fds: &[BorrowedFd<'_>],
    patience: Duration,
) -> Result<()> {
    let packet = Packet::new(say, blob, fds)?;
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    let mut answer = packet.send(socket, flags);
    if answer == Err(Errno::EAGAIN) {
        let mut full = [PollFd::new(socket, PollFlags::POLLOUT)];
        let wait = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
        if poll(&mut full, wait).is_ok() {
            answer = packet.send(socket, flags);
        }
    }
    answer.context(|| "send to a peer role".into())
}

/// Receives one frame; `None` once the peer has closed. Blobs longer than `blob_max` are refused.
///
/// # Errors
/// Fails on any packet that is not a well-formed frame; the link is of no use after that.
pub fn recv<T: DeserializeOwned>(
    socket: BorrowedFd<'_>,
    blob_max: usize,
) -> Result<Option<Frame<T>>> {
    match receive(socket, PACKET_MAX).context(|| "receive from a peer role".into())? {
        Some(raw) => parse(raw, blob_max).map(Some),
        None => Ok(None),
    }
}

/// Both directions of a link for roles that run on tokio.
#[derive(Debug)]
pub struct AsyncLink {
    socket: AsyncFd<OwnedFd>,
}

impl AsyncLink {
    /// Takes over a link; call within a tokio runtime.
    ///
    /// # Errors
    /// Fails where the descriptor cannot be made non-blocking or watched.
    pub fn new(socket: OwnedFd) -> Result<Self> {
        fcntl(&socket, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))
            .context(|| "make a link non-blocking".into())?;
        // Not for room to write: that would wake the runtime each time the peer has read something.
        let socket = watch(socket, Interest::READABLE).context(|| "watch a link".into())?;
        Ok(Self { socket })
    }

    /// As [`send`].
    ///
    /// # Errors
    /// As [`send`].
    pub async fn send<T: Serialize>(
        &self,
        say: &T,
        blob: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> Result<()> {
        let packet = Packet::new(say, blob, fds)?;
        let sent = match packet.send(self.socket.as_fd(), MsgFlags::MSG_NOSIGNAL) {
            Err(Errno::EAGAIN) => self.send_later(&packet).await,
            sent => sent.map_err(Into::into),
        };
        sent.context(|| "send to a peer role".into())
    }

    /// Sends once the peer has read enough.
    async fn send_later(&self, packet: &Packet<'_>) -> std::io::Result<()> {
        let full = watch(
            self.socket.as_fd().try_clone_to_owned()?,
            Interest::WRITABLE,
        )?;
        let send = |socket: &OwnedFd| {
            let sent = packet.send(socket.as_fd(), MsgFlags::MSG_NOSIGNAL);
            sent.map_err(Into::into)
        };
        full.async_io(Interest::WRITABLE, send).await
    }

    /// As [`recv`].
    ///
    /// # Errors
    /// As [`recv`].
    pub async fn recv<T: DeserializeOwned>(&self, blob_max: usize) -> Result<Option<Frame<T>>> {
        let raw = self
            .socket
            .async_io(Interest::READABLE, |socket| {
                receive(socket.as_fd(), PACKET_MAX).map_err(Into::into)
            })
            .await
            .context(|| "receive from a peer role".into())?;
        raw.map(|raw| parse(raw, blob_max)).transpose()
    }
}

/// A blob as a memfd that nobody can change any more.
///
/// # Errors
/// Fails where the kernel has no memory left for it.
pub fn sealed_memfd(name: &str, bytes: &[u8]) -> Result<OwnedFd> {
    let fd = memfd_create(name, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)
        .context(|| "make a memory file".into())?;
    let mut file = File::from(fd);
    file.write_all(bytes)
        .context(|| "fill a memory file".into())?;
    // A jailed tool reads it as its standard input, from where the offset stands.
    file.rewind().context(|| "rewind a memory file".into())?;
    let fd = OwnedFd::from(file);
    fcntl(&fd, FcntlArg::F_ADD_SEALS(full_seals())).context(|| "seal a memory file".into())?;
    Ok(fd)
}

/// Reads a memfd made by [`sealed_memfd`] by somebody else: seals first, then length, then bytes.
///
/// # Errors
/// Fails where a seal is missing or it holds more than `max` bytes.
pub fn read_sealed(fd: OwnedFd, max: usize) -> Result<Vec<u8>> {
    let seals = fcntl(&fd, FcntlArg::F_GET_SEALS).context(|| "look at a memory file".into())?;
    if !SealFlag::from_bits_truncate(seals).contains(full_seals()) {
        return Err(Error::new(
            "a peer role sent a memory file that it could still change",
        ));
    }
    let file = File::from(fd);
    let len = file
        .metadata()
        .context(|| "look at a memory file".into())?
        .len();
    let len = usize::try_from(len)
        .ok()
        .filter(|len| *len <= max)
        .ok_or_else(|| {
            Error::new(format!(
                "a peer role sent {len} bytes where {max} are the most"
            ))
        })?;
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, 0)
        .context(|| "read a memory file".into())?;
    Ok(bytes)
}

fn full_seals() -> SealFlag {
    SealFlag::F_SEAL_SEAL | SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK
}

/// A frame ready to go.
struct Packet<'a> {
    head: Vec<u8>,
    inline: &'a [u8],
    fds: Vec<RawFd>,
    /// Keeps the descriptor of a long blob open until it is sent.
    _memfd: Option<OwnedFd>,
}

impl<'a> Packet<'a> {
    fn new<T: Serialize>(say: &T, blob: &'a [u8], fds: &[BorrowedFd<'_>]) -> Result<Self> {
        let meta = serde_json::to_vec(say).context(|| "write a frame".into())?;
        let mut fds: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let (inline, memfd) = if blob.len() > INLINE_MAX {
            (&[][..], Some(sealed_memfd("keepgate-blob", blob)?))
        } else {
            (blob, None)
        };
        fds.extend(memfd.as_ref().map(AsRawFd::as_raw_fd));
        if fds.len() > DESCRIPTORS_MAX || HEADER + meta.len() + inline.len() > PACKET_MAX {
            return Err(Error::new("a frame is longer than a packet may be"));
        }
        let len = u32::try_from(meta.len()).context(|| "write a frame".into())?;
        let mut head = vec![VERSION, u8::from(memfd.is_some())];
        head.extend_from_slice(&len.to_le_bytes());
        head.extend_from_slice(&meta);
        Ok(Self {
            head,
            inline,
            fds,
            _memfd: memfd,
        })
    }

    fn send(&self, socket: BorrowedFd<'_>, flags: MsgFlags) -> Result<(), Errno> {
        let rights = [ControlMessage::ScmRights(&self.fds)];
        let rights = if self.fds.is_empty() {
            &[][..]
        } else {
            &rights[..]
        };
        let parts = [IoSlice::new(&self.head), IoSlice::new(self.inline)];
        loop {
            match sendmsg::<UnixAddr>(socket.as_raw_fd(), &parts, rights, flags, None) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}

/// The frame in a packet that was received otherwise than by [`recv`].
///
/// # Errors
/// As [`recv`].
pub fn parse<T: DeserializeOwned>(raw: Received, blob_max: usize) -> Result<Frame<T>> {
    let bad = |why: &str| Error::new(format!("a peer role sent a bad frame: {why}"));
    let Received {
        bytes,
        mut fds,
        cut,
    } = raw;
    if cut {
        return Err(bad("longer than a packet may be"));
    }
    let short = || bad("shorter than its header says");
    let ([version, place], meta_len, body) = split(&bytes).ok_or_else(short)?;
    if version != VERSION {
        return Err(bad("another version"));
    }
    let (meta, inline) = body.split_at_checked(meta_len).ok_or_else(short)?;
    let say = serde_json::from_slice(meta).map_err(|why| bad("not a message").because(why))?;
    let blob = match place {
        0 if inline.len() <= blob_max => inline.to_vec(),
        1 if inline.is_empty() => {
            let memfd = fds.pop().ok_or_else(|| bad("its blob is missing"))?;
            read_sealed(memfd, blob_max)?
        }
        _ => return Err(bad("its blob is where it may not be")),
    };
    Ok(Frame { say, blob, fds })
}

fn split(bytes: &[u8]) -> Option<([u8; 2], usize, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<2>()?;
    let (len, body) = rest.split_first_chunk::<4>()?;
    Some((*head, usize::try_from(u32::from_le_bytes(*len)).ok()?, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_arrives_with_blob_and_descriptors() {
        let (a, b) = pair().unwrap();
        for size in [0, 5, INLINE_MAX, INLINE_MAX + 1, 3 << 20] {
            let blob = vec![7; size];
            send(a.as_fd(), &"hello", &blob, &[a.as_fd()]).unwrap();
            let frame: Frame<String> = recv(b.as_fd(), 4 << 20).unwrap().unwrap();
            assert_eq!(
                (frame.say.as_str(), frame.blob.len(), frame.fds.len()),
                ("hello", size, 1)
            );
        }
        drop(a);
        assert!(recv::<String>(b.as_fd(), 0).unwrap().is_none());
    }

    #[test]
    fn a_peer_that_does_not_read_is_not_waited_for() {
        let (a, _b) = pair().unwrap();
        let say = || send_within(a.as_fd(), &"x", &[0; 4096], &[], Duration::from_millis(1));
        assert!((0..10_000).any(|_| say().is_err()));
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        let (a, b) = pair().unwrap();
        for packet in [
            &b"\x01"[..],
            b"\x02\0\x02\0\0\0\"\"",
            b"\x01\0\xff\xff\0\0\"\"",
            b"\x01\x01\x02\0\0\0\"\"",
        ] {
            nix::unistd::write(&a, packet).unwrap();
            assert!(recv::<String>(b.as_fd(), 16).is_err(), "{packet:?}");
        }
        send(a.as_fd(), &"long", &[0; 17], &[]).unwrap();
        assert!(recv::<String>(b.as_fd(), 16).is_err());
    }

    #[test]
    fn an_unsealed_blob_is_refused() {
        let fd = memfd_create("x", MFdFlags::MFD_ALLOW_SEALING).unwrap();
        assert!(
            read_sealed(fd, 16)
                .unwrap_err()
                .message()
                .contains("still change")
        );
    }
}
