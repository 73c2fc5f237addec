//! The handle through which everybody appends.

use std::fmt;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::disk::{Disk, RealDisk};
use super::draft::{Draft, Prepared};
use super::entry::Entry;
use super::lanes;
use super::open;
use super::queue::{Answer, Job, Shared, lock};
use super::reader::Reader;
use super::round::Heard;
use super::sealer::Sealer;
use super::tree::Hash;
use crate::error::{Error, Result};
use crate::time::{Clock, Timestamp};

/// Kinds only the log itself writes.
const OWN_KINDS: [&str; 3] = ["segment", "key.changed", "log.recovered"];
/// State that is computed from all entries, in their order.
pub trait Fold: Send + 'static {
    /// Takes one durable entry. Never called for `segment` entries.
    fn apply(&mut self, entry: &Entry);
    /// The state as JSON: integers only. It begins the next segment.
    fn snapshot(&self) -> serde_json::Value;
    /// Replaces the state by a snapshot.
    ///
    /// # Errors
    /// Fails on what [`Fold::snapshot`] did not make.
    fn restore(&mut self, state: &serde_json::Value) -> Result<()>;
}

/// How a log is kept.
#[derive(Debug, Clone)]
pub struct Options {
    /// Entries in a segment, its `segment` entry included; at least 2.
    pub segment_entries: u64,
    /// Least time between two checkpoints that nobody asked for.
    pub checkpoint_every: Duration,
    /// Longest time a caller waits for the disk; the log is blocked after it.
    pub stall: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_entries: 1_000_000,
            checkpoint_every: Duration::from_secs(10),
            stall: Duration::from_secs(10),
        }
    }
}

/// What became of a draft.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Its number in the log.
    pub seq: u64,
    /// Its time.
    pub time: Timestamp,
}

impl From<&Entry> for Written {
    fn from(entry: &Entry) -> Self {
        Self {
            seq: entry.seq,
            time: entry.time,
        }
    }
}

/// Size and root of the tree over all durable entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Number of entries.
    pub size: u64,
    /// Root of the tree.
    pub root: Hash,
}

/// The append-only log of one plane, open for writing. Clones share one writer; the last one that
/// is dropped closes it.
#[derive(Clone)]
pub struct Log {
    handle: Arc<Handle>,
}

struct Handle {
    shared: Arc<Shared>,
    stall: Duration,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close();
    }
}

impl Handle {
    fn close(&self) {
        self.shared.close();
        for thread in lock(&self.threads).drain(..) {
            // One that waits for a dead disk must not keep its process from stopping.
            if !self.shared.hangs() {
                let _ = thread.join();
            }
        }
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("dir", &self.handle.shared.dir())
            .finish_non_exhaustive()
    }
}

impl Log {
    /// Opens the log in `dir` and makes it where there is none; brings `fold` up to date.
    ///
    /// `origin` names the log in every entry and checkpoint. A torn tail is cut off, kept beside
    /// the log and reported in an entry `log.recovered`.
    ///
    /// # Errors
    /// Kind tampered, with file, offset and number, where the log is not what was written. Fails
    /// also where another writer has the log, `sealer` is not the key in force, the disk fails or
    /// `fold` refuses its own snapshot.
    pub fn open<F: Fold>(
        dir: &Path,
        origin: &str,
        sealer: Arc<dyn Sealer>,
        clock: Arc<dyn Clock>,
        fold: Arc<Mutex<F>>,
        options: Options,
    ) -> Result<Self> {
        Self::open_on(
            Arc::new(RealDisk),
            dir,
            origin,
            sealer,
            clock,
            fold,
            options,
        )
    }

    /// [`Log::open`], writing segments through `disk`.
    ///
    /// # Errors
    /// As [`Log::open`].
    pub fn open_on<F: Fold>(
        disk: Arc<dyn Disk>,
        dir: &Path,
        origin: &str,
        sealer: Arc<dyn Sealer>,
        clock: Arc<dyn Clock>,
        fold: Arc<Mutex<F>>,
        options: Options,
    ) -> Result<Self> {
        let stall = options.stall;
        let setup = open::Setup {
            disk,
            dir,
            origin,
            sealer,
            clock,
            fold,
            options,
        };
        let writer = open::open(setup)?;
        let handle = Handle {
            shared: writer.shared(),
            stall,
            threads: Mutex::new(lanes::start(writer)?),
        };
        Ok(Self {
            handle: Arc::new(handle),
        })
    }

