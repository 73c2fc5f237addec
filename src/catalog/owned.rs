//! Files of root's, or of the operator's own, that say what may run: written whole or not at all, and
//! read only where nobody else may have written them.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::geteuid;

use crate::error::{Context, Error, Kind, Result};
use crate::sys::file::replace_durably;
use crate::wire::text::escaped;

/// Reads at most `most` bytes and one of the file `path`; nothing where there is none. `again` says
/// what is done anew where somebody else may have written it.
///
/// # Errors
/// Fails where it cannot be read, is not the caller's or root's own, or others may write it.
pub fn read(path: &Path, most: usize, again: &str) -> Result<Option<Vec<u8>>> {
    let shown = escaped(&path.to_string_lossy());
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.context(|| format!("read `{shown}`"))?,
    };
    let meta = file.metadata().context(|| format!("look at `{shown}`"))?;
    if (meta.uid() != 0 && meta.uid() != geteuid().as_raw()) || meta.mode() & 0o022 != 0 {
        let what = format!("others may have written `{shown}`");
        return Err(Error::of(Kind::Denied, what).hint(format!(
            "see who did; then `chown root {shown}`, `chmod 644 {shown}`, and {again} what you do \
             not know"
        )));
    }
    let mut bytes = Vec::new();
    let most = u64::try_from(most).unwrap_or(u64::MAX);
    file.take(most.saturating_add(1))
        .read_to_end(&mut bytes)
        .context(|| format!("read `{shown}`"))?;
    Ok(Some(bytes))
}

/// Replaces the file `path`, with mode 0644; on disk when it returns.
///
/// # Errors
/// What the file system says; the old file is untouched then.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    replace_durably(path, bytes, 0o644)
        .context(|| format!("write `{}`", escaped(&path.to_string_lossy())))
}
