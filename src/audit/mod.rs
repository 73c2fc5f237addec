//! The log of one plane: append-only, hash-chained, in a Merkle tree, signed. What is not in it
//! does not happen.
//!
//! # Format
//!
//! Enough to write a verifier; `scripts/verify-log.py` is one. Numbers are little endian, hashes
//! SHA-256, `‖` joins bytes, hexadecimal is lower case.
//!
//! ## Directory
//!
//! | file | content |
//! |---|---|
//! | `NNNNNNNNNNNNNNNNNNNN.seg` | a segment; its name is the number of its first entry, 20 digits |
//! | `checkpoint` | the latest signed checkpoint, replaced durably |
//! | `NNNNNNNNNNNNNNNNNNNN-AT-K.torn` | a torn tail cut off that segment at offset AT; no part of the log |
//!
//! Entries are numbered from 0 without gaps; the first segment begins with entry 0 and each
//! further one where the one before ended. Other files are no part of the log.
//!
//! ## Segment
//!
//! Frames without anything between them:
//!
//! ```text
//! frame   = kind(1) ‖ length(u32) ‖ check(4) ‖ content(length)
//! kind    = 'E'  content is an entry, at most 16 MiB
//!           'P'  content is a payload: salt(32) ‖ bytes, at most 64 MiB
//! check   = first 4 bytes of the content's hash XOR mix
//!           (hash of 'E': the leaf hash; of 'P': the payload digest)
//! mix     = 0 in a segment's first frame, otherwise the first 4 bytes of the leaf hash of the
//!           segment's first entry
//! payload digest = SHA-256("keepgate/v1/payload" ‖ 0x00 ‖ salt ‖ bytes)
//! ```
//!
//! The payloads of an entry come right before it, in the order of their names. A payload is pruned
//! by making its whole content zero; its frame header stays. The check only tells a torn tail from
//! damage; `mix` keeps a payload's author from forging a frame inside of it.
//!
//! ## Entry
//!
//! An object in canonical JSON (RFC 8785) whose numbers are integers between -(2^53-1) and 2^53-1,
//! nested at most 64 deep, with exactly these members:
//!
//! | member | value |
//! |---|---|
//! | `body` | object; what the entry says |
//! | `boot` | identifier of the opening of the log that wrote it |
//! | `kind` | 1 to 64 of `a-z0-9._-` |
//! | `origin` | name of the log: 1 to 200 printable ASCII characters, none of them space, `+`, `"`, `\` |
//! | `payloads` | object, at most 16 names (1 to 64 of `a-z0-9._-`) → `{"at": offset of the frame in this segment, "digest": hexadecimal, "len": length without salt}` |
//! | `prev` | hexadecimal leaf hash of the entry before; 64 zeros in entry 0 |
//! | `seq` | its number |
//! | `time` | UTC, `2026-11-23T09:12:47.123456Z`; order is by `seq`, never by time |
//! | `v` | 1 |
//!
//! Leaf hash: SHA-256(0x00 ‖ the stored bytes). The tree over the leaf hashes is that of RFC 6962,
//! section 2.1. The stored bytes are what is hashed, and they are the one canonical spelling.
//!
//! ## Entries the log writes itself
//!
//! - `segment`, first in each segment and nowhere else: `{frontier, previous, size, state, vkey}`.
//!   `size` is its own number; `frontier` the hashes of the perfect subtrees over the entries
//!   before, largest first, hexadecimal; `previous` the segment before as `{bytes, name}`, null in
//!   the first; `vkey` the key in force; `state` is the keeper's and opaque.
//! - `key.changed`: `{new, old, signature}`: base64 of the old key's signature (ASN.1 DER) over
//!   `"keepgate/v1/key-change\n" ORIGIN "\n" SEQ "\n" OLD "\n" NEW "\n"`, SEQ its own number. The
//!   new key is in force from the next entry on, and signs checkpoints larger than SEQ.
//! - `log.recovered`: `{after_seq, bytes}`: a torn tail was cut off.
//!
//! ## Checkpoint
//!
//! A C2SP tlog-checkpoint in a signed note: the lines ORIGIN, number of entries, base64 of the
//! root, an empty line, then `— ORIGIN BASE64(key id(4) ‖ signature)` with an ECDSA P-256 SHA-256
//! signature in ASN.1 DER by the key in force at that size. A key is written
//! `ORIGIN+KEYID+BASE64(0x02 ‖ SPKI)`; its id is the first 4 bytes of SHA-256(SPKI) (C2SP
//! signed-note, type 0x02). The first one is stored before the second entry is written: a log of one
//! entry or less may lack it and is then unsigned, a longer one without it does not verify.
//!
//! ## Torn tail
//!
//! What follows the last whole entry of the last segment is torn, and was never acknowledged, when
//! no checkpoint covers it and no intact entry frame begins in it. Anything else that does not fit
//! is tampering. An intact entry frame: 'E', a length that fits, `{"body":`, and a right check; in
//! a segment whose first entry is unreadable, canonical form in place of the check.

#![forbid(unsafe_code)]

pub mod canonical;
mod check;
mod commit;
pub mod disk;
mod draft;
pub mod entry;
pub mod evidence;
mod frame;
pub mod index;
mod lanes;
mod log;
pub mod mask;
pub mod note;
mod open;
mod queue;
pub mod quota;
pub mod reader;
mod round;
mod salt;
pub mod sealer;
mod segment;
mod signing;
#[cfg(test)]
mod tests;
mod torn;
pub mod tree;
pub mod verify;
mod writer;

pub use draft::Draft;
pub use entry::{Entry, PayloadRef};
pub use frame::{ENTRY_MAX, PAYLOAD_MAX};
pub use log::{Fold, Head, Log, Options, Written};
pub use mask::{Masked, Masker};
pub use open::key_in_force;
pub use reader::Reader;
pub use sealer::{Sealer, SoftwareSealer};
