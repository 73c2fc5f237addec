//! What every commit goes through in its order: group commit without a timer, chain, segments.
//! One lane at a time has it.

use std::collections::VecDeque;
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde_json::{Map, Value};

use super::check::Chain;
use super::commit::{Commit, Dead, Finish};
use super::disk::{Disk, Tail};
use super::draft::{Draft, Prepared, Stamp};
use super::frame::{self, Mix, offset};
use super::lanes::LANES;
use super::log::{Fold, Options, Written};
use super::queue::{Answer, Job, Shared};
use super::round::Round;
use super::sealer::Sealer;
use super::segment::{Opening, Previous, Segment};
use super::signing::warn_unsigned;
use super::tree::Hash;
use crate::error::{Context, Error, Result};
use crate::time::Clock;
use crate::wire::text::hex;

/// A buffer that grew beyond this is given back after its batch.
const BUFFER_KEPT: usize = 4 << 20;
/// A batch is cut here.
const BATCH_MAX: usize = 64 << 20;
/// A batch of so many bytes goes to the disk without another look for callers.
const GATHERED: usize = 1 << 20;

/// The active segment.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) segment: Segment,
    /// One for each lane.
    pub(crate) tails: Vec<Arc<dyn Tail>>,
    /// Bytes in the file.
    pub(crate) length: u64,
    /// The same, for the commits in flight.
    pub(crate) appended: Arc<AtomicU64>,
    /// `None` before its first entry.
    pub(crate) mix: Option<Mix>,
}

/// Owns the log.
pub(crate) struct Writer {
    pub(crate) dir: PathBuf,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) chain: Chain,
    pub(crate) active: Active,
    pub(crate) sealer: Arc<dyn Sealer>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) fold: Arc<Mutex<dyn Fold>>,
    pub(crate) options: Options,
    pub(crate) shared: Arc<Shared>,
    pub(crate) finish: Arc<Finish>,
    /// Size of the latest checkpoint.
    pub(crate) signed: u64,
    pub(crate) signed_at: Instant,
    /// Size and root at the last look for a due checkpoint: what the next one covers. A checkpoint
    /// lags behind by that much, so that a plain copy of the directory made meanwhile, segments
    /// first, does not hold a checkpoint over entries it lacks.
    pub(crate) settled: Option<(u64, Hash)>,
    pub(crate) batch: Batch,
    /// Holds the directory's lock. Dropped last: whoever opens the log then finds it complete.
    #[expect(dead_code, reason = "held until it is dropped")]
    pub(crate) lock: File,
}

/// Frames that are not on disk yet, and who waits for them.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    /// By the tickets of the round that come next.
    entries: Vec<Result<Box<Prepared>>>,
    round: Arc<Round>,
    /// The lane it goes through.
    lane: usize,
    /// Number of the next commit.
    number: u64,
}

impl Writer {
    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    pub(crate) fn finish(&self) -> Arc<Finish> {
        Arc::clone(&self.finish)
    }

    /// One turn of a lane: takes on what is asked for. What it gives is appended, but not durable.
    pub(crate) fn turn(
        &mut self,
        lane: usize,
        jobs: VecDeque<Job>,
        round: Arc<Round>,
    ) -> Result<Option<Commit>, Dead> {
        self.batch.lane = lane;
        self.batch.round = round;
        let done = self
            .checkpoint_if_due(jobs.is_empty())
            .and_then(|()| self.gather(jobs));
        if let Err(Dead(why)) = &done {
            self.shared.block(why);
            self.batch.round.refuse(why);
        }
        done
    }

    /// Stamps the jobs, and those that come while it does. There is no timer: a look that finds
    /// nobody is the last.
    fn gather(&mut self, jobs: VecDeque<Job>) -> Result<Option<Commit>, Dead> {
        if jobs.is_empty() {
            return Ok(None);
        }
        self.jobs(jobs)?;
        loop {
            let full = self.batch.bytes.len() >= GATHERED;
            let Some(taken) = self.shared.take_more(full) else {
                // Blocked by a caller: everybody was told.
                return Ok(None);
            };
            self.jobs(taken.jobs)?;
            if taken.last {
                return self.begin();
            }
        }
    }

