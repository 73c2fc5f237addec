//! What a jail was refused, in words: which call, with which arguments, what the caller is told,
//! and which line of a manifest would allow it, where one would.
//!
//! Nothing here decides. A call that comes here was refused by the list; what its pointers point to
//! is read for the operator's eyes only, and may be a lie told by another thread of the jail.

mod address;
mod answer;
mod collect;
mod report;
mod shapes;
mod show;
mod words;

pub use collect::Denials;
pub use report::{NOT_PUBLIC, UNLISTED, of_hop, of_limit, sentence};

use nix::errno::Errno;

use crate::wire::manifest::Class;
use crate::wire::messages::{Denial, Layer};

/// Most bytes of one attempt in words.
pub const ATTEMPT_MAX: usize = 256;

/// The memory of a caller.
pub trait Memory {
    /// Fills `into` from `address` on, as far as it can be read; gives the number of bytes. 0 where
    /// nothing is there.
    fn read(&self, address: u64, into: &mut [u8]) -> usize;
}

/// A call that the list refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// Number, x86_64.
    pub number: i32,
    /// Arguments as registers.
    pub arguments: [u64; 6],
}

/// What is told of a refused call, and what its caller is answered.
pub fn denied(class: Class, call: Call, memory: &dyn Memory) -> (Denial, Errno) {
    let denial = Denial {
        layer: Layer::Seccomp,
        attempt: show::attempt(call, memory),
        allow: report::line(class, call, memory),
        count: 1,
    };
    (denial, answer::errno(class, call))
}

impl Call {
    /// How the C library begins to ask a daemon for the names of users, and does without: worth no
    /// word, because every other program begins so.
    pub fn asks_for_names(self) -> bool {
        let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        let asked = [self.low(0), self.low(1), self.low(2)].map(u32::cast_signed);
        self.is(libc::SYS_socket) && asked == [libc::AF_UNIX, kind, 0]
    }

    fn is(self, number: libc::c_long) -> bool {
        libc::c_long::from(self.number) == number
    }

    /// An argument as the kernel takes an `int` or `unsigned int`: its lower half.
    fn low(self, index: usize) -> u32 {
        let value = self.arguments.get(index).copied().unwrap_or(0);
        u32::try_from(value & u64::from(u32::MAX)).unwrap_or(0)
    }

    fn word(self, index: usize) -> u64 {
        self.arguments.get(index).copied().unwrap_or(0)
    }
}

