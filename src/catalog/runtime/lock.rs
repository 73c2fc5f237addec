//! `agents.lock`: what was pinned of agents' own programs.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Pin;
use crate::catalog::owned;
use crate::error::{Context, Error, Kind, Result};
use crate::wire::json::{self, Limits};
use crate::wire::text::escaped;

/// Longest lock file, in bytes.
pub const FILE_MAX: usize = 8 << 20;
/// The form that is written.
const VERSION: u32 = 1;

const LIMITS: Limits = Limits {
    bytes: FILE_MAX,
    depth: 16,
    members: 10_000,
    values: 1_000_000,
};

/// Every pinned agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    version: u32,
    /// Pins by plane and agent.
    pub planes: BTreeMap<String, BTreeMap<String, Pin>>,
}

impl Default for Lock {
    fn default() -> Self {
        Self {
            version: VERSION,
            planes: BTreeMap::new(),
        }
    }
}

impl Lock {
    /// Reads the file `path`; nothing is pinned where there is none.
    ///
    /// # Errors
    /// Fails where it cannot be read, is not the caller's or root's own, others may write it, or it
    /// is not what [`Lock::write`] writes.
    pub fn read(path: &Path) -> Result<Self> {
        match owned::read(path, FILE_MAX, "pin again")? {
            Some(bytes) => Self::parse(&bytes, &escaped(&path.to_string_lossy())),
            None => Ok(Self::default()),
        }
    }

    /// Reads the file's bytes; `file` is its name in errors.
    ///
    /// # Errors
    /// Fails on anything but what [`Lock::write`] writes.
    pub fn parse(bytes: &[u8], file: &str) -> Result<Self> {
        let wrong = |why: String| {
            Error::of(Kind::Usage, format!("`{file}` is damaged: {why}"))
                .hint("take it from a backup, or move it away and pin the agents again")
        };
        json::check(bytes, &LIMITS).map_err(|bad| wrong(bad.to_string()))?;
        let lock: Self =
            serde_json::from_slice(bytes).map_err(|error| wrong(escaped(&error.to_string())))?;
        match lock.version {
            VERSION => Ok(lock),
            other => Err(wrong(format!("it is of version {other}"))),
        }
    }

    /// What was pinned of an agent.
    pub fn pin(&self, plane: &str, agent: &str) -> Option<&Pin> {
        self.planes.get(plane)?.get(agent)
    }

    /// Replaces the file `path`, with mode 0644; on disk when it returns.
    ///
    /// # Errors
    /// What the file system says, and where it becomes longer than [`FILE_MAX`]; the old file is
    /// untouched then.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut bytes = serde_json::to_vec_pretty(self).context(|| "write the lock file".into())?;
        bytes.push(b'\n');
        if bytes.len() > FILE_MAX {
            return Err(Error::new("the lock file would be too long"));
        }
        owned::write(path, &bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    #[test]
    fn a_lock_is_read_as_it_was_written_and_nothing_else_is() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("agents.lock");
        assert_eq!(Lock::read(&path).unwrap(), Lock::default());
        let pin = Pin {
            files: Vec::new(),
            models: vec!["m".into()],
            by: "alice".into(),
            at: Timestamp::from_micros(7),
        };
        let mut lock = Lock::default();
        let plane = lock.planes.entry("p".into()).or_default();
        plane.insert("a".into(), pin.clone());
        lock.write(&path).unwrap();
        let again = Lock::read(&path).unwrap();
        assert_eq!(
            (again.pin("p", "a"), again.pin("q", "a")),
            (Some(&pin), None)
        );
        for bytes in [
            &b"{}"[..],
            b"{\"version\":2,\"planes\":{}}",
            b"[",
            b"{\"version\":1,\"planes\":{},\"x\":1}",
        ] {
            assert!(Lock::parse(bytes, "f").unwrap_err().hint_text().is_some());
        }
        std::os::unix::fs::chown(&path, Some(12_345), None).unwrap();
        assert_eq!(Lock::read(&path).unwrap_err().kind(), Kind::Denied);
    }
}
