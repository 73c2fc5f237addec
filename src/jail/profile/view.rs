//! What a foreign jail sees, walked on the host as the kernel will walk it in the jail. It answers
//! people before anything runs; what decides is the jail's own mount namespace.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Links followed on one way (`MAXSYMLINKS` of the kernel).
const LINKS_MAX: usize = 40;
/// What every foreign jail has of its own; nothing of the host is beneath.
const ITS_OWN: [&str; 3] = ["/dev", "/proc", "/tmp"];

/// The paths of a manifest.
#[derive(Debug)]
pub struct View<'a> {
    shown: &'a [PathBuf],
}

/// Why a path leads nowhere in a jail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unseen {
    /// Nothing has that name.
    Missing(PathBuf),
    /// It is there, but not shown.
    Outside(PathBuf),
    /// Links lead in a circle.
    Circle(PathBuf),
}

impl<'a> View<'a> {
    /// Of these paths and all beneath them.
    pub fn new(shown: &'a [PathBuf]) -> Self {
        Self { shown }
    }

    /// Where the absolute `path` leads on the host, through links that are seen in the jail.
    ///
    /// # Errors
    /// Says where the way ends.
    pub fn resolve(&self, path: &Path) -> Result<PathBuf, Unseen> {
        let mut ahead: VecDeque<OsString> = parts(path).collect();
        let mut at = PathBuf::from("/");
        let mut links = 0;
        while let Some(part) = ahead.pop_front() {
            if part == ".." {
                at.pop();
                continue;
            }
            let next = at.join(&part);
            if !self.has(&next) {
                // A directory that is there in the jail only to hold what is shown beneath it.
                if self.is_above(&next) {
                    at = next;
                    continue;
                }
                return Err(Unseen::Outside(next));
            }
            let Ok(meta) = fs::symlink_metadata(&next) else {
                return Err(Unseen::Missing(next));
            };
            if !meta.is_symlink() {
                at = next;
                continue;
            }
            links += 1;
            if links > LINKS_MAX {
                return Err(Unseen::Circle(path.into()));
            }
            let Ok(target) = fs::read_link(&next) else {
                return Err(Unseen::Missing(next));
            };
            if target.is_absolute() {
                at = PathBuf::from("/");
            }
            for part in parts(&target).collect::<Vec<_>>().into_iter().rev() {
                ahead.push_front(part);
            }
        }
        Ok(at)
    }

    /// The path itself is shown.
    fn has(&self, path: &Path) -> bool {
        self.shown.iter().any(|shown| path.starts_with(shown))
    }

    fn is_above(&self, path: &Path) -> bool {
        let own = ITS_OWN.iter().map(Path::new);
        let shown = self.shown.iter().map(PathBuf::as_path);
        own.chain(shown).any(|shown| shown.starts_with(path))
    }
}

fn parts(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_way_is_walked_as_in_the_jail() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().canonicalize().unwrap();
        let path = |name: &str| dir.join(name);
        fs::create_dir_all(path("shown/bin")).unwrap();
        fs::create_dir_all(path("hidden")).unwrap();
        fs::write(path("shown/bin/tool"), b"").unwrap();
        fs::write(path("hidden/secret"), b"").unwrap();
        symlink("bin/tool", path("shown/near")).unwrap();
        symlink("../hidden/secret", path("shown/away")).unwrap();
        symlink(path("shown/bin"), path("shown/far")).unwrap();
        symlink("circle", path("shown/circle")).unwrap();
        let shown = [path("shown")];
        let view = View::new(&shown);
        let tool = Ok(path("shown/bin/tool"));
        assert_eq!(view.resolve(&path("shown/bin/tool")), tool);
        assert_eq!(view.resolve(&path("shown/near")), tool);
        assert_eq!(view.resolve(&path("shown/far/../bin/tool")), tool);
        assert_eq!(
            view.resolve(&path("shown/away")),
            Err(Unseen::Outside(path("hidden")))
        );
        let none = path("shown/bin/none");
        assert_eq!(view.resolve(&none), Err(Unseen::Missing(none.clone())));
        let circle = path("shown/circle");
        assert_eq!(view.resolve(&circle), Err(Unseen::Circle(circle.clone())));
        assert_eq!(view.resolve(Path::new("/tmp")), Ok("/tmp".into()));
        assert_eq!(view.resolve(&dir), Ok(dir.clone()));
        let passwd = Path::new("/etc/passwd");
        assert_eq!(view.resolve(passwd), Err(Unseen::Outside("/etc".into())));
    }
}
