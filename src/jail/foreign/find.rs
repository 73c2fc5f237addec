//! Looking for what must not lie beneath a shown path.

use std::fs::{self, DirEntry};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access, geteuid};

use crate::wire::text::escaped;

/// Entries looked at beneath one path.
pub(super) const ENTRIES_MAX: usize = 1_000_000;

/// The first entry beneath the directory `path` that is `wanted`; links are not followed. Directories
/// that this user may neither read nor search are left out, as its jails cannot go in there either,
/// but for its own: their mode is a jail's to change, where that may change what is around them.
///
/// # Errors
/// Fails where any other directory cannot be read, by its name, and where more than [`ENTRIES_MAX`]
/// entries would have to be looked at: nobody knows then.
pub(super) fn first_beneath(
    path: &Path,
    wanted: impl Fn(&DirEntry) -> io::Result<bool>,
) -> io::Result<Option<PathBuf>> {
    let mut left = vec![path.to_owned()];
    let mut seen = 0;
    while let Some(directory) = left.pop() {
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(_) if barred(&directory) => continue,
            Err(error) => return Err(unread(path, &directory, &error)),
        };
        for entry in entries {
            let entry = entry?;
            seen += 1;
            if seen > ENTRIES_MAX {
                return Err(io::Error::other("too many files to look through"));
            }
            if wanted(&entry)? {
                return Ok(Some(entry.path()));
            }
            if entry.file_type()?.is_dir() {
                left.push(entry.path());
            }
        }
    }
    Ok(None)
}

/// Nobody of this user's gets in there. Only the path that is looked beneath may be a link.
fn barred(directory: &Path) -> bool {
    let theirs = fs::metadata(directory).is_ok_and(|meta| meta.uid() != geteuid().as_raw());
    theirs && access(directory, AccessFlags::X_OK).is_err()
}

/// Names the directory as it lies beneath `path`, which may be the link of a descriptor.
fn unread(path: &Path, directory: &Path, error: &io::Error) -> io::Error {
    let name = directory.strip_prefix(path).unwrap_or(directory);
    let what = match escaped(&name.to_string_lossy()).to_string() {
        name if name.is_empty() => format!("read what is in it: {error}"),
        name => format!("read the directory `{name}` in it: {error}"),
    };
    io::Error::new(error.kind(), what)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_directory_that_cannot_be_read_is_named_beneath_what_is_shown() {
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let told = |directory: &str| {
            unread(Path::new("/proc/self/fd/7"), Path::new(directory), &denied).to_string()
        };
        assert_eq!(
            told("/proc/self/fd/7/a/b\u{1b}"),
            r"read the directory `a/b\u{1b}` in it: permission denied"
        );
        assert_eq!(
            told("/proc/self/fd/7"),
            "read what is in it: permission denied"
        );
    }

    #[test]
    fn a_directory_of_ones_own_is_never_left_out() {
        let directory = tempfile::tempdir().unwrap();
        let closed = directory.path().join("closed");
        fs::create_dir(&closed).unwrap();
        fs::set_permissions(&closed, Permissions::from_mode(0o000)).unwrap();
        assert!(!barred(&closed));
    }
}
