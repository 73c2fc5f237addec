//! What a process may not do any more: core dumps, tracers, capabilities, another user's rights.
//! All of this is for a process that has one thread only, or says otherwise.

use std::io;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid, setfsgid, setfsuid};

use super::filter::Filter;
use super::raw;

/// A capability by its number (`capabilities(7)`).
pub mod capability {
    /// Give files away.
    pub const CHOWN: u8 = 0;
    /// Open files of other users.
    pub const DAC_OVERRIDE: u8 = 1;
    /// Read files of other users.
    pub const DAC_READ_SEARCH: u8 = 2;
    /// Change permission bits of files of other users.
    pub const FOWNER: u8 = 3;
    /// Signal processes of other users.
    pub const KILL: u8 = 5;
    /// Change gids.
    pub const SETGID: u8 = 6;
    /// Change uids.
    pub const SETUID: u8 = 7;
    /// Change the bounding set.
    pub const SETPCAP: u8 = 8;
    /// Bring a loopback up.
    pub const NET_ADMIN: u8 = 12;
    /// Change the root directory.
    pub const SYS_CHROOT: u8 = 18;
    /// Make namespaces.
    pub const SYS_ADMIN: u8 = 21;
    /// Highest number tried when all are dropped; the kernel ignores numbers it does not know.
    pub const LAST: u8 = 63;
}

/// No core dump, and no tracer of the same user (`PR_SET_DUMPABLE` 0).
///
/// # Errors
/// What the kernel says.
pub fn harden() -> io::Result<()> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    undumpable()
}

/// No core dump, and no tracer of the same user; for a process whose limits are set already.
///
/// # Errors
/// What prctl(2) says.
pub fn undumpable() -> io::Result<()> {
    raw::prctl(libc::PR_SET_DUMPABLE, 0)?;
    Ok(())
}

/// How many descriptors this process may open: the soft limit, which counts, and the hard one, up
/// to which it can be raised.
///
/// # Errors
/// What the kernel says.
pub fn descriptors() -> io::Result<(u64, u64)> {
    Ok(getrlimit(Resource::RLIMIT_NOFILE)?)
}

/// Raises the soft limit of open descriptors to `wanted`, or as far as the hard one allows. Never
/// lowers it. What this process starts inherits it.
///
/// # Errors
/// What the kernel says.
pub fn raise_descriptors(wanted: u64) -> io::Result<()> {
    let (soft, hard) = descriptors()?;
    if soft < wanted.min(hard) {
        setrlimit(Resource::RLIMIT_NOFILE, wanted.min(hard), hard)?;
    }
    Ok(())
}

/// Raises the soft limit of the length of files that this process writes (`RLIMIT_FSIZE`, bytes) to
/// the hard one, which is given. What this process starts inherits it.
///
/// # Errors
/// What the kernel says.
pub fn raise_file_length() -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_FSIZE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_FSIZE, hard, hard)?;
    }
    Ok(hard)
}

/// What the supervisor keeps of root's capabilities, for itself and for the roles it starts: it
/// gives directories away, reads what it is told to, and starts roles as other users; a jailer
/// makes namespaces as root before it becomes one.
const SUPERVISOR: [u8; 11] = [
    capability::CHOWN,
    capability::DAC_OVERRIDE,
    capability::DAC_READ_SEARCH,
    capability::FOWNER,
    capability::KILL,
    capability::SETGID,
    capability::SETUID,
    capability::SETPCAP,
    capability::NET_ADMIN,
    capability::SYS_CHROOT,
    capability::SYS_ADMIN,
];

/// [`harden`], files for this user only (umask 077), of root's capabilities only those that are
/// needed, and a deny list of system calls that no role ever needs
/// (`jail/seccomp/supervisor.json`), which roles and jails inherit. That list is left out where
/// jails are to be `observed`: what an inherited list refuses is refused there, and nobody is told
/// (`seccomp(2)`). No Landlock here: it would keep the jailer from making its mount namespace.
///
/// # Errors
/// What the kernel says.
pub fn harden_supervisor(observed: bool) -> io::Result<()> {
    umask(0o077);
    harden()?;
    if nix::unistd::geteuid().is_root() {
        bound_capabilities(&SUPERVISOR)?;
        keep_capabilities(&SUPERVISOR)?;
    }
    no_new_privs()?;
    match observed {
        true => Ok(()),
        false => Filter::supervisor()?.install(),
    }
}

