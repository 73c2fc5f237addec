//! A world of its own for the process that starts jails: new namespaces, an empty read-only root,
//! and the operator's roots as mounts that no path leads to, held by descriptor only.

use std::ffi::{CStr, CString, c_long};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{chdir, pivot_root, sethostname};

use super::raw;

/// `struct mount_attr` of `mount_setattr(2)`.
#[repr(C)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

const OPEN_TREE_CLONE: c_long = 1;
/// `MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH`
const MOVE_MOUNT_BOTH_EMPTY: c_long = 0x04 | 0x40;
const MOUNT_RDONLY: u64 = 1;
const MOUNT_NOSUID: u64 = 2;
const MOUNT_NODEV: u64 = 4;
const MOUNT_NOEXEC: u64 = 8;
const MOUNT_IDMAP: u64 = 0x0010_0000;

/// Leaves the host's mount, network, IPC and host name namespaces. The new network namespace has
/// nothing, not even a loopback that is up.
///
/// # Errors
/// Fails without `CAP_SYS_ADMIN`.
pub fn leave_host() -> io::Result<()> {
    let namespaces = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    unshare(namespaces)?;
    sethostname("jail")?;
    // Nothing mounted here shows on the host; what the host unmounts goes away here too.
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | MsFlags::MS_SLAVE,
        None::<&str>,
    )?;
    Ok(())
}

/// Enters a new user namespace in which this user is itself, with all capabilities.
///
/// # Errors
/// Fails where the system does not let users make user namespaces.
pub fn become_own_user() -> io::Result<()> {
    let (uid, gid) = (nix::unistd::getuid(), nix::unistd::getgid());
    unshare(CloneFlags::CLONE_NEWUSER)?;
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
    std::fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))
}

/// What a copy of a mount tree is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copy {
    /// An operator's root: no devices, programs or set-uid files.
    Data,
    /// What a jail reads and runs: nothing can be changed, no devices, no set-uid files.
    Shown,
    /// What a jail may change: no devices, programs or set-uid files, nothing mounted below.
    Writable,
    /// What a jail may not change within what it may: as [`Copy::Shown`], nothing mounted below.
    Kept,
    /// A device node.
    Device,
    /// `/proc`, as it is.
    Proc,
}

impl Copy {
    fn attributes(self) -> u64 {
        match self {
            Self::Data | Self::Writable => MOUNT_NOSUID | MOUNT_NODEV | MOUNT_NOEXEC,
            Self::Shown | Self::Kept => MOUNT_RDONLY | MOUNT_NOSUID | MOUNT_NODEV,
            Self::Device => MOUNT_RDONLY | MOUNT_NOSUID | MOUNT_NOEXEC,
            Self::Proc => 0,
        }
    }

    fn recursive(self) -> bool {
        matches!(self, Self::Data | Self::Shown | Self::Proc)
    }
}

/// A private copy of the mount tree at `path`; no path leads to it, and none leads out of it by
/// `..`. Symbolic links on the way are followed, one at its end is not.
///
/// # Errors
/// Fails where `path` is not there, and without `CAP_SYS_ADMIN`.
pub fn clone_tree(path: &Path, copy: Copy) -> io::Result<OwnedFd> {
    use std::os::unix::ffi::OsStrExt;
    let path = CString::new(path.as_os_str().as_bytes())?;
    open_tree(libc::AT_FDCWD, &path, copy)
}

/// A private copy of what is mounted at the open directory or file `from`.
///
/// # Errors
/// As [`clone_tree`].
pub fn clone_open(from: BorrowedFd<'_>, copy: Copy) -> io::Result<OwnedFd> {
    open_tree(from.as_raw_fd(), c"", copy)
}

#[expect(unsafe_code, reason = "open_tree has no wrapper")]
fn open_tree(directory: RawFd, path: &CStr, copy: Copy) -> io::Result<OwnedFd> {
    let mut flags = OPEN_TREE_CLONE
        | c_long::from(libc::O_CLOEXEC)
        | c_long::from(libc::AT_SYMLINK_NOFOLLOW)
        | c_long::from(libc::AT_EMPTY_PATH);
    if copy.recursive() {
        flags |= c_long::from(libc::AT_RECURSIVE);
    }
    let arguments = [c_long::from(directory), raw::text(path), flags, 0, 0, 0];
    // SAFETY: the path is a C string that lives until the call returns.
    let fd = unsafe { raw::call(libc::SYS_open_tree, arguments) }?;
    let fd = own(fd)?;
    if copy.attributes() != 0 {
        set_attributes(&fd, copy.attributes(), None, copy.recursive())?;
    }
    Ok(fd)
}

