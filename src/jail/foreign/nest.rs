//! Paths of a manifest within one another. The nearest one above says what a path is: a directory
//! that may be changed can hold one that may not, and the other way round.
//!
//! What lies read-only within what may be changed has to stay where it is: otherwise a jail moves
//! the directory above it away and makes another of that name. A mount point cannot be moved or
//! removed by those who see it as one (`EBUSY`, rename(2)), so that each directory on the way is
//! mounted on itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::wire::text::escaped;

/// Most directories and files that each jail has copies of: each is a descriptor of its first
/// process.
pub const COPIES_MAX: usize = 128;

/// Where each jail has private files.
const PRIVATE: [&str; 2] = ["/tmp", "/dev/shm"];

/// A path where each jail has private files of its own.
pub fn is_private(path: &Path) -> bool {
    PRIVATE.iter().any(|private| path.starts_with(private))
}

/// All paths of a manifest.
#[derive(Debug, Clone, Copy)]
pub struct Nest<'a> {
    ro: &'a [PathBuf],
    rw: &'a [PathBuf],
}

/// A path that holds another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Above<'a> {
    /// Itself.
    pub path: &'a Path,
    /// It may be changed.
    pub writable: bool,
}

impl<'a> Nest<'a> {
    /// Of these.
    pub fn new(ro: &'a [PathBuf], rw: &'a [PathBuf]) -> Self {
        Self { ro, rw }
    }

    /// The nearest that holds `path`; never `path` itself.
    pub fn above(self, path: &Path) -> Option<Above<'a>> {
        self.at_or_above(path.parent()?)
    }

    /// The nearest that is `path` or holds it: what may be done there.
    pub fn at_or_above(self, path: &Path) -> Option<Above<'a>> {
        let all =
            |paths: &'a [PathBuf], writable| paths.iter().map(move |path| Above { path, writable });
        let holds = |above: &Above<'_>| path.starts_with(above.path);
        let all = all(self.ro, false).chain(all(self.rw, true));
        all.filter(holds)
            .max_by_key(|above| above.path.components().count())
    }

    /// Where `path`, which is read-only, lies within what may be changed: that directory.
    pub fn kept_in(self, path: &Path) -> Option<&'a Path> {
        let above = self.above(path).filter(|above| above.writable)?;
        Some(above.path)
    }

    /// Landlock's rule for what may be changed covers `path`, although that is read-only.
    pub fn covered(self, path: &Path) -> bool {
        let within = |outer: &PathBuf| path != outer && path.starts_with(outer);
        is_private(path) || self.rw.iter().any(within)
    }

    /// Directories that have to stay where they are, and the writable one each is in.
    pub fn pins(self) -> BTreeMap<PathBuf, &'a Path> {
        let mut pins = BTreeMap::new();
        for path in self.ro {
            let Some(outer) = self.kept_in(path) else {
                continue;
            };
            let way = path.ancestors().skip(1);
            let way = way.take_while(|way| *way != outer);
            pins.extend(way.map(|way| (way.to_owned(), outer)));
        }
        pins
    }

    /// How many copies each jail gets.
    pub fn copies(self) -> usize {
        let covered = self.ro.iter().filter(|path| self.covered(path));
        covered.count() + self.rw.len() + self.pins().len()
    }
}

/// What makes a file of many names one that has its own.
pub fn lone(path: &Path) -> String {
    let path = escaped(&path.to_string_lossy()).to_string();
    format!("make it a file of its own: `cp -p {path} {path}.own && mv {path}.own {path}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_one_above_counts() {
        let (ro, rw) = (
            ["/w/a/b/ro", "/usr", "/w/a/b/x", "/tmp/in"].map(PathBuf::from),
            ["/w", "/usr/rw", "/w/a/b/ro/rw"].map(PathBuf::from),
        );
        let nest = Nest::new(&ro, &rw);
        let above = |path: &str| nest.above(Path::new(path)).map(|above| above.path);
        assert_eq!(above("/w"), None);
        assert_eq!(above("/wide"), None);
        assert_eq!(above("/w/a/b/ro"), Some(Path::new("/w")));
        assert_eq!(above("/w/a/b/ro/rw"), Some(Path::new("/w/a/b/ro")));
        assert_eq!(above("/usr/rw/x"), Some(Path::new("/usr/rw")));
        assert_eq!(nest.kept_in(&ro[0]), Some(Path::new("/w")));
        assert_eq!(nest.kept_in(&ro[1]), None);
        assert!(nest.covered(&ro[0]) && nest.covered(&ro[3]) && !nest.covered(&ro[1]));
        let pins = nest.pins();
        let pins: Vec<&Path> = pins.keys().map(PathBuf::as_path).collect();
        assert_eq!(pins, [Path::new("/w/a"), Path::new("/w/a/b")]);
        assert_eq!(nest.copies(), 3 + 3 + 2);
    }
}
