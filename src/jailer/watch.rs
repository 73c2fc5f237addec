//! Observing what a jail is refused. Every call that waits here is answered with an error number;
//! none is ever let through, so that nothing depends on memory the jail can change meanwhile.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use crate::jail::denied::{Call, Denials, Memory, denied};
use crate::sys::notify::Listener;
use crate::sys::process::FileUser;
use crate::wire::manifest::Class;
use crate::wire::messages::Denial;

/// Most refused calls that are told of one jail: each costs the jailer a moment that other jails
/// wait for. After that the kernel refuses them (`ENOSYS`), and nobody is told.
const TOLD_MAX: u32 = 10_000;

/// Refused calls that are not told if they come first and in their order; each may be any of a few.
pub(super) type Silent = &'static [&'static [libc::c_long]];

/// What the C library asks at the start of every program of Keepgate's own and can do without: what
/// it is called (newer ones, as in Debian 13, by `readlinkat`), and how the machine's memory is
/// managed. Worth no word in each entry of a log.
pub(super) const START: Silent = &[
    &[libc::SYS_readlink, libc::SYS_readlinkat],
    &[libc::SYS_openat],
];

/// A jail under observation.
#[derive(Debug)]
pub(super) struct Watch {
    listener: Option<Listener>,
    told: u32,
    /// What is left of those that are not told.
    silent: Silent,
    class: Class,
    /// Its user, as whom its memory can be read.
    uid: Option<u32>,
    denials: Denials,
}

/// Memory of a process that waits.
struct Waiting(Option<File>);

impl Memory for Waiting {
    fn read(&self, address: u64, into: &mut [u8]) -> usize {
        let memory = self.0.as_ref();
        memory.map_or(0, |memory| memory.read_at(into, address).unwrap_or(0))
    }
}

impl Watch {
    /// Observes at `listener`; the first refused calls that are as `silent` says are not told.
    pub(super) fn new(
        listener: OwnedFd,
        class: Class,
        silent: Silent,
        uid: Option<u32>,
    ) -> io::Result<Self> {
        Ok(Self {
            listener: Some(Listener::new(listener)?),
            told: 0,
            silent,
            class,
            uid,
            denials: Denials::default(),
        })
    }

    /// Notes one refused call and answers it.
    pub(super) fn answer(&mut self, proc: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let Some(listener) = &self.listener else {
            return Ok(());
        };
        let Some(asked) = listener.receive()? else {
            // A descriptor that stays ready for ever would keep its jailer busy.
            if listener.is_over()? {
                self.listener = None;
            }
            return Ok(());
        };
        let memory = Waiting(proc.and_then(|proc| self.memory(proc, asked.thread)));
        let number = libc::c_long::from(asked.number);
        let call = Call {
            number: asked.number,
            arguments: asked.arguments,
        };
        let (denial, errno) = denied(self.class, call, &memory);
        // What was read is its own only if it still waits: its number may be another's by now.
        if listener.waits(&asked)? {
            match self.silent.split_first() {
                _ if call.asks_for_names() => {}
                Some((first, rest)) if first.contains(&number) => self.silent = rest,
                _ => {
                    self.silent = &[];
                    self.denials.add(denial);
                }
            }
            listener.refuse(asked, errno)?;
        }
        self.told = self.told.saturating_add(1);
        if self.told >= TOLD_MAX {
            tracing::warn!("a jail is refused too many calls for them to be told");
            self.listener = None;
        }
        Ok(())
    }

    /// What to watch, as long as calls are told.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.listener.as_ref().map(AsFd::as_fd)
    }

    /// Lets the kernel refuse what is still to come.
    pub(super) fn stop(&mut self) {
        self.listener = None;
    }

    /// What was refused.
    pub(super) fn finish(self) -> Vec<Denial> {
        self.denials.finish()
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

#[cfg(test)]
mod tests {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;
    use crate::jail::lists;
    use crate::sys::filter::{Clone3, Filter};
    use crate::sys::process;

    #[test]
    fn what_nobody_can_ask_any_more_is_not_watched() {
        let thread = std::thread::spawn(|| {
            process::no_new_privs().unwrap();
            let filter = Filter::observed(&[lists::FOREIGN], Clone3::Missing).unwrap();
            filter.install_observed().unwrap()
        });
        let mut watch = Watch {
            listener: Some(thread.join().unwrap()),
            told: 0,
            silent: &[],
            class: Class::Foreign,
            uid: None,
            denials: Denials::default(),
        };
        let mut polled = [PollFd::new(watch.fd().unwrap(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut polled, PollTimeout::NONE), Ok(1));
        watch.answer(None).unwrap();
        assert!(watch.fd().is_none(), "it would be ready for ever");
    }
}
