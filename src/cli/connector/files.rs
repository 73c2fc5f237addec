//! Where a connector's files are, and how they are read and made.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::catalog::connector::report::{FILE_MAX, Report};
use crate::catalog::connector::tree::Measured;
use crate::cli::app::App;
use crate::error::{Context, Error, Kind, Result};
use crate::wire::text::escaped;

/// What vetting found.
pub(super) fn report(app: &App, name: &str) -> PathBuf {
    app.paths.connector_state(name).join("report.json")
}

/// Every entry of the pinned trees, as vetting saw them.
pub(super) fn entries(app: &App, name: &str) -> PathBuf {
    app.paths.connector_state(name).join("files.json")
}

/// What was installed from which registry.
pub(super) fn installed(app: &App, name: &str) -> PathBuf {
    app.paths.connector_state(name).join("installed.json")
}

/// A path on a screen.
pub(super) fn shown(path: &Path) -> String {
    escaped(&path.to_string_lossy())
}

/// Reads a file of at most `most` bytes; nothing where there is none.
pub(super) fn read(path: &Path, most: u64) -> Result<Option<Vec<u8>>> {
    let what = || format!("read `{}`", shown(path));
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.context(what)?,
    };
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1))
        .read_to_end(&mut bytes)
        .context(what)?;
    match u64::try_from(bytes.len()).is_ok_and(|len| len <= most) {
        true => Ok(Some(bytes)),
        false => Err(Error::new(format!(
            "`{}` is longer than {most} bytes",
            shown(path)
        ))),
    }
}

/// The last report, and its bytes.
pub(super) fn read_report(app: &App, name: &str) -> Result<Option<(Report, Vec<u8>)>> {
    let path = report(app, name);
    let Some(bytes) = read(&path, FILE_MAX)? else {
        return Ok(None);
    };
    Ok(Some((Report::parse(&bytes, &shown(&path))?, bytes)))
}

/// The trees as vetting saw them; nothing where that was not kept or is not readable.
pub(super) fn read_entries(app: &App, name: &str) -> Vec<Measured> {
    let bytes = read(&entries(app, name), FILE_MAX).ok().flatten();
    bytes
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default()
}

/// Makes a directory and those above it, with these permission bits whatever the umask is.
pub(in crate::cli) fn directory(path: &Path, mode: u32) -> Result<()> {
    let what = || format!("make the directory `{}`", shown(path));
    fs::create_dir_all(path).context(what)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).context(what)
}

/// The directories of this connector's state.
pub(super) fn state(app: &App, name: &str) -> Result<PathBuf> {
    // As the supervisor makes it: roles pass through, and list nothing.
    let above = app.paths.state_dir();
    if above.symlink_metadata().is_err() {
        directory(above, 0o711)?;
    }
    directory(&app.paths.connectors_state(), 0o755)?;
    let own = app.paths.connector_state(name);
    directory(&own, 0o755)?;
    Ok(own)
}

/// Takes a file or a tree away; one that is not there is no error.
pub(super) fn away(path: &Path) -> Result<()> {
    let what = || format!("remove `{}`", shown(path));
    let gone = match path.symlink_metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => Err(error),
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
    };
    gone.context(what)
}

/// There is no connector of that name.
pub(super) fn unknown(app: &App, name: &str) -> Error {
    let file = shown(&app.paths.connector(name));
    Error::of(
        Kind::Usage,
        format!("there is no connector `{name}` ({file})"),
    )
    .hint("`keepgate connector list` says which there are")
}
