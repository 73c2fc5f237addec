//! The manifest that the options of `jail run` ask for.

use std::path::{Path, PathBuf};

use crate::cli::app::App;
use crate::cli::args::JailRunArgs;
use crate::config::Paths;
use crate::error::{Context, Error, Kind, Result};
use crate::jail::profile::{Draft, Host, Place, as_written};
use crate::wire::manifest::Manifest;
use crate::wire::text::escaped;

/// A profile by name, or else by file.
pub(super) fn draft(profile: &Path) -> Result<Draft> {
    let builtin = profile.to_str().and_then(Draft::builtin);
    builtin.map_or_else(|| Draft::load(profile), Ok)
}

/// This host, with the system's install and the one that is meant kept out of sight.
pub(in crate::cli) fn host(app: &App, lenient: bool) -> Host {
    let mut own = Paths::system().own();
    own.append(&mut app.paths.own());
    own.dedup();
    Host::here(own, lenient)
}

/// The manifest, as this host allows it.
pub(super) fn manifest(app: &App, options: &JailRunArgs) -> Result<Manifest> {
    let mut draft = draft(&options.profile)?;
    // First: what is shown read-only may lie within.
    for path in &options.rw {
        let place = option("--rw", path);
        draft.rw(&straight(path, &place)?, &place)?;
    }
    for path in &options.ro {
        let place = option("--ro", path);
        // The last part may be a link, which is shown as one; the way to it may not.
        let path = kept(&draft, path, &place)?;
        if !draft.shows(&path) {
            draft.ro(&path, &place)?;
        }
    }
    if let Some(path) = &options.chdir {
        let place = option("--chdir", path);
        draft.dir(&beside(path, &place)?, &place)?;
    } else if let Some(here) = here(options) {
        draft.dir_if_none(&here, &Place::option("--chdir", &here.to_string_lossy()))?;
    }
    for text in &options.net {
        draft.net(text, &Place::option("--net", text))?;
    }
    for text in &options.env {
        env(&mut draft, text)?;
    }
    if options.loopback {
        draft.loopback(true, &Place::option("--loopback", ""))?;
    }
    for (name, option, value) in [
        ("wall_s", "--wall", options.wall),
        ("memory_mib", "--memory", options.memory),
        ("processes", "--processes", options.processes),
    ] {
        if let Some(value) = value {
            draft.limit(name, value, &Place::option(option, &value.to_string()))?;
        }
    }
    draft.check(&host(app, !options.strict))
}

/// The working directory, where an option shows it or something in it: relative names mean the same
/// inside then.
fn here(options: &JailRunArgs) -> Option<PathBuf> {
    let here = std::env::current_dir().ok()?;
    let mut shown = options.rw.iter().chain(&options.ro);
    let seen = |path: &PathBuf| {
        let real = path.canonicalize();
        real.is_ok_and(|path| here.starts_with(&path) || path.starts_with(&here))
    };
    // A host's root directory is nothing that a person works in.
    let works = here.parent().is_some() && shown.any(seen);
    works.then_some(here)
}

/// A value of the user's own is passed on only where it is named, and never shown.
fn env(draft: &mut Draft, text: &str) -> Result<()> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, value.to_owned()),
        None if text.is_empty() => ("", String::new()),
        None => {
            let place = Place::option("--env", text);
            let missing = || {
                let what = format!("{place}: there is no such variable here, or it is not UTF-8");
                Error::of(Kind::Usage, what)
                    .hint(format!("give it a value: `--env {}=VALUE`", escaped(text)))
            };
            (text, std::env::var(text).map_err(|_| missing())?)
        }
    };
    draft.env(name, &value, &Place::option("--env", name))
}

fn option(name: &str, path: &Path) -> Place {
    Place::option(name, &path.to_string_lossy())
}

/// Absolute and without links.
fn whole(path: &Path, place: &Place) -> Result<PathBuf> {
    path.canonicalize()
        .context(|| format!("{place}: find it"))
        .map_err(|error| {
            error
                .kind_is(Kind::Usage)
                .hint("make it, or take the option away")
        })
}

/// Absolute, and without links as it was written: what may be changed is not where a link leads that
/// somebody else may have made.
fn straight(path: &Path, place: &Place) -> Result<PathBuf> {
    let real = whole(path, place)?;
    let written = as_written(path).context(|| format!("{place}: find it"))?;
    match written == real {
        true => Ok(real),
        false => Err(linked(&real, place)),
    }
}

/// As [`beside`], and without links as it was written where it lies in what may be changed: a jail
/// that can put another directory where the link is has nothing kept from it.
fn kept(draft: &Draft, path: &Path, place: &Place) -> Result<PathBuf> {
    let real = beside(path, place)?;
    let written = as_written(path).context(|| format!("{place}: find it"))?;
    if written != real && (draft.changes(&written) || draft.changes(&real)) {
        return Err(linked(&real, place));
    }
    Ok(real)
}

fn linked(real: &Path, place: &Place) -> Error {
    let real = escaped(&real.to_string_lossy()).to_string();
    let what = format!("{place}: goes through a symbolic link");
    Error::of(Kind::Usage, what).hint(format!("write where it leads: `{real}`"))
}

/// Absolute, and without links but the last part.
fn beside(path: &Path, place: &Place) -> Result<PathBuf> {
    match (path.parent(), path.file_name()) {
        (Some(above), Some(name)) => {
            let above = if above == Path::new("") {
                Path::new(".")
            } else {
                above
            };
            Ok(whole(above, place)?.join(name))
        }
        // `/`, `.` and what ends in `..`.
        _ => whole(path, place),
    }
}
