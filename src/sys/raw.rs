//! System calls without the C library's bookkeeping. They allocate nothing, take no lock and cannot
//! panic, so that the child of a `CLONE_VM | CLONE_VFORK` clone may use them; and they change the
//! calling thread only, where the C library would change all threads (`setresuid(2)`, "C library/kernel
//! differences").

use std::ffi::{CStr, c_char, c_int, c_long};
use std::os::fd::RawFd;

use nix::errno::Errno;

/// What a system call answered.
pub(super) type Answer = Result<c_long, Errno>;

/// `capset(2)`: header of version 3, this thread.
#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: c_int,
}

/// `capset(2)`: one half of the sets.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct CapabilityHalf {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

/// One system call.
///
/// # Safety
/// The arguments must be what the system call `number` expects, and pointers among them valid for
/// what it does with them.
#[expect(unsafe_code, reason = "every system call goes through here")]
pub(super) unsafe fn call(number: c_long, a: [c_long; 6]) -> Answer {
    let [one, two, three, four, five, six] = a;
    // SAFETY: the caller's promise.
    Errno::result(unsafe { libc::syscall(number, one, two, three, four, five, six) })
}

/// A system call whose arguments are plain numbers.
#[expect(unsafe_code, reason = "wraps a system call")]
fn plain(number: c_long, a: [c_long; 6]) -> Answer {
    // SAFETY: the callers below pass no pointers, and none of their calls changes memory.
    unsafe { call(number, a) }
}

/// The address of `value` as an argument.
pub(super) fn address<T: ?Sized>(value: &T) -> c_long {
    std::ptr::from_ref(value)
        .cast::<u8>()
        .expose_provenance()
        .cast_signed() as c_long
}

/// Enters a network namespace.
pub(super) fn enter_network(namespace: RawFd) -> Answer {
    let kind = c_long::from(libc::CLONE_NEWNET);
    let arguments = [c_long::from(namespace), kind, 0, 0, 0, 0];
    plain(libc::SYS_setns, arguments)
}

/// Children of this thread from now on are in a new pid namespace, the next one as its first process.
pub(super) fn leave_pids() -> Answer {
    plain(
        libc::SYS_unshare,
        [c_long::from(libc::CLONE_NEWPID), 0, 0, 0, 0, 0],
    )
}

/// Starts a session: no controlling terminal.
pub(super) fn setsid() -> Answer {
    plain(libc::SYS_setsid, [0; 6])
}

/// Drops all supplementary groups.
pub(super) fn drop_groups() -> Answer {
    plain(libc::SYS_setgroups, [0; 6])
}

/// Sets real, effective, saved and file system uid and gid of this thread.
pub(super) fn become_user(uid: u32, gid: u32) -> Answer {
    let (uid, gid) = (c_long::from(uid), c_long::from(gid));
    plain(libc::SYS_setresgid, [gid, gid, gid, 0, 0, 0])?;
    plain(libc::SYS_setresuid, [uid, uid, uid, 0, 0, 0])
}

/// `prctl(2)` with numbers only.
pub(super) fn prctl(option: c_int, value: c_long) -> Answer {
    plain(libc::SYS_prctl, [c_long::from(option), value, 0, 0, 0, 0])
}

/// Removes a capability from the bounding set; numbers the kernel does not know are no error.
pub(super) fn drop_bounding(capability: u8) -> Answer {
    match prctl(libc::PR_CAPBSET_DROP, c_long::from(capability)) {
        Err(Errno::EINVAL) => Ok(0),
        answer => answer,
    }
}

/// Empties the ambient set.
pub(super) fn clear_ambient() -> Answer {
    prctl(
        libc::PR_CAP_AMBIENT,
        c_long::from(libc::PR_CAP_AMBIENT_CLEAR_ALL),
    )
}

/// Makes `keep` (a bit per capability) the effective and permitted set of this thread, nothing
/// inheritable.
pub(super) fn capset(keep: u64) -> Answer {
    capabilities(keep, 0)
}

