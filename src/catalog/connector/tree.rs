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
//! A tree is measured whole. It is only looked over again ([`Measured::is_still`]) where every entry
//! still has the device, inode, size, change time and mode it had; whoever can set a file's change
//! time at will is root, who is not kept out by this.

use std::collections::BTreeMap;
use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use super::digest::sha256;
use crate::error::{Error, Result};
use crate::time::{Clock, SystemClock};
use crate::wire::text::{escaped, hex};

/// Most entries of one tree.
pub const ENTRIES_MAX: usize = 200_000;
/// Most bytes of one tree's files together.
pub const BYTES_MAX: u64 = 8 << 30;
/// Directories inside each other.
const DEPTH_MAX: usize = 64;
/// Bytes read at a time.
const PIECE: usize = 256 << 10;
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

impl Measured {
    /// Reads everything beneath `path`.
    ///
    /// # Errors
    /// Fails on what is neither file, directory nor link, on names that are not UTF-8, on what changes
    /// while it is read, and beyond the limits of this module.
    pub fn read(path: &Path) -> Result<Self> {
        let mut walk = Walk {
            top: path,
            entries: BTreeMap::new(),
            bytes: 0,
            content: true,
        };
        let began_us = SystemClock.now().as_micros();
        walk.top()?;
        Ok(Self {
            path: path.into(),
            entries: walk.entries,
            began_us,
        })
    }

    /// The tree has the entries it had, as far as can be told without reading the files.
    pub fn is_still(&self) -> bool {
        let mut walk = Walk {
            top: &self.path,
            entries: BTreeMap::new(),
            bytes: 0,
            content: false,
        };
        if walk.top().is_err() || walk.entries.len() != self.entries.len() {
            return false;
        }
        let same = |(name, now): (&String, &Entry)| {
            self.entries.get(name).is_some_and(|then| {
                let settled = then.stamp.changed_us() < self.began_us.saturating_sub(RACY);
                let link = |entry: &Entry| match &entry.content {
                    Content::Link(target) => Some(target.clone()),
                    Content::Directory | Content::File(_) => None,
                };
                settled && then.stamp == now.stamp && link(then) == link(now)
            })
        };
        walk.entries.iter().all(same)
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

struct Walk<'a> {
    top: &'a Path,
    entries: BTreeMap<String, Entry>,
    bytes: u64,
    /// Files are read.
    content: bool,
}

impl Walk<'_> {
    fn wrong(&self, name: &str, why: impl std::fmt::Display) -> Error {
        let path = if name.is_empty() {
            self.top.to_owned()
        } else {
            self.top.join(name)
        };
        let shown = escaped(&path.to_string_lossy());
        Error::new(format!("measure `{shown}`: {why}"))
    }

    fn top(&mut self) -> Result<()> {
        let above = self.top.parent().unwrap_or(Path::new("/"));
        let name = self.top.file_name().unwrap_or(OsStr::new("."));
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let above = nix::fcntl::open(above, flags, Mode::empty())
            .map_err(|errno| self.wrong("", errno.desc()))?;
        let name = std::ffi::CString::new(name.as_bytes())
            .map_err(|_| self.wrong("", "its name holds a NUL"))?;
        self.entry(above.as_fd(), &name, String::new(), 0)
    }

