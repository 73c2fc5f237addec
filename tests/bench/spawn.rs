//! A native jail against `posix_spawn` and bare fork + exec of the same binary: this one, which
//! ends at once when it is called as a jailed tool.

use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use keepgate::jail::cgroup::{self, Cgroups, Delegation, Lack, Leaf, Subtree};
use keepgate::jail::foreign::users::Users;
use keepgate::jail::limits::ToolLimits;
use keepgate::jail::world::World;
use keepgate::jail::{Jail, NO_CGROUPS, Seat, TOO_OLD};
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

/// Measures in processes of their own: what prepares for jails cannot be taken back.
pub(crate) fn measure(report: &mut Report) {
    let group = Group::new();
    let [jail, leaf, posix, fork] = ask(true, group.as_ref());
    report.jail = Some(jail);
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
    match group {
        Some(_) => report.at_most(
            "native jail in a pooled cgroup / posix_spawn, root",
            leaf / posix,
            1.8,
            " x",
        ),
        None => report.note("native jail in a pooled cgroup", "no cgroup2 here".into()),
    }
    report.note(
        "native jail / fork + exec, root",
        format!("{:.2} x", jail / fork),
    );
    let [jail_user, _, posix_user, _] = ask(false, None);
    report.at_most(
        "native jail / posix_spawn, unprivileged",
        jail_user / posix_user,
        4.0,
        " x",
    );
}

/// Median seconds of a native jail, as root.
pub(crate) fn jail() -> f64 {
    let [jail, ..] = ask(true, Group::new().as_ref());
    jail
}

/// A cgroup for the process that spawns, which may do there what it likes.
struct Group(PathBuf);

impl Group {
    fn new() -> Option<Self> {
        let (top, _) = cgroup::host()?;
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
        let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
        let name = format!("keepgate-test-bench-{}", std::process::id());
        let path = top.join(own).join(name);
        std::fs::create_dir(&path).ok()?;
        Some(Self(path))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The spawner has ended and left nothing but these.
        for below in ["plane-bench/jailer", "plane-bench", "supervisor", ""] {
            drop(std::fs::remove_dir(self.0.join(below)));
        }
    }
}

fn ask(root: bool, group: Option<&Group>) -> [f64; 4] {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg("spawner").args(group.map(|group| &group.0));
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

/// What the supervisor does at its start, in the cgroup at `path`.
fn delegation(path: Option<&str>) -> Delegation {
    let lack = || Lack::new("not measured", "");
    let Some(path) = path else {
        let lack = Some(lack());
        return Delegation { path: None, lack };
    };
    std::fs::write(format!("{path}/cgroup.procs"), "0").unwrap();
    Subtree::claim().unwrap().plane("bench", None)
}

/// The process that spawns: prints four medians in seconds.
pub(crate) fn spawner(group: Option<&str>) {
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
    let Delegation { path, lack } = delegation(group);
    let mut world = World::enter(&[], path.as_deref(), &[], USERS).unwrap();
    let mut cgroups: Cgroups = Cgroups::enter(world.take_cgroup().map(Into::into), lack);
    cgroups.fill();
    let accept = [NO_CGROUPS.to_owned(), TOO_OLD.to_owned()];
    let jail = Jail::new(program, root.then_some(USERS), &accept).unwrap();
    let limits = ToolLimits {
        cpu_s: 5,
        memory: 1 << 30,
        file: 1 << 20,
    };
    let own = cgroup::Limits {
        memory: limits.memory,
        processes: 0,
        cpu_percent: 100,
    };
    let (mut jailed, mut pooled) = (Vec::new(), Vec::new());
    let fds = [null.as_fd(); 3];
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let one = jail.spawn("noop", &fds, limits, Seat::default()).unwrap();
        one.wait().unwrap();
        jailed.push(start.elapsed().as_secs_f64());
        // All that a call pays for it: taken, entered, emptied, read, given back.
        let start = Instant::now();
        let leaf = cgroups.take(own).unwrap();
        let into = leaf.as_ref().map(Leaf::fd);
        let one = jail
            .spawn(
                "noop",
                &fds,
                limits,
                Seat {
                    cgroup: into,
                    ..Seat::default()
                },
            )
            .unwrap();
        one.wait().unwrap();
        leaf.map(|leaf| cgroups.give_back(leaf));
        pooled.push(start.elapsed().as_secs_f64());
    }
    assert_eq!(cgroups.limiting().kill, group.is_some(), "{cgroups:?}");
    cgroups.close();
    let mut all = [jailed, pooled, posix, fork];
    let all: Vec<String> = all.iter_mut().map(|all| median(all).to_string()).collect();
    println!("{}", all.join(" "));
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
