//! Names of flags, requests and families, as C has them.

/// A set of names for values.
pub(super) type Names = &'static [(u64, &'static str)];

/// The name of a socket family.
pub(super) fn family(number: u32) -> String {
    one(FAMILIES, u64::from(number)).unwrap_or_else(|| number.to_string())
}

/// The name of one value.
pub(super) fn one(names: Names, value: u64) -> Option<String> {
    names
        .iter()
        .find(|(known, _)| *known == value)
        .map(|(_, name)| (*name).to_owned())
}

/// The names of all bits that are set, the unknown ones as a number; `0` where none is.
pub(super) fn all(names: Names, value: u64) -> String {
    let mut rest = value;
    let mut parts = Vec::new();
    for (bits, name) in names {
        if *bits != 0 && rest & bits == *bits {
            rest &= !bits;
            parts.push((*name).to_owned());
        }
    }
    if rest != 0 {
        parts.push(format!("{rest:#x}"));
    }
    if parts.is_empty() {
        return one(names, 0).unwrap_or_else(|| "0".into());
    }
    parts.join("|")
}

macro_rules! tables {
    ($($(#[$doc:meta])* $table:ident = $($name:ident)*;)*) => {
        $($(#[$doc])* pub(super) const $table: Names = &[$((libc::$name as u64, stringify!($name))),*];)*
    };
}

tables! {
    /// `socket(2)`, and the first field of an address.
    FAMILIES = AF_UNSPEC AF_UNIX AF_INET AF_AX25 AF_IPX AF_APPLETALK AF_NETROM AF_BRIDGE AF_ATMPVC
        AF_X25 AF_INET6 AF_ROSE AF_DECnet AF_KEY AF_NETLINK AF_PACKET AF_RDS AF_PPPOX AF_LLC AF_IB
        AF_CAN AF_TIPC AF_BLUETOOTH AF_IUCV AF_RXRPC AF_PHONET AF_IEEE802154 AF_CAIF AF_ALG AF_NFC
        AF_VSOCK AF_XDP;
    /// `socket(2)`, lower four bits of the type.
    SOCKET_KINDS = SOCK_STREAM SOCK_DGRAM SOCK_RAW SOCK_RDM SOCK_SEQPACKET SOCK_DCCP;
    /// `socket(2)`, the rest of the type.
    SOCKET_FLAGS = SOCK_CLOEXEC SOCK_NONBLOCK;
    /// `ip(7)`; 0 is the default of the type and shown as a number.
    PROTOCOLS = IPPROTO_ICMP IPPROTO_IGMP IPPROTO_TCP IPPROTO_UDP IPPROTO_DCCP IPPROTO_ICMPV6
        IPPROTO_SCTP IPPROTO_UDPLITE IPPROTO_RAW IPPROTO_MPTCP;
    /// `setsockopt(2)`.
    LEVELS = IPPROTO_IP SOL_SOCKET IPPROTO_TCP IPPROTO_UDP IPPROTO_IPV6 SOL_NETLINK SOL_ALG;
    /// `send(2)`.
    MESSAGE_FLAGS = MSG_OOB MSG_DONTROUTE MSG_DONTWAIT MSG_EOR MSG_CONFIRM MSG_NOSIGNAL MSG_MORE
        MSG_FASTOPEN;
    /// `open(2)`. `O_RDONLY` is the lack of the first two; longer ones come first.
    OPEN_FLAGS = O_RDONLY O_WRONLY O_RDWR O_TMPFILE O_SYNC O_CREAT O_EXCL O_NOCTTY O_TRUNC O_APPEND
        O_NONBLOCK O_ASYNC O_DIRECT O_DIRECTORY O_NOFOLLOW O_NOATIME O_CLOEXEC O_PATH;
    /// `openat(2)` and its kin.
    AT_FLAGS = AT_SYMLINK_NOFOLLOW AT_REMOVEDIR AT_SYMLINK_FOLLOW AT_NO_AUTOMOUNT AT_EMPTY_PATH;
    /// `renameat2(2)`.
    RENAME_FLAGS = RENAME_NOREPLACE RENAME_EXCHANGE RENAME_WHITEOUT;
    /// `mknod(2)`, the type in the mode.
    FILE_KINDS = S_IFIFO S_IFCHR S_IFDIR S_IFBLK S_IFREG S_IFLNK S_IFSOCK;
    /// `clone(2)`, without the signal in the lowest byte.
    CLONE_FLAGS = CLONE_VM CLONE_FS CLONE_FILES CLONE_SIGHAND CLONE_PIDFD CLONE_PTRACE CLONE_VFORK
        CLONE_PARENT CLONE_THREAD CLONE_NEWNS CLONE_SYSVSEM CLONE_SETTLS CLONE_PARENT_SETTID
        CLONE_CHILD_CLEARTID CLONE_DETACHED CLONE_UNTRACED CLONE_CHILD_SETTID CLONE_NEWCGROUP
        CLONE_NEWUTS CLONE_NEWIPC CLONE_NEWUSER CLONE_NEWPID CLONE_NEWNET;
    /// `mount(2)`.
    MOUNT_FLAGS = MS_RDONLY MS_NOSUID MS_NODEV MS_NOEXEC MS_SYNCHRONOUS MS_REMOUNT MS_MANDLOCK
        MS_DIRSYNC MS_NOATIME MS_NODIRATIME MS_BIND MS_MOVE MS_REC MS_SILENT MS_UNBINDABLE
        MS_PRIVATE MS_SLAVE MS_SHARED MS_RELATIME MS_STRICTATIME;
    /// `umount2(2)`.
    UMOUNT_FLAGS = MNT_FORCE MNT_DETACH MNT_EXPIRE UMOUNT_NOFOLLOW;
    /// `mmap(2)`, `mprotect(2)`.
    PROTECTION = PROT_NONE PROT_READ PROT_WRITE PROT_EXEC;
    /// `mmap(2)`.
    MAP_FLAGS = MAP_SHARED MAP_PRIVATE MAP_FIXED MAP_ANONYMOUS MAP_NORESERVE MAP_POPULATE MAP_STACK
        MAP_HUGETLB;
    /// `memfd_create(2)`.
    MEMORY_FILE_FLAGS = MFD_CLOEXEC MFD_ALLOW_SEALING MFD_HUGETLB MFD_NOEXEC_SEAL MFD_EXEC;
    /// `ptrace(2)`.
    PTRACE = PTRACE_TRACEME PTRACE_PEEKTEXT PTRACE_PEEKDATA PTRACE_PEEKUSER PTRACE_POKETEXT
        PTRACE_POKEDATA PTRACE_POKEUSER PTRACE_CONT PTRACE_KILL PTRACE_SINGLESTEP PTRACE_GETREGS
        PTRACE_SETREGS PTRACE_ATTACH PTRACE_DETACH PTRACE_SYSCALL PTRACE_SETOPTIONS PTRACE_GETREGSET
        PTRACE_SETREGSET PTRACE_SEIZE PTRACE_INTERRUPT PTRACE_LISTEN;
    /// `prctl(2)`.
    PRCTL = PR_SET_PDEATHSIG PR_GET_PDEATHSIG PR_GET_DUMPABLE PR_SET_DUMPABLE PR_GET_KEEPCAPS
        PR_SET_KEEPCAPS PR_SET_NAME PR_GET_NAME PR_GET_SECCOMP PR_SET_SECCOMP PR_CAPBSET_READ
        PR_CAPBSET_DROP PR_GET_TSC PR_SET_TSC PR_GET_SECUREBITS PR_SET_SECUREBITS PR_SET_TIMERSLACK
        PR_GET_TIMERSLACK PR_MCE_KILL PR_SET_MM PR_SET_CHILD_SUBREAPER PR_GET_CHILD_SUBREAPER
        PR_SET_NO_NEW_PRIVS PR_GET_NO_NEW_PRIVS PR_SET_THP_DISABLE PR_GET_THP_DISABLE PR_CAP_AMBIENT
        PR_GET_SPECULATION_CTRL PR_SET_SPECULATION_CTRL PR_SCHED_CORE PR_SET_MDWE PR_GET_MDWE
        PR_SET_PTRACER PR_SET_VMA;
    /// `ioctl_tty(2)` and others that are no name in the list.
    IOCTL = TIOCSTI TIOCLINUX TIOCSCTTY TIOCNOTTY TIOCSETD TIOCCONS TIOCSPGRP TIOCSWINSZ TCSETS
        TCSETSW TCSETSF TCFLSH TIOCGPTN TIOCSPTLCK FIOASYNC SIOCGIFCONF SIOCGIFADDR SIOCGIFFLAGS
        SIOCGIFINDEX SIOCGIFHWADDR;
    /// `seccomp(2)`.
    SECCOMP = SECCOMP_SET_MODE_STRICT SECCOMP_SET_MODE_FILTER SECCOMP_GET_ACTION_AVAIL
        SECCOMP_GET_NOTIF_SIZES;
    /// `sched_setscheduler(2)`.
    SCHEDULERS = SCHED_OTHER SCHED_FIFO SCHED_RR SCHED_BATCH SCHED_IDLE SCHED_DEADLINE;
    /// `setpriority(2)`.
    PRIORITY = PRIO_PROCESS PRIO_PGRP PRIO_USER;
    /// `signal(7)`.
    SIGNALS = SIGHUP SIGINT SIGQUIT SIGILL SIGTRAP SIGABRT SIGBUS SIGFPE SIGKILL SIGUSR1 SIGSEGV
        SIGUSR2 SIGPIPE SIGALRM SIGTERM SIGSTKFLT SIGCHLD SIGCONT SIGSTOP SIGTSTP SIGTTIN SIGTTOU
        SIGURG SIGXCPU SIGXFSZ SIGVTALRM SIGPROF SIGWINCH SIGIO SIGPWR SIGSYS;
    /// `keyctl(2)`.
    KEYCTL = KEYCTL_GET_KEYRING_ID KEYCTL_JOIN_SESSION_KEYRING KEYCTL_UPDATE KEYCTL_REVOKE
        KEYCTL_CHOWN KEYCTL_SETPERM KEYCTL_DESCRIBE KEYCTL_CLEAR KEYCTL_LINK KEYCTL_UNLINK
        KEYCTL_SEARCH KEYCTL_READ KEYCTL_INSTANTIATE;
}

/// `fcntl(2)`, what the lists leave out.
pub(super) const FCNTL: Names = &[
    (8, "F_SETOWN"),
    (9, "F_GETOWN"),
    (10, "F_SETSIG"),
    (11, "F_GETSIG"),
    (15, "F_SETOWN_EX"),
    (16, "F_GETOWN_EX"),
    (1024, "F_SETLEASE"),
    (1025, "F_GETLEASE"),
    (1026, "F_NOTIFY"),
];
/// `arch_prctl(2)` and the kernel's `asm/prctl.h`.
pub(super) const ARCH_PRCTL: Names = &[
    (0x1001, "ARCH_SET_GS"),
    (0x1002, "ARCH_SET_FS"),
    (0x1003, "ARCH_GET_FS"),
    (0x1004, "ARCH_GET_GS"),
    (0x1011, "ARCH_GET_CPUID"),
    (0x1012, "ARCH_SET_CPUID"),
    (0x2001, "ARCH_MAP_VDSO_X32"),
    (0x2002, "ARCH_MAP_VDSO_32"),
    (0x2003, "ARCH_MAP_VDSO_64"),
    (0x4001, "ARCH_GET_UNTAG_MASK"),
    (0x4002, "ARCH_ENABLE_TAGGED_ADDR"),
];
/// `setsockopt(2)` with `SOL_SOCKET`.
pub(super) const SOCKET_OPTIONS: Names = &[
    (26, "SO_ATTACH_FILTER"),
    (50, "SO_ATTACH_BPF"),
    (51, "SO_ATTACH_REUSEPORT_CBPF"),
    (52, "SO_ATTACH_REUSEPORT_EBPF"),
];
/// `tcp(7)`.
pub(super) const TCP_OPTIONS: Names = &[
    (13, "TCP_CONGESTION"),
    (14, "TCP_MD5SIG"),
    (19, "TCP_REPAIR"),
    (23, "TCP_FASTOPEN"),
    (25, "TCP_TIMESTAMP"),
    (30, "TCP_FASTOPEN_CONNECT"),
    (31, "TCP_ULP"),
    (33, "TCP_FASTOPEN_KEY"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_named_and_what_has_no_name_is_shown() {
        assert_eq!(all(OPEN_FLAGS, 0), "O_RDONLY");
        assert_eq!(all(OPEN_FLAGS, 0o101), "O_WRONLY|O_CREAT");
        assert_eq!(all(OPEN_FLAGS, 0o20_200_002), "O_RDWR|O_TMPFILE");
        assert_eq!(all(MOUNT_FLAGS, 0x1000 | 1 << 40), "MS_BIND|0x10000000000");
        assert_eq!(all(AT_FLAGS, 0), "0");
        assert_eq!(family(40), "AF_VSOCK");
        assert_eq!(family(99), "99");
    }
}
