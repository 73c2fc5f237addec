//! What a call is judged on besides itself: the plane, its mode, its roots and ways out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::wire::admin::Mode;
use crate::wire::messages::HttpRule;

/// The keeper's own knowledge about a call's surroundings. Nothing in it comes from the agent.
#[derive(Debug, Clone, Copy)]
pub struct Ground<'a> {
    /// Name of the plane.
    pub plane: &'a str,
    /// The enrolled agent.
    pub agent: &'a str,
    /// Whether effects happen.
    pub mode: Mode,
    /// All roles share one uid.
    pub separation_one_user: bool,
    /// No person watches this plane: what needs one is refused.
    pub unattended: bool,
    /// The operator's roots by name.
    pub roots: &'a BTreeMap<String, RootGround>,
    /// The ways out that `http.request` has.
    pub http: &'a [HttpRule],
}

/// One of the operator's roots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootGround {
    /// Absolute path.
    pub path: String,
    /// Agents may change what is in it.
    pub writable: bool,
    /// Filesystem uid for opening beneath it; nothing where it cannot be chosen.
    pub uid: Option<u32>,
    /// Filesystem gid for opening beneath it.
    pub gid: Option<u32>,
}
