//! The pool of leaves: made ahead, taken, given back, used again.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::NO_CGROUPS;
use super::controllers::{Controllers, Limits};
use super::delegate::Lack;
use super::leaf::{Leaf, Verdict};
use super::node::{Node, end};
use super::own::UNIT;
use crate::sys::cgroup::Group;
use crate::wire::messages::Limiting;

/// Leaves at most, with those that could not be emptied.
pub const LEAVES_MAX: usize = 160;
/// Leaves made before the first jail.
const AHEAD: usize = 4;
/// Leaves that are kept for later; more than these are removed when they come back.
const KEPT: usize = 16;
/// How long a leaf whose processes were killed may take to become empty.
const PATIENCE: Duration = Duration::from_secs(1);
/// The cgroup of the jailer itself.
pub(super) const JAILER: &str = "jailer";
/// Begin of a leaf's name.
const LEAF: &str = "jail-";
/// What the leaves made ahead are limited to until a jail asks for something else.
const FIRST: Limits = Limits {
    memory: 256 << 20,
    processes: 0,
    cpu_percent: 100,
};

/// The cgroups of a jailer.
#[derive(Debug)]
pub struct Cgroups<N: Node = Group> {
    /// The jailer's subtree, while it is used.
    plane: Option<N>,
    controllers: Controllers,
    lack: Option<Lack>,
    free: Vec<Leaf<N>>,
    /// Not used again: names of leaves with processes that do not end.
    stuck: Vec<String>,
    taken: usize,
    next: u64,
    pub(super) patience: Duration,
}

impl<N: Node> Cgroups<N> {
    /// Enters the subtree `plane`, where there is one, with this process; before it is confined.
    pub fn enter(plane: Option<N>, lack: Option<Lack>) -> Self {
        let mut cgroups = Self {
            plane: None,
            controllers: Controllers::default(),
            lack,
            free: Vec::new(),
            stuck: Vec::new(),
            taken: 0,
            next: 0,
            patience: PATIENCE,
        };
        let Some(plane) = plane else {
            let none = || Lack::new("no cgroup was given to this jailer", UNIT);
            cgroups.lack.get_or_insert_with(none);
            return cgroups;
        };
        let own = plane.child(JAILER);
        match own.and_then(|own| own.write("cgroup.procs", "0")) {
            Ok(()) => cgroups.plane = Some(plane),
            Err(error) => cgroups.give_up(format!("the jailer cannot enter its cgroup: {error}")),
        }
        cgroups
    }

