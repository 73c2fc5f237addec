//! Replacing a file whole: readers see the old content or the new, never a part. The only user of
//! rename.

use std::ffi::{CStr, OsString};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::ptr::null_mut;
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;

/// Replacements of one process take turns, so that a fixed temporary name is enough; a fixed name
/// means that a crash leaves one file behind at most, and the next replacement takes it away.
static TURN: Mutex<()> = Mutex::new(());

/// Replaces `path` by a file of `bytes` with permission bits `mode`. After a power cut either
/// content, or none, may be there: for files that can be made again.
///
/// # Errors
/// What the file system says; the old file is untouched then.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    write(path, bytes, mode, false)
}

/// As [`replace`], and on disk when it returns: content before name, name before return.
///
/// # Errors
/// What the file system says; after a failed flush of the directory the new content is in place
/// but may be lost in a power cut.
pub fn replace_durably(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    write(path, bytes, mode, true)
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the durable replacement others must use"
)]
fn write(path: &Path, bytes: &[u8], mode: u32, durable: bool) -> io::Result<()> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let temporary = temporary(path)?;
    let fill = || -> io::Result<()> {
        let mut file = create(&temporary, mode)?;
        // The mode given to open is cut by the umask.
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.write_all(bytes)?;
        if durable {
            file.sync_all()?;
        }
        fs::rename(&temporary, path)
    };
    fill().inspect_err(|_| drop(fs::remove_file(&temporary)))?;
    if durable {
        flush_directory(path)
    } else {
        Ok(())
    }
}

/// Gives the file `from`, which is on disk already, the name `to`; durable when it returns.
///
/// # Errors
/// What the file system says.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the durable rename others must use"
)]
pub fn rename_durably(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    flush_directory(to)
}

fn flush_directory(path: &Path) -> io::Result<()> {
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

/// An open file has an access control list beyond its permission bits (`acl(5)`).
///
/// # Errors
/// What fgetxattr(2) says.
#[expect(unsafe_code, reason = "fgetxattr has no wrapper")]
pub fn has_acl(file: BorrowedFd<'_>) -> io::Result<bool> {
    let name = c"system.posix_acl_access";
    // SAFETY: the name is a C string; a length of 0 means that nothing is written.
    let answer = unsafe { libc::fgetxattr(file.as_raw_fd(), name.as_ptr(), null_mut(), 0) };
    match Errno::result(answer) {
        Ok(_) => Ok(true),
        Err(Errno::ENODATA | Errno::EOPNOTSUPP) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// The extended attribute `name` of an open file is there and holds `1`.
#[expect(unsafe_code, reason = "fgetxattr has no wrapper")]
pub(super) fn mark(file: BorrowedFd<'_>, name: &CStr) -> bool {
    let mut value = [0_u8; 1];
    let place = value.as_mut_ptr().cast();
    // SAFETY: the name is a C string, and no more than the length given is written to the array.
    let len = unsafe { libc::fgetxattr(file.as_raw_fd(), name.as_ptr(), place, value.len()) };
    len == 1 && value == *b"1"
}

fn temporary(path: &Path) -> io::Result<PathBuf> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::other("a path without a file name"))?;
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(".new");
    Ok(path.with_file_name(temporary))
}

fn create(path: &Path, mode: u32) -> io::Result<File> {
    let mut options = File::options();
    options
        .write(true)
        .create_new(true)
        .mode(mode)
        .custom_flags(libc::O_NOFOLLOW);
    match options.open(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            options.open(path)
        }
        opened => opened,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        replace(&path, b"one", 0o600).unwrap();
        fs::write(directory.path().join(".a.new"), b"left by a crash").unwrap();
        replace_durably(&path, b"two", 0o644).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o644
        );
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_finished_file_takes_another_name() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("a"), directory.path().join("b"));
        fs::write(&from, b"new").unwrap();
        fs::write(&to, b"old").unwrap();
        rename_durably(&from, &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"new");
        assert!(rename_durably(&from, &to).is_err());
    }

    #[test]
    fn a_planted_link_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let victim = directory.path().join("victim");
        fs::write(&victim, b"safe").unwrap();
        std::os::unix::fs::symlink(&victim, directory.path().join(".a.new")).unwrap();
        replace(&directory.path().join("a"), b"new", 0o600).unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"safe");
    }

    #[test]
    fn a_failure_leaves_the_old_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("d");
        fs::create_dir(&path).unwrap();
        assert!(replace(&path, b"x", 0o600).is_err());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        assert!(replace(Path::new("/"), b"x", 0o600).is_err());
    }
}
