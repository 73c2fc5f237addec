//! The lists of system calls: that the compiled filters say what the lists say, that no rule is
//! spare, and that what the lists are for works under them.

mod generic;
mod programs;
mod rules;
mod spare;
mod used;

use keepgate::sys::filter::{Clone3, Filter, Verdict};

use rules::{List, NUMBERS, number, variations};

macro_rules! list {
    ($name:literal) => {
        include_str!(concat!("../../../src/jail/seccomp/", $name, ".json"))
    };
}

/// A list by name: its texts, and what `clone3` gets.
type Named = (&'static str, &'static [&'static str], Clone3);

/// Where the first process of a native jail is Keepgate's own program.
const OWN_FIRST: &str = "first, of our own program";

/// Every filter there is, as the product puts them together.
const LISTS: [Named; 14] = [
    ("tool", &[list!("tool")], Clone3::Missing),
    (
        "native-generic",
        &[list!("native-generic")],
        Clone3::Missing,
    ),
    ("foreign", &[list!("foreign")], Clone3::Missing),
    (
        "keeper",
        &[list!("common"), list!("keeper")],
        Clone3::Missing,
    ),
    ("jailer", &[list!("common"), list!("jailer")], Clone3::Ruled),
    ("front", &[list!("common"), list!("front")], Clone3::Missing),
    (
        "egress",
        &[list!("common"), list!("egress")],
        Clone3::Missing,
    ),
    ("hostile", &[list!("hostile")], Clone3::Ruled),
    ("supervisor", &[list!("supervisor")], Clone3::Ruled),
    (
        "tool, observed",
        &[list!("tool"), list!("observed")],
        Clone3::Missing,
    ),
    ("first", &[list!("first")], Clone3::Missing),
    (OWN_FIRST, &[list!("tool"), list!("first")], Clone3::Missing),
    (
        "foreign, with its own loopback",
        &[list!("foreign"), list!("local")],
        Clone3::Missing,
    ),
    (
        "native-generic, observed",
        &[list!("native-generic"), list!("observed")],
        Clone3::Missing,
    ),
];

#[test]
fn every_filter_says_what_its_list_says() {
    // Some rules of one of these are narrower than those of another.
    let joined: Named = (
        "jailer of generic programs",
        &[list!("common"), list!("jailer"), list!("native-generic")],
        Clone3::Ruled,
    );
    for (name, texts, clone3) in LISTS.into_iter().chain([joined]) {
        let list = List::read(texts);
        let filter = Filter::compile(texts, clone3).unwrap();
        let calls = list.by_call();
        let mut allowed = 0;
        for number in 0..NUMBERS {
            let call = i32::try_from(number)
                .ok()
                .and_then(keepgate::sys::calls::name);
            let rules = call.and_then(|call| calls.get(call)).map(Vec::as_slice);
            for arguments in variations(rules.unwrap_or_default()) {
                let expected = match (call, clone3) {
                    (Some("clone3"), Clone3::Missing) => Verdict::Errno(38),
                    (Some("mremap"), _) if rules.is_none() => Verdict::Errno(12),
                    _ => list.says(number, arguments),
                };
                let said = filter.answer(number, arguments);
                assert_eq!(said, expected, "{name}: {call:?} ({number}) {arguments:x?}");
                allowed += usize::from(said == Verdict::Allow);
            }
        }
        assert!(allowed > 0, "{name} allows nothing");
        for number in [0x4000_0000, 0x4000_003b, 0x4000_0208, u32::MAX] {
            assert_eq!(filter.answer(number, [0; 6]), Verdict::Kill, "{name}");
        }
    }
}

/// A jail has its jailer's list beside its own.
#[test]
fn what_a_jail_may_its_jailer_may() {
    let (tools, generic): (&[&str], &[&str]) = (
        &[list!("common"), list!("jailer")],
        &[list!("common"), list!("jailer"), list!("native-generic")],
    );
    let jails: [(&[&str], &[&str]); 4] = [
        (tools, &[list!("tool")]),
        (tools, &[list!("tool"), list!("ready")]),
        (generic, &[list!("native-generic")]),
        (generic, &[list!("first")]),
    ];
    for (jailers, texts) in jails {
        let jailer = Filter::compile(jailers, Clone3::Ruled).unwrap();
        let jail = Filter::compile(texts, Clone3::Missing).unwrap();
        let calls = List::read(texts);
        for (call, rules) in calls.by_call() {
            for arguments in variations(&rules) {
                let says = |filter: &Filter| filter.answer(number(call), arguments);
                let allowed = says(&jail) == Verdict::Allow;
                assert!(
                    !allowed || says(&jailer) == Verdict::Allow,
                    "{call} {arguments:x?} is cut off"
                );
            }
        }
    }
}

#[test]
fn an_observed_filter_asks_exactly_where_the_plain_one_refuses() {
    for (name, texts, clone3) in &LISTS[..3] {
        let list = List::read(texts);
        let calls = list.by_call();
        let plain = Filter::compile(texts, *clone3).unwrap();
        let observed = Filter::observed(texts, *clone3).unwrap();
        for number in 0..NUMBERS {
            let call = i32::try_from(number)
                .ok()
                .and_then(keepgate::sys::calls::name);
            let rules = call.and_then(|call| calls.get(call)).map(Vec::as_slice);
            for arguments in variations(rules.unwrap_or_default()) {
                let said = plain.answer(number, arguments);
                let refused = said == Verdict::Errno(1);
                let expected = if refused { Verdict::Ask } else { said };
                assert_eq!(
                    observed.answer(number, arguments),
                    expected,
                    "{name} {call:?}"
                );
            }
        }
    }
}

/// What a foreign jail must be refused whatever else changes: written down once more, by hand.
#[test]
fn the_foreign_list_refuses_what_is_known_to_lead_out() {
    let filter = Filter::compile(LISTS[2].1, Clone3::Missing).unwrap();
    let says = |call: &str, arguments: &[u64]| {
        let mut all = [0; 6];
        all[..arguments.len()].copy_from_slice(arguments);
        filter.answer(number(call), all) == Verdict::Allow
    };
    let (set_uid, set_gid) = (0o4000, 0o2000);
    for bits in [set_uid, set_gid, set_uid | set_gid] {
        for (call, at) in [
            ("chmod", 1),
            ("fchmod", 1),
            ("fchmodat", 2),
            ("open", 2),
            ("openat", 3),
            ("creat", 1),
            ("mkdir", 1),
            ("mkdirat", 2),
            ("mknod", 1),
            ("mknodat", 2),
        ] {
            let mut arguments = [0; 6];
            arguments[at] = 0o10_755;
            assert!(says(call, &arguments), "{call}");
            arguments[at] |= bits;
            assert!(!says(call, &arguments), "{call} {bits:o}");
            // Only the lower 16 bits count for the kernel.
            arguments[at] |= 1 << 40;
            assert!(!says(call, &arguments), "{call} {bits:o}");
        }
    }
    let (stream, dgram, raw) = (1, 2, 3);
    for (allowed, arguments) in [
        (true, [2, stream, 0]),
        (true, [10, stream | 0o2_004_000, 6]),
        // A name of a service's.
        (false, [1, stream, 0]),
        (false, [1, dgram, 0]),
        (false, [1, 5, 0]),
        // MPTCP, which Landlock does not see.
        (false, [2, stream, 262]),
        (false, [10, stream, 262]),
        (false, [2, dgram, 0]),
        (false, [2, dgram, 17]),
        (false, [2, raw, 1]),
        (false, [10, raw, 58]),
        (false, [16, raw, 0]),
        (false, [17, raw, 0]),
        (false, [38, 5, 0]),
        (false, [40, stream, 0]),
        (false, [2, stream | 1 << 20, 0]),
    ] {
        assert_eq!(says("socket", &arguments), allowed, "{arguments:?}");
    }
    // TCP Fast Open, by flag and by option.
    for (call, at) in [("sendto", 3), ("sendmsg", 2), ("sendmmsg", 3)] {
        let mut arguments = [0; 6];
        arguments[at] = 0x4000;
        assert!(says(call, &arguments), "{call}");
        arguments[at] |= 0x2000_0000;
        assert!(!says(call, &arguments), "{call}");
    }
    assert!(says("setsockopt", &[3, 6, 1]) && !says("setsockopt", &[3, 6, 30]));
    for namespace in [
        0x2_0000,
        0x200_0000,
        0x400_0000,
        0x800_0000,
        1 << 28,
        1 << 29,
        1 << 30,
    ] {
        assert!(says("clone", &[17]) && !says("clone", &[17 | namespace]));
    }
    assert!(says("ioctl", &[0, 0x5401]) && says("execveat", &[5, 0, 0, 0, 0x100]));
    for (call, arguments) in [
        ("ioctl", &[0, 0x5412][..]),
        ("ioctl", &[0, 0x1_0000_5412]),
        ("ioctl", &[0, 0x1_0000_5401]),
        ("ioctl", &[0, 0x541c]),
        ("ioctl", &[0, 0x540e]),
        ("fcntl", &[0, 8]),
        ("fcntl", &[0, 10]),
        ("fcntl", &[0, 15]),
        ("fcntl", &[0, 1024]),
        ("fcntl", &[0, 1026]),
        ("prctl", &[4, 1]),
        ("prctl", &[22, 2]),
        ("prctl", &[35]),
        ("prctl", &[0x5961_6d61]),
        ("prlimit64", &[1]),
        ("execveat", &[5, 0, 0, 0, 0x1000]),
        ("socketpair", &[1, 2]),
        // Memory that no limit of a process counts.
        ("setsockopt", &[3, 1, 7]),
        ("setsockopt", &[3, 1, 8]),
        ("mremap", &[]),
        ("mmap", &[0, 4096, 3, 0x21]),
        ("mmap", &[0, 4096, 1, 0x23]),
        ("mmap", &[0, 4096, 3, 0x122]),
        ("mmap", &[0, 4096, 3, 0x101]),
        ("memfd_create", &[0, 8]),
        ("memfd_create", &[0, 0]),
        ("memfd_create", &[0, 16]),
        ("mknod", &[0, 0o20_666]),
        ("renameat2", &[0, 0, 0, 0, 4]),
        ("seccomp", &[1]),
        ("arch_prctl", &[0x1001]),
        ("setpriority", &[0, 1]),
        ("setpriority", &[2, 0]),
        ("sched_setscheduler", &[0, 1]),
    ] {
        assert!(!says(call, arguments), "{call} {arguments:x?}");
    }
    for call in [
        "ptrace",
        "process_vm_readv",
        "process_vm_writev",
        "pidfd_getfd",
        "kcmp",
        "bpf",
        "perf_event_open",
        "userfaultfd",
        "io_uring_setup",
        "io_uring_enter",
        "keyctl",
        "add_key",
        "request_key",
        "mount",
        "umount2",
        "open_tree",
        "move_mount",
        "fsopen",
        "mount_setattr",
        "unshare",
        "setns",
        "chroot",
        "pivot_root",
        "name_to_handle_at",
        "open_by_handle_at",
        "shmget",
        "semget",
        "msgget",
        "mq_open",
        "personality",
        "modify_ldt",
        "quotactl",
        "acct",
        "syslog",
        "swapon",
        "reboot",
        "kexec_load",
        "init_module",
        "clock_settime",
        "adjtimex",
        "mbind",
        "move_pages",
        "vmsplice",
        "setuid",
        "setresuid",
        "setgroups",
        "capset",
        "sethostname",
        "openat2",
        "fchmodat2",
        "clone3",
        "landlock_create_ruleset",
        "memfd_secret",
        "process_madvise",
        "fanotify_init",
        "iopl",
        "ioperm",
    ] {
        assert!(!says(call, &[]), "{call}");
    }
}
