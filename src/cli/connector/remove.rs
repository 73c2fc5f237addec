//! `keepgate connector remove`.

use serde_json::json;

use super::files::{away, shown, unknown};
use crate::catalog::connector::Lock;
use crate::cli::app::App;
use crate::cli::exit::Exit;
use crate::error::{Error, Kind, Result};

pub(super) fn run(app: &App, name: &str, yes: bool) -> Result<Exit> {
    let manifest = app.paths.connector(name);
    let lock_file = app.paths.connectors_lock();
    let mut lock = Lock::read(&lock_file)?;
    let state = app.paths.connector_state(name);
    let there = [&manifest, &state]
        .iter()
        .any(|path| path.symlink_metadata().is_ok());
    if !there && !lock.connectors.contains_key(name) {
        return Err(unknown(app, name));
    }
    if !yes {
        let question = format!(
            "remove connector {name}: its approval, {} and {}?",
            shown(&manifest),
            shown(&state)
        );
        if !app.screen.has_person() {
            return Err(Error::of(Kind::Pending, "nobody is there to be asked")
                .hint("`--yes` does it without asking"));
        }
        if !app.screen.confirm(&question) {
            return Ok(Exit::Rehearsed);
        }
    }
    // The approval goes first: what is half removed does not run.
    let approved = lock.connectors.remove(name).is_some();
    if approved {
        lock.write(&lock_file)?;
    }
    away(&manifest)?;
    away(&state)?;
    let value = json!({"connector": name, "was_approved": approved});
    app.screen
        .answer(&value, |_| format!("connector {name} is removed"))?;
    Ok(Exit::Ok)
}
