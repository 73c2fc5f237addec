//! What foreign jails see: one read-only tree for each manifest, made once, before the jailer loses
//! sight of the host. Nothing of a host path is looked at after that.
//!
//! A tree is a small file system in memory that holds mount points, and on them private copies of
//! the manifest's paths; see [`super::tree`].

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{Mode, mkdirat};

use super::nest::{Nest, is_private};
use super::opened::{directory, file_or_directory, open_once, open_within, source};
use super::refuse::{few, no_pipe, no_socket, nothing_lent, one_name, wrong};
use super::tree::{Source, Tree, beneath};
use super::users::Users;
use crate::error::{Context, Error, Result};
use crate::sys::mounts::{self, Copy};
use crate::sys::process;
use crate::wire::manifest::{Class, Manifest};
use crate::wire::messages::Unusable;

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
    unusable: Vec<Unusable>,
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
    unusable: Vec<Unusable>,
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
    /// Where that is mounted in the jailer's root; empty before it is.
    pub at: String,
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
    /// Opens what the foreign ones among `manifests` show. One that shows what is not there, or is a
    /// file where a directory must be, gets no view, and the others do: [`Views::unusable`].
    ///
    /// # Errors
    /// Fails where there is no `/proc`, which all of them need.
    pub fn open(manifests: &[Manifest], users: Users) -> Result<Self> {
        let foreign = manifests
            .iter()
            .filter(|manifest| manifest.class == Class::Foreign);
        let (mut all, mut unusable) = (Vec::new(), Vec::new());
        for manifest in foreign {
            match Wanted::open(manifest) {
                Ok(wanted) => all.push(wanted),
                Err(error) => unusable.push(why_not(&manifest.name, &error)),
            }
        }
        let proc =
            mounts::clone_tree(Path::new("/proc"), Copy::Proc).context(|| "copy `/proc`".into())?;
        Ok(Self {
            all,
            unusable,
            proc,
            users,
        })
    }

    /// Makes the views in the working directory, the jailer's new root.
    ///
    /// What is left of a view that could not be made is in no jail's sight.
    ///
    /// # Errors
    /// Fails where `/proc` cannot be mounted.
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
        let (mut by_name, mut unusable) = (BTreeMap::new(), self.unusable);
        for (number, wanted) in self.all.into_iter().enumerate() {
            let name = wanted.manifest.name.clone();
            match wanted.attach(here.as_fd(), number, self.users) {
                Ok(view) => drop(by_name.insert(name, view)),
                Err(error) => unusable.push(why_not(&name, &error)),
            }
        }
        let proc = beneath(here.as_fd(), Path::new("proc"), OFlag::O_DIRECTORY).context(what)?;
        Ok(Views {
            by_name,
            unusable,
            proc,
        })
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
                        at: String::new(),
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
            kept.push(Copied {
                tree,
                at: name,
                ..copied
            });
        }
        Ok(View {
            manifest,
            place,
            executable,
            copied: kept,
        })
    }
}

impl View {
    /// Where jails' own `path` is in the jailer's root: what a descriptor of that root leads to is
    /// what jails see there.
    pub fn locate(&self, path: &Path) -> PathBuf {
        let inner = self
            .copied
            .iter()
            .filter(|copied| path.starts_with(&copied.path))
            .max_by_key(|copied| copied.path.components().count());
        let (at, below) = match inner {
            Some(copied) => (&copied.at, path.strip_prefix(&copied.path)),
            None => (&self.place, path.strip_prefix("/")),
        };
        match below {
            Ok(below) if below.as_os_str().is_empty() => PathBuf::from(at),
            below => Path::new(at).join(below.unwrap_or(path)),
        }
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

    /// The manifests that have none, and why.
    pub fn unusable(&self) -> &[Unusable] {
        &self.unusable
    }

    /// `/proc` of the jailer's own pid namespace.
    pub fn proc(&self) -> BorrowedFd<'_> {
        self.proc.as_fd()
    }
}

fn why_not(manifest: &str, error: &Error) -> Unusable {
    Unusable {
        manifest: manifest.into(),
        why: error.message(),
        hint: error.hint_text().map(str::to_owned),
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
        nothing_lent(manifest, path, &found, owner)?;
        copied.push(Copied {
            path: path.clone(),
            tree,
            at: String::new(),
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
            if !directory {
                one_name(manifest, &path, &found)?;
            }
        }
        let tree = mounts::clone_open(found.as_fd(), kind).map_err(fail)?;
        copied.push(Copied {
            path,
            tree,
            at: String::new(),
            directory,
            writable: kind == Copy::Writable,
            within: true,
            owner: Some(*owner),
        });
    }
    Ok(copied)
}
