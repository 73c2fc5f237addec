//! Programs that lend root's rights, in a directory of root's that a jail may change. Whoever changes
//! such a program by write(2) takes its set-uid bit away; who changes it through a shared mapping
//! does not, and then the jail's code is root in the hands of any user who runs it.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::find::first_beneath;
use super::view::Owner;

/// `S_ISUID` and `S_ISGID` (inode(7)).
const LENDS: u32 = 0o6000;

/// The first file beneath `path` that lends `owner`'s rights and that a jail to which `owner`'s files
/// belong could change: files of another user or group cannot be, there. Links are not followed, and
/// nothing that is mounted within is looked at, which no jail may change.
///
/// # Errors
/// Fails where not all of it can be looked at: nobody knows then.
pub(super) fn first(path: &Path, owner: Owner) -> io::Result<Option<PathBuf>> {
    let device = std::fs::metadata(path)?.dev();
    first_beneath(path, |entry| {
        if !entry.file_type()?.is_file() {
            return Ok(false);
        }
        let meta = entry.metadata()?;
        let theirs = (meta.uid(), meta.gid()) == (owner.uid, owner.gid);
        Ok(theirs && meta.mode() & LENDS != 0 && meta.dev() == device)
    })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_that_lends_its_owners_rights_is_found_and_anothers_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let meta = directory.path().metadata().unwrap();
        let owner = Owner {
            uid: meta.uid(),
            gid: meta.gid(),
        };
        let other = Owner {
            gid: owner.gid + 1,
            ..owner
        };
        let deep = directory.path().join("bin");
        fs::create_dir(&deep).unwrap();
        let file = deep.join("su");
        fs::write(&file, "").unwrap();
        for (mode, lends) in [(0o755, false), (0o4755, true), (0o2755, true)] {
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            let found = first(directory.path(), owner).unwrap();
            assert_eq!(found, lends.then(|| file.clone()), "{mode:o}");
            assert_eq!(first(directory.path(), other).unwrap(), None);
        }
    }
}
