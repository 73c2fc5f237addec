//! Entries on their way into the log: what a caller drafts, what is prepared on its thread, and
//! what the writer adds.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::canonical;
use super::entry::{Entry, PAYLOADS_MAX, PayloadRef, VERSION, is_time, is_word};
use super::frame;
use super::mask::Masked;
use super::salt::salt;
use super::tree::{Hash, Leaf};
use crate::error::{Error, Result};
use crate::time::Timestamp;
use crate::wire::text::{push_decimal, push_hex};

/// An entry somebody wants to have written.
#[derive(Debug)]
pub struct Draft {
    pub(crate) kind: &'static str,
    pub(crate) body: Map<String, Value>,
    pub(crate) payloads: Vec<(&'static str, Masked)>,
}

impl Draft {
    /// An entry of this kind (`call.intent`) with these members. Integers only, up to 2^53-1.
    pub fn new(kind: &'static str, body: Map<String, Value>) -> Self {
        Self {
            kind,
            body,
            payloads: Vec::new(),
        }
    }

    /// Adds bytes that are stored beside the entry, salted, and can be pruned later. At most
    /// [`PAYLOADS_MAX`] of [`frame::PAYLOAD_MAX`] bytes each; a name occurs once.
    #[must_use]
    pub fn payload(mut self, name: &'static str, bytes: Masked) -> Self {
        self.payloads.push((name, bytes));
        self
    }
}

/// What all entries of one opening of a log say.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    /// Name of the log.
    pub(crate) origin: Arc<str>,
    /// Identifier of the opening.
    pub(crate) boot: Arc<str>,
}

/// A draft whose expensive parts are done: canonical body, salted and hashed payloads, and the
/// hash of the entry as far as it does not depend on the entries before. Made on the caller's
/// thread, and given back to it: memory is cheapest to free where it was allocated.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// Without its place in the log until it is stamped; its bytes end before its payloads.
    entry: Entry,
    /// Over the bytes.
    hash: Leaf,
    /// Salt and bytes of each payload of the entry.
    contents: Vec<Vec<u8>>,
}

impl Prepared {
    /// Checks and hashes a draft.
    ///
    /// # Errors
    /// Fails on numbers, depths, sizes and names the log does not hold.
    pub(crate) fn new(draft: Draft, names: &Names) -> Result<Self> {
        let kind = draft.kind;
        let bad = |why: String| Error::new(format!("write an entry `{kind}`: {why}"));
        if !is_word(kind) {
            return Err(bad("the kind is not of `a-z0-9._-`".into()));
        }
        let mut bytes = Vec::with_capacity(1024);
        bytes.extend_from_slice(frame::OPENING);
        canonical::write_body(&draft.body, &mut bytes)
            .map_err(|error| Error::new(format!("write an entry `{kind}`")).because(error))?;
        if bytes.len() > frame::ENTRY_MAX - 8192 {
            return Err(bad(format!(
                "its body has more than {} bytes",
                frame::ENTRY_MAX - 8192
            )));
        }
        let mut drafted = draft.payloads;
        drafted.sort_by_key(|(name, _)| *name);
        let twice = drafted.windows(2).any(|pair| match pair {
            [(a, _), (b, _)] => a == b,
            _ => false,
        });
        if twice || drafted.len() > PAYLOADS_MAX || drafted.iter().any(|(n, _)| !is_word(n)) {
            return Err(bad("its payloads are too many or have bad names".into()));
        }
        let mut payloads = Vec::with_capacity(drafted.len());
        let mut contents = Vec::with_capacity(drafted.len());
        for (name, masked) in drafted {
            let plain = masked.bytes();
            if plain.len() > frame::PAYLOAD_MAX {
                return Err(bad(format!(
                    "`{name}` has more than {} bytes",
                    frame::PAYLOAD_MAX
                )));
            }
            let content = [&salt()?, plain].concat();
            payloads.push(PayloadRef {
                name: name.into(),
                digest: frame::payload_digest(&content),
                len: frame::offset(plain.len()),
                at: 0,
            });
            contents.push(content);
        }
        for (member, value) in [
            ("boot", &*names.boot),
            ("kind", kind),
            ("origin", &*names.origin),
        ] {
            for part in [",\"", member, "\":\"", value, "\""] {
                bytes.extend_from_slice(part.as_bytes());
            }
        }
        let mut hash = Leaf::default();
        hash.update(&bytes);
        // Room for what the stamp adds, so that the bytes need not move.
        bytes.reserve(STAMP + payloads.len() * REFERENCE);
        let entry = Entry {
            seq: 0,
            time: Timestamp::from_micros(0),
            kind: kind.into(),
            boot: (*names.boot).into(),
            origin: (*names.origin).into(),
            prev: [0; 32],
            body: draft.body,
            payloads,
            segment: 0,
            at: 0,
            bytes,
        };
        Ok(Self {
            entry,
            hash,
            contents,
        })
    }

    /// Bytes it will take, roughly.
    pub(crate) fn size(&self) -> usize {
        self.contents.iter().map(Vec::len).sum::<usize>() + self.entry.bytes.len()
    }

    /// The entry; whole once it is stamped.
    pub(crate) fn entry(&self) -> &Entry {
        &self.entry
    }
}

/// About the bytes of the members that a [`Stamp`] adds.
const STAMP: usize = 192;
/// About the bytes of one reference to a payload.
const REFERENCE: usize = 192;

/// Contents that are longer do not wait for their commit in memory: they are in its buffer.
const CONTENT_KEPT: usize = 16 << 10;

