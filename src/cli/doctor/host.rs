//! The kernel and what surrounds it.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::Check;
use crate::jail::NO_CGROUPS;
use crate::jail::cgroup::{Controllers, NO_MOUNT, VERSION_1, host};
use crate::jail::profile::refused_namespaces;
use crate::supervisor::DESCRIPTORS;
use crate::sys::process::{descriptors, landlock_abi};
use crate::time::{Clock, SystemClock, Timestamp};

/// The kernel whose Landlock has ABI 6.
const KERNEL: (u32, u32) = (6, 12);
/// Landlock that closes signals and abstract sockets.
const ABI: i32 = 6;
/// Bytes of a program that hold its headers.
const HEADERS: u64 = 64 << 10;

pub(super) fn all(accepted: &[String], root: bool) -> Vec<Check> {
    vec![
        kernel(&nix::sys::utsname::uname().map_or_else(
            |_| String::new(),
            |name| name.release().to_string_lossy().into_owned(),
        )),
        landlock(landlock_abi(), accepted),
        seccomp(&read("/proc/sys/kernel/seccomp/actions_avail")),
        namespaces(root),
        groups(root, &kept_groups()),
        cgroup(host(), accepted),
        open_files(descriptors().map_or(0, |(_, hard)| hard)),
        clock(SystemClock.now()),
        synchronised(),
        swap(&read("/proc/swaps")),
        core(&read("/proc/sys/kernel/core_pattern")),
        journal(),
        program(),
    ]
}

