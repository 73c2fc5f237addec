//! The offline check of a whole log: needs the directory and nothing else, no lock, no key.
//!
//! What it finds: any changed, missing, added or reordered byte of an entry or payload, a cut
//! beginning, a tail cut below the checkpoint, another key. What it cannot find: a tail cut above
//! the checkpoint (at most the last seconds), and a log replaced by an older copy together with
//! its checkpoint; compare the checkpoint with one that was kept elsewhere.
//!
//! A log is signed before its second entry. One that holds its first entry and no checkpoint was
//! just begun when the machine stopped, or everything else was taken away: it is reported as
//! unsigned, never as good. With more entries and no checkpoint it was tampered with.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::check::{self, Chain, Seen, Task};
use super::frame::offset;
use super::note::{Note, Vkey};
use super::open::ends_early;
use super::segment::{self, Previous, Segment};
use crate::error::{Error, Kind, Result};
use crate::wire::text::{escaped, hex};

/// Most unanswered intents a report names; it counts all.
pub const UNANSWERED_NAMED: usize = 1000;
/// Bytes between two calls of the progress function.
const PROGRESS_STEP: u64 = 4 << 20;

/// How to verify.
pub struct Options<'a> {
    /// A key that must have been in force in this log: it ties the log to its appliance. Without
    /// it, the log is only compared with itself.
    pub vkey: Option<String>,
    /// Told how many of how many bytes are done.
    pub progress: &'a mut dyn FnMut(u64, u64),
}

impl std::fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("vkey", &self.vkey)
            .finish_non_exhaustive()
    }
}

/// An entry by number and time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mark {
    /// Its number.
    pub seq: u64,
    /// Its RFC 3339 time.
    pub time: String,
}

/// What is said where nothing was ever signed.
const UNBORN: &str = "it holds no whole entry and nothing is signed: it was just begun when the \
                      machine stopped, or all of it was taken away";

/// The checkpoint that was compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckpointReport {
    /// Entries it covers.
    pub size: u64,
    /// Id of the key that signed it, as hexadecimal.
    pub key: String,
    /// Its root and signature are right. Always true in a report: otherwise there is none.
    pub good: bool,
}

/// An intent without an outcome: the call may or may not have had its effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unanswered {
    /// Number of the intent.
    pub seq: u64,
    /// The call.
    pub call: String,
}

/// What a good log contains.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Name of the log.
    pub origin: String,
    /// Number of entries.
    pub entries: u64,
    /// Number of segments.
    pub segments: u64,
    /// The first entry.
    pub first: Option<Mark>,
    /// The last entry.
    pub last: Option<Mark>,
    /// Root of the tree over all entries, as hexadecimal.
    pub root: String,
    /// The key in force at the end, as `NAME+KEYID+BASE64`.
    pub vkey: String,
    /// Whether the key that was asked for has been in force; false when none was asked for.
    pub key_expected: bool,
    /// The checkpoint; none where nothing was signed yet.
    pub checkpoint: Option<CheckpointReport>,
    /// Entries after the checkpoint, which nothing vouches for.
    pub unsigned: u64,
    /// How many intents have no outcome.
    pub unanswered_count: u64,
    /// The first [`UNANSWERED_NAMED`] of them.
    pub unanswered: Vec<Unanswered>,
    /// Payloads whose bytes were pruned.
    pub pruned: u64,
    /// Bytes at the end that are no entries and that no checkpoint covers: a write that a crash cut
    /// off, or a change.
    pub torn_bytes: u64,
    /// Entries that changed the key.
    pub key_changes: Vec<u64>,
}

/// What is gathered on the way.
#[derive(Default)]
struct Tally {
    first: Option<Mark>,
    last: Option<Mark>,
    open_calls: BTreeMap<String, u64>,
    pruned: u64,
    key_changes: Vec<u64>,
    keys: Vec<String>,
}

impl Tally {
    fn take(&mut self, seen: &Seen<'_>) {
        let skeleton = seen.skeleton;
        let call = || skeleton.member("call").map(str::to_owned);
        match skeleton.kind {
            "call.intent" => {
                self.open_calls
                    .extend(call().map(|call| (call, skeleton.seq)));
            }
            "call.outcome" | "call.refused" => {
                call().map(|call| self.open_calls.remove(&call));
            }
            "key.changed" => {
                self.key_changes.push(skeleton.seq);
                self.keys.extend(skeleton.member("new").map(str::to_owned));
            }
            "segment" => self.keys.extend(skeleton.member("vkey").map(str::to_owned)),
            _ => {}
        }
        self.pruned += seen.pruned;
        match &mut self.last {
            Some(last) => {
                last.seq = skeleton.seq;
                last.time.clear();
                last.time.push_str(skeleton.time);
            }
            None => {
                let mark = Mark {
                    seq: skeleton.seq,
                    time: skeleton.time.into(),
                };
                self.first = Some(mark.clone());
                self.last = Some(mark);
            }
        }
    }
}

