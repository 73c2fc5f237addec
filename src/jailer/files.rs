//! Opening files for a jail, and giving content its name afterwards.
//!
//! A write never changes a file in place. The jail writes an unnamed file (`O_TMPFILE`); on the
//! keeper's word the jailer links it to a scratch name, exchanges that with the target, looks
//! whether what came out is what the keeper saw, and exchanges back if it is not. So a change made
//! by somebody else in the meantime is never lost, and a reader sees the old content or the new.
//!
//! A crash between link and unlink, and a change that cannot be put back, leave a `.keepgate-…`
//! file. The next write to that directory removes those older than [`STALE`] whose content the
//! keeper has; see [`scratch`].

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{OFlag, RenameFlags};
use nix::sys::stat::{Mode, fchmod, fstat};
use nix::unistd::{Gid, fchown, fsync};

use super::place::{Found, Place, digest, open_beneath, read, regular, reopen, split};
use super::scratch;
use super::trouble::{OrTrouble, Trouble};
use crate::call::id::Id;
use crate::jail::world::World;
use crate::sys::file::has_acl;
use crate::sys::process::FileUser;
use crate::time::{Clock, SystemClock};
use crate::wire::frame::sealed_memfd;
use crate::wire::messages::{FileOrder, FileState, JailFault, OpenAs};

/// Permission bits of a file that was not there before.
pub const NEW_FILE_MODE: u32 = 0o640;
/// How often somebody may change a file while a change found too late is put back.
const EXCHANGES_MAX: usize = 100;
/// Age at which a scratch name belongs to nobody any more.
const STALE: Duration = Duration::from_secs(60);
/// Directories remembered as clean.
const CLEANED_MAX: usize = 1024;
/// Largest new content the jailer reads to check it, in bytes.
const CONTENT_MAX: u64 = 64 << 20;

/// What was opened for one order.
#[derive(Debug)]
pub(super) struct Opened {
    /// For the jail, in order.
    pub(super) fds: Vec<OwnedFd>,
    /// The unnamed file among them.
    pub(super) unnamed: Option<Unnamed>,
}

/// A file without a name, and where it is to have one.
#[derive(Debug)]
pub(super) struct Unnamed {
    order: FileOrder,
    place: Place,
    file: OwnedFd,
}

/// Content that is to have a name.
#[derive(Debug, Clone, Copy)]
struct New<'a> {
    file: BorrowedFd<'a>,
    /// Permission bits.
    mode: u32,
    /// Digest of the content, lower-case hex.
    sha256: &'a str,
}

/// The operator's roots.
#[derive(Debug)]
pub(super) struct Files {
    world: World,
    /// The jailer can open files as another user.
    privileged: bool,
    cleaned: BTreeSet<(u64, u64)>,
}

impl Files {
    /// Roots of `world`, opened as their owners where `privileged`.
    pub(super) fn new(world: World, privileged: bool) -> Self {
        Self {
            world,
            privileged,
            cleaned: BTreeSet::new(),
        }
    }

    /// Opens all files of an order, at most one of them for replacement.
    pub(super) fn open(&mut self, orders: &[FileOrder]) -> Result<Opened, Trouble> {
        let mut opened = Opened {
            fds: Vec::new(),
            unnamed: None,
        };
        for order in orders {
            let _user = self.user(order)?;
            match order.open {
                OpenAs::Read => opened.fds.push(self.open_file(order)?),
                OpenAs::Directory => opened.fds.push(self.open_directory(order)?),
                OpenAs::Replace if opened.unnamed.is_none() => {
                    let (old, new, unnamed) = self.open_for_replacement(order)?;
                    opened.fds.extend([old, new]);
                    opened.unnamed = Some(unnamed);
                }
                OpenAs::Replace => {
                    return Err(Trouble::new(JailFault::Failed, "two files to replace"));
                }
            }
        }
        Ok(opened)
    }

    /// What a file is now; with its content where it is there.
    pub(super) fn inspect(
        &self,
        order: &FileOrder,
        max: u64,
    ) -> Result<(FileState, Option<Vec<u8>>), Trouble> {
        let _user = self.user(order)?;
        let place = Place::new(self.root(order)?, &order.path)?;
        Ok(match place.look(self.world.descriptors(), max)? {
            Some(found) => (found.state, Some(found.content)),
            None => (FileState::Absent, None),
        })
    }

