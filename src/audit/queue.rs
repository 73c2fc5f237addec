//! What stands between the callers and the lanes that write: a bounded queue, and the word whether the
//! log is blocked.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::draft::{Names, Prepared};
use super::log::{Head, Written};
use super::round::Round;
use super::sealer::Sealer;
use super::tree::Frontier;
use crate::error::{Error, Result};

/// Most drafts that wait for the writer.
const QUEUE_MAX: usize = 4096;
/// Most bytes that wait for the writer.
const QUEUE_BYTES_MAX: usize = 256 << 20;
/// How long a caller waits for room in the queue.
const ROOM_WAIT: Duration = Duration::from_secs(1);

/// A commit goes beside another with at least so many jobs: fewer are not worth the processor time
/// of an fdatasync of their own.
pub(super) const BESIDE: usize = 16;

/// An answer that is waited for.
pub(crate) type Answer<T> = SyncSender<Result<T>>;

/// What the writer is asked for.
#[derive(Debug)]
pub(crate) enum Job {
    /// Answered through the [`Round`] it is in.
    Append(Box<Prepared>),
    Rotate(Arc<dyn Sealer>, Answer<Written>),
    Checkpoint(Answer<String>),
}

impl Job {
    fn size(&self) -> usize {
        match self {
            Self::Append(prepared) => prepared.size(),
            Self::Rotate(..) | Self::Checkpoint(_) => 0,
        }
    }

    /// Answers with a failure; appends are refused by their round.
    pub(crate) fn refuse(self, error: Error) {
        // Whoever asked may have gone: then nobody needs the answer.
        let _ = match self {
            Self::Append(_) => true,
            Self::Rotate(_, answer) => answer.send(Err(error)).is_ok(),
            Self::Checkpoint(answer) => answer.send(Err(error)).is_ok(),
        };
    }
}

#[derive(Debug, Default)]
struct Queue {
    jobs: VecDeque<Job>,
    bytes: usize,
    /// Of all appends since the writer closed the round before.
    round: Arc<Round>,
    /// How many these are.
    tickets: usize,
    lanes: Lanes,
    /// Somebody waits for room.
    crowded: bool,
    closing: bool,
    blocked: Option<String>,
    /// The writer waits for a disk that does not answer.
    hangs: bool,
}

/// What the threads that write are doing.
#[derive(Debug, Default)]
struct Lanes {
    /// How many sleep.
    idle: usize,
    /// One of them was woken and has not looked yet.
    called: bool,
    /// One takes jobs on.
    taking: bool,
    /// Commits on their way through the disk.
    in_flight: usize,
    /// When a checkpoint is due.
    due: Option<Instant>,
}

impl Queue {
    fn take(&mut self) -> VecDeque<Job> {
        self.bytes = 0;
        std::mem::take(&mut self.jobs)
    }

    /// Whether a lane should take what is in the queue.
    fn is_ready(&self) -> bool {
        let least = if self.lanes.in_flight == 0 { 1 } else { BESIDE };
        !self.lanes.taking && self.jobs.len() >= least
    }

    /// Whether a lane must be woken for what is in the queue; once for each time it sleeps.
    fn call(&mut self) -> bool {
        let wake = self.lanes.idle > 0 && !self.lanes.called && self.is_ready();
        self.lanes.called |= wake;
        wake
    }

    fn close_round(&mut self) -> Arc<Round> {
        self.tickets = 0;
        std::mem::take(&mut self.round)
    }
}

/// Jobs on their way to the disk.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) jobs: VecDeque<Job>,
    /// Whether the round is closed: no more jobs belong to it.
    pub(crate) last: bool,
}

/// What the writer and its callers share.
#[derive(Debug)]
pub(crate) struct Shared {
    dir: PathBuf,
    names: Names,
    queue: Mutex<Queue>,
    work: Condvar,
    room: Condvar,
    durable: Mutex<Frontier>,
    followers: Mutex<Vec<SyncSender<u64>>>,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every holder leaves these values whole at each step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn new(dir: &Path, names: Names, durable: Frontier) -> Self {
        Self {
            dir: dir.into(),
            names,
            queue: Mutex::default(),
            work: Condvar::new(),
            room: Condvar::new(),
            durable: Mutex::new(durable),
            followers: Mutex::default(),
        }
    }

    /// The log's directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// What every entry of this opening of the log says.
    pub(crate) fn names(&self) -> &Names {
        &self.names
    }

