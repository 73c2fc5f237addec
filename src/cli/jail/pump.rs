//! Bytes between this command's own descriptors and a jail's pipes, both ways at once in one thread.
//!
//! The jail never gets our descriptors: a terminal or a file opened for both ways would let it do
//! more than read. Nothing here waits: descriptors of ours that others share stay as they are
//! (`O_NONBLOCK` belongs to all who share one), so pipes and terminals are opened once more.

use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::poll::{PollFd, PollFlags};
use nix::sys::socket::{MsgFlags, recv, send};
use nix::sys::stat::{Mode, SFlag, fstat};

use crate::error::{Context, Result};

/// Bytes moved at a time.
const PIECE: usize = 64 << 10;
/// Bytes that a pipe takes at once where it takes any (`PIPE_BUF`), and a terminal soon.
const SMALL: usize = 4 << 10;

/// One end of a way.
#[derive(Debug)]
pub(super) enum End {
    /// Never waits: it is ours alone, or a regular file.
    Own(File),
    /// A socket; each call says that it does not wait.
    Socket(OwnedFd),
    /// Anything else, used only when it is ready, and a little at a time.
    Shared(File),
    /// Bytes are kept, up to a limit; the rest is counted only.
    Kept(Vec<u8>, usize),
}

impl End {
    /// A pipe's end that this process made.
    pub(super) fn pipe(fd: OwnedFd) -> Result<Self> {
        fcntl(&fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).context(|| "set up a pipe".into())?;
        Ok(Self::Own(fd.into()))
    }

    /// One of the descriptors this process was started with, opened `for_reading` or for writing.
    pub(super) fn inherited(fd: BorrowedFd<'_>, for_reading: bool) -> Result<Self> {
        let what = || format!("look at descriptor {}", fd.as_raw_fd());
        let stat = fstat(fd).context(what)?;
        let copy = || fd.try_clone_to_owned().context(what);
        let kind = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
        let again = kind == SFlag::S_IFIFO || (kind == SFlag::S_IFCHR && fd.is_terminal());
        if kind == SFlag::S_IFSOCK {
            return copy().map(Self::Socket);
        }
        if kind == SFlag::S_IFREG {
            return Ok(Self::Own(copy()?.into()));
        }
        if again {
            let way = if for_reading {
                OFlag::O_RDONLY
            } else {
                OFlag::O_WRONLY
            };
            let flags = way | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
            let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
            // Another user's pipe, or a terminal of another mount namespace, cannot be.
            if let Ok(own) = open(path.as_str(), flags, Mode::empty()) {
                return Ok(Self::Own(own.into()));
            }
        }
        Ok(Self::Shared(copy()?.into()))
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Own(file) | Self::Shared(file) => Some(file.as_fd()),
            Self::Socket(fd) => Some(fd.as_fd()),
            Self::Kept(..) => None,
        }
    }

    fn read(&mut self, piece: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Own(file) | Self::Shared(file) => file.read(piece),
            Self::Socket(fd) => Ok(recv(fd.as_raw_fd(), piece, MsgFlags::MSG_DONTWAIT)?),
            Self::Kept(..) => Ok(0),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Own(file) => file.write(bytes),
            Self::Shared(file) => file.write(bytes.get(..SMALL).unwrap_or(bytes)),
            Self::Socket(fd) => {
                let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
                Ok(send(fd.as_raw_fd(), bytes, flags)?)
            }
            Self::Kept(kept, most) => {
                let room = most.saturating_sub(kept.len());
                kept.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
                Ok(bytes.len())
            }
        }
    }
}

/// One way.
#[derive(Debug)]
pub(super) struct Pump {
    from: Option<End>,
    to: Option<End>,
    piece: Vec<u8>,
    /// What of `piece` waits to be written.
    waiting: std::ops::Range<usize>,
    /// Bytes read so far.
    pub(super) moved: u64,
    /// Why bytes could not be read, or not get to where they were to go: this way is closed then.
    pub(super) lost: Option<io::Error>,
}

impl Pump {
    pub(super) fn new(from: End, to: End) -> Self {
        Self {
            from: Some(from),
            to: Some(to),
            piece: vec![0; PIECE],
            waiting: 0..0,
            moved: 0,
            lost: None,
        }
    }

    /// Nothing more will move.
    pub(super) fn done(&self) -> bool {
        self.from.is_none() && self.waiting.is_empty()
    }

    /// Lets go of both ends.
    pub(super) fn close(&mut self) {
        self.from = None;
        self.waiting = 0..0;
        if !matches!(self.to, Some(End::Kept(..))) {
            self.to = None;
        }
    }

