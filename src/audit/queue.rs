//! What stands between the callers and the one writer: a bounded queue, and the word whether the
//! log is blocked.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::draft::Prepared;
use super::log::{Head, Written};
use super::sealer::Sealer;
use crate::error::{Error, Result};

/// Most drafts that wait for the writer.
const QUEUE_MAX: usize = 4096;
/// Most bytes that wait for the writer.
const QUEUE_BYTES_MAX: usize = 256 << 20;
/// How long a caller waits for room in the queue.
const ROOM_WAIT: Duration = Duration::from_secs(1);

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

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
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

    /// The log's directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Size and root of what is durable.
    pub(crate) fn head(&self) -> Head {
        *lock(&self.head)
    }

    /// A channel that wakes after commits.
    pub(crate) fn follow(&self) -> Receiver<u64> {
        let (wake, woken) = sync_channel(1);
        let mut followers = lock(&self.followers);
        // The first wake: there may be entries already.
        let _ = wake.try_send(self.head().size);
        followers.push(wake);
        woken
    }

    /// Whether the writer waits for a disk that does not answer.
    pub(crate) fn hangs(&self) -> bool {
        lock(&self.queue).hangs
    }

    /// [`Shared::block`], because the writer hangs.
    pub(crate) fn block_hanging(&self, why: &str) {
        lock(&self.queue).hangs = true;
        self.block(why);
    }

    /// How many jobs wait.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        lock(&self.queue).jobs.len()
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
                Err(TrySendError::Disconnected(_))
            )
        });
    }

    /// Lets followers end.
    pub(crate) fn part(&self) {
        lock(&self.followers).clear();
    }

    /// Puts a job behind the others; waits a second at most for room.
    pub(crate) fn put(&self, job: Job) -> Result<()> {
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

    /// Takes no more jobs; the writer ends after those that wait.
    pub(crate) fn close(&self) {
        lock(&self.queue).closing = true;
        self.work.notify_all();
        self.room.notify_all();
    }
}
