//! Reading a log: the live one, beside its writer, or a copy. Needs no lock and no key.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::canonical;
use super::entry::{Entry, Skeleton};
use super::frame::{self, Frames, Kind, Mix, Step, offset};
use super::segment::{self, Segment};
use super::tree::leaf;
use crate::error::{Context, Error, Result};

/// Where an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its number.
    pub seq: u64,
    /// Number of the first entry of its segment.
    pub segment: u64,
    /// Offset of its frame in the segment.
    pub at: u64,
}

/// Reads the log in a directory. What it gives was checked frame by frame; only
/// [`super::verify::verify`] checks the chain, the tree and the payloads.
#[derive(Debug, Clone)]
pub struct Reader {
    dir: PathBuf,
}

impl Reader {
    /// Of the log, or the copy of one, in `dir`.
    ///
    /// # Errors
    /// Fails where the directory cannot be read or holds no log.
    pub fn open(dir: &Path) -> Result<Self> {
        if segment::list(dir)?.is_empty() {
            return Err(Error::new(format!("`{}` holds no log", dir.display()))
                .hint("a log's directory holds files like `00000000000000000000.seg`"));
        }
        Ok(Self { dir: dir.into() })
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.dir
    }

    /// Entries from number `from` on, in order. The iterator ends at the last whole entry; asked
    /// again later, it goes on with what was written meanwhile.
    ///
    /// # Errors
    /// Fails where the directory cannot be read.
    pub fn entries(&self, from: u64) -> Result<Entries> {
        let segments = segment::list(&self.dir)?;
        let first = segments.iter().rev().find(|segment| segment.start <= from);
        let first = first.or(segments.first()).cloned();
        let cursor = first.map(SegmentCursor::open).transpose()?;
        Ok(Entries {
            dir: self.dir.clone(),
            from,
            cursor,
            failed: false,
        })
    }

    /// Entries behind the one that is there, in order, without reading what lies before it: as
    /// [`Reader::entries`] otherwise.
    ///
    /// # Errors
    /// Fails where its segment cannot be read, and, as tampered, where the first entry of that is
    /// damaged.
    pub fn entries_after(&self, place: Place) -> Result<Entries> {
        let mut cursor = SegmentCursor::open(Segment::new(&self.dir, place.segment))?;
        // Its checks need to know how the segment begins.
        cursor.next_bytes(|_| false)?;
        cursor.go_to(place);
        Ok(Entries {
            dir: self.dir.clone(),
            from: place.seq + 1,
            cursor: Some(cursor),
            failed: false,
        })
    }

    /// Number of the last whole entry; `None` in a log without one. Reads the last segment.
    ///
    /// # Errors
    /// Fails where it cannot be read, and, as tampered, where a frame in it is damaged.
    pub fn last_seq(&self) -> Result<Option<u64>> {
        for segment in segment::list(&self.dir)?.into_iter().rev() {
            let mut cursor = SegmentCursor::open(segment)?;
            let mut last = None;
            while let Some((seq, ..)) = cursor.next_bytes(|_| false)? {
                last = Some(seq);
            }
            if last.is_some() {
                return Ok(last);
            }
        }
        Ok(None)
    }

    /// The entry whose frame begins at offset `at` of the segment that begins with entry
    /// `segment`.
    ///
    /// # Errors
    /// Fails, as tampered, where no whole entry is there.
    pub fn entry_at(&self, segment: u64, at: u64) -> Result<Entry> {
        let segment = Segment::new(&self.dir, segment);
        let reading = || format!("read the segment `{}`", segment.path.display());
        let mut frames = Frames::new(segment.open()?, at).context(reading)?;
        match frames.step().context(reading)? {
            Step::Frame {
                header, content, ..
            } if header.kind == Kind::Entry => Entry::parse(content, segment.start, at)
                .map_err(|error| segment.tampered(at, segment.start, error)),
            Step::Frame { .. } | Step::End | Step::Broken { .. } => {
                Err(segment.tampered(at, segment.start, "no entry begins here"))
            }
        }
    }

    /// The bytes of an entry's payload; `None` where it has none of that name or it was pruned.
    ///
    /// # Errors
    /// Fails where it cannot be read, and, as tampered, where its digest is another.
    pub fn payload(&self, entry: &Entry, name: &str) -> Result<Option<Vec<u8>>> {
        let Some(payload) = entry.payload(name) else {
            return Ok(None);
        };
        let segment = Segment::new(&self.dir, entry.segment);
        let bad = |what: &str| Err(segment.tampered(payload.at, entry.seq, what));
        let len = usize::try_from(payload.len).unwrap_or(usize::MAX);
        if len > frame::PAYLOAD_MAX {
            return bad("a payload that is too long");
        }
        let mut salted = vec![0; len + frame::SALT];
        segment
            .open()?
            .read_exact_at(&mut salted, payload.at + offset(frame::HEADER))
            .context(|| format!("read a payload in `{}`", segment.path.display()))?;
        if salted.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        if frame::payload_digest(&salted) != payload.digest {
            return bad(&format!("payload `{name}` is not what was written"));
        }
        Ok(Some(salted.split_off(frame::SALT)))
    }
}

