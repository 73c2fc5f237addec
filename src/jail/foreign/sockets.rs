//! Unix sockets in what a jail would see. Before Landlock's ABI 9 (Linux 7.1) nothing keeps a program
//! that may make named sockets from connecting to one that it can name and its user may write to, on
//! a read-only mount too: whoever listens there acts outside of the jail on the jail's word. Programs
//! may make them only where their manifest says `loopback`; then no view holds one when it is made.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use super::find::first_beneath;

/// The first socket at or beneath `path`; links are not followed.
///
/// # Errors
/// Fails where not all of it can be looked at that a jail could go into: nobody knows then.
pub fn first(path: &Path) -> io::Result<Option<PathBuf>> {
    // The path itself may be the link by which a descriptor is named.
    let kind = fs::metadata(path)?.file_type();
    if kind.is_socket() {
        return Ok(Some(path.into()));
    }
    if !kind.is_dir() {
        return Ok(None);
    }
    first_beneath(path, |entry| Ok(entry.file_type()?.is_socket()))
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
