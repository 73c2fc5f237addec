//! The jailer's world: no network, an empty root, and the operator's roots by descriptor only.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use super::foreign::users::Users;
use super::foreign::view::{Sources, Views};
use crate::error::{Context, Error, Result};
use crate::sys::mounts::Copy;
use crate::sys::{mounts, process};
use crate::wire::manifest::{Class, Manifest};

/// Directories of the jailer's root where there are foreign jails: one for each view and for each
/// directory they may change.
const ROOT_INODES: u64 = 1024;

/// What a process keeps of the host after [`World::enter`].
#[derive(Debug)]
pub struct World {
    cgroup: Option<OwnedFd>,
    roots: BTreeMap<PathBuf, OwnedFd>,
    descriptors: OwnedFd,
    views: Option<Views>,
}

impl World {
    /// Leaves the host's namespaces, with private copies of `roots` and of the directory `cgroup`.
    /// Without privileges it does so in a user namespace of its own. Roots and a cgroup that are not
    /// there are left out, and named in the log.
    /// The foreign ones among `manifests` get their views, where that is possible; their programs run
    /// as one of `users`.
    ///
    /// # Errors
    /// Fails where the system does not let this user make namespaces, or threads exist.
    pub fn enter(
        roots: &[PathBuf],
        cgroup: Option<&Path>,
        manifests: &[Manifest],
        users: Users,
    ) -> Result<Self> {
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
            match mounts::clone_tree(root, Copy::Data) {
                Ok(copy) => drop(copies.insert(root.clone(), copy)),
                Err(error) => {
                    tracing::error!(root = %root.display(), %error, "this root is not usable");
                }
            }
        }
        // A copy like the roots': the host's own mount would lead up to the host by `..`.
        let cgroup = cgroup.and_then(|path| {
            let lost = |error: &_| tracing::error!(path = %path.display(), %error, "no cgroup");
            let copy = mounts::clone_tree(path, Copy::Data);
            copy.inspect_err(lost).ok()
        });
        // Later the way to reopen a descriptor, and to name a file that has no name.
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let descriptors = open("/proc/self/fd", flags, Mode::empty()).context(what)?;
        let foreign = manifests
            .iter()
            .any(|manifest| manifest.class == Class::Foreign);
        let mut views = None;
        if foreign {
            let sources = Sources::open(manifests, users)?;
            mounts::new_root(ROOT_INODES, || {
                views = Some(sources.attach()?);
                Ok(())
            })
            .context(what)?;
        } else {
            mounts::new_root(1, || Ok(())).context(what)?;
        }
        Ok(Self {
            cgroup,
            roots: copies,
            descriptors,
            views,
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

    /// The views of foreign jails, once.
    pub fn take_views(&mut self) -> Option<Views> {
        self.views.take()
    }

    /// The copy of the cgroup's directory, once.
    pub fn take_cgroup(&mut self) -> Option<OwnedFd> {
        self.cgroup.take()
    }

    /// The directory of this process' descriptors by number.
    pub fn descriptors(&self) -> BorrowedFd<'_> {
        self.descriptors.as_fd()
    }
}
