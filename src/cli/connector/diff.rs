//! `keepgate connector diff`: what was approved, and what is there now.

use serde_json::json;

use super::files::read_entries;
use super::now::{Now, now, pin};
use super::vet::{Seen, see};
use crate::catalog::connector::Pin;
use crate::catalog::connector::compare::{Change, Difference, Member, file_by_file};
use crate::cli::app::App;
use crate::cli::exit::Exit;
use crate::error::{Error, Kind, Result};

pub(super) fn run(app: &App, name: &str) -> Result<Exit> {
    let pin = pin(app, name)?.ok_or_else(|| {
        Error::of(Kind::Usage, format!("connector `{name}` was not approved"))
            .hint(format!("`keepgate connector vet {name}`, then `approve`"))
    })?;
    let now = now(app, name)?;
    let mut differences = at_rest(app, &pin, &now);
    if differences.is_empty() {
        // Only what was approved is started, if only to ask it.
        differences = listed(&pin, &see(&now.connector, 1)?);
    } else {
        app.screen
            .note("files or manifest differ, so the server was not started to be asked");
    }
    let value = json!({"connector": name, "differences": differences});
    app.screen
        .answer(&value, |_| match differences.as_slice() {
            [] => format!("connector {name} is what was approved"),
            some => some.iter().map(shown).collect(),
        })?;
    Ok(match differences.is_empty() {
        true => Exit::Ok,
        false => Exit::Tampered,
    })
}

/// What differs without anything being started.
fn at_rest(app: &App, pin: &Pin, now: &Now) -> Vec<Difference> {
    let manifest = pin.compare_manifest(&now.manifest_sha256);
    let mut all: Vec<Difference> = manifest.into_iter().collect();
    all.append(&mut files(app, pin, now));
    all
}

fn listed(pin: &Pin, seen: &Seen) -> Vec<Difference> {
    let mut all = pin.compare_tools(&seen.tools);
    all.append(&mut pin.compare_prompts(&seen.prompts));
    all.append(&mut pin.compare_resources(&seen.resources));
    all
}

/// File by file where the list that vetting kept is still the one that was approved.
fn files(app: &App, pin: &Pin, now: &Now) -> Vec<Difference> {
    let kept = read_entries(app, &pin.connector.name);
    file_by_file(&pin.files, &now.measured, &kept)
}

/// A difference with what was there and what is.
pub(in crate::cli) fn shown(difference: &Difference) -> String {
    let mut text = format!("{difference}\n");
    let Change::Changed(members) = &difference.change else {
        return text;
    };
    for Member { path, old, new } in members {
        text += &format!("  {path}\n");
        for (sign, value) in [("-", old), ("+", new)] {
            if let Some(value) = value {
                text += &format!("    {sign} {value}\n");
            }
        }
    }
    text
}
