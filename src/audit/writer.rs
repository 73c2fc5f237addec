//! The one thread that writes: group commit without a timer, key changes, segments, checkpoints.

use std::collections::VecDeque;
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::check::Chain;
use super::disk::{Disk, Tail};
use super::draft::{Draft, Prepared, Stamp};
use super::entry::Entry;
use super::frame::{self, Mix, offset};
use super::log::{Fold, Head, Options, Written};
use super::note::{Checkpoint, Vkey, key_change_text};
use super::queue::{Answer, Job, Shared};
use super::sealer::{self, Sealer};
use super::segment::{CHECKPOINT, KeyChanged, Opening, Previous, Segment};
use super::tree::Hash;
use crate::error::{Context, Error, Result};
use crate::sys::file::replace_durably;
use crate::time::Clock;
use crate::wire::text::hex;

/// A buffer that grew beyond this is given back after its batch.
const BUFFER_KEPT: usize = 4 << 20;
/// A batch is cut here.
const BATCH_MAX: usize = 64 << 20;

/// The active segment.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) segment: Segment,
    pub(crate) tail: Box<dyn Tail>,
    /// Bytes in the file.
    pub(crate) length: u64,
    /// `None` before its first entry.
    pub(crate) mix: Option<Mix>,
}

/// Owns the log.
pub(crate) struct Writer {
    pub(crate) dir: PathBuf,
    /// Holds the directory's lock.
    pub(crate) lock: File,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) boot: String,
    pub(crate) chain: Chain,
    pub(crate) active: Active,
    pub(crate) sealer: Arc<dyn Sealer>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) fold: Arc<Mutex<dyn Fold>>,
    pub(crate) options: Options,
    pub(crate) shared: Arc<Shared>,
    /// Size of the latest checkpoint.
    pub(crate) signed: u64,
    pub(crate) signed_at: Instant,
    /// Size and root at the last look for a due checkpoint: what the next one covers. A checkpoint
    /// lags behind by that much, so that a plain copy of the directory made meanwhile, segments
    /// first, does not hold a checkpoint over entries it lacks.
    pub(crate) settled: Option<(u64, Hash)>,
    pub(crate) batch: Batch,
}

/// Frames that are not on disk yet, and who waits for them.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    entries: Vec<(Entry, Option<Answer<Written>>)>,
}

/// Why the log must block.
struct Dead(String);

impl Writer {
    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Works until the log closes or must block.
    pub(crate) fn run(mut self) {
        if let Err(Dead(why)) = self.work() {
            tracing::error!(log = %self.dir.display(), why, "the log is blocked");
            self.shared.block(&why);
            for (_, answer) in self.batch.entries.drain(..) {
                let error = self.shared.blocked_error(&why);
                let _ = answer.is_some_and(|answer| answer.send(Err(error)).is_ok());
            }
        }
        self.shared.part();
        // The lock goes last: whoever opens the log now finds it complete.
        drop(self.active);
        drop(self.lock);
    }

    fn work(&mut self) -> Result<(), Dead> {
        while let Some(jobs) = self.shared.take(self.checkpoint_due()) {
            self.commit(jobs)?;
            self.checkpoint_if_due()?;
        }
        if self.shared.blocked().is_none() && self.signed < self.chain.tree.size() {
            self.sign_or_warn()?;
        }
        Ok(())
    }

