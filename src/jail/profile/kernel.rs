//! What a class of jails needs of the kernel, and what this host has.

use std::fs;
use std::path::{Path, PathBuf};

use super::Draft;
use crate::error::{Error, Kind, Result};
use crate::jail::TOO_OLD;
use crate::sys::process::landlock_abi;
use crate::wire::manifest::Class;

/// Namespaces that every jail gets (namespaces(7)).
const NAMESPACES: [&str; 5] = ["ipc", "mnt", "net", "pid", "uts"];

/// What a manifest is compared with.
#[derive(Debug, Clone)]
pub struct Host {
    /// This user may do everything.
    pub root: bool,
    /// ABI of its Landlock; 0 where it has none.
    pub landlock_abi: i32,
    /// `/proc` is mounted.
    pub proc: bool,
    /// Less than full protection is accepted, where it has a name.
    pub lenient: bool,
    /// The kernel setting that keeps users from making namespaces, as it should be.
    pub no_user_namespaces: Option<&'static str>,
    /// Namespaces the kernel does not have, by name.
    pub missing: Vec<&'static str>,
    /// Keepgate's own directories and files, which no jail may see.
    pub own: Vec<PathBuf>,
    /// What of it was made to be shown: the installed packages of a connector, in its own jail.
    pub given: Vec<PathBuf>,
}

impl Host {
    /// This host.
    pub fn here(own: Vec<PathBuf>, lenient: bool) -> Self {
        let missing = |name: &&str| !Path::new("/proc/self/ns").join(name).exists();
        Self {
            root: nix::unistd::geteuid().is_root(),
            landlock_abi: landlock_abi(),
            proc: Path::new("/proc/self/fd").exists(),
            lenient,
            no_user_namespaces: refused_namespaces(),
            missing: NAMESPACES.into_iter().filter(missing).collect(),
            own,
            given: Vec::new(),
        }
    }
}

/// The kernel setting that keeps ordinary users from making namespaces, in the form that would let
/// them; nothing where they may.
pub fn refused_namespaces() -> Option<&'static str> {
    let is =
        |path: &str, value: &str| fs::read_to_string(path).is_ok_and(|text| text.trim() == value);
    let settings = [
        (
            is("/proc/sys/user/max_user_namespaces", "0"),
            "user.max_user_namespaces=10000",
        ),
        (
            is("/proc/sys/kernel/unprivileged_userns_clone", "0"),
            "kernel.unprivileged_userns_clone=1",
        ),
        (
            is(
                "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
                "1",
            ),
            "kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        (
            !Path::new("/proc/self/ns/user").exists(),
            "a kernel with CONFIG_USER_NS",
        ),
    ];
    let found = settings.into_iter().find(|(refused, _)| *refused);
    found.map(|(_, setting)| setting)
}

pub(super) fn check(draft: &Draft, host: &Host) -> Result<()> {
    let class = draft.class().name();
    let lacks = |what: String, hint: String| {
        let what = format!("{}: class `{class}` needs {what}", draft.class);
        Err(Error::of(Kind::Degraded, what).hint(hint))
    };
    if host.landlock_abi <= 0 {
        return lacks(
            "Landlock, which this kernel does not have or has turned off".into(),
            "boot a kernel of 6.12 or newer with `landlock` in its `lsm=` list".into(),
        );
    }
    if host.landlock_abi < crate::jail::ABI_FLOOR && !host.lenient {
        let (abi, floor) = (host.landlock_abi, crate::jail::ABI_FLOOR);
        return lacks(
            format!("Landlock ABI {floor}, and this kernel has {abi} ({TOO_OLD})"),
            "boot a kernel of 6.12 or newer, or do without `--strict`".into(),
        );
    }
    if !host.proc {
        return lacks(
            "`/proc`, which is not mounted here".into(),
            "mount -t proc proc /proc; in a container, have whoever starts it mount it".into(),
        );
    }
    if !host.missing.is_empty() {
        return lacks(
            format!(
                "namespaces that this kernel does not have: {}",
                host.missing.join(", ")
            ),
            "use a kernel with CONFIG_NAMESPACES and all that belongs to it".into(),
        );
    }
    match host.no_user_namespaces {
        Some(setting) if !host.root => {
            let what = match draft.class() {
                Class::Foreign => "user namespaces for its view",
                Class::Native | Class::NativeGeneric => "user namespaces",
            };
            let hint = match setting.contains('=') {
                true => format!("sudo sysctl {setting}, or do this as root"),
                false => format!("use {setting}, or do this as root"),
            };
            lacks(
                format!("{what}, and ordinary users may not make them here"),
                hint,
            )
        }
        Some(_) | None => Ok(()),
    }
}