/// Verifies the log, or the copy of a log, in `dir`. A copy made while the log is written must
/// take `checkpoint` before the segments.
///
/// # Errors
/// Kind tampered, with segment, offset, number and what was expected, where anything does not fit
/// and where more than the first entry has no checkpoint; kind degraded where there is neither a
/// whole entry nor a checkpoint; other kinds where files cannot be read.
pub fn verify(dir: &Path, options: Options<'_>) -> Result<Report> {
    let expected = options.vkey.as_deref().map(Vkey::parse).transpose()?;
    // Read before the segments: a live log only grows.
    let note = segment::read_checkpoint(dir)?;
    let segments = segment::list(dir)?;
    if segments.is_empty() && note.is_none() {
        return Err(Error::new(format!("`{}` holds no log", dir.display()))
            .hint("a log's directory holds files like `00000000000000000000.seg`"));
    }
    let mut tally = Tally::default();
    let (chain, torn_bytes) = walk(&segments, note.as_ref(), &mut tally, options.progress)?;
    let size = chain.as_ref().map_or(0, |chain| chain.tree.size());
    match &note {
        None if segment::read_checkpoint(dir)?.is_some() => {
            // A live log was signed for the first time meanwhile.
            return verify(dir, options);
        }
        None if size > 1 || segments.len() > 1 => {
            return Err(tampered(dir, "its checkpoint is missing"));
        }
        Some(note) if note.checkpoint.size == 0 => {
            return Err(tampered(dir, "its checkpoint covers nothing"));
        }
        Some(note) if chain.is_some() && note.checkpoint.size > size => {
            return Err(short(segments.last(), note.checkpoint.size, size));
        }
        None | Some(_) => {}
    }
    let Some(chain) = chain else {
        return Err(match note {
            Some(note) => tampered(dir, ends_early(note.checkpoint.size, 0)),
            None => the_log(Kind::Degraded, dir, UNBORN)
                .hint("if there was more, look for a copy of it, or of its checkpoint"),
        });
    };
    if let Some(expected) = &expected
        && !tally.keys.contains(&expected.to_string())
    {
        let what = format!(
            "its key is not `{expected}`: the last one in force is `{}`",
            chain.vkey
        );
        return Err(tampered(dir, what));
    }
    let covered = note.map_or(0, |note| note.checkpoint.size);
    let checkpoint = match covered {
        0 => None,
        size => Some(CheckpointReport {
            size,
            key: key_at(size, &tally)?,
            good: true,
        }),
    };
    let unanswered_count = offset(tally.open_calls.len());
    let mut unanswered: Vec<_> = tally
        .open_calls
        .into_iter()
        .map(|(call, seq)| Unanswered { seq, call })
        .collect();
    unanswered.sort_by_key(|open| open.seq);
    unanswered.truncate(UNANSWERED_NAMED);
    Ok(Report {
        origin: chain.origin,
        entries: size,
        segments: offset(segments.len()),
        first: tally.first,
        last: tally.last,
        root: hex(&chain.tree.root()),
        vkey: chain.vkey.to_string(),
        key_expected: expected.is_some(),
        checkpoint,
        unsigned: size - covered,
        unanswered_count,
        unanswered,
        pruned: tally.pruned,
        torn_bytes,
        key_changes: tally.key_changes,
    })
}

fn tampered(dir: &Path, what: impl std::fmt::Display) -> Error {
    the_log(Kind::Tampered, dir, what)
}

fn the_log(kind: Kind, dir: &Path, what: impl std::fmt::Display) -> Error {
    Error::of(
        kind,
        format!("the log `{}`: {what}", escaped(&dir.to_string_lossy())),
    )
}

fn short(last: Option<&Segment>, covered: u64, size: u64) -> Error {
    let what = ends_early(covered, size);
    let error = match last {
        Some(last) => {
            let end = last.path.symlink_metadata().map_or(0, |meta| meta.len());
            last.tampered(end, size, what)
        }
        None => Error::of(Kind::Tampered, what),
    };
    error.hint("if this copy was made while the log was written, copy `checkpoint` first")
}

/// Checks segment after segment; gives the chain at the end and the length of a torn tail.
fn walk(
    segments: &[Segment],
    note: Option<&Note>,
    tally: &mut Tally,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(Option<Chain>, u64)> {
    let length = |segment: &Segment| segment.path.symlink_metadata().map_or(0, |meta| meta.len());
    let total = segments.iter().map(length).sum();
    let (mut done, mut told, mut torn) = (0, 0, 0);
    let mut before: Option<(Chain, Previous)> = None;
    for (index, segment) in segments.iter().enumerate() {
        if let Some((chain, _)) = &before
            && chain.tree.size() != segment.start
        {
            let what = format!("entries from {} on are missing", chain.tree.size());
            return Err(segment.tampered(0, chain.tree.size(), what));
        }
        let last = index + 1 == segments.len();
        let task = Task {
            segment,
            before: before.take(),
            checkpoint: note,
            last,
        };
        let checked = check::check(task, &mut |seen| {
            tally.take(&seen);
            if done + seen.at >= told + PROGRESS_STEP {
                told = done + seen.at;
                progress(told.min(total), total);
            }
            Ok(())
        })?;
        done += checked.length;
        torn = checked.length - checked.end;
        let Some(chain) = checked.chain else {
            return Ok((None, torn));
        };
        before = Some((
            chain,
            Previous {
                bytes: checked.end,
                name: segment.name.clone(),
            },
        ));
    }
    progress(total, total);
    Ok((before.map(|(chain, _)| chain), torn))
}

/// Id of the key in force when the log had `size` entries.
fn key_at(size: u64, tally: &Tally) -> Result<String> {
    let mut keys = Vec::new();
    for key in &tally.keys {
        if keys.last() != Some(key) {
            keys.push(key.clone());
        }
    }
    let changes = tally.key_changes.iter().filter(|seq| **seq < size).count();
    let key = keys.get(changes).map(|key| Vkey::parse(key)).transpose()?;
    Ok(key.map(|key| hex(&key.key_id())).unwrap_or_default())
}
