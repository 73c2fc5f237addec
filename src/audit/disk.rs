//! Writing segments, behind a trait so that tests can inject full, failing and lying disks.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Opens segments for appending.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Creates a segment that must not exist, with mode 0640, and makes its name durable.
    ///
    /// # Errors
    /// Whatever the system says.
    fn create(&self, path: &Path) -> io::Result<Box<dyn Tail>>;

    /// Opens an existing segment to append at its end.
    ///
    /// # Errors
    /// Whatever the system says.
    fn open(&self, path: &Path) -> io::Result<Box<dyn Tail>>;
}

/// The end of one segment. After any error it must not be used again: the kernel may have dropped
/// the pages it could not write (fsync(2), "Linux 4.13").
pub trait Tail: Send + Sync + fmt::Debug {
    /// Appends bytes.
    ///
    /// # Errors
    /// Whatever the system says.
    fn append(&self, bytes: &[u8]) -> io::Result<()>;

    /// Makes everything appended durable.
    ///
    /// # Errors
    /// Whatever the system says.
    fn sync(&self) -> io::Result<()>;

    /// Bytes of the file, to which the path must still lead.
    ///
    /// # Errors
    /// Says how it changed.
    fn length(&self) -> io::Result<u64>;
}

/// The file system.
#[derive(Debug, Clone, Copy)]
pub struct RealDisk;

#[derive(Debug)]
struct RealTail {
    file: File,
    path: PathBuf,
}

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn Tail>> {
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o640)
            .open(path)?;
        file.sync_all()?;
        if let Some(parent) = path.parent() {
            File::open(parent)?.sync_all()?;
        }
        Ok(Box::new(RealTail {
            file,
            path: path.into(),
        }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Tail>> {
        let file = OpenOptions::new().append(true).open(path)?;
        Ok(Box::new(RealTail {
            file,
            path: path.into(),
        }))
    }
}

impl Tail for RealTail {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        (&self.file).write_all(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn length(&self) -> io::Result<u64> {
        let held = self.file.metadata()?;
        if held.nlink() == 0 {
            return Err(io::Error::other("the file was deleted"));
        }
        let named = self.path.symlink_metadata()?;
        if (held.dev(), held.ino()) != (named.dev(), named.ino()) {
            return Err(io::Error::other("the file was replaced by another"));
        }
        Ok(held.len())
    }
}
