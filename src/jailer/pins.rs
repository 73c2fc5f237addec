//! What the programs of a manifest execute, looked at right before each start: through the very
//! mounts that their jail sees, so that nothing put in their place elsewhere can mislead.
//!
//! What was measured once is known by its stamps: a start costs a look at every entry, and reading
//! those that were touched. What changes between the look and the program's own reading is changed by
//! root or the install's owner: a tree that somebody else may write is not started at all.

mod read;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use serde_json::Value;

use crate::catalog::connector::Tree;
use crate::catalog::connector::compare::{self, Difference, trees};
use crate::catalog::connector::tree::{Lent, Measured, Top};
use crate::error::{Context, Result};
use crate::jail::foreign::view::Views;
use crate::sys::process::FileUser;

pub(super) use read::Unread;

/// Bytes of what changed that are told, as JSON: it goes to the keeper in one frame.
const TOLD_MAX: usize = 32 << 10;

/// All pins of a jailer.
#[derive(Debug)]
pub(super) struct Pins {
    /// Its own root directory.
    root: OwnedFd,
    own: u32,
    by_manifest: BTreeMap<String, Vec<Pinned>>,
}

/// One pinned tree.
#[derive(Debug)]
struct Pinned {
    tree: Tree,
    /// Where it is in the jailer's root.
    at: PathBuf,
    /// As it was when it was what is pinned; nothing where it never was.
    was: Option<Measured>,
}

/// What would be executed is not what was pinned.
#[derive(Debug)]
pub(super) struct Altered {
    /// In one line.
    pub(super) why: String,
    /// What, as [`Difference`] tells it; the first of them.
    pub(super) changes: Vec<Value>,
}

impl Pins {
    /// Measures what is pinned where the views show it. `own` is the user of this install.
    ///
    /// # Errors
    /// Fails where the own root cannot be opened. What is not as it was pinned is no error: it is
    /// told when it would be started.
    pub(super) fn new(
        pins: &BTreeMap<String, Vec<Tree>>,
        views: Option<&Views>,
        own: u32,
    ) -> Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let root = open("/", flags, Mode::empty()).context(|| "open the own root".into())?;
        let mut all = Self {
            root,
            own,
            by_manifest: BTreeMap::new(),
        };
        for (manifest, trees) in pins {
            let Some(view) = views.and_then(|views| views.get(manifest)) else {
                continue;
            };
            let pinned = trees.iter().map(|tree| {
                let mut pinned = Pinned {
                    tree: tree.clone(),
                    at: view.locate(&tree.path),
                    was: None,
                };
                if let Err(altered) = pinned.check(all.root.as_fd(), own) {
                    tracing::error!(manifest, why = altered.why, "not what was pinned");
                }
                pinned
            });
            let pinned = pinned.collect();
            all.by_manifest.insert(manifest.clone(), pinned);
        }
        Ok(all)
    }

    /// Everything that `manifest` pins is what was pinned.
    ///
    /// # Errors
    /// Says what is not.
    pub(super) fn check(&mut self, manifest: &str) -> std::result::Result<(), Altered> {
        let Some(pinned) = self
            .by_manifest
            .get_mut(manifest)
            .filter(|all| !all.is_empty())
        else {
            return Ok(());
        };
        let _user = as_owner(self.own)?;
        pinned
            .iter_mut()
            .try_for_each(|one| one.check(self.root.as_fd(), self.own))
    }
}

/// What the owner alone may read is pinned too. A confined jailer has no right to look at
/// everything, but root's and its own files are all there may be in a pinned tree. Until what it gives
/// is dropped.
fn as_owner(own: u32) -> std::result::Result<Option<FileUser>, Altered> {
    let user = (own == 0).then(|| FileUser::become_for_now(0, 0));
    user.transpose().map_err(|error| Altered {
        why: format!("its files cannot be looked at: {error}"),
        changes: Vec::new(),
    })
}

impl Pinned {
    fn check(&mut self, root: BorrowedFd<'_>, own: u32) -> std::result::Result<(), Altered> {
        let top = Top::Within(root, &self.at);
        let now = match &self.was {
            Some(was) => was.again(top),
            None => Measured::read_at(&self.tree.path, top),
        };
        let now = now.map_err(|error| Altered {
            why: error.message(),
            changes: vec![Value::from(self.tree.path.to_string_lossy())],
        })?;
        if now.sha256() != self.tree.sha256 {
            let entries = self.was.as_ref().map(|was| trees(was, &now));
            let entries = entries.filter(|entries| !entries.is_empty());
            let whole = || vec![compare::digest_of_file(&self.tree, &now.tree())];
            return Err(Altered::of(&entries.unwrap_or_else(whole)));
        }
        // In a user namespace, whoever is not this user is nobody: the supervisor has looked.
        let lent = if own == 0 {
            now.lent_to_others(own)
        } else {
            None
        };
        if let Some(Lent { path, why }) = lent {
            return Err(Altered::of(&[compare::lent(&path, &why)]));
        }
        self.was = Some(now);
        Ok(())
    }
}

impl Altered {
    fn of(differences: &[Difference]) -> Self {
        let why = differences.first().map(ToString::to_string);
        let mut left = TOLD_MAX;
        let told = differences.iter().map_while(|difference| {
            let value = serde_json::to_value(difference).ok()?;
            left = left.checked_sub(value.to_string().len())?;
            Some(value)
        });
        Self {
            why: why.unwrap_or_default(),
            changes: told.collect(),
        }
    }
}