/// Kills this process when the thread that started it ends.
///
/// # Errors
/// Fails where that has happened already.
pub fn die_with_parent() -> io::Result<()> {
    let parent = nix::unistd::getppid();
    raw::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL.into())?;
    if nix::unistd::getppid() != parent {
        return Err(io::Error::other(
            "the process that started this one has ended",
        ));
    }
    Ok(())
}

/// Permission bits that new files of this process never get.
pub fn umask(mask: u32) {
    nix::sys::stat::umask(Mode::from_bits_truncate(mask));
}

/// No program this process starts can gain rights (`PR_SET_NO_NEW_PRIVS`).
///
/// # Errors
/// What the kernel says.
pub fn no_new_privs() -> io::Result<()> {
    raw::prctl(libc::PR_SET_NO_NEW_PRIVS, 1)?;
    Ok(())
}

/// Removes every capability but `keep` from the bounding set, so that no program started later can
/// have it.
///
/// # Errors
/// What the kernel says, in which case the process should end.
pub fn bound_capabilities(keep: &[u8]) -> io::Result<()> {
    for capability in (0..=capability::LAST).filter(|number| !keep.contains(number)) {
        match raw::drop_bounding(capability) {
            // Without CAP_SETPCAP there is no privilege that a bounding set could bound.
            Err(Errno::EPERM) => {}
            answer => drop(answer?),
        }
    }
    Ok(())
}

/// Becomes another user for good, without supplementary groups. Capabilities stay permitted, for
/// [`keep_capabilities`] to take away.
///
/// # Errors
/// What the kernel says, in which case the process should end.
pub fn become_user(uid: u32, gid: u32) -> io::Result<()> {
    raw::prctl(libc::PR_SET_KEEPCAPS, 1)?;
    nix::unistd::setgroups(&[])?;
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    nix::unistd::setresgid(gid, gid, gid)?;
    nix::unistd::setresuid(uid, uid, uid)?;
    raw::prctl(libc::PR_SET_KEEPCAPS, 0)?;
    Ok(())
}

/// Drops every capability but `keep` of this thread.
///
/// # Errors
/// What the kernel says, in which case the process should end.
pub fn keep_capabilities(keep: &[u8]) -> io::Result<()> {
    let bit = |number: &u8| 1_u64.checked_shl(u32::from(*number)).unwrap_or(0);
    raw::clear_ambient()?;
    raw::capset(keep.iter().fold(0, |bits, number| bits | bit(number)))?;
    Ok(())
}

/// While it lives, this thread opens files as another user (`setfsuid(2)`).
#[derive(Debug)]
pub struct FileUser {
    uid: Uid,
    gid: Gid,
}

impl FileUser {
    /// Becomes `uid` and `gid` towards file systems.
    ///
    /// # Errors
    /// Fails without `CAP_SETUID` and `CAP_SETGID`.
    pub fn become_for_now(uid: u32, gid: u32) -> io::Result<Self> {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        let own = Self {
            gid: setfsgid(gid),
            uid: setfsuid(uid),
        };
        // These calls do not fail; they tell what was there before. No user has the number -1.
        let is = (
            setfsuid(Uid::from_raw(u32::MAX)),
            setfsgid(Gid::from_raw(u32::MAX)),
        );
        if is == (uid, gid) {
            Ok(own)
        } else {
            Err(Errno::EPERM.into())
        }
    }
}

impl Drop for FileUser {
    fn drop(&mut self) {
        setfsuid(self.uid);
        setfsgid(self.gid);
        // A change of file system uid makes the kernel forget both (`commit_creds()`).
        let death = raw::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL.into());
        if let Err(error) = death.and_then(|_| raw::prctl(libc::PR_SET_DUMPABLE, 0)) {
            tracing::error!(%error, "cannot harden the jailer again");
        }
    }
}

/// Number of threads of this process.
///
/// # Errors
/// Fails where `/proc` is not there.
pub fn threads() -> io::Result<usize> {
    Ok(std::fs::read_dir("/proc/self/task")?.count())
}

/// The Landlock ABI of the kernel; 0 where it has none.
pub fn landlock_abi() -> i32 {
    raw::landlock_abi()
        .ok()
        .and_then(|abi| i32::try_from(abi).ok())
        .unwrap_or(0)
}