/// Makes the capabilities of `keep`, which this thread must have, those of the program it becomes:
/// permitted, inheritable and ambient; all others are gone.
pub(super) fn raise_ambient(keep: &[u8]) -> Answer {
    let mut bits = 0_u64;
    for number in keep {
        bits |= 1_u64.checked_shl(u32::from(*number)).unwrap_or(0);
    }
    capabilities(bits, bits)?;
    for number in keep {
        let raise = c_long::from(libc::PR_CAP_AMBIENT_RAISE);
        let option = c_long::from(libc::PR_CAP_AMBIENT);
        let arguments = [option, raise, c_long::from(*number), 0, 0, 0];
        plain(libc::SYS_prctl, arguments)?;
    }
    Ok(0)
}

#[expect(unsafe_code, reason = "wraps a system call")]
fn capabilities(keep: u64, inheritable: u64) -> Answer {
    let header = CapabilityHeader {
        version: CAPABILITY_VERSION_3,
        pid: 0,
    };
    let low = |bits: u64| u32::try_from(bits & u64::from(u32::MAX)).unwrap_or(0);
    let half = |shift: u32| CapabilityHalf {
        effective: low(keep >> shift),
        permitted: low(keep >> shift),
        inheritable: low(inheritable >> shift),
    };
    let halves = [half(0), half(32)];
    // SAFETY: header and both halves live until the call returns and have the kernel's layout.
    unsafe {
        call(
            libc::SYS_capset,
            [address(&header), address(&halves), 0, 0, 0, 0],
        )
    }
}

/// Whether the number is an open descriptor.
#[expect(
    unsafe_code,
    reason = "asks about a number that may not be a descriptor"
)]
pub(super) fn is_open(number: c_int) -> bool {
    let arguments = [
        c_long::from(number),
        c_long::from(libc::F_GETFD),
        0,
        0,
        0,
        0,
    ];
    // SAFETY: all arguments are numbers.
    unsafe { call(libc::SYS_fcntl, arguments) }.is_ok()
}

/// Sets a soft and hard limit of this process, or leaves the hard one that it has where that is
/// lower: whoever started this process may have given it less (`ulimit`), and only root could raise
/// it again (setrlimit(2)).
#[expect(unsafe_code, reason = "wraps a system call")]
pub(super) fn limit(resource: u32, soft: u64, hard: u64) -> Answer {
    let mut value = libc::rlimit64 {
        rlim_cur: soft,
        rlim_max: hard,
    };
    let resource = c_long::from(resource);
    let old = std::ptr::from_mut(&mut value)
        .expose_provenance()
        .cast_signed() as c_long;
    // SAFETY: the structure lives until the call returns, has the kernel's layout and is ours alone;
    // no new value is given.
    unsafe { call(libc::SYS_prlimit64, [0, resource, 0, old, 0, 0]) }?;
    value.rlim_max = value.rlim_max.min(hard);
    value.rlim_cur = soft.min(value.rlim_max);
    // SAFETY: the structure lives until the call returns; no old value is asked for.
    unsafe { call(libc::SYS_prlimit64, [0, resource, address(&value), 0, 0, 0]) }
}

/// Unblocks all signals of this thread.
#[expect(unsafe_code, reason = "wraps a system call")]
pub(super) fn unblock_signals() -> Answer {
    let none: u64 = 0;
    let arguments = [c_long::from(libc::SIG_SETMASK), address(&none), 0, 8, 0, 0];
    // SAFETY: the empty set of 8 bytes lives until the call returns; no old set is asked for.
    unsafe { call(libc::SYS_rt_sigprocmask, arguments) }
}

