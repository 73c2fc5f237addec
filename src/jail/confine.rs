//! Confinement of the roles: another uid, no capabilities but the jailer's, a few paths, a list of
//! system calls. Called once, before threads exist, because a thread keeps what it had.

use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::landlock;
use super::lists::NATIVE_GENERIC;
use crate::error::{Context, Error, Result};
use crate::sys::filter::{Clone3, Filter};
use crate::sys::jail::MAKES;
use crate::sys::process::{self, capability};
use crate::wire::manifest::{Class, Manifest};
use crate::wire::messages::Role;

const COMMON: &str = include_str!("seccomp/common.json");
const KEEPER: &str = include_str!("seccomp/keeper.json");
const JAILER: &str = include_str!("seccomp/jailer.json");
const FRONT: &str = include_str!("seccomp/front.json");
const EGRESS: &str = include_str!("seccomp/egress.json");
const HOSTILE: &str = include_str!("seccomp/hostile.json");
const ANYTHING: &str = include_str!("seccomp/anything.json");

/// What a role needs; everything else it loses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confine {
    /// Becomes this uid, where started by root.
    pub uid: Option<u32>,
    /// Becomes this gid; without it the gid of the same number as the uid.
    pub gid: Option<u32>,
    /// Files and directories it may read. The jailer's roots are not named here.
    pub read: Vec<PathBuf>,
    /// Directories it may change and read.
    pub write: Vec<PathBuf>,
    /// Degradations the operator accepts, by name.
    pub accept: Vec<String>,
}

/// What a jailer starts decides how it can be confined: its jails inherit its rules, so that what a
/// foreign program needs, or what is to be observed, cannot be on its own list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Starts {
    /// Native tools only.
    Tools,
    /// Also static programs that are not ours.
    Generic,
    /// Also jails that make mounts, or whose refused calls are told.
    Anything,
}

impl Starts {
    /// What `manifests` ask for, where Keepgate's own tools are to be observed or not. Programs that
    /// are not `sealed` need a Landlock rule each, and theirs is not known yet.
    pub fn of(manifests: &[Manifest], observe: bool, sealed: bool) -> Self {
        let more =
            |manifest: &Manifest| manifest.class == Class::Foreign || manifest.observe || !sealed;
        let generic = |manifest: &Manifest| manifest.class == Class::NativeGeneric;
        if observe || manifests.iter().any(more) {
            Self::Anything
        } else if manifests.iter().any(generic) {
            Self::Generic
        } else {
            Self::Tools
        }
    }
}

/// Confines this process to `role`. System calls it has no use for fail with `EPERM`; those that
/// only an intruder makes kill it.
///
/// # Errors
/// Fails where threads exist already, a path is not there, or a layer is missing whose lack is not
/// accepted. The process must end then: it may be confined by half.
pub fn role(role: Role, confine: &Confine) -> Result<()> {
    match process::threads().context(|| "count this role's threads".into())? {
        1 => apply(role, confine, None, Starts::Tools),
        _ => Err(Error::new("a role must be confined before it has threads")),
    }
}

/// As [`role`], of the calling thread only, whatever other threads do: what tests can use.
///
/// # Errors
/// As [`role`], but for threads.
pub fn role_of_this_thread(role: Role, confine: &Confine) -> Result<()> {
    apply(role, confine, None, Starts::Tools)
}

/// What a jailer holds by descriptor, and may go on using.
#[derive(Debug)]
pub struct Holds<'a> {
    /// The operator's roots, to open and publish beneath.
    pub roots: Vec<BorrowedFd<'a>>,
    /// The directory of its cgroups, to make more.
    pub cgroup: Option<BorrowedFd<'a>>,
    /// The tools' program, to run it.
    pub program: BorrowedFd<'a>,
}

/// As [`role`], for a jailer whose world is made already: it has one thread, uses what it `holds`,
/// and starts jails as `starts` says.
///
/// # Errors
/// As [`role`].
pub fn jailer(confine: &Confine, holds: &Holds<'_>, starts: Starts) -> Result<()> {
    apply(Role::Jailer, confine, Some(holds), starts)
}

fn apply(role: Role, confine: &Confine, holds: Option<&Holds<'_>>, starts: Starts) -> Result<()> {
    let what = || format!("confine role `{}`", role.name());
    let abi = process::landlock_abi();
    for name in landlock::check(abi, &confine.accept)? {
        tracing::warn!(
            role = role.name(),
            degraded = name,
            "confined by less than asked for"
        );
    }
    let filters = filters(role, starts).context(what)?;
    let keep = capabilities(role, starts);
    process::umask(0o077);
    process::bound_capabilities(keep).context(what)?;
    if let Some(uid) = confine.uid.filter(|_| nix::unistd::geteuid().is_root()) {
        process::become_user(uid, confine.gid.unwrap_or(uid)).context(what)?;
    }
    process::keep_capabilities(keep).context(what)?;
    process::no_new_privs().context(what)?;
    // After the change of uid, which sets it anew.
    process::harden().context(what)?;
    // The same: it forgets who kills this role when the supervisor ends.
    process::die_with_parent().context(what)?;
    // A jailer has no paths any more, only its roots.
    let none = role == Role::Jailer;
    let paths = |paths: &'_ [PathBuf]| if none { Vec::new() } else { paths.to_vec() };
    match starts {
        Starts::Tools | Starts::Generic => {
            let (read, write) = (paths(&confine.read), paths(&confine.write));
            landlock::restrict(role, &read, &write, holds)?;
        }
        // Any layer of Landlock would be one of its jails' too: one that handles files forbids all
        // mounts, and every one forbids renames between directories (landlock(7), "Refer"). It sees
        // its views only, and each jail has a ruleset of its own.
        Starts::Anything => {}
    }
    for filter in &filters {
        filter.install().context(what)?;
    }
    tracing::info!(role = role.name(), landlock_abi = abi, "role is confined");
    Ok(())
}

