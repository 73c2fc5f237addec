//! Segment files: their names and the bodies of the entries the log writes itself.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::frame::offset;
use super::note::Note;
use crate::error::{Context, Error, Kind, Result};

/// How the names of segment files end.
pub(crate) const SUFFIX: &str = ".seg";
/// Name of the file that holds the latest checkpoint.
pub(crate) const CHECKPOINT: &str = "checkpoint";

/// One segment file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Number of its first entry.
    pub(crate) start: u64,
    pub(crate) name: String,
    pub(crate) path: PathBuf,
}

impl Segment {
    pub(crate) fn new(dir: &Path, start: u64) -> Self {
        let name = format!("{start:020}{SUFFIX}");
        Self {
            start,
            path: dir.join(&name),
            name,
        }
    }

    /// The file, opened for reading.
    pub(crate) fn open(&self) -> Result<File> {
        open(&self.path).context(|| format!("open the segment `{}`", self.path.display()))
    }

    /// Tampering with this segment.
    pub(crate) fn tampered(&self, at: u64, seq: u64, what: impl std::fmt::Display) -> Error {
        Error::of(
            Kind::Tampered,
            format!("segment `{}`, offset {at}, entry {seq}: {what}", self.name),
        )
        .hint("the log is not what was written; keep it as evidence and compare with a backup")
    }
}

/// Opens a file of a log, which may be hostile: follows no link and does not wait for a pipe.
fn open(path: &Path) -> std::io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    File::options().read(true).custom_flags(flags).open(path)
}

/// All segments of a log, by number.
///
/// # Errors
/// Fails where the directory cannot be read, and, as tampered, on a `.seg` file with a wrong name
/// or a first segment that does not begin at entry 0.
pub(crate) fn list(dir: &Path) -> Result<Vec<Segment>> {
    let what = || format!("read the log directory `{}`", dir.display());
    let mut all = Vec::new();
    for item in std::fs::read_dir(dir).context(what)? {
        let name = item.context(what)?.file_name();
        let Some(name) = name.to_str() else { continue };
        let Some(digits) = name.strip_suffix(SUFFIX) else {
            continue;
        };
        let start = digits.parse().ok().map(|start| Segment::new(dir, start));
        let segment = start
            .filter(|segment| segment.name == name)
            .ok_or_else(|| {
                let name = crate::wire::text::escaped(name);
                Error::of(
                    Kind::Tampered,
                    format!("`{name}` is not the name of a segment"),
                )
            })?;
        all.push(segment);
    }
    all.sort_by_key(|segment| segment.start);
    if let Some(first) = all.first()
        && first.start != 0
    {
        return Err(first.tampered(0, 0, "the log's first segment is missing"));
    }
    Ok(all)
}

/// The latest checkpoint, unchecked; `None` where there is none.
///
/// # Errors
/// Fails where it cannot be read, and, as tampered, where it is no signed note.
pub(crate) fn read_checkpoint(dir: &Path) -> Result<Option<Note>> {
    use std::io::Read;
    let path = dir.join(CHECKPOINT);
    let what = || format!("read the checkpoint `{}`", path.display());
    let file = match open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::new(what()).because(error)),
    };
    let mut bytes = Vec::new();
    file.take(offset(super::note::NOTE_MAX) + 1)
        .read_to_end(&mut bytes)
        .context(what)?;
    Note::parse(&bytes)
        .map(Some)
        .map_err(|error| Error::of(error.kind(), format!("`{}`: {error}", path.display())))
}

/// The segment before, as the next one's first entry records it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Previous {
    /// Its length.
    pub(crate) bytes: u64,
    /// Its file name.
    pub(crate) name: String,
}

/// Body of a `segment` entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Opening {
    /// Right edge of the tree over the entries before: hashes, largest subtree first.
    pub(crate) frontier: Vec<String>,
    pub(crate) previous: Option<Previous>,
    /// Entries before this one.
    pub(crate) size: u64,
    /// What the fold made of them.
    pub(crate) state: Value,
    /// The key in force.
    pub(crate) vkey: String,
}

/// Body of a `key.changed` entry: base64 of the old key's signature over
/// [`super::note::key_change_text`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyChanged {
    pub(crate) new: String,
    pub(crate) old: String,
    pub(crate) signature: String,
}