    /// What it waits for now.
    pub(super) fn poll(&self) -> Option<PollFd<'_>> {
        let (end, flags) = match self.waiting.is_empty() {
            true => (&self.from, PollFlags::POLLIN),
            false => (&self.to, PollFlags::POLLOUT),
        };
        Some(PollFd::new(end.as_ref()?.fd()?, flags))
    }

    /// Moves what can be moved without waiting: one piece, of which at most `most` bytes go on.
    /// What it waited for is ready.
    pub(super) fn step(&mut self, most: u64) {
        if self.waiting.is_empty() {
            self.fill(most);
        }
        self.empty();
    }

    fn fill(&mut self, most: u64) {
        let Some(from) = &mut self.from else { return };
        match from.read(&mut self.piece) {
            Err(error) if later(&error) => {}
            Err(error) if !ended(&error, from) => {
                self.lost = Some(error);
                self.from = None;
                self.end();
            }
            Ok(0) | Err(_) => {
                self.from = None;
                self.end();
            }
            Ok(len) => {
                self.moved = self
                    .moved
                    .saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
                self.waiting = 0..usize::try_from(most).unwrap_or(usize::MAX).min(len);
            }
        }
    }

    fn empty(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let part = self.piece.get(self.waiting.clone()).unwrap_or_default();
        match self.to.as_mut().map(|to| to.write(part)) {
            Some(Ok(len)) => self.waiting.start = self.waiting.start.saturating_add(len),
            Some(Err(error)) if later(&error) => return,
            // It cannot be written any more: whoever writes at the other end should learn that.
            Some(Err(error)) => {
                self.lost = Some(error);
                return self.close();
            }
            None => return self.close(),
        }
        self.end();
    }

    /// The end is passed on once everything before it has gone.
    fn end(&mut self) {
        if self.done() && !matches!(self.to, Some(End::Kept(..))) {
            self.to = None;
        }
    }

    /// What was kept.
    pub(super) fn into_kept(self) -> Vec<u8> {
        match self.to {
            Some(End::Kept(kept, _)) => kept,
            _ => Vec::new(),
        }
    }
}

/// There is no more to read: a descriptor that is not for reading (nohup(1) makes such a one), a
/// terminal that has hung up, a peer that has gone.
fn ended(error: &io::Error, from: &End) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    let terminal = || from.fd().is_some_and(|fd| fd.is_terminal());
    match errno {
        Some(Errno::EBADF | Errno::ECONNRESET | Errno::EPIPE) => true,
        // Of a file it is a disk that fails.
        Some(Errno::EIO) => terminal(),
        _ => false,
    }
}

fn later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
        || error.raw_os_error() == Some(Errno::EAGAIN as i32)
}

#[cfg(test)]
mod tests {
    use nix::poll::{PollTimeout, poll};
    use nix::unistd::pipe2;

    use super::*;

    fn pipe() -> (OwnedFd, OwnedFd) {
        pipe2(OFlag::O_CLOEXEC).unwrap()
    }

    fn run(pumps: &mut [Pump]) {
        while !pumps.iter().all(Pump::done) {
            let mut polled: Vec<_> = pumps.iter().filter_map(Pump::poll).collect();
            poll(&mut polled, PollTimeout::NONE).unwrap();
            drop(polled);
            pumps.iter_mut().for_each(|pump| pump.step(u64::MAX));
        }
    }

    #[test]
    fn bytes_go_round_a_circle_without_a_deadlock() {
        // What comes out of `back` goes in again at `there`: both ways are full at once.
        let (source, mut feed) = (pipe(), vec![0; 10 << 20]);
        for (place, byte) in feed.iter_mut().enumerate() {
            *byte = u8::try_from(place % 251).unwrap();
        }
        let middle = pipe();
        let sink = pipe();
        let there = Pump::new(
            End::inherited(source.0.as_fd(), true).unwrap(),
            End::pipe(middle.1).unwrap(),
        );
        let back = Pump::new(
            End::pipe(middle.0).unwrap(),
            End::inherited(sink.1.as_fd(), false).unwrap(),
        );
        drop((source.0, sink.1));
        let expected = feed.clone();
        let writer = std::thread::spawn(move || File::from(source.1).write_all(&feed));
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            File::from(sink.0).read_to_end(&mut all).map(|_| all)
        });
        let mut pumps = [there, back];
        run(&mut pumps);
        writer.join().unwrap().unwrap();
        assert_eq!(reader.join().unwrap().unwrap(), expected);
        assert_eq!(pumps[0].moved, 10 << 20);
    }

    #[test]
    fn a_reader_that_goes_away_ends_the_writer() {
        let (source, sink) = (pipe(), pipe());
        let mut pump = Pump::new(End::pipe(source.0).unwrap(), End::pipe(sink.1).unwrap());
        drop(sink.0);
        let mut writer = File::from(source.1);
        writer.write_all(b"x").unwrap();
        pump.step(u64::MAX);
        assert!(pump.done());
        let lost = pump.lost.take().unwrap();
        assert_eq!(lost.kind(), ErrorKind::BrokenPipe);
        assert_eq!(
            writer.write_all(b"x").unwrap_err().kind(),
            ErrorKind::BrokenPipe
        );
    }

    #[test]
    fn what_is_kept_and_what_goes_on_have_limits() {
        let source = pipe();
        let mut pump = Pump::new(End::pipe(source.0).unwrap(), End::Kept(Vec::new(), 3));
        let mut writer = File::from(source.1);
        writer.write_all(b"abcdef").unwrap();
        pump.step(5);
        assert_eq!((pump.moved, pump.done()), (6, false));
        drop(writer);
        pump.step(u64::MAX);
        assert!(pump.done());
        assert_eq!(pump.into_kept(), b"abc");
    }
}