    fn entry(&mut self, at: BorrowedFd<'_>, name: &CStr, path: String, depth: usize) -> Result<()> {
        if self.entries.len() >= ENTRIES_MAX {
            return Err(self
                .wrong(&path, format!("more than {ENTRIES_MAX} files"))
                .hint("pin the directory of the program, not all that is above it"));
        }
        let system = |errno: Errno| self.wrong(&path, errno.desc());
        let stat = fstatat(at, name, AtFlags::AT_SYMLINK_NOFOLLOW).map_err(system)?;
        let kind = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
        let content = match kind {
            SFlag::S_IFDIR => Content::Directory,
            SFlag::S_IFLNK => {
                let target = readlinkat(at, name).map_err(system)?;
                let target = target.into_string();
                Content::Link(target.map_err(|_| self.wrong(&path, "the link is not UTF-8"))?)
            }
            SFlag::S_IFREG if self.content => Content::File(self.file(at, name, &path, &stat)?),
            SFlag::S_IFREG => Content::File(String::new()),
            _ => {
                let why = "it is neither a file, nor a directory, nor a link";
                return Err(self.wrong(&path, why).hint("take it away"));
            }
        };
        let directory = content == Content::Directory;
        let entry = Entry {
            mode: stat.st_mode & 0o7777,
            content,
            stamp: Stamp::of(&stat),
        };
        self.entries.insert(path.clone(), entry);
        match directory {
            true => self.directory(at, name, &path, &stat, depth),
            false => Ok(()),
        }
    }

    fn open(
        &self,
        at: BorrowedFd<'_>,
        name: &CStr,
        path: &str,
        stat: &FileStat,
        flags: OFlag,
    ) -> Result<OwnedFd> {
        let flags =
            flags | OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let system = |errno: Errno| self.wrong(path, errno.desc());
        let opened = openat(at, name, flags, Mode::empty()).map_err(system)?;
        let now = fstat(&opened).map_err(system)?;
        match Stamp::of(&now) == Stamp::of(stat) {
            true => Ok(opened),
            false => Err(self.wrong(path, "it changed while it was read")),
        }
    }

    fn file(
        &mut self,
        at: BorrowedFd<'_>,
        name: &CStr,
        path: &str,
        stat: &FileStat,
    ) -> Result<String> {
        let size = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > BYTES_MAX {
            return Err(self.wrong(path, format!("more than {BYTES_MAX} bytes")));
        }
        let mut file = File::from(self.open(at, name, path, stat, OFlag::empty())?);
        let mut context = Context::new(&SHA256);
        let mut piece = vec![0; PIECE.min(usize::try_from(size).unwrap_or(PIECE)).max(1)];
        let mut total: u64 = 0;
        loop {
            let read = file
                .read(&mut piece)
                .map_err(|error| self.wrong(path, error))?;
            if read == 0 {
                break;
            }
            total = total.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
            if total > size {
                break;
            }
            context.update(piece.get(..read).unwrap_or_default());
        }
        let after = fstat(&file).map_err(|errno| self.wrong(path, errno.desc()))?;
        if total != size || Stamp::of(&after) != Stamp::of(stat) {
            return Err(self.wrong(path, "it changed while it was read"));
        }
        Ok(hex(context.finish().as_ref()))
    }

