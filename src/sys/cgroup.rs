//! A cgroup (`cgroups(7)`) as the directory it is. All goes through one descriptor of it: no path is
//! walked twice, no link is followed, and nothing leads out of it.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, unlinkat};

/// Longest content of a file that is looked at, in bytes; `memory.stat` alone is longer.
const CONTENT_MAX: usize = 4096;
/// Times an open is tried again when something is renamed at the same moment.
const RETRIES: usize = 8;
/// What systemd writes on a cgroup that it leaves to somebody (`systemd.resource-control(5)`,
/// `Delegate=`): the first as root, the second for a user's own manager.
const MARKS: [&std::ffi::CStr; 2] = [c"trusted.delegate", c"user.delegate"];

/// A cgroup.
#[derive(Debug)]
pub struct Group {
    directory: OwnedFd,
}

impl AsFd for Group {
    /// For `CLONE_INTO_CGROUP` and Landlock rules.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

impl From<OwnedFd> for Group {
    /// From a descriptor of its directory.
    fn from(directory: OwnedFd) -> Self {
        Self { directory }
    }
}

impl Group {
    /// The cgroup at `path`.
    ///
    /// # Errors
    /// Fails where no directory is there.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        Ok(open(path, flags, Mode::empty())?.into())
    }

    /// The cgroup `name` in this one.
    ///
    /// # Errors
    /// Fails where it is not there.
    pub fn child(&self, name: &str) -> io::Result<Self> {
        Ok(self
            .beneath(name, OFlag::O_PATH | OFlag::O_DIRECTORY)?
            .into())
    }

    /// Makes the cgroup `name` in this one.
    ///
    /// # Errors
    /// What mkdir(2) says: `EEXIST`, `EACCES`, `EROFS`, `EAGAIN` beyond `cgroup.max.descendants`.
    pub fn make(&self, name: &str) -> io::Result<()> {
        Ok(mkdirat(self, name, Mode::from_bits_truncate(0o755))?)
    }

    /// Removes the cgroup `name` in this one.
    ///
    /// # Errors
    /// What rmdir(2) says: `EBUSY` while it holds a process or a cgroup.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        Ok(unlinkat(self, name, UnlinkatFlags::RemoveDir)?)
    }

    /// Names of the cgroups in this one.
    ///
    /// # Errors
    /// Fails where the directory cannot be read.
    pub fn children(&self) -> io::Result<Vec<String>> {
        let mut directory = Dir::from_fd(self.beneath(".", OFlag::O_RDONLY | OFlag::O_DIRECTORY)?)?;
        let mut names = Vec::new();
        for entry in directory.iter() {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let group = entry.file_type() == Some(nix::dir::Type::Directory);
            if group && name != "." && name != ".." {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// What its file `name` holds, at most 4096 bytes of it.
    ///
    /// # Errors
    /// Fails where there is no such file, as without its controller, or it cannot be read.
    pub fn read(&self, name: &str) -> io::Result<String> {
        again(&File::from(self.beneath(name, OFlag::O_RDONLY)?))
    }

    /// Writes its file `name` with one call, as the kernel wants it.
    ///
    /// # Errors
    /// Fails where there is no such file, or the kernel refuses: `EACCES`, `EBUSY`, `EINVAL`, ….
    pub fn write(&self, name: &str, text: &str) -> io::Result<()> {
        let mut file = File::from(self.beneath(name, OFlag::O_WRONLY)?);
        file.write_all(text.as_bytes())
    }

    /// Its file `name`, open for [`again`], `wait` and, with `change`, writing.
    ///
    /// # Errors
    /// As [`Group::read`].
    pub fn file(&self, name: &str, change: bool) -> io::Result<File> {
        let how = if change {
            OFlag::O_RDWR
        } else {
            OFlag::O_RDONLY
        };
        Ok(self.beneath(name, how)?.into())
    }

    /// Gives its directory, or its file `name`, to the user and group `uid`.
    ///
    /// # Errors
    /// Fails without `CAP_CHOWN`.
    pub fn give(&self, name: Option<&str>, uid: u32) -> io::Result<()> {
        let (owner, group) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(uid)));
        let flag = match name {
            Some(_) => AtFlags::AT_SYMLINK_NOFOLLOW,
            None => AtFlags::AT_EMPTY_PATH,
        };
        Ok(fchownat(self, name.unwrap_or(""), owner, group, flag)?)
    }

    /// systemd has left this cgroup to its processes.
    pub fn is_delegated(&self) -> bool {
        let Ok(directory) = self.beneath(".", OFlag::O_RDONLY | OFlag::O_DIRECTORY) else {
            return false;
        };
        MARKS
            .iter()
            .any(|name| super::file::mark(directory.as_fd(), name))
    }

    fn beneath(&self, name: &str, flags: OFlag) -> io::Result<OwnedFd> {
        let resolve = ResolveFlag::RESOLVE_BENEATH
            | ResolveFlag::RESOLVE_NO_SYMLINKS
            | ResolveFlag::RESOLVE_NO_MAGICLINKS
            | ResolveFlag::RESOLVE_NO_XDEV;
        let how = OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC)
            .resolve(resolve);
        let mut tries = 0;
        loop {
            match openat2(self, name, how) {
                Err(Errno::EINTR | Errno::EAGAIN) if tries < RETRIES => tries += 1,
                answer => return Ok(answer?),
            }
        }
    }
}