    fn commit(&mut self, jobs: VecDeque<Job>) -> Result<(), Dead> {
        let mut jobs = jobs.into_iter();
        while let Some(job) = jobs.next() {
            let done = self.job(job);
            if let Err(Dead(why)) = done {
                // Those behind this one in the same batch are not in the queue any more.
                for job in jobs {
                    job.refuse(self.shared.blocked_error(&why));
                }
                return Err(Dead(why));
            }
        }
        self.flush()
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
            Job::Append(prepared, answer) => {
                match self.put(*prepared) {
                    Ok(entry) => self.batch.entries.push((entry, Some(answer))),
                    Err(error) => drop(answer.send(Err(error))),
                }
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

    /// Appends one entry to the batch and the chain.
    fn put(&mut self, prepared: Prepared) -> Result<Entry> {
        let stamp = Stamp {
            origin: &self.chain.origin,
            boot: &self.boot,
            seq: self.chain.tree.size(),
            time: self.clock.now(),
            prev: self.chain.prev,
            segment: self.active.segment.start,
            at: self.active.length + offset(self.batch.bytes.len()),
            mix: self.active.mix,
        };
        let (entry, hash) = stamp.put(prepared, &mut self.batch.bytes)?;
        self.chain.tree.push(hash);
        self.chain.prev = hash;
        if self.active.mix.is_none() {
            self.active.mix = Some(frame::mix_of(&hash));
        }
        Ok(entry)
    }

    /// Writes one of the log's own entries and makes it durable.
    pub(crate) fn put_own(
        &mut self,
        kind: &'static str,
        body: Map<String, Value>,
    ) -> Result<Written> {
        let entry = self.put(Prepared::new(Draft::new(kind, body))?)?;
        let written = Written {
            seq: entry.seq,
            time: entry.time,
        };
        self.batch.entries.push((entry, None));
        self.flush().map_err(|Dead(why)| Error::new(why))?;
        Ok(written)
    }

    /// One write and one fdatasync for the whole batch; then the fold, then the answers.
    fn flush(&mut self) -> Result<(), Dead> {
        if self.batch.entries.is_empty() {
            return Ok(());
        }
        let path = self.active.segment.path.display();
        let dead = |what: &str, error: std::io::Error| Dead(format!("{what} `{path}`: {error}"));
        let tail = &mut self.active.tail;
        tail.append(&self.batch.bytes)
            .map_err(|error| dead("write", error))?;
        tail.sync().map_err(|error| dead("fdatasync", error))?;
        self.active.length += offset(self.batch.bytes.len());
        tail.check(self.active.length)
            .map_err(|error| dead("check", error))?;
        self.batch.bytes.clear();
        self.batch.bytes.shrink_to(BUFFER_KEPT);
        {
            let Ok(mut fold) = self.fold.lock() else {
                return Err(Dead("the state that follows the log is damaged".into()));
            };
            for (entry, _) in self
                .batch
                .entries
                .iter()
                .filter(|(e, _)| e.kind != "segment")
            {
                fold.apply(entry);
            }
        }
        let head = Head {
            size: self.chain.tree.size(),
            root: self.chain.tree.root(),
        };
        self.shared.publish(head);
        for (entry, answer) in self.batch.entries.drain(..) {
            let written = Written {
                seq: entry.seq,
                time: entry.time,
            };
            // Whoever asked may have given up; the entry stays.
            let _ = answer.is_some_and(|answer| answer.send(Ok(written)).is_ok());
        }
        Ok(())
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

    fn rotate(&mut self, sealer: Arc<dyn Sealer>) -> Result<Result<Written>, Dead> {
        let change = match self.key_change(&*sealer) {
            Ok(change) => change,
            Err(error) => return Ok(Err(error)),
        };
        let (body, vkey) = change;
        let written = match self.put_own("key.changed", body) {
            Ok(written) => written,
            Err(error) => return Err(Dead(error.message())),
        };
        self.sealer = sealer;
        self.chain.vkey = vkey;
        Ok(self.sign()?.map(|_| written))
    }

    fn key_change(&self, sealer: &dyn Sealer) -> Result<(Map<String, Value>, Vkey)> {
        let vkey = sealer::vkey(sealer, &self.chain.origin)?;
        let (old, new) = (self.chain.vkey.to_string(), vkey.to_string());
        let text = key_change_text(&self.chain.origin, self.chain.tree.size(), &old, &new);
        let signature = STANDARD.encode(self.sealer.sign(text.as_bytes())?);
        Ok((
            members(&KeyChanged {
                new,
                old,
                signature,
            })?,
            vkey,
        ))
    }

    /// When the next checkpoint is due; `None` when all is signed.
    fn checkpoint_due(&self) -> Option<Instant> {
        if self.signed == self.chain.tree.size() {
            return None;
        }
        Some(self.signed_at + self.options.checkpoint_every)
    }

    /// Signs when it is due and nobody waits, or when it is overdue once more.
    fn checkpoint_if_due(&mut self) -> Result<(), Dead> {
        let Some(due) = self.checkpoint_due() else {
            return Ok(());
        };
        let now = Instant::now();
        let overdue = due + self.options.checkpoint_every;
        if now < due || (now < overdue && !self.shared.is_idle()) {
            return Ok(());
        }
        let head = (self.chain.tree.size(), self.chain.tree.root());
        match self.settled.replace(head) {
            Some((size, root)) if size > self.signed => {
                if let Err(error) = self.sign_over(size, root)? {
                    warn_unsigned(&error);
                }
            }
            Some(_) | None => self.signed_at = now,
        }
        Ok(())
    }

    fn sign_or_warn(&mut self) -> Result<(), Dead> {
        if let Err(error) = self.sign()? {
            warn_unsigned(&error);
        }
        Ok(())
    }

    /// Signs and stores a checkpoint over what is durable. A sealer that fails is tried again; a
    /// disk that fails ends the log.
    fn sign(&mut self) -> Result<Result<String>, Dead> {
        self.settled = None;
        self.sign_over(self.chain.tree.size(), self.chain.tree.root())
    }

    fn sign_over(&mut self, size: u64, root: Hash) -> Result<Result<String>, Dead> {
        self.signed_at = Instant::now();
        let origin = self.chain.origin.clone();
        let checkpoint = Checkpoint { origin, size, root };
        let signature = match self.sealer.sign(checkpoint.text().as_bytes()) {
            Ok(signature) => signature,
            Err(error) => return Ok(Err(error)),
        };
        let note = checkpoint.note(&self.chain.vkey, &signature);
        let path = self.dir.join(CHECKPOINT);
        replace_durably(&path, note.as_bytes(), 0o640)
            .map_err(|error| Dead(format!("write `{}`: {error}", path.display())))?;
        self.signed = checkpoint.size;
        Ok(Ok(note))
    }

    /// [`Writer::sign`] before the thread runs.
    pub(crate) fn sign_now(&mut self) -> Result<String> {
        self.sign()
            .unwrap_or_else(|Dead(why)| Err(self.shared.blocked_error(&why)))
    }
}

/// Creates an empty segment.
pub(crate) fn create(disk: &dyn Disk, dir: &std::path::Path, start: u64) -> Result<Active> {
    let segment = Segment::new(dir, start);
    let tail = disk
        .create(&segment.path)
        .context(|| format!("create the segment `{}`", segment.path.display()))?;
    Ok(Active {
        segment,
        tail,
        length: 0,
        mix: None,
    })
}

fn warn_unsigned(error: &Error) {
    tracing::warn!(%error, "the log's checkpoint could not be signed; it is tried again");
}

fn members(value: &impl serde::Serialize) -> Result<Map<String, Value>> {
    let value = serde_json::to_value(value).context(|| "write a body".into())?;
    serde_json::from_value(value).context(|| "write a body".into())
}
