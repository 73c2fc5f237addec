//! Entries as they are stored and read.

use serde::Serialize;
use serde_json::{Map, Value};

use super::canonical::{self, Cursor, Fault};
use super::tree::{Hash, leaf};
use crate::error::{Context, Error, Kind, Result};
use crate::time::Timestamp;
use crate::wire::text::unhex;

/// Version of the entry format.
pub const VERSION: u64 = 1;
/// Characters of a time: RFC 3339 in UTC with six digits.
const TIME_LEN: usize = 27;
/// Most payloads of one entry.
pub const PAYLOADS_MAX: usize = 16;

/// Where a payload is and what its bytes must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayloadRef {
    /// Its name in the entry.
    pub name: String,
    /// SHA-256("keepgate/v1/payload\0" ‖ salt ‖ bytes).
    pub digest: Hash,
    /// Length in bytes, salt not counted.
    pub len: u64,
    /// Offset of its frame in the entry's segment.
    pub at: u64,
}

/// A stored entry.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its number; the first entry of a log is 0.
    pub seq: u64,
    /// When it was written.
    pub time: Timestamp,
    /// What it is about: `call.intent`.
    pub kind: String,
    /// Identifier of the opening of the log in which it was written.
    pub boot: String,
    /// Name of the log.
    pub origin: String,
    /// Leaf hash of the entry before; zeros for the first.
    pub prev: Hash,
    /// What the writer said.
    pub body: Map<String, Value>,
    /// What is stored beside it, by name.
    pub payloads: Vec<PayloadRef>,
    /// Number of the first entry of its segment.
    pub segment: u64,
    /// Offset of its frame in the segment.
    pub at: u64,
    pub(super) bytes: Vec<u8>,
}

impl Entry {
    /// Reads the stored bytes of an entry.
    ///
    /// # Errors
    /// Fails where the bytes are not a canonical entry.
    pub fn parse(bytes: &[u8], segment: u64, at: u64) -> Result<Self> {
        let broken = |fault: Fault| Error::of(Kind::Tampered, fault.to_string());
        let skeleton = Skeleton::parse(canonical::text(bytes).map_err(broken)?).map_err(broken)?;
        let body = serde_json::from_str(skeleton.body).context(|| "read the body".into())?;
        Ok(Self {
            seq: skeleton.seq,
            time: skeleton.time.parse().context(|| "read the time".into())?,
            kind: skeleton.kind.into(),
            boot: skeleton.boot.into(),
            origin: skeleton.origin.into(),
            prev: skeleton.prev,
            body,
            payloads: skeleton.payloads,
            segment,
            at,
            bytes: bytes.to_vec(),
        })
    }

    /// The stored bytes: canonical JSON.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Hash of this entry in the tree.
    pub fn leaf(&self) -> Hash {
        leaf(&self.bytes)
    }

    /// The payload of this name.
    pub fn payload(&self, name: &str) -> Option<&PayloadRef> {
        self.payloads.iter().find(|payload| payload.name == name)
    }

    /// A member of the body that is text.
    pub fn text(&self, member: &str) -> Option<&str> {
        self.body.get(member).and_then(Value::as_str)
    }
}

#[cfg(test)]
impl Entry {
    /// One that no log holds, for tests of what is folded.
    pub(crate) fn for_tests(seq: u64, kind: &str, time: Timestamp, body: Value) -> Self {
        Self {
            seq,
            time,
            kind: kind.into(),
            boot: String::new(),
            origin: String::new(),
            prev: Hash::default(),
            body: body.as_object().cloned().unwrap_or_default(),
            payloads: Vec::new(),
            segment: 0,
            at: 0,
            bytes: Vec::new(),
        }
    }
}

impl Serialize for Entry {
    /// The stored JSON.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value: Value =
            serde_json::from_slice(&self.bytes).map_err(serde::ser::Error::custom)?;
        value.serialize(serializer)
    }
}