/// What an open file of a cgroup holds now, at most 4096 bytes of it.
///
/// # Errors
/// What pread(2) says: `ENODEV` where the cgroup was removed.
pub fn again(file: &File) -> io::Result<String> {
    let mut room = [0; CONTENT_MAX];
    let len = file.read_at(&mut room, 0)?;
    Ok(String::from_utf8_lossy(room.get(..len).unwrap_or_default()).into_owned())
}

/// Waits until an open `cgroup.events` says that no process is left, at most `patience`; says
/// whether it does. The kernel announces changes with `POLLPRI` (cgroup-v2, "Un-populated
/// Notification").
///
/// # Errors
/// As [`again`].
pub fn wait_until_empty(events: &File, patience: Duration) -> io::Result<bool> {
    let until = Instant::now() + patience;
    loop {
        // Reading also tells the kernel that later changes are news.
        if is_empty(&again(events)?) {
            return Ok(true);
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut polled = [PollFd::new(events.as_fd(), PollFlags::POLLPRI)];
        match poll(&mut polled, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn is_empty(events: &str) -> bool {
    events.lines().any(|line| line == "populated 0")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A directory that looks like a cgroup with one file.
    fn group() -> (tempfile::TempDir, Group) {
        let directory = tempfile::tempdir().unwrap();
        fs::write(
            directory.path().join("cgroup.events"),
            "populated 1\nfrozen 0\n",
        )
        .unwrap();
        let group = Group::open(directory.path()).unwrap();
        (directory, group)
    }

    #[test]
    fn files_are_read_and_written_beneath_one_descriptor() {
        let (directory, group) = group();
        assert_eq!(
            group.read("cgroup.events").unwrap(),
            "populated 1\nfrozen 0\n"
        );
        group.write("cgroup.events", "populated 0").unwrap();
        assert!(
            group
                .read("cgroup.events")
                .unwrap()
                .starts_with("populated 0\n")
        );
        // A write never makes a file: the kernel has those it has.
        assert!(group.write("memory.max", "1").is_err());
        assert!(group.read("memory.max").is_err());
        group.make("a").unwrap();
        assert_eq!(
            group.make("a").unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        assert_eq!(group.children().unwrap(), ["a"]);
        let below = group.child("a").unwrap();
        assert!(below.read("../cgroup.events").is_err(), "leads out");
        std::os::unix::fs::symlink("/", directory.path().join("link")).unwrap();
        assert!(group.child("link").is_err(), "follows a link");
        group.remove("a").unwrap();
        assert_eq!(group.children().unwrap(), [""; 0]);
        assert!(!group.is_delegated());
    }

    #[test]
    fn waiting_ends_when_the_last_process_has_gone_or_patience_has() {
        let (directory, group) = group();
        let events = group.file("cgroup.events", false).unwrap();
        assert!(!wait_until_empty(&events, Duration::from_millis(1)).unwrap());
        fs::write(directory.path().join("cgroup.events"), "populated 0\n").unwrap();
        assert!(wait_until_empty(&events, Duration::ZERO).unwrap());
    }
}
