//! A native jail against `posix_spawn` and bare fork + exec of the same binary: this one, which
//! ends at once when it is called as a jailed tool.

use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Instant;

use keepgate::jail::foreign::view::Users;
use keepgate::jail::limits::ToolLimits;
use keepgate::jail::world::World;
use keepgate::jail::{Jail, NO_CGROUPS, TOO_OLD};
use keepgate::sys::sealed;

use super::report::{Report, median};

/// Spawns of each kind, in turns.
const ROUNDS: usize = 200;
/// The uid of jails here.
const TOOL: u32 = 64_997;
/// The only one.
const USERS: Users = Users {
    first: TOOL,
    count: 1,
};

/// Medians in seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spawned {
    /// A native jail, as root.
    pub(crate) jail: f64,
}

/// Measures in processes of their own: what prepares for jails cannot be taken back.
pub(crate) fn measure(report: &mut Report) -> Spawned {
    let [jail, posix, fork] = ask(true);
    report.note(
        "posix_spawn of the same binary, p50",
        format!("{:.0} us", posix * 1e6),
    );
    report.note(
        "fork + exec of the same binary, p50",
        format!("{:.0} us", fork * 1e6),
    );
    report.note("native jail, p50", format!("{:.0} us", jail * 1e6));
    report.at_most("native jail / posix_spawn, root", jail / posix, 1.3, " x");
    report.note(
        "native jail / fork + exec, root",
        format!("{:.2} x", jail / fork),
    );
    let [jail_user, posix_user, _] = ask(false);
    report.at_most(
        "native jail / posix_spawn, unprivileged",
        jail_user / posix_user,
        4.0,
        " x",
    );
    Spawned { jail }
}

fn ask(root: bool) -> [f64; 3] {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg("spawner");
    if !root {
        command.uid(TOOL).gid(TOOL);
    }
    let done = command.output().unwrap();
    assert!(done.status.success(), "{done:?}");
    let text = String::from_utf8(done.stdout).unwrap();
    let numbers: Vec<f64> = text
        .split_whitespace()
        .map(|word| word.parse().unwrap())
        .collect();
    numbers.try_into().unwrap()
}

/// The process that spawns: prints three medians in seconds.
pub(crate) fn spawner() {
    let own = std::env::current_exe().unwrap();
    let null = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .unwrap();
    let program = sealed::own().unwrap();
    // A handle that outlives the move into an empty world.
    let handle = std::fs::File::open(&own).unwrap();
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&handle));
    let (mut posix, mut fork) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        posix.push(command(&path, false));
        fork.push(command(&path, true));
    }
    let root = nix::unistd::geteuid().is_root();
    drop(World::enter(&[], &[], USERS).unwrap());
    let accept = [NO_CGROUPS.to_owned(), TOO_OLD.to_owned()];
    let jail = Jail::new(program, root.then_some(USERS), &accept).unwrap();
    let limits = ToolLimits {
        cpu_s: 5,
        memory: 1 << 30,
        file: 1 << 20,
    };
    let mut jailed = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let one = jail
            .spawn("noop", &[null.as_fd(); 3], limits, 0, None)
            .unwrap();
        one.wait().unwrap();
        jailed.push(start.elapsed().as_secs_f64());
    }
    let all = [median(&mut jailed), median(&mut posix), median(&mut fork)];
    let mut output = std::io::stdout();
    writeln!(output, "{} {} {}", all[0], all[1], all[2]).unwrap();
}

/// Seconds from start to end of one process; setting a uid makes std fork.
fn command(path: &str, fork: bool) -> f64 {
    let mut command = Command::new(path);
    command.arg0("keepgate-tool").arg("noop").env_clear();
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if fork {
        command.uid(nix::unistd::geteuid().as_raw());
    }
    let start = Instant::now();
    assert!(command.status().unwrap().success());
    start.elapsed().as_secs_f64()
}
