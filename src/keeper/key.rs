//! The file of the log's key. A key change is durable in the log before its file takes the place of
//! the old one, so at a start either file may hold the key in force.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::audit::{Sealer, SoftwareSealer, key_in_force, sealer};
use crate::error::{Context, Error, Kind, Result};
use crate::sys::file::rename_durably;

fn path(state: &Path) -> PathBuf {
    state.join("keys/log.pk8")
}

fn next(state: &Path) -> PathBuf {
    state.join("keys/log.next.pk8")
}

/// The key that the log's latest entries name; a new one where there is no log yet.
pub(super) fn in_force(state: &Path, origin: &str) -> Result<Arc<dyn Sealer>> {
    let (current, next) = (path(state), next(state));
    let Some(wanted) = key_in_force(&state.join("log"))? else {
        return Ok(Arc::new(SoftwareSealer::open(&current)?));
    };
    // A key names its log, which is named after the install.
    let named = wanted
        .split_once('+')
        .map_or(wanted.as_str(), |(named, _)| named);
    if named != origin {
        let name = named.split_once('/').map_or(named, |(name, _)| name);
        return Err(Error::of(
            Kind::Usage,
            format!("the log is that of `{named}`, and this is `{origin}`"),
        )
        .hint(format!(
            "an install keeps its name while it keeps its log: set `name = \"{name}\"` again"
        )));
    }
    for file in [&current, &next] {
        if !file.exists() {
            continue;
        }
        let sealer = SoftwareSealer::open(file)?;
        if sealer::vkey(&sealer, origin)?.to_string() != wanted {
            continue;
        }
        if file == &next {
            rename_durably(&next, &current).context(|| "put the new log key in place".into())?;
        }
        return Ok(Arc::new(sealer));
    }
    Err(Error::of(
        Kind::Tampered,
        format!("`{}` is not the log's key", current.display()),
    )
    .hint("restore the key file from a backup"))
}

/// Makes the key that comes next, and the file it is in.
pub(super) fn successor(state: &Path) -> Result<(SoftwareSealer, PathBuf)> {
    let next = next(state);
    // One left behind by a change that never reached the log is of no use.
    match std::fs::remove_file(&next) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).context(|| format!("remove `{}`", next.display()));
        }
        _ => {}
    }
    Ok((SoftwareSealer::create(&next)?, next))
}

/// The key change is in the log: its file takes the old one's place.
pub(super) fn succeed(state: &Path, successor: &Path) -> Result<()> {
    rename_durably(successor, &path(state)).context(|| "put the new log key in place".into())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::audit::{Log, Options};
    use crate::keeper::state::State;
    use crate::time::SystemClock;

    #[test]
    fn another_name_is_told_apart_from_another_key() {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir(place.path().join("keys")).unwrap();
        let sealer = in_force(place.path(), "old/p").unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let log = Log::open(
            &place.path().join("log"),
            "old/p",
            sealer,
            Arc::new(SystemClock),
            state,
            Options::default(),
        );
        drop(log.unwrap());
        in_force(place.path(), "old/p").unwrap();
        let error = in_force(place.path(), "new/p").map(drop).unwrap_err();
        assert_eq!(
            error.message(),
            "the log is that of `old/p`, and this is `new/p`"
        );
        assert!(error.hint_text().unwrap().contains("name = \"old\""));
        std::fs::remove_file(path(place.path())).unwrap();
        SoftwareSealer::create(&path(place.path())).unwrap();
        let error = in_force(place.path(), "old/p").map(drop).unwrap_err();
        assert!(
            error.message().contains("is not the log's key"),
            "{error:?}"
        );
    }
}
