//! `keepgate agent pin` and `agent diff`: what an agent on this host is made of.

use std::path::Path;

use nix::unistd::geteuid;
use serde_json::json;

use crate::catalog::runtime::{Lock, Pin, Runtime, kept, measure};
use crate::cli::app::App;
use crate::cli::connector::{directory, shown};
use crate::cli::exit::Exit;
use crate::cli::layout::count;
use crate::config::Config;
use crate::error::{Context, Error, Kind, Result};
use crate::sys::file::replace_durably;
use crate::time::{Clock, SystemClock};
use crate::wire::text::escaped;

/// Longest name of who pins, in characters.
const BY_MAX: usize = 100;

pub(super) fn pin(app: &App, name: &str, by: &str) -> Result<Exit> {
    if by.trim().is_empty() || by.chars().count() > BY_MAX || by.chars().any(char::is_control) {
        return Err(Error::of(Kind::Usage, "it is not said who pins")
            .hint("`--by NAME`: one line, at most 100 characters"));
    }
    let (plane, runtime) = configured(app, name)?;
    let measured = measure(&runtime, &[], geteuid().as_raw())?;
    let pin = Pin::new(&runtime, &measured, by, SystemClock.now());
    // The entries only tell; the lock decides, so it comes last.
    let entries = app.paths.agent_entries(&plane, name);
    if let Some(above) = entries.parent() {
        directory(above, 0o700)?;
    }
    let bytes = serde_json::to_vec(&measured).context(|| "write the entries".into())?;
    replace_durably(&entries, &bytes, 0o600)
        .context(|| format!("write `{}`", escaped(&entries.to_string_lossy())))?;
    let path = app.paths.agents_lock();
    let mut lock = Lock::read(&path)?;
    let files: usize = measured.iter().map(|one| one.entries.len()).sum();
    let value = json!({
        "plane": plane,
        "agent": name,
        "by": by,
        "at": pin.at,
        "pin": pin.digest(),
        "files": pin.files,
        "entries": files,
        "models": pin.models,
    });
    let digest: String = pin.digest().chars().take(16).collect();
    let agents = lock.planes.entry(plane.clone()).or_default();
    agents.insert(name.into(), pin);
    lock.write(&path)?;
    app.screen.answer(&value, |_| {
        let files = u64::try_from(files).unwrap_or(u64::MAX);
        format!(
            "agent {name} of plane {plane} is pinned by {}: pin {digest}, {} in {}, models: {}\n\
             it holds from the agent's next connection on, within half a minute, or at once after \
             `systemctl reload keepgate`",
            escaped(by),
            count(files, "entry", "entries"),
            paths(&runtime),
            models(&runtime)
        )
    })?;
    Ok(Exit::Ok)
}

pub(super) fn diff(app: &App, name: &str) -> Result<Exit> {
    let (plane, runtime) = configured(app, name)?;
    let lock = Lock::read(&app.paths.agents_lock())?;
    let pin = lock.pin(&plane, name).ok_or_else(|| {
        Error::of(Kind::Usage, format!("agent `{name}` was not pinned"))
            .hint(format!("`keepgate agent pin {name} --by NAME`"))
    })?;
    let now = measure(&runtime, &[], geteuid().as_raw())?;
    let kept = kept(&app.paths.agent_entries(&plane, name));
    let differences = pin.compare(&runtime, &now, &kept);
    let value = json!({"plane": plane, "agent": name, "differences": differences});
    app.screen
        .answer(&value, |_| match differences.as_slice() {
            [] => format!("agent {name} of plane {plane} is what was pinned"),
            some => some.iter().map(shown).collect(),
        })?;
    Ok(match differences.is_empty() {
        true => Exit::Ok,
        false => Exit::Tampered,
    })
}

/// The plane, and what the agent is made of there.
fn configured(app: &App, name: &str) -> Result<(String, Runtime)> {
    let plane = app.plane()?;
    let mut config = Config::load(&app.paths.config())?;
    let agent = config
        .planes
        .get_mut(&plane)
        .and_then(|plane| plane.agents.remove(name));
    let runtime = agent.and_then(|agent| agent.runtime).ok_or_else(|| {
        let what =
            format!("it is not configured what agent `{name}` of plane `{plane}` is made of");
        Error::of(Kind::Usage, what).hint(format!(
            "add `[planes.{plane}.agents.{name}.runtime]` with `paths = [\"/opt/{name}\"]` and \
             `models = []`, then start `keepgate serve` again"
        ))
    })?;
    Ok((plane, runtime))
}

fn paths(runtime: &Runtime) -> String {
    let shown = |path: &std::path::PathBuf| escaped(&Path::to_string_lossy(path));
    let all: Vec<String> = runtime.paths.iter().map(shown).collect();
    all.join(", ")
}

fn models(runtime: &Runtime) -> String {
    match runtime.models.as_slice() {
        [] => "none named".into(),
        some => some.join(", "),
    }
}
