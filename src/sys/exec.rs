//! Starting a process without copying this one: `clone3(CLONE_VM | CLONE_VFORK)`, then `execveat`.
//!
//! A plain fork copies the page tables (16 ms for a process of 256 MiB); this child runs in our
//! memory, on a stack of its own, while we wait, until it has become another program. Therefore it
//! only makes system calls: it allocates nothing, takes no lock, and cannot panic.

use std::ffi::{CStr, c_char, c_long};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

use super::raw;

/// Number under which a child holds its program until it runs: the seccomp filters of tools allow
/// `execveat` of this number only.
pub const PROGRAM: RawFd = 200;
/// The same as a path.
const PROGRAM_SHOWN: &CStr = c"/proc/self/fd/200";
/// Number under which a child holds the socket that its observer listens at, until it runs.
const LISTENER: RawFd = PROGRAM + 1;
/// Lowest number that no child keeps.
const ABOVE: RawFd = LISTENER + 1;
/// Most descriptors a child can be given: fewer than [`PROGRAM`].
pub(super) const FDS_MAX: usize = 160;
/// Bytes of the child's stack.
pub(super) const STACK: usize = 64 << 10;
/// Exit status of a child that could not become its program; nobody outside sees it.
const BROKEN: libc::c_int = 127;

/// What this process or whoever started it may ignore, which would be passed on: a program that
/// ignores SIGPIPE writes to nobody for ever.
const IGNORED: [libc::c_int; 7] = [
    libc::SIGPIPE,
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGCHLD,
    libc::SIGXFSZ,
];

/// The last step of a start.
const EXEC: &str = "execve";

/// `CLONE_CLEAR_SIGHAND` (libc's constant is too narrow).
pub(super) const CLEAR_SIGHAND: u64 = 1 << 32;

/// `CLONE_INTO_CGROUP` (libc's constant is too narrow).
const INTO_CGROUP: u64 = 1 << 33;

/// Resource, soft and hard limit.
pub type Limit = (u32, u64, u64);

/// What a child becomes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Program<'a> {
    /// An open executable; no script, whose interpreter could not open it.
    Open(BorrowedFd<'a>),
    /// An open executable, run by its name in `/proc`: for filters that let nothing nameless run.
    Shown {
        /// The executable.
        file: BorrowedFd<'a>,
        /// Working directory.
        directory: &'a CStr,
    },
    /// An executable or a script by its path, and the directory it is run in.
    Named {
        /// Absolute path.
        path: &'a CStr,
        /// Working directory.
        directory: &'a CStr,
    },
}

/// What to start.
#[derive(Debug)]
pub(super) struct Start<'a> {
    /// What the child becomes.
    pub(super) program: Program<'a>,
    /// Its arguments, the name first.
    pub(super) argv: &'a [&'a CStr],
    /// Its environment.
    pub(super) env: &'a [&'a CStr],
    /// Its descriptors, numbered from 0.
    pub(super) fds: &'a [BorrowedFd<'a>],
    /// `CLONE_NEW*` flags.
    pub(super) namespaces: u64,
    /// The network namespace it enters; this process' own where none is given.
    pub(super) network: Option<BorrowedFd<'a>>,
    /// The cgroup it begins in; this process' own where none is given.
    pub(super) cgroup: Option<BorrowedFd<'a>>,
    /// Capabilities it has as a program although its user is not root (`capabilities(7)`,
    /// "Ambient").
    pub(super) ambient: &'a [u8],
    /// What it may not do any more before it runs.
    pub(super) lockdown: Option<Lockdown<'a>>,
}

/// What a child gives up before it becomes its program.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lockdown<'a> {
    /// Becomes this uid and gid, without supplementary groups.
    pub(super) uid: Option<u32>,
    /// Capabilities to remove from the bounding set.
    pub(super) bounding: &'a [u8],
    /// Hard limits.
    pub(super) limits: &'a [Limit],
    /// A Landlock ruleset.
    pub(super) ruleset: Option<BorrowedFd<'a>>,
    /// A seccomp filter.
    pub(super) filter: &'a [libc::sock_filter],
    /// The process whose end kills this one.
    pub(super) parent: BorrowedFd<'a>,
    /// Where the descriptor goes at which calls that the filter refuses are told
    /// (`seccomp_unotify(2)`), for filters that have such calls.
    pub(super) listener: Option<BorrowedFd<'a>>,
}

