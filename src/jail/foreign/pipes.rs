//! Named pipes in what a jail would only read. A read-only mount does not keep anybody from writing
//! into a pipe that lies there (open(2): `EROFS` is for what is stored); Landlock does, but for
//! paths within those that the jail may change, its own `/tmp` among them. So none may be there.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use super::find::first_beneath;

/// The first named pipe at or beneath `path`; links are not followed.
///
/// # Errors
/// Fails where not all of it can be looked at: nobody knows then.
pub fn first(path: &Path) -> io::Result<Option<PathBuf>> {
    // It may be the link by which a descriptor is named.
    let kind = fs::metadata(path)?.file_type();
    if kind.is_fifo() {
        return Ok(Some(path.into()));
    }
    if !kind.is_dir() {
        return Ok(None);
    }
    first_beneath(path, |entry| Ok(entry.file_type()?.is_fifo()))
}

#[cfg(test)]
mod tests {
    use nix::sys::stat::Mode;

    use super::*;

    #[test]
    fn a_pipe_is_found_however_deep() {
        let directory = tempfile::tempdir().unwrap();
        let deep = directory.path().join("a/b");
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("file"), "").unwrap();
        assert_eq!(first(directory.path()).unwrap(), None);
        let pipe = deep.join("pipe");
        nix::unistd::mkfifo(&pipe, Mode::S_IRWXU).unwrap();
        assert_eq!(first(directory.path()).unwrap(), Some(pipe.clone()));
        assert_eq!(first(&pipe).unwrap(), Some(pipe));
        assert!(first(&deep.join("no")).is_err());
    }
}