    /// Gives an unnamed file its name, where the target still is `expected` and the content is the
    /// one with digest `sha256`. On disk when it returns.
    pub(super) fn publish(
        &self,
        ticket: Id,
        unnamed: &Unnamed,
        expected: &FileState,
        sha256: &str,
    ) -> Result<(), Trouble> {
        let _user = self.user(&unnamed.order)?;
        let descriptors = self.world.descriptors();
        let written = reopen(descriptors, unnamed.file.as_fd(), OFlag::O_RDONLY)?;
        if digest(&read(written.as_fd(), CONTENT_MAX)?) != sha256 {
            return Err(Trouble::changed(
                "the new content is not what the keeper was shown",
            ));
        }
        let mode = match expected {
            FileState::Absent => NEW_FILE_MODE,
            FileState::Present { mode, .. } => *mode,
        };
        self.put(
            ticket,
            &unnamed.place,
            expected,
            Some(New {
                file: unnamed.file.as_fd(),
                mode,
                sha256,
            }),
        )
    }

    /// Puts `content` back, or takes the file away, where it still is `expected`.
    pub(super) fn restore(
        &self,
        ticket: Id,
        order: &FileOrder,
        expected: &FileState,
        becomes: &FileState,
        content: &[u8],
    ) -> Result<(), Trouble> {
        let _user = self.user(order)?;
        let place = Place::new(self.root(order)?, &order.path)?;
        let FileState::Present { sha256, mode, .. } = becomes else {
            return self.put(ticket, &place, expected, None);
        };
        if digest(content) != *sha256 {
            return Err(Trouble::changed(
                "the content to put back is not what its digest says",
            ));
        }
        let file = unnamed_in(place.directory())?;
        let mut writer = File::from(file.try_clone().or_trouble("fcntl")?);
        writer.write_all(content).or_trouble("write")?;
        let (file, mode) = (file.as_fd(), *mode);
        self.put(ticket, &place, expected, Some(New { file, mode, sha256 }))
    }

    fn open_file(&self, order: &FileOrder) -> Result<OwnedFd, Trouble> {
        let path = plain(order)?;
        let handle = open_beneath(self.root(order)?, path, OFlag::O_PATH)?;
        regular(&handle)?;
        reopen(self.world.descriptors(), handle.as_fd(), OFlag::O_RDONLY)
    }

