//! What a refused caller is told. Libraries and runtimes fall back well from "not there" and from
//! "not supported", and badly from "not permitted": a C library that gets `EPERM` for `clone3` or
//! `openat2` gives up, one that gets `ENOSYS` does it the old way.

use nix::errno::Errno;

use super::Call;
use crate::sys::calls;
use crate::wire::manifest::Class;

/// Calls newer than what every caller of them can do without, or which a kernel may be built
/// without.
const OPTIONAL: &[libc::c_long] = &[
    libc::SYS_clone3,
    libc::SYS_openat2,
    libc::SYS_faccessat2,
    libc::SYS_fchmodat2,
    libc::SYS_close_range,
    libc::SYS_epoll_pwait2,
    libc::SYS_futex_waitv,
    libc::SYS_memfd_create,
    libc::SYS_memfd_secret,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
    libc::SYS_process_madvise,
    libc::SYS_process_mrelease,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_setup,
    libc::SYS_io_submit,
    libc::SYS_io_getevents,
    libc::SYS_landlock_create_ruleset,
    libc::SYS_landlock_add_rule,
    libc::SYS_landlock_restrict_self,
    libc::SYS_seccomp,
    libc::SYS_userfaultfd,
    libc::SYS_membarrier,
    libc::SYS_rseq,
    libc::SYS_statx,
    libc::SYS_copy_file_range,
    libc::SYS_get_mempolicy,
    libc::SYS_set_mempolicy,
    libc::SYS_mbind,
    libc::SYS_set_mempolicy_home_node,
    libc::SYS_remap_file_pages,
    libc::SYS_fanotify_init,
    libc::SYS_quotactl_fd,
    libc::SYS_mount_setattr,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS__sysctl,
    libc::SYS_nfsservctl,
    libc::SYS_getpmsg,
    libc::SYS_putpmsg,
    libc::SYS_afs_syscall,
    libc::SYS_tuxcall,
    libc::SYS_security,
    libc::SYS_vserver,
    libc::SYS_epoll_ctl_old,
    libc::SYS_epoll_wait_old,
    libc::SYS_lookup_dcookie,
    libc::SYS_uselib,
];
/// From here on every call is newer than what a C library can do without (`cachestat`, Linux 6.5).
const RECENT: i32 = 451;

/// The errno of a refused call. Programs of the strict native class are made for its list, and get
/// what the list answers where nobody listens.
pub(super) fn errno(class: Class, call: Call) -> Errno {
    if class == Class::Native {
        return Errno::EPERM;
    }
    let optional = OPTIONAL.iter().any(|number| call.is(*number));
    if optional || call.number >= RECENT || calls::name(call.number).is_none() {
        return Errno::ENOSYS;
    }
    match libc::c_long::from(call.number) {
        libc::SYS_socket | libc::SYS_socketpair => socket(call),
        libc::SYS_setsockopt => Errno::ENOPROTOOPT,
        // As where `net.ipv4.tcp_fastopen` is 0.
        libc::SYS_sendto | libc::SYS_sendmsg | libc::SYS_sendmmsg => Errno::EOPNOTSUPP,
        libc::SYS_name_to_handle_at => Errno::EOPNOTSUPP,
        _ => Errno::EPERM,
    }
}

fn socket(call: Call) -> Errno {
    let family = call.low(0).cast_signed();
    let kind = call.low(1).cast_signed() & 15;
    match (family, kind) {
        // The kernel's answer without the capability.
        (libc::AF_INET | libc::AF_INET6, libc::SOCK_RAW) => Errno::EPERM,
        // A policy's answer (`socket(2)`): there are some where the manifest says so.
        (libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_DGRAM | libc::SOCK_SEQPACKET) => {
            Errno::EACCES
        }
        (libc::AF_INET | libc::AF_INET6 | libc::AF_UNIX, _) => Errno::EPROTONOSUPPORT,
        _ => Errno::EAFNOSUPPORT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(number: libc::c_long, arguments: &[u64]) -> Errno {
        let mut all = [0; 6];
        all[..arguments.len()].copy_from_slice(arguments);
        let call = Call {
            number: i32::try_from(number).unwrap(),
            arguments: all,
        };
        assert_eq!(errno(Class::Native, call), Errno::EPERM);
        errno(Class::Foreign, call)
    }

    #[test]
    fn what_has_a_way_round_is_missing_and_the_rest_is_not_permitted() {
        for number in [
            libc::SYS_openat2,
            libc::SYS_clone3,
            libc::SYS_io_uring_setup,
        ] {
            assert_eq!(of(number, &[]), Errno::ENOSYS);
        }
        for number in [i64::from(RECENT), 457, 700, i64::from(i32::MAX), -1] {
            assert_eq!(of(number, &[]), Errno::ENOSYS, "{number}");
        }
        for number in [
            libc::SYS_ptrace,
            libc::SYS_mount,
            libc::SYS_chmod,
            libc::SYS_ioctl,
        ] {
            assert_eq!(of(number, &[]), Errno::EPERM, "{number}");
        }
    }

    #[test]
    fn sockets_are_told_what_is_not_supported() {
        let family = |family: i32| u64::from(family.cast_unsigned());
        for (a, told) in [
            ([family(libc::AF_INET), 2, 0], Errno::EPROTONOSUPPORT),
            (
                [family(libc::AF_INET), 2 | 0x80000, 17],
                Errno::EPROTONOSUPPORT,
            ),
            ([family(libc::AF_INET), 1, 262], Errno::EPROTONOSUPPORT),
            ([family(libc::AF_INET6), 3, 58], Errno::EPERM),
            ([family(libc::AF_NETLINK), 3, 0], Errno::EAFNOSUPPORT),
            ([family(libc::AF_VSOCK), 1, 0], Errno::EAFNOSUPPORT),
            ([family(libc::AF_PACKET), 3, 0], Errno::EAFNOSUPPORT),
            // Only the lower halves count, as for the kernel.
            (
                [family(libc::AF_INET) | 1 << 32, 2, 0],
                Errno::EPROTONOSUPPORT,
            ),
        ] {
            assert_eq!(of(libc::SYS_socket, &a), told, "{a:?}");
        }
        assert_eq!(of(libc::SYS_setsockopt, &[3, 6, 31]), Errno::ENOPROTOOPT);
        assert_eq!(
            of(libc::SYS_sendto, &[3, 0, 0, 0x2000_0000]),
            Errno::EOPNOTSUPP
        );
    }
}