/// Gives a signal its default action.
#[expect(unsafe_code, reason = "wraps a system call")]
pub(super) fn default_action(signal: c_int) -> Answer {
    // `struct sigaction` as the kernel has it: SIG_DFL, no flags, no restorer, an empty mask.
    let action = [0_u64; 4];
    let arguments = [c_long::from(signal), address(&action), 0, 8, 0, 0];
    // SAFETY: the structure lives until the call returns; no old one is asked for.
    unsafe { call(libc::SYS_rt_sigaction, arguments) }
}

/// The process behind `pidfd` has ended.
#[expect(unsafe_code, reason = "wraps a system call")]
pub(super) fn has_ended(pidfd: RawFd) -> Result<bool, Errno> {
    let mut polled = libc::pollfd {
        fd: pidfd,
        events: libc::POLLIN,
        revents: 0,
    };
    let place = std::ptr::from_mut(&mut polled)
        .expose_provenance()
        .cast_signed() as c_long;
    // SAFETY: one pollfd, which lives until the call returns.
    unsafe { call(libc::SYS_poll, [place, 1, 0, 0, 0, 0]) }.map(|ready| ready > 0)
}

/// Enforces a Landlock ruleset on this thread.
pub(super) fn landlock(ruleset: RawFd) -> Answer {
    plain(
        libc::SYS_landlock_restrict_self,
        [c_long::from(ruleset), 0, 0, 0, 0, 0],
    )
}

/// The Landlock ABI of the kernel.
pub(super) fn landlock_abi() -> Answer {
    /// `LANDLOCK_CREATE_RULESET_VERSION`
    const VERSION: c_long = 1;
    plain(libc::SYS_landlock_create_ruleset, [0, 0, VERSION, 0, 0, 0])
}

/// Adds a seccomp filter to this thread; `no_new_privs` must be set.
pub(super) fn seccomp(program: &[libc::sock_filter]) -> Answer {
    filter(program, 0)
}

/// As [`seccomp`], for a filter that observes: gives the number of the descriptor on which its
/// refusals are told (close-on-exec). Only one filter of a thread can have one (`EBUSY`).
///
/// Once a call was received, only a signal that kills ends its wait for an answer
/// (`SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`, Linux 5.19): the timer signals of a runtime would
/// otherwise make it ask the same again and again.
pub(super) fn seccomp_observed(program: &[libc::sock_filter]) -> Result<RawFd, Errno> {
    let flags =
        libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    let number = filter(program, flags.cast_signed())?;
    RawFd::try_from(number).map_err(|_| Errno::EBADF)
}

#[expect(unsafe_code, reason = "wraps a system call")]
fn filter(program: &[libc::sock_filter], flags: c_long) -> Answer {
    let len = u16::try_from(program.len()).map_err(|_| Errno::EINVAL)?;
    let program = libc::sock_fprog {
        len,
        filter: program.as_ptr().cast_mut(),
    };
    let mode = c_long::from(libc::SECCOMP_SET_MODE_FILTER);
    // SAFETY: the kernel only reads the instructions, which live until the call returns.
    unsafe { call(libc::SYS_seccomp, [mode, flags, address(&program), 0, 0, 0]) }
}

/// Room of one control message that holds one descriptor (`CMSG_SPACE(sizeof(int))`), with the
/// alignment of its header.
#[repr(C)]
struct OneDescriptor {
    header: libc::cmsghdr,
    fd: c_int,
    padding: c_int,
}

