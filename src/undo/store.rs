//! The keeper's store of old contents: one file per content, named by its SHA-256, mode 0600.

use std::io::ErrorKind;
use std::path::PathBuf;

use super::Change;
use crate::error::{Context, Error, Kind, Result};
use crate::sys::file::replace_durably;
use crate::wire::messages::FileState;
use crate::wire::text::hex;

/// Evidence that what a call changes can be put back: the old content is on disk.
#[derive(Debug)]
pub struct Inverse {
    recipe: Change,
}

impl Inverse {
    /// What to put back where.
    pub fn recipe(&self) -> &Change {
        &self.recipe
    }
}

/// Old contents by digest.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
}

impl Store {
    /// Uses `directory`, which must exist.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Keeps `content`, which must be what `recipe` says was there before; durable on return.
    ///
    /// # Errors
    /// Fails where the content is not what the recipe says, or the disk does not take it.
    pub fn keep(&self, recipe: Change, content: &[u8]) -> Result<Inverse> {
        if let FileState::Present { sha256, .. } = &recipe.before {
            if *sha256 != digest(content) {
                return Err(Error::new("the old content is not what its digest says"));
            }
            let path = self.path(sha256)?;
            // One that is there may have been damaged since.
            if std::fs::read(&path).map_or(true, |kept| digest(&kept) != *sha256) {
                replace_durably(&path, content, 0o600)
                    .context(|| "keep the old content of a file".into())?;
            }
        }
        Ok(Inverse { recipe })
    }

    /// Gives back the content of `state`; empty where nothing was there.
    ///
    /// # Errors
    /// Fails where it was not kept, and as [`Kind::Tampered`] where it is not what it was.
    pub fn content(&self, state: &FileState) -> Result<Vec<u8>> {
        let FileState::Present { sha256, .. } = state else {
            return Ok(Vec::new());
        };
        let path = self.path(sha256)?;
        let content = match std::fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(Error::new(format!("no content `{sha256}` is kept")));
            }
            read => read.context(|| format!("read kept content `{sha256}`"))?,
        };
        if digest(&content) != *sha256 {
            let what = format!("the kept content `{sha256}` was changed");
            return Err(Error::of(Kind::Tampered, what));
        }
        Ok(content)
    }

    fn path(&self, sha256: &str) -> Result<PathBuf> {
        let clean = sha256.len() == 64 && sha256.bytes().all(|b| b.is_ascii_hexdigit());
        if !clean {
            return Err(Error::new("a digest in the log is no digest").kind_is(Kind::Tampered));
        }
        Ok(self.directory.join(sha256))
    }
}

fn digest(content: &[u8]) -> String {
    hex(ring::digest::digest(&ring::digest::SHA256, content).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::messages::{FileOrder, OpenAs};

    fn recipe(content: &[u8]) -> Change {
        let path = "a".to_owned();
        let root = "/r".to_owned();
        let present = FileState::Present {
            len: 1,
            sha256: digest(content),
            mode: 0o640,
        };
        Change {
            file: FileOrder {
                root,
                path,
                open: OpenAs::Replace,
                uid: None,
                gid: None,
            },
            before: present,
            after: FileState::Absent,
        }
    }

    #[test]
    fn content_comes_back_or_the_change_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(directory.path().into());
        let inverse = store.keep(recipe(b"old"), b"old").unwrap();
        let state = inverse.recipe().before.clone();
        assert_eq!(store.content(&state).unwrap(), b"old");
        assert!(store.keep(recipe(b"old"), b"new").is_err());
        std::fs::write(directory.path().join(digest(b"old")), b"odd").unwrap();
        assert_eq!(store.content(&state).unwrap_err().kind(), Kind::Tampered);
        assert_eq!(store.content(&FileState::Absent).unwrap(), b"");
    }
}
