//! Looking for what must not lie beneath a shown path.

use std::fs::{self, DirEntry};
use std::io;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

/// Entries looked at beneath one path.
pub(super) const ENTRIES_MAX: usize = 1_000_000;

/// The first entry beneath the directory `path` that is `wanted`; links are not followed.
///
/// # Errors
/// Fails where a directory cannot be read that can be gone into, and where more than [`ENTRIES_MAX`]
/// entries would have to be looked at: nobody knows then.
pub(super) fn first_beneath(
    path: &Path,
    wanted: impl Fn(&DirEntry) -> io::Result<bool>,
) -> io::Result<Option<PathBuf>> {
    let mut left = vec![path.to_owned()];
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
