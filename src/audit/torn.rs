//! Torn tails: what a stopped machine left behind the last whole entry is moved aside, never lost.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use super::frame::offset;
use super::segment::Segment;
use crate::error::{Context, Error, Result};

/// Cuts a torn tail off, from offset `end` on, and keeps it in a file beside the segment.
pub(crate) fn cut(dir: &Path, segment: &Segment, end: u64, length: u64) -> Result<()> {
    let what = || format!("cut the torn tail of `{}`", segment.path.display());
    keep(dir, segment, end, length)?;
    let file = OpenOptions::new()
        .write(true)
        .open(&segment.path)
        .context(what)?;
    file.set_len(end).context(what)?;
    file.sync_all().context(what)
}

/// Moves the beginnings of a segment that never got its first entry out of the way.
pub(crate) fn remove_unborn(dir: &Path, segment: &Segment) -> Result<()> {
    let what = || format!("remove the unfinished segment `{}`", segment.path.display());
    let length = segment.path.symlink_metadata().context(what)?.len();
    if length > 0 {
        keep(dir, segment, 0, length)?;
    }
    std::fs::remove_file(&segment.path).context(what)?;
    File::open(dir).and_then(|dir| dir.sync_all()).context(what)
}

/// Copies the torn tail into a file of its own, durably.
fn keep(dir: &Path, segment: &Segment, from: u64, to: u64) -> Result<()> {
    let file = segment.open()?;
    let mut number = 0_u32;
    let (path, mut torn) = loop {
        let path = dir.join(format!("{:020}-{from}-{number}.torn", segment.start));
        match OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o640)
            .open(&path)
        {
            Ok(torn) => break (path, torn),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => {
                return Err(Error::new(format!("create `{}`", path.display())).because(error));
            }
        }
    };
    let what = || format!("keep the torn tail in `{}`", path.display());
    let mut at = from;
    let mut buffer = vec![0; 1 << 20];
    while at < to {
        let size = usize::try_from(to - at)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let Some(piece) = buffer.get_mut(..size) else {
            break;
        };
        file.read_exact_at(piece, at).context(what)?;
        torn.write_all(piece).context(what)?;
        at += offset(size);
    }
    torn.sync_all().context(what)?;
    File::open(dir).and_then(|dir| dir.sync_all()).context(what)
}
