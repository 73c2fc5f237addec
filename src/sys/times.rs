//! CPU time of a process and all its descendants, from `/proc` (proc(5)).

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::dir::Dir;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

/// Microseconds of one tick of `utime` and its like: `USER_HZ` is 100 on x86-64 (`asm/param.h`).
const TICK_US: u64 = 10_000;
/// Processes that are counted; a jail's own limit is lower.
const PROCESSES_MAX: usize = 1 << 16;
/// Longest line of numbers that is read, in bytes.
const LINE_MAX: u64 = 1 << 20;

/// Microseconds of CPU time of the process `pid`, of everything it has started and of what that has
/// waited for. `proc` is a `/proc` in which it has this number.
///
/// # Errors
/// Fails where the process is not seen there, or the kernel does not list children
/// (`CONFIG_PROC_CHILDREN`). A descendant that ends meanwhile is left out.
pub fn of_tree(proc: BorrowedFd<'_>, pid: u32) -> io::Result<u64> {
    let mut ticks = 0_u64;
    let mut left = vec![pid];
    let mut seen = 0;
    while let Some(one) = left.pop() {
        match of_process(proc, one, &mut left) {
            Ok(own) => ticks = ticks.saturating_add(own),
            Err(error) if one == pid => return Err(error),
            Err(_) => {}
        }
        seen += 1;
        if seen > PROCESSES_MAX {
            return Err(io::Error::other("too many processes"));
        }
    }
    Ok(ticks.saturating_mul(TICK_US))
}

/// Ticks of one process; its children are added to `left`.
fn of_process(proc: BorrowedFd<'_>, pid: u32, left: &mut Vec<u32>) -> io::Result<u64> {
    let ticks = ticks(&read(proc, &format!("{pid}/stat"))?);
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let tasks: OwnedFd = openat(proc, format!("{pid}/task").as_str(), flags, Mode::empty())?;
    let mut listed = Dir::from_fd(tasks.try_clone()?)?;
    for task in listed.iter() {
        let task = task?;
        let Some(name) = task
            .file_name()
            .to_str()
            .ok()
            .filter(|name| *name != "." && *name != "..")
        else {
            continue;
        };
        match read(tasks.as_fd(), &format!("{name}/children")) {
            Ok(text) => left.extend(numbers(&text)),
            // The first thread stays as long as the process: without this file there is none.
            Err(error) if name == pid.to_string() => return Err(error),
            Err(_) => {}
        }
    }
    ticks.ok_or_else(|| io::Error::other("a line of /proc that has no times"))
}

/// `utime`, `stime`, `cutime` and `cstime` together: fields 14 to 17. The second, the program's name,
/// may hold anything, blanks and brackets too.
fn ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut times = rest.split_ascii_whitespace().skip(11).take(4);
    let mut sum = 0_u64;
    for _ in 0..4 {
        sum = sum.saturating_add(times.next()?.parse().ok()?);
    }
    Some(sum)
}

fn numbers(text: &str) -> impl Iterator<Item = u32> {
    text.split_ascii_whitespace()
        .filter_map(|number| number.parse().ok())
}

fn read(at: BorrowedFd<'_>, path: &str) -> io::Result<String> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let file = File::from(openat(at, path, flags, Mode::empty())?);
    let mut text = Vec::new();
    file.take(LINE_MAX).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_name_with_brackets_hides_no_times() {
        let line = |name: &str| format!("7 ({name}) S 1 7 7 0 -1 4 0 0 0 0 11 22 33 44 20 0 1 0 5");
        assert_eq!(ticks(&line("sh")), Some(110));
        assert_eq!(ticks(&line("a) R 1 1 1 1")), Some(110));
        assert_eq!(ticks("7 (sh) S 1"), None);
        assert_eq!(ticks(""), None);
    }

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "some process with children, no jail and no role"
    )]
    fn children_count_while_they_run_and_after_they_were_waited_for() {
        let proc = File::open("/proc").unwrap();
        let spin = "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done";
        // One child spins and is waited for, another waits for input.
        let script = format!("sh -c '{spin}'; echo; sh -c '{spin}; echo; read x; :'; read x");
        let mut child = Command::new("sh")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = child.stdout.take().unwrap();
        let mut counts = Vec::new();
        for _ in 0..2 {
            output.read_exact(&mut [0]).unwrap();
            counts.push(of_tree(proc.as_fd(), child.id()).unwrap());
        }
        assert!(counts[0] > 0 && counts[1] > counts[0], "{counts:?}");
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(of_tree(proc.as_fd(), child.id()).is_err());
    }
}
