//! A hostile program in every class of jail, as root and as an ordinary user starts them, with
//! something real outside to reach. Without a jail the same program reaches it.

use std::fs;
use std::path::Path;

use keepgate::sys::spawn::End;
use keepgate::wire::manifest::{Class, Manifest};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::canary::{JAIL_UID, Leaky, NOBODY, Outside};
use super::life::children;
use crate::harness::eventually;

/// Fewest attempts of a class.
const ATTEMPTS: usize = 130;
/// Runs after which a jailer holds no more than before.
const RUNS: usize = 200;

fn native() -> Manifest {
    Manifest::of(Class::NativeGeneric)
}

#[test]
fn without_a_jail_the_program_reaches_what_is_outside() {
    let reached = [
        "fs_read_canary",
        "fs_stat_canary",
        "fs_write_canary",
        "fs_chmod_canary",
        "fs_rename_canary",
        "fs_inotify_canary",
        "fs_rw_planted_link",
        "exec_tmp",
        "exec_rw",
        "exec_memfd",
        "proc_victim_environ",
        "proc_victim_mem",
        "fd_inherited_canary",
        "fd_dir_escape",
        "fd_terminal",
        "env_secret",
        "tty_open",
        "net_tcp4_loopback",
        "net_tcp6_loopback",
        "net_udp_sendto",
        "net_bind_listen",
        "unix_path_connect",
        "unix_path_dgram",
        "unix_abstract_connect",
        "unix_abstract_namespace",
        "ipc_sysv_shm",
        "ipc_sysv_msg",
        "ipc_posix_mq",
        "ipc_posix_shm",
        "sig_victim",
        "ptrace_victim",
        "vm_readv_victim",
        "affinity_victim",
        "lim_procs_2000",
        "lim_mem_2g",
        "lim_mem_shared",
        "lim_mem_shared_zero",
        "lim_mem_growsdown",
        "lim_mem_later_writable",
        "lim_memfd_512m",
        "lim_disk_256m",
        "st_no_new_privs_off",
        "st_seccomp_off",
        "abi_i386_int80",
    ];
    for (uid, of, least) in [(0, JAIL_UID, 75), (NOBODY, NOBODY, 55)] {
        let found = Outside::new(of).without_a_jail(uid);
        let (through, denied) = (found.all("through"), found.all("denied"));
        let missing: Vec<_> = reached
            .iter()
            .filter(|name| !through.contains(name))
            .collect();
        assert!(missing.is_empty(), "uid {uid} is refused: {missing:?}");
        let share = through.len() * 100 / (through.len() + denied.len());
        assert!(
            share >= least,
            "uid {uid}: {share} % get through, refused are {denied:?}"
        );
        assert_eq!(found.all("broken"), [""; 0]);
    }
}

/// Everything is tried under both classes, and nothing gets through.
fn nothing_gets_out(outside: &Outside, leaky: &Leaky) {
    for class in [Class::NativeGeneric, Class::Foreign] {
        let (end, found) = leaky.tries(outside, class);
        assert_eq!(found.all("through"), [""; 0], "{class:?}, {end:?}");
        assert_eq!(found.all("broken"), [""; 0], "{class:?}, {end:?}");
        let denied = found.all("denied").len();
        eprintln!(
            "{class:?}: {denied} denied, {} work",
            found.all("works").len()
        );
        assert!(denied >= ATTEMPTS, "{class:?}: {denied}");
        assert!(found.all("skipped").is_empty(), "{class:?}: {found:?}");
        assert!(found.all("works").len() >= 6, "{class:?}: {found:?}");
        // Refused calls of a foreign jail are told, and one line each is enough.
        assert_eq!(end.denials.is_empty(), class != Class::Foreign, "{end:?}");
    }
    for abi in ["int80", "x32"] {
        for class in [Class::NativeGeneric, Class::Foreign] {
            let (end, _) = leaky.run(outside, class, &[abi]);
            assert_eq!(end.unwrap().signal, Some(libc::SIGSYS), "{abi} {class:?}");
        }
    }
}

#[test]
fn no_jail_of_root_lets_anything_out() {
    let outside = Outside::new(JAIL_UID);
    let leaky = outside.jailer(None, vec![native(), outside.foreign()]);
    assert_eq!(leaky.jailer.test.succeeded, [""; 0]);
    nothing_gets_out(&outside, &leaky);
}

#[test]
fn no_jail_of_an_ordinary_user_lets_anything_out() {
    let outside = Outside::new(NOBODY);
    let leaky = outside.jailer(Some(NOBODY), vec![native(), outside.foreign()]);
    assert_eq!(leaky.jailer.test.succeeded, [""; 0]);
    nothing_gets_out(&outside, &leaky);
}

/// Processes that have `mark` in their command line.
fn marked(mark: &str) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    // Of each thread: the first one may have ended before the others.
    let threads = processes.filter_map(|process| fs::read_dir(process.path().join("task")).ok());
    let lines = threads.flatten().flatten().filter_map(|thread| {
        let line = fs::read(thread.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).into_owned())
    });
    lines
        .filter(|line| line.contains(mark) && !line.contains("escape"))
        .collect()
}

