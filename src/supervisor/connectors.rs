//! What a plane's connectors are at its start: what was approved, and whether everything on this
//! host still is what was looked at.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::catalog::connector::compare::{file_by_file, lent};
use crate::catalog::connector::tree::{Lent, Measured};
use crate::catalog::connector::{Difference, Launch, Lock, Pin, Tree, digest};
use crate::catalog::runtime::kept;
use crate::config::{Paths, Plane};
use crate::error::Result;
use crate::keeper::{Connected, Trouble};
use crate::wire::manifest::Manifest;
use crate::wire::text::escaped;

/// What a plane's connectors are.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// All of them.
    pub(super) connected: Vec<Connected>,
    /// The jails of those that can be started.
    pub(super) manifests: Vec<Manifest>,
    /// What each of these jails' programs are, by its name.
    pub(super) pins: BTreeMap<String, Vec<Tree>>,
}

/// The connectors of a plane.
pub(super) fn of(plane: &Plane, paths: &Paths) -> Result<Found> {
    let mut found = Found::default();
    if plane.connectors.is_empty() {
        return Ok(found);
    }
    let mut lock = Lock::read(&paths.connectors_lock())?;
    for (name, used) in &plane.connectors {
        let pin = lock.connectors.remove(name);
        let trouble = match &pin {
            None => Some(unapproved(name, paths)),
            Some(pin) => trouble(name, pin, paths).or_else(|| misnamed(name, pin, plane)),
        };
        if let (Some(pin), None) = (&pin, &trouble)
            && let Some(jail) = pin.connector.launch.jail()
        {
            found.manifests.push(jail.clone());
            found.pins.insert(jail.name.clone(), pin.files.clone());
        }
        found.connected.push(Connected {
            name: name.clone(),
            agents: used.agents.clone(),
            prefix: used.prefix,
            tools: used.tools.clone(),
            calls_per_minute: used.calls_per_minute,
            limits: used.limits.clone(),
            pin,
            trouble,
        });
    }
    Ok(found)
}

/// A tool that the configuration names and the connector does not have: a limit or a list that is
/// about nothing is a mistake, and what it was meant for would go without.
fn misnamed(name: &str, pin: &Pin, plane: &Plane) -> Option<Trouble> {
    let used = plane.connectors.get(name)?;
    let own = plane
        .agents
        .values()
        .filter_map(|agent| agent.connectors.get(name));
    let mut named = used.limits.keys();
    let mut listed = used.tools.iter().chain(own).flatten();
    let unknown = |tool: &&String| !pin.tools.contains_key(*tool);
    let tool = named.find(unknown).or_else(|| listed.find(unknown))?;
    Some(Trouble {
        why: format!(
            "the configuration names a tool `{}` that connector `{name}` does not have",
            escaped(tool)
        ),
        hint: format!(
            "`keepgate connector show {name}` lists its tools; correct `tools` or `limits` of the \
             plane, then start `keepgate serve` again"
        ),
        changes: Vec::new(),
    })
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

/// What is not as it was approved, or is missing. What is changed is quarantined; what is missing
/// cannot be used until it is back, and then is compared again.
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
            Ok(measured) => now.push(measured),
            // Nothing is there that could be another thing: what comes back is measured again.
            Err(_) if !there(&tree.path) => {
                let path = escaped(&tree.path.to_string_lossy());
                return Some(Trouble {
                    why: format!("connector `{name}`: `{path}`, which is pinned, is not there"),
                    hint: "put it back as it was approved, then `systemctl reload keepgate`".into(),
                    changes: Vec::new(),
                });
            }
            Err(error) => {
                return Some(Trouble {
                    why: format!("connector `{name}`: {}", error.message()),
                    hint: approve(),
                    changes: vec![Value::from(tree.path.to_string_lossy())],
                });
            }
        }
    }
    if let Some(trouble) = found(&file_by_file(&pin.files, &now, &vetted(name, paths))) {
        return Some(trouble);
    }
    let own = nix::unistd::geteuid().as_raw();
    let others = now.iter().find_map(|tree| tree.lent_to_others(own));
    if let Some(Lent { path, why }) = others {
        let told = lent(&path, &why).to_string();
        return Some(Trouble {
            why: format!("connector `{name}` may be changed by others at any time: {told}, {why}"),
            hint: "`chown -R root` it and `chmod -R go-w` it, then vet and approve it again".into(),
            changes: Vec::new(),
        });
    }
    let jail = pin.connector.launch.jail()?;
    let shown = |tree: &Tree| {
        let mut all = jail.ro.iter().chain(&jail.rw);
        all.any(|path| tree.path.starts_with(path))
    };
    if let Some(tree) = pin.files.iter().find(|tree| !shown(tree)) {
        let path = escaped(&tree.path.to_string_lossy());
        return Some(Trouble {
            why: format!(
                "connector `{name}` pins `{path}`, which its jail does not show as a whole"
            ),
            hint: "name it in `ro` of `[jail]`, or what is shown of it in `files`; then vet and \
                   approve again"
                .into(),
            changes: Vec::new(),
        });
    }
    let missing = jail.ro.iter().chain(&jail.rw).find(|path| !there(path));
    let why = match (&pin.connector.launch, missing) {
        (_, Some(missing)) => format!(
            "connector `{name}`: its jail shows `{}`, which is not there",
            escaped(&missing.to_string_lossy())
        ),
        (Launch::Stdio { program, .. }, None) if !there(program) => format!(
            "connector `{name}`: its program `{}` is not there",
            escaped(&program.to_string_lossy())
        ),
        (Launch::Stdio { .. } | Launch::Remote { .. } | Launch::Skill { .. }, None) => return None,
    };
    Some(Trouble {
        why,
        hint:
            "put it back and `systemctl reload keepgate`; or take it out of the manifest, vet and \
               approve again"
                .into(),
        changes: Vec::new(),
    })
}

/// The entries as vetting saw them: to tell what changed, never to decide whether something did.
fn vetted(name: &str, paths: &Paths) -> Vec<Measured> {
    kept(&paths.connector_state(name).join("files.json"))
}

fn there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn value(difference: &Difference) -> Value {
    serde_json::to_value(difference).unwrap_or_else(|_| difference.to_string().into())
}
