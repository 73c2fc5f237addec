//! Entries on their way into the log: what a caller drafts, what is prepared on its thread, and
//! what the writer adds.

use serde_json::{Map, Value};

use super::canonical;
use super::entry::{Entry, PAYLOADS_MAX, PayloadRef, VERSION, is_time, is_word};
use super::frame;
use super::mask::Masked;
use super::tree::{Hash, leaf};
use crate::error::{Error, Result};
use crate::time::Timestamp;
use crate::wire::text::hex;

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

/// A draft whose expensive parts are done: canonical body, salted and hashed payloads. Made on
/// the caller's thread.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) kind: &'static str,
    body: Map<String, Value>,
    body_bytes: Vec<u8>,
    /// By name, each with salt and digest.
    payloads: Vec<(&'static str, Hash, Vec<u8>)>,
}

impl Prepared {
    /// Checks and hashes a draft.
    ///
    /// # Errors
    /// Fails on numbers, depths, sizes and names the log does not hold.
    pub(crate) fn new(draft: Draft) -> Result<Self> {
        let kind = draft.kind;
        let bad = |why: String| Error::new(format!("write an entry `{kind}`: {why}"));
        if !is_word(kind) {
            return Err(bad("the kind is not of `a-z0-9._-`".into()));
        }
        let mut body_bytes = Vec::with_capacity(512);
        canonical::write_body(&draft.body, &mut body_bytes)
            .map_err(|error| Error::new(format!("write an entry `{kind}`")).because(error))?;
        if body_bytes.len() > frame::ENTRY_MAX - 8192 {
            return Err(bad(format!(
                "its body has more than {} bytes",
                frame::ENTRY_MAX - 8192
            )));
        }
        let mut payloads = Vec::with_capacity(draft.payloads.len());
        for (name, masked) in draft.payloads {
            let bytes = masked.into_bytes();
            if bytes.len() > frame::PAYLOAD_MAX {
                return Err(bad(format!(
                    "`{name}` has more than {} bytes",
                    frame::PAYLOAD_MAX
                )));
            }
            let salted = salt(bytes)?;
            payloads.push((name, frame::payload_digest(&salted), salted));
        }
        payloads.sort_by_key(|(name, ..)| *name);
        let twice = payloads.windows(2).any(|pair| match pair {
            [(a, ..), (b, ..)] => a == b,
            _ => false,
        });
        if twice || payloads.len() > PAYLOADS_MAX || payloads.iter().any(|(n, ..)| !is_word(n)) {
            return Err(bad("its payloads are too many or have bad names".into()));
        }
        Ok(Self {
            kind,
            body: draft.body,
            body_bytes,
            payloads,
        })
    }

    /// Bytes it will take, roughly.
    pub(crate) fn size(&self) -> usize {
        self.payloads
            .iter()
            .map(|(_, _, salted)| salted.len())
            .sum::<usize>()
            + self.body_bytes.len()
    }
}

fn salt(bytes: Vec<u8>) -> Result<Vec<u8>> {
    use ring::rand::{SecureRandom, SystemRandom};
    let mut salted = vec![0; frame::SALT];
    SystemRandom::new()
        .fill(&mut salted)
        .map_err(|_| Error::new("the kernel gave no random numbers"))?;
    salted.extend_from_slice(&bytes);
    Ok(salted)
}

/// What the writer adds to a prepared draft.
#[derive(Debug)]
pub(crate) struct Stamp<'a> {
    pub(crate) origin: &'a str,
    pub(crate) boot: &'a str,
    pub(crate) seq: u64,
    pub(crate) time: Timestamp,
    pub(crate) prev: Hash,
    pub(crate) segment: u64,
    /// Offset in the segment of the first byte that is put into the buffer.
    pub(crate) at: u64,
    /// `None` in a segment's first frame.
    pub(crate) mix: Option<frame::Mix>,
}

impl Stamp<'_> {
    /// Appends the frames of `prepared` to `out` and gives the entry with its leaf hash. Nothing
    /// is appended on failure.
    ///
    /// # Errors
    /// Fails where the clock is beyond the years 0 to 9999.
    pub(crate) fn put(self, prepared: Prepared, out: &mut Vec<u8>) -> Result<(Entry, Hash)> {
        let time = self.time.to_string();
        if !is_time(&time) {
            return Err(Error::new("the clock is out of range").hint("set the system's time"));
        }
        let mix = self.mix.unwrap_or_default();
        let mut at = self.at;
        let mut refs = Vec::with_capacity(prepared.payloads.len());
        for (name, digest, salted) in &prepared.payloads {
            frame::put(frame::Kind::Payload, digest, mix, salted, out);
            let len = frame::offset(salted.len() - frame::SALT);
            refs.push(PayloadRef {
                name: (*name).into(),
                digest: *digest,
                len,
                at,
            });
            at += frame::offset(frame::HEADER + salted.len());
        }
        let mut bytes = Vec::with_capacity(prepared.body_bytes.len() + 320);
        bytes.extend_from_slice(frame::OPENING);
        bytes.extend_from_slice(&prepared.body_bytes);
        let mut rest = String::with_capacity(320);
        rest.push_str(&format!(
            ",\"boot\":\"{}\",\"kind\":\"{}\",\"origin\":\"{}\",\"payloads\":{{",
            self.boot, prepared.kind, self.origin
        ));
        for (index, payload) in refs.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let PayloadRef {
                name,
                digest,
                len,
                at,
            } = payload;
            let digest = hex(digest);
            rest.push_str(&format!(
                "{comma}\"{name}\":{{\"at\":{at},\"digest\":\"{digest}\",\"len\":{len}}}"
            ));
        }
        rest.push_str(&format!(
            "}},\"prev\":\"{}\",\"seq\":{},\"time\":\"{time}\",\"v\":{VERSION}}}",
            hex(&self.prev),
            self.seq
        ));
        bytes.extend_from_slice(rest.as_bytes());
        let hash = leaf(&bytes);
        frame::put(frame::Kind::Entry, &hash, mix, &bytes, out);
        let entry = Entry {
            seq: self.seq,
            time: self.time,
            kind: prepared.kind.into(),
            boot: self.boot.into(),
            origin: self.origin.into(),
            prev: self.prev,
            body: prepared.body,
            payloads: refs,
            segment: self.segment,
            at,
            bytes,
        };
        Ok((entry, hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::entry::Skeleton;
    use crate::audit::mask::Masker;

    fn put(draft: Draft) -> (Entry, Vec<u8>) {
        let mut out = Vec::new();
        let stamp = Stamp {
            origin: "keepgate.test/plane",
            boot: "0123456789abcdef",
            seq: 7,
            time: Timestamp::from_micros(1_795_511_567_123_456),
            prev: [7; 32],
            segment: 0,
            at: 100,
            mix: Some([1, 2, 3, 4]),
        };
        let (entry, hash) = stamp.put(Prepared::new(draft).unwrap(), &mut out).unwrap();
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
        let masked = || Masker::default().mask(b"x");
        let twice = Draft::new("a", Map::new())
            .payload("p", masked())
            .payload("p", masked());
        assert!(Prepared::new(twice).is_err());
        assert!(Prepared::new(Draft::new("A b", Map::new())).is_err());
        assert!(Prepared::new(Draft::new("a", Map::new()).payload("P", masked())).is_err());
        let float = serde_json::json!({"x": 0.5}).as_object().unwrap().clone();
        assert!(Prepared::new(Draft::new("a", float)).is_err());
    }
}
