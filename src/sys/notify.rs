//! Refused system calls, told as they happen: seccomp user notification (`seccomp_unotify(2)`).
//!
//! This observes; it decides nothing. The list has refused the call already, and the only answer
//! there is here is an errno. The kernel would also let a listener wave a call through
//! (`SECCOMP_USER_NOTIF_FLAG_CONTINUE`), after which it reads the caller's memory again: what was
//! looked at and what is done can then differ. No function here sets that flag, nor gives a
//! descriptor to the caller.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::filter::Filter;
use super::raw;

/// Most bytes the kernel may use for a structure; today they are 80 and 24.
const SIZE_MAX: usize = 4096;

/// Where the refusals of an observed jail are told. Closed, every further refusal is answered with
/// `ENOSYS` by the kernel.
#[derive(Debug)]
pub struct Listener {
    fd: OwnedFd,
    /// Bytes of the kernel's question.
    question: usize,
    /// Bytes of the kernel's answer.
    answer: usize,
}

/// A refused call, whose caller waits.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "its caller waits for an answer"]
pub struct Notification {
    id: u64,
    /// The calling thread, as this process' namespace numbers it; 0 where it cannot be seen here.
    pub thread: u32,
    /// Number of the call, x86_64.
    pub number: i32,
    /// Its arguments. What pointers among them point to may change at any time.
    pub arguments: [u64; 6],
}