impl<'a> Start<'a> {
    /// An open program with an empty environment and nothing else.
    pub(super) fn new(
        program: BorrowedFd<'a>,
        argv: &'a [&'a CStr],
        fds: &'a [BorrowedFd<'a>],
    ) -> Self {
        Self {
            program: Program::Open(program),
            argv,
            env: &[],
            fds,
            namespaces: 0,
            network: None,
            cgroup: None,
            ambient: &[],
            lockdown: None,
        }
    }
}

/// A started process.
#[derive(Debug)]
pub(super) struct Child {
    /// Its process id here.
    pub(super) pid: libc::pid_t,
    /// Refers to it even when the id is used again.
    pub(super) pidfd: OwnedFd,
}

/// What parent and child share during the start.
#[derive(Debug)]
#[repr(C)]
struct Shared<'a> {
    start: &'a Start<'a>,
    argv: *const *const c_char,
    env: *const *const c_char,
    /// Step that failed and its errno.
    failed: Option<(&'static str, Errno)>,
}

/// The step of a start that failed, and why.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failed {
    step: &'static str,
    errno: Errno,
}

impl Failed {
    /// What `execve(2)` said, where it was that step.
    pub(super) fn exec(self) -> Option<i32> {
        (self.step == EXEC).then_some(self.errno as i32)
    }
}

impl From<Failed> for io::Error {
    fn from(failed: Failed) -> Self {
        Self::other(format!("{}: {}", failed.step, failed.errno.desc()))
    }
}

/// Starts a process and waits until it runs its program.
///
/// # Errors
/// The step that failed and why.
pub(super) fn start(start: &Start<'_>) -> Result<Child, Failed> {
    let mut ready = Ready::new(start, u64::from(libc::SIGCHLD.cast_unsigned()))?;
    ready.clone(0);
    ready.child()
}

/// A process that is ready to be cloned. It must not move between [`Ready::clone`] and
/// [`Ready::child`].
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
            Some((step, errno)) => {
                // It has exited already; only its entry in the process table is left.
                drop(super::spawn::wait_pid(pid));
                Err(broken(step, errno))
            }
        }
    }
}

/// What `execve(2)` wants: pointers to the texts, and a null pointer.
fn pointers(texts: &[&CStr]) -> Vec<*const c_char> {
    let null = std::iter::once(std::ptr::null());
    texts.iter().map(|text| text.as_ptr()).chain(null).collect()
}

