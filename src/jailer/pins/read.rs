//! Reading what is pinned: a file's content, where it and all that is pinned with it is what was
//! approved. The content is hashed as it was read, so that what goes back is what has the digest.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

use super::super::trouble::{OrTrouble, Trouble};
use super::check::as_owner;
use super::{Altered, Pins};
use crate::catalog::connector::digest::sha256;
use crate::catalog::connector::tree::Content;
use crate::catalog::connector::{Tree, compare};
use crate::wire::messages::JailFault;

/// Why a pinned file is not read.
#[derive(Debug)]
pub(in crate::jailer) enum Unread {
    /// It, or something pinned with it, is not what was pinned.
    Altered(Altered),
    /// Anything else.
    Trouble(Trouble),
}

impl From<Trouble> for Unread {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl Pins {
    /// The content of the file that jails of `manifest` see at `path`, at most `max` bytes, and its
    /// permission bits; right after a look that found all that is pinned to be what it was.
    ///
    /// # Errors
    /// Says that it is not as it was pinned, or why the file cannot be read: it is pinned by nobody, no
    /// file, or longer.
    pub(in crate::jailer) fn read(
        &self,
        manifest: &str,
        path: &Path,
        max: u64,
    ) -> Result<(Vec<u8>, u32), Unread> {
        let missing = || Trouble::new(JailFault::NotFound, "no pinned file has that name");
        let workers = self.workers.as_ref().ok_or_else(missing)?;
        let turns = self.by_manifest.get(manifest);
        let pinned = turns.and_then(|turns| turns.pinned.as_ref());
        let pinned = pinned.into_iter().flatten();
        let mut found = pinned.filter_map(|one| {
            let below = path.strip_prefix(&one.tree.path).ok()?;
            let entry = one.was.as_ref()?.entries.get(below.to_str()?)?;
            Some((one, below, entry))
        });
        let (pinned, below, entry) = found.next_back().ok_or_else(missing)?;
        let Content::File(approved) = &entry.content else {
            return Err(Trouble::new(JailFault::WrongKind, "it is no file").into());
        };
        let _user = as_owner(workers.own).map_err(Unread::Altered)?;
        let how = |flags: OFlag, resolve: ResolveFlag| {
            let flags = flags | OFlag::O_CLOEXEC;
            OpenHow::new()
                .flags(flags)
                .resolve(resolve | ResolveFlag::RESOLVE_NO_MAGICLINKS)
        };
        // As it was measured: links lead to where what is pinned lies, and there are none within.
        let top = how(OFlag::O_PATH, ResolveFlag::RESOLVE_IN_ROOT);
        let top = openat2(&workers.root, &pinned.at, top).or_trouble("openat2")?;
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let within = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS;
        let file = openat2(&top, below, how(flags, within)).or_trouble("openat2")?;
        let mut content = Vec::new();
        let mut file = File::from(file).take(max.saturating_add(1));
        file.read_to_end(&mut content).or_trouble("read")?;
        if u64::try_from(content.len()).unwrap_or(u64::MAX) > max {
            let what = format!("the file is longer than {max} bytes");
            return Err(Trouble::new(JailFault::TooLarge, what).into());
        }
        let now = sha256(&content);
        if now != *approved {
            // Between the look and the reading.
            let file = |sha256: &str| Tree {
                path: path.into(),
                sha256: sha256.into(),
            };
            let changed = compare::digest_of_file(&file(approved), &file(&now));
            return Err(Unread::Altered(Altered::of(&[changed])));
        }
        Ok((content, entry.mode))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Instant;

    use super::super::check::Pinned;
    use super::super::workers::Workers;
    use super::super::{Not, Turns};
    use super::*;
    use crate::catalog::connector::tree::Measured;

    /// Pins of `folder` for the manifest `m`, where it lies itself.
    fn pins(folder: &Path) -> Pins {
        let tree = Measured::read(folder).unwrap().tree();
        let turns = Turns {
            pinned: Some(vec![Pinned::new(&tree, folder.to_owned())]),
            now: None,
            next: None,
            due: Instant::now(),
        };
        Pins {
            workers: Some(Workers::new(nix::unistd::geteuid().as_raw()).unwrap()),
            by_manifest: [("m".to_owned(), turns)].into(),
            last: 0,
        }
    }

    /// Has a look, and waits for it.
    fn looked(pins: &mut Pins) -> Result<(), Not> {
        let number = pins.look("m").unwrap();
        let found = pins.found().unwrap();
        assert_eq!(found.number, number);
        found.found
    }

    #[test]
    fn what_is_pinned_is_read_and_nothing_else() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().canonicalize().unwrap().join("skill");
        fs::create_dir_all(folder.join("references")).unwrap();
        fs::write(folder.join("SKILL.md"), "text").unwrap();
        fs::write(folder.join("references/a.md"), "more").unwrap();
        std::os::unix::fs::symlink("SKILL.md", folder.join("link")).unwrap();
        fs::write(temp.path().join("outside"), "secret").unwrap();
        let mut pins = pins(&folder);
        looked(&mut pins).unwrap();
        let (content, _) = pins.read("m", &folder.join("SKILL.md"), 4).unwrap();
        assert_eq!(content, b"text");
        let (content, _) = pins.read("m", &folder.join("references/a.md"), 9).unwrap();
        assert_eq!(content, b"more");
        for (manifest, name, max, fault) in [
            ("m", "SKILL.md", 3, JailFault::TooLarge),
            ("m", "references", 9, JailFault::WrongKind),
            ("m", "link", 9, JailFault::WrongKind),
            ("m", "nothing", 9, JailFault::NotFound),
            ("m", "../outside", 9, JailFault::NotFound),
            ("m", "references/../SKILL.md", 9, JailFault::NotFound),
            ("other", "SKILL.md", 9, JailFault::NotFound),
        ] {
            match pins.read(manifest, &folder.join(name), max) {
                Err(Unread::Trouble(trouble)) => assert_eq!(trouble.fault, fault, "{name}"),
                other => panic!("{name}: {other:?}"),
            }
        }
        fs::write(folder.join("references/a.md"), "evil").unwrap();
        // Changed since the look: what is read is hashed again. The next look finds it anyway, and so
        // nothing of the tree is read.
        match pins.read("m", &folder.join("references/a.md"), 9) {
            Err(Unread::Altered(altered)) => assert!(altered.why.contains("a.md"), "{altered:?}"),
            other => panic!("{other:?}"),
        }
        match looked(&mut pins) {
            Err(Not::Altered(altered)) => {
                assert!(altered.why.contains("references/a.md"), "{}", altered.why);
            }
            other => panic!("{other:?}"),
        }
    }
}
