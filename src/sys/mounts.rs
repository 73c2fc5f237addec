//! A world of its own for the process that starts jails: new namespaces, an empty read-only root,
//! and the operator's roots as mounts that no path leads to, held by descriptor only.

use std::ffi::c_long;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
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
const MOUNT_NOSUID: u64 = 2;
const MOUNT_NODEV: u64 = 4;
const MOUNT_NOEXEC: u64 = 8;

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

/// A private copy of the mount tree at `path`, without devices, programs and set-uid files; no path
/// leads to it, and none leads out of it by `..`.
///
/// # Errors
/// Fails where `path` is not there, and without `CAP_SYS_ADMIN`.
#[expect(unsafe_code, reason = "open_tree and mount_setattr have no wrapper")]
pub fn clone_tree(path: &Path) -> io::Result<OwnedFd> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    let flags = OPEN_TREE_CLONE
        | c_long::from(libc::O_CLOEXEC)
        | c_long::from(libc::AT_RECURSIVE)
        | c_long::from(libc::AT_SYMLINK_NOFOLLOW);
    let place = path.as_ptr().expose_provenance().cast_signed() as c_long;
    let here = c_long::from(libc::AT_FDCWD);
    // SAFETY: the path is a C string that lives until the call returns.
    let fd = unsafe { raw::call(libc::SYS_open_tree, [here, place, flags, 0, 0, 0]) }?;
    let fd = RawFd::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel made it for the call just above.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let attributes = MountAttributes {
        set: MOUNT_NOSUID | MOUNT_NODEV | MOUNT_NOEXEC,
        clear: 0,
        propagation: 0,
        user_namespace: 0,
    };
    let arguments = [
        c_long::from(fd.as_raw_fd()),
        c"".as_ptr().expose_provenance().cast_signed() as c_long,
        c_long::from(libc::AT_EMPTY_PATH | libc::AT_RECURSIVE),
        raw::address(&attributes),
        size_of::<MountAttributes>() as c_long,
        0,
    ];
    // SAFETY: path and structure live until the call returns.
    unsafe { raw::call(libc::SYS_mount_setattr, arguments) }?;
    Ok(fd)
}

/// Makes an empty read-only directory this process' root, and lets go of all other mounts.
///
/// # Errors
/// Fails without `CAP_SYS_ADMIN` in a mount namespace of its own.
pub fn empty_root() -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_RDONLY;
    // /proc is a directory that is always there; what it shows is not needed any more.
    mount(
        Some("empty"),
        "/proc",
        Some("tmpfs"),
        flags,
        Some("size=4k,nr_inodes=1,mode=555"),
    )?;
    chdir("/proc")?;
    // pivot_root(2), "pivot_root(".", ".")": the old root is stacked on the new one, then detached.
    pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    chdir("/")?;
    Ok(())
}