fn capabilities(role: Role, starts: Starts) -> &'static [u8] {
    match role {
        Role::Jailer if starts == Starts::Anything => &MAKES,
        Role::Jailer => &[
            capability::KILL,
            capability::SETGID,
            capability::SETUID,
            capability::SETPCAP,
            capability::SYS_ADMIN,
        ],
        Role::Keeper | Role::Front | Role::Egress => &[],
    }
}

/// The filters of a role. Jails inherit the jailer's, and their self-test must live to tell that a
/// call failed: so no killing list there.
fn filters(role: Role, starts: Starts) -> std::io::Result<Vec<Filter>> {
    if starts == Starts::Anything {
        return Ok(vec![Filter::compile(&[ANYTHING], Clone3::Ruled)?]);
    }
    let (own, clone3): (&[&str], _) = match role {
        Role::Keeper => (&[COMMON, KEEPER], Clone3::Missing),
        // What a jail's list allows has to be allowed here too.
        Role::Jailer if starts == Starts::Generic => {
            (&[COMMON, JAILER, NATIVE_GENERIC], Clone3::Ruled)
        }
        Role::Jailer => (&[COMMON, JAILER], Clone3::Ruled),
        Role::Front => (&[COMMON, FRONT], Clone3::Missing),
        Role::Egress => (&[COMMON, EGRESS], Clone3::Missing),
    };
    let mut filters = Vec::new();
    if role != Role::Jailer {
        filters.push(Filter::compile(&[HOSTILE], Clone3::Ruled)?);
    }
    filters.push(Filter::compile(own, clone3)?);
    Ok(filters)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Value;

    use super::*;
    use crate::sys::filter::Verdict;

    #[test]
    fn all_filters_compile() {
        for role in Role::ALL {
            assert!(!filters(role, Starts::Tools).unwrap().is_empty());
        }
    }

    #[test]
    fn a_jailer_is_confined_by_as_little_as_its_jails_need() {
        let manifest = |class, observe| Manifest {
            observe,
            ..Manifest::of(class)
        };
        let (native, generic) = (manifest(Class::Native, false), Class::NativeGeneric);
        for (manifests, observe, sealed, expected) in [
            (vec![], false, true, Starts::Tools),
            (vec![native.clone()], false, true, Starts::Tools),
            (
                vec![native.clone(), manifest(generic, false)],
                false,
                true,
                Starts::Generic,
            ),
            (vec![manifest(generic, true)], false, true, Starts::Anything),
            (vec![manifest(generic, false)], true, true, Starts::Anything),
            (vec![native.clone()], false, false, Starts::Anything),
            (
                vec![manifest(generic, false), manifest(Class::Foreign, false)],
                false,
                true,
                Starts::Anything,
            ),
        ] {
            assert_eq!(Starts::of(&manifests, observe, sealed), expected);
        }
        assert_eq!(
            capabilities(Role::Jailer, Starts::Generic),
            capabilities(Role::Jailer, Starts::Tools)
        );
    }

    /// A wider rule of one list is not lost beside a narrower one of another.
    #[test]
    fn a_jailer_of_generic_programs_may_all_that_they_may() {
        let says = |starts| filters(Role::Jailer, starts).unwrap().pop().unwrap();
        let (tools, generic) = (says(Starts::Tools), says(Starts::Generic));
        let theirs = Filter::compile(&[NATIVE_GENERIC], Clone3::Missing).unwrap();
        let mut more = 0;
        for number in 0..600 {
            for argument in [0, 1, 3, 9, 15, 200, 4096, 21505, 0x10900, u64::MAX] {
                let arguments = [argument; 6];
                let own = |filter: &Filter| filter.answer(number, arguments) == Verdict::Allow;
                assert!(own(&generic) || !own(&theirs) && !own(&tools), "{number}");
                more += u32::from(own(&generic) && !own(&tools));
            }
        }
        assert!(more > 50, "{more}");
    }

    /// `seccompiler` drops a rule without conditions beside one that has some.
    #[test]
    fn no_call_is_allowed_both_with_and_without_conditions() {
        for own in [KEEPER, JAILER, FRONT, EGRESS] {
            let mut kinds: BTreeMap<String, bool> = BTreeMap::new();
            for text in [COMMON, own] {
                let text: Value = serde_json::from_str(text).unwrap();
                let filter = text.as_object().unwrap().values().next().unwrap();
                for rule in filter["filter"].as_array().unwrap() {
                    let call = rule["syscall"].as_str().unwrap().to_owned();
                    assert!(!rule["comment"].as_str().unwrap().is_empty(), "{call}");
                    let narrow = rule.get("args").is_some();
                    let known = *kinds.entry(call.clone()).or_insert(narrow);
                    assert!(known && narrow || !known && !narrow, "{call}");
                }
            }
        }
    }
}
