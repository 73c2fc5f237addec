//! One look at what a manifest pins, through the very mounts that its jails see, so that nothing put
//! in their place elsewhere can mislead.

use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use serde_json::Value;

use crate::catalog::connector::Tree;
use crate::catalog::connector::compare::{self, Difference, trees};
use crate::catalog::connector::tree::{Lent, Measured, Top};
use crate::sys::process::FileUser;

/// Bytes of what changed that are told, as JSON: it goes to the keeper in one frame.
const TOLD_MAX: usize = 32 << 10;

/// One pinned tree.
#[derive(Debug)]
pub(super) struct Pinned {
    pub(super) tree: Tree,
    /// Where it is in the jailer's root.
    pub(super) at: PathBuf,
    /// As it was when it was what is pinned; nothing where it never was.
    pub(super) was: Option<Measured>,
}

/// What would be executed is not what was pinned.
#[derive(Debug)]
pub(in crate::jailer) struct Altered {
    /// In one line.
    pub(in crate::jailer) why: String,
    /// What, as [`Difference`] tells it; the first of them.
    pub(in crate::jailer) changes: Vec<Value>,
}

/// Why nothing of a manifest may run.
#[derive(Debug)]
pub(in crate::jailer) enum Not {
    /// It is another thing than what was pinned.
    Altered(Altered),
    /// A pinned path is not there at all: nothing that could be another thing. What comes back is
    /// looked at again.
    Gone(String),
}

/// Looks at all of them; `own` is the user of this install.
///
/// # Errors
/// Says what is not as it was pinned; the first of the trees.
pub(super) fn look(pinned: &mut [Pinned], root: BorrowedFd<'_>, own: u32) -> Result<(), Not> {
    let _user = as_owner(own).map_err(Not::Altered)?;
    pinned.iter_mut().try_for_each(|one| one.look(root, own))
}

/// What the owner alone may read is pinned too. A confined jailer has no right to look at
/// everything, but root's and its own files are all there may be in a pinned tree. Until what it gives
/// is dropped, and of the calling thread only (setfsuid(2)).
pub(super) fn as_owner(own: u32) -> Result<Option<FileUser>, Altered> {
    let user = (own == 0).then(|| FileUser::become_for_now(0, 0));
    user.transpose().map_err(|error| Altered {
        why: format!("its files cannot be looked at: {error}"),
        changes: Vec::new(),
    })
}

impl Pinned {
    /// A tree that was not looked at yet, which is at `at` in the jailer's root.
    pub(super) fn new(tree: &Tree, at: PathBuf) -> Self {
        Self {
            tree: tree.clone(),
            at,
            was: None,
        }
    }

    fn look(&mut self, root: BorrowedFd<'_>, own: u32) -> Result<(), Not> {
        let top = Top::Within(root, &self.at);
        if let Some(was) = &self.was
            && was.is_unchanged(top)
        {
            return Ok(());
        }
        let now = match &self.was {
            Some(was) => was.again(top),
            None => Measured::read_at(&self.tree.path, top),
        };
        let now = now.map_err(|error| match Measured::is_gone(&self.tree.path, top) {
            true => Not::Gone(error.message()),
            false => Not::Altered(Altered {
                why: error.message(),
                changes: vec![Value::from(self.tree.path.to_string_lossy())],
            }),
        })?;
        if now.sha256() != self.tree.sha256 {
            // A directory that was removed while a jail shows it is an empty one there.
            if Measured::is_gone(&self.tree.path, top) {
                let path = self.tree.path.to_string_lossy();
                let path = crate::wire::text::escaped(&path);
                return Err(Not::Gone(format!("`{path}` is not there any more")));
            }
            let entries = self.was.as_ref().map(|was| trees(was, &now));
            let entries = entries.filter(|entries| !entries.is_empty());
            let whole = || vec![compare::digest_of_file(&self.tree, &now.tree())];
            return Err(Not::Altered(Altered::of(&entries.unwrap_or_else(whole))));
        }
        // In a user namespace, whoever is not this user is nobody: the supervisor has looked.
        let lent = if own == 0 {
            now.lent_to_others(own)
        } else {
            None
        };
        if let Some(Lent { path, why }) = lent {
            return Err(Not::Altered(Altered::of(&[compare::lent(&path, &why)])));
        }
        self.was = Some(now);
        Ok(())
    }
}

impl Altered {
    pub(super) fn of(differences: &[Difference]) -> Self {
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
