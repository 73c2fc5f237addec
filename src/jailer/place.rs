//! A name in an open directory beneath a root. Everything the jailer does to a file goes through
//! one, so that no path is walked twice.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, RenameFlags, ResolveFlag, openat, openat2, renameat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use nix::unistd::{UnlinkatFlags, fsync, linkat, unlinkat};

use super::trouble::{OrTrouble, Trouble};
use crate::wire::messages::{FileState, JailFault};
use crate::wire::text::hex;

/// Longest path beneath a root, in bytes.
const PATH_MAX: usize = 4096;
/// Begin of the names the jailer uses between writing a file and naming it.
pub(super) const SCRATCH: &str = ".keepgate-";
/// Times an open is tried again when somebody renames directories at the same moment.
const RETRIES: usize = 8;

/// Splits a path beneath a root into its directory and its name; `None` for anything that is not a
/// plain relative path. `.` alone is the root itself.
pub fn split(path: &str) -> Option<(&str, &str)> {
    if path == "." {
        return Some((".", "."));
    }
    let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
    if path.len() > PATH_MAX || path.contains('\0') || !path.split('/').all(plain) {
        return None;
    }
    Some(path.rsplit_once('/').unwrap_or((".", path)))
}

/// Opens `path` beneath `directory`: no way out, no symbolic link, no other mount.
pub(super) fn open_beneath(
    directory: BorrowedFd<'_>,
    path: &str,
    flags: OFlag,
) -> Result<OwnedFd, Trouble> {
    let resolve = ResolveFlag::RESOLVE_BENEATH
        | ResolveFlag::RESOLVE_NO_SYMLINKS
        | ResolveFlag::RESOLVE_NO_MAGICLINKS
        | ResolveFlag::RESOLVE_NO_XDEV;
    let mode = if flags.contains(OFlag::O_TMPFILE) {
        0o600
    } else {
        0
    };
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW)
        .mode(Mode::from_bits_truncate(mode))
        .resolve(resolve);
    let mut tries = 0;
    loop {
        match openat2(directory, path, how) {
            Err(Errno::EAGAIN | Errno::EINTR) if tries < RETRIES => tries += 1,
            answer => return answer.or_trouble("openat2"),
        }
    }
}

/// A directory and a name in it.
#[derive(Debug)]
pub(super) struct Place {
    directory: OwnedFd,
    name: String,
}

/// A regular file that was there: what it was, and itself.
#[derive(Debug)]
pub(super) struct Found {
    /// Length, content and mode.
    pub(super) state: FileState,
    /// What it holds.
    pub(super) content: Vec<u8>,
    /// Open for reading.
    pub(super) file: OwnedFd,
    /// Its owner and more.
    pub(super) stat: FileStat,
}

