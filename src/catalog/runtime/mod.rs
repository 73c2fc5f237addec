//! Agents' own programs. Where an agent runs on this host, its configuration can name what it is made
//! of: its trees of files (interpreter, packages, lockfiles, prompts) and the models it asks. An
//! operator pins that; what differs later takes the agent out of use until it is pinned anew.
//!
//! | file | content | written by |
//! |---|---|---|
//! | `CONFIG/agents.lock` | what was pinned of each agent: [`Lock`] | `agent pin` |
//! | `CONFIG/agents.pins/PLANE/AGENT.json` | every entry of the pinned trees, to tell what changed | the same |
//!
//! Models are names, and nothing here can see what a program asks: they say what the operator has
//! looked at, and are recorded with each run.
#![forbid(unsafe_code)]

pub mod lock;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::connector::compare::{self, Change, Difference, Subject};
use super::connector::report::FILE_MAX;
use super::connector::tree::{Lent, Measured, Top};
use super::connector::{Tree, digest};
use crate::error::{Error, Kind, Result};
use crate::time::Timestamp;

pub use lock::Lock;

/// What an agent is made of, as the configuration says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runtime {
    /// Its trees: absolute paths of directories and files.
    pub paths: Vec<PathBuf>,
    /// The models it asks, by name.
    pub models: Vec<String>,
}

/// What an operator pinned of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// Its trees.
    pub files: Vec<Tree>,
    /// The models it asks, by name.
    pub models: Vec<String>,
    /// Who pinned it, as the operator wrote.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

impl Pin {
    /// Pins what was measured.
    pub fn new(runtime: &Runtime, measured: &[Measured], by: &str, at: Timestamp) -> Self {
        Self {
            files: measured.iter().map(Measured::tree).collect(),
            models: runtime.models.clone(),
            by: by.into(),
            at,
        }
    }

    /// SHA-256 over all of it: names this pin in the log.
    pub fn digest(&self) -> String {
        let at = self.at.to_string();
        let paths = self.files.iter().map(|tree| tree.path.to_string_lossy());
        let paths: Vec<_> = paths.collect();
        let mut parts = vec![self.by.as_str(), &at];
        for (path, tree) in paths.iter().zip(&self.files) {
            parts.extend([path.as_ref(), &tree.sha256]);
        }
        parts.push("models");
        parts.extend(self.models.iter().map(String::as_str));
        digest::tagged("keepgate/v1/agent-pin", &parts)
    }

    /// What differs from what is there now, file by file where `kept` holds the entries that were
    /// pinned. Nothing means: exactly the same.
    pub fn compare(
        &self,
        runtime: &Runtime,
        now: &[Measured],
        kept: &[Measured],
    ) -> Vec<Difference> {
        let mut all = compare::file_by_file(&self.files, now, kept);
        let models = |from: &[String], others: &[String], change: &Change| {
            let missing = from.iter().filter(|model| !others.contains(model));
            let told = missing.map(|model| compare::named(Subject::Model, model, change.clone()));
            told.collect::<Vec<_>>()
        };
        all.extend(models(&self.models, &runtime.models, &Change::Removed));
        all.extend(models(&runtime.models, &self.models, &Change::Added));
        all
    }
}

/// The trees of a runtime as they are now; those that are known in `was` are read again only where
/// their stamps differ.
///
/// # Errors
/// As [`Measured::read`], and where others than root and the user `own` may change one: what is
/// looked at could be another thing a moment later.
pub fn measure(runtime: &Runtime, was: &[Measured], own: u32) -> Result<Vec<Measured>> {
    let mut all = Vec::new();
    for path in &runtime.paths {
        let known = was.iter().find(|one| one.path == *path);
        let now = match known {
            Some(known) => known.again(Top::Host),
            None => Measured::read(path),
        }?;
        if let Some(Lent { path, why }) = now.lent_to_others(own) {
            let told = compare::lent(&path, &why);
            return Err(Error::of(Kind::Denied, format!("{told}, {why}")).hint(
                "what an agent is made of belongs to root, and nobody else may write it: `chown -R \
                 root`, `chmod -R go-w`",
            ));
        }
        all.push(now);
    }
    Ok(all)
}

