//! Making a process without copying this one: `clone3(CLONE_VM | CLONE_VFORK)`.
//!
//! A plain fork copies the page tables (16 ms for a process of 256 MiB); this child runs in our
//! memory, on a stack of its own, while we wait, until it has become another program. Therefore it
//! only makes system calls: it allocates nothing, takes no lock, and cannot panic.

use std::ffi::{CStr, c_char, c_long};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

use super::exec::{self, Child, FDS_MAX, Failed, Start, broken};

/// Bytes of a child's stack.
pub(super) const STACK: usize = 64 << 10;
/// Exit status of a child that could not become its program; nobody outside sees it.
const BROKEN: libc::c_int = 127;
/// `CLONE_CLEAR_SIGHAND` (libc's constant is too narrow).
pub(super) const CLEAR_SIGHAND: u64 = 1 << 32;
/// `CLONE_INTO_CGROUP` (libc's constant is too narrow).
const INTO_CGROUP: u64 = 1 << 33;

/// What parent and child share during the start.
#[derive(Debug)]
#[repr(C)]
struct Shared<'a> {
    start: &'a Start<'a>,
    argv: *const *const c_char,
    env: *const *const c_char,
    failed: Option<Failed>,
}

/// A process that is ready to be cloned.
#[derive(Debug)]
pub(super) struct Ready<'a> {
    shared: Shared<'a>,
    arguments: libc::clone_args,
    pidfd: RawFd,
    cloned: Result<libc::pid_t, Errno>,
    /// What the pointers of the others lead to.
    _argv: Vec<*const c_char>,
    _env: Vec<*const c_char>,
    stack: Vec<u128>,
}

impl<'a> Ready<'a> {
    /// `exit_signal` is what its parent gets when it ends.
    pub(super) fn new(start: &'a Start<'a>, exit_signal: u64) -> Result<Self, Failed> {
        if start.fds.len() > FDS_MAX {
            return Err(broken("descriptors", Errno::EMFILE));
        }
        let (argv, env) = (pointers(start.argv), pointers(start.env));
        let stack: Vec<u128> = Vec::with_capacity(STACK / size_of::<u128>());
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD;
        let mut flags = u64::from(flags.cast_unsigned()) | start.namespaces;
        // No handler of ours may run in the child: it would run in our memory.
        flags |= CLEAR_SIGHAND;
        // Never outside of it: what it does before its first instruction counts there already.
        let cgroup = start
            .cgroup
            .and_then(|fd| u64::try_from(fd.as_raw_fd()).ok());
        flags |= cgroup.map_or(0, |_| INTO_CGROUP);
        Ok(Self {
            shared: Shared {
                start,
                argv: argv.as_ptr(),
                env: env.as_ptr(),
                failed: None,
            },
            arguments: libc::clone_args {
                flags,
                pidfd: 0,
                child_tid: 0,
                parent_tid: 0,
                exit_signal,
                stack: 0,
                stack_size: STACK as u64,
                tls: 0,
                set_tid: 0,
                set_tid_size: 0,
                cgroup: cgroup.unwrap_or(0),
            },
            pidfd: -1,
            cloned: Err(Errno::ECHILD),
            _argv: argv,
            _env: env,
            stack,
        })
    }

    /// Clones it, with these flags beside its own, and waits until it runs its program or has failed
    /// to. Allocates nothing, takes no lock and cannot panic.
    #[expect(unsafe_code, reason = "clone3")]
    pub(super) fn clone(&mut self, flags: u64) {
        self.arguments.flags |= flags;
        self.arguments.pidfd = std::ptr::from_mut(&mut self.pidfd).expose_provenance() as u64;
        self.arguments.stack = self.stack.as_mut_ptr().expose_provenance() as u64;
        let shared = std::ptr::from_mut(&mut self.shared);
        // SAFETY: `run_child` takes a `Shared`. Stack and shared state outlive the child's use of them,
        // because CLONE_VFORK stops this thread until the child has left our memory.
        let answer = unsafe { clone3(&self.arguments, shared.cast(), run_child) };
        self.cloned = Errno::result(answer).map(|pid| libc::pid_t::try_from(pid).unwrap_or(-1));
    }

    /// It does not run: it was not cloned, or could not become its program.
    pub(super) fn failed(&self) -> bool {
        self.cloned.is_err() || self.shared.failed.is_some()
    }

    /// What became of it; only for its parent.
    #[expect(unsafe_code, reason = "the ownership of what clone3 makes")]
    pub(super) fn child(self) -> Result<Child, Failed> {
        let pid = self.cloned.map_err(|errno| broken("clone3", errno))?;
        // SAFETY: CLONE_PIDFD made this descriptor for us, and this takes the only number of it.
        let pidfd = unsafe { OwnedFd::from_raw_fd(self.pidfd) };
        match self.shared.failed {
            None => Ok(Child { pid, pidfd }),
            Some(failed) => {
                // It has exited already; only its entry in the process table is left.
                drop(super::spawn::wait_pid(pid));
                Err(failed)
            }
        }
    }
}

/// What `execve(2)` wants: pointers to the texts, and a null pointer.
fn pointers(texts: &[&CStr]) -> Vec<*const c_char> {
    let null = std::iter::once(std::ptr::null());
    texts.iter().map(|text| text.as_ptr()).chain(null).collect()
}

/// The life of a clone that shares our memory; it ends by `_exit` or as another program.
pub(super) type Life = extern "C" fn(*mut libc::c_void) -> !;

/// `clone3(2)`; the child calls `life` with `shared` on its own stack.
///
/// # Safety
/// `shared` must point to what `life` takes and the arguments to a stack, and both must stay until
/// the child has left our memory; the flags must contain `CLONE_VM` and `CLONE_VFORK`. `life` must
/// allocate nothing, take no lock and not panic.
#[expect(
    unsafe_code,
    reason = "the child needs a stack of its own, which libc's syscall() lacks"
)]
pub(super) unsafe fn clone3(
    arguments: &libc::clone_args,
    shared: *mut libc::c_void,
    life: Life,
) -> c_long {
    let answer: c_long;
    // SAFETY: in the parent this is a system call that clobbers rcx and r11 only. In the child the
    // kernel has set rsp to the end of the given stack, 16-byte aligned, and `life` never returns.
    unsafe {
        core::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r12",
            "call r13",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 => answer,
            in("rdi") std::ptr::from_ref(arguments),
            in("rsi") size_of::<libc::clone_args>(),
            in("r12") shared,
            in("r13") life,
            out("rcx") _,
            out("r11") _,
        );
    }
    if answer < 0 {
        Errno::set_raw(i32::try_from(-answer).unwrap_or(libc::EIO));
        return -1;
    }
    answer
}

/// The life of a child that becomes a program.
#[expect(
    unsafe_code,
    reason = "reads what the parent, which is stopped, left for it"
)]
extern "C" fn run_child(shared: *mut libc::c_void) -> ! {
    // SAFETY: the parent made it for us, and is stopped until we are gone from its memory.
    let shared = unsafe { &mut *shared.cast::<Shared<'static>>() };
    // SAFETY: `Ready` built both lists from C strings and ended them with a null pointer.
    shared.failed = unsafe { exec::run(shared.start, shared.argv, shared.env) };
    // SAFETY: ends this process only, without running what the parent registered for its exit.
    unsafe { libc::_exit(BROKEN) }
}
