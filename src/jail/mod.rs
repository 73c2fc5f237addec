//! The jail: what a tool runs in, and what the roles themselves may not do.
//!
//! A native tool is this binary, executed from a sealed memory file, as the first process of its own
//! pid, IPC and host name namespaces, in the jailer's empty network namespace and on its empty
//! read-only root; as a uid without capabilities; with hard limits; under a Landlock ruleset without
//! a single rule and a seccomp filter of the few calls it needs. It holds the descriptors it was
//! given and an empty environment. Each of these layers would be enough against an ordinary
//! mistake; the self-test tries them all at start.
#![forbid(unsafe_code)]

pub mod confine;
pub mod denied;
mod landlock;
pub mod lists;
pub mod probe;
mod self_test;
pub mod world;

pub use landlock::TOO_OLD;
pub use self_test::{Verdict, self_test};

use std::os::fd::{BorrowedFd, OwnedFd};

use crate::error::{Context, Result};
use crate::sys::filter::{Clone3, Filter};
use crate::sys::jail::{Jailed, Limits, Template, own_pidfd};
use crate::sys::process;

/// What a tool may ask of the kernel.
const TOOL: &str = include_str!("seccomp/tool.json");

/// Degradation: no cgroup with memory and process controllers is delegated to Keepgate, so that
/// jails are limited by rlimits only (`setrlimit(2)`).
pub const NO_CGROUPS: &str = "no-cgroup-controllers";

/// A jail ready to be filled any number of times.
#[derive(Debug)]
pub struct Jail {
    template: Template,
    landlock_abi: i32,
    degraded: Vec<String>,
}

impl Jail {
    /// Prepares what all jails have in common. `program` is from
    /// [`crate::sys::jail::sealed_program`]; tools run as `uid`, or as this user.
    ///
    /// # Errors
    /// Fails where a layer is missing whose lack is not in `accept`.
    pub fn new(program: OwnedFd, uid: Option<u32>, accept: &[String]) -> Result<Self> {
        let what = || "prepare the jail".into();
        let landlock_abi = process::landlock_abi();
        let mut degraded = landlock::check(landlock_abi, accept)?;
        degraded.push(NO_CGROUPS.into());
        let template = Template {
            program,
            ruleset: landlock::nothing()?,
            filter: Filter::compile(&[TOOL], Clone3::Missing).context(what)?,
            uid,
            parent: own_pidfd().context(what)?,
        };
        Ok(Self {
            template,
            landlock_abi,
            degraded,
        })
    }

    /// Starts `tool` with `fds` as its descriptors 0, 1, …
    ///
    /// # Errors
    /// Names the step that failed; nothing runs then.
    pub fn spawn(&self, tool: &str, fds: &[BorrowedFd<'_>], limits: Limits) -> Result<Jailed> {
        self.template
            .spawn(tool, fds, limits)
            .context(|| "start a jail".into())
    }
}