    /// Ends an orderly log: what is durable is signed.
    pub(crate) fn end(&mut self) -> Result<(), Dead> {
        if self.shared.blocked().is_none() && self.signed < self.chain.tree.size() {
            self.flush()?;
            self.sign_or_warn()?;
        }
        Ok(())
    }

    fn jobs(&mut self, jobs: VecDeque<Job>) -> Result<(), Dead> {
        let mut jobs = jobs.into_iter();
        while let Some(job) = jobs.next() {
            if let Err(Dead(why)) = self.job(job) {
                // Those behind this one are not in the queue any more.
                for job in jobs {
                    job.refuse(self.shared.blocked_error(&why));
                }
                return Err(Dead(why));
            }
        }
        Ok(())
    }

    fn job(&mut self, job: Job) -> Result<(), Dead> {
        let ready = match &job {
            Job::Append(..) => self.make_room(),
            Job::Rotate(..) => self.make_room().and_then(|()| self.flush()),
            Job::Checkpoint(_) => self.flush(),
        };
        if let Err(Dead(why)) = ready {
            self.shared.block(&why);
            job.refuse(self.shared.blocked_error(&why));
            return Err(Dead(why));
        }
        match job {
            Job::Append(prepared) => {
                let put = self.put(prepared);
                self.batch.entries.push(put);
                if self.batch.bytes.len() > BATCH_MAX {
                    self.flush()
                } else {
                    Ok(())
                }
            }
            Job::Rotate(sealer, answer) => {
                let result = self.rotate(sealer);
                self.answer(&answer, result)
            }
            Job::Checkpoint(answer) => {
                let result = self.sign();
                self.answer(&answer, result)
            }
        }
    }

    /// Blocks the log before anybody hears of the failure, so that its reason is the one told.
    fn answer<T>(&self, answer: &Answer<T>, result: Result<Result<T>, Dead>) -> Result<(), Dead> {
        let (result, done) = match result {
            Ok(result) => (result, Ok(())),
            Err(Dead(why)) => {
                self.shared.block(&why);
                (Err(self.shared.blocked_error(&why)), Err(Dead(why)))
            }
        };
        // Whoever asked may have given up.
        let _ = answer.send(result);
        done
    }

    /// Appends one entry to the batch's bytes and to the chain.
    fn put(&mut self, mut prepared: Box<Prepared>) -> Result<Box<Prepared>> {
        let stamp = Stamp {
            seq: self.chain.tree.size(),
            time: self.clock.now(),
            prev: self.chain.prev,
            segment: self.active.segment.start,
            at: self.active.length + offset(self.batch.bytes.len()),
            mix: self.active.mix,
        };
        let hash = stamp.put(&mut prepared, &mut self.batch.bytes)?;
        self.chain.tree.push(hash);
        self.chain.prev = hash;
        if self.active.mix.is_none() {
            self.active.mix = Some(frame::mix_of(&hash));
        }
        Ok(prepared)
    }

    /// Writes one of the log's own entries and makes it durable. Nothing else may be in the batch.
    pub(crate) fn put_own(
        &mut self,
        kind: &'static str,
        body: Map<String, Value>,
    ) -> Result<Written> {
        let prepared = Prepared::new(Draft::new(kind, body), self.shared.names())?;
        let prepared = self.put(Box::new(prepared))?;
        let written = prepared.entry().into();
        self.batch.entries.push(Ok(prepared));
        // A round in which nobody waits: this entry has no ticket.
        let round = std::mem::take(&mut self.batch.round);
        let flushed = self.flush();
        self.batch.round = round;
        flushed.map_err(|Dead(why)| Error::new(why))?;
        Ok(written)
    }

