//! Frames of a segment file, and the way back to them behind a damaged place. The format is in
//! the [module above](super).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::canonical;
use super::entry::Skeleton;
use super::tree::{Hash, leaf, sha256};

/// Bytes before a frame's content.
pub(crate) const HEADER: usize = 9;
/// Longest entry.
pub const ENTRY_MAX: usize = 16 << 20;
/// Longest payload, its salt not counted.
pub const PAYLOAD_MAX: usize = 64 << 20;
/// Bytes of salt before a payload.
pub(crate) const SALT: usize = 32;
const PAYLOAD_TAG: &[u8] = b"keepgate/v1/payload\0";
const CHUNK: usize = 1 << 20;
/// The first read of a file: often only one frame of it is wanted.
const CHUNK_MIN: usize = 8 << 10;
/// Most bytes hashed while looking for a frame behind a damaged place.
const SEARCH_MAX: usize = 1 << 30;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An entry's canonical JSON.
    Entry,
    /// Salt and bytes of a payload.
    Payload,
}

/// What a segment mixes into the checks of its frames: the first bytes of its first leaf hash.
pub(crate) type Mix = [u8; 4];

/// The check of a frame.
pub(crate) fn check(hash: &Hash, mix: Mix) -> [u8; 4] {
    let [a, b, c, d, ..] = *hash;
    let [w, x, y, z] = mix;
    [a ^ w, b ^ x, c ^ y, d ^ z]
}

/// First bytes of a hash.
pub(crate) fn mix_of(hash: &Hash) -> Mix {
    check(hash, [0; 4])
}

/// Digest of a payload: SHA-256("keepgate/v1/payload\0" ‖ salt ‖ bytes).
pub(crate) fn payload_digest(salted: &[u8]) -> Hash {
    sha256(&[PAYLOAD_TAG, salted])
}

/// Appends one frame to `out`. The content's length was checked by whoever made it.
pub(crate) fn put(kind: Kind, hash: &Hash, mix: Mix, content: &[u8], out: &mut Vec<u8>) {
    out.push(match kind {
        Kind::Entry => b'E',
        Kind::Payload => b'P',
    });
    out.extend_from_slice(
        &u32::try_from(content.len())
            .unwrap_or(u32::MAX)
            .to_le_bytes(),
    );
    out.extend_from_slice(&check(hash, mix));
    out.extend_from_slice(content);
}

/// The header of a frame.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    pub(crate) len: usize,
    pub(crate) check: [u8; 4],
}

impl Header {
    /// Reads a header; says what is wrong with it. Fit for fuzzing through [`Frames`].
    fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        let Some((&[kind, a, b, c, d, w, x, y, z], _)) = bytes.split_first_chunk::<HEADER>() else {
            return Err("an incomplete frame header");
        };
        let (kind, max) = match kind {
            b'E' => (Kind::Entry, ENTRY_MAX),
            b'P' => (Kind::Payload, PAYLOAD_MAX + SALT),
            _ => return Err("no frame begins here"),
        };
        let len = usize::try_from(u32::from_le_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        let short = kind == Kind::Payload && len < SALT;
        if short || len > max {
            return Err("a frame length out of bounds");
        }
        Ok(Self {
            kind,
            len,
            check: [w, x, y, z],
        })
    }
}

/// One step through a segment.
#[derive(Debug)]
pub(crate) enum Step<'a> {
    /// A whole frame that begins at `at`. Its check is not compared yet.
    Frame {
        at: u64,
        header: Header,
        content: &'a [u8],
    },
    /// The end, after the last whole frame.
    End,
    /// No whole frame begins at `at`.
    Broken { at: u64, why: &'static str },
}

/// Walks over the frames of a file up to the length it had at first.
#[derive(Debug)]
pub(crate) struct Frames {
    file: File,
    length: u64,
    /// Offset in the file of the first byte of `buffer`.
    base: u64,
    buffer: Vec<u8>,
    /// Where in `buffer` the next frame begins.
    next: usize,
    /// Bytes of the next read, at least.
    chunk: usize,
}

