//! Landlock rulesets: for tools one without rules, for roles one with their few paths.
//!
//! Landlock alone is no jail: it does not mediate chmod, xattr or stat, and no socket but TCP before
//! ABI 9. It is one layer of several.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, NetPort, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetStatus, Scope, make_bitflags,
};

use super::confine::Holds;
use crate::error::{Context, Error, Kind, Result};
use crate::sys::sealed;
use crate::wire::messages::Role;

/// Degradation: the kernel's Landlock lacks signal and abstract socket scopes (kernel before 6.12).
pub const TOO_OLD: &str = "landlock-abi-below-6";
/// Lowest ABI without degradation.
pub const FLOOR: i32 = 6;
/// Rights of the newest ABI known; the kernel's own ABI decides which of them exist.
const NEWEST: ABI = ABI::V10;

/// Degradations that `abi` means.
///
/// # Errors
/// Fails where one is not in `accept`.
pub(super) fn check(abi: i32, accept: &[String]) -> Result<Vec<String>> {
    if abi >= FLOOR {
        return Ok(Vec::new());
    }
    if accept.iter().any(|name| name == TOO_OLD) {
        return Ok(vec![TOO_OLD.into()]);
    }
    let what = format!("Landlock ABI {abi} of this kernel is below {FLOOR} ({TOO_OLD})");
    Err(Error::of(Kind::Degraded, what).hint(format!(
        "use kernel 6.12 or newer with Landlock on, or accept `{TOO_OLD}` by name"
    )))
}

/// A ruleset that allows nothing but to run `program`, where that needs allowing: a memory file
/// belongs to no file system that Landlock looks at. `None` where the kernel has no Landlock, which
/// [`check`] has looked at before.
pub(super) fn nothing_but(program: BorrowedFd<'_>) -> Result<Option<OwnedFd>> {
    let what = || "make an empty Landlock ruleset".into();
    let ruleset = handled(true).context(what)?.create().context(what)?;
    may_run(ruleset, program).map(Into::into)
}

fn may_run(ruleset: RulesetCreated, program: BorrowedFd<'_>) -> Result<RulesetCreated> {
    if sealed::is_sealed(program) {
        return Ok(ruleset);
    }
    let rule = PathBeneath::new(program, AccessFs::ReadFile | AccessFs::Execute);
    ruleset
        .add_rule(rule)
        .context(|| "allow a program that is no memory file".into())
}

/// What a foreign jail's program may do with what it sees: read all of it, and this.
#[derive(Debug)]
pub(super) struct Allowed<'a> {
    /// May be run.
    pub(super) executable: Vec<&'a Path>,
    /// A program that no path leads to; may be run too.
    pub(super) program: Option<BorrowedFd<'a>>,
    /// May be changed, beside its private files; never run.
    pub(super) writable: Vec<&'a Path>,
    /// The port of its proxy, to connect to.
    pub(super) port: Option<u16>,
    /// All ports of its loopback are its own.
    pub(super) loopback: bool,
}

