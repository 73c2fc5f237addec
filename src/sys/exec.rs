//! Starting a process: what it gets, what it gives up, and its program. How it is made is in
//! [`super::clone`]; until it has become its program it only makes system calls.

use std::ffi::{CStr, c_char, c_long};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;

use super::clone::Ready;
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

/// How many descriptors a process has to be allowed to open (`RLIMIT_NOFILE`), to start one that is
/// given as many as there can be.
pub const DESCRIPTORS: u64 = ABOVE.unsigned_abs() as u64 + FDS_MAX as u64;

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
    /// Hard limits; lower ones that it has already stay.
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

/// A child's life before its program, and its exec: gives only why that failed.
///
/// # Safety
/// `argv` and `env` must end with a null pointer, and what they point to must be C strings.
#[expect(unsafe_code, reason = "becomes another program")]
pub(super) unsafe fn run(
    start: &Start<'_>,
    argv: *const *const c_char,
    env: *const *const c_char,
) -> Option<Failed> {
    if let Err((step, errno)) = prepare(start) {
        return Some(broken(step, errno));
    }
    let answer = match start.program {
        // SAFETY: the caller's promise.
        Program::Open(_) => unsafe { raw::exec(PROGRAM, argv, env) },
        // SAFETY: as above.
        Program::Named { path, .. } => unsafe { raw::exec_path(path, argv, env) },
        // SAFETY: as above.
        Program::Shown { .. } => unsafe { raw::exec_path(PROGRAM_SHOWN, argv, env) },
    };
    answer.err().map(|errno| broken(EXEC, errno))
}

/// A step that failed.
pub(super) fn broken(step: &'static str, errno: Errno) -> Failed {
    Failed { step, errno }
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
