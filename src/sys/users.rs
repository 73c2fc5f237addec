//! Copies of directories whose files belong to somebody else inside of a jail than outside of it:
//! the jail's uid changes files, and what it makes belongs to the directory's owner.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::{OFlag, openat};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;

use super::exec::{self, Start};
use super::mounts::{self, Copy};
use super::process::FileUser;
use super::spawn;

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
    /// A writable copy of the mounted directory `tree`. With `to` (its owner's uid and gid, the
    /// jail's uid), what belongs to its owner belongs to the jail in there. `program` is the tools'
    /// program, `proc` the `/proc` of this process' pid namespace.
    ///
    /// # Errors
    /// Fails where its file system cannot be mapped, and without `CAP_SYS_ADMIN`.
    pub fn copy(
        &mut self,
        program: BorrowedFd<'_>,
        proc: BorrowedFd<'_>,
        tree: BorrowedFd<'_>,
        to: Option<Mapping>,
    ) -> io::Result<OwnedFd> {
        let copy = mounts::clone_open(tree, Copy::Writable)?;
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
    (uid, gid, jail): Mapping,
) -> io::Result<OwnedFd> {
    let (wait, release) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    let fds = [wait.as_fd()];
    let start = Start {
        namespaces: u64::from(libc::CLONE_NEWUSER.cast_unsigned()),
        ..Start::new(program, &[c"keepgate-tool", c"wait"], &fds)
    };
    let child = exec::start(&start)?;
    let made = map(proc, child.pid, uid, gid, jail);
    drop(release);
    spawn::signal(child.pidfd.as_fd(), Signal::SIGKILL)?;
    spawn::wait_pid(child.pid)?;
    made
}

fn map(proc: BorrowedFd<'_>, pid: i32, uid: u32, gid: u32, jail: u32) -> io::Result<OwnedFd> {
    // Files of a process that cannot be dumped belong to root.
    let _root = FileUser::become_for_now(0, 0)?;
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
