//! What of a manifest's paths is not shown, each with its reason and what to do.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::stat::{SFlag, fstat};

use super::nest::{COPIES_MAX, Nest, lone};
use super::view::Owner;
use super::{pipes, set_uid, sockets};
use crate::error::{Context, Error, Kind, Result};
use crate::wire::manifest::Manifest;
use crate::wire::text::escaped;

/// Nothing that lends root's rights may be changed: see [`set_uid`]. Who is lent an ordinary user's
/// gains no more than what the jail could do to that user anyway.
pub(super) fn nothing_lent(
    manifest: &Manifest,
    path: &Path,
    found: &OwnedFd,
    owner: Owner,
) -> Result<()> {
    if owner.uid != 0 {
        return Ok(());
    }
    let opened = PathBuf::from(format!("/proc/self/fd/{}", found.as_raw_fd()));
    let lent = set_uid::first(&opened, owner).map_err(|error| wrong(manifest, path, error))?;
    let Some(lent) = lent else { return Ok(()) };
    let lent = path.join(lent.strip_prefix(&opened).unwrap_or(&lent));
    let shown = |path: &Path| escaped(&path.to_string_lossy()).to_string();
    let what = format!(
        "manifest `{}`: `{}` may be changed and holds the set-uid or set-gid program `{}` of root's, \
         through which a jail's code could run as root",
        manifest.name,
        shown(path),
        shown(&lent)
    );
    Err(Error::of(Kind::Usage, what).hint(format!(
        "`chmod ug-s {}`, or give the directory to another user",
        shown(&lent)
    )))
}

pub(super) fn few(manifest: &Manifest, nest: Nest<'_>) -> Result<()> {
    let copies = nest.copies();
    if copies <= COPIES_MAX {
        return Ok(());
    }
    let what = format!(
        "manifest `{}`: each jail would need {copies} mounts of its own, and can have {COPIES_MAX}",
        manifest.name
    );
    Err(Error::of(Kind::Usage, what)
        .hint("name fewer directories in `rw`, and fewer paths in `ro` within them"))
}

pub(super) fn no_pipe(manifest: &Manifest, path: &Path, found: &OwnedFd) -> Result<()> {
    let opened = PathBuf::from(format!("/proc/self/fd/{}", found.as_raw_fd()));
    let pipe = pipes::first(&opened).map_err(|error| wrong(manifest, path, error))?;
    let Some(pipe) = pipe else { return Ok(()) };
    let pipe = path.join(pipe.strip_prefix(&opened).unwrap_or(&pipe));
    let shown = |path: &Path| escaped(&path.to_string_lossy()).to_string();
    let what = format!(
        "manifest `{}`: `{}` is to be read only and holds the named pipe `{}`, into which a jail \
         could write there",
        manifest.name,
        shown(path),
        shown(&pipe)
    );
    Err(Error::of(Kind::Usage, what).hint("remove the pipe, or name what is needed beside it"))
}

/// A file that is kept within what may be changed has no second name, which might lie there too.
pub(super) fn one_name(manifest: &Manifest, path: &Path, found: &OwnedFd) -> Result<()> {
    let names = fstat(found)
        .context(|| "look at a path of a manifest".into())?
        .st_nlink;
    if names <= 1 {
        return Ok(());
    }
    let shown = escaped(&path.to_string_lossy()).to_string();
    let what = format!(
        "manifest `{}`: `{shown}` is to be kept and has {names} names (hard links), of which only \
         this one would be",
        manifest.name
    );
    Err(Error::of(Kind::Usage, what).hint(lone(path)))
}

/// Where sockets can be connected to, there is none in what is shown: see [`sockets`].
pub(super) fn no_socket(manifest: &Manifest, path: &Path, found: &OwnedFd) -> Result<()> {
    if !manifest.loopback || SFlag::from_bits_truncate(kind(found)?) == SFlag::S_IFLNK {
        return Ok(());
    }
    let opened = PathBuf::from(format!("/proc/self/fd/{}", found.as_raw_fd()));
    let socket = sockets::first(&opened).map_err(|error| wrong(manifest, path, error))?;
    let Some(socket) = socket else { return Ok(()) };
    let socket = path.join(socket.strip_prefix(&opened).unwrap_or(&socket));
    let shown = |path: &Path| escaped(&path.to_string_lossy()).to_string();
    let what = format!(
        "manifest `{}`: `{}` holds the socket `{}`, through which a jail could have things done \
         outside of it",
        manifest.name,
        shown(path),
        shown(&socket)
    );
    let hint = "remove it if nobody listens there (a jail may have left it), name what is needed below \
                it, one path each, or take `loopback` out";
    Err(Error::of(Kind::Usage, what).hint(hint))
}

fn kind(found: &OwnedFd) -> Result<u32> {
    let stat = fstat(found).context(|| "look at a path of a manifest".into())?;
    Ok(stat.st_mode & SFlag::S_IFMT.bits())
}

pub(super) fn wrong(manifest: &Manifest, path: &Path, error: std::io::Error) -> Error {
    let shown = escaped(&path.to_string_lossy()).to_string();
    let what = format!(
        "manifest `{}`: `{shown}` cannot be shown in a jail",
        manifest.name
    );
    let hint = match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOENT) => format!("`{shown}` is not there; take it out, or make it"),
        Some(Errno::ENOTDIR) => "what is writable must be a directory".into(),
        Some(Errno::EXDEV) => "something else is mounted there, and what is mounted below a \
                               writable directory is not shown"
            .into(),
        Some(Errno::ELOOP) => format!(
            "name the real path: `readlink -f {shown}` tells it; a link is not gone through"
        ),
        _ => "see whether this user may read it, and what is mounted there".into(),
    };
    Error::of(Kind::Usage, what).because(error).hint(hint)
}