    fn directory(
        &mut self,
        at: BorrowedFd<'_>,
        name: &CStr,
        path: &str,
        stat: &FileStat,
        depth: usize,
    ) -> Result<()> {
        if depth >= DEPTH_MAX {
            return Err(self.wrong(path, format!("more than {DEPTH_MAX} levels")));
        }
        let opened = self.open(at, name, path, stat, OFlag::O_DIRECTORY)?;
        let again = opened
            .try_clone()
            .map_err(|error| self.wrong(path, error))?;
        let mut dir = Dir::from_fd(again).map_err(|errno| self.wrong(path, errno.desc()))?;
        for entry in dir.iter() {
            let entry = entry.map_err(|errno| self.wrong(path, errno.desc()))?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let text = name
                .to_str()
                .map_err(|_| self.wrong(path, "a name in it is not UTF-8"))?;
            let below = if path.is_empty() {
                text.to_owned()
            } else {
                format!("{path}/{text}")
            };
            self.entry(opened.as_fd(), name, below, depth + 1)?;
        }
        Ok(())
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
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;

    use super::*;

    fn tree() -> (tempfile::TempDir, PathBuf) {
        let temp = tempfile::tempdir().unwrap();
        let top = temp.path().join("top");
        fs::create_dir_all(top.join("a/b")).unwrap();
        fs::write(top.join("a/file"), "content").unwrap();
        fs::write(top.join("a-file"), "other").unwrap();
        symlink("a/file", top.join("link")).unwrap();
        (temp, top)
    }

    #[test]
    fn every_change_changes_the_digest() {
        type Change = fn(&Path);
        let changes: [(&str, Change); 11] = [
            ("content", |top| {
                fs::write(top.join("a/file"), "Content").unwrap()
            }),
            ("longer", |top| {
                fs::write(top.join("a/file"), "content ").unwrap()
            }),
            ("added", |top| fs::write(top.join("a/b/new"), "").unwrap()),
            ("hidden", |top| fs::write(top.join(".new"), "").unwrap()),
            ("directory", |top| fs::create_dir(top.join("a/c")).unwrap()),
            ("removed", |top| {
                fs::remove_file(top.join("a-file")).unwrap()
            }),
            ("renamed", |top| {
                fs::copy(top.join("a-file"), top.join("b-file")).unwrap();
                fs::remove_file(top.join("a-file")).unwrap();
            }),
            ("mode", |top| mode(&top.join("a/file"), 0o755)),
            ("set-user-id", |top| mode(&top.join("a/file"), 0o4644)),
            ("link", |top| {
                fs::remove_file(top.join("link")).unwrap();
                symlink("a-file", top.join("link")).unwrap();
            }),
            ("file to link", |top| {
                fs::remove_file(top.join("a-file")).unwrap();
                symlink("a/file", top.join("a-file")).unwrap();
            }),
        ];
        for (what, change) in changes {
            let (_temp, top) = tree();
            let before = Measured::read(&top).unwrap();
            assert_eq!(before.sha256(), Measured::read(&top).unwrap().sha256());
            change(&top);
            let after = Measured::read(&top).unwrap();
            assert_ne!(before.sha256(), after.sha256(), "{what}");
            assert!(!before.is_still(), "{what}");
        }
    }

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn what_is_still_the_same_is_not_read_again() {
        let (_temp, top) = tree();
        let mut measured = Measured::read(&top).unwrap();
        // Just made: a second change could have the same time.
        assert!(!measured.is_still());
        measured.began_us += RACY * 2;
        assert!(measured.is_still());
        let content = fs::read(top.join("a/file")).unwrap();
        fs::remove_file(top.join("a/file")).unwrap();
        fs::write(top.join("a/file"), content).unwrap();
        assert!(!measured.is_still());
        assert_eq!(measured.sha256(), Measured::read(&top).unwrap().sha256());
    }

    #[test]
    fn a_place_does_not_count_and_a_file_is_a_tree() {
        let (_temp, top) = tree();
        let (_other, elsewhere) = tree();
        let one = Measured::read(&top).unwrap();
        assert_eq!(one.sha256(), Measured::read(&elsewhere).unwrap().sha256());
        let file = Measured::read(&top.join("a/file")).unwrap();
        assert_eq!(file.entries.len(), 1);
        assert_eq!(of_file(&top.join("a/file")).unwrap(), sha256(b"content"));
    }

    #[test]
    fn links_are_not_followed_and_odd_things_are_refused() {
        let (temp, top) = tree();
        fs::write(temp.path().join("outside"), "x").unwrap();
        symlink("../outside", top.join("out")).unwrap();
        symlink(".", top.join("circle")).unwrap();
        let before = Measured::read(&top).unwrap().sha256();
        fs::write(temp.path().join("outside"), "changed").unwrap();
        assert_eq!(before, Measured::read(&top).unwrap().sha256());
        let _socket = UnixListener::bind(top.join("socket")).unwrap();
        let error = Measured::read(&top).unwrap_err();
        assert!(error.message().contains("neither a file"), "{error}");
        assert!(Measured::read(&top.join("none")).is_err());
    }
}
