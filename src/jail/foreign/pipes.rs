//! Named pipes in what a jail would only read. A read-only mount does not keep anybody from writing
//! into a pipe that lies there (open(2): `EROFS` is for what is stored); Landlock does, but for
//! paths within those that the jail may change, its own `/tmp` among them. So none may be there.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

/// Entries looked at beneath one path.
const ENTRIES_MAX: usize = 1_000_000;

/// The first named pipe at or beneath `path`; links are not followed.
///
/// # Errors
/// Fails where a directory cannot be read that can be gone into, and where more than [`ENTRIES_MAX`]
/// entries would have to be looked at: nobody knows then.
pub fn first(path: &Path) -> io::Result<Option<PathBuf>> {
    // It may be the link by which a descriptor is named.
    let kind = fs::metadata(path)?.file_type();
    if kind.is_fifo() {
        return Ok(Some(path.into()));
    }
    let mut left = if kind.is_dir() {
        vec![path.to_owned()]
    } else {
        Vec::new()
    };
    let mut seen = 0;
    while let Some(directory) = left.pop() {
        let entries = match fs::read_dir(&directory) {
            // A jail of this user's cannot go in there either.
            Err(_) if access(&directory, AccessFlags::X_OK).is_err() => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            seen += 1;
            if seen > ENTRIES_MAX {
                return Err(io::Error::other("too many files to look for pipes among"));
            }
            let kind = entry.file_type()?;
            if kind.is_fifo() {
                return Ok(Some(entry.path()));
            }
            if kind.is_dir() {
                left.push(entry.path());
            }
        }
    }
    Ok(None)
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
