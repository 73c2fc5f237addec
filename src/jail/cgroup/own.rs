//! Where cgroup2 is mounted and which cgroup is ours: from `/proc`, never from a fixed path, because
//! hosts that still have version 1 mount version 2 somewhere else.

use std::fs;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use super::controllers::Controllers;
use super::delegate::Lack;

/// Mends what a missing delegation takes away from a service.
pub const UNIT: &str =
    "run it as a unit with `Delegate=memory pids cpu`, as in systemd/keepgate.service";
/// The same for an ordinary user.
const USER: &str = "systemd-run --user --scope -p \"Delegate=memory pids cpu\" keepgate serve";
/// Mends a host whose controllers are bound to cgroup version 1.
pub const VERSION_1: &str = "boot with `cgroup_no_v1=all systemd.unified_cgroup_hierarchy=1`";
/// Mends a host without cgroup2.
pub const NO_MOUNT: &str = "mount -t cgroup2 cgroup2 /sys/fs/cgroup";

/// A mounted cgroup2 hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mount {
    /// The cgroup that is mounted, as this process' cgroup namespace names it.
    root: PathBuf,
    /// Where.
    point: PathBuf,
}

/// This process' own cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Own {
    /// Its directory.
    pub(super) path: PathBuf,
    /// The top of the hierarchy that can be seen.
    pub(super) top: PathBuf,
}

/// The first cgroup2 mount, and what its top has controllers for; `None` where there is none.
pub fn host() -> Option<(PathBuf, Controllers)> {
    let mount = mounts(&read("/proc/self/mountinfo")).into_iter().next()?;
    let controllers = controllers(&mount.point);
    Some((mount.point, controllers))
}

/// What an administrator does about controllers that `missing` names, where the top of the
/// hierarchy has `top`.
pub(super) fn mend(missing: &[&str], top: Controllers) -> &'static str {
    let missing_above = top.missing();
    if missing.iter().any(|name| missing_above.contains(name)) {
        VERSION_1
    } else {
        delegation()
    }
}

/// How this user gets a cgroup of their own.
pub(super) fn delegation() -> &'static str {
    if geteuid().is_root() { UNIT } else { USER }
}

/// Controllers of the cgroup at `path`.
pub(super) fn controllers(path: &Path) -> Controllers {
    let path = path.join("cgroup.controllers");
    Controllers::parse(&fs::read_to_string(path).unwrap_or_default())
}

/// This process' own cgroup, as the kernel tells it.
pub(super) fn own() -> Result<Own, Lack> {
    find(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"))
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// From `/proc/self/mountinfo` and `/proc/self/cgroup`.
pub(super) fn find(mountinfo: &str, cgroup: &str) -> Result<Own, Lack> {
    let mounts = mounts(mountinfo);
    if mounts.is_empty() {
        return Err(Lack::new("no cgroup2 is mounted", NO_MOUNT));
    }
    // cgroups(7), "/proc/pid/cgroup": version 2 is hierarchy 0 and names no controller.
    let own = cgroup.lines().find_map(|line| line.strip_prefix("0::"));
    let Some(own) = own else {
        return Err(Lack::new("this process is in no cgroup2", NO_MOUNT));
    };
    // A path that begins so is outside of this process' cgroup namespace.
    let inside = |mount: &Mount| {
        let below = Path::new(own).strip_prefix(&mount.root).ok()?;
        let plain = !below.components().any(|part| part.as_os_str() == "..");
        plain.then(|| Own {
            path: mount.point.join(below),
            top: mount.point.clone(),
        })
    };
    mounts.iter().find_map(inside).ok_or_else(|| {
        let what = format!("no mount of cgroup2 shows this process' cgroup `{own}`");
        Lack::new(what, delegation())
    })
}

/// Mounts of type `cgroup2` (proc_pid_mountinfo(5)).
fn mounts(mountinfo: &str) -> Vec<Mount> {
    let mount = |line: &str| {
        let (place, kind) = line.split_once(" - ")?;
        let mut fields = place.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        let ours = kind.split(' ').next() == Some("cgroup2");
        ours.then(|| Mount {
            root: plain(root).into(),
            point: plain(point).into(),
        })
    };
    mountinfo.lines().filter_map(mount).collect()
}

/// Without the kernel's escapes: `\040` is a space.
fn plain(text: &str) -> String {
    let mut plain = text.to_owned();
    for (escape, is) in [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ] {
        plain = plain.replace(escape, is);
    }
    plain
}
