//! Unix sockets in what a jail would see. Before Landlock's ABI 9 (Linux 7.1) nothing keeps a program
//! from connecting to a socket that it can name and its user may write to, on a read-only mount too:
//! whoever listens there acts outside of the jail on the jail's word. So no view holds one.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// Entries looked at beneath one path.
const ENTRIES_MAX: usize = 1_000_000;
/// Directories of programs, which hold no sockets and very many files.
const PROGRAMS: [&str; 8] = [
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc", "/opt",
];

/// The first socket at or beneath `path`, as far as this user can look; links are not followed.
///
/// # Errors
/// Fails where a directory cannot be read half way, and where it holds more than can be looked at.
pub fn first(path: &Path) -> io::Result<Option<PathBuf>> {
    first_of(path, path)
}

/// As [`first`], of what is opened at `opened` and is called `path`.
///
/// # Errors
/// As [`first`].
pub(super) fn first_of(path: &Path, opened: &Path) -> io::Result<Option<PathBuf>> {
    if PROGRAMS.iter().any(|programs| path.starts_with(programs)) {
        return Ok(None);
    }
    let path = opened;
    // It may be the link by which a descriptor is named.
    let kind = fs::metadata(path)?.file_type();
    if kind.is_socket() {
        return Ok(Some(path.into()));
    }
    let mut left = VecDeque::new();
    if kind.is_dir() {
        left.push_back(path.to_owned());
    }
    let mut seen = 0;
    while let Some(directory) = left.pop_front() {
        // What this user cannot read, a jail cannot reach through either, in the same place.
        let Ok(entries) = fs::read_dir(&directory) else {
            continue;
        };
        for entry in entries {
            let entry = entry?;
            seen += 1;
            if seen > ENTRIES_MAX {
                return Err(io::Error::other("too many files to look for sockets among"));
            }
            let kind = entry.file_type()?;
            if kind.is_socket() {
                return Ok(Some(entry.path()));
            }
            if kind.is_dir() {
                left.push_back(entry.path());
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_socket_is_found_however_deep_and_links_are_not_followed() {
        let outside = tempfile::tempdir().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let deep = directory.path().join("a/b/c");
        fs::create_dir_all(&deep).unwrap();
        let listener = UnixListener::bind(outside.path().join("s")).unwrap();
        std::os::unix::fs::symlink(outside.path(), deep.join("link")).unwrap();
        assert_eq!(first(directory.path()).unwrap(), None);
        drop(listener);
        let socket = deep.join("s");
        let _listener = UnixListener::bind(&socket).unwrap();
        assert_eq!(first(directory.path()).unwrap(), Some(socket.clone()));
        assert_eq!(first(&socket).unwrap(), Some(socket));
        assert!(first(&deep.join("no")).is_err());
    }
}
