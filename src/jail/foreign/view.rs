//! What foreign jails see: one read-only tree for each manifest, made once, before the jailer loses
//! sight of the host. Nothing of a host path is looked at after that.
//!
//! A tree is a small file system in memory that holds mount points, and on them private copies of
//! the manifest's paths; see [`super::tree`].

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, open, openat, openat2, readlinkat};
use nix::sys::stat::{Mode, SFlag, fstat, mkdirat};

use super::nest::{COPIES_MAX, Nest, is_private};
use super::tree::{Source, Tree, beneath};
use super::users::Users;
use super::{pipes, sockets};
use crate::error::{Context, Error, Kind, Result};
use crate::sys::mounts::{self, Copy};
use crate::sys::process;
use crate::wire::manifest::{Class, Manifest};
use crate::wire::text::escaped;

/// Bytes of one tree's own files and directories.
const TREE_BYTES: u64 = 1 << 20;
/// Files and directories of one tree's own, about 16 for each path of a manifest.
const TREE_INODES: u64 = 4096;
/// Device nodes a jail has.
const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];

/// Everything of the host that views will show, opened while it can still be.
#[derive(Debug)]
pub struct Sources {
    all: Vec<Wanted>,
    proc: OwnedFd,
    users: Users,
}

/// What one view will show.
#[derive(Debug)]
struct Wanted {
    manifest: Manifest,
    shown: Vec<(PathBuf, Source)>,
    copied: Vec<Copied>,
    devices: Vec<(&'static str, OwnedFd)>,
}

/// Who owns a directory that jails may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// Uid on the host.
    pub uid: u32,
    /// Gid on the host.
    pub gid: u32,
}

/// The views, made.
#[derive(Debug)]
pub struct Views {
    by_name: BTreeMap<String, View>,
    /// `/proc` of the jailer's own pid namespace.
    proc: OwnedFd,
}

/// One manifest's view.
#[derive(Debug)]
pub struct View {
    /// What it was made from.
    pub manifest: Manifest,
    /// Directory of the jailer's root that it is mounted on.
    pub place: String,
    /// Files and directories of it that may be run.
    pub executable: Vec<PathBuf>,
    /// What is copied into each jail, what holds another first: what it may change, and what lies
    /// in there or where its own private files are.
    pub copied: Vec<Copied>,
}

/// A path that each jail gets a copy of.
#[derive(Debug)]
pub struct Copied {
    /// Where jails see it.
    pub path: PathBuf,
    /// What is there.
    pub tree: OwnedFd,
    /// A directory, not a file.
    pub directory: bool,
    /// Jails may change it.
    pub writable: bool,
    /// It lies within another copy.
    pub within: bool,
    /// Whose files are the jail's own in there, where jails may change it or what it is in.
    pub owner: Option<Owner>,
}

impl Sources {
    /// Opens what the foreign ones among `manifests` show.
    ///
    /// # Errors
    /// Fails on a path that is not there, or is a file where a directory must be, by its name.
    pub fn open(manifests: &[Manifest], users: Users) -> Result<Self> {
        let foreign = manifests
            .iter()
            .filter(|manifest| manifest.class == Class::Foreign);
        let all = foreign.map(Wanted::open).collect::<Result<_>>()?;
        let proc =
            mounts::clone_tree(Path::new("/proc"), Copy::Proc).context(|| "copy `/proc`".into())?;
        Ok(Self { all, proc, users })
    }

    /// Makes the views in the working directory, the jailer's new root.
    ///
    /// # Errors
    /// Fails where a mount point cannot be made, by its name.
    pub fn attach(self) -> Result<Views> {
        let what = || "make the views of jails".to_owned();
        // Every jail's user reads them.
        process::umask(0o022);
        let here = open(
            ".",
            OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )
        .context(what)?;
        mkdirat(&here, "proc", Mode::from_bits_truncate(0o755)).context(what)?;
        let proc = beneath(here.as_fd(), Path::new("proc"), OFlag::O_DIRECTORY).context(what)?;
        mounts::attach(self.proc.as_fd(), proc.as_fd()).context(what)?;
        let mut by_name = BTreeMap::new();
        for (number, wanted) in self.all.into_iter().enumerate() {
            let view = wanted.attach(here.as_fd(), number, self.users)?;
            by_name.insert(view.manifest.name.clone(), view);
        }
        let proc = beneath(here.as_fd(), Path::new("proc"), OFlag::O_DIRECTORY).context(what)?;
        Ok(Views { by_name, proc })
    }
}

