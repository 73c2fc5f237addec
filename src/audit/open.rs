//! Opening a log: lock, check of the active segment, state.

use std::fs::{DirBuilder, File, TryLockError};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde_json::json;

use super::check::{self, Chain, Checked, Task};
use super::commit::Finish;
use super::disk::Disk;
use super::draft::Names;
use super::entry::Entry;
use super::frame::{Frames, Step};
use super::log::{Fold, Options};
use super::note::{Note, check_origin};
use super::queue::Shared;
use super::sealer::{self, Sealer};
use super::segment::{self, Opening, Previous, Segment};
use super::torn;
use super::tree::Frontier;
use super::writer::{Active, Batch, Writer, create};
use crate::call::id::Id;
use crate::error::{Context, Error, Kind, Result};
use crate::time::Clock;

/// What a log is opened with.
pub(crate) struct Setup<'a, F> {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: &'a Path,
    pub(crate) origin: &'a str,
    pub(crate) sealer: Arc<dyn Sealer>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) fold: Arc<Mutex<F>>,
    pub(crate) options: Options,
}

/// What was found on disk.
struct Found {
    segment: Segment,
    checked: Checked,
    chain: Chain,
}

/// The text form of the key in force of the log in `dir`; `None` where there is no log. Reads the
/// active segment only, so that a keeper can choose the key file to open the log with.
///
/// # Errors
/// As [`super::Log::open`].
pub fn key_in_force(dir: &Path) -> Result<Option<String>> {
    if !dir
        .try_exists()
        .context(|| format!("read `{}`", dir.display()))?
    {
        return Ok(None);
    }
    let note = segment::read_checkpoint(dir)?;
    let mut segments = segment::list(dir)?;
    while let Some(segment) = segments.pop() {
        let task = Task {
            segment: &segment,
            before: None,
            checkpoint: note.as_ref(),
            last: true,
        };
        if let Some(chain) = check::check(task, &mut |_| Ok(()))?.chain {
            return Ok(Some(chain.vkey.to_string()));
        }
    }
    Ok(None)
}

/// Opens or makes a log; the writer is ready to run.
pub(crate) fn open<F: Fold>(setup: Setup<'_, F>) -> Result<Writer> {
    check_origin(setup.origin)?;
    let lock = lock(setup.dir)?;
    let note = segment::read_checkpoint(setup.dir)?;
    let mut segments = segment::list(setup.dir)?;
    let found = find(&setup, &mut segments, note.as_ref())?;
    let mine = sealer::vkey(&*setup.sealer, setup.origin)?;
    match found {
        Some(found) => {
            if found.chain.origin != setup.origin {
                return Err(Error::new(format!(
                    "the log `{}` is that of `{}`, not of `{}`",
                    setup.dir.display(),
                    found.chain.origin,
                    setup.origin
                )));
            }
            if found.chain.vkey != mine {
                return Err(Error::new(format!(
                    "the log's key in force is `{}`, but the key at hand is `{mine}`",
                    found.chain.vkey
                ))
                .hint("open the log with its own key; `keepgate log rotate-key` changes it"));
            }
            resume(setup, lock, found, note.as_ref())
        }
        None => begin(setup, lock, note.as_ref()),
    }
}

/// Takes the directory for one writer.
fn lock(dir: &Path) -> Result<File> {
    let what = || format!("open the log directory `{}`", dir.display());
    DirBuilder::new()
        .recursive(true)
        .mode(0o750)
        .create(dir)
        .context(what)?;
    let file = File::open(dir).context(what)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::new(format!(
            "the log `{}` is open for writing already",
            dir.display()
        ))
        .hint("another keeper of this plane runs; stop it first")),
        Err(TryLockError::Error(error)) => Err(Error::new(what()).because(error)),
    }
}

/// Checks what is there and brings the fold up to date.
fn find<F: Fold>(
    setup: &Setup<'_, F>,
    segments: &mut Vec<Segment>,
    note: Option<&Note>,
) -> Result<Option<Found>> {
    let covered = note.map_or(0, |note| note.checkpoint.size);
    while let Some(last) = segments.pop() {
        let checked = replay(setup, &last, note)?;
        let Some(chain) = checked.chain.clone() else {
            // The segment was being made when the machine stopped: nobody was answered.
            if covered > last.start {
                return Err(last.tampered(
                    0,
                    last.start,
                    "the checkpoint covers entries that are gone",
                ));
            }
            torn::remove_unborn(setup.dir, &last)?;
            continue;
        };
        check_neighbours(segments, &last)?;
        check_covered(&last, &checked, &chain, note)?;
        return Ok(Some(Found {
            segment: last,
            checked,
            chain,
        }));
    }
    if covered > 0 {
        return Err(Error::of(
            Kind::Tampered,
            format!(
                "the log `{}` is empty, but its checkpoint covers {covered} entries",
                setup.dir.display()
            ),
        ));
    }
    Ok(None)
}

fn replay<F: Fold>(
    setup: &Setup<'_, F>,
    segment: &Segment,
    note: Option<&Note>,
) -> Result<Checked> {
    let mut fold = setup
        .fold
        .lock()
        .map_err(|_| Error::new("the state that follows the log is damaged"))?;
    let task = Task {
        segment,
        before: None,
        checkpoint: note,
        last: true,
    };
    check::check(task, &mut |seen| {
        if seen.skeleton.kind == "segment" {
            let opening: Opening = serde_json::from_str(seen.skeleton.body)
                .context(|| format!("read the state in `{}`", segment.name))?;
            return fold.restore(&opening.state);
        }
        fold.apply(&Entry::parse(seen.bytes, segment.start, seen.at)?);
        Ok(())
    })
}