/// The ruleset of a foreign jail, in the file system this process is in.
pub(super) fn foreign(allowed: &Allowed<'_>) -> Result<Option<OwnedFd>> {
    let what = || "make a jail's Landlock ruleset".into();
    let read = make_bitflags!(AccessFs::{ReadFile | ReadDir});
    let change = read
        | make_bitflags!(AccessFs::{
            WriteFile | Truncate | MakeReg | MakeDir | MakeSym | MakeSock | RemoveFile | RemoveDir
                | Refer
        });
    let mut ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))
        .context(what)?;
    if !allowed.loopback {
        ruleset = ruleset
            .handle_access(AccessNet::from_all(NEWEST))
            .context(what)?;
    }
    let ruleset = ruleset.scope(Scope::from_all(NEWEST)).context(what)?;
    let mut ruleset = ruleset.create().context(what)?;
    ruleset = allow(ruleset, Path::new("/"), read)?;
    // Not `/dev/zero`: memory shared by mapping it for writing is counted nowhere.
    for device in ["/dev/null", "/dev/full"] {
        ruleset = allow(ruleset, Path::new(device), read | AccessFs::WriteFile)?;
    }
    for path in &allowed.executable {
        ruleset = allow(ruleset, path, read | AccessFs::Execute)?;
    }
    if let Some(program) = allowed.program {
        ruleset = may_run(ruleset, program)?;
    }
    for path in &allowed.writable {
        ruleset = allow(ruleset, path, change)?;
    }
    // Among files of others a pipe would hold up whoever opens it.
    for private in ["/tmp", "/dev/shm"] {
        ruleset = allow(ruleset, Path::new(private), change | AccessFs::MakeFifo)?;
    }
    if let Some(port) = allowed.port.filter(|_| !allowed.loopback) {
        let rule = NetPort::new(port, AccessNet::ConnectTcp);
        ruleset = ruleset.add_rule(rule).context(what)?;
    }
    Ok(ruleset.into())
}

/// Restricts this thread, and those it will start, to what `role` needs.
pub(super) fn restrict(
    role: Role,
    read: &[PathBuf],
    write: &[PathBuf],
    holds: Option<&Holds<'_>>,
) -> Result<()> {
    let what = || "restrict this role with Landlock".into();
    let mut ruleset = handled(role != Role::Egress)
        .context(what)?
        .create()
        .context(what)?;
    let look = make_bitflags!(AccessFs::{ReadFile | ReadDir});
    let change = look
        | make_bitflags!(AccessFs::{
            WriteFile | Truncate | MakeReg | MakeDir | RemoveFile | RemoveDir | Refer
        });
    let publish = look | make_bitflags!(AccessFs::{WriteFile | Truncate | MakeReg | RemoveFile});
    for (paths, rights) in [(read, look), (write, change)] {
        for path in paths {
            ruleset = allow(ruleset, path, rights)?;
        }
    }
    if let Some(holds) = holds {
        for root in &holds.roots {
            let rule = PathBeneath::new(root, publish);
            ruleset = ruleset.add_rule(rule).context(what)?;
        }
        // The kernel makes the files in there: nothing else is made, named or truncated.
        let leaves = look | make_bitflags!(AccessFs::{WriteFile | MakeDir | RemoveDir});
        if let Some(cgroup) = holds.cgroup {
            let rule = PathBeneath::new(cgroup, leaves);
            ruleset = ruleset.add_rule(rule).context(what)?;
        }
        ruleset = may_run(ruleset, holds.program)?;
    }
    let status = ruleset.restrict_self().context(what)?.ruleset;
    if status == RulesetStatus::NotEnforced {
        tracing::warn!("this kernel enforces no Landlock; its lack was accepted");
    }
    Ok(())
}

fn handled(network: bool) -> std::result::Result<Ruleset, landlock::RulesetError> {
    let ports: BitFlags<AccessNet> = if network {
        AccessNet::from_all(NEWEST)
    } else {
        AccessNet::BindTcp.into()
    };
    Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(ports)?
        .scope(Scope::from_all(NEWEST))
}

fn allow(
    ruleset: RulesetCreated,
    path: &Path,
    rights: BitFlags<AccessFs>,
) -> Result<RulesetCreated> {
    let what = || format!("allow `{}`", path.display());
    let beneath = PathFd::new(path).context(what)?;
    let rights = if path.is_dir() {
        rights
    } else {
        rights & AccessFs::from_file(NEWEST)
    };
    ruleset
        .add_rule(PathBeneath::new(beneath, rights))
        .context(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_than_the_floor_must_be_accepted_by_name() {
        assert_eq!(check(6, &[]).unwrap(), [""; 0]);
        assert_eq!(check(5, &[]).unwrap_err().kind(), Kind::Degraded);
        assert!(check(5, &["other".into()]).is_err());
        assert_eq!(check(0, &[TOO_OLD.into()]).unwrap(), [TOO_OLD]);
    }
}