impl Wanted {
    fn open(manifest: &Manifest) -> Result<Self> {
        let mut shown = Vec::new();
        let nest = Nest::new(&manifest.ro, &manifest.rw);
        few(manifest, nest)?;
        let mut copied = changed(manifest, nest)?;
        for path in &manifest.ro {
            if nest.kept_in(path).is_some() {
                continue;
            }
            let found = open_once(path).map_err(|error| wrong(manifest, path, error))?;
            no_socket(manifest, path, &found)?;
            match source(&found).map_err(|error| wrong(manifest, path, error))? {
                Source::Tree { tree, directory } if is_private(path) => {
                    no_pipe(manifest, path, &found)?;
                    copied.push(Copied {
                        path: path.clone(),
                        tree,
                        directory,
                        writable: false,
                        within: false,
                        owner: None,
                    });
                }
                source @ (Source::Tree { .. } | Source::Link { .. }) => {
                    shown.push((path.clone(), source));
                }
            }
        }
        // What holds another comes first.
        shown.sort_by_key(|(path, _)| path.components().count());
        copied.sort_by_key(|copied| copied.path.components().count());
        let mut devices = Vec::new();
        for name in DEVICES {
            let path = Path::new("/dev").join(name);
            let device = mounts::clone_tree(&path, Copy::Device)
                .context(|| format!("copy `{}`", path.display()))?;
            devices.push((name, device));
        }
        Ok(Self {
            manifest: manifest.clone(),
            shown,
            copied,
            devices,
        })
    }

    fn attach(self, here: BorrowedFd<'_>, number: usize, users: Users) -> Result<View> {
        let Self {
            manifest,
            shown,
            copied,
            devices,
        } = self;
        let what = || format!("make the view of `{}`", manifest.name);
        let place = format!("v{number}");
        mkdirat(here, place.as_str(), Mode::from_bits_truncate(0o755)).context(what)?;
        mounts::memory(&place, TREE_BYTES, TREE_INODES, 0o755).context(what)?;
        let tree = Tree::open(here, &place).context(what)?;
        tree.base(&devices).context(what)?;
        for (path, source) in &shown {
            tree.show(path, source)
                .map_err(|error| wrong(&manifest, path, error))?;
        }
        for copied in &copied {
            // What lies among private files or within another copy has its place there, in each jail.
            if !is_private(&copied.path) && !copied.within {
                tree.directory(&copied.path)
                    .map_err(|error| wrong(&manifest, &copied.path, error))?;
            }
        }
        tree.names(users).context(what)?;
        drop(tree);
        mounts::seal(&place).context(what)?;
        let trees = shown
            .into_iter()
            .filter(|(_, source)| matches!(source, Source::Tree { .. }));
        let mut executable: Vec<PathBuf> = trees.map(|(path, _)| path).collect();
        let mut kept = Vec::new();
        for (index, copied) in copied.into_iter().enumerate() {
            // Later copies are made of it, and those can only be made of what is mounted.
            let name = format!("w{number}.{index}");
            let flags = if copied.directory {
                mkdirat(here, name.as_str(), Mode::from_bits_truncate(0o755)).context(what)?;
                OFlag::O_DIRECTORY
            } else {
                let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
                openat(here, name.as_str(), flags, Mode::from_bits_truncate(0o444))
                    .context(what)?;
                OFlag::empty()
            };
            let point = beneath(here, Path::new(&name), flags).context(what)?;
            mounts::attach(copied.tree.as_fd(), point.as_fd()).context(what)?;
            let tree = beneath(here, Path::new(&name), flags).context(what)?;
            if !copied.writable {
                executable.push(copied.path.clone());
            }
            kept.push(Copied { tree, ..copied });
        }
        Ok(View {
            manifest,
            place,
            executable,
            copied: kept,
        })
    }
}