/// What the writer adds to a prepared draft.
#[derive(Debug)]
pub(crate) struct Stamp {
    pub(crate) seq: u64,
    pub(crate) time: Timestamp,
    pub(crate) prev: Hash,
    pub(crate) segment: u64,
    /// Offset in the segment of the first byte that is put into the buffer.
    pub(crate) at: u64,
    /// `None` in a segment's first frame.
    pub(crate) mix: Option<frame::Mix>,
}

impl Stamp {
    /// Gives `prepared` its place, appends its frames to `out` and gives its leaf hash. Nothing is
    /// appended on failure.
    ///
    /// # Errors
    /// Fails where the clock is beyond the years 0 to 9999.
    pub(crate) fn put(self, prepared: &mut Prepared, out: &mut Vec<u8>) -> Result<Hash> {
        let time = self.time.to_string();
        if !is_time(&time) {
            return Err(Error::new("the clock is out of range").hint("set the system's time"));
        }
        let Prepared {
            entry,
            hash,
            contents,
        } = prepared;
        let mix = self.mix.unwrap_or_default();
        let bytes = &mut entry.bytes;
        let known = bytes.len();
        let mut at = self.at;
        bytes.extend_from_slice(b",\"payloads\":{");
        for (index, (payload, content)) in entry.payloads.iter_mut().zip(contents).enumerate() {
            frame::put(frame::Kind::Payload, &payload.digest, mix, content, out);
            payload.at = at;
            at += frame::offset(frame::HEADER + content.len());
            if content.len() > CONTENT_KEPT {
                *content = Vec::new();
            }
            if index > 0 {
                bytes.push(b',');
            }
            for part in ["\"", &payload.name, "\":{\"at\":"] {
                bytes.extend_from_slice(part.as_bytes());
            }
            push_decimal(payload.at, bytes);
            bytes.extend_from_slice(b",\"digest\":\"");
            push_hex(&payload.digest, bytes);
            bytes.extend_from_slice(b"\",\"len\":");
            push_decimal(payload.len, bytes);
            bytes.push(b'}');
        }
        bytes.extend_from_slice(b"},\"prev\":\"");
        push_hex(&self.prev, bytes);
        bytes.extend_from_slice(b"\",\"seq\":");
        push_decimal(self.seq, bytes);
        for part in [",\"time\":\"", &time, "\",\"v\":"] {
            bytes.extend_from_slice(part.as_bytes());
        }
        push_decimal(VERSION, bytes);
        bytes.push(b'}');
        hash.update(bytes.get(known..).unwrap_or_default());
        let hash = std::mem::take(hash).finish();
        frame::put(frame::Kind::Entry, &hash, mix, bytes, out);
        entry.seq = self.seq;
        entry.time = self.time;
        entry.prev = self.prev;
        entry.segment = self.segment;
        entry.at = at;
        Ok(hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::entry::Skeleton;
    use crate::audit::mask::Masker;

    fn names() -> Names {
        Names {
            origin: "keepgate.test/plane".into(),
            boot: "0123456789abcdef".into(),
        }
    }

    fn put(draft: Draft) -> (Entry, Vec<u8>) {
        let mut out = Vec::new();
        let stamp = Stamp {
            seq: 7,
            time: Timestamp::from_micros(1_795_511_567_123_456),
            prev: [7; 32],
            segment: 0,
            at: 100,
            mix: Some([1, 2, 3, 4]),
        };
        let mut prepared = Prepared::new(draft, &names()).unwrap();
        let hash = stamp.put(&mut prepared, &mut out).unwrap();
        let entry = prepared.entry;
        assert_eq!(hash, entry.leaf());
        (entry, out)
    }

    #[test]
    fn an_entry_is_canonical_and_comes_back() {
        let body = serde_json::json!({"z": 1, "call": "abc", "\u{1f600}": ["\n"]});
        let draft = Draft::new("call.intent", body.as_object().unwrap().clone())
            .payload("b", Masker::default().mask(b"second"))
            .payload("a", Masker::default().mask(b""));
        let (entry, out) = put(draft);
        assert_eq!(canonical::check(entry.bytes()), Ok(()));
        let value: Value = serde_json::from_slice(entry.bytes()).unwrap();
        assert_eq!(
            serde_json_canonicalizer::to_vec(&value).unwrap(),
            entry.bytes()
        );
        assert_eq!(
            Entry::parse(entry.bytes(), entry.segment, entry.at).unwrap(),
            entry
        );
        assert_eq!(entry.payload("a").unwrap().at, 100);
        assert_eq!(entry.payload("b").unwrap().at, 100 + 41);
        assert_eq!(out.len(), 41 + 47 + 9 + entry.bytes().len());
        let text = std::str::from_utf8(entry.bytes()).unwrap();
        let skeleton = Skeleton::parse(text).unwrap();
        assert_eq!(skeleton.member("call"), Some("abc"));
        assert_eq!(skeleton.member("z"), None);
        assert_eq!(skeleton.member("cal"), None);
    }

    #[test]
    fn drafts_the_log_cannot_hold_are_refused() {
        let prepare = |draft| Prepared::new(draft, &names());
        let masked = || Masker::default().mask(b"x");
        let twice = Draft::new("a", Map::new())
            .payload("p", masked())
            .payload("p", masked());
        assert!(prepare(twice).is_err());
        assert!(prepare(Draft::new("A b", Map::new())).is_err());
        assert!(prepare(Draft::new("a", Map::new()).payload("P", masked())).is_err());
        let float = serde_json::json!({"x": 0.5}).as_object().unwrap().clone();
        assert!(prepare(Draft::new("a", float)).is_err());
    }
}
