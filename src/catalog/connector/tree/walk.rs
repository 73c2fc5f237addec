//! The walk through a tree: every entry is opened once, relative to the directory it is in, and has
//! to be the same before and after it was read.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use ring::digest::{Context, SHA256};

use super::{BYTES_MAX, Content, ENTRIES_MAX, Entry, Measured, Stamp, Top};
use crate::error::{Error, Result};
use crate::wire::text::{escaped, hex};

/// Directories inside each other.
const DEPTH_MAX: usize = 64;
/// Bytes read at a time.
const PIECE: usize = 256 << 10;

/// Everything beneath `path`, which is found at `top`; what is known from `known` is not read again.
pub(super) fn walk(
    path: &Path,
    top: Top<'_>,
    known: Option<&Measured>,
) -> Result<BTreeMap<String, Entry>> {
    let mut walk = Walk {
        path,
        known,
        entries: BTreeMap::new(),
        bytes: 0,
    };
    walk.top(top)?;
    Ok(walk.entries)
}

/// The directory in which `path` is at `top`.
pub(super) fn above(path: &Path, top: Top<'_>) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let path = match top {
        Top::Host => path,
        Top::Within(_, path) => path,
    };
    let above = path.parent().filter(|path| !path.as_os_str().is_empty());
    let above = above.unwrap_or(Path::new("/"));
    match top {
        Top::Host => nix::fcntl::open(above, flags, Mode::empty()),
        Top::Within(root, _) => {
            let how = OpenHow::new()
                .flags(flags)
                .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
            openat2(root, above, how)
        }
    }
}

struct Walk<'a> {
    /// What it is called.
    path: &'a Path,
    known: Option<&'a Measured>,
    entries: BTreeMap<String, Entry>,
    bytes: u64,
}

impl Walk<'_> {
    fn wrong(&self, name: &str, why: impl std::fmt::Display) -> Error {
        let path = if name.is_empty() {
            self.path.to_owned()
        } else {
            self.path.join(name)
        };
        let shown = escaped(&path.to_string_lossy());
        Error::new(format!("measure `{shown}`: {why}"))
    }

    fn top(&mut self, top: Top<'_>) -> Result<()> {
        let path = match top {
            Top::Host => self.path,
            Top::Within(_, path) => path,
        };
        let name = path.file_name().unwrap_or(OsStr::new("."));
        let above = above(self.path, top).map_err(|errno| self.wrong("", errno.desc()))?;
        let name =
            CString::new(name.as_bytes()).map_err(|_| self.wrong("", "its name holds a NUL"))?;
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
            SFlag::S_IFREG => Content::File(match self.known(&path, &stat) {
                Some(sha256) => sha256,
                None => self.file(at, name, &path, &stat)?,
            }),
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

    /// The digest of a file that is the one that was read before.
    fn known(&self, path: &str, stat: &FileStat) -> Option<String> {
        let known = self.known?;
        let entry = known.entries.get(path)?;
        match &entry.content {
            Content::File(sha256) if known.settled(entry) && entry.stamp == Stamp::of(stat) => {
                Some(sha256.clone())
            }
            Content::File(_) | Content::Directory | Content::Link(_) => None,
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
