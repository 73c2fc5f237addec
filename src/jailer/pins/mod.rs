//! What the programs of a manifest execute, looked at before each start, right after it, and again
//! and again as long as one runs. Looking is for threads of its own: the jailer's loop never waits for
//! a disk, and one connector's large tree holds up no other's start.
//!
//! # What was hashed is what is executed
//!
//! A look reads every entry's stamp (device, inode, size, change time, owner, mode) and the content of
//! those whose stamp is another one than when they were hashed; the first look reads all. A program is
//! started after a look that began after its order found what is pinned. What is changed between that
//! look and the program's own reading shows in the next one, a second after the start: its stamp is
//! another one. So whatever a look finds unchanged is what every program started before it has read.
//! Then each manifest with a running program is looked at every few seconds: one that was changed ends
//! all its programs, and its connector is quarantined.
//!
//! Neither contents nor names can be changed without a new change time (inode(7)), and nobody can set
//! one but root, by setting the clock or by writing to the disk beneath the file system; root can also
//! change and restore a file between two looks. Root is not kept out by this, and nobody else may
//! write what is pinned: a tree that others may change is not started at all.
//!
//! # What it costs
//!
//! Measured without optimisation, on two busy processors: 4,500 entries of which nothing has changed
//! take 35 ms of a thread that nobody waits for, where reading and hashing them took 280. The pause
//! after a look grows with what it took, so that no manifest costs more than a fiftieth of a
//! processor, however large its trees are.

mod check;
mod read;
mod workers;

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use crate::catalog::connector::Tree;
use crate::error::Result;
use crate::jail::foreign::view::Views;
use check::Pinned;
pub(super) use check::{Altered, Not};
pub(super) use read::Unread;
use workers::{Look, Workers};

/// Between two looks at what runs.
const EVERY: Duration = Duration::from_secs(5);
/// From a start to the next look.
const AFTER_START: Duration = Duration::from_secs(1);
/// The pause after a look is at least so many times what it took.
const PAUSES: u32 = 50;

/// All pins of a jailer.
#[derive(Debug)]
pub(super) struct Pins {
    /// None where nothing is pinned.
    workers: Option<Workers>,
    by_manifest: BTreeMap<String, Turns>,
    last: u64,
}

/// The looks at what one manifest pins: one at a time.
#[derive(Debug)]
struct Turns {
    /// Not there while somebody looks.
    pinned: Option<Vec<Pinned>>,
    /// Number of the look that is under way.
    now: Option<u64>,
    /// Number of the one after it.
    next: Option<u64>,
    /// When what runs is looked at again.
    due: Instant,
}

/// What a look has found.
#[derive(Debug)]
pub(super) struct Found {
    /// At which manifest.
    pub(super) manifest: String,
    /// Its number: whoever waits for this or an earlier one has waited for it.
    pub(super) number: u64,
    /// Whether its programs may run.
    pub(super) found: std::result::Result<(), Not>,
}

impl Pins {
    /// Begins to look at everything that is pinned, where the views show it. `own` is the user of
    /// this install. The threads have all the confinement of this one, which is confined already.
    ///
    /// # Errors
    /// Fails where the own root cannot be opened or no thread be made. What is not as it was pinned is
    /// no error: it is told when it would be started.
    pub(super) fn new(
        pins: &BTreeMap<String, Vec<Tree>>,
        views: Option<&Views>,
        own: u32,
    ) -> Result<Self> {
        let mut all = Self {
            workers: None,
            by_manifest: BTreeMap::new(),
            last: 0,
        };
        for (manifest, trees) in pins {
            let Some(view) = views.and_then(|views| views.get(manifest)) else {
                continue;
            };
            let pinned = trees
                .iter()
                .map(|tree| Pinned::new(tree, view.locate(&tree.path)));
            let turns = Turns {
                pinned: Some(pinned.collect()),
                now: None,
                next: None,
                due: Instant::now(),
            };
            if !trees.is_empty() {
                all.by_manifest.insert(manifest.clone(), turns);
            }
        }
        if !all.by_manifest.is_empty() {
            all.workers = Some(Workers::new(own)?);
        }
        let names: Vec<String> = all.by_manifest.keys().cloned().collect();
        for name in names {
            all.look(&name);
        }
        Ok(all)
    }

    /// Has a look begin that nobody has begun yet: its number. Nothing where nothing is pinned.
    pub(super) fn look(&mut self, manifest: &str) -> Option<u64> {
        let turns = self.by_manifest.get_mut(manifest)?;
        if let Some(next) = turns.next {
            return Some(next);
        }
        self.last = self.last.saturating_add(1);
        turns.next = Some(self.last);
        self.begin(manifest);
        Some(self.last)
    }

    /// A program of this manifest was started just now.
    pub(super) fn started(&mut self, manifest: &str) {
        if let Some(turns) = self.by_manifest.get_mut(manifest) {
            turns.due = turns.due.min(Instant::now() + AFTER_START);
        }
    }

    /// When what runs of this manifest is looked at again; nothing where it pins nothing, or somebody
    /// looks.
    pub(super) fn due(&self, manifest: &str) -> Option<Instant> {
        let turns = self.by_manifest.get(manifest)?;
        turns.now.is_none().then_some(turns.due)
    }

    /// What to watch: the end of a look.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.workers.as_ref().map(Workers::fd)
    }

    /// A look that has ended. The next one begins with [`Self::go_on`].
    pub(super) fn found(&mut self) -> Option<Found> {
        let Look {
            manifest,
            pinned,
            found,
            took,
        } = self.workers.as_ref()?.ended()?;
        let turns = self.by_manifest.get_mut(&manifest)?;
        let number = turns.now.take()?;
        turns.pinned = Some(pinned);
        turns.due = Instant::now() + EVERY.max(took.saturating_mul(PAUSES));
        Some(Found {
            manifest,
            number,
            found,
        })
    }

    /// Who waited for the last look has been served: the next one may begin, where one is wanted.
    pub(super) fn go_on(&mut self, manifest: &str) {
        self.begin(manifest);
    }

    /// Begins the next look, where one is wanted and none is under way.
    fn begin(&mut self, manifest: &str) {
        let Some(workers) = &self.workers else { return };
        if let Some(turns) = self.by_manifest.get_mut(manifest)
            && turns.now.is_none()
            && let Some(pinned) = turns.pinned.take()
        {
            match turns.next.take() {
                Some(number) => {
                    turns.now = Some(number);
                    workers.begin(manifest, pinned);
                }
                None => turns.pinned = Some(pinned),
            }
        }
    }
}
