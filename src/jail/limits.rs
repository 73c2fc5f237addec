//! The hard limits of a jail's processes (`setrlimit(2)`). They hold where there is no cgroup too;
//! what only a cgroup can count (memory of a whole jail) is said in [`crate::wire::manifest`].

use crate::sys::exec::Limit;
use crate::wire::manifest::{Class, Quantities};

/// Descriptors of Keepgate's own tools.
const TOOL_DESCRIPTORS: u64 = 32;
/// Number of a native program's own descriptor, which is gone once it runs.
const PROGRAM: u64 = crate::sys::exec::PROGRAM.unsigned_abs() as u64;
/// Bytes of stack; a program of a foreign jail may ask for more.
const STACK: u64 = 8 << 20;
/// Most a program of a foreign jail may ask for.
const STACK_MAX: u64 = 64 << 20;
/// Signals and timers that wait, of one uid: runtimes use a few.
const SIGNALS: u64 = 1024;

/// What Keepgate's own tools get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ToolLimits {
    /// Seconds of CPU time.
    pub cpu_s: u64,
    /// Bytes of address space.
    pub memory: u64,
    /// Bytes of the largest file written.
    pub file: u64,
}

impl ToolLimits {
    /// As the kernel wants them.
    pub fn all(self) -> [Limit; 13] {
        [
            cpu(self.cpu_s),
            hard(libc::RLIMIT_AS, self.memory),
            hard(libc::RLIMIT_FSIZE, self.file),
            hard(libc::RLIMIT_STACK, STACK),
            hard(libc::RLIMIT_NOFILE, TOOL_DESCRIPTORS),
            hard(libc::RLIMIT_NPROC, 0),
            hard(libc::RLIMIT_CORE, 0),
            hard(libc::RLIMIT_MEMLOCK, 0),
            hard(libc::RLIMIT_MSGQUEUE, 0),
            hard(libc::RLIMIT_SIGPENDING, 0),
            hard(libc::RLIMIT_LOCKS, 0),
            hard(libc::RLIMIT_NICE, 0),
            hard(libc::RLIMIT_RTPRIO, 0),
        ]
    }
}

/// Limits of a jail under a manifest. `own` processes of Keepgate count against the same number,
/// which the kernel keeps for each uid.
pub(super) fn of(class: Class, wanted: &Quantities, own: u64) -> [Limit; 13] {
    let (memory, processes) = match class {
        Class::Native => (hard(libc::RLIMIT_AS, wanted.memory), 0),
        // Not the address space: runtimes reserve far more of it than they use.
        Class::NativeGeneric | Class::Foreign => (
            hard(libc::RLIMIT_DATA, wanted.memory),
            wanted.processes.saturating_add(own),
        ),
    };
    let (stack_max, descriptors) = match class {
        // The numbers that the filter knows by name can then never be opened again.
        Class::Native | Class::NativeGeneric => (STACK, wanted.descriptors.min(PROGRAM)),
        Class::Foreign => (STACK_MAX, wanted.descriptors),
    };
    [
        cpu(wanted.cpu_s),
        memory,
        hard(libc::RLIMIT_FSIZE, wanted.file),
        (libc::RLIMIT_STACK, STACK, stack_max),
        hard(libc::RLIMIT_NOFILE, descriptors),
        hard(libc::RLIMIT_NPROC, processes),
        hard(libc::RLIMIT_CORE, 0),
        hard(libc::RLIMIT_MEMLOCK, 0),
        hard(libc::RLIMIT_MSGQUEUE, 0),
        hard(libc::RLIMIT_SIGPENDING, SIGNALS),
        hard(libc::RLIMIT_LOCKS, 0),
        hard(libc::RLIMIT_NICE, 0),
        hard(libc::RLIMIT_RTPRIO, 0),
    ]
}

/// The same for one that lasts: a limit of processor time for the whole life of each process would end
/// every server some day. What it uses is counted by the jailer instead.
pub(super) fn of_lasting(class: Class, wanted: &Quantities, own: u64) -> [Limit; 13] {
    let mut all = of(class, wanted, own);
    for limit in &mut all {
        if limit.0 == libc::RLIMIT_CPU {
            *limit = hard(libc::RLIMIT_CPU, libc::RLIM_INFINITY);
        }
    }
    all
}

/// SIGXCPU at the soft limit names the reason; SIGKILL a second later ends the rest.
fn cpu(seconds: u64) -> Limit {
    (libc::RLIMIT_CPU, seconds, seconds.saturating_add(1))
}

fn hard(resource: u32, value: u64) -> Limit {
    (resource, value, value)
}
