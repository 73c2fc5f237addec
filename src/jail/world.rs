//! The jailer's world: no network, an empty root, and the operator's roots by descriptor only.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use crate::error::{Context, Error, Result};
use crate::sys::{mounts, process};

/// What a process keeps of the host after [`World::enter`].
#[derive(Debug)]
pub struct World {
    roots: BTreeMap<PathBuf, OwnedFd>,
    descriptors: OwnedFd,
}

impl World {
    /// Leaves the host's namespaces, with private copies of `roots`. Without privileges it does so
    /// in a user namespace of its own. Roots that are not there are left out, and named in the log.
    ///
    /// # Errors
    /// Fails where the system does not let this user make namespaces, or threads exist.
    pub fn enter(roots: &[PathBuf]) -> Result<Self> {
        let what = || "make the jailer's namespaces".to_owned();
        if process::threads().context(what)? != 1 {
            return Err(Error::new(
                "a process with threads cannot change its namespaces",
            ));
        }
        if !nix::unistd::geteuid().is_root() {
            mounts::become_own_user().map_err(|error| {
                Error::new("make a user namespace").because(error).hint(
                    "run Keepgate as root, or allow unprivileged user namespaces \
                     (user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns)",
                )
            })?;
        }
        mounts::leave_host().context(what)?;
        let mut copies = BTreeMap::new();
        for root in roots {
            match mounts::clone_tree(root) {
                Ok(copy) => drop(copies.insert(root.clone(), copy)),
                Err(error) => {
                    tracing::error!(root = %root.display(), %error, "this root is not usable");
                }
            }
        }
        // Later the way to reopen a descriptor, and to name a file that has no name.
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let descriptors = open("/proc/self/fd", flags, Mode::empty()).context(what)?;
        mounts::empty_root().context(what)?;
        Ok(Self {
            roots: copies,
            descriptors,
        })
    }

    /// The copy of an operator's root.
    pub fn root(&self, path: &Path) -> Option<BorrowedFd<'_>> {
        self.roots.get(path).map(AsFd::as_fd)
    }

    /// All copies.
    pub fn roots(&self) -> Vec<BorrowedFd<'_>> {
        self.roots.values().map(AsFd::as_fd).collect()
    }

    /// The directory of this process' descriptors by number.
    pub fn descriptors(&self) -> BorrowedFd<'_> {
        self.descriptors.as_fd()
    }
}
