//! Whether what is pinned still is where it was. A jail keeps the file or folder it was given when
//! another one is renamed into its place: what runs is what was approved, and nobody who looks at the
//! host sees it.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::catalog::connector::Tree;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(5);

/// Which files and folders were at pinned paths.
#[derive(Debug)]
pub(super) struct Places {
    /// Device and inode.
    were: BTreeMap<PathBuf, (u64, u64)>,
    due: Instant,
}

impl Places {
    /// As they are now.
    pub(super) fn of<'a>(pins: impl Iterator<Item = &'a Tree>) -> Self {
        let were = pins.filter_map(|tree| Some((tree.path.clone(), at(&tree.path)?)));
        Self {
            were: were.collect(),
            due: Instant::now() + EVERY,
        }
    }

    /// When to look again; never, where nothing is pinned.
    pub(super) fn due(&self) -> Option<Instant> {
        (!self.were.is_empty()).then_some(self.due)
    }

    /// Looks, if that is due: the first path with another thing than before. One with nothing at all
    /// is none: whoever runs it notices.
    pub(super) fn replaced(&mut self, now: Instant) -> Option<&Path> {
        if self.due > now {
            return None;
        }
        self.due = now + EVERY;
        let other = |path: &Path, was: (u64, u64)| at(path).is_some_and(|is| is != was);
        let mut replaced = self.were.iter().filter(|(path, was)| other(path, **was));
        replaced.next().map(|(path, _)| path.as_path())
    }
}

fn at(path: &Path) -> Option<(u64, u64)> {
    let metadata = path.symlink_metadata().ok()?;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "nothing here has to last")]
    fn only_another_thing_in_its_place_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("server");
        std::fs::create_dir(&path).unwrap();
        let tree = Tree {
            path: path.clone(),
            sha256: String::new(),
        };
        let mut places = Places::of(std::iter::once(&tree));
        let due = places.due().unwrap();
        std::fs::write(path.join("more"), "").unwrap();
        assert_eq!(places.replaced(due), None);
        let away = dir.path().join("away");
        std::fs::rename(&path, &away).unwrap();
        let due = places.due().unwrap();
        assert_eq!(places.replaced(due), None);
        std::fs::create_dir(&path).unwrap();
        assert_eq!(places.replaced(due), None, "too early");
        let due = places.due().unwrap();
        assert_eq!(places.replaced(due), Some(path.as_path()));
        assert_eq!(Places::of(std::iter::empty()).due(), None);
    }
}
