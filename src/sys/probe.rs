//! Forbidden actions for the self-test: what a tool that was taken over would try. Each is harmless
//! where it is allowed, because the same list is run without a jail to show that it would notice.

use std::ffi::{CStr, c_long};

use nix::errno::Errno;

use super::raw;

/// Bytes of room for an answer: `uname(2)` writes most, 390.
const ROOM: usize = 512;

/// How an action that got through is told from one that did not.
#[derive(Debug, Clone, Copy)]
enum Through {
    /// It succeeds.
    Success,
    /// The kernel looks at the arguments, which are wrong on purpose: any answer but a refusal.
    Reached,
}

/// An argument.
#[derive(Debug, Clone, Copy)]
enum Arg {
    Number(c_long),
    Text(&'static CStr),
    /// [`ROOM`] bytes the kernel may write to or read zeros from.
    Room,
    /// A socket address (`sockaddr_in` of 127.0.0.1:53).
    Loopback,
    /// A unix socket address; a path that begins with NUL is abstract.
    Unix(&'static [u8]),
}

/// One forbidden action.
#[derive(Debug, Clone, Copy)]
struct Attempt {
    name: &'static str,
    number: c_long,
    arguments: &'static [Arg],
    through: Through,
}

use Arg::{Loopback, Number as N, Room, Text as T, Unix};
use Through::{Reached, Success};

const HERE: Arg = N(libc::AT_FDCWD as c_long);
const NULL: Arg = N(0);
const NONE: Arg = N(-1);

const fn a(
    name: &'static str,
    number: c_long,
    arguments: &'static [Arg],
    through: Through,
) -> Attempt {
    Attempt {
        name,
        number,
        arguments,
        through,
    }
}

macro_rules! open {
    ($name:literal, $path:literal, $flags:expr) => {
        a(
            $name,
            libc::SYS_openat,
            &[HERE, T($path), N(($flags) as c_long), N(0o600)],
            Success,
        )
    };
}

macro_rules! socket {
    ($name:literal, $family:expr, $kind:expr, $protocol:expr) => {
        a(
            $name,
            libc::SYS_socket,
            &[N($family as c_long), N($kind as c_long), N($protocol)],
            Success,
        )
    };
}

const READ: i32 = libc::O_RDONLY | libc::O_CLOEXEC;
const UNNAMED: i32 = libc::O_TMPFILE | libc::O_WRONLY | libc::O_CLOEXEC;

/// All of them; those that change this process come last.
const ATTEMPTS: &[Attempt] = &[
    open!("fs_read_shadow", c"/etc/shadow", READ),
    open!("fs_read_passwd", c"/etc/passwd", READ),
    open!("fs_list_root", c"/", READ | libc::O_DIRECTORY),
    open!("fs_list_home", c"/root", READ | libc::O_DIRECTORY),
    open!("fs_list_parent", c"..", READ | libc::O_DIRECTORY),
    open!("fs_write_tmp", c"/tmp", UNNAMED),
    open!("fs_write_etc", c"/etc", UNNAMED),
    open!("fs_write_devshm", c"/dev/shm", UNNAMED),
    open!("fs_write_cwd", c".", UNNAMED),
    open!("fs_device_nodes", c"/dev/null", READ),
    open!("fs_proc_self_root", c"/proc/self/root/etc/passwd", READ),
    open!("proc_list", c"/proc", READ | libc::O_DIRECTORY),
    open!("proc_victim_environ", c"/proc/1/environ", READ),
    open!("proc_victim_mem", c"/proc/1/mem", READ),
    open!("proc_kallsyms", c"/proc/kallsyms", READ),
    open!("proc_sysrq_write", c"/proc/sysrq-trigger", libc::O_WRONLY),
    open!(
        "proc_core_pattern_write",
        c"/proc/sys/kernel/core_pattern",
        libc::O_WRONLY
    ),
    open!("sys_read", c"/sys/kernel", READ | libc::O_DIRECTORY),
    open!(
        "cgroup_write",
        c"/sys/fs/cgroup/unified/cgroup.procs",
        libc::O_WRONLY
    ),
    open!("tty_open", c"/dev/ptmx", libc::O_RDWR | libc::O_NOCTTY),
    a(
        "fs_stat",
        libc::SYS_newfstatat,
        &[HERE, T(c"/etc"), Room, NULL],
        Success,
    ),
    a(
        "fs_open_tree",
        libc::SYS_open_tree,
        &[HERE, T(c"/etc"), N(0)],
        Success,
    ),
    a("fs_chmod", libc::SYS_fchmod, &[NONE, N(0o600)], Reached),
    a("fs_chown", libc::SYS_fchown, &[NONE, NONE, NONE], Reached),
    a(
        "fs_chmod_path",
        libc::SYS_fchmodat,
        &[HERE, T(c"/nowhere"), N(0o600)],
        Reached,
    ),
    a(
        "fs_utimes",
        libc::SYS_utimensat,
        &[NONE, T(c"x"), NULL, NULL],
        Reached,
    ),
    a(
        "fs_xattr",
        libc::SYS_fsetxattr,
        &[NONE, T(c"user.x"), Room, N(1), NULL],
        Reached,
    ),
    a(
        "fs_unlink",
        libc::SYS_unlinkat,
        &[HERE, T(c"/nowhere/x"), NULL],
        Reached,
    ),
    a(
        "fs_rename",
        libc::SYS_renameat2,
        &[HERE, T(c"/nowhere/x"), HERE, T(c"/x"), NULL],
        Reached,
    ),
    a(
        "fs_symlink",
        libc::SYS_symlinkat,
        &[T(c"/etc"), HERE, T(c"/nowhere/x")],
        Reached,
    ),
    a(
        "fs_hardlink",
        libc::SYS_linkat,
        &[HERE, T(c"/nowhere/x"), HERE, T(c"/x"), NULL],
        Reached,
    ),
    a(
        "fs_mkdir",
        libc::SYS_mkdirat,
        &[HERE, T(c"/nowhere/x"), N(0o700)],
        Reached,
    ),
    a(
        "fs_mknod",
        libc::SYS_mknodat,
        &[HERE, T(c"/nowhere/x"), N(0o60600), N(0x0801)],
        Reached,
    ),
    a("fs_inotify", libc::SYS_inotify_init1, &[N(0)], Success),
    a(
        "fs_fanotify",
        libc::SYS_fanotify_init,
        &[NONE, N(0)],
        Reached,
    ),
    a(
        "fs_open_by_handle",
        libc::SYS_open_by_handle_at,
        &[NONE, NULL, N(0)],
        Reached,
    ),
    a(
        "fs_mount",
        libc::SYS_mount,
        &[NULL, T(c"/"), T(c"keepgate-none"), NULL, NULL],
        Reached,
    ),
    a(
        "fs_umount",
        libc::SYS_umount2,
        &[T(c"/nowhere"), NULL],
        Reached,
    ),
    a("fs_fsopen", libc::SYS_fsopen, &[T(c"tmpfs"), N(1)], Success),
    a(
        "fs_move_mount",
        libc::SYS_move_mount,
        &[NONE, T(c"x"), NONE, T(c"x"), NULL],
        Reached,
    ),
    a(
        "fs_pivot_root",
        libc::SYS_pivot_root,
        &[T(c"/nowhere"), T(c"/nowhere")],
        Reached,
    ),
    a("fs_chroot", libc::SYS_chroot, &[T(c"/")], Success),
    a("fs_chdir", libc::SYS_chdir, &[T(c"/")], Success),
    a(
        "fs_memfd",
        libc::SYS_memfd_create,
        &[T(c"x"), N(0)],
        Success,
    ),
    a(
        "exec_path",
        libc::SYS_execve,
        &[T(c""), NULL, NULL],
        Reached,
    ),
    a(
        "exec_fd",
        libc::SYS_execveat,
        &[NONE, T(c""), NULL, NULL, N(0x1000)],
        Reached,
    ),
    a(
        "exec_program",
        libc::SYS_execveat,
        &[N(200), T(c"x"), NULL, NULL, NULL],
        Reached,
    ),
    a("fd_dup", libc::SYS_dup, &[N(0)], Success),
    a("fd_pipe", libc::SYS_pipe2, &[Room, NULL], Success),
    a("fd_send", libc::SYS_sendmsg, &[NONE, Room, NULL], Reached),
    a(
        "fd_receive",
        libc::SYS_recvmsg,
        &[NONE, Room, NULL],
        Reached,
    ),
    a("fd_owner", libc::SYS_fcntl, &[N(0), N(8), NULL], Success),
    a(
        "tty_tiocsti",
        libc::SYS_ioctl,
        &[NONE, N(0x5412), Room],
        Reached,
    ),
    a(
        "tty_tiocsti_highbits",
        libc::SYS_ioctl,
        &[NONE, N(0x1_0000_5412), Room],
        Reached,
    ),
    a(
        "tty_tioclinux",
        libc::SYS_ioctl,
        &[NONE, N(0x541c), Room],
        Reached,
    ),
    socket!("net_tcp4", libc::AF_INET, libc::SOCK_STREAM, 0),
    socket!("net_tcp6", libc::AF_INET6, libc::SOCK_STREAM, 0),
    socket!("net_mptcp", libc::AF_INET, libc::SOCK_STREAM, 262),
    socket!("net_udp", libc::AF_INET, libc::SOCK_DGRAM, 0),
    socket!("net_ping", libc::AF_INET, libc::SOCK_DGRAM, 1),
    socket!("net_raw_icmp", libc::AF_INET, libc::SOCK_RAW, 1),
    socket!("net_packet", libc::AF_PACKET, libc::SOCK_RAW, 768),
    socket!("net_netlink", libc::AF_NETLINK, libc::SOCK_RAW, 0),
    socket!("net_vsock", libc::AF_VSOCK, libc::SOCK_STREAM, 0),
    socket!("net_af_alg", libc::AF_ALG, libc::SOCK_SEQPACKET, 0),
    socket!("unix_stream", libc::AF_UNIX, libc::SOCK_STREAM, 0),
    socket!("unix_dgram", libc::AF_UNIX, libc::SOCK_DGRAM, 0),
    a(
        "unix_pair",
        libc::SYS_socketpair,
        &[N(1), N(1), N(0), Room],
        Success,
    ),
    a(
        "net_connect",
        libc::SYS_connect,
        &[NONE, Loopback, N(16)],
        Reached,
    ),
    a(
        "net_bind",
        libc::SYS_bind,
        &[NONE, Loopback, N(16)],
        Reached,
    ),
    a("net_listen", libc::SYS_listen, &[NONE, N(1)], Reached),
    a(
        "net_accept",
        libc::SYS_accept4,
        &[NONE, NULL, NULL, NULL],
        Reached,
    ),
    a(
        "net_tcp_fastopen",
        libc::SYS_sendto,
        &[N(-1), Room, N(1), N(0x2000_0000), Loopback, N(16)],
        Reached,
    ),
    a(
        "unix_path_connect",
        libc::SYS_connect,
        &[NONE, Unix(b"/run/x"), N(110)],
        Reached,
    ),
    a(
        "unix_abstract_connect",
        libc::SYS_connect,
        &[NONE, Unix(b"\0x"), N(110)],
        Reached,
    ),
    a(
        "ipc_sysv_shm",
        libc::SYS_shmget,
        &[N(0x6b67), N(0), N(0)],
        Reached,
    ),
    a(
        "ipc_sysv_msg",
        libc::SYS_msgget,
        &[N(0x6b67), N(0)],
        Reached,
    ),
    a(
        "ipc_sysv_sem",
        libc::SYS_semget,
        &[N(0x6b67), N(0), N(0)],
        Reached,
    ),
    a(
        "ipc_posix_mq",
        libc::SYS_mq_open,
        &[T(c"keepgate-none"), N(0), N(0), NULL],
        Reached,
    ),
    a("key_read", libc::SYS_keyctl, &[N(0), N(-4), N(0)], Reached),
    a(
        "key_add",
        libc::SYS_add_key,
        &[NULL, NULL, NULL, N(0), N(-4)],
        Reached,
    ),
    a(
        "key_request",
        libc::SYS_request_key,
        &[NULL, NULL, NULL, N(-4)],
        Reached,
    ),
    a("sig_all", libc::SYS_kill, &[NONE, N(0)], Success),
    a("sig_init", libc::SYS_kill, &[N(1), N(0)], Success),
    a("sig_thread", libc::SYS_tgkill, &[N(1), N(1), N(0)], Success),
    a(
        "sig_queueinfo",
        libc::SYS_rt_sigqueueinfo,
        &[N(1), N(0), Room],
        Reached,
    ),
    a("sig_pidfd", libc::SYS_pidfd_open, &[N(1), N(0)], Success),
    a(
        "ptrace",
        libc::SYS_ptrace,
        &[N(0x4206), N(0), N(0), N(0)],
        Reached,
    ),
    a(
        "vm_read",
        libc::SYS_process_vm_readv,
        &[N(0), NULL, N(0), NULL, N(0), N(1)],
        Reached,
    ),
    a(
        "vm_write",
        libc::SYS_process_vm_writev,
        &[N(0), NULL, N(0), NULL, N(0), N(1)],
        Reached,
    ),
    a(
        "pidfd_getfd",
        libc::SYS_pidfd_getfd,
        &[NONE, N(0), N(0)],
        Reached,
    ),
    a(
        "kcmp",
        libc::SYS_kcmp,
        &[N(0), N(0), N(0), N(0), N(0)],
        Reached,
    ),
    a("prio", libc::SYS_setpriority, &[N(0), N(0), N(19)], Success),
    a(
        "affinity",
        libc::SYS_sched_setaffinity,
        &[N(1), N(0), NULL],
        Reached,
    ),
    a(
        "sched_realtime",
        libc::SYS_sched_setscheduler,
        &[N(0), NONE, Room],
        Reached,
    ),
    a(
        "prlimit_other",
        libc::SYS_prlimit64,
        &[N(1), N(7), NULL, Room],
        Success,
    ),
    a(
        "prlimit_raise",
        libc::SYS_prlimit64,
        &[N(0), N(4), Room, NULL],
        Success,
    ),
    a(
        "proc_fork",
        libc::SYS_clone,
        &[N(libc::CLONE_THREAD as c_long), N(0), NULL, NULL, N(0)],
        Reached,
    ),
    a("proc_clone3", libc::SYS_clone3, &[NULL, N(0)], Reached),
    a(
        "sys_io_uring",
        libc::SYS_io_uring_setup,
        &[N(1), NULL],
        Reached,
    ),
    a("sys_bpf", libc::SYS_bpf, &[NONE, NULL, N(0)], Reached),
    a(
        "sys_perf_event",
        libc::SYS_perf_event_open,
        &[NULL, N(0), NONE, NONE, N(0)],
        Reached,
    ),
    a("sys_userfaultfd", libc::SYS_userfaultfd, &[N(1)], Success),
    a(
        "sys_init_module",
        libc::SYS_init_module,
        &[NULL, N(0), NULL],
        Reached,
    ),
    a(
        "sys_finit_module",
        libc::SYS_finit_module,
        &[NONE, NULL, N(0)],
        Reached,
    ),
    a(
        "sys_kexec",
        libc::SYS_kexec_load,
        &[N(0), NONE, NULL, N(-1)],
        Reached,
    ),
    a(
        "sys_reboot",
        libc::SYS_reboot,
        &[N(0), N(0), N(0), NULL],
        Reached,
    ),
    a(
        "sys_swapon",
        libc::SYS_swapon,
        &[T(c"/nowhere"), N(0)],
        Reached,
    ),
    a("sys_iopl", libc::SYS_iopl, &[N(4)], Reached),
    a(
        "sys_modify_ldt",
        libc::SYS_modify_ldt,
        &[N(0), Room, N(16)],
        Success,
    ),
    a(
        "sys_personality",
        libc::SYS_personality,
        &[N(0xffff_ffff)],
        Success,
    ),
    a(
        "sys_syslog",
        libc::SYS_syslog,
        &[N(10), NULL, N(0)],
        Success,
    ),
    a("sys_acct", libc::SYS_acct, &[T(c"/nowhere")], Reached),
    a(
        "sys_quotactl",
        libc::SYS_quotactl,
        &[NONE, NULL, N(0), NULL],
        Reached,
    ),
    a("sys_adjtimex", libc::SYS_adjtimex, &[Room], Success),
    a(
        "sys_settime",
        libc::SYS_clock_settime,
        &[N(99), Room],
        Reached,
    ),
    a(
        "sys_hostname",
        libc::SYS_sethostname,
        &[NULL, N(-1)],
        Reached,
    ),
    a("sys_uname", libc::SYS_uname, &[Room], Success),
    a(
        "mem_write_exec",
        libc::SYS_mmap,
        &[NULL, N(4096), N(7), N(0x22), NONE, N(0)],
        Success,
    ),
    a(
        "mem_exec",
        libc::SYS_mmap,
        &[NULL, N(4096), N(5), N(0x22), NONE, N(0)],
        Success,
    ),
    a(
        "mem_protect_exec",
        libc::SYS_mprotect,
        &[NULL, N(0), N(4)],
        Success,
    ),
    a(
        "mem_pkey_exec",
        libc::SYS_pkey_mprotect,
        &[NULL, N(0), N(4), NONE],
        Success,
    ),
    a(
        "mem_shared_exec",
        libc::SYS_shmat,
        &[NONE, NULL, N(0)],
        Reached,
    ),
    a(
        "mem_2g",
        libc::SYS_mmap,
        &[NULL, N(2 << 30), N(3), N(0x22), NONE, N(0)],
        Success,
    ),
    a("mem_lock", libc::SYS_mlockall, &[N(4)], Reached),
    a("mem_secret", libc::SYS_memfd_secret, &[N(-1)], Reached),
    a(
        "st_seccomp",
        libc::SYS_seccomp,
        &[N(2), N(0), Room],
        Reached,
    ),
    a("st_capset", libc::SYS_capset, &[NULL, NULL], Reached),
    a(
        "st_dumpable_on",
        libc::SYS_prctl,
        &[N(4), N(1), N(0), N(0), N(0)],
        Success,
    ),
    a(
        "st_keepcaps",
        libc::SYS_prctl,
        &[N(8), N(0), N(0), N(0), N(0)],
        Success,
    ),
    a(
        "st_setuid",
        libc::SYS_setresuid,
        &[NONE, NONE, NONE],
        Success,
    ),
    a(
        "st_setgroups",
        libc::SYS_setgroups,
        &[N(1 << 20), NULL],
        Reached,
    ),
    a("ns_setns", libc::SYS_setns, &[NONE, N(0)], Reached),
    a(
        "ns_new_net",
        libc::SYS_unshare,
        &[N(libc::CLONE_NEWNET as c_long)],
        Success,
    ),
    a(
        "ns_new_mount",
        libc::SYS_unshare,
        &[N(libc::CLONE_NEWNS as c_long)],
        Success,
    ),
    a(
        "ns_new_user",
        libc::SYS_unshare,
        &[N(libc::CLONE_NEWUSER as c_long)],
        Success,
    ),
];

/// Tries everything; gives the name of each action and whether it got through.
pub fn attempts() -> impl Iterator<Item = (&'static str, bool)> {
    ATTEMPTS
        .iter()
        .map(|attempt| (attempt.name, attempt.gets_through()))
}

impl Attempt {
    #[expect(unsafe_code, reason = "actions are system calls that no wrapper makes")]
    fn gets_through(&self) -> bool {
        let mut room = [0_u8; ROOM];
        let mut address = [0_u8; 110];
        let mut values = [0; 6];
        for (value, argument) in values.iter_mut().zip(self.arguments) {
            *value = argument.value(&mut room, &mut address);
        }
        // SAFETY: the table above gives each call what it expects: its pointers are C strings, null
        // or the two local arrays, which are longer than what its calls write.
        match (unsafe { raw::call(self.number, values) }, self.through) {
            (Ok(_), _) => true,
            // Only what was let through is told that it has too many of them.
            (Err(Errno::EMFILE | Errno::ENFILE), _) => true,
            (Err(Errno::EPERM | Errno::EACCES | Errno::ENOSYS), _) | (Err(_), Success) => false,
            (Err(_), Reached) => true,
        }
    }
}

impl Arg {
    fn value(self, room: &mut [u8; ROOM], address: &mut [u8; 110]) -> c_long {
        let fill = |address: &mut [u8; 110], family: u8, rest: &[u8]| {
            let bytes = [family, 0].into_iter().chain(rest.iter().copied());
            for (place, byte) in address.iter_mut().zip(bytes) {
                *place = byte;
            }
            raw::address(address)
        };
        match self {
            N(number) => number,
            T(text) => text.as_ptr().expose_provenance().cast_signed() as c_long,
            Room => std::ptr::from_mut(room).expose_provenance().cast_signed() as c_long,
            Loopback => fill(address, 2, &[0, 53, 127, 0, 0, 1]),
            Unix(path) => fill(address, 1, path),
        }
    }
}

/// State of this process that a tool must find as it is: the name of each check, and whether it is
/// wrong.
pub fn state() -> Vec<(&'static str, bool)> {
    let mut checks = Vec::new();
    let mut check = |name, fine: bool| checks.push((name, !fine));
    check(
        "st_no_new_privs",
        raw::prctl(libc::PR_GET_NO_NEW_PRIVS, 0) == Ok(1),
    );
    check("st_dumpable", raw::prctl(libc::PR_GET_DUMPABLE, 0) == Ok(0));
    check("st_first_in_namespace", nix::unistd::getpid().as_raw() == 1);
    check("env_empty", std::env::vars_os().next().is_none());
    let limits = [
        ("lim_core", libc::RLIMIT_CORE, 0),
        ("lim_procs", libc::RLIMIT_NPROC, 0),
        ("lim_lock", libc::RLIMIT_MEMLOCK, 0),
        ("lim_queues", libc::RLIMIT_MSGQUEUE, 0),
        ("lim_fds", libc::RLIMIT_NOFILE, 1024),
        ("lim_cpu", libc::RLIMIT_CPU, 3_600),
        ("lim_disk", libc::RLIMIT_FSIZE, 1 << 40),
        ("lim_memory", libc::RLIMIT_AS, 1 << 40),
    ];
    for (name, resource, most) in limits {
        check(name, limit(resource).is_some_and(|hard| hard <= most));
    }
    let open = (0..1024).filter(|number| is_open(*number)).count();
    check("fd_inherited", open == 3);
    checks
}

#[expect(
    unsafe_code,
    reason = "getrlimit of nix wants an enum that lacks some of these"
)]
fn limit(resource: u32) -> Option<u64> {
    let mut value = libc::rlimit64 {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the structure lives until the call returns.
    let answer = unsafe { libc::getrlimit64(resource, &raw mut value) };
    (answer == 0).then_some(value.rlim_max)
}

#[expect(
    unsafe_code,
    reason = "asks about a number that may not be a descriptor"
)]
fn is_open(number: i32) -> bool {
    let arguments = [
        c_long::from(number),
        c_long::from(libc::F_GETFD),
        0,
        0,
        0,
        0,
    ];
    // SAFETY: all arguments are numbers.
    unsafe { raw::call(libc::SYS_fcntl, arguments) }.is_ok()
}

/// Calls `getpid` as a 32-bit program would. Ends the process where other ABIs are refused.
#[expect(unsafe_code, reason = "an int 0x80 is an instruction")]
pub fn abi_i386() {
    // SAFETY: 20 is getpid there; it takes no argument and changes rax only (and r8 to r11, which
    // old kernels clear).
    unsafe {
        core::arch::asm!(
            "int 0x80",
            inlateout("rax") 20_u64 => _,
            lateout("r8") _, lateout("r9") _, lateout("r10") _, lateout("r11") _,
        );
    }
}

/// Calls `getpid` as an x32 program would. Ends the process where other ABIs are refused.
#[expect(unsafe_code, reason = "no wrapper makes such a call")]
pub fn abi_x32() {
    // SAFETY: getpid takes no argument.
    let answer = unsafe { raw::call(0x4000_0000 | libc::SYS_getpid, [0; 6]) };
    tracing::debug!(?answer, "a call of the x32 ABI did not end the process");
}
