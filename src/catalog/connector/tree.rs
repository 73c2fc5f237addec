//! What a connector executes, as one digest: every file, directory and link beneath a path, with its
//! name, permission bits and content. Nothing is followed: a link is its target's text.
//!
//! ```text
//! digest = SHA-256("keepgate/v1/tree" ‖ 0 ‖ entry…)      entries in the order of their paths' bytes
//! entry  = kind('d' | 'f' | 'l') ‖ mode(u32) ‖ part(path from the top, empty for itself) ‖
//!          part(SHA-256 of the content as hexadecimal | the link's target | nothing)
//! part   = length(u64) ‖ bytes                           numbers little endian
//! ```
//!
//! A tree is measured whole. Measured again ([`Measured::again`]), only those files are read whose
//! device, inode, size, change time, owner or mode is another one. The time of its last change of
//! content adds nothing to that: who sets it sets the change time too (utimensat(2)). Whoever can set
//! a file's change time at will is root, who is not kept out by this. A file that is changed through a mapping of
//! memory keeps its change time for as long as the kernel likes: only who may write it can make one,
//! so a tree that others than root and the install's owner may write is not used at all
//! ([`Measured::lent_to_others`]).

mod owners;
mod same;
mod walk;

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use nix::sys::stat::FileStat;
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use super::digest::sha256;
use crate::error::{Error, Result};
use crate::time::{Clock, SystemClock};
use crate::wire::text::{escaped, hex};

pub use owners::Lent;

/// Most entries of one tree.
pub const ENTRIES_MAX: usize = 200_000;
/// Most bytes of one tree's files together.
pub const BYTES_MAX: u64 = 8 << 30;
/// A change time this close to the measuring may hide a second change: microseconds.
const RACY: i64 = 2_000_000;

/// One pinned path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tree {
    /// Absolute.
    pub path: PathBuf,
    /// Digest over everything beneath it, hexadecimal.
    pub sha256: String,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Content {
    /// A directory.
    Directory,
    /// A regular file: SHA-256 of its content, hexadecimal.
    File(String),
    /// A symbolic link: what it says.
    Link(String),
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Permission bits, with set-user-ID, set-group-ID and sticky.
    pub mode: u32,
    /// What it is.
    pub content: Content,
    /// By what it is known again.
    stamp: Stamp,
}

/// By what a file is known again without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stamp {
    device: u64,
    inode: u64,
    size: i64,
    changed_s: i64,
    changed_ns: i64,
    mode: u32,
    uid: u32,
    gid: u32,
}

impl Stamp {
    fn of(stat: &FileStat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: stat.st_size,
            changed_s: stat.st_ctime,
            changed_ns: stat.st_ctime_nsec,
            mode: stat.st_mode,
            uid: stat.st_uid,
            gid: stat.st_gid,
        }
    }

    fn changed_us(self) -> i64 {
        let seconds = self.changed_s.saturating_mul(1_000_000);
        seconds.saturating_add(self.changed_ns / 1_000)
    }
}

/// A tree with all its entries: what is compared when its digest differs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// Absolute.
    pub path: PathBuf,
    /// By path from the top; the top itself is the empty one.
    pub entries: BTreeMap<String, Entry>,
    /// When the measuring began: microseconds since the epoch.
    began_us: i64,
}

/// Where a tree is looked for.
#[derive(Debug, Clone, Copy)]
pub enum Top<'a> {
    /// At its own path.
    Host,
    /// At this path of a directory that is taken for the root of all paths, links included.
    Within(BorrowedFd<'a>, &'a Path),
}

impl Measured {
    /// Reads everything beneath `path`.
    ///
    /// # Errors
    /// Fails on what is neither file, directory nor link, on names that are not UTF-8, on what changes
    /// while it is read, and beyond the limits of this module.
    pub fn read(path: &Path) -> Result<Self> {
        Self::read_at(path, Top::Host)
    }

    /// Reads everything of what is called `path` and found at `top`.
    ///
    /// # Errors
    /// As [`Measured::read`].
    pub fn read_at(path: &Path, top: Top<'_>) -> Result<Self> {
        Self::measure(path, top, None)
    }

    /// The tree as it is now at `top`; files that are known by their stamp are not read.
    ///
    /// # Errors
    /// As [`Measured::read`].
    pub fn again(&self, top: Top<'_>) -> Result<Self> {
        Self::measure(&self.path, top, Some(self))
    }

    /// Whether `top` still holds this very tree, by the stamps of its entries alone: no file is read.
    /// False also where a stamp is so young that a second change could have the same; measured
    /// [again](Self::again), it is an older one.
    pub fn is_unchanged(&self, top: Top<'_>) -> bool {
        same::is_same(self, top)
    }

    /// Whether there is nothing called `path` at `top`: it was never there, or it was removed and only
    /// what was mounted of it is left, without a name.
    pub fn is_gone(path: &Path, top: Top<'_>) -> bool {
        same::is_gone(path, top)
    }

    fn measure(path: &Path, top: Top<'_>, known: Option<&Self>) -> Result<Self> {
        let began_us = SystemClock.now().as_micros();
        Ok(Self {
            path: path.into(),
            entries: walk::walk(path, top, known)?,
            began_us,
        })
    }

    /// A change after this entry was read would have another change time.
    fn settled(&self, entry: &Entry) -> bool {
        entry.stamp.changed_us() < self.began_us.saturating_sub(RACY)
    }

    /// The digest.
    pub fn sha256(&self) -> String {
        let mut context = Context::new(&SHA256);
        context.update(b"keepgate/v1/tree\0");
        for (name, entry) in &self.entries {
            let (kind, part) = match &entry.content {
                Content::Directory => (b"d", ""),
                Content::File(sha256) => (b"f", sha256.as_str()),
                Content::Link(target) => (b"l", target.as_str()),
            };
            context.update(kind);
            context.update(&entry.mode.to_le_bytes());
            for part in [name.as_str(), part] {
                let length = u64::try_from(part.len()).unwrap_or(u64::MAX);
                context.update(&length.to_le_bytes());
                context.update(part.as_bytes());
            }
        }
        hex(context.finish().as_ref())
    }

    /// Path and digest.
    pub fn tree(&self) -> Tree {
        Tree {
            path: self.path.clone(),
            sha256: self.sha256(),
        }
    }
}

/// SHA-256 of one file's content, hexadecimal; links are not followed.
///
/// # Errors
/// As [`Measured::read`].
pub fn of_file(path: &Path) -> Result<String> {
    let measured = Measured::read(path)?;
    match measured.entries.get("").map(|entry| &entry.content) {
        Some(Content::File(sha256)) => Ok(sha256.clone()),
        Some(Content::Link(target)) => Ok(sha256(target.as_bytes())),
        _ => Err(Error::new(format!(
            "`{}` is no file",
            escaped(&path.to_string_lossy())
        ))),
    }
}

#[cfg(test)]
mod tests;