    /// The subtree, for a Landlock rule.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.plane.as_ref().map(Node::fd)
    }

    /// Removes what an earlier jailer left, and makes leaves ahead; as the confined jailer, whose
    /// they are. What does not work is given up, with its reason.
    pub fn fill(&mut self) {
        if self.plane.is_none() {
            return;
        }
        self.sweep();
        if let Err(error) = self.ahead() {
            self.give_up(format!("the jailer cannot make cgroups: {error}"));
        } else if !self.controllers.all() && self.lack.is_none() {
            let missing = self.controllers.missing().join(", ");
            let why = format!("its cgroup has no controller for {missing}");
            self.lack = Some(Lack::new(why, UNIT));
        }
    }

    /// A leaf with these limits; `None` where there are no cgroups, which [`Cgroups::limiting`]
    /// tells.
    ///
    /// # Errors
    /// Fails where a leaf cannot be made or limited: the jail must not start then. Fails where all
    /// of [`LEAVES_MAX`] are in use.
    pub fn take(&mut self, limits: Limits) -> io::Result<Option<Leaf<N>>> {
        if self.plane.is_none() {
            return Ok(None);
        }
        if !self.stuck.is_empty() {
            self.retry();
        }
        let mut leaf = match self.free.pop() {
            Some(leaf) => leaf,
            None => self.make()?,
        };
        if let Err(error) = leaf.limit(limits) {
            self.discard(&leaf);
            return Err(error);
        }
        self.taken += 1;
        Ok(Some(leaf))
    }

    /// Takes a leaf back after its jail has ended; what is left in it is killed. A leaf that was
    /// killed is removed; one that cannot be emptied stays and is not used again.
    pub fn give_back(&mut self, mut leaf: Leaf<N>) -> Verdict {
        self.taken = self.taken.saturating_sub(1);
        if !leaf.is_empty(Duration::ZERO) {
            leaf.kill();
            if !leaf.is_empty(self.patience) {
                tracing::error!(leaf = leaf.name, "processes of a jail do not end");
                let verdict = leaf.settle();
                self.stuck.push(leaf.name);
                return verdict;
            }
        }
        let verdict = leaf.settle();
        if self.plane.is_some() && self.free.len() < KEPT && leaf.is_clean() {
            self.free.push(leaf);
        } else {
            self.discard(&leaf);
        }
        verdict
    }

    /// Removes all leaves; nothing is used after that.
    pub fn close(&mut self) {
        for leaf in std::mem::take(&mut self.free) {
            self.discard(&leaf);
        }
        self.retry();
        for name in &self.stuck {
            tracing::error!(leaf = name, "a leaf is left behind");
        }
        self.plane = None;
    }

    /// Uses no cgroups any more, because of `why`.
    pub fn give_up(&mut self, why: String) {
        tracing::warn!(why, "jails are limited without cgroups");
        self.close();
        self.controllers = Controllers::default();
        self.lack = Some(Lack::new(why, UNIT));
    }

    /// Nothing is missing.
    pub fn is_complete(&self) -> bool {
        self.plane.is_some() && self.controllers.all()
    }

    /// Degradations by name.
    pub fn degraded(&self) -> Option<&'static str> {
        (!self.is_complete()).then_some(NO_CGROUPS)
    }

    /// How jails are limited and ended, and what that lacks.
    pub fn limiting(&self) -> Limiting {
        let lack = self.lack.as_ref().filter(|_| !self.is_complete());
        let names = self.controllers.names().into_iter();
        Limiting {
            controllers: names.map(str::to_owned).collect(),
            kill: self.plane.is_some(),
            why: lack.map(|lack| lack.why.clone()),
            mend: lack.map(|lack| lack.mend.clone()),
        }
    }

    fn sweep(&mut self) {
        let Some(plane) = &self.plane else { return };
        let left = plane.children().unwrap_or_default().into_iter();
        for name in left.filter(|name| name != JAILER) {
            tracing::warn!(leaf = name, "removing what an earlier jailer left");
            if let Err(error) = end(plane, &name, self.patience) {
                tracing::error!(leaf = name, %error, "cannot remove it");
                self.stuck.push(name);
            }
        }
    }

    fn ahead(&mut self) -> io::Result<()> {
        let Some(plane) = &self.plane else {
            return Ok(());
        };
        self.controllers = Controllers::parse(&plane.read("cgroup.subtree_control")?);
        for _ in 0..AHEAD {
            let mut leaf = self.make()?;
            let tried = leaf.limit(FIRST).and_then(|()| leaf.check());
            if let Err(error) = tried {
                self.discard(&leaf);
                return Err(error);
            }
            self.free.push(leaf);
        }
        Ok(())
    }

    fn make(&mut self) -> io::Result<Leaf<N>> {
        let none = || io::Error::other("no cgroups here");
        let plane = self.plane.as_ref().ok_or_else(none)?;
        if self.taken + self.free.len() + self.stuck.len() >= LEAVES_MAX {
            let what = format!("{LEAVES_MAX} cgroups are in use");
            return Err(io::Error::other(what));
        }
        loop {
            self.next += 1;
            let name = format!("{LEAF}{}", self.next);
            // A name can be that of a stuck leaf of an earlier jailer.
            if !self.stuck.contains(&name) {
                return Leaf::make(plane, name, self.controllers);
            }
        }
    }

    fn discard(&mut self, leaf: &Leaf<N>) {
        let Some(plane) = &self.plane else { return };
        if let Err(error) = plane.remove(&leaf.name) {
            tracing::error!(leaf = leaf.name, %error, "cannot remove a leaf");
            self.stuck.push(leaf.name.clone());
        }
    }

    /// Removes leaves that have become empty since.
    fn retry(&mut self) {
        let Some(plane) = &self.plane else { return };
        self.stuck
            .retain(|name| end(plane, name, Duration::ZERO).is_err());
    }
}