#[test]
fn nothing_outlives_its_jail() {
    for (user, uid) in [(None, JAIL_UID), (Some(NOBODY), NOBODY)] {
        let outside = Outside::new(uid);
        let leaky = outside.jailer(user, vec![native(), outside.foreign()]);
        let mark = format!("left-behind-{uid}-{}", std::process::id());
        // Orphaned, in a session of its own, deaf to signals: gone with the program's end.
        let (end, said) = leaky.run(&outside, Class::Foreign, &["survive", &mark]);
        assert_eq!((end.unwrap().code, said.as_str()), (Some(0), "left\n"));
        assert_eq!(marked(&mark), [""; 0]);
        // A thread that stays when the first one ends is alive, until it is killed.
        for class in [Class::NativeGeneric, Class::Foreign] {
            let mut working = leaky.begin(&outside, class, &["linger", &mark]);
            assert_eq!(working.line(), "left");
            assert_ne!(
                marked(&mark),
                [""; 0],
                "{class:?}: nobody stayed, and nothing is shown"
            );
            leaky.kill(&working);
            let (end, _) = leaky.end(working);
            assert_eq!(end.unwrap().limit.as_deref(), Some("killed"));
            assert_eq!(marked(&mark), [""; 0], "{class:?}");
        }
    }
}

/// A program of another has a first process beside it: as jailed as itself, with nothing open, and
/// its end is the end of all.
#[test]
fn the_first_process_of_a_generic_jail_holds_nothing_and_its_end_is_the_jails() {
    let outside = Outside::new(JAIL_UID);
    let leaky = outside.jailer(None, vec![native()]);
    let pid = leaky.jailer.pid;
    let mark = format!("stands-beside-{}", std::process::id());
    let mut working = leaky.begin(&outside, Class::NativeGeneric, &["linger", &mark]);
    assert_eq!(working.line(), "left");
    let status = |pid: u32| fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let number = |pid: u32| {
        let status = status(pid);
        let line = status.lines().find(|line| line.starts_with("NSpid:"));
        line.unwrap().rsplit('\t').next().unwrap().to_owned()
    };
    // Whoever made them goes, and nobody else comes.
    eventually("nobody but both", || children(pid).len() == 2);
    let mut both = children(pid);
    both.sort_by_key(|pid| number(*pid));
    let [first, program] = both[..] else {
        panic!("{both:?}")
    };
    assert_eq!((number(first), number(program)), ("1".into(), "2".into()));
    for line in [
        "CapEff:\t0000000000000000",
        "CapPrm:\t0000000000000000",
        "CapBnd:\t0000000000000000",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "Uid:\t64910\t64910\t64910\t64910",
        "Groups:\t \n",
        "Threads:\t1\n",
    ] {
        assert!(
            status(first).contains(line),
            "{line:?} in {}",
            status(first)
        );
    }
    let see = |what: &str| format!("/proc/{first}/{what}");
    assert_eq!(fs::read_dir(see("fd")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(see("root")).unwrap().count(), 0);
    assert_eq!(fs::read(see("environ")).unwrap(), b"");
    assert_eq!(
        fs::read_link(see("ns/pid")).unwrap(),
        fs::read_link(format!("/proc/{program}/ns/pid")).unwrap()
    );
    let first = Pid::from_raw(i32::try_from(first).unwrap());
    kill(first, Signal::SIGKILL).unwrap();
    let (end, _) = leaky.end(working);
    assert_eq!(end.unwrap().signal, Some(libc::SIGKILL));
    assert_eq!(marked(&mark), [""; 0]);
    assert_eq!(children(pid), [0; 0]);
}

#[test]
fn a_generic_jail_dies_with_its_jailer() {
    let outside = Outside::new(JAIL_UID);
    let mut leaky = outside.jailer(None, vec![native()]);
    let pid = leaky.jailer.pid;
    let mark = format!("bereaved-{}", std::process::id());
    let mut working = leaky.begin(&outside, Class::NativeGeneric, &["linger", &mark]);
    assert_eq!(working.line(), "left");
    eventually("nobody but both", || children(pid).len() == 2);
    let both = children(pid);
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL).unwrap();
    leaky.jailer.end = End::Killed(libc::SIGKILL);
    let gone = |pid: &u32| !Path::new(&format!("/proc/{pid}")).exists();
    eventually("the orphans' end", || both.iter().all(gone));
    assert_eq!(marked(&mark), [""; 0]);
}

/// What a jailer holds: descriptors, mounts, children. (Its cgroups are counted in
/// [`super::cgroups`].)
fn holds(pid: u32) -> [usize; 3] {
    let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap();
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let children = read(&format!("task/{pid}/children"));
    [
        descriptors,
        read("mountinfo").lines().count(),
        children.split_whitespace().count(),
    ]
}

#[test]
fn a_jailer_holds_no_more_after_many_jails() {
    let outside = Outside::new(JAIL_UID);
    let leaky = outside.jailer(None, vec![native(), outside.foreign()]);
    let run = |class| {
        let (end, said) = leaky.run(&outside, class, &["nothing"]);
        assert_eq!((end.unwrap().code, said.as_str()), (Some(0), ""));
    };
    // What is kept for the next one is there after the first.
    run(Class::Foreign);
    run(Class::NativeGeneric);
    let before = holds(leaky.jailer.pid);
    for number in 0..RUNS {
        run(if number % 4 == 0 {
            Class::NativeGeneric
        } else {
            Class::Foreign
        });
    }
    assert_eq!(holds(leaky.jailer.pid), before);
}
