//! The names files have between being written and being named, and what is done with those that
//! a jailer left which ended in the wrong moment.
//!
//! `.keepgate-TICKET-OLD[-NEW]`: OLD and NEW are the beginnings of the SHA-256 digests of what the
//! keeper saw at the target and of what was to take its place. Content of either digest is in the
//! keeper's hands. Anything else under such a name was written by somebody in the meantime and may
//! be the only copy: it is never removed. `file.list` hides all of them.

use std::os::fd::BorrowedFd;

use nix::dir::Dir;
use nix::fcntl::OFlag;

use super::place::{Place, SCRATCH, digest, open_beneath, regular};
use crate::call::id::Id;
use crate::wire::messages::FileState;

/// Hexadecimal digits of a digest in a name: 128 bits.
const DIGITS: usize = 32;
/// Entries looked at when a directory is swept.
const SWEPT_MAX: usize = 10_000;

/// The name for a ticket that replaces `old` by content with digest `new` (lower-case hex), or
/// takes it away.
pub(super) fn name(ticket: Id, old: &FileState, new: Option<&str>) -> String {
    let old = match old {
        FileState::Present { sha256, .. } => Some(sha256.as_str()),
        FileState::Absent => None,
    };
    let mut name = format!("{SCRATCH}{ticket}");
    for sha256 in old.into_iter().chain(new) {
        name.push('-');
        name.extend(sha256.chars().take(DIGITS));
    }
    name
}

/// Removes the scratch names in the directory of `place` that were last changed before `before`
/// (seconds since 1970) and hold what their name says, and no others. Best effort.
pub(super) fn sweep(place: &Place, descriptors: BorrowedFd<'_>, max: u64, before: i64) {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
    let copy = open_beneath(place.directory(), ".", flags);
    let Some(mut directory) = copy.ok().and_then(|fd| Dir::from_fd(fd).ok()) else {
        return;
    };
    for entry in directory.iter().flatten().take(SWEPT_MAX) {
        let Ok(name) = entry.file_name().to_str() else {
            continue;
        };
        let Some(known) = known(name) else { continue };
        let Ok(left) = place.beside(name) else {
            continue;
        };
        let stat = left.handle().and_then(|handle| regular(&handle));
        if !stat.is_ok_and(|stat| stat.st_ctime < before) {
            continue;
        }
        let held = match left.look(descriptors, max) {
            Ok(Some(found)) => digest(&found.content),
            Ok(None) => continue,
            Err(trouble) => {
                tracing::warn!(name, detail = trouble.detail, "cannot read what was left");
                continue;
            }
        };
        if !known.iter().any(|sha256| held.starts_with(sha256)) {
            tracing::error!(
                name,
                "an earlier jailer left this, and it may be the only copy of what somebody wrote"
            );
            continue;
        }
        tracing::warn!(name, "removing what an earlier jailer left");
        if let Err(error) = left.unlink() {
            tracing::error!(name, %error, "cannot remove what an earlier jailer left");
        }
    }
}

/// The digests in a name, where it is one of these; there is at least one.
fn known(name: &str) -> Option<Vec<&str>> {
    let mut parts = name.strip_prefix(SCRATCH)?.split('-');
    parts.next()?.parse::<Id>().ok()?;
    let digests: Vec<&str> = parts.collect();
    let whole =
        |part: &&str| part.len() == DIGITS && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    (!digests.is_empty() && digests.iter().all(whole)).then_some(digests)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsFd;

    fn present(content: &[u8]) -> FileState {
        FileState::Present {
            len: 0,
            sha256: digest(content),
            mode: 0o640,
        }
    }

    #[test]
    fn what_may_be_the_only_copy_is_never_swept() {
        let temp = tempfile::tempdir().unwrap();
        let root = File::open(temp.path()).unwrap();
        let place = Place::new(root.as_fd(), "a").unwrap();
        let descriptors = File::open("/proc/self/fd").unwrap();
        let put = |name: &str, content: &[u8]| {
            std::fs::write(temp.path().join(name), content).unwrap();
            name.to_owned()
        };
        let fresh = || Id::random().unwrap();
        let exchange = || name(fresh(), &present(b"old"), Some(&digest(b"new")));
        let gone = [
            put(&exchange(), b"old"),
            put(&exchange(), b"new"),
            put(&name(fresh(), &present(b"old"), None), b"old"),
        ];
        let stays = [
            put(&exchange(), b"somebody's"),
            put(&name(fresh(), &present(b"old"), None), b"newer"),
            put(&exchange(), b"longer than is read"),
            put(&format!("{SCRATCH}{}", fresh()), b"old"),
            put(&format!("{SCRATCH}{}-{}", fresh(), "a".repeat(31)), b"old"),
            put(".keepgate-no-ticket", b"old"),
            put("a", b"old"),
        ];
        sweep(&place, descriptors.as_fd(), 12, 0);
        for name in gone.iter().chain(&stays) {
            assert!(temp.path().join(name).exists(), "too young: {name}");
        }
        sweep(&place, descriptors.as_fd(), 12, i64::MAX);
        for name in gone {
            assert!(!temp.path().join(&name).exists(), "stays: {name}");
        }
        for name in stays {
            assert!(temp.path().join(&name).exists(), "swept: {name}");
        }
    }
}