#[expect(unsafe_code, reason = "these calls give descriptors as bare numbers")]
fn own(fd: c_long) -> io::Result<OwnedFd> {
    let fd = RawFd::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the callers pass what the kernel just made for them.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Shows the files of the copy `tree` under the uids and gids that `users`, a user namespace, maps
/// them to (`mount_setattr(2)`, "ID-mapped mounts").
///
/// # Errors
/// `EINVAL` where its file system cannot be mapped; `EPERM` without `CAP_SYS_ADMIN`.
pub fn map_users(tree: &OwnedFd, users: BorrowedFd<'_>) -> io::Result<()> {
    set_attributes(tree, MOUNT_IDMAP, Some(users), false)
}

#[expect(unsafe_code, reason = "mount_setattr has no wrapper")]
fn set_attributes(
    tree: &OwnedFd,
    set: u64,
    users: Option<BorrowedFd<'_>>,
    recursive: bool,
) -> io::Result<()> {
    let users = users.map_or(0, |users| users.as_raw_fd());
    let attributes = MountAttributes {
        set,
        clear: 0,
        propagation: 0,
        user_namespace: u64::from(users.cast_unsigned()),
    };
    let recursive = if recursive { libc::AT_RECURSIVE } else { 0 };
    let arguments = [
        c_long::from(tree.as_raw_fd()),
        raw::text(c""),
        c_long::from(libc::AT_EMPTY_PATH | recursive),
        raw::address(&attributes),
        size_of::<MountAttributes>() as c_long,
        0,
    ];
    // SAFETY: path and structure live until the call returns.
    unsafe { raw::call(libc::SYS_mount_setattr, arguments) }?;
    Ok(())
}

/// Mounts the copy `tree` on `place`, an open directory or file of this mount namespace.
///
/// # Errors
/// Fails without `CAP_SYS_ADMIN`, and where one is a directory and the other is not.
#[expect(unsafe_code, reason = "move_mount has no wrapper")]
pub fn attach(tree: BorrowedFd<'_>, place: BorrowedFd<'_>) -> io::Result<()> {
    let arguments = [
        c_long::from(tree.as_raw_fd()),
        raw::text(c""),
        c_long::from(place.as_raw_fd()),
        raw::text(c""),
        MOVE_MOUNT_BOTH_EMPTY,
        0,
    ];
    // SAFETY: both paths are C strings that live until the call returns.
    unsafe { raw::call(libc::SYS_move_mount, arguments) }?;
    Ok(())
}

/// Mounts a file system in memory on `place` (relative to the working directory), without devices,
/// programs and set-uid files.
///
/// # Errors
/// Fails without `CAP_SYS_ADMIN`, and where `place` is not there.
pub fn memory(place: &str, bytes: u64, inodes: u64, mode: u32) -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let data = format!("size={bytes},nr_inodes={inodes},mode={mode:o}");
    mount(Some("memory"), place, Some("tmpfs"), flags, Some(&*data))?;
    Ok(())
}

/// Nothing can be changed at `place`, a mount of this namespace, any more; what is mounted below
/// stays as it is.
///
/// # Errors
/// Fails without `CAP_SYS_ADMIN`.
pub fn seal(place: &str) -> io::Result<()> {
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    remount(place, flags)
}

fn remount(place: &str, flags: MsFlags) -> io::Result<()> {
    let flags = flags | MsFlags::MS_BIND | MsFlags::MS_REMOUNT;
    mount(None::<&str>, place, None::<&str>, flags, None::<&str>)?;
    Ok(())
}

/// Shows `from` at `place` too; both relative to the working directory.
///
/// # Errors
/// Fails without `CAP_SYS_ADMIN`, and where one of them is not there.
pub fn show_also(from: &str, place: &str) -> io::Result<()> {
    mount(
        Some(from),
        place,
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )?;
    Ok(())
}

/// Takes away what is mounted at `place`, once nobody uses it any more.
///
/// # Errors
/// Fails without `CAP_SYS_ADMIN`, and where nothing is mounted there.
pub fn detach(place: &str) -> io::Result<()> {
    umount2(place, MntFlags::MNT_DETACH)?;
    Ok(())
}

/// Mounts a `/proc` of this process' pid namespace on `place`: of processes only, or `whole`.
///
/// # Errors
/// Fails without `CAP_SYS_ADMIN`; in a user namespace also where no other `/proc` is mounted.
pub fn proc(place: &str, whole: bool) -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let data = if whole { None } else { Some("subset=pid") };
    mount(Some("proc"), place, Some("proc"), flags, data)?;
    Ok(())
}

/// Makes the working directory, a mount, this process' root, and lets go of all other mounts.
///
/// # Errors
/// Fails without `CAP_SYS_ADMIN` in a mount namespace of its own.
pub fn enter_root() -> io::Result<()> {
    // pivot_root(2), "pivot_root(".", ".")": the old root is stacked on the new one, then detached.
    pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    chdir("/")?;
    Ok(())
}

/// Makes a new directory this process' root, and lets go of all other mounts. What it holds is made
/// by `fill`, which has it as its working directory; after that it is read-only.
///
/// # Errors
/// Fails without `CAP_SYS_ADMIN` in a mount namespace of its own, and where `fill` does.
pub fn new_root(inodes: u64, fill: impl FnOnce() -> crate::error::Result<()>) -> io::Result<()> {
    // /proc is a directory that is always there; what it shows is not needed any more.
    memory("/proc", 64 << 10, inodes, 0o755)?;
    chdir("/proc")?;
    enter_root()?;
    fill().map_err(|error| io::Error::other(error.message()))?;
    seal("/")
}
