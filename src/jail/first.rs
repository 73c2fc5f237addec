//! The first process of the pid namespace of a native jail whose program is not ours.
//!
//! The kernel keeps signals without a handler from the first process (`pid_namespaces(7)`), so that
//! this one stands in its place. It waits for nothing: the program is the jailer's own child, can
//! start no process, and its end is the end of the jail. It is nine bytes of code, because each jail
//! pays for its start: Keepgate's own program would have as much to relocate as a tool.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::landlock;
use super::limits::ToolLimits;
use crate::error::{Context, Result};
use crate::sys::filter::{Clone3, Filter};
use crate::sys::{exec, jail, sealed};

/// Name of Keepgate's own program as a first process.
pub const FIRST: &str = "first";

/// What it may ask of the kernel.
const LIST: &str = include_str!("seccomp/first.json");
/// What it may use. It uses next to nothing; Keepgate's own program is mapped.
const LIMITS: ToolLimits = ToolLimits {
    cpu_s: 1,
    memory: 512 << 20,
    file: 0,
};

/// What all first processes of a jailer have in common.
#[derive(Debug)]
pub(super) struct First {
    /// A memory file; `None` where none can be run.
    program: Option<OwnedFd>,
    ruleset: Option<OwnedFd>,
    filter: Filter,
    limits: [exec::Limit; 13],
}

impl First {
    /// Makes it ready.
    pub(super) fn new() -> Result<Self> {
        let what = || "prepare the first process of jails".into();
        let program = sealed::seal_bytes(&program()).context(what)?;
        let lists: &[&str] = match program {
            Some(_) => &[LIST],
            None => &[super::TOOL, LIST],
        };
        Ok(Self {
            ruleset: program
                .as_ref()
                .map(AsFd::as_fd)
                .map_or(Ok(None), landlock::nothing_but)?,
            program,
            filter: Filter::compile(lists, Clone3::Missing).context(what)?,
            limits: LIMITS.all(),
        })
    }

    /// As the kernel wants it; `own` is Keepgate's own program, with its ruleset.
    pub(super) fn get<'a>(
        &'a self,
        own: BorrowedFd<'a>,
        ruleset: Option<BorrowedFd<'a>>,
    ) -> jail::First<'a> {
        const ARGV: &[&CStr] = &[c"keepgate-tool", c"first"];
        let (program, ruleset) = match &self.program {
            Some(program) => (program.as_fd(), self.ruleset.as_ref().map(AsFd::as_fd)),
            None => (own, ruleset),
        };
        jail::First {
            program,
            ruleset,
            argv: ARGV,
            filter: &self.filter,
            limits: &self.limits,
            // The standard library opens files in place of missing ones, which nothing allows.
            stdio: self.program.is_none().then_some(own),
        }
    }
}

/// Sleeps for ever: no signal has a handler here. Were it refused that, it would end, and its jail
/// with it, by a fault that not even a first process survives.
const CODE: [u8; 9] = [
    0xb8, 34, 0, 0, 0, // mov eax, SYS_pause
    0x0f, 0x05, // syscall
    0x0f, 0x0b, // ud2
];

/// The smallest program for x86-64 Linux that has it (`elf(5)`): one header, one segment with code,
/// and one that says that the stack is not.
fn program() -> Vec<u8> {
    const HEADER: u16 = 64;
    const SEGMENT: u16 = 56;
    const SEGMENTS: u16 = 2;
    const PAGE: u64 = 4096;
    /// Where it is in memory.
    const BASE: u64 = 0x40_0000;
    const READ_RUN: u32 = 5;
    const READ_WRITE: u32 = 6;
    let code_at = u64::from(HEADER) + u64::from(SEGMENT) * u64::from(SEGMENTS);
    let length = code_at + CODE.len() as u64;
    let mut bytes = Vec::new();
    let mut put = |field: &[u8]| bytes.extend_from_slice(field);
    // 64 bits, little-endian, version 1, System V.
    put(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    // ET_EXEC, EM_X86_64, version 1.
    put(&2_u16.to_le_bytes());
    put(&62_u16.to_le_bytes());
    put(&1_u32.to_le_bytes());
    // Where it begins; segments follow; no sections, no flags.
    put(&(BASE + code_at).to_le_bytes());
    put(&u64::from(HEADER).to_le_bytes());
    put(&0_u64.to_le_bytes());
    put(&0_u32.to_le_bytes());
    for size in [HEADER, SEGMENT, SEGMENTS, 64, 0, 0] {
        put(&size.to_le_bytes());
    }
    let load = libc::PT_LOAD;
    let stack = libc::PT_GNU_STACK;
    for (kind, rights, at, length, align) in [
        (load, READ_RUN, BASE, length, PAGE),
        (stack, READ_WRITE, 0, 0, 16),
    ] {
        put(&kind.to_le_bytes());
        put(&rights.to_le_bytes());
        for field in [0, at, at, length, length, align] {
            put(&field.to_le_bytes());
        }
    }
    put(&CODE);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_static_program_with_its_code_at_the_end() {
        let bytes = program();
        let field = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let entry = usize::try_from(field(24) - field(64 + 16)).unwrap();
        assert_eq!(bytes[entry..], CODE);
        assert_eq!(field(64 + 32), bytes.len() as u64);
        assert_eq!(i64::from(CODE[1]), libc::SYS_pause);
    }
}
