//! The handle through which everybody appends: a bounded queue before the one writer thread.

use std::collections::VecDeque;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::disk::{Disk, RealDisk};
use super::entry::{Draft, Entry, Prepared};
use super::open;
use super::reader::Reader;
use super::sealer::Sealer;
use super::tree::Hash;
use crate::error::{Error, Result};
use crate::time::{Clock, Timestamp};

/// Kinds only the log itself writes.
const OWN_KINDS: [&str; 3] = ["segment", "key.changed", "log.recovered"];
/// Most drafts that wait for the writer.
const QUEUE_MAX: usize = 4096;
/// Most bytes that wait for the writer.
const QUEUE_BYTES_MAX: usize = 256 << 20;
/// How long a caller waits for room in the queue.
const ROOM_WAIT: Duration = Duration::from_secs(1);

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

/// Size and root of the tree over all durable entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Number of entries.
    pub size: u64,
    /// Root of the tree.
    pub root: Hash,
}

/// An answer that is waited for.
pub(crate) type Answer<T> = SyncSender<Result<T>>;

/// What the writer is asked for.
#[derive(Debug)]
pub(crate) enum Job {
    Append(Box<Prepared>, Answer<Written>),
    Rotate(Arc<dyn Sealer>, Answer<Written>),
    Checkpoint(Answer<String>),
}

impl Job {
    fn size(&self) -> usize {
        match self {
            Self::Append(prepared, _) => prepared.size(),
            Self::Rotate(..) | Self::Checkpoint(_) => 0,
        }
    }

    /// Answers with a failure.
    pub(crate) fn refuse(self, error: Error) {
        // Whoever asked may have gone: then nobody needs the answer.
        let _ = match self {
            Self::Append(_, answer) | Self::Rotate(_, answer) => answer.send(Err(error)).is_ok(),
            Self::Checkpoint(answer) => answer.send(Err(error)).is_ok(),
        };
    }
}

#[derive(Debug, Default)]
struct Queue {
    jobs: VecDeque<Job>,
    bytes: usize,
    closing: bool,
    blocked: Option<String>,
    /// The writer waits for a disk that does not answer.
    hangs: bool,
}

/// What the writer and its callers share.
#[derive(Debug)]
pub(crate) struct Shared {
    dir: PathBuf,
    queue: Mutex<Queue>,
    work: Condvar,
    room: Condvar,
    head: Mutex<Head>,
    followers: Mutex<Vec<SyncSender<u64>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every holder leaves these values whole at each step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn new(dir: &Path, head: Head) -> Self {
        Self {
            dir: dir.into(),
            queue: Mutex::default(),
            work: Condvar::new(),
            room: Condvar::new(),
            head: Mutex::new(head),
            followers: Mutex::default(),
        }
    }

