//! `connectors.lock`: what was approved. Root's, or the operator's own, written whole or not at all.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{CONNECTORS_MAX, Pin};
use crate::catalog::owned;
use crate::error::{Context, Error, Kind, Result};
use crate::wire::json::{self, Limits};
use crate::wire::text::escaped;

/// Longest lock file, in bytes.
pub const FILE_MAX: usize = 64 << 20;
/// The form that is written.
const VERSION: u32 = 1;
const LIMITS: Limits = Limits {
    bytes: FILE_MAX,
    depth: 64,
    members: 10_000,
    values: 4_000_000,
};

/// Every approved connector.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    version: u32,
    /// Pins by the connector's name.
    pub connectors: BTreeMap<String, Pin>,
}

impl Default for Lock {
    fn default() -> Self {
        Self {
            version: VERSION,
            connectors: BTreeMap::new(),
        }
    }
}

impl Lock {
    /// Reads the file `path`; nothing is approved where there is none.
    ///
    /// # Errors
    /// Fails where it cannot be read, is not the caller's or root's own, others may write it, or it
    /// is not what [`Lock::write`] writes.
    pub fn read(path: &Path) -> Result<Self> {
        match owned::read(path, FILE_MAX, "approve again")? {
            Some(bytes) => Self::parse(&bytes, &escaped(&path.to_string_lossy())),
            None => Ok(Self::default()),
        }
    }

    /// Reads the file's bytes; `file` is its name in errors.
    ///
    /// # Errors
    /// Fails on anything but what [`Lock::bytes`] gives.
    pub fn parse(bytes: &[u8], file: &str) -> Result<Self> {
        let wrong = |why: String| {
            Error::of(Kind::Usage, format!("`{file}` is damaged: {why}"))
                .hint("take it from a backup, or move it away and approve the connectors again")
        };
        json::check(bytes, &LIMITS).map_err(|bad| wrong(bad.to_string()))?;
        let lock: Self =
            serde_json::from_slice(bytes).map_err(|error| wrong(escaped(&error.to_string())))?;
        if lock.version != VERSION {
            return Err(wrong(format!("it is of version {}", lock.version)));
        }
        if lock.connectors.len() > CONNECTORS_MAX {
            return Err(wrong(format!("more than {CONNECTORS_MAX} connectors")));
        }
        match lock
            .connectors
            .iter()
            .find(|(name, pin)| **name != pin.connector.name)
        {
            Some((name, _)) => Err(wrong(format!("`{}` is another one", escaped(name)))),
            None => Ok(lock),
        }
    }

    /// The file's bytes.
    ///
    /// # Errors
    /// Fails where it becomes longer than [`FILE_MAX`].
    pub fn bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec_pretty(self).context(|| "write the lock file".into())?;
        bytes.push(b'\n');
        if bytes.len() > FILE_MAX {
            return Err(Error::new("the lock file would be too long")
                .hint("remove connectors that are not used"));
        }
        Ok(bytes)
    }

    /// Replaces the file `path`, with mode 0644; on disk when it returns.
    ///
    /// # Errors
    /// What the file system says; the old file is untouched then.
    pub fn write(&self, path: &Path) -> Result<()> {
        let bytes = self.bytes()?;
        owned::write(path, &bytes)
    }
}