/// Sends `fd` through the socket `socket`, with one byte.
#[expect(unsafe_code, reason = "wraps a system call")]
pub(super) fn send_descriptor(socket: RawFd, fd: RawFd) -> Answer {
    let byte = [0_u8; 1];
    let control = OneDescriptor {
        header: libc::cmsghdr {
            cmsg_len: size_of::<libc::cmsghdr>() + size_of::<c_int>(),
            cmsg_level: libc::SOL_SOCKET,
            cmsg_type: libc::SCM_RIGHTS,
        },
        fd,
        padding: 0,
    };
    let part = libc::iovec {
        iov_base: std::ptr::from_ref(&byte).cast_mut().cast(),
        iov_len: byte.len(),
    };
    // SAFETY: a message header is numbers and pointers; zero is valid for all of them.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = std::ptr::from_ref(&part).cast_mut();
    message.msg_iovlen = 1;
    message.msg_control = std::ptr::from_ref(&control).cast_mut().cast();
    message.msg_controllen = size_of::<OneDescriptor>();
    let arguments = [c_long::from(socket), address(&message), 0, 0, 0, 0];
    // SAFETY: the kernel only reads the message and what it points to, all of which lives until
    // the call returns.
    unsafe { call(libc::SYS_sendmsg, arguments) }
}

/// A copy of `fd` numbered `least` or higher, close-on-exec.
pub(super) fn copy_above(fd: RawFd, least: RawFd) -> Result<RawFd, Errno> {
    let command = c_long::from(libc::F_DUPFD_CLOEXEC);
    plain(
        libc::SYS_fcntl,
        [c_long::from(fd), command, c_long::from(least), 0, 0, 0],
    )
    .map(|number| RawFd::try_from(number).unwrap_or(-1))
}

/// Makes `to` a copy of `from`; only for a process that owns its whole table.
pub(super) fn copy_to(from: RawFd, to: RawFd, flags: c_int) -> Answer {
    plain(
        libc::SYS_dup3,
        [
            c_long::from(from),
            c_long::from(to),
            c_long::from(flags),
            0,
            0,
            0,
        ],
    )
}

/// Closes `from..=to`; only for a process that owns its whole table.
pub(super) fn close_range(from: RawFd, to: u32) -> Answer {
    plain(
        libc::SYS_close_range,
        [c_long::from(from), c_long::from(to), 0, 0, 0, 0],
    )
}

/// Becomes the program `fd`.
///
/// # Safety
/// `argv` and `env` must end with a null pointer, and what they point to must be C strings.
#[expect(unsafe_code, reason = "wraps a system call")]
pub(super) unsafe fn exec(
    fd: RawFd,
    argv: *const *const c_char,
    env: *const *const c_char,
) -> Answer {
    let arguments = [
        c_long::from(fd),
        text(c""),
        argv.expose_provenance().cast_signed() as c_long,
        env.expose_provenance().cast_signed() as c_long,
        c_long::from(libc::AT_EMPTY_PATH),
        0,
    ];
    // SAFETY: all three live until the call either replaces this program or returns.
    unsafe { call(libc::SYS_execveat, arguments) }
}

/// Becomes the program at `path`.
///
/// # Safety
/// As [`exec`].
#[expect(unsafe_code, reason = "wraps a system call")]
pub(super) unsafe fn exec_path(
    path: &CStr,
    argv: *const *const c_char,
    env: *const *const c_char,
) -> Answer {
    let argv = argv.expose_provenance().cast_signed() as c_long;
    let env = env.expose_provenance().cast_signed() as c_long;
    // SAFETY: all three live until the call either replaces this program or returns.
    unsafe { call(libc::SYS_execve, [text(path), argv, env, 0, 0, 0]) }
}

/// Changes the working directory of this process.
#[expect(unsafe_code, reason = "wraps a system call")]
pub(super) fn chdir(path: &CStr) -> Answer {
    // SAFETY: the path is a C string that lives until the call returns.
    unsafe { call(libc::SYS_chdir, [text(path), 0, 0, 0, 0, 0]) }
}

/// The address of a C string as an argument.
pub(super) fn text(text: &CStr) -> c_long {
    text.as_ptr().expose_provenance().cast_signed() as c_long
}

/// Sends a signal to the process behind `pidfd`.
pub(super) fn signal(pidfd: RawFd, signal: c_int) -> Answer {
    let arguments = [c_long::from(pidfd), c_long::from(signal), 0, 0, 0, 0];
    plain(libc::SYS_pidfd_send_signal, arguments)
}
