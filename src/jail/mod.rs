//! The jail: what a tool runs in, and what the roles themselves may not do.
//!
//! A native tool is this binary, executed from a sealed memory file, as the first process of its own
//! pid, IPC and host name namespaces, in the jailer's empty network namespace and on its empty
//! read-only root; as a uid of its own without capabilities; with hard limits, in a [`cgroup`] of
//! its own where the host has that; under a Landlock ruleset without a single rule and a seccomp
//! filter of the few calls it needs. It holds the descriptors it was given and an empty environment.
//! Each of these layers would be enough against an ordinary mistake; the self-test tries them all at
//! start. What needs files, threads or children runs in a [`foreign`] jail.
#![forbid(unsafe_code)]

pub mod cgroup;
pub mod confine;
pub mod denied;
pub mod elf;
mod first;
pub mod foreign;
mod landlock;
pub mod limits;
pub mod lists;
pub mod probe;
pub mod profile;
pub mod regular;
pub mod world;

pub use cgroup::NO_CGROUPS;
pub use landlock::{FLOOR as ABI_FLOOR, TOO_OLD};

use std::cell::OnceCell;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::error::{Context, Error, Result};
use crate::sys::filter::{Clone3, Filter};
use crate::sys::jail::{Jailed, Native, Template, own_pidfd};
use crate::sys::process;
use crate::wire::manifest::{Class, Manifest};
pub use first::FIRST;
use first::First;
use foreign::users::Users;
use limits::ToolLimits;

/// What a tool may ask of the kernel.
const TOOL: &str = include_str!("seccomp/tool.json");
/// What an observed one may beside that, until it runs.
const OBSERVED: &str = include_str!("seccomp/observed.json");

/// What one that waits for its order may beside that, until it has it.
const READY: &str = include_str!("seccomp/ready.json");

/// Processes beside a program's own that count against the same limit: the first one of its jail.
const OWN_PROCESSES: u64 = 1;

/// Name of the process that waits for the name of a tool.
pub const WAITS: &str = "ready";

/// What a tool may ask of the kernel, compiled.
///
/// # Errors
/// Cannot fail in a binary that passed its tests.
pub fn tool_filter() -> std::io::Result<Filter> {
    Filter::compile(&[TOOL], Clone3::Missing)
}

/// A native jail ready to be filled any number of times.
#[derive(Debug)]
pub struct Jail {
    program: OwnedFd,
    ruleset: Option<OwnedFd>,
    template: Template,
    filter: Filter,
    observed: Filter,
    ready: Filter,
    /// Of the class native-generic, once one was started: plain, and observed.
    generic: [OnceCell<Filter>; 2],
    first: First,
    users: Option<Users>,
    landlock_abi: i32,
    degraded: Vec<String>,
}

/// Where a native jail runs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seat<'a> {
    /// Number of its user.
    pub slot: u32,
    /// Where the listener of its refused calls is sent, where they are to be told.
    pub listener: Option<BorrowedFd<'a>>,
    /// Its cgroup.
    pub cgroup: Option<BorrowedFd<'a>>,
}

/// A program to be run in a native jail by hand.
#[derive(Debug)]
pub struct Static<'a> {
    /// What it may and how much.
    pub manifest: &'a Manifest,
    /// A sealed memory file.
    pub program: BorrowedFd<'a>,
    /// Its arguments, the name first.
    pub argv: &'a [String],
    /// Standard input, output and error.
    pub stdio: [BorrowedFd<'a>; 3],
    /// Where the listener of refused calls is sent, where the manifest wants them observed.
    pub listener: Option<BorrowedFd<'a>>,
}

impl Jail {
    /// Prepares what all jails have in common. `program` is from
    /// [`crate::sys::sealed::own`]; tools run as `users`, or as this user.
    ///
    /// # Errors
    /// Fails where a layer is missing whose lack is not in `accept`.
    pub fn new(program: OwnedFd, users: Option<Users>, accept: &[String]) -> Result<Self> {
        let what = || "prepare the jail".into();
        let landlock_abi = process::landlock_abi();
        let degraded = landlock::check(landlock_abi, accept)?;
        let template = Template {
            parent: own_pidfd().context(what)?,
        };
        Ok(Self {
            ruleset: landlock::nothing_but(program.as_fd())?,
            program,
            template,
            filter: tool_filter().context(what)?,
            ready: Filter::compile(&[TOOL, READY], Clone3::Missing).context(what)?,
            observed: Filter::observed(&[TOOL, OBSERVED], Clone3::Missing).context(what)?,
            generic: [OnceCell::new(), OnceCell::new()],
            first: First::new()?,
            users,
            landlock_abi,
            degraded,
        })
    }

