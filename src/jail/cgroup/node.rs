//! What policy needs of a cgroup. Tests stand a directory of plain files in the kernel's place.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use crate::sys::cgroup::{Group, wait_until_empty};

/// How deep trees that are removed may be: a jailer makes leaves only.
const DEPTH_MAX: usize = 8;

/// A cgroup; [`Group`] says what each of these does.
pub trait Node: Sized {
    /// The cgroup `name` in this one.
    ///
    /// # Errors
    /// As [`Group::child`].
    fn child(&self, name: &str) -> io::Result<Self>;
    /// Makes the cgroup `name` in this one.
    ///
    /// # Errors
    /// As [`Group::make`].
    fn make(&self, name: &str) -> io::Result<()>;
    /// Removes the cgroup `name` in this one.
    ///
    /// # Errors
    /// As [`Group::remove`].
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Names of the cgroups in this one.
    ///
    /// # Errors
    /// As [`Group::children`].
    fn children(&self) -> io::Result<Vec<String>>;
    /// What a file holds.
    ///
    /// # Errors
    /// As [`Group::read`].
    fn read(&self, file: &str) -> io::Result<String>;
    /// Writes a file.
    ///
    /// # Errors
    /// As [`Group::write`].
    fn write(&self, file: &str, text: &str) -> io::Result<()>;
    /// An open file.
    ///
    /// # Errors
    /// As [`Group::file`].
    fn file(&self, file: &str, change: bool) -> io::Result<File>;
    /// Gives its directory or a file to a user.
    ///
    /// # Errors
    /// As [`Group::give`].
    fn give(&self, file: Option<&str>, uid: u32) -> io::Result<()>;
    /// Marked by systemd as left to its processes.
    fn is_delegated(&self) -> bool;
    /// A descriptor of its directory.
    fn fd(&self) -> BorrowedFd<'_>;
}

impl Node for Group {
    fn child(&self, name: &str) -> io::Result<Self> {
        Self::child(self, name)
    }

    fn make(&self, name: &str) -> io::Result<()> {
        Self::make(self, name)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        Self::remove(self, name)
    }

    fn children(&self) -> io::Result<Vec<String>> {
        Self::children(self)
    }

    fn read(&self, file: &str) -> io::Result<String> {
        Self::read(self, file)
    }

    fn write(&self, file: &str, text: &str) -> io::Result<()> {
        Self::write(self, file, text)
    }

    fn file(&self, file: &str, change: bool) -> io::Result<File> {
        Self::file(self, file, change)
    }

    fn give(&self, file: Option<&str>, uid: u32) -> io::Result<()> {
        Self::give(self, file, uid)
    }

    fn is_delegated(&self) -> bool {
        Self::is_delegated(self)
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }
}

/// Makes the cgroup `name`, or finds the one that is there.
pub(super) fn have<N: Node>(parent: &N, name: &str) -> io::Result<N> {
    match parent.make(name) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => parent.child(name),
    }
}

/// Kills every process in the cgroup `name` and below it, and removes all of these.
pub(super) fn end<N: Node>(parent: &N, name: &str, patience: Duration) -> io::Result<()> {
    let group = parent.child(name)?;
    let events = group.file("cgroup.events", false)?;
    if !wait_until_empty(&events, Duration::ZERO)? {
        group.write("cgroup.kill", "1")?;
        if !wait_until_empty(&events, patience)? {
            return Err(io::Error::other("its processes do not end"));
        }
    }
    remove(parent, name, DEPTH_MAX)
}

fn remove<N: Node>(parent: &N, name: &str, depth: usize) -> io::Result<()> {
    let group = parent.child(name)?;
    for below in group.children()? {
        if depth == 0 {
            return Err(io::Error::other("cgroups too deep below it"));
        }
        remove(&group, &below, depth - 1)?;
    }
    parent.remove(name)
}
