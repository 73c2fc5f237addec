//! Claude Skills: a folder with instructions (`SKILL.md`) and scripts.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One script of a skill: a tool that runs in a jail of its own for each call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// Its path from the skill's folder on.
    pub script: PathBuf,
    /// What runs it: absolute path of a program, and arguments before the script. Nothing where the
    /// script runs by itself.
    pub with: Vec<String>,
    /// What it does, for agents.
    pub about: Option<String>,
}