    /// Starts `tool` with `fds` as its descriptors 0, 1, …
    ///
    /// # Errors
    /// Names the step that failed; nothing runs then.
    pub fn spawn(
        &self,
        tool: &str,
        fds: &[BorrowedFd<'_>],
        limits: ToolLimits,
        seat: Seat<'_>,
    ) -> Result<Jailed> {
        let filter = match seat.listener {
            Some(_) => &self.observed,
            None => &self.filter,
        };
        self.begin(tool, fds, filter, limits, seat)
    }

    /// Starts a process that waits at `link` for its tool (see [`crate::sys::handed`]).
    ///
    /// # Errors
    /// As [`Jail::spawn`].
    pub fn prepare(
        &self,
        link: BorrowedFd<'_>,
        limits: ToolLimits,
        seat: Seat<'_>,
    ) -> Result<Jailed> {
        // The socket thrice: the standard library opens files in place of missing ones.
        self.begin(WAITS, &[link; 3], &self.ready, limits, seat)
    }

    fn begin(
        &self,
        tool: &str,
        fds: &[BorrowedFd<'_>],
        filter: &Filter,
        limits: ToolLimits,
        seat: Seat<'_>,
    ) -> Result<Jailed> {
        let what = || "start a jail".into();
        let tool = CString::new(tool).context(what)?;
        let argv = [c"keepgate-tool", &tool];
        let jail = Native {
            program: self.program.as_fd(),
            ruleset: self.ruleset.as_ref().map(AsFd::as_fd),
            argv: &argv,
            fds,
            filter,
            limits: &limits.all(),
            uid: self.uid(seat.slot),
            listener: seat.listener,
            cgroup: seat.cgroup,
            // Our own code waits for no signal, and each call would pay.
            first: None,
        };
        self.template.spawn(&jail).context(what)
    }

    /// Starts a static program that is not ours, as user number `slot`, in `cgroup` where one is
    /// given.
    ///
    /// # Errors
    /// As [`Jail::spawn`].
    pub fn run(
        &self,
        what: &Static<'_>,
        slot: u32,
        cgroup: Option<BorrowedFd<'_>>,
    ) -> Result<Jailed> {
        let doing = || "start a jail".into();
        let class = what.manifest.class;
        let filter = match class {
            Class::Native if what.listener.is_some() => &self.observed,
            Class::Native => &self.filter,
            Class::NativeGeneric => self.generic(what.listener.is_some()).context(doing)?,
            Class::Foreign => return Err(Error::new("a foreign program in a native jail")),
        };
        let texts = what.argv.iter().map(|text| CString::new(text.as_str()));
        let texts: Vec<CString> = texts.collect::<Result<_, _>>().context(doing)?;
        let argv: Vec<&CStr> = texts.iter().map(CString::as_c_str).collect();
        let uid = self.uid(slot);
        let ruleset = landlock::nothing_but(what.program)?;
        // The strict list has no signals to speak of, and is for code that is written for it.
        let own_ruleset = self.ruleset.as_ref().map(AsFd::as_fd);
        let first = || self.first.get(self.program(), own_ruleset);
        let first = (class == Class::NativeGeneric).then(first);
        // The first process of its jail, and where all run as one user the jailer too.
        let own = OWN_PROCESSES + u64::from(uid.is_none());
        let jail = Native {
            program: what.program,
            ruleset: ruleset.as_ref().map(AsFd::as_fd),
            argv: &argv,
            fds: &what.stdio,
            filter,
            limits: &limits::of(class, &what.manifest.limits, own),
            uid,
            listener: what.listener,
            cgroup,
            first,
        };
        self.template.spawn(&jail).context(doing)
    }

    /// The list of generic programs, compiled once.
    fn generic(&self, observed: bool) -> std::io::Result<&Filter> {
        let [plain, told] = &self.generic;
        let kept = if observed { told } else { plain };
        if let Some(filter) = kept.get() {
            return Ok(filter);
        }
        let list = lists::NATIVE_GENERIC;
        let filter = match observed {
            false => Filter::compile(&[list], Clone3::Missing),
            true => Filter::observed(&[list, OBSERVED], Clone3::Missing),
        }?;
        Ok(kept.get_or_init(|| filter))
    }

    /// The tools' program.
    pub fn program(&self) -> BorrowedFd<'_> {
        self.program.as_fd()
    }

    /// Landlock ABI of the kernel.
    pub fn landlock_abi(&self) -> i32 {
        self.landlock_abi
    }

    /// Degradations, by name; all of them are accepted or need not be.
    pub fn degraded(&self) -> &[String] {
        &self.degraded
    }

    fn uid(&self, slot: u32) -> Option<u32> {
        self.users.map(|users| users.uid(slot))
    }
}