/// The entries that were pinned: to tell what changed, never to decide whether something did.
pub fn kept(path: &Path) -> Vec<Measured> {
    let short = path.metadata().is_ok_and(|meta| meta.len() <= FILE_MAX);
    let bytes = short.then(|| std::fs::read(path).ok()).flatten();
    bytes
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    type Pull = (fn(&Path, &mut Runtime), &'static str);

    fn runtime(dir: &Path) -> Runtime {
        fs::create_dir(dir.join("lib")).unwrap();
        fs::write(dir.join("lib/agent.py"), "print(1)\n").unwrap();
        fs::write(dir.join("uv.lock"), "mcp = 2\n").unwrap();
        for (path, mode) in [("lib", 0o755), ("lib/agent.py", 0o644), ("uv.lock", 0o644)] {
            fs::set_permissions(dir.join(path), fs::Permissions::from_mode(mode)).unwrap();
        }
        Runtime {
            paths: vec![dir.join("lib"), dir.join("uv.lock")],
            models: vec!["model-one".into()],
        }
    }

    #[test]
    fn any_change_of_what_an_agent_is_made_of_is_told_by_its_name() {
        let own = nix::unistd::geteuid().as_raw();
        let pulls: [Pull; 8] = [
            (
                |dir, _| fs::write(dir.join("lib/agent.py"), "print(2)\n").unwrap(),
                "agent.py` changed in content",
            ),
            (
                |dir, _| fs::write(dir.join("lib/json.py"), "").unwrap(),
                "json.py` was added",
            ),
            (
                |dir, _| fs::remove_file(dir.join("lib/agent.py")).unwrap(),
                "agent.py` was removed",
            ),
            (
                |dir, _| fs::write(dir.join("uv.lock"), "mcp = 3\n").unwrap(),
                "uv.lock` changed in content",
            ),
            (
                |dir, _| {
                    fs::set_permissions(
                        dir.join("lib/agent.py"),
                        fs::Permissions::from_mode(0o755),
                    )
                    .unwrap();
                },
                "agent.py` changed in mode",
            ),
            (
                |dir, _| symlink("/etc/passwd", dir.join("lib/x")).unwrap(),
                "x` was added",
            ),
            (
                |_, runtime| runtime.models = vec!["model-two".into()],
                "model `model-one` was removed",
            ),
            (
                |_, runtime| drop(runtime.paths.pop()),
                "uv.lock` was removed",
            ),
        ];
        for (pull, told) in pulls {
            let place = tempfile::tempdir().unwrap();
            let dir = place.path();
            let mut runtime = runtime(dir);
            let was = measure(&runtime, &[], own).unwrap();
            let pin = Pin::new(&runtime, &was, "alice", Timestamp::from_micros(5));
            let again = measure(&runtime, &was, own).unwrap();
            assert_eq!(pin.compare(&runtime, &again, &was), []);
            pull(dir, &mut runtime);
            let now = measure(&runtime, &was, own).unwrap();
            let all = pin.compare(&runtime, &now, &was);
            let found: Vec<String> = all.iter().map(ToString::to_string).collect();
            assert!(
                found.iter().any(|one| one.contains(told)),
                "{told}: {found:?}"
            );
            // Without the entries, the whole differs all the same.
            assert!(!pin.compare(&runtime, &now, &[]).is_empty(), "{told}");
        }
    }

    #[test]
    fn what_its_agent_could_write_cannot_be_pinned() {
        let place = tempfile::tempdir().unwrap();
        let runtime = runtime(place.path());
        let file = place.path().join("lib/agent.py");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
        let own = nix::unistd::geteuid().as_raw();
        let error = measure(&runtime, &[], own).unwrap_err();
        assert!(error.message().contains("others may write it"), "{error}");
    }
}
