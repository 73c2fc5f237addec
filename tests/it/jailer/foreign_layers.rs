//! The twin of [`super::layers`] for foreign jails: each of their layers, with all others taken away,
//! stops something that gets through without it.
//!
//! The layers are put on as a jail's first process does it, by the same code ([`init::start`]), and
//! the program is the self-test. What a jail always has is on in every case: no capabilities, no new
//! privileges, no descriptors but three.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use keepgate::jail::lists::FOREIGN;
use keepgate::jail::probe::{Facts, Findings};
use keepgate::sys::exec::Limit;
use keepgate::sys::filter::{Clone3, Filter};
use keepgate::sys::init::{self, Executable, Program};
use keepgate::sys::mounts;
use keepgate::sys::network::Home;
use keepgate::wire::frame;
use keepgate::wire::manifest::{Class, Manifest};
use landlock::{
    ABI, Access, AccessFs, AccessNet, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, Scope,
};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, bind, socket};
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout};

use super::driver::JAIL_UID;
use super::layers::{ANYTHING, parsed, program};

/// Bytes and files of each private directory.
const ROOM: (u64, u64) = (1 << 20, 64);

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layer {
    Mounts,
    Network,
    Ruleset,
    Filter,
    Uid,
    Limits,
}

/// A jail without a manifest's directories.
fn facts() -> Facts {
    Facts {
        manifest: Manifest::of(Class::Foreign),
        uid: Some(JAIL_UID),
        scoped: true,
    }
}

/// Reads everything, changes what is private, and has no port.
fn ruleset() -> OwnedFd {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let all = AccessFs::from_all(ABI::V6);
    let ruleset = Ruleset::default().handle_access(all).unwrap();
    let ruleset = ruleset.handle_access(AccessNet::from_all(ABI::V6)).unwrap();
    let ruleset = ruleset.scope(Scope::from_all(ABI::V6)).unwrap();
    let mut ruleset = ruleset.create().unwrap();
    for (path, rights) in [("/", read), ("/tmp", all & !AccessFs::Execute)] {
        let rule = PathBeneath::new(PathFd::new(path).unwrap(), rights);
        ruleset = ruleset.add_rule(rule).unwrap();
    }
    Option::from(ruleset).unwrap()
}

/// The manifest's, as rlimits.
fn limits() -> [Limit; 3] {
    let limits = facts().manifest.limits;
    let hard = |resource, value| (resource, value, value);
    [
        hard(libc::RLIMIT_DATA, limits.memory),
        hard(libc::RLIMIT_FSIZE, limits.file),
        hard(libc::RLIMIT_NOFILE, limits.descriptors),
    ]
}

/// Nothing of the host is in sight but processes.
fn new_root() {
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
    mounts::new_root(ROOM.1, || {
        for place in ["tmp", "dev/shm", "proc"] {
            fs::create_dir_all(place).unwrap();
        }
        for place in ["tmp", "dev/shm"] {
            mounts::memory(place, ROOM.0, ROOM.1, 0o1777).unwrap();
        }
        mounts::proc("proc", false).unwrap();
        Ok(())
    })
    .unwrap();
}

/// What gets through where there is this layer and no other.
fn through(layer: Option<Layer>) -> BTreeSet<String> {
    // A thread has descriptors, a root and namespaces of its own, where it asks for them.
    let found = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_FILES | CloneFlags::CLONE_FS).unwrap();
        told(layer)
    });
    let Findings { succeeded, .. } = parsed(&found.join().unwrap());
    succeeded.into_iter().collect()
}

fn told(layer: Option<Layer>) -> String {
    let is = |one| layer == Some(one);
    let mut input = tempfile::tempfile().unwrap();
    let facts = serde_json::to_vec(&facts()).unwrap();
    input.write_all(&facts).unwrap();
    input.rewind().unwrap();
    let (mut read, write) = std::io::pipe().unwrap();
    let (program, null) = (program(), File::open("/dev/null").unwrap());
    if is(Layer::Network) {
        let network = Home::here().unwrap().fresh().unwrap();
        setns(network, CloneFlags::CLONE_NEWNET).unwrap();
    }
    let (ruleset, listener) = (is(Layer::Ruleset).then(ruleset), frame::pair().unwrap());
    if is(Layer::Mounts) {
        new_root();
    }
    dup2_stdin(&input).unwrap();
    dup2_stdout(&write).unwrap();
    dup2_stderr(&null).unwrap();
    let rules = if is(Layer::Filter) { FOREIGN } else { ANYTHING };
    let limits = limits();
    let started = init::start(&Program {
        file: Executable::Open(program.as_fd()),
        directory: c"/",
        argv: &[c"keepgate-tool", c"self-test"],
        env: &[],
        uid: is(Layer::Uid).then_some(JAIL_UID),
        limits: if is(Layer::Limits) { &limits } else { &[] },
        ruleset: ruleset.as_ref().map(AsFd::as_fd),
        filter: &Filter::compile(&[rules], Clone3::Missing).unwrap(),
        listener: listener.1.as_fd(),
    });
    // Its end is that of its output: who waits as a first process does, waits for the children of
    // all tests.
    let _started = started.unwrap();
    dup2_stdout(&null).unwrap();
    drop(write);
    let mut text = String::new();
    read.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn each_layer_of_a_foreign_jail_alone_stops_what_gets_through_without_it() {
    // Somebody's, which a network of its own has not.
    let family = (AddressFamily::Unix, SockType::Stream);
    let anybodys = socket(family.0, family.1, SockFlag::SOCK_CLOEXEC, None).unwrap();
    let name = format!("keepgate-layers-{}", std::process::id());
    let name = UnixAddr::new_abstract(name.as_bytes()).unwrap();
    bind(anybodys.as_raw_fd(), &name).unwrap();
    let none = through(None);
    for (layer, stops) in [
        (
            Layer::Mounts,
            &[
                "fs_outside_root",
                "fs_outside_state",
                "fs_outside_machine",
                "fs_read_shadow",
                "fs_write_passwd",
                "proc_kallsyms",
                "st_mounts_setuid",
                "st_mounts_written_and_run",
                "lim_disk_private",
            ][..],
        ),
        (Layer::Network, &["unix_abstract_namespace"]),
        (
            Layer::Ruleset,
            &[
                "net_bind",
                "net_connect_loopback",
                "fs_write_passwd",
                "proc_write_own_mem",
                "exec_private",
                "sig_first",
            ],
        ),
        (
            Layer::Filter,
            &[
                "net_udp6",
                "fs_setuid_private",
                "ptrace",
                "ipc_sysv_shm_new",
                "st_setuid",
                "net_option_fastopen_client",
            ],
        ),
        (
            Layer::Uid,
            &["fs_write_passwd", "fs_read_shadow", "st_setuid_root"],
        ),
        (
            Layer::Limits,
            &["lim_memory_all", "lim_file", "lim_fds_next"],
        ),
    ] {
        let alone = through(Some(layer));
        for name in stops {
            assert!(
                none.contains(*name),
                "`{name}` fails without {layer:?}: {none:?}"
            );
            assert!(
                !alone.contains(*name),
                "{layer:?} alone lets `{name}` through"
            );
        }
    }
}
