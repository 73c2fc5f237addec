//! Copies of directories whose files belong to somebody else inside of a jail than outside of it:
//! the jail's uid changes files, and what it makes belongs to the directory's owner.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::{OFlag, openat};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;

use super::exec::{self, Start};
use super::mounts::{self, Copy};
use super::{raw, spawn};

/// Most mappings remembered; each holds one descriptor.
const KEPT_MAX: usize = 256;

/// Owner's uid and gid, the jail's uid and gid.
type Mapping = (u32, u32, u32);

/// Makes copies, and remembers how it did.
#[derive(Debug, Default)]
pub struct Mapper {
    kept: BTreeMap<Mapping, OwnedFd>,
}

impl Mapper {
    /// A copy of the mounted directory or file `tree`, which is [`Copy::Writable`] or
    /// [`Copy::Kept`]. With `to` (its owner's uid and gid, the jail's uid), what belongs to its owner
    /// belongs to the jail in there. `program` is the tools' program, `proc` the `/proc` of this
    /// process' pid namespace.
    ///
    /// # Errors
    /// Fails where its file system cannot be mapped, and without `CAP_SYS_ADMIN`.
    pub fn copy(
        &mut self,
        program: BorrowedFd<'_>,
        proc: BorrowedFd<'_>,
        (tree, copy): (BorrowedFd<'_>, Copy),
        to: Option<Mapping>,
    ) -> io::Result<OwnedFd> {
        let copy = mounts::clone_open(tree, copy)?;
        let Some(mapping) = to else {
            return Ok(copy);
        };
        if !self.kept.contains_key(&mapping) {
            if self.kept.len() >= KEPT_MAX {
                self.kept.clear();
            }
            self.kept
                .insert(mapping, namespace(program, proc, mapping)?);
        }
        if let Some(users) = self.kept.get(&mapping) {
            mounts::map_users(&copy, users.as_fd())?;
        }
        Ok(copy)
    }
}

/// A user namespace with this one mapping. It needs a process for a moment, which only waits.
fn namespace(
    program: BorrowedFd<'_>,
    proc: BorrowedFd<'_>,
    mapping: Mapping,
) -> io::Result<OwnedFd> {
    let (wait, release) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    let (ready, tell) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    // All three standard descriptors: the standard library opens files in place of missing ones.
    let fds = [wait.as_fd(), tell.as_fd(), tell.as_fd()];
    let start = Start {
        namespaces: u64::from(libc::CLONE_NEWUSER.cast_unsigned()),
        ..Start::new(program, &[c"keepgate-tool", c"wait"], &fds)
    };
    let child = exec::start(&start)?;
    drop(tell);
    let mut byte = [0];
    let made = File::from(ready)
        .read_exact(&mut byte)
        .and_then(|()| map(proc, child.pid, mapping));
    drop(release);
    spawn::signal(child.pidfd.as_fd(), Signal::SIGKILL)?;
    spawn::wait_pid(child.pid)?;
    made
}

/// The life of that process: it can be looked at, which nothing else of Keepgate's can, says so,
/// and waits until its standard input ends. It has nothing to hide, and knows nothing.
///
/// # Errors
/// Fails where nobody waits for it.
pub fn wait() -> io::Result<()> {
    raw::prctl(libc::PR_SET_DUMPABLE, 1)?;
    let mut tell = io::stdout().lock();
    tell.write_all(&[1])?;
    tell.flush()?;
    io::stdin().lock().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn map(proc: BorrowedFd<'_>, pid: i32, (uid, gid, jail): Mapping) -> io::Result<OwnedFd> {
    let write = |name: &str, text: String| -> io::Result<()> {
        let path = format!("{pid}/{name}");
        let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        let file = openat(proc, path.as_str(), flags, Mode::empty())?;
        File::from(file).write_all(text.as_bytes())
    };
    write("uid_map", format!("{uid} {jail} 1"))?;
    write("gid_map", format!("{gid} {jail} 1"))?;
    let path = format!("{pid}/ns/user");
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    Ok(openat(proc, path.as_str(), flags, Mode::empty())?)
}