/// The members of an entry in the order in which they are stored, the body unread.
#[derive(Debug)]
pub(crate) struct Skeleton<'a> {
    pub(crate) body: &'a str,
    pub(crate) boot: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) origin: &'a str,
    pub(crate) payloads: Vec<PayloadRef>,
    pub(crate) prev: Hash,
    pub(crate) seq: u64,
    pub(crate) time: &'a str,
}

impl<'a> Skeleton<'a> {
    /// Takes an entry apart and checks on the way that it is canonical. Fit for fuzzing.
    pub(crate) fn parse(text: &'a str) -> Result<Self, Fault> {
        let mut cursor = Cursor::new(text);
        cursor.literal("{\"body\":", "no `body`")?;
        let body = cursor.object(1)?;
        cursor.literal(",\"boot\":", "no `boot`")?;
        let boot = cursor.plain()?;
        cursor.literal(",\"kind\":", "no `kind`")?;
        let kind = cursor.plain()?;
        cursor.literal(",\"origin\":", "no `origin`")?;
        let origin = cursor.plain()?;
        cursor.literal(",\"payloads\":", "no `payloads`")?;
        let payloads = payloads(&mut cursor)?;
        cursor.literal(",\"prev\":", "no `prev`")?;
        let prev = hash(&mut cursor)?;
        cursor.literal(",\"seq\":", "no `seq`")?;
        let seq = cursor.count()?;
        cursor.literal(",\"time\":", "no `time`")?;
        let time = cursor.plain()?;
        cursor.literal(",\"v\":1}", "no version 1")?;
        cursor.end()?;
        if !is_word(kind) || !is_time(time) {
            return cursor.fault("a kind or a time of unknown form");
        }
        Ok(Self {
            body,
            boot,
            kind,
            origin,
            payloads,
            prev,
            seq,
            time,
        })
    }

    /// A member of the body as it is written, where its name needs no escapes.
    pub(crate) fn member(&self, name: &str) -> Option<&'a str> {
        let mut cursor = Cursor::new(self.body);
        let mut found = None;
        // Names ascend: the search ends at the first greater one, by a fault of its own.
        let _ = cursor.members(0, &mut |each, cursor| {
            if each == name {
                found = cursor.plain().ok();
            }
            if each >= name {
                return cursor.fault("found");
            }
            cursor.value(1)
        });
        found
    }
}

fn payloads(cursor: &mut Cursor<'_>) -> Result<Vec<PayloadRef>, Fault> {
    let mut list = Vec::new();
    cursor.members(1, &mut |name, cursor| {
        if !is_word(name) || list.len() == PAYLOADS_MAX {
            return cursor.fault("a payload name of unknown form");
        }
        cursor.literal("{\"at\":", "no `at`")?;
        let at = cursor.count()?;
        cursor.literal(",\"digest\":", "no `digest`")?;
        let digest = hash(cursor)?;
        cursor.literal(",\"len\":", "no `len`")?;
        let len = cursor.count()?;
        cursor.literal("}", "unknown members of a payload")?;
        list.push(PayloadRef {
            name: name.into(),
            digest,
            len,
            at,
        });
        Ok(())
    })?;
    Ok(list)
}

/// 64 lower-case hexadecimal digits.
fn hash(cursor: &mut Cursor<'_>) -> Result<Hash, Fault> {
    let text = cursor.plain()?;
    match parse_hash(text) {
        Some(hash) => Ok(hash),
        None => cursor.fault("a hash of unknown form"),
    }
}

/// A hash of 64 lower-case hexadecimal digits.
pub(crate) fn parse_hash(text: &str) -> Option<Hash> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    unhex(text)?.try_into().ok()
}

/// Kinds and names of payloads: 1 to 64 of `a-z 0-9 . _ -`.
pub(crate) fn is_word(text: &str) -> bool {
    let good =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(good)
}

/// `2026-11-23T09:12:47.123456Z`, by form.
pub(crate) fn is_time(text: &str) -> bool {
    let form = b"0000-00-00T00:00:00.000000Z";
    text.len() == TIME_LEN
        && text.bytes().zip(form).all(|(byte, want)| match want {
            b'0' => byte.is_ascii_digit(),
            other => byte == *other,
        })
}