/// Compares the sealed segments with what their successors record: name and length.
fn check_neighbours(sealed: &[Segment], last: &Segment) -> Result<()> {
    let mut later = last;
    for earlier in sealed.iter().rev() {
        let length = earlier.path.symlink_metadata().map(|meta| meta.len());
        let length = length.context(|| format!("read `{}`", earlier.path.display()))?;
        let want = recorded_previous(later)?;
        if want.as_ref().is_none_or(|want| want.name != earlier.name) {
            return Err(later.tampered(0, later.start, "the segment before it is missing"));
        }
        if want.as_ref().is_some_and(|want| want.bytes != length) {
            let bytes = want.map_or(0, |want| want.bytes);
            let what = format!("it should have {bytes} bytes, but has {length}");
            return Err(earlier.tampered(length.min(bytes), later.start, what));
        }
        later = earlier;
    }
    if later.start == 0 {
        return Ok(());
    }
    Err(later.tampered(0, later.start, "the segment before it is missing"))
}

fn recorded_previous(segment: &Segment) -> Result<Option<Previous>> {
    let reading = || format!("read the segment `{}`", segment.path.display());
    let mut frames = Frames::new(segment.open()?, 0).context(reading)?;
    let Step::Frame { content, .. } = frames.step().context(reading)? else {
        return Err(segment.tampered(0, segment.start, "its first entry is not whole"));
    };
    let entry = Entry::parse(content, segment.start, 0)
        .map_err(|error| segment.tampered(0, segment.start, error))?;
    let opening: Opening = serde_json::from_value(serde_json::Value::Object(entry.body))
        .map_err(|error| segment.tampered(0, segment.start, error))?;
    Ok(opening.previous)
}

/// A checkpoint must lie within the active segment.
fn check_covered(
    last: &Segment,
    checked: &Checked,
    chain: &Chain,
    note: Option<&Note>,
) -> Result<()> {
    let size = chain.tree.size();
    let Some(note) = note else {
        // Before the first checkpoint a log holds its first entry, and nobody was answered.
        if size <= 1 {
            return Ok(());
        }
        return Err(last.tampered(checked.end, size, "the log's checkpoint is missing"));
    };
    let covered = note.checkpoint.size;
    if covered > size {
        return Err(last.tampered(checked.end, size, ends_early(covered, size)));
    }
    if covered < last.start || covered == 0 {
        let what = format!("the checkpoint covers {covered} entries: it is older than the segment");
        return Err(last.tampered(0, last.start, what));
    }
    Ok(())
}

/// What a log is told that is shorter than its checkpoint.
pub(crate) fn ends_early(covered: u64, size: u64) -> String {
    format!("the log ends after {size} entries, but its checkpoint covers {covered}")
}

/// Goes on with a log.
fn resume<F: Fold>(
    setup: Setup<'_, F>,
    lock: File,
    found: Found,
    note: Option<&Note>,
) -> Result<Writer> {
    let Found {
        segment,
        checked,
        chain,
    } = found;
    let bytes = checked.length - checked.end;
    if bytes > 0 {
        torn::cut(setup.dir, &segment, checked.end, checked.length)?;
    }
    let tail = setup
        .disk
        .open(&segment.path)
        .context(|| format!("open the segment `{}`", segment.path.display()))?;
    let active = Active::new(&*setup.disk, segment, tail, checked.end, Some(checked.mix))?;
    let mut writer = writer(setup, lock, chain, active, note)?;
    if bytes > 0 {
        let after = writer.chain.tree.size() - 1;
        tracing::warn!(
            bytes,
            after,
            "the log had a torn tail; it was cut off and kept"
        );
        let body = json!({"bytes": bytes, "after_seq": after});
        writer.put_own(
            "log.recovered",
            body.as_object().cloned().unwrap_or_default(),
        )?;
    }
    // What a crash left unsigned is signed before anything new is.
    writer.sign_now()?;
    Ok(writer)
}

/// Begins a log.
fn begin<F: Fold>(setup: Setup<'_, F>, lock: File, note: Option<&Note>) -> Result<Writer> {
    let vkey = sealer::vkey(&*setup.sealer, setup.origin)?;
    let origin = setup.origin.into();
    let chain = Chain {
        origin,
        tree: Frontier::default(),
        prev: [0; 32],
        vkey,
    };
    let active = create(&*setup.disk, setup.dir, 0)?;
    let mut writer = writer(setup, lock, chain, active, note)?;
    writer.write_opening(None)?;
    // Nothing is acknowledged before the first checkpoint: a log without one was robbed of it.
    writer.sign_now()?;
    Ok(writer)
}

fn writer<F: Fold>(
    setup: Setup<'_, F>,
    lock: File,
    chain: Chain,
    active: Active,
    note: Option<&Note>,
) -> Result<Writer> {
    let names = Names {
        origin: chain.origin.as_str().into(),
        boot: Id::random()?.to_string().into(),
    };
    let shared = Arc::new(Shared::new(setup.dir, names, chain.tree.clone()));
    let finish = Finish::new(Arc::clone(&setup.fold) as _, Arc::clone(&shared));
    Ok(Writer {
        dir: setup.dir.into(),
        lock,
        finish: Arc::new(finish),
        shared,
        disk: setup.disk,
        chain,
        active,
        sealer: setup.sealer,
        clock: setup.clock,
        fold: setup.fold,
        options: setup.options,
        signed: note.map_or(0, |note| note.checkpoint.size),
        signed_at: Instant::now(),
        settled: None,
        batch: Batch::default(),
    })
}
