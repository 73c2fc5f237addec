//! Paths of a manifest, opened on the host: each once, and through no link.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2, readlinkat};
use nix::sys::stat::{SFlag, fstat};

use super::tree::Source;
use super::view::Owner;
use crate::sys::mounts::{self, Copy};

/// Opens what is at `path` once: everything else is asked of the descriptor, so that nobody who can
/// write somewhere on the way can put something else there in between. No symbolic link is gone
/// through; one at the end is what is opened.
pub(super) fn open_once(path: &Path) -> std::io::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW)
        .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    Ok(openat2(AT_FDCWD, path, how)?)
}

/// As [`open_once`], of what is below the writable directory `outer`, on the same mount: what is
/// mounted in there is not in the jail's copy.
pub(super) fn open_within(outer: &OwnedFd, path: &Path) -> std::io::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW)
        .resolve(
            ResolveFlag::RESOLVE_BENEATH
                | ResolveFlag::RESOLVE_NO_SYMLINKS
                | ResolveFlag::RESOLVE_NO_MAGICLINKS
                | ResolveFlag::RESOLVE_NO_XDEV,
        );
    Ok(openat2(outer, path, how)?)
}

/// Whether it is a directory, not a regular file.
pub(super) fn file_or_directory(found: &OwnedFd) -> std::io::Result<bool> {
    match SFlag::from_bits_truncate(fstat(found)?.st_mode & SFlag::S_IFMT.bits()) {
        SFlag::S_IFDIR => Ok(true),
        SFlag::S_IFREG => Ok(false),
        SFlag::S_IFLNK => Err(Errno::ELOOP.into()),
        _ => Err(std::io::Error::other("neither a file nor a directory")),
    }
}

pub(super) fn source(found: &OwnedFd) -> std::io::Result<Source> {
    let kind = SFlag::from_bits_truncate(fstat(found)?.st_mode & SFlag::S_IFMT.bits());
    if kind == SFlag::S_IFLNK {
        let target = readlinkat(found, "")?;
        let target = PathBuf::from(target);
        return Ok(Source::Link { target });
    }
    let directory = kind == SFlag::S_IFDIR;
    if !directory && kind != SFlag::S_IFREG {
        return Err(std::io::Error::other(
            "neither a file, a directory nor a link",
        ));
    }
    let tree = mounts::clone_open(found.as_fd(), Copy::Shown)?;
    Ok(Source::Tree { tree, directory })
}

pub(super) fn directory(found: &OwnedFd) -> std::io::Result<(OwnedFd, Owner)> {
    let stat = fstat(found)?;
    match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
        SFlag::S_IFDIR => {}
        SFlag::S_IFLNK => return Err(Errno::ELOOP.into()),
        _ => return Err(Errno::ENOTDIR.into()),
    }
    let tree = mounts::clone_open(found.as_fd(), Copy::Writable)?;
    let owner = Owner {
        uid: stat.st_uid,
        gid: stat.st_gid,
    };
    Ok((tree, owner))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn no_link_on_the_way_is_followed_and_one_at_the_end_is_a_link() {
        let directory = tempfile::tempdir().unwrap();
        let real = directory.path().join("real");
        std::fs::create_dir_all(real.join("below")).unwrap();
        symlink(&real, directory.path().join("link")).unwrap();
        assert!(open_once(&real.join("below")).is_ok());
        let refused = open_once(&directory.path().join("link/below")).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::ELOOP));
        let link = open_once(&directory.path().join("link")).unwrap();
        assert!(matches!(source(&link), Ok(Source::Link { target }) if target == real));
        let refused = super::directory(&link).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::ELOOP));
    }
}