    /// Appends the batch by one write.
    fn begin(&mut self) -> Result<Option<Commit>, Dead> {
        let Batch {
            bytes,
            entries,
            round,
            lane,
            number,
        } = &mut self.batch;
        if bytes.is_empty() {
            round.tell(std::mem::take(entries));
            return Ok(None);
        }
        let active = &mut self.active;
        let path = active.segment.path.clone();
        let tail = active.tails.get(*lane).map(Arc::clone);
        let tail = tail.ok_or_else(|| Dead(format!("no lane {lane}")))?;
        active.length += offset(bytes.len());
        active.appended.store(active.length, Ordering::SeqCst);
        tail.append(bytes)
            .map_err(|error| Dead(format!("write `{}`: {error}", path.display())))?;
        bytes.clear();
        bytes.shrink_to(BUFFER_KEPT);
        let commit = Commit {
            number: *number,
            tail,
            path,
            length: active.length,
            appended: Arc::clone(&active.appended),
            entries: std::mem::take(entries),
            round: Arc::clone(round),
            tree: self.chain.tree.clone(),
        };
        *number += 1;
        Ok(Some(commit))
    }

    /// Makes everything durable that was taken on.
    fn flush(&mut self) -> Result<(), Dead> {
        match self.begin()? {
            Some(commit) => self.finish.run(commit),
            None => self.finish.turn(self.batch.number),
        }
    }

    /// Begins a new segment when the active one is full. Its last checkpoint comes first, so that
    /// a checkpoint is never older than the active segment; without one the segment grows on.
    fn make_room(&mut self) -> Result<(), Dead> {
        let entries = self.chain.tree.size() - self.active.segment.start;
        if entries < self.options.segment_entries.max(2) {
            return Ok(());
        }
        self.flush()?;
        if self.signed < self.chain.tree.size()
            && let Err(error) = self.sign()?
        {
            warn_unsigned(&error);
            return Ok(());
        }
        self.begin_segment().map_err(|error| Dead(error.message()))
    }

    /// Creates the next segment and writes its first entry.
    pub(crate) fn begin_segment(&mut self) -> Result<()> {
        let previous = Previous {
            bytes: self.active.length,
            name: self.active.segment.name.clone(),
        };
        self.active = create(&*self.disk, &self.dir, self.chain.tree.size())?;
        self.write_opening(Some(previous))
    }

    /// Writes the entry every segment begins with.
    pub(crate) fn write_opening(&mut self, previous: Option<Previous>) -> Result<()> {
        let state = self
            .fold
            .lock()
            .map_err(|_| Error::new("the state that follows the log is damaged"))?
            .snapshot();
        let opening = Opening {
            frontier: self
                .chain
                .tree
                .hashes()
                .iter()
                .map(|hash| hex(hash))
                .collect(),
            previous,
            size: self.chain.tree.size(),
            state,
            vkey: self.chain.vkey.to_string(),
        };
        self.put_own("segment", members(&opening)?).map(drop)
    }
}

/// Creates an empty segment.
pub(crate) fn create(disk: &dyn Disk, dir: &std::path::Path, start: u64) -> Result<Active> {
    let segment = Segment::new(dir, start);
    let tail = disk
        .create(&segment.path)
        .context(|| format!("create the segment `{}`", segment.path.display()))?;
    Active::new(disk, segment, tail, 0, None)
}

impl Active {
    /// The segment behind `tail`, with as many open files as there are lanes.
    pub(crate) fn new(
        disk: &dyn Disk,
        segment: Segment,
        tail: Box<dyn Tail>,
        length: u64,
        mix: Option<Mix>,
    ) -> Result<Self> {
        let mut tails = vec![tail.into()];
        while tails.len() < LANES {
            let tail = disk
                .open(&segment.path)
                .context(|| format!("open the segment `{}`", segment.path.display()))?;
            tails.push(tail.into());
        }
        Ok(Self {
            segment,
            tails,
            length,
            appended: Arc::new(length.into()),
            mix,
        })
    }
}

pub(super) fn members(value: &impl serde::Serialize) -> Result<Map<String, Value>> {
    let value = serde_json::to_value(value).context(|| "write a body".into())?;
    serde_json::from_value(value).context(|| "write a body".into())
}