    /// Writes an entry and returns once it is durable and the fold has seen it. Never call it
    /// while holding the fold's lock.
    ///
    /// # Errors
    /// Fails on a draft the log cannot hold, at once on a blocked or closed log, within a second
    /// where the queue stays full, and after [`Options::stall`] where the disk does not answer:
    /// then nobody knows whether the entry was written, and the log is blocked.
    pub fn append(&self, draft: Draft) -> Result<Written> {
        if OWN_KINDS.contains(&draft.kind) {
            return Err(Error::new(format!(
                "only the log itself writes `{}`",
                draft.kind
            )));
        }
        let shared = &self.handle.shared;
        let prepared = Box::new(Prepared::new(draft, shared.names())?);
        let (round, ticket) = shared.put(Job::Append(prepared))?;
        match round.wait(ticket, self.handle.stall) {
            Heard::Answer(result) => result.map(|prepared| prepared.entry().into()),
            Heard::Refused(why) => Err(shared.blocked_error(&why)),
            Heard::Silence => {
                let (why, error) = self.stalled();
                // The round may be closed by now: then only its writer knows it.
                round.refuse(&why);
                Err(error)
            }
        }
    }

    /// Blocks the log because the disk does not answer.
    fn stalled(&self) -> (String, Error) {
        let stall = self.handle.stall.as_millis();
        let why = format!("the disk did not answer within {stall} ms");
        self.handle.shared.block_hanging(&why);
        let error = self.handle.shared.blocked_error(&why);
        (why, error)
    }

    fn ask<T>(&self, job: impl FnOnce(Answer<T>) -> Job) -> Result<T> {
        let (answer, wait) = sync_channel(1);
        self.handle.shared.put(job(answer))?;
        match wait.recv_timeout(self.handle.stall) {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => Err(self.stalled().1),
            Err(RecvTimeoutError::Disconnected) => {
                let why = "its writer has ended";
                self.handle.shared.block(why);
                Err(self.handle.shared.blocked_error(why))
            }
        }
    }

    /// Why nothing can be written any more; `None` while all is well.
    pub fn blocked(&self) -> Option<String> {
        self.handle.shared.blocked()
    }

    /// Size and root of what is durable.
    pub fn head(&self) -> Head {
        self.handle.shared.head()
    }

    /// Signs and stores a checkpoint now; gives the signed note.
    ///
    /// # Errors
    /// Fails where the sealer or the disk does, and on a blocked or closed log.
    pub fn checkpoint_now(&self) -> Result<String> {
        self.ask(Job::Checkpoint)
    }

    /// Puts a new key in force: the old one signs the entry `key.changed`, and the new one a
    /// checkpoint right after it.
    ///
    /// # Errors
    /// As [`Log::append`] and [`Log::checkpoint_now`].
    pub fn rotate_key(&self, sealer: Arc<dyn Sealer>) -> Result<Written> {
        self.ask(|answer| Job::Rotate(sealer, answer))
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.handle.shared.waiting()
    }

    /// The log's directory.
    pub fn directory(&self) -> &Path {
        self.handle.shared.dir()
    }

    /// A reader of this log.
    ///
    /// # Errors
    /// Fails where the directory cannot be read.
    pub fn reader(&self) -> Result<Reader> {
        Reader::open(self.directory())
    }

    /// Wakes a follower after commits with the number of durable entries; wakes that are not
    /// taken in time merge. Ends when the log closes or is blocked.
    pub fn subscribe(&self) -> Receiver<u64> {
        self.handle.shared.follow()
    }

    /// Signs a last checkpoint and stops the writer. Later appends fail.
    pub fn close(&self) {
        self.handle.close();
    }
}
