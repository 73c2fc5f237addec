//! Forbidden actions for the self-test: what a tool that was taken over would try. Each is harmless
//! where it is allowed, because the same lists are run without a jail to show that they would notice.
//!
//! What no jail allows is in [`both`]; what only those of Keepgate's own tools refuse, in [`native`];
//! what only those with files, children and a network of their own have to, in [`foreign`].

// Before the modules that use them.
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

mod acts;
mod both;
mod foreign;
mod native;
mod state;

pub use acts::{
    has_children, maps, maps_as_program, other_abis, question, survive_large_files, takes_number,
};
pub use state::{limit, open_descriptors, state};

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

const READ: i32 = libc::O_RDONLY | libc::O_CLOEXEC;
const UNNAMED: i32 = libc::O_TMPFILE | libc::O_WRONLY | libc::O_CLOEXEC;

/// Tries what native jails refuse; gives the name of each action and whether it got through.
pub fn attempts_native() -> impl Iterator<Item = (&'static str, bool)> {
    tries(native::ATTEMPTS)
}

/// Tries what foreign jails refuse.
pub fn attempts_foreign() -> impl Iterator<Item = (&'static str, bool)> {
    tries(foreign::ATTEMPTS)
}

/// Those of `own` first: some of the others change this process where they get through.
fn tries(own: &'static [Attempt]) -> impl Iterator<Item = (&'static str, bool)> {
    let all = own.iter().chain(both::ATTEMPTS);
    all.map(|attempt| (attempt.name, attempt.gets_through()))
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
            (Err(_), Success) => false,
            // What a refusal is answered: by the kernel's own checks, or by a list of system calls.
            // None of the attempts is told so for its wrong arguments.
            (
                Err(
                    Errno::EPERM
                    | Errno::EACCES
                    | Errno::ENOSYS
                    | Errno::EROFS
                    | Errno::ENOPROTOOPT
                    | Errno::EOPNOTSUPP,
                ),
                _,
            ) => false,
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
