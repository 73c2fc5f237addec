//! What the jailer tells a jail's first process, and what that tells the jailer.

use serde::{Deserialize, Serialize};

use crate::sys::exec::Limit;

/// Number of the specification, a sealed memory file.
pub(super) const SPEC: i32 = 3;
/// Number of the link to the jailer.
pub(super) const LINK: i32 = 4;
/// Number of the probe's program, or of another handle to it.
pub(super) const PROBE: i32 = 5;
/// Number of the filters: a sealed memory file with the program's, then the first process' own.
pub(super) const FILTERS: i32 = 6;
/// Number of the first copy.
pub(super) const COPIES: i32 = 7;
/// Longest specification, in bytes.
pub(super) const SPEC_MAX: usize = 1 << 20;
/// Longest filters, in bytes.
pub(super) const FILTERS_MAX: usize = 1 << 20;

/// Everything a jail's first process has to do.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Spec {
    /// Directory of the jailer's root that becomes the jail's.
    pub(super) place: String,
    /// Copies the jail gets, in the order of their descriptors.
    pub(super) copies: Vec<Shown>,
    /// What of the jail's file system may be run.
    pub(super) executable: Vec<String>,
    /// Bytes of private files.
    pub(super) tmp: u64,
    /// All of `/proc`, not the jail's processes only.
    pub(super) whole_proc: bool,
    /// A proxy's socket is wanted.
    pub(super) proxy: bool,
    /// The jail may use all ports of its own loopback.
    pub(super) loopback: bool,
    /// Uid and gid of the program; its own where there is only one user.
    pub(super) uid: Option<u32>,
    /// What runs.
    pub(super) program: Runs,
    /// Arguments, its name first.
    pub(super) argv: Vec<String>,
    /// `NAME=VALUE`.
    pub(super) env: Vec<String>,
    /// Working directory.
    pub(super) directory: String,
    /// Resource, soft and hard limit.
    pub(super) limits: Vec<Limit>,
    /// Bytes of the program's filter among the filters.
    pub(super) filter: usize,
}

/// A copy the jail gets.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Shown {
    /// Where it is shown.
    pub(super) path: String,
    /// A directory, not a file.
    pub(super) directory: bool,
    /// May be changed.
    pub(super) writable: bool,
    /// It lies within a copy before it, where its place is.
    pub(super) within: bool,
}

/// What runs in a jail.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Runs {
    /// The program at this path.
    Path(String),
    /// Keepgate's own probe: the self-test of this jail.
    Probe,
}

/// What the first process says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "say", deny_unknown_fields)]
pub(super) enum Says {
    /// The proxy's socket comes with it.
    Listening,
    /// The jail could not be made, or the program not be run. Nothing of it runs.
    Failed {
        /// The step and why.
        why: String,
        /// `ENOENT` or another number where the program itself could not be run.
        exec: Option<i32>,
    },
    /// The program runs.
    Running,
    /// The program ended; whatever it left ends with this.
    Ended {
        /// Exit status, where it exited.
        code: Option<i32>,
        /// Signal, where one killed it.
        signal: Option<i32>,
        /// Microseconds of CPU of all processes that were waited for.
        cpu_us: u64,
        /// Peak resident memory of the largest of them, in KiB.
        rss_kib: u64,
    },
}