impl Views {
    /// The view of the manifest called `name`.
    pub fn get(&self, name: &str) -> Option<&View> {
        self.by_name.get(name)
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &View> {
        self.by_name.values()
    }

    /// `/proc` of the jailer's own pid namespace.
    pub fn proc(&self) -> BorrowedFd<'_> {
        self.proc.as_fd()
    }
}

/// Copies of what jails of this manifest may change, and of what is kept from them in there.
fn changed(manifest: &Manifest, nest: Nest<'_>) -> Result<Vec<Copied>> {
    let mut copied = Vec::new();
    let mut outer = BTreeMap::new();
    for path in &manifest.rw {
        let found = open_once(path).map_err(|error| wrong(manifest, path, error))?;
        no_socket(manifest, path, &found)?;
        let (tree, owner) = directory(&found).map_err(|error| wrong(manifest, path, error))?;
        copied.push(Copied {
            path: path.clone(),
            tree,
            directory: true,
            writable: true,
            within: nest
                .above(path)
                .is_some_and(|above| nest.covered(above.path)),
            owner: Some(owner),
        });
        outer.insert(path.as_path(), (found, owner));
    }
    let kept = manifest
        .ro
        .iter()
        .filter_map(|path| Some((path.clone(), nest.kept_in(path)?, Copy::Kept)));
    let pins = nest.pins().into_iter();
    let pins = pins.map(|(path, within)| (path, within, Copy::Writable));
    for (path, within, kind) in kept.chain(pins) {
        let Some((found, owner)) = outer.get(within) else {
            continue;
        };
        let fail = |error| wrong(manifest, &path, error);
        let found = open_within(found, path.strip_prefix(within).unwrap_or(&path)).map_err(fail)?;
        let directory = file_or_directory(&found).map_err(fail)?;
        if kind == Copy::Kept {
            no_pipe(manifest, &path, &found)?;
        }
        let tree = mounts::clone_open(found.as_fd(), kind).map_err(fail)?;
        copied.push(Copied {
            path,
            tree,
            directory,
            writable: kind == Copy::Writable,
            within: true,
            owner: Some(*owner),
        });
    }
    Ok(copied)
}

fn few(manifest: &Manifest, nest: Nest<'_>) -> Result<()> {
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

fn no_pipe(manifest: &Manifest, path: &Path, found: &OwnedFd) -> Result<()> {
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

/// Where sockets can be connected to, there is none in what is shown: see [`sockets`].
fn no_socket(manifest: &Manifest, path: &Path, found: &OwnedFd) -> Result<()> {
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

fn wrong(manifest: &Manifest, path: &Path, error: std::io::Error) -> Error {
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

/// Opens what is at `path` once: everything else is asked of the descriptor, so that nobody who can
/// write somewhere on the way can put something else there in between. No symbolic link is gone
/// through; one at the end is what is opened.
fn open_once(path: &Path) -> std::io::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW)
        .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    Ok(openat2(AT_FDCWD, path, how)?)
}

/// As [`open_once`], of what is below the writable directory `outer`, on the same mount: what is
/// mounted in there is not in the jail's copy.
fn open_within(outer: &OwnedFd, path: &Path) -> std::io::Result<OwnedFd> {
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
fn file_or_directory(found: &OwnedFd) -> std::io::Result<bool> {
    match SFlag::from_bits_truncate(fstat(found)?.st_mode & SFlag::S_IFMT.bits()) {
        SFlag::S_IFDIR => Ok(true),
        SFlag::S_IFREG => Ok(false),
        SFlag::S_IFLNK => Err(Errno::ELOOP.into()),
        _ => Err(std::io::Error::other("neither a file nor a directory")),
    }
}

fn source(found: &OwnedFd) -> std::io::Result<Source> {
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

fn directory(found: &OwnedFd) -> std::io::Result<(OwnedFd, Owner)> {
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
