//! Opening a file that somebody named, without waiting for whatever else has that name.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Opens the regular file `path` for reading.
///
/// # Errors
/// As open(2); and for a directory, a device, or a named pipe, which would be waited for until
/// somebody writes into it.
pub fn open(path: &Path) -> io::Result<File> {
    // Of a regular file the two flags change nothing (open(2)).
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is not a regular file")),
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;

    #[test]
    fn only_a_regular_file_is_opened_and_nothing_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        mkfifo(&pipe, Mode::S_IRWXU).unwrap();
        for odd in [pipe.as_path(), directory.path(), Path::new("/dev/zero")] {
            let error = open(odd).unwrap_err().to_string();
            assert_eq!(error, "it is not a regular file", "{}", odd.display());
        }
        let file = directory.path().join("file");
        std::fs::write(&file, "x").unwrap();
        assert!(open(&file).is_ok());
    }
}
