//! The tree of one view in the making: mount points, and what is mounted on them. No mount point is
//! ever looked for through a symbolic link: a link in what a jail may write must not lead the next
//! set-up elsewhere.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::symlinkat;

use super::users::Users;
use crate::sys::mounts;

/// Links every program expects in `/dev`.
const LINKS: [(&str, &str); 4] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

/// A path of a manifest, opened on the host.
#[derive(Debug)]
pub(super) enum Source {
    Tree { tree: OwnedFd, directory: bool },
    Link { target: PathBuf },
}

/// Opens `path` beneath `directory` (a leading `/` is `directory`), through no symbolic link.
pub(super) fn beneath(
    directory: BorrowedFd<'_>,
    path: &Path,
    flags: OFlag,
) -> std::io::Result<OwnedFd> {
    let path = path.strip_prefix("/").unwrap_or(path);
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | flags)
        .resolve(
            ResolveFlag::RESOLVE_BENEATH
                | ResolveFlag::RESOLVE_NO_SYMLINKS
                | ResolveFlag::RESOLVE_NO_MAGICLINKS,
        );
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    Ok(openat2(directory, path, how)?)
}

/// The directory `path` of the file system at `root`, made where it is not there, through no
/// symbolic link.
pub(super) fn make_directory(root: BorrowedFd<'_>, path: &Path) -> std::io::Result<OwnedFd> {
    let mut at = beneath(root, Path::new("/"), OFlag::O_DIRECTORY)?;
    for part in path.components() {
        let name = match part {
            Component::Normal(name) => name,
            Component::RootDir => continue,
            Component::Prefix(_) | Component::CurDir | Component::ParentDir => {
                return Err(std::io::Error::other("not a plain absolute path"));
            }
        };
        at = match beneath(at.as_fd(), Path::new(name), OFlag::O_DIRECTORY) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                mkdirat(&at, name, Mode::from_bits_truncate(0o755))?;
                beneath(at.as_fd(), Path::new(name), OFlag::O_DIRECTORY)?
            }
            found => found?,
        };
    }
    Ok(at)
}

/// The file `path`, made where it is not there, as [`make_directory`] does.
pub(super) fn make_file(root: BorrowedFd<'_>, path: &Path) -> std::io::Result<OwnedFd> {
    let (parent, name) = make_parent(root, path)?;
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    match openat(&parent, name, flags, Mode::from_bits_truncate(0o444)) {
        Ok(_) | Err(Errno::EEXIST) => beneath(parent.as_fd(), Path::new(name), OFlag::empty()),
        Err(errno) => Err(errno.into()),
    }
}

fn make_parent<'a>(root: BorrowedFd<'_>, path: &'a Path) -> std::io::Result<(OwnedFd, &'a OsStr)> {
    let missing = || std::io::Error::other("a path without a name");
    let name = path.file_name().ok_or_else(missing)?;
    let parent = path.parent().ok_or_else(missing)?;
    Ok((make_directory(root, parent)?, name))
}

/// A tree in the making.
pub(super) struct Tree {
    root: OwnedFd,
}

impl Tree {
    pub(super) fn open(here: BorrowedFd<'_>, place: &str) -> std::io::Result<Self> {
        let root = beneath(here, Path::new(place), OFlag::O_DIRECTORY)?;
        Ok(Self { root })
    }

    /// What every jail has: places for its own mounts, and a small `/dev`.
    pub(super) fn base(&self, devices: &[(&'static str, OwnedFd)]) -> std::io::Result<()> {
        for path in ["/proc", "/tmp", "/dev/shm"] {
            self.directory(Path::new(path))?;
        }
        for (name, device) in devices {
            let place = self.file(&Path::new("/dev").join(name))?;
            mounts::attach(device.as_fd(), place.as_fd())?;
        }
        for (name, target) in LINKS {
            let dev = beneath(self.root.as_fd(), Path::new("/dev"), OFlag::O_DIRECTORY)?;
            symlinkat(target, &dev, name)?;
        }
        Ok(())
    }

    pub(super) fn show(&self, path: &Path, source: &Source) -> std::io::Result<()> {
        match source {
            Source::Tree {
                tree,
                directory: true,
            } => mounts::attach(tree.as_fd(), self.directory(path)?.as_fd()),
            Source::Tree {
                tree,
                directory: false,
            } => mounts::attach(tree.as_fd(), self.file(path)?.as_fd()),
            Source::Link { target } => {
                let (parent, name) = self.parent(path)?;
                match symlinkat(target, &parent, name) {
                    // Shown already, by a directory that holds it.
                    Ok(()) | Err(Errno::EEXIST) => Ok(()),
                    Err(errno) => Err(errno.into()),
                }
            }
        }
    }

    /// Names for the users jails run as, where the manifest does not show the host's.
    pub(super) fn names(&self, users: Users) -> std::io::Result<()> {
        let each = (0..users.count).map(|number| users.first.saturating_add(number));
        let line = |uid: u32| format!("jail:x:{uid}:{uid}::/tmp:/bin/sh\n");
        let passwd: String = each.clone().map(line).collect();
        let group: String = each.map(|gid| format!("jail:x:{gid}:\n")).collect();
        for (path, text) in [
            ("/etc/passwd", passwd.as_str()),
            ("/etc/group", &group),
            ("/etc/hosts", "127.0.0.1 localhost\n"),
        ] {
            let (parent, name) = match self.parent(Path::new(path)) {
                Ok(found) => found,
                // The manifest shows another `/etc`.
                Err(error) if is_shown(&error) => continue,
                Err(error) => return Err(error),
            };
            let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
            match openat(&parent, name, flags, Mode::from_bits_truncate(0o644)) {
                Ok(file) => fs::File::from(file).write_all(text.as_bytes())?,
                Err(errno) if is_shown(&errno.into()) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    pub(super) fn directory(&self, path: &Path) -> std::io::Result<OwnedFd> {
        make_directory(self.root.as_fd(), path)
    }

    fn file(&self, path: &Path) -> std::io::Result<OwnedFd> {
        make_file(self.root.as_fd(), path)
    }

    fn parent<'a>(&self, path: &'a Path) -> std::io::Result<(OwnedFd, &'a OsStr)> {
        make_parent(self.root.as_fd(), path)
    }
}

fn is_shown(error: &std::io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(
        errno,
        Some(Errno::EEXIST | Errno::EROFS | Errno::ELOOP | Errno::ENOTDIR)
    )
}
