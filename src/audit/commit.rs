//! Commits on their way through the disk: made durable side by side, finished in their order.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::disk::Tail;
use super::draft::Prepared;
use super::log::Fold;
use super::queue::{Shared, lock};
use super::round::Round;
use super::tree::Frontier;
use crate::error::Result;

/// Why the log must block.
pub(crate) struct Dead(pub(crate) String);

/// What was appended to a segment by one write, and who waits for it.
pub(crate) struct Commit {
    /// Commits are counted from 0.
    pub(crate) number: u64,
    /// An open file of its own among the commits in flight: the kernel reports a failed write
    /// once to each open file (fsync(2), "ERRORS"), and every commit has to hear of it.
    pub(crate) tail: Arc<dyn Tail>,
    pub(crate) path: PathBuf,
    /// Bytes of the segment up to the end of this commit.
    pub(crate) length: u64,
    /// Bytes of the segment up to the end of the last commit that was begun.
    pub(crate) appended: Arc<AtomicU64>,
    /// By ticket; what could not be stamped is none of it.
    pub(crate) entries: Vec<Result<Box<Prepared>>>,
    pub(crate) round: Arc<Round>,
    /// The tree over all entries up to these.
    pub(crate) tree: Frontier,
}

impl Commit {
    /// One fdatasync for all of it.
    fn sync(&self) -> Result<(), Dead> {
        let dead = |what: &str, error: &dyn std::fmt::Display| {
            Dead(format!("{what} `{}`: {error}", self.path.display()))
        };
        self.tail
            .sync()
            .map_err(|error| dead("fdatasync", &error))?;
        let found = self.tail.length().map_err(|error| dead("check", &error))?;
        // Read after the length: whatever was begun until then may be part of it.
        let most = self.appended.load(Ordering::SeqCst);
        if (self.length..=most).contains(&found) {
            return Ok(());
        }
        let why = format!(
            "somebody else changed the file: it has {found} bytes in place of {}",
            self.length
        );
        Err(dead("check", &why))
    }
}

/// The end of every commit: the fold, then the answers.
pub(crate) struct Finish {
    fold: Arc<Mutex<dyn Fold>>,
    shared: Arc<Shared>,
    turn: Mutex<Turn>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct Turn {
    /// The commit that finishes next.
    next: u64,
    /// Why none does any more.
    dead: Option<String>,
    waiting: bool,
}

impl Finish {
    pub(crate) fn new(fold: Arc<Mutex<dyn Fold>>, shared: Arc<Shared>) -> Self {
        Self {
            fold,
            shared,
            turn: Mutex::default(),
            moved: Condvar::new(),
        }
    }

    /// Makes a commit durable, and finishes it once all before it are: what is acknowledged never
    /// stands behind what is not.
    pub(crate) fn run(&self, commit: Commit) -> Result<(), Dead> {
        let synced = commit.sync();
        let done = self
            .turn(commit.number)
            .and(synced)
            .and_then(|()| self.apply(&commit));
        let mut turn = lock(&self.turn);
        if let Err(Dead(why)) = &done {
            // Blocked before anybody hears of it, so that this reason is the one told.
            self.shared.block(why);
            turn.dead.get_or_insert_with(|| why.clone());
            commit.round.refuse(why);
        }
        turn.next = commit.number + 1;
        let wake = std::mem::take(&mut turn.waiting);
        drop(turn);
        if wake {
            self.moved.notify_all();
        }
        if done.is_ok() {
            commit.round.tell(commit.entries);
        }
        done
    }

    /// Waits until all commits before this one are finished.
    pub(crate) fn turn(&self, number: u64) -> Result<(), Dead> {
        let mut turn = lock(&self.turn);
        while turn.next < number && turn.dead.is_none() {
            turn.waiting = true;
            turn = self
                .moved
                .wait(turn)
                .unwrap_or_else(PoisonError::into_inner);
        }
        turn.dead.clone().map_or(Ok(()), |why| Err(Dead(why)))
    }

    fn apply(&self, commit: &Commit) -> Result<(), Dead> {
        {
            let Ok(mut fold) = self.fold.lock() else {
                return Err(Dead("the state that follows the log is damaged".into()));
            };
            let entries = commit.entries.iter().flatten().map(|p| p.entry());
            for entry in entries.filter(|entry| entry.kind != "segment") {
                fold.apply(entry);
            }
        }
        self.shared.publish(&commit.tree);
        Ok(())
    }
}
