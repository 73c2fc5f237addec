//! Observing what a jail is refused. Every call that waits here is answered with an error number;
//! none is ever let through, so that nothing depends on memory the jail can change meanwhile.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use crate::jail::denied::{self, Denials, Memory};
use crate::sys::notify::Listener;
use crate::sys::process::FileUser;
use crate::wire::messages::Denial;

/// A jail under observation.
#[derive(Debug)]
pub(super) struct Watch {
    listener: Listener,
    /// Its user, as whom its memory can be read.
    uid: Option<u32>,
    denials: Denials,
}

/// Memory of a process that waits.
struct Waiting(Option<File>);

impl Memory for Waiting {
    fn read(&self, address: u64, bytes: &mut [u8]) -> io::Result<usize> {
        match &self.0 {
            Some(memory) => memory.read_at(bytes, address),
            None => Err(io::Error::other("its memory cannot be read")),
        }
    }
}

impl Watch {
    /// Observes at `listener`.
    pub(super) fn new(listener: OwnedFd, uid: Option<u32>) -> io::Result<Self> {
        Ok(Self {
            listener: Listener::new(listener)?,
            uid,
            denials: Denials::default(),
        })
    }

    /// Notes one refused call and answers it.
    pub(super) fn answer(&mut self, proc: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let Some(asked) = self.listener.receive()? else {
            return Ok(());
        };
        let memory = Waiting(proc.and_then(|proc| self.memory(proc, asked.thread)));
        let (denial, errno) = denied::describe(&asked, &memory);
        // What was read is its own only if it still waits: its number may be another's by now.
        if self.listener.waits(&asked)? {
            self.denials.add(denial);
            self.listener.refuse(asked, errno)?;
        }
        Ok(())
    }

    /// What was refused.
    pub(super) fn finish(self) -> Vec<Denial> {
        self.denials.into_all()
    }

    fn memory(&self, proc: BorrowedFd<'_>, thread: u32) -> Option<File> {
        // Reading it is for its own user (`ptrace(2)`, "Ptrace access mode checking").
        let _user = self.uid.map(|uid| FileUser::become_for_now(uid, uid));
        let path = format!("{thread}/mem");
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        openat(proc, path.as_str(), flags, Mode::empty())
            .ok()
            .map(File::from)
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}
