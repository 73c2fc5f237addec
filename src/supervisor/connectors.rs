//! What a plane's connectors are at its start: what was approved, and whether everything on this
//! host still is what was looked at.

use std::path::Path;

use serde_json::Value;

use crate::catalog::connector::tree::Measured;
use crate::catalog::connector::{Difference, Lock, Pin, digest};
use crate::config::{Paths, Plane};
use crate::error::Result;
use crate::keeper::{Connected, Trouble};
use crate::wire::manifest::Manifest;

/// The connectors of a plane, and the manifests of those that can be started.
pub(super) fn of(plane: &Plane, paths: &Paths) -> Result<(Vec<Connected>, Vec<Manifest>)> {
    if plane.connectors.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let mut lock = Lock::read(&paths.connectors_lock())?;
    let mut connected = Vec::new();
    let mut manifests = Vec::new();
    for (name, used) in &plane.connectors {
        let pin = lock.connectors.remove(name);
        let trouble = match &pin {
            None => Some(unapproved(name, paths)),
            Some(pin) => trouble(name, pin, paths),
        };
        let jail = pin.as_ref().and_then(|pin| pin.connector.launch.jail());
        if let Some(jail) = jail.filter(|_| trouble.is_none()) {
            manifests.push(jail.clone());
        }
        connected.push(Connected {
            name: name.clone(),
            agents: used.agents.clone(),
            prefix: used.prefix,
            calls_per_minute: used.calls_per_minute,
            pin,
            trouble,
        });
    }
    Ok((connected, manifests))
}

fn unapproved(name: &str, paths: &Paths) -> Trouble {
    let known = paths.connector(name).exists();
    Trouble {
        why: match known {
            true => format!("connector `{name}` was not approved"),
            false => format!("there is no connector `{name}`"),
        },
        hint: match known {
            true => {
                format!("`keepgate connector vet {name}`, then `keepgate connector approve {name}`")
            }
            false => "`keepgate connector import --help`, or take it out of the plane".into(),
        },
        changes: Vec::new(),
    }
}

/// What is not as it was approved. A path that a jail would not find is told here: in the jailer it
/// would stop every other jail too.
fn trouble(name: &str, pin: &Pin, paths: &Paths) -> Option<Trouble> {
    let approve = || {
        format!(
            "`keepgate connector diff {name}` shows it; vet and approve it again, or restore it"
        )
    };
    let found = |differences: &[Difference]| {
        let first = differences.first().map(ToString::to_string)?;
        Some(Trouble {
            why: format!("connector `{name}` is not what was approved: {first}"),
            hint: approve(),
            changes: differences.iter().map(value).collect(),
        })
    };
    let file = paths.connector(name);
    let manifest = match std::fs::read(&file) {
        Ok(bytes) => pin.compare_manifest(&digest::sha256(&bytes)),
        Err(error) => {
            return Some(Trouble {
                why: format!("connector `{name}`: read `{}`: {error}", file.display()),
                hint: approve(),
                changes: Vec::new(),
            });
        }
    };
    if let Some(trouble) = manifest.and_then(|difference| found(&[difference])) {
        return Some(trouble);
    }
    let mut now = Vec::new();
    for tree in &pin.files {
        match Measured::read(&tree.path) {
            Ok(measured) => now.push(measured.tree()),
            Err(error) => {
                return Some(Trouble {
                    why: format!("connector `{name}`: {}", error.message()),
                    hint: approve(),
                    changes: vec![Value::from(tree.path.to_string_lossy())],
                });
            }
        }
    }
    if let Some(trouble) = found(&pin.compare_files(&now)) {
        return Some(trouble);
    }
    let jail = pin.connector.launch.jail()?;
    let missing = jail.ro.iter().chain(&jail.rw).find(|path| !there(path))?;
    Some(Trouble {
        why: format!(
            "connector `{name}`: its jail shows `{}`, which is not there",
            missing.display()
        ),
        hint: "make it, or take it out of the manifest, vet and approve again".into(),
        changes: Vec::new(),
    })
}

fn there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn value(difference: &Difference) -> Value {
    serde_json::to_value(difference).unwrap_or_else(|_| difference.to_string().into())
}
