//! Jails limited and ended as groups: one cgroup2 leaf a jail, from a pool.
//!
//! ```text
//! BASE                     the supervisor's own cgroup, where it was left to it
//! ├── supervisor           the supervisor and its roles: no process may stay in BASE
//! └── plane-NAME           the jailer's uid may make cgroups here, and move processes below it
//!     ├── jailer           the jailer: who starts a process in another cgroup must be allowed to
//!     │                    write in the one above both
//!     └── jail-N           a leaf: one jail at a time, used again unless it was killed
//! ```
//!
//! What is there decides what is done, and what is not done has a name and a reason:
//!
//! | cgroup2 | memory, processes, CPU of a jail | end of a jail | degradation |
//! |---|---|---|---|
//! | with memory, pids and cpu | of the whole jail, and rlimits | `cgroup.kill`, and by pidfd | |
//! | without some of them | by those there are, and rlimits | the same | [`NO_CGROUPS`] |
//! | none that we may write | rlimits of each process | by pidfd | [`NO_CGROUPS`] |
//!
//! Nothing here fails a start. A leaf that was promised and cannot be had fails the spawn.
//!
//! Sources: `cgroups(7)`; `Documentation/admin-guide/cgroup-v2.rst` of the kernel, whose sections
//! "Delegation" and "No Internal Process Constraint" make the shape above; `clone(2)`,
//! `CLONE_INTO_CGROUP`.

mod controllers;
mod delegate;
mod leaf;
mod node;
mod own;
mod pool;
#[cfg(test)]
mod tests;

pub use controllers::{Controllers, Limits};
pub use delegate::{Delegation, Lack, Subtree};
pub use leaf::{Leaf, Verdict};
pub use node::Node;
pub use own::{NO_MOUNT, UNIT, VERSION_1, host};
pub use pool::{Cgroups, LEAVES_MAX};

/// Degradation: no cgroup with memory, pids and cpu controllers is delegated to Keepgate, so that
/// what they would limit is limited for each process only (`setrlimit(2)`).
pub const NO_CGROUPS: &str = "no-cgroup-controllers";
