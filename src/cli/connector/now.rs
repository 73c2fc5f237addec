//! A connector as it is now: manifest and files.

use super::files::{read, read_report, shown, unknown};
use super::import::this_host;
use crate::catalog::connector::digest::sha256;
use crate::catalog::connector::installed::Installed;
use crate::catalog::connector::manifest::{FILE_MAX, Written};
use crate::catalog::connector::tree::Measured;
use crate::catalog::connector::{Connector, Lock, Pin, Tree};
use crate::cli::app::App;
use crate::error::{Error, Kind, Result};

/// Longest record of an installation, in bytes.
const INSTALLED_MAX: u64 = 16 << 20;

/// What is there.
#[derive(Debug)]
pub(super) struct Now {
    pub(super) connector: Connector,
    pub(super) manifest_sha256: String,
    /// In the order of the manifest.
    pub(super) measured: Vec<Measured>,
}

/// Reads the manifest and measures what it pins.
///
/// # Errors
/// Fails where there is no such connector, its manifest is wrong, or a file cannot be read.
pub(super) fn now(app: &App, name: &str) -> Result<Now> {
    let (connector, manifest_sha256) = manifest(app, name)?;
    let connector = connector.check(&this_host(app, name))?;
    let files = connector.launch.files();
    let measured = files
        .into_iter()
        .map(Measured::read)
        .collect::<Result<_>>()?;
    Ok(Now {
        connector,
        manifest_sha256,
        measured,
    })
}

/// The manifest alone, and the digest of its bytes.
pub(super) fn manifest(app: &App, name: &str) -> Result<(Written, String)> {
    let path = app.paths.connector(name);
    let bytes = read(&path, FILE_MAX)?.ok_or_else(|| unknown(app, name))?;
    let written = Written::parse_bytes(&bytes, &shown(&path))?;
    let said = written.name();
    if said != name {
        let what = format!("`{}` is the manifest of `{said}`", shown(&path));
        return Err(Error::of(Kind::Usage, what).hint("name file and connector alike"));
    }
    Ok((written, sha256(&bytes)))
}

/// What was installed for it.
pub(super) fn installed(app: &App, name: &str) -> Result<Option<Installed>> {
    let path = super::files::installed(app, name);
    let Some(bytes) = read(&path, INSTALLED_MAX)? else {
        return Ok(None);
    };
    let record = serde_json::from_slice(&bytes).map_err(|error| {
        Error::new(format!("read `{}`", shown(&path)))
            .because(error)
            .hint("import it again: `keepgate connector import --replace`")
    })?;
    Ok(Some(record))
}

/// What was approved of it.
pub(super) fn pin(app: &App, name: &str) -> Result<Option<Pin>> {
    let mut lock = Lock::read(&app.paths.connectors_lock())?;
    Ok(lock.connectors.remove(name))
}

/// What is known of a connector from its files, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// There is a manifest.
    Imported,
    /// It was vetted.
    Vetted,
    /// It was approved, and manifest and files are still those.
    Approved,
    /// It was approved, and the manifest or a file is another one now.
    Changed,
    /// It was approved, and the manifest is gone.
    Gone,
}

impl Stage {
    /// The word.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Imported => "imported",
            Self::Vetted => "vetted",
            Self::Approved => "approved",
            Self::Changed => "changed",
            Self::Gone => "gone",
        }
    }

    pub(super) fn of(app: &App, name: &str, pin: Option<&Pin>) -> Result<Self> {
        let bytes = read(&app.paths.connector(name), FILE_MAX)?;
        Ok(match (bytes, pin) {
            (None, _) => Self::Gone,
            (Some(bytes), Some(pin)) if sha256(&bytes) == pin.manifest_sha256 && whole(pin) => {
                Self::Approved
            }
            (Some(_), Some(_)) => Self::Changed,
            (Some(_), None) => match read_report(app, name)? {
                Some(_) => Self::Vetted,
                None => Self::Imported,
            },
        })
    }
}

/// All its files are there, and what was pinned.
fn whole(pin: &Pin) -> bool {
    let same =
        |tree: &Tree| Measured::read(&tree.path).is_ok_and(|now| now.sha256() == tree.sha256);
    pin.files.iter().all(same)
}
