//! Who may change a tree.

use std::path::PathBuf;

use super::{Content, Entry, Measured};

/// Permission to write: of the group, of others.
const GROUP: u32 = 0o020;
const OTHERS: u32 = 0o002;

/// An entry that somebody else may change at any time, after it was looked at too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lent {
    /// Which.
    pub path: PathBuf,
    /// Who may, in a few words.
    pub why: String,
}

impl Measured {
    /// The first entry that others than root and the user `own` may change. A group may be anybody,
    /// but for that of a user's own where that is not root: distributions give each user one, and
    /// files that all of it may write.
    pub fn lent_to_others(&self, own: u32) -> Option<Lent> {
        let found = self.entries.iter().find_map(|(name, entry)| {
            let why = entry.lent(own)?;
            Some((name, why))
        });
        found.map(|(name, why)| Lent {
            path: match name.is_empty() {
                true => self.path.clone(),
                false => self.path.join(name),
            },
            why,
        })
    }
}

impl Entry {
    fn lent(&self, own: u32) -> Option<String> {
        let (uid, gid) = (self.stamp.uid, self.stamp.gid);
        if uid != 0 && uid != own {
            return Some(format!("it belongs to uid {uid}"));
        }
        // A link cannot be written, only replaced: in its directory.
        let writable = match self.content {
            Content::Link(_) => 0,
            Content::File(_) | Content::Directory => self.mode & (GROUP | OTHERS),
        };
        let of_its_own = own != 0 && gid == own;
        match writable {
            0 => None,
            GROUP if of_its_own => None,
            GROUP => Some("its group may write it".into()),
            _ => Some("others may write it".into()),
        }
    }
}
