//! The self-test's own test: without a jail its probe reports what gets through, and each layer of
//! the jail alone stops some of it.

use std::fs::{File, Permissions};
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use keepgate::jail::limits::ToolLimits;
use keepgate::jail::probe::{Facts, Findings};
use keepgate::sys::filter::{Clone3, Filter};
use keepgate::sys::jail::{Native, Template, own_pidfd};
use keepgate::wire::manifest::{Class, Manifest};
use landlock::{ABI, Access, AccessFs, Ruleset, RulesetAttr};

use nix::sys::memfd::{MFdFlags, memfd_create};

use super::driver::JAIL_UID;

/// What the product's tools may ask of the kernel.
const TOOL: &str = include_str!("../../../src/jail/seccomp/tool.json");
/// A filter that lets everything through but calls of other ABIs.
pub(super) const ANYTHING: &str = r#"{"anything": {
    "mismatch_action": "allow", "match_action": "kill_process", "filter": []
}}"#;

/// What a probe said.
fn findings(mut output: File) -> Findings {
    let mut text = String::new();
    output.rewind().unwrap();
    output.read_to_string(&mut text).unwrap();
    parsed(&text)
}

/// The same, as it was read.
pub(super) fn parsed(text: &str) -> Findings {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: `{text}`"))
}

#[test]
fn the_same_probe_without_a_jail_gets_through() {
    let output = tempfile::tempfile().unwrap();
    let status = Command::new(crate::harness::binary())
        .arg0("keepgate-tool")
        .arg("self-test")
        .stdin(tempfile::tempfile().unwrap())
        .stdout(output.try_clone().unwrap())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(1));
    let found = findings(output);
    assert_eq!(found.broken, [""; 0]);
    let attempted = usize::try_from(found.attempted).unwrap();
    let through = &found.succeeded;
    assert!(through.len() * 100 > attempted * 80, "{through:?}");
}

#[test]
fn the_probe_of_foreign_jails_gets_through_without_one() {
    let facts = Facts {
        manifest: Manifest::of(Class::Foreign),
        uid: Some(JAIL_UID),
        scoped: true,
    };
    let (mut input, output) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
    input
        .write_all(&serde_json::to_vec(&facts).unwrap())
        .unwrap();
    input.rewind().unwrap();
    let status = Command::new(crate::harness::binary())
        .arg0("keepgate-tool")
        .arg("self-test")
        .stdin(input)
        .stdout(output.try_clone().unwrap())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(1));
    let found = findings(output);
    let through = &found.succeeded;
    // Many ask for kinds of sockets and devices that no machine has all of.
    assert!(
        through.len() * 100 > found.attempted as usize * 60,
        "{through:?}"
    );
    for name in [
        "fs_write_passwd",
        "fs_setuid_private",
        "exec_private",
        "proc_write_own_mem",
        "net_udp6",
        "net_bind",
        "net_connect_loopback",
        "net_listen_unbound",
        "net_option_fastopen_client",
        "st_seccomp_off",
        "st_caps_effective",
        "st_identity",
        "st_mounts_written_and_run",
        "lim_memory_all",
        "mem_file",
        "mem_zero",
        "unix_socket",
        "env_secret",
        "abi_i386_int80",
    ] {
        assert!(
            through.iter().any(|one| one == name),
            "`{name}` should get through: {through:?}"
        );
    }
}

/// The layers of a jail that can be left out.
#[derive(Debug, Clone, Copy, Default)]
struct Layers {
    filter: bool,
    ruleset: bool,
    uid: bool,
}

/// A Landlock ruleset without a rule.
fn nothing() -> Option<OwnedFd> {
    let all = AccessFs::from_all(ABI::V6);
    let ruleset = Ruleset::default().handle_access(all).unwrap();
    ruleset.create().unwrap().into()
}

/// The product as a memory file that cannot be read, as a jailer makes it.
pub(super) fn program() -> OwnedFd {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::from_bits_retain(libc::MFD_EXEC);
    let mut memory = File::from(memfd_create("program", flags).unwrap());
    let mut binary = File::open(crate::harness::binary()).unwrap();
    std::io::copy(&mut binary, &mut memory).unwrap();
    let unreadable = Permissions::from_mode(0o111);
    memory.set_permissions(unreadable).unwrap();
    memory.into()
}

/// What gets through a jail of these layers, in the host's file system and network.
fn through(layers: Layers) -> Vec<String> {
    let rules = if layers.filter { TOOL } else { ANYTHING };
    let template = Template {
        parent: own_pidfd().unwrap(),
    };
    let limits = ToolLimits {
        cpu_s: 5,
        memory: 512 << 20,
        file: 1 << 20,
    };
    let (input, output) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
    let fds = [input.as_fd(), output.as_fd(), output.as_fd()];
    let program = program();
    let ruleset = layers.ruleset.then(nothing).flatten();
    let jail = Native {
        program: program.as_fd(),
        ruleset: ruleset.as_ref().map(AsFd::as_fd),
        argv: &[c"keepgate-tool", c"self-test"],
        fds: &fds,
        filter: &Filter::compile(&[rules], Clone3::Missing).unwrap(),
        limits: &limits.all(),
        uid: layers.uid.then_some(JAIL_UID),
        listener: None,
        cgroup: None,
        first: None,
    };
    let jailed = template.spawn(&jail).unwrap();
    jailed.wait().unwrap();
    let found = findings(output);
    assert_eq!(found.broken, [""; 0], "{layers:?}");
    found.succeeded
}

#[test]
fn each_layer_alone_stops_what_gets_through_without_it() {
    let none = Layers::default();
    let uid = Layers { uid: true, ..none };
    let both = Layers {
        ruleset: true,
        ..uid
    };
    let filter = Layers {
        filter: true,
        ..none
    };
    // Root, though without a capability, owns much of a host; anybody may read some of it; and
    // calls that touch no file are for the filter alone to stop.
    let roots = ["fs_read_shadow", "fs_list_home", "fs_write_etc"];
    let anybodys = ["fs_read_passwd", "fs_list_root", "fs_write_tmp"];
    let calls = ["fs_stat", "net_udp", "ptrace", "mem_write_exec", "sys_bpf"];
    for (layers, stopped, left) in [
        (none, &[][..], &[&roots[..], &anybodys, &calls][..]),
        (uid, &[&roots[..]], &[&anybodys, &calls]),
        (both, &[&roots, &anybodys], &[&calls]),
        (filter, &[&roots, &anybodys, &calls], &[]),
    ] {
        let through = through(layers);
        let gets = |name: &&str| through.iter().any(|one| one == name);
        let stopped = stopped.iter().copied().flatten().find(|name| gets(name));
        assert_eq!(stopped, None, "{layers:?} let it through");
        let left = left.iter().copied().flatten().find(|name| !gets(name));
        assert_eq!(left, None, "{layers:?} stopped it: another layer is tested");
    }
    // Not even the host's files and network about it are of use to a jail.
    let all = Layers {
        filter: true,
        ..both
    };
    assert_eq!(through(all), [""; 0]);
}