pub(super) fn broken(step: &'static str, errno: Errno) -> Failed {
    Failed { step, errno }
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

/// The child's life before its program.
#[expect(
    unsafe_code,
    reason = "reads what the parent, which is stopped, left for it"
)]
extern "C" fn run_child(shared: *mut libc::c_void) -> ! {
    // SAFETY: the parent made it for us, and is stopped until we are gone from its memory.
    let shared = unsafe { &mut *shared.cast::<Shared<'static>>() };
    let (start, argv, env) = (shared.start, shared.argv, shared.env);
    if let Err(failed) = prepare(start) {
        shared.failed = Some(failed);
    } else {
        let answer = match start.program {
            // SAFETY: `start` built both lists from C strings and ended them with a null pointer.
            Program::Open(_) => unsafe { raw::exec(PROGRAM, argv, env) },
            // SAFETY: as above.
            Program::Named { path, .. } => unsafe { raw::exec_path(path, argv, env) },
            // SAFETY: as above.
            Program::Shown { .. } => unsafe { raw::exec_path(PROGRAM_SHOWN, argv, env) },
        };
        shared.failed = answer.err().map(|errno| (EXEC, errno));
    }
    // SAFETY: ends this process only, without running what the parent registered for its exit.
    unsafe { libc::_exit(BROKEN) }
}

type Step = Result<(), (&'static str, Errno)>;

fn step<T>(name: &'static str, answer: Result<T, Errno>) -> Result<T, (&'static str, Errno)> {
    match answer {
        Ok(value) => Ok(value),
        Err(errno) => Err((name, errno)),
    }
}

/// Everything between clone and exec, in the order in which each step is still allowed.
fn prepare(start: &Start<'_>) -> Step {
    step("setsid", raw::setsid())?;
    if let Some(network) = start.network {
        step("setns", raw::enter_network(network.as_raw_fd()))?;
    }
    if let Some(lockdown) = &start.lockdown {
        give_up(lockdown)?;
    }
    if let Program::Named { directory, .. } | Program::Shown { directory, .. } = start.program {
        // As the user the program will be: what that user cannot enter is no place for it.
        step("chdir", raw::chdir(directory))?;
    }
    descriptors(start)?;
    step("rt_sigprocmask", raw::unblock_signals())?;
    for signal in IGNORED {
        step("rt_sigaction", raw::default_action(signal))?;
    }
    if !start.ambient.is_empty() {
        step("prctl(PR_CAP_AMBIENT)", raw::raise_ambient(start.ambient))?;
    }
    if let Some(lockdown) = &start.lockdown {
        for (resource, soft, hard) in lockdown.limits {
            step("prlimit64", raw::limit(*resource, *soft, *hard))?;
        }
        filter(lockdown)?;
    }
    Ok(())
}

/// From here on calls are refused, and told where there is a listener: what is left to do is
/// allowed by every filter.
fn filter(lockdown: &Lockdown<'_>) -> Step {
    if lockdown.listener.is_none() {
        return step("seccomp", raw::seccomp(lockdown.filter)).map(drop);
    }
    let told = step("seccomp", raw::seccomp_observed(lockdown.filter))?;
    // Both are closed by exec: the program can neither hear nor answer for itself.
    step("sendmsg", raw::send_descriptor(LISTENER, told)).map(drop)
}

fn give_up(lockdown: &Lockdown<'_>) -> Step {
    for capability in lockdown.bounding {
        step("prctl(PR_CAPBSET_DROP)", raw::drop_bounding(*capability))?;
    }
    if let Some(uid) = lockdown.uid {
        step("setgroups", raw::drop_groups())?;
        step("setresuid", raw::become_user(uid, uid))?;
    }
    step("prctl(PR_CAP_AMBIENT)", raw::clear_ambient())?;
    step("capset", raw::capset(0))?;
    step(
        "prctl(PR_SET_NO_NEW_PRIVS)",
        raw::prctl(libc::PR_SET_NO_NEW_PRIVS, 1),
    )?;
    // After the change of uid, which clears it.
    let kill = c_long::from(libc::SIGKILL);
    step(
        "prctl(PR_SET_PDEATHSIG)",
        raw::prctl(libc::PR_SET_PDEATHSIG, kill),
    )?;
    if step("poll", raw::has_ended(lockdown.parent.as_raw_fd()))? {
        return Err(("the jailer has ended", Errno::ESRCH));
    }
    match &lockdown.ruleset {
        Some(ruleset) => {
            step("landlock_restrict_self", raw::landlock(ruleset.as_raw_fd())).map(drop)
        }
        None => Ok(()),
    }
}

/// Puts the given descriptors at 0, 1, …, the program at [`PROGRAM`], the observer's socket at
/// [`LISTENER`], and closes all others.
fn descriptors(start: &Start<'_>) -> Step {
    // First out of the way: a source may have the number of another's target.
    let mut moved = [-1; FDS_MAX];
    let sources = start.fds.iter().zip(moved.iter_mut());
    for (fd, place) in sources {
        *place = step(
            "fcntl(F_DUPFD_CLOEXEC)",
            raw::copy_above(fd.as_raw_fd(), ABOVE),
        )?;
    }
    let program = match &start.program {
        Program::Open(program) | Program::Shown { file: program, .. } => Some(program),
        Program::Named { .. } => None,
    };
    let listener = start.lockdown.as_ref();
    let listener = listener.and_then(|lockdown| lockdown.listener.as_ref());
    // These are out of the way of the others, and close when the program runs.
    let kept = [(program, PROGRAM), (listener, LISTENER)];
    let mut copies = [-1; 2];
    for ((fd, _), copy) in kept.iter().zip(copies.iter_mut()) {
        if let Some(fd) = fd {
            *copy = step(
                "fcntl(F_DUPFD_CLOEXEC)",
                raw::copy_above(fd.as_raw_fd(), ABOVE),
            )?;
        }
    }
    let mut next = 0;
    for place in moved.iter().take(start.fds.len()) {
        step("dup3", raw::copy_to(*place, next, 0))?;
        next += 1;
    }
    for ((fd, number), copy) in kept.iter().zip(copies) {
        if fd.is_some() {
            step("dup3", raw::copy_to(copy, *number, libc::O_CLOEXEC))?;
        } else {
            step(
                "close_range",
                raw::close_range(*number, number.cast_unsigned()),
            )?;
        }
    }
    step(
        "close_range",
        raw::close_range(next, PROGRAM.cast_unsigned() - 1),
    )?;
    step("close_range", raw::close_range(ABOVE, u32::MAX)).map(drop)
}