/// Cuts to at most `max` bytes, and says so with `…`.
fn cut(mut text: String, max: usize) -> String {
    if text.len() > max {
        let room = max.saturating_sub('…'.len_utf8());
        text.truncate(text.floor_char_boundary(room));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes at an address; what is beyond them cannot be read.
    struct At(u64, Vec<u8>);

    impl Memory for At {
        fn read(&self, address: u64, into: &mut [u8]) -> usize {
            let Some(skip) = address.checked_sub(self.0) else {
                return 0;
            };
            let bytes = self.1.iter().skip(usize::try_from(skip).unwrap());
            into.iter_mut()
                .zip(bytes)
                .map(|(to, byte)| *to = *byte)
                .count()
        }
    }

    fn call(number: libc::c_long, arguments: &[u64]) -> Call {
        let mut all = [0; 6];
        all[..arguments.len()].copy_from_slice(arguments);
        Call {
            number: i32::try_from(number).unwrap(),
            arguments: all,
        }
    }

    fn told(class: Class, number: libc::c_long, arguments: &[u64], memory: &[u8]) -> Denial {
        let memory = At(0x1000, memory.to_vec());
        let (denial, _) = denied(class, call(number, arguments), &memory);
        assert!(denial.attempt.len() <= ATTEMPT_MAX, "{denial:?}");
        denial
    }

    fn attempt(number: libc::c_long, arguments: &[u64], memory: &[u8]) -> String {
        told(Class::Foreign, number, arguments, memory).attempt
    }

    fn v4(ip: [u8; 4], port: u16) -> Vec<u8> {
        [&[2, 0][..], &port.to_be_bytes(), &ip, &[0; 8]].concat()
    }

    const HERE: u64 = 0xffff_ff9c;

    #[test]
    fn calls_read_like_c() {
        let text = b"proc\0/proc\0/srv/out/x\0";
        for (number, arguments, expected) in [
            (
                libc::SYS_socket,
                &[2, 2, 0][..],
                "socket(AF_INET, SOCK_DGRAM, 0)",
            ),
            (
                libc::SYS_socket,
                &[10, 0x8_0003, 58],
                "socket(AF_INET6, SOCK_RAW|SOCK_CLOEXEC, IPPROTO_ICMPV6)",
            ),
            (
                libc::SYS_socket,
                &[2, 1, 262],
                "socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP)",
            ),
            (
                libc::SYS_socket,
                &[16, 3, 9],
                "socket(AF_NETLINK, SOCK_RAW, 9)",
            ),
            (
                libc::SYS_mount,
                &[0x1000, 0x1005, 0x1000, 0, 0],
                "mount(\"proc\", \"/proc\", \"proc\", 0, NULL)",
            ),
            (
                libc::SYS_ptrace,
                &[16, 12, 0, 0],
                "ptrace(PTRACE_ATTACH, 12)",
            ),
            (
                libc::SYS_chmod,
                &[0x100b, 0o4755],
                "chmod(\"/srv/out/x\", 04755)",
            ),
            (
                libc::SYS_openat,
                &[HERE, 0x100b, 0o102, 0o6644],
                "openat(AT_FDCWD, \"/srv/out/x\", O_RDWR|O_CREAT, 06644)",
            ),
            (
                libc::SYS_mknodat,
                &[7, 0x100b, 0o20_666, 0x103],
                "mknodat(7, \"/srv/out/x\", S_IFCHR|0666, 0x103)",
            ),
            (
                libc::SYS_clone,
                &[0x1000_0011],
                "clone(CLONE_NEWUSER|SIGCHLD)",
            ),
            (
                libc::SYS_unshare,
                &[0x4002_0000],
                "unshare(CLONE_NEWNS|CLONE_NEWNET)",
            ),
            (
                libc::SYS_ioctl,
                &[0, 0x5412, 0x7ffc],
                "ioctl(0, TIOCSTI, 0x7ffc)",
            ),
            (
                libc::SYS_ioctl,
                &[0, 0x1_0000_5412, 0],
                "ioctl(0, TIOCSTI, 0)",
            ),
            (
                libc::SYS_setsockopt,
                &[3, 6, 31, 0, 4],
                "setsockopt(3, IPPROTO_TCP, TCP_ULP, NULL, 4)",
            ),
            (libc::SYS_prctl, &[35, 8], "prctl(PR_SET_MM, 8)"),
            (
                libc::SYS_execveat,
                &[5, 0x1004, 0, 0, 0x1000],
                "execveat(5, \"\", NULL, NULL, AT_EMPTY_PATH)",
            ),
            // Nothing is there.
            (libc::SYS_chmod, &[0x9999, 0o4755], "chmod(0x9999, 04755)"),
            (libc::SYS_chmod, &[0, 0o4755], "chmod(NULL, 04755)"),
            (
                libc::SYS_io_cancel,
                &[1, 0xabc],
                "io_cancel(1, 0xabc, 0, 0, 0, 0)",
            ),
            (9_999, &[1], "syscall 9999(1, 0, 0, 0, 0, 0)"),
        ] {
            assert_eq!(attempt(number, arguments, text), expected);
        }
    }

    #[test]
    fn socket_addresses_are_read() {
        let six = [&[10, 0, 0, 53, 0, 0, 0, 0][..], &[0; 15], &[1], &[0; 4]].concat();
        let netlink = [16, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0];
        let vsock = [40, 0, 0, 0, 9, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0];
        for (bytes, expected) in [
            (v4([10, 1, 2, 3], 53), "connect(5, 10.1.2.3:53)"),
            (six, "connect(5, [::1]:53)"),
            (
                b"\x01\0/run/docker.sock\0junk".to_vec(),
                "connect(5, unix \"/run/docker.sock\")",
            ),
            (b"\x01\0\0name".to_vec(), "connect(5, unix @\"name\")"),
            (b"\x01\0".to_vec(), "connect(5, unix unnamed)"),
            (netlink.to_vec(), "connect(5, netlink 7)"),
            (vsock.to_vec(), "connect(5, vsock 2:9)"),
            (
                v4([1, 2, 3, 4], 5)[..6].to_vec(),
                "connect(5, AF_INET (short))",
            ),
            (vec![38, 0, 1], "connect(5, AF_ALG)"),
            (vec![1], "connect(5, 0x1000)"),
            (vec![], "connect(5, 0x1000)"),
        ] {
            let len = bytes.len() as u64;
            assert_eq!(
                attempt(libc::SYS_connect, &[5, 0x1000, len], &bytes),
                expected
            );
        }
        // A length that lies reads no more than there is.
        let lie = attempt(
            libc::SYS_connect,
            &[5, 0x1000, u64::MAX],
            &v4([1, 2, 3, 4], 5),
        );
        assert_eq!(lie, "connect(5, 1.2.3.4:5)");
    }

    #[test]
    fn hostile_text_stays_in_its_quotes_and_in_its_bounds() {
        let path = b"/x\", 0644); mount(\"\\\n\x1b[2J\xff\0";
        assert_eq!(
            attempt(libc::SYS_chmod, &[0x1000, 0o4000], path),
            r#"chmod("/x\", 0644); mount(\"\\\n\u{1b}[2J\u{fffd}", 04000)"#
        );
        let endless = vec![0xff; 10_000];
        for number in 0..500 {
            let said = attempt(number, &[0x1000; 6], &endless);
            assert!(said.is_ascii() || said.contains('…'), "{said}");
            assert!(!said.is_empty());
        }
    }

    #[test]
    fn a_line_is_named_where_it_would_allow_the_call() {
        let connect = |ip, port| {
            let bytes = v4(ip, port);
            told(Class::Foreign, libc::SYS_connect, &[5, 0x1000, 16], &bytes).allow
        };
        assert_eq!(
            connect([10, 1, 2, 3], 53).as_deref(),
            Some("net = [\"10.1.2.3:53\"]")
        );
        assert_eq!(
            connect([127, 0, 0, 1], 80).as_deref(),
            Some("loopback = true")
        );
        let any = v4([0, 0, 0, 0], 80);
        let bind = told(Class::Foreign, libc::SYS_bind, &[5, 0x1000, 16], &any);
        assert_eq!(bind.allow.as_deref(), Some("loopback = true"));
        for (class, number, arguments, allow) in [
            (Class::Foreign, libc::SYS_ptrace, &[16, 12][..], None),
            (Class::Foreign, libc::SYS_socket, &[2, 2, 0], None),
            (Class::Foreign, libc::SYS_chmod, &[0, 0o4755], None),
            (
                Class::NativeGeneric,
                libc::SYS_execve,
                &[],
                Some("class = \"foreign\""),
            ),
            (
                Class::NativeGeneric,
                libc::SYS_socket,
                &[2, 1, 0],
                Some("class = \"foreign\""),
            ),
            (Class::NativeGeneric, libc::SYS_socket, &[2, 2, 0], None),
            (Class::NativeGeneric, libc::SYS_mount, &[], None),
            (Class::Native, libc::SYS_clone3, &[], None),
            (Class::Native, -5, &[], None),
        ] {
            let denial = told(class, number, arguments, &[]);
            assert_eq!(denial.allow.as_deref(), allow, "{denial:?}");
        }
    }

    #[test]
    fn a_sentence_says_who_what_and_how() {
        let denial = told(Class::Foreign, libc::SYS_ptrace, &[16, 12], &[]);
        assert_eq!(
            sentence(&denial),
            "the system call list refused `ptrace(PTRACE_ATTACH, 12)`; no manifest can allow it"
        );
        let often = Denial { count: 3, ..denial };
        assert!(sentence(&often).contains("`ptrace(PTRACE_ATTACH, 12)` 3 times; "));
    }
}