    /// All waiting jobs, once there are some; an empty list when `until` has passed; `None` when
    /// the log closes or is blocked.
    pub(crate) fn take(&self, until: Option<Instant>) -> Option<VecDeque<Job>> {
        let mut queue = lock(&self.queue);
        loop {
            if queue.blocked.is_some() {
                return None;
            }
            if !queue.jobs.is_empty() {
                queue.bytes = 0;
                let jobs = std::mem::take(&mut queue.jobs);
                self.room.notify_all();
                return Some(jobs);
            }
            if queue.closing {
                return None;
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            queue = match left {
                Some(Duration::ZERO) => return Some(VecDeque::new()),
                Some(left) => {
                    self.work
                        .wait_timeout(queue, left)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
                None => self
                    .work
                    .wait(queue)
                    .unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Whether nobody waits.
    pub(crate) fn is_idle(&self) -> bool {
        lock(&self.queue).jobs.is_empty()
    }

    /// Blocks the log for good and refuses everybody who waits. The first reason stays.
    pub(crate) fn block(&self, why: &str) {
        let mut queue = lock(&self.queue);
        let why = queue.blocked.get_or_insert_with(|| why.into()).clone();
        let jobs = std::mem::take(&mut queue.jobs);
        queue.bytes = 0;
        self.room.notify_all();
        self.work.notify_all();
        drop(queue);
        for job in jobs {
            job.refuse(self.blocked_error(&why));
        }
    }

    pub(crate) fn blocked_error(&self, why: &str) -> Error {
        Error::new(format!(
            "the log `{}` is blocked: {why}",
            self.dir.display()
        ))
        .hint("nothing runs without its log; mend the disk and restart the plane")
    }

    /// Shows what became durable.
    pub(crate) fn publish(&self, head: Head) {
        *lock(&self.head) = head;
        // A full channel means that the follower will wake anyway.
        lock(&self.followers).retain(|follower| {
            !matches!(
                follower.try_send(head.size),
                Err(std::sync::mpsc::TrySendError::Disconnected(_))
            )
        });
    }

    /// Lets followers end.
    pub(crate) fn part(&self) {
        lock(&self.followers).clear();
    }

    fn put(&self, job: Job) -> Result<()> {
        let deadline = Instant::now() + ROOM_WAIT;
        let size = job.size();
        let mut queue = lock(&self.queue);
        loop {
            if let Some(why) = queue.blocked.clone() {
                return Err(self.blocked_error(&why));
            }
            if queue.closing {
                return Err(Error::new(format!(
                    "the log `{}` is closed",
                    self.dir.display()
                )));
            }
            let fits = queue.jobs.len() < QUEUE_MAX && queue.bytes + size <= QUEUE_BYTES_MAX;
            if fits || queue.jobs.is_empty() {
                break;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::new(format!(
                    "the log `{}` has {} entries waiting for the disk",
                    self.dir.display(),
                    queue.jobs.len()
                ))
                .hint("the disk is too slow for this load; nothing was written, try again"));
            }
            queue = self
                .room
                .wait_timeout(queue, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        queue.bytes += size;
        queue.jobs.push_back(job);
        drop(queue);
        self.work.notify_one();
        Ok(())
    }

    /// Why the log is blocked.
    pub(crate) fn blocked(&self) -> Option<String> {
        lock(&self.queue).blocked.clone()
    }

    fn close(&self) {
        lock(&self.queue).closing = true;
        self.work.notify_all();
        self.room.notify_all();
    }
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
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close();
    }
}

impl Handle {
    fn close(&self) {
        self.shared.close();
        let writer = lock(&self.writer).take();
        if let Some(writer) = writer {
            // A writer that waits for a dead disk must not keep its process from stopping.
            if !lock(&self.shared.queue).hangs {
                let _ = writer.join();
            }
        }
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("dir", &self.handle.shared.dir)
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
        let shared = writer.shared();
        let thread = std::thread::Builder::new()
            .name("log".into())
            .spawn(move || writer.run())
            .map_err(|error| Error::new("start the log's writer").because(error))?;
        let handle = Handle {
            shared,
            stall,
            writer: Mutex::new(Some(thread)),
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
        let prepared = Box::new(Prepared::new(draft)?);
        self.ask(|answer| Job::Append(prepared, answer))
    }

    fn ask<T>(&self, job: impl FnOnce(Answer<T>) -> Job) -> Result<T> {
        let (answer, wait) = sync_channel(1);
        self.handle.shared.put(job(answer))?;
        let stall = self.handle.stall;
        match wait.recv_timeout(stall) {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => {
                let why = format!("the disk did not answer within {} ms", stall.as_millis());
                lock(&self.handle.shared.queue).hangs = true;
                self.handle.shared.block(&why);
                Err(self.handle.shared.blocked_error(&why))
            }
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
        *lock(&self.handle.shared.head)
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

    /// The log's directory.
    pub fn directory(&self) -> &Path {
        &self.handle.shared.dir
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
        let (wake, woken) = sync_channel(1);
        let mut followers = lock(&self.handle.shared.followers);
        let _ = wake.try_send(self.head().size);
        followers.push(wake);
        woken
    }

    /// Signs a last checkpoint and stops the writer. Later appends fail.
    pub fn close(&self) {
        self.handle.close();
    }
}