/// Entries of a log, in order. See [`Reader::entries`].
#[derive(Debug)]
pub struct Entries {
    dir: PathBuf,
    from: u64,
    cursor: Option<SegmentCursor>,
    failed: bool,
}

impl Entries {
    fn step(&mut self) -> Result<Option<Entry>> {
        let Some(cursor) = &mut self.cursor else {
            return Ok(None);
        };
        let from = self.from;
        loop {
            if let Some((seq, at, bytes)) = cursor.next_bytes(|seq| seq >= from)? {
                if seq < from {
                    continue;
                }
                let segment = cursor.segment.start;
                self.from = seq + 1;
                return Entry::parse(&bytes, segment, at)
                    .map(Some)
                    .map_err(|error| cursor.segment.tampered(at, seq, error));
            }
            // The next segment begins where this one ended, and only then is this one complete.
            let next = Segment::new(&self.dir, cursor.next);
            if cursor.next == cursor.segment.start || !next.path.is_file() {
                return Ok(None);
            }
            if cursor.has_grown()? {
                continue;
            }
            *cursor = SegmentCursor::open(next)?;
        }
    }
}

impl Iterator for Entries {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let step = self.step().transpose();
        self.failed = matches!(step, Some(Err(_)));
        step
    }
}

/// A place in a segment.
#[derive(Debug)]
struct SegmentCursor {
    segment: Segment,
    frames: Frames,
    mix: Option<Mix>,
    /// Number of the entry after the last one seen.
    next: u64,
}

/// What became of one frame.
enum Looked {
    Payload,
    Entry(u64, u64, Vec<u8>),
    End,
    Damaged(u64, String),
}

impl SegmentCursor {
    fn open(segment: Segment) -> Result<Self> {
        let frames = Frames::new(segment.open()?, 0)
            .context(|| format!("read the segment `{}`", segment.path.display()))?;
        Ok(Self {
            next: segment.start,
            segment,
            frames,
            mix: None,
        })
    }

    /// The entry at `place`, in this segment, comes next.
    fn go_to(&mut self, place: Place) {
        self.frames.back_to(place.at);
        self.next = place.seq;
    }

    fn has_grown(&mut self) -> Result<bool> {
        let before = self.frames.length();
        let name = &self.segment.name;
        self.frames
            .refresh()
            .context(|| format!("read the segment `{name}`"))?;
        Ok(self.frames.length() > before)
    }

    /// Number, offset and, where `wanted`, bytes of the next entry; `None` at the end or a torn
    /// tail.
    fn next_bytes(&mut self, wanted: impl Fn(u64) -> bool) -> Result<Option<(u64, u64, Vec<u8>)>> {
        loop {
            match self.look(&wanted)? {
                Looked::Payload => {}
                Looked::Entry(seq, at, bytes) => {
                    self.next = seq + 1;
                    return Ok(Some((seq, at, bytes)));
                }
                Looked::End => {
                    if !self.has_grown()? {
                        return Ok(None);
                    }
                }
                Looked::Damaged(at, why) => {
                    let name = &self.segment.name;
                    let intact = frame::intact_entry_after(
                        self.frames.file(),
                        at + 1,
                        self.frames.length(),
                        self.mix,
                    )
                    .context(|| format!("read the segment `{name}`"))?;
                    if intact {
                        return Err(self.segment.tampered(at, self.next, why));
                    }
                    // A torn tail, or a commit that is being written right now: read anew next time.
                    self.frames.back_to(at);
                    if !self.has_grown()? {
                        return Ok(None);
                    }
                }
            }
        }
    }

    fn look(&mut self, wanted: impl Fn(u64) -> bool) -> Result<Looked> {
        let name = &self.segment.name;
        let step = self
            .frames
            .step()
            .context(|| format!("read the segment `{name}`"))?;
        let (at, header, content) = match step {
            Step::Frame {
                at,
                header,
                content,
            } => (at, header, content),
            Step::End => return Ok(Looked::End),
            Step::Broken { at, why } => return Ok(Looked::Damaged(at, why.into())),
        };
        if header.kind == Kind::Payload {
            return Ok(Looked::Payload);
        }
        let hash = leaf(content);
        if frame::check(&hash, self.mix.unwrap_or_default()) != header.check {
            self.frames.back_to(at);
            return Ok(Looked::Damaged(
                at,
                "the entry's bytes do not fit its check".into(),
            ));
        }
        let skeleton = canonical::text(content).and_then(Skeleton::parse);
        let skeleton = skeleton.map_err(|fault| self.segment.tampered(at, self.next, fault))?;
        if skeleton.seq != self.next {
            let what = format!(
                "its number should be {}, but is {}",
                self.next, skeleton.seq
            );
            return Err(self.segment.tampered(at, self.next, what));
        }
        let bytes = if wanted(skeleton.seq) {
            content.to_vec()
        } else {
            Vec::new()
        };
        self.mix = self.mix.or(Some(frame::mix_of(&hash)));
        Ok(Looked::Entry(skeleton.seq, at, bytes))
    }
}