    fn open_directory(&self, order: &FileOrder) -> Result<OwnedFd, Trouble> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        open_beneath(self.root(order)?, plain(order)?, flags)
    }

    fn open_for_replacement(
        &mut self,
        order: &FileOrder,
    ) -> Result<(OwnedFd, OwnedFd, Unnamed), Trouble> {
        let place = Place::new(self.root(order)?, &order.path)?;
        self.clean(&place);
        let file = unnamed_in(place.directory())?;
        let old = match place.look(self.world.descriptors(), CONTENT_MAX)? {
            Some(found) => {
                replaceable(&found, file.as_fd())?;
                reopen(
                    self.world.descriptors(),
                    found.file.as_fd(),
                    OFlag::O_RDONLY,
                )?
            }
            None => sealed_memfd("absent", b"")
                .map_err(|error| Trouble::failed("memfd_create", error))?,
        };
        let new = file.try_clone().or_trouble("fcntl")?;
        Ok((
            old,
            new,
            Unnamed {
                order: order.clone(),
                place,
                file,
            },
        ))
    }

    fn root(&self, order: &FileOrder) -> Result<BorrowedFd<'_>, Trouble> {
        let missing = || Trouble::new(JailFault::NotFound, "no such root, or it was not there");
        self.world.root(Path::new(&order.root)).ok_or_else(missing)
    }

    fn user(&self, order: &FileOrder) -> Result<Option<FileUser>, Trouble> {
        match order.uid {
            Some(uid) if self.privileged => FileUser::become_for_now(uid, order.gid.unwrap_or(uid))
                .map(Some)
                .or_trouble("setfsuid"),
            _ => Ok(None),
        }
    }

    /// Makes `place` hold `new`, or nothing, where it is `expected`.
    fn put(
        &self,
        ticket: Id,
        place: &Place,
        expected: &FileState,
        new: Option<New<'_>>,
    ) -> Result<(), Trouble> {
        let scratch = scratch::name(ticket, expected, new.map(|new| new.sha256));
        let scratch = place.beside(&scratch)?;
        let found = self.expect(place, expected)?;
        if let Some(New { file, mode, .. }) = new {
            if let Some(found) = &found {
                replaceable(found, file)?;
                let group = Gid::from_raw(found.stat.st_gid);
                fchown(file, None, Some(group)).or_trouble("fchown to the old file's group")?;
            }
            fchmod(file, Mode::from_bits_truncate(mode & 0o777)).or_trouble("fchmod")?;
            fsync(file).or_trouble("fsync")?;
        }
        match (found.is_some(), new) {
            (false, None) => Ok(()),
            (false, Some(new)) => self.add(place, new.file),
            (true, Some(new)) => self.exchange(place, &scratch, new.file, expected),
            (true, None) => self.remove(place, &scratch, expected),
        }
    }

    /// The file at `place`, which must be `expected`.
    fn expect(&self, place: &Place, expected: &FileState) -> Result<Option<Found>, Trouble> {
        let max = match expected {
            FileState::Absent => 0,
            FileState::Present { len, .. } => *len,
        };
        let found = match place.look(self.world.descriptors(), max) {
            Err(trouble) if matches!(trouble.fault, JailFault::TooLarge | JailFault::WrongKind) => {
                return Err(Trouble::changed("the target is not what the keeper saw"));
            }
            found => found?,
        };
        let is = found
            .as_ref()
            .map_or(&FileState::Absent, |found| &found.state);
        if is == expected {
            return Ok(found);
        }
        Err(Trouble::changed("the target is not what the keeper saw"))
    }

    fn add(&self, place: &Place, file: BorrowedFd<'_>) -> Result<(), Trouble> {
        match place.link(self.world.descriptors(), file) {
            Err(Errno::EEXIST) => return Err(Trouble::changed("somebody made the target")),
            answer => answer.or_trouble("linkat")?,
        }
        place.sync().map_err(|trouble| match place.unlink() {
            Ok(()) => trouble,
            Err(errno) => {
                let why = format!("{}; unlinkat: {}", trouble.detail, errno.desc());
                stuck(format_args!("the new file has its name: {why}"))
            }
        })
    }

    fn exchange(
        &self,
        place: &Place,
        scratch: &Place,
        file: BorrowedFd<'_>,
        expected: &FileState,
    ) -> Result<(), Trouble> {
        scratch
            .link(self.world.descriptors(), file)
            .or_trouble("linkat")?;
        let swap = || scratch.rename(place, RenameFlags::RENAME_EXCHANGE);
        if let Err(errno) = swap() {
            undo("unlinkat", scratch.unlink());
            if errno == Errno::ENOENT {
                return Err(Trouble::changed("somebody took the target away"));
            }
            return Err(Trouble::of("renameat2(RENAME_EXCHANGE)", errno));
        }
        // What came out must be what the keeper saw, or somebody's change would be lost.
        if let Err(trouble) = self.expect(scratch, expected).and_then(|_| place.sync()) {
            put_back(place, scratch, file).map_err(|why| left(scratch, &why.detail))?;
            undo("unlinkat", scratch.unlink());
            return Err(trouble);
        }
        undo("unlinkat", scratch.unlink());
        Ok(())
    }

    fn remove(&self, place: &Place, scratch: &Place, expected: &FileState) -> Result<(), Trouble> {
        let keep = RenameFlags::RENAME_NOREPLACE;
        match place.rename(scratch, keep) {
            Err(Errno::ENOENT) => return Err(Trouble::changed("somebody took the target away")),
            answer => answer.or_trouble("renameat2(RENAME_NOREPLACE)")?,
        }
        if let Err(trouble) = self.expect(scratch, expected).and_then(|_| place.sync()) {
            take_back(place, scratch)?;
            return Err(trouble);
        }
        undo("unlinkat", scratch.unlink());
        Ok(())
    }

    /// Removes scratch names that a jailer left which ended in the wrong moment. Best effort.
    fn clean(&mut self, place: &Place) {
        let Ok(stat) = fstat(place.directory()) else {
            return;
        };
        if self.cleaned.len() >= CLEANED_MAX || !self.cleaned.insert((stat.st_dev, stat.st_ino)) {
            return;
        }
        let stale = i64::try_from(STALE.as_secs()).unwrap_or(0);
        let before = SystemClock.now().as_micros() / 1_000_000 - stale;
        scratch::sweep(place, self.world.descriptors(), CONTENT_MAX, before);
    }
}

fn plain(order: &FileOrder) -> Result<&str, Trouble> {
    match split(&order.path) {
        Some(_) => Ok(&order.path),
        None => Err(Trouble::new(
            JailFault::Outside,
            "not a plain path beneath a root",
        )),
    }
}

fn unnamed_in(directory: BorrowedFd<'_>) -> Result<OwnedFd, Trouble> {
    open_beneath(directory, ".", OFlag::O_TMPFILE | OFlag::O_WRONLY).map_err(|trouble| {
        if trouble.detail.contains(Errno::EOPNOTSUPP.desc())
            || trouble.fault == JailFault::WrongKind
        {
            return Trouble::new(
                JailFault::Failed,
                "this file system has no unnamed files (O_TMPFILE)",
            );
        }
        trouble
    })
}