impl AsFd for Listener {
    /// Readable while a call waits; hung up once no process with the filter is left.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Listener {
    /// Listens on a descriptor that an observing filter gave to another process.
    ///
    /// # Errors
    /// Fails where the kernel's structures cannot be told or are not what they can be here.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        let (question, answer) = sizes()?;
        Ok(Self {
            fd,
            question,
            answer,
        })
    }

    /// Takes the next refused call; waits for one, so look for readability before. Nothing where
    /// its caller ended meanwhile.
    ///
    /// # Errors
    /// What the kernel says (`EINTR` among it).
    pub fn receive(&self) -> io::Result<Option<Notification>> {
        // The kernel wants zeros, and writes as many bytes as its own structure has.
        let mut room = vec![0_u64; self.question.div_ceil(8)];
        let place = room.as_mut_ptr().expose_provenance().cast_signed() as libc::c_long;
        match self.control(libc::SECCOMP_IOCTL_NOTIF_RECV, place) {
            Ok(_) => Ok(Some(read(&room)?)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Nobody can ask any more: no process with the filter is left.
    ///
    /// # Errors
    /// What poll(2) says.
    pub fn is_over(&self) -> io::Result<bool> {
        let mut polled = [PollFd::new(self.as_fd(), PollFlags::POLLIN)];
        poll(&mut polled, PollTimeout::ZERO)?;
        let events = polled.first().and_then(PollFd::revents);
        Ok(events.is_some_and(|events| events.contains(PollFlags::POLLHUP)))
    }

    /// The caller still waits. Ask after its memory was read: before, the number of a thread that
    /// ended may have become another one's.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn waits(&self, notification: &Notification) -> io::Result<bool> {
        let id = raw::address(&notification.id);
        match self.control(libc::SECCOMP_IOCTL_NOTIF_ID_VALID, id) {
            Ok(_) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Lets the call fail with `errno`; false where the caller ended meanwhile.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn refuse(&self, notification: Notification, errno: Errno) -> io::Result<bool> {
        let mut room = vec![0_u64; self.answer.div_ceil(8)];
        for (word, value) in room.iter_mut().zip(refusal(notification.id, errno)) {
            *word = value;
        }
        match self.control(
            libc::SECCOMP_IOCTL_NOTIF_SEND,
            raw::address(room.as_slice()),
        ) {
            Ok(_) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    #[expect(unsafe_code, reason = "wraps a system call")]
    fn control(&self, request: libc::Ioctl, place: libc::c_long) -> raw::Answer {
        let fd = libc::c_long::from(self.fd.as_raw_fd());
        let request = request.cast_signed();
        // SAFETY: the callers above give a place of at least the size of the kernel's structure,
        // which lives until the call returns; an id is 8 bytes and only read.
        unsafe { raw::call(libc::SYS_ioctl, [fd, request, place, 0, 0, 0]) }
    }
}

impl Filter {
    /// Adds this observing filter to the calling thread and those it starts; `no_new_privs` must be
    /// set. Whoever holds the listener decides how long this thread waits: it must be another.
    ///
    /// # Errors
    /// What seccomp(2) says; `EBUSY` where a filter of this thread is observed already.
    pub fn install_observed(&self) -> io::Result<Listener> {
        // Before: with the filter, this question would be one of those that wait.
        let (question, answer) = sizes()?;
        let fd = own(raw::seccomp_observed(&self.0)?);
        Ok(Listener {
            fd,
            question,
            answer,
        })
    }
}

#[expect(unsafe_code, reason = "the kernel gives a number")]
fn own(number: RawFd) -> OwnedFd {
    // SAFETY: the kernel made it for the call just before, and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// Bytes of the kernel's question and answer.
#[expect(unsafe_code, reason = "wraps a system call")]
fn sizes() -> io::Result<(usize, usize)> {
    let mut sizes = libc::seccomp_notif_sizes {
        seccomp_notif: 0,
        seccomp_notif_resp: 0,
        seccomp_data: 0,
    };
    let place = std::ptr::from_mut(&mut sizes)
        .expose_provenance()
        .cast_signed() as libc::c_long;
    let mode = libc::c_long::from(libc::SECCOMP_GET_NOTIF_SIZES);
    // SAFETY: the structure lives until the call returns.
    unsafe { raw::call(libc::SYS_seccomp, [mode, 0, place, 0, 0, 0]) }?;
    let fit = |size: u16, least: usize| {
        let size = usize::from(size).max(least);
        let why = || io::Error::other("the kernel's seccomp notifications are too large");
        (size <= SIZE_MAX).then_some(size).ok_or_else(why)
    };
    Ok((
        fit(sizes.seccomp_notif, size_of::<libc::seccomp_notif>())?,
        fit(
            sizes.seccomp_notif_resp,
            size_of::<libc::seccomp_notif_resp>(),
        )?,
    ))
}

/// Reads `struct seccomp_notif`: id; thread and flags; number and ABI; instruction pointer; six
/// arguments.
fn read(words: &[u64]) -> io::Result<Notification> {
    let [id, thread, number, _, one, two, three, four, five, six, ..] = *words else {
        return Err(io::Error::other("a short seccomp notification"));
    };
    let low = |word: u64| u32::try_from(word & u64::from(u32::MAX)).unwrap_or(0);
    Ok(Notification {
        id,
        thread: low(thread),
        number: low(number).cast_signed(),
        arguments: [one, two, three, four, five, six],
    })
}

/// `struct seccomp_notif_resp`: id; value; error and flags. The value and the flags are always 0.
fn refusal(id: u64, errno: Errno) -> [u64; 3] {
    // An unknown errno is 0, which would be success.
    let errno = match errno as i32 {
        number @ 1..=4095 => number,
        _ => libc::EPERM,
    };
    [id, 0, u64::from((-errno).cast_unsigned())]
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use nix::sys::signal::{Signal, kill};
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::Pid;

    use super::*;
    use crate::jail::lists::FOREIGN;
    use crate::sys::filter::Clone3;
    use crate::sys::process;

    /// Longest wait for what is there at once.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// Runs `inside` on a thread under the observed list of foreign jails, `outside` here.
    fn observed<T: Send + 'static>(
        inside: impl FnOnce() -> T + Send + 'static,
        outside: impl FnOnce(Listener),
    ) -> T {
        let (send, receive) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            process::no_new_privs().unwrap();
            let filter = Filter::observed(&[FOREIGN], Clone3::Missing).unwrap();
            send.send(filter.install_observed().unwrap()).unwrap();
            inside()
        });
        let listener = receive.recv_timeout(PATIENCE).unwrap();
        outside(listener);
        thread.join().unwrap()
    }

    fn ready(fd: BorrowedFd<'_>) -> PollFlags {
        let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
        let patience = PollTimeout::try_from(PATIENCE).unwrap();
        assert_eq!(poll(&mut fds, patience), Ok(1), "nobody asked");
        fds[0].revents().unwrap()
    }

    fn next(listener: &Listener) -> Notification {
        assert!(ready(listener.as_fd()).contains(PollFlags::POLLIN));
        listener.receive().unwrap().unwrap()
    }

    #[expect(unsafe_code, reason = "calls that no wrapper makes")]
    fn call(number: libc::c_long, a: [libc::c_long; 6]) -> raw::Answer {
        // SAFETY: the tests below pass numbers, and pointers only to what outlives the call.
        unsafe { raw::call(number, a) }
    }

    /// A child of this thread that calls `ptrace(16, 1, 2, 3)` and exits with what it was answered.
    fn asking_child() -> i32 {
        let pid = call(libc::SYS_fork, [0; 6]).unwrap();
        if pid == 0 {
            // Only system calls from here on: other threads may hold locks.
            let answer = call(libc::SYS_ptrace, [16, 1, 2, 3, 0, 0]);
            let status = answer.map_or_else(|errno| errno as i64, |_| 0);
            call(libc::SYS_exit_group, [status, 0, 0, 0, 0, 0]).unwrap();
        }
        i32::try_from(pid).unwrap()
    }

    #[test]
    fn a_childs_refused_call_is_told_and_answered() {
        let ended = observed(
            || waitpid(Pid::from_raw(asking_child()), None).unwrap(),
            |listener| {
                let told = next(&listener);
                assert!(!listener.is_over().unwrap());
                assert_eq!(i64::from(told.number), libc::SYS_ptrace);
                assert_eq!(told.arguments[..4], [16, 1, 2, 3]);
                assert_ne!(told.thread, std::process::id());
                assert!(listener.waits(&told).unwrap());
                assert!(listener.refuse(told, Errno::ENOANO).unwrap());
                // Nothing else asks, and the end of all of them is told.
                assert_eq!(ready(listener.as_fd()), PollFlags::POLLHUP);
                assert!(listener.is_over().unwrap());
            },
        );
        let WaitStatus::Exited(_, status) = ended else {
            panic!("{ended:?}");
        };
        assert_eq!(status, Errno::ENOANO as i32);
    }

    #[test]
    fn a_caller_that_was_killed_waits_no_more() {
        observed(
            || waitpid(Pid::from_raw(asking_child()), None).unwrap(),
            |listener| {
                let told = next(&listener);
                let caller = Pid::from_raw(i32::try_from(told.thread).unwrap());
                kill(caller, Signal::SIGKILL).unwrap();
                assert_eq!(ready(listener.as_fd()), PollFlags::POLLHUP);
                assert!(!listener.waits(&told).unwrap());
                assert!(!listener.refuse(told, Errno::EPERM).unwrap());
            },
        );
    }

    #[test]
    fn without_a_listener_refused_calls_are_missing() {
        let (close, closed) = mpsc::channel();
        let answers = observed(
            move || {
                let first = call(libc::SYS_kcmp, [0; 6]);
                closed.recv().unwrap();
                (first, call(libc::SYS_kcmp, [0; 6]))
            },
            |listener| {
                assert!(listener.refuse(next(&listener), Errno::EPERM).unwrap());
                drop(listener);
                close.send(()).unwrap();
            },
        );
        assert_eq!(answers, (Err(Errno::EPERM), Err(Errno::ENOSYS)));
    }

    #[test]
    fn no_answer_lets_a_call_pass() {
        for number in -4096..=4096 {
            let [id, value, tail] = refusal(7, Errno::from_raw(number));
            let flags = tail >> 32;
            let error = u32::try_from(tail & u64::from(u32::MAX))
                .unwrap()
                .cast_signed();
            assert_eq!((id, value, flags), (7, 0, 0));
            assert!((-4095..0).contains(&error), "{number} gives {error}");
        }
    }

    #[test]
    fn a_short_question_is_an_error() {
        assert!(read(&[0; 9]).is_err());
        assert!(read(&[0; 10]).is_ok());
    }
}