impl Frames {
    /// From offset `at`.
    pub(crate) fn new(file: File, at: u64) -> io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(Self {
            file,
            length,
            base: at,
            buffer: Vec::new(),
            next: 0,
            chunk: CHUNK_MIN,
        })
    }

    /// Bytes of the file that are walked over.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Offset of the next frame.
    pub(crate) fn at(&self) -> u64 {
        self.base + offset(self.next)
    }

    /// The file.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Takes note of what was appended meanwhile.
    pub(crate) fn refresh(&mut self) -> io::Result<()> {
        self.length = self.file.metadata()?.len();
        Ok(())
    }

    /// Walks on from offset `at`, which lies before the next frame.
    pub(crate) fn back_to(&mut self, at: u64) {
        self.buffer.clear();
        self.next = 0;
        self.base = at;
    }

    /// Makes `want` bytes from the next frame on available, or as many as there are.
    fn fill(&mut self, want: usize) -> io::Result<()> {
        let have = self.buffer.len().saturating_sub(self.next);
        if have >= want {
            return Ok(());
        }
        self.buffer.drain(..self.next.min(self.buffer.len()));
        self.base += offset(self.next);
        self.next = 0;
        let from = self.base + offset(have);
        let left = usize::try_from(self.length.saturating_sub(from)).unwrap_or(usize::MAX);
        let more = left.min((want - have).max(self.chunk));
        self.chunk = (self.chunk * 4).min(CHUNK);
        self.buffer.resize(have + more, 0);
        let Some(target) = self.buffer.get_mut(have..) else {
            return Ok(());
        };
        self.file.read_exact_at(target, from)
    }

    /// The next frame. Stays where it is on [`Step::Broken`] and [`Step::End`].
    pub(crate) fn step(&mut self) -> io::Result<Step<'_>> {
        self.fill(HEADER)?;
        let at = self.at();
        let rest = self.buffer.get(self.next..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(Step::End);
        }
        let header = match Header::parse(rest) {
            Ok(header) => header,
            Err(why) => return Ok(Step::Broken { at, why }),
        };
        let end = at + offset(HEADER + header.len);
        if end > self.length {
            return Ok(Step::Broken {
                at,
                why: "a frame that goes past the end of the file",
            });
        }
        self.fill(HEADER + header.len)?;
        let start = self.next + HEADER;
        self.next = start + header.len;
        let content = self.buffer.get(start..self.next).unwrap_or_default();
        Ok(Step::Frame {
            at,
            header,
            content,
        })
    }
}

/// A length in memory as an offset in a file.
pub(crate) fn offset(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// Whether an intact entry frame begins anywhere in `from..to`: then what comes before it was
/// damaged after it had been written, and is no torn tail. `None` for `mix` where the segment's
/// first frame is unreadable: then the form of the entry alone decides.
///
/// A hostile payload cannot forge such a frame: the agent does not know `mix`.
pub(crate) fn intact_entry_after(
    file: &File,
    from: u64,
    to: u64,
    mix: Option<Mix>,
) -> io::Result<bool> {
    let mut budget = SEARCH_MAX;
    let mut window = Vec::new();
    let mut base = from;
    while base < to {
        let size = usize::try_from(to - base).unwrap_or(usize::MAX).min(CHUNK);
        window.resize(size, 0);
        file.read_exact_at(&mut window, base)?;
        for start in entry_starts(&window) {
            let at = base + offset(start);
            let header = window.get(start..).map(Header::parse);
            let Some(Ok(header)) = header else { continue };
            if at + offset(HEADER + header.len) > to {
                continue;
            }
            let Some(left) = budget.checked_sub(header.len) else {
                return Ok(true);
            };
            budget = left;
            let mut content = vec![0; header.len];
            file.read_exact_at(&mut content, at + offset(HEADER))?;
            if is_intact(&content, header.check, mix) {
                return Ok(true);
            }
        }
        if size < CHUNK {
            break;
        }
        // Windows overlap, so that no start is cut in two.
        base += offset(CHUNK - HEADER - OPENING.len());
    }
    Ok(false)
}

/// How every entry begins.
pub(crate) const OPENING: &[u8] = b"{\"body\":";

/// Places of `window` where an entry frame may begin.
fn entry_starts(window: &[u8]) -> impl Iterator<Item = usize> {
    window
        .windows(HEADER + OPENING.len())
        .enumerate()
        .filter(|(_, place)| place.first() == Some(&b'E') && place.ends_with(OPENING))
        .map(|(start, _)| start)
}

fn is_intact(content: &[u8], found: [u8; 4], mix: Option<Mix>) -> bool {
    match mix {
        Some(mix) => check(&leaf(content), mix) == found,
        None => canonical::text(content).is_ok_and(|text| Skeleton::parse(text).is_ok()),
    }
}