/// A replacement may not change what its content does not show: owner, access control list, set-uid.
fn replaceable(old: &Found, new: BorrowedFd<'_>) -> Result<(), Trouble> {
    let refuse = |what: &str| Err(Trouble::new(JailFault::NotPermitted, what));
    let owner = fstat(new).or_trouble("fstat")?.st_uid;
    if owner != old.stat.st_uid {
        return refuse("a replacement would change the file's owner");
    }
    if old.stat.st_mode & 0o7000 != 0 {
        return refuse("a set-uid, set-gid or sticky file is not replaced");
    }
    if old.stat.st_nlink > 1 {
        return refuse("the file has other names, which would keep the old content");
    }
    if has_acl(old.file.as_fd()).or_trouble("fgetxattr")? {
        return refuse("a replacement would lose the file's access control list");
    }
    Ok(())
}

/// Tidying up that changes no answer.
fn undo(call: &str, answer: nix::Result<()>) {
    if let Err(error) = answer {
        tracing::error!(call, %error, "cannot tidy up; a `.keepgate-` file stays");
    }
}

/// Exchanges until what comes out of `place` is what was put there last, at first `ours`: anything
/// else came from somebody meanwhile, is newer, and has to go back. What is left in `scratch` then
/// is nobody's any more.
fn put_back(place: &Place, scratch: &Place, ours: BorrowedFd<'_>) -> Result<(), Trouble> {
    // Handles, not only numbers: an inode that is held is not used again.
    let mut last = ours.try_clone_to_owned().or_trouble("fcntl")?;
    for _ in 0..EXCHANGES_MAX {
        // Something newer is there already: what we hold is what it took the place of.
        if place
            .handle()
            .is_ok_and(|there| !same_file(&there, &last).unwrap_or(true))
        {
            return Ok(());
        }
        let back = scratch.handle()?;
        scratch
            .rename(place, RenameFlags::RENAME_EXCHANGE)
            .or_trouble("renameat2(RENAME_EXCHANGE)")?;
        if same_file(&scratch.handle()?, &last)? {
            return Ok(());
        }
        last = back;
    }
    let what = format!("somebody changed it {EXCHANGES_MAX} times meanwhile");
    Err(Trouble::new(JailFault::Failed, what))
}

/// Gives a file that was to be removed its name back; it must be free.
fn take_back(place: &Place, scratch: &Place) -> Result<(), Trouble> {
    scratch
        .rename(place, RenameFlags::RENAME_NOREPLACE)
        .map_err(|errno| left(scratch, errno.desc()))
}

fn same_file(one: &OwnedFd, other: &OwnedFd) -> Result<bool, Trouble> {
    let (one, other) = (
        fstat(one).or_trouble("fstat")?,
        fstat(other).or_trouble("fstat")?,
    );
    Ok((one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
}

/// What was found changed could not be put back: it is where `scratch` says.
fn left(scratch: &Place, why: &str) -> Trouble {
    let name = scratch.name();
    stuck(format_args!(
        "content stays beside the file as `{name}`: {why}"
    ))
}

fn stuck(what: std::fmt::Arguments<'_>) -> Trouble {
    tracing::error!(%what, "a change was neither made nor taken back");
    Trouble::new(JailFault::Stuck, what.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_cannot_be_put_back_is_named_and_stays() {
        let temp = tempfile::tempdir().unwrap();
        let root = File::open(temp.path()).unwrap();
        let place = Place::new(root.as_fd(), "a").unwrap();
        let ours = File::create(temp.path().join("a")).unwrap();
        let name = ".keepgate-scratch";
        let scratch = place.beside(name).unwrap();
        // Nothing is there to be exchanged with: as bad as a disk that fails.
        let trouble = put_back(&place, &scratch, ours.as_fd()).unwrap_err();
        let trouble = left(&scratch, &trouble.detail);
        assert_eq!(trouble.fault, JailFault::Stuck);
        assert!(trouble.detail.contains(name), "{}", trouble.detail);
        // Somebody made the file anew while it was away.
        fs::write(temp.path().join(name), b"theirs").unwrap();
        let trouble = take_back(&place, &scratch).unwrap_err();
        assert_eq!(trouble.fault, JailFault::Stuck);
        assert!(trouble.detail.contains(name), "{}", trouble.detail);
        assert_eq!(fs::read(temp.path().join(name)).unwrap(), b"theirs");
        fs::remove_file(temp.path().join("a")).unwrap();
        take_back(&place, &scratch).unwrap();
        assert_eq!(fs::read(temp.path().join("a")).unwrap(), b"theirs");
    }
}
