//! Whether a tree is still the one that was measured, by the stamps of its entries alone: no file is
//! read and no digest made, so that it can be asked often.

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat};

use super::{Content, Measured, Stamp, Top, walk};

/// Every entry of `known` is there with its own stamp, no other is, and none of the stamps is so young
/// that it could hide a second change.
pub(super) fn is_same(known: &Measured, top: Top<'_>) -> bool {
    let mut same = Same { known, seen: 0 };
    let Ok((above, name)) = place(&known.path, top) else {
        return false;
    };
    let same_so_far = same.entry(above.as_fd(), &name, &mut String::new());
    same_so_far && same.seen == known.entries.len()
}

/// There is nothing at `top` that has this path, or only what was removed and is still mounted there.
pub(super) fn is_gone(path: &Path, top: Top<'_>) -> bool {
    let stat = place(path, top)
        .and_then(|(above, name)| fstatat(&above, name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW));
    match stat {
        Ok(stat) => stat.st_nlink == 0,
        Err(errno) => errno == Errno::ENOENT || errno == Errno::ENOTDIR,
    }
}

fn place(path: &Path, top: Top<'_>) -> nix::Result<(std::os::fd::OwnedFd, CString)> {
    let within = match top {
        Top::Host => path,
        Top::Within(_, path) => path,
    };
    let name = within.file_name().unwrap_or(OsStr::new("."));
    let name = CString::new(name.as_bytes()).map_err(|_| Errno::EINVAL)?;
    Ok((walk::above(path, top)?, name))
}

struct Same<'a> {
    known: &'a Measured,
    seen: usize,
}

impl Same<'_> {
    fn entry(&mut self, at: BorrowedFd<'_>, name: &CStr, path: &mut String) -> bool {
        let Some(entry) = self.known.entries.get(path.as_str()) else {
            return false;
        };
        let is =
            |stat: nix::Result<FileStat>| stat.is_ok_and(|stat| Stamp::of(&stat) == entry.stamp);
        let found = fstatat(at, name, AtFlags::AT_SYMLINK_NOFOLLOW);
        if !self.known.settled(entry) || !is(found) {
            return false;
        }
        self.seen += 1;
        if entry.content != Content::Directory {
            return true;
        }
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let Ok(opened) = openat(at, name, flags, Mode::empty()) else {
            return false;
        };
        let again = opened.try_clone();
        is(fstat(&opened)) && again.is_ok_and(|again| self.below(opened.as_fd(), again, path))
    }

    fn below(
        &mut self,
        opened: BorrowedFd<'_>,
        again: std::os::fd::OwnedFd,
        path: &mut String,
    ) -> bool {
        let Ok(mut dir) = Dir::from_fd(again) else {
            return false;
        };
        let length = path.len();
        for entry in dir.iter() {
            let Ok(entry) = entry else { return false };
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let Ok(text) = name.to_str() else {
                return false;
            };
            if length > 0 {
                path.push('/');
            }
            path.push_str(text);
            if !self.entry(opened, name, path) {
                return false;
            }
            path.truncate(length);
        }
        true
    }
}