    /// Size and root of what is durable.
    pub(crate) fn head(&self) -> Head {
        let durable = lock(&self.durable);
        Head {
            size: durable.size(),
            root: durable.root(),
        }
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

    /// All waiting jobs and their round, once there are some and no other lane takes jobs on; no
    /// jobs when a checkpoint is due; `None` when the log closes or is blocked. Until
    /// [`Shared::let_go`] the caller alone takes jobs.
    pub(crate) fn take(&self) -> Option<(VecDeque<Job>, Arc<Round>)> {
        let mut queue = lock(&self.queue);
        loop {
            if queue.blocked.is_some() {
                return None;
            }
            let mut left = None;
            if !queue.lanes.taking {
                // A log that closes signs its last checkpoint anyway.
                let due = queue.lanes.due.filter(|_| !queue.closing);
                left = due.map(|due| due.saturating_duration_since(Instant::now()));
                if queue.is_ready() || left == Some(Duration::ZERO) {
                    queue.lanes.taking = true;
                    return Some((self.empty(&mut queue), Arc::clone(&queue.round)));
                }
                if queue.closing && queue.jobs.is_empty() {
                    return None;
                }
            }
            queue.lanes.idle += 1;
            queue = match left {
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
            queue.lanes.idle -= 1;
            queue.lanes.called = false;
        }
    }

    /// Lets another lane take jobs.
    pub(crate) fn let_go(&self, due: Option<Instant>, begun: bool) {
        let mut queue = lock(&self.queue);
        queue.lanes.taking = false;
        queue.lanes.in_flight += usize::from(begun);
        queue.lanes.due = due;
        let (wake, closing) = (queue.call(), queue.closing);
        drop(queue);
        if closing {
            self.work.notify_all();
        } else if wake {
            self.work.notify_one();
        }
    }

    /// A commit is through.
    pub(crate) fn landed(&self) {
        lock(&self.queue).lanes.in_flight -= 1;
    }

    /// The jobs that came since. Closes the round when there are none, or when it must be `last`;
    /// `None` when the log is blocked.
    pub(crate) fn take_more(&self, last: bool) -> Option<Taken> {
        let mut queue = lock(&self.queue);
        if queue.blocked.is_some() {
            return None;
        }
        let jobs = self.empty(&mut queue);
        let last = last || jobs.is_empty();
        if last {
            queue.close_round();
        }
        Some(Taken { jobs, last })
    }

    fn empty(&self, queue: &mut Queue) -> VecDeque<Job> {
        if std::mem::take(&mut queue.crowded) {
            self.room.notify_all();
        }
        queue.take()
    }

    /// Blocks the log for good and refuses everybody who waits. The first reason stays.
    pub(crate) fn block(&self, why: &str) {
        let mut queue = lock(&self.queue);
        let why = queue.blocked.get_or_insert_with(|| why.into()).clone();
        let (jobs, round) = (queue.take(), queue.close_round());
        self.room.notify_all();
        self.work.notify_all();
        drop(queue);
        round.refuse(&why);
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
    pub(crate) fn publish(&self, durable: &Frontier) {
        lock(&self.durable).clone_from(durable);
        // A full channel means that the follower will wake anyway.
        lock(&self.followers).retain(|follower| {
            !matches!(
                follower.try_send(durable.size()),
                Err(TrySendError::Disconnected(_))
            )
        });
    }

    /// Lets followers end.
    pub(crate) fn part(&self) {
        lock(&self.followers).clear();
    }

    /// Puts a job behind the others; waits a second at most for room. Gives the round, and the
    /// ticket in it where the job is an append.
    pub(crate) fn put(&self, job: Job) -> Result<(Arc<Round>, usize)> {
        let mut deadline = None;
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
            let until = *deadline.get_or_insert_with(|| Instant::now() + ROOM_WAIT);
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::new(format!(
                    "the log `{}` has {} entries waiting for the disk",
                    self.dir.display(),
                    queue.jobs.len()
                ))
                .hint("the disk is too slow for this load; nothing was written, try again"));
            }
            queue.crowded = true;
            queue = self
                .room
                .wait_timeout(queue, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        let place = (Arc::clone(&queue.round), queue.tickets);
        queue.tickets += usize::from(matches!(job, Job::Append(_)));
        queue.bytes += size;
        queue.jobs.push_back(job);
        let wake = queue.call();
        drop(queue);
        if wake {
            self.work.notify_one();
        }
        Ok(place)
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
