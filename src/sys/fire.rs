//! Fires every system call there is at the lists of jails, in a real process: what a list does not
//! name is refused by the kernel, and nothing that it names hangs or kills when its arguments are
//! nonsense.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use super::filter::{Clone3, Filter, Verdict};
use super::{calls, raw};
use crate::jail::lists::{FOREIGN, NATIVE_GENERIC};

const TOOL: &str = include_str!("../jail/seccomp/tool.json");
/// Numbers fired: every call there is, and some that do not exist.
const NUMBERS: i32 = 600;
/// Longest time one call may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// A user without rights, where this one can become it: nonsense from root might still do something.
const NOBODY: u32 = 65_534;

/// Calls that are no test of a list when fired: they end or stop the process, or copy it, where they
/// are allowed. The last two are asked by a probe in the kernel, which lets them past every filter
/// and kills whoever else makes them.
const NOT_FIRED: [&str; 8] = [
    "exit",
    "exit_group",
    "rt_sigreturn",
    "pause",
    "fork",
    "vfork",
    "uretprobe",
    "uprobe",
];

/// Makes a system call whose arguments are all ones: no descriptor, no address, no flag means that.
#[expect(unsafe_code, reason = "calls that no wrapper makes")]
fn fire(number: i32) -> i32 {
    // SAFETY: no address is valid, so the kernel neither reads nor writes this process' memory; the
    // process only counts on its stack and its descriptors, which no number of these closes.
    match unsafe { raw::call(number.into(), [-1; 6]) } {
        Ok(_) => 0,
        Err(errno) => errno as i32,
    }
}

/// Whether a call is fired.
fn fired(number: i32) -> bool {
    calls::name(number).is_none_or(|name| !NOT_FIRED.contains(&name))
}

/// A child that fires everything under `filter` and writes each number and its errno to `out`.
#[expect(unsafe_code, reason = "a fork that only makes system calls")]
fn child(filter: &Filter, out: RawFd) -> Pid {
    // SAFETY: the child makes system calls only: it allocates nothing and takes no lock.
    let pid = unsafe { raw::call(libc::SYS_fork, [0; 6]) }.unwrap();
    if pid == 0 {
        let _ = raw::become_user(NOBODY, NOBODY);
        let ready = raw::prctl(libc::PR_SET_NO_NEW_PRIVS, 1).and_then(|_| raw::seccomp(&filter.0));
        for number in (0..NUMBERS).filter(|number| ready.is_ok() && fired(*number)) {
            let told = [number, fire(number)];
            let arguments = [out.into(), raw::address(&told), 8, 0, 0, 0];
            // SAFETY: eight bytes that live until the call returns.
            let _ = unsafe { raw::call(libc::SYS_write, arguments) };
        }
        // SAFETY: ends this process.
        let _ = unsafe { raw::call(libc::SYS_exit_group, [0; 6]) };
    }
    Pid::from_raw(i32::try_from(pid).unwrap())
}

/// Number and errno of each call, as far as the child came.
fn told(child: Pid, out: OwnedFd) -> Vec<(i32, i32)> {
    let mut out = File::from(out);
    let mut all = Vec::new();
    let mut since = Instant::now();
    loop {
        let left = PATIENCE.saturating_sub(since.elapsed());
        let mut fds = [PollFd::new(
            std::os::fd::AsFd::as_fd(&out),
            PollFlags::POLLIN,
        )];
        if poll(&mut fds, PollTimeout::try_from(left).unwrap()) != Ok(1) {
            kill(child, Signal::SIGKILL).unwrap();
            panic!("hangs after {:?}", all.last());
        }
        let mut pair = [0; 8];
        if out.read(&mut pair).unwrap() != 8 {
            return all;
        }
        since = Instant::now();
        let [a, b] =
            [&pair[..4], &pair[4..]].map(|half| i32::from_ne_bytes(half.try_into().unwrap()));
        all.push((a, b));
    }
}

#[test]
fn every_call_that_a_list_does_not_name_is_refused_by_the_kernel() {
    for (name, text) in [
        ("tool", TOOL),
        ("native-generic", NATIVE_GENERIC),
        ("foreign", FOREIGN),
    ] {
        let filter = Filter::compile(&[text], Clone3::Missing).unwrap();
        let (read, write) = nix::unistd::pipe().unwrap();
        let child = child(&filter, write.as_raw_fd());
        drop(write);
        let told = told(child, read);
        waitpid(child, None).unwrap();
        let numbers: Vec<i32> = told.iter().map(|(number, _)| *number).collect();
        let expected: Vec<i32> = (0..NUMBERS).filter(|number| fired(*number)).collect();
        assert_eq!(numbers, expected, "{name}: ended after {:?}", told.last());
        let mut reached = 0;
        for (number, errno) in told {
            let number = u32::try_from(number).unwrap();
            let call = calls::name(number.cast_signed());
            match filter.answer(number, [u64::MAX; 6]) {
                Verdict::Errno(refused) => {
                    assert_eq!(errno, i32::from(refused), "{name}: {call:?} ({number})");
                }
                Verdict::Allow => reached += usize::from(errno != Errno::EPERM as i32),
                other @ (Verdict::Ask | Verdict::Kill) => panic!("{name}: {call:?} {other:?}"),
            }
        }
        // All but a few of what is allowed says something else than a refusal would.
        assert!(reached > 20, "{name}: {reached}");
    }
}