impl Place {
    /// The place `path` beneath `root`.
    pub(super) fn new(root: BorrowedFd<'_>, path: &str) -> Result<Self, Trouble> {
        let outside = || Trouble::new(JailFault::Outside, "not a plain path beneath a root");
        let (directory, name) = split(path).ok_or_else(outside)?;
        if name.starts_with(SCRATCH) || name == "." {
            return Err(Trouble::new(
                JailFault::NotPermitted,
                "a name that is not for files",
            ));
        }
        let directory = open_beneath(root, directory, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
        Ok(Self {
            directory,
            name: name.to_owned(),
        })
    }

    /// Its name in its directory.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Its directory.
    pub(super) fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Another name in the same directory.
    pub(super) fn beside(&self, name: &str) -> Result<Self, Trouble> {
        let directory = self.directory.try_clone().or_trouble("fcntl")?;
        Ok(Self {
            directory,
            name: name.to_owned(),
        })
    }

    /// A handle to whatever has this name now; it cannot be read or written.
    pub(super) fn handle(&self) -> Result<OwnedFd, Trouble> {
        open_beneath(self.directory(), &self.name, OFlag::O_PATH)
    }

    /// The file that has this name now, read whole; `None` where there is none.
    pub(super) fn look(
        &self,
        descriptors: BorrowedFd<'_>,
        max: u64,
    ) -> Result<Option<Found>, Trouble> {
        // O_PATH has no effect on what it opens: no fifo waits, no device rewinds.
        let handle = match open_beneath(self.directory(), &self.name, OFlag::O_PATH) {
            Err(trouble) if trouble.fault == JailFault::NotFound => return Ok(None),
            handle => handle?,
        };
        let stat = regular(&handle)?;
        let file = reopen(descriptors, handle.as_fd(), OFlag::O_RDONLY)?;
        let content = read(file.as_fd(), max)?;
        let state = FileState::Present {
            len: u64::try_from(content.len()).unwrap_or(u64::MAX),
            sha256: digest(&content),
            mode: stat.st_mode & 0o7777,
        };
        Ok(Some(Found {
            state,
            content,
            file,
            stat,
        }))
    }

    /// Gives the open file this name; it must be free.
    pub(super) fn link(
        &self,
        descriptors: BorrowedFd<'_>,
        file: BorrowedFd<'_>,
    ) -> nix::Result<()> {
        // By its place in /proc: AT_EMPTY_PATH wants a capability that reads every file.
        let number = file.as_raw_fd().to_string();
        let flags = AtFlags::AT_SYMLINK_FOLLOW;
        linkat(
            descriptors,
            number.as_str(),
            self.directory(),
            self.name.as_str(),
            flags,
        )
    }

    /// Exchanges the two names, or gives this file the other's name where that must be free.
    pub(super) fn rename(&self, other: &Self, flags: RenameFlags) -> nix::Result<()> {
        let (one, two) = (self.name.as_str(), other.name.as_str());
        renameat2(self.directory(), one, other.directory(), two, flags)
    }

    /// Takes the name away.
    pub(super) fn unlink(&self) -> nix::Result<()> {
        unlinkat(
            self.directory(),
            self.name.as_str(),
            UnlinkatFlags::NoRemoveDir,
        )
    }

    /// Puts the directory on disk.
    pub(super) fn sync(&self) -> Result<(), Trouble> {
        fsync(self.directory()).or_trouble("fsync of the directory")
    }
}

/// The file behind a handle is a regular one.
pub(super) fn regular(handle: &OwnedFd) -> Result<FileStat, Trouble> {
    let stat = fstat(handle).or_trouble("fstat")?;
    let kind = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
    if kind == SFlag::S_IFREG {
        return Ok(stat);
    }
    // openat2 refuses links on the way, but with O_PATH it opens a link at the end as itself.
    let (fault, what) = if kind == SFlag::S_IFLNK {
        (JailFault::Outside, "a symbolic link")
    } else {
        (JailFault::WrongKind, "not a regular file")
    };
    Err(Trouble::new(fault, what))
}

/// Opens what `handle` refers to once more.
pub(super) fn reopen(
    descriptors: BorrowedFd<'_>,
    handle: BorrowedFd<'_>,
    flags: OFlag,
) -> Result<OwnedFd, Trouble> {
    let number = handle.as_raw_fd().to_string();
    let flags = flags | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    openat(descriptors, number.as_str(), flags, Mode::empty()).or_trouble("open")
}

/// All of a file, where it has at most `max` bytes.
pub(super) fn read(file: BorrowedFd<'_>, max: u64) -> Result<Vec<u8>, Trouble> {
    let file = File::from(file.try_clone_to_owned().or_trouble("fcntl")?);
    let mut content = Vec::new();
    let most = max.saturating_add(1);
    file.take(most)
        .read_to_end(&mut content)
        .or_trouble("read")?;
    if u64::try_from(content.len()).unwrap_or(u64::MAX) > max {
        let what = format!("more than {max} bytes");
        return Err(Trouble::new(JailFault::TooLarge, what));
    }
    Ok(content)
}

/// SHA-256 in lower-case hex.
pub(super) fn digest(content: &[u8]) -> String {
    hex(ring::digest::digest(&ring::digest::SHA256, content).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_paths_have_a_place() {
        assert_eq!(split("a"), Some((".", "a")));
        assert_eq!(split("a/b c/d"), Some(("a/b c", "d")));
        assert_eq!(split("."), Some((".", ".")));
        let long = "a".repeat(PATH_MAX + 1);
        for bad in [
            "", "/", "/a", "a/", "a//b", "./a", "a/.", "..", "a/../b", "a\0b", &long,
        ] {
            assert_eq!(split(bad), None, "{bad:?}");
        }
    }
}