fn read(path: &str) -> String {
    fs::read_to_string(path)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

fn kernel(release: &str) -> Check {
    let why = "from 6.12 on, Landlock keeps a jail from signals and abstract sockets outside of it";
    let mut numbers = release
        .split(['.', '-'])
        .map(|number| number.parse().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    Check::new("host.kernel", why, release)
        .warn_unless(version >= KERNEL, "boot a kernel of 6.12 or later")
}

fn landlock(abi: i32, accepted: &[String]) -> Check {
    let why = "Landlock is the layer of a jail that files and scopes depend on";
    let check = Check::new("host.landlock", why, format!("ABI {abi}"));
    match abi {
        ABI.. => check,
        1.. => check.fail_unless(
            accepted,
            "landlock-abi-below-6",
            "boot a kernel of 6.12 or later, or put `landlock-abi-below-6` into `accept`",
        ),
        _ => check.fail("boot with `landlock` in the kernel's `lsm=` list"),
    }
}

fn seccomp(actions: &str) -> Check {
    let why = "seccomp is the layer of a jail that closes system calls";
    let has = |name: &str| {
        actions
            .split_ascii_whitespace()
            .any(|action| action == name)
    };
    let good = has("kill_process") && has("errno");
    let found = if good {
        "filters, with kill_process"
    } else {
        "not there"
    };
    Check::new("host.seccomp", why, found).unless(good, "use a kernel with CONFIG_SECCOMP_FILTER")
}

/// Groups of this user beside the first.
fn kept_groups() -> Vec<u32> {
    let own = nix::unistd::getegid();
    let all = nix::unistd::getgroups().unwrap_or_default();
    all.into_iter()
        .filter(|gid| *gid != own)
        .map(nix::unistd::Gid::as_raw)
        .collect()
}

/// A user namespace of an ordinary user cannot give groups up (user_namespaces(7), "setgroups").
fn groups(root: bool, kept: &[u32]) -> Check {
    let why = "without root a program in a jail stays in your groups: they count for the files of \
               the paths it is shown";
    let numbers: Vec<String> = kept.iter().map(u32::to_string).collect();
    let found = match (root, kept) {
        (true, _) => "jails have none but their own".into(),
        (false, []) => "none beside your own".into(),
        (false, _) => format!("jails keep yours: {}", numbers.join(", ")),
    };
    Check::new("host.groups", why, found).warn_unless(
        root || kept.is_empty(),
        "show jails no paths where those groups may do what a jail should not; start Keepgate as \
         root, or as a user without further groups",
    )
}

fn namespaces(root: bool) -> Check {
    let why = "without root, jails are made in a user namespace";
    let id = "host.namespaces";
    if root {
        return Check::new(id, why, "not needed: this is root");
    }
    match refused_namespaces() {
        Some(setting) if setting.contains('=') => Check::new(id, why, "refused to users").fail(
            format!("sudo sysctl {setting}, or run `keepgate serve` as root"),
        ),
        Some(kernel) => Check::new(id, why, "not in this kernel")
            .fail(format!("use {kernel}, or run `keepgate serve` as root")),
        None => Check::new(id, why, "allowed to users"),
    }
}

/// What the host could give; what a running plane has of it is another check.
fn cgroup(found: Option<(PathBuf, Controllers)>, accepted: &[String]) -> Check {
    let why = "without cgroup controllers, memory, processes and CPU time are limited for each \
               process of a jail (rlimits), and many of them add up: nothing is served then, unless \
               that is accepted";
    let check = |found: String| Check::new("host.cgroup", why, found);
    let accepted = accepted.iter().any(|name| name == NO_CGROUPS);
    let (check, mend) = match found {
        None => (check("no cgroup2 is mounted".into()), NO_MOUNT),
        Some((point, controllers)) if controllers.all() => {
            let names = controllers.names().join(", ");
            return check(format!("cgroup2 at {} with {names}", point.display()));
        }
        Some((point, controllers)) => {
            let missing = controllers.missing().join(", ");
            let found = format!("cgroup2 at {} without {missing}", point.display());
            (check(found), VERSION_1)
        }
    };
    if accepted {
        let found = format!("{} (accepted)", check.found);
        return Check { found, ..check };
    }
    check.fail(format!("{mend}; or put `{NO_CGROUPS}` into `accept`"))
}

/// Of this process; the supervisor's may be another where it was started another way.
fn open_files(hard: u64) -> Check {
    let why = "with many agents connected, a role that may open too few descriptors refuses some";
    Check::new("host.open-files", why, format!("at most {hard}")).warn_unless(
        hard >= DESCRIPTORS,
        format!("start `keepgate serve` where `ulimit -Hn` is {DESCRIPTORS} or more; in a unit: LimitNOFILE={DESCRIPTORS}"),
    )
}

fn clock(now: Timestamp) -> Check {
    let why = "entries carry the time; certificates are checked against it";
    // 2026-01-01 and 2100-01-01.
    let good = (1_767_225_600..4_102_444_800).contains(&(now.as_micros() / 1_000_000));
    Check::new(
        "host.clock",
        why,
        now.to_string().get(..19).unwrap_or_default().to_owned(),
    )
    .unless(
        good,
        "set the clock: timedatectl set-time, or start a time service",
    )
}

fn synchronised() -> Check {
    let why = "a clock that drifts makes entries hard to match with those of other systems";
    let kept = [
        "/run/systemd/timesync/synchronized",
        "/run/chrony/chronyd.pid",
        "/run/chronyd.pid",
        "/run/ntpd.pid",
    ];
    let kept = kept.into_iter().find(|path| Path::new(path).exists());
    let found = kept.map_or("no time service is seen".into(), |path| {
        format!("kept ({path})")
    });
    Check::new("host.time-service", why, found).warn_unless(
        kept.is_some(),
        "apt-get install systemd-timesyncd, or chrony",
    )
}

fn swap(swaps: &str) -> Check {
    let why = "what is swapped out stays on the disk: arguments, results, keys";
    let plain: Vec<&str> = swaps
        .lines()
        .skip(1)
        .filter_map(|line| line.split_ascii_whitespace().next())
        .filter(|device| !device.starts_with("/dev/zram") && !device.starts_with("/dev/dm-"))
        .collect();
    let found = if plain.is_empty() {
        "none on a plain disk".into()
    } else {
        plain.join(", ")
    };
    Check::new("host.swap", why, found)
        .warn_unless(plain.is_empty(), "swapoff -a, or use encrypted swap")
}

fn core(pattern: &str) -> Check {
    let why = "roles and jails never dump; a piped handler would still get agents' own cores";
    Check::new("host.core-pattern", why, pattern).warn_unless(
        !pattern.starts_with("|/usr/share/apport"),
        "systemctl disable --now apport",
    )
}

fn journal() -> Check {
    let why = "diagnostics with searchable fields: journalctl KEEPGATE_PLANE=production";
    let there = Path::new("/run/systemd/journal/socket").exists();
    let found = if there {
        "the journal takes diagnostics"
    } else {
        "none: standard error is used"
    };
    Check::new("host.journal", why, found).warn_unless(
        there,
        "start systemd-journald, or collect standard error of `keepgate serve`",
    )
}

fn program() -> Check {
    let why = "a dynamic program loads libraries from the host, in every role and jail";
    let mut head = Vec::new();
    let read =
        fs::File::open("/proc/self/exe").and_then(|f| f.take(HEADERS).read_to_end(&mut head));
    let interpreter = read.ok().and_then(|_| interpreted(&head));
    let found = match interpreter {
        Some(false) => "static",
        Some(true) => "dynamic",
        None => "not readable",
    };
    Check::new("host.program", why, found)
        .warn_unless(interpreter == Some(false), "build it with scripts/build")
}

/// Whether a 64-bit little-endian ELF program asks for an interpreter (`PT_INTERP`, elf(5)).
fn interpreted(head: &[u8]) -> Option<bool> {
    const PT_INTERP: u32 = 3;
    let short = |at: usize| {
        Some(u16::from_le_bytes(
            head.get(at..at.checked_add(2)?)?.try_into().ok()?,
        ))
    };
    if head.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let offset = u64::from_le_bytes(head.get(32..40)?.try_into().ok()?);
    let (size, count) = (usize::from(short(54)?), usize::from(short(56)?));
    let start = usize::try_from(offset).ok()?;
    for index in 0..count {
        let at = start.checked_add(index.checked_mul(size)?)?;
        let kind = u32::from_le_bytes(head.get(at..at.checked_add(4)?)?.try_into().ok()?);
        if kind == PT_INTERP {
            return Some(true);
        }
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn kernels_are_compared_by_number() {
        assert_eq!(kernel("6.12.0-1-amd64").verdict, Verdict::Ok);
        assert_eq!(kernel("7.0").verdict, Verdict::Ok);
        assert_eq!(kernel("6.9.3").verdict, Verdict::Warn);
        assert_eq!(kernel("odd").verdict, Verdict::Warn);
    }

    #[test]
    fn controllers_that_the_host_has_not_are_named() {
        let at = |text| Some(("/x".into(), Controllers::parse(text)));
        let accept = [NO_CGROUPS.to_owned()];
        let check = cgroup(at("memory pids cpu io"), &[]);
        assert_eq!(check.verdict, Verdict::Ok);
        assert_eq!(check.found, "cgroup2 at /x with memory, pids, cpu");
        let check = cgroup(at("pids"), &[]);
        assert_eq!(check.verdict, Verdict::Fail);
        assert_eq!(check.found, "cgroup2 at /x without memory, cpu");
        assert!(check.mend.unwrap().contains("cgroup_no_v1=all"));
        let check = cgroup(at(""), &accept);
        assert_eq!((check.verdict, check.mend), (Verdict::Ok, None));
        assert!(cgroup(None, &[]).mend.unwrap().starts_with("mount "));
    }

    #[test]
    fn missing_layers_fail_unless_accepted() {
        assert_eq!(landlock(7, &[]).verdict, Verdict::Ok);
        assert_eq!(landlock(4, &[]).verdict, Verdict::Fail);
        assert_eq!(
            landlock(4, &["landlock-abi-below-6".into()]).verdict,
            Verdict::Warn
        );
        assert_eq!(
            landlock(0, &["landlock-abi-below-6".into()]).verdict,
            Verdict::Fail
        );
        assert_eq!(
            seccomp("kill_process kill_thread errno").verdict,
            Verdict::Ok
        );
        assert_eq!(seccomp("").verdict, Verdict::Fail);
    }

    #[test]
    fn few_descriptors_are_told() {
        assert_eq!(open_files(DESCRIPTORS).verdict, Verdict::Ok);
        assert_eq!(open_files(4096).verdict, Verdict::Warn);
    }

    #[test]
    fn a_clock_of_another_century_fails() {
        assert_eq!(clock(Timestamp::from_micros(0)).verdict, Verdict::Fail);
        assert_eq!(clock(SystemClock.now()).verdict, Verdict::Ok);
    }

    #[test]
    fn only_plain_swap_is_worth_a_word() {
        let head = "Filename Type Size Used Priority\n";
        assert_eq!(swap(head).verdict, Verdict::Ok);
        assert_eq!(
            swap(&format!("{head}/dev/zram0 partition 1 0 1")).verdict,
            Verdict::Ok
        );
        assert_eq!(
            swap(&format!("{head}/dev/sda2 partition 1 0 1")).verdict,
            Verdict::Warn
        );
    }

    #[test]
    fn programs_are_told_apart() {
        let this = fs::read("/proc/self/exe").unwrap();
        assert_eq!(
            interpreted(&this),
            Some(false),
            "tests are linked like the product: static"
        );
        let mut dynamic = this.clone();
        let at = usize::try_from(u64::from_le_bytes(dynamic[32..40].try_into().unwrap())).unwrap();
        dynamic[at..at + 4].copy_from_slice(&3_u32.to_le_bytes());
        assert_eq!(interpreted(&dynamic), Some(true));
        assert_eq!(interpreted(b"#!/bin/sh"), None);
    }
}
