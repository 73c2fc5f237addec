//! What the supervisor tells a keeper about its plane.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::audit::quota::{Limits, RunLimits};
use crate::catalog::connector::{Pin, Rates};
use crate::jail::confine::Confine;
use crate::policy::RootGround;
use crate::wire::messages::HttpRule;

/// Set-up of one keeper.
#[derive(Debug, Serialize, Deserialize)]
pub struct Setup {
    /// What it may touch.
    pub confine: Confine,
    /// Name of the plane.
    pub plane: String,
    /// Origin of the plane's log: `APPLIANCE/PLANE`.
    pub origin: String,
    /// The plane's state directory.
    pub state: PathBuf,
    /// `separate uids` or `one user`.
    pub separation: String,
    /// The uid that may use the admin socket, besides root.
    pub operator_uid: u32,
    /// The uids of all of Keepgate's roles, which no agent may have.
    pub role_uids: Vec<u32>,
    /// SHA-256 of the operator's token, lower-case hex; asked for where all roles share one uid.
    pub token_sha256: Option<String>,
    /// This install is a demonstration.
    pub demo: bool,
    /// No person watches the agents of this plane.
    pub unattended: bool,
    /// The operator's roots by name.
    pub roots: BTreeMap<String, RootGround>,
    /// The ways out that `http.request` has.
    pub http: Vec<HttpRule>,
    /// The connectors its agents use.
    #[serde(default)]
    pub connectors: Vec<Connected>,
    /// What single agents may use, by their names.
    #[serde(default)]
    pub agents: BTreeMap<String, Bounds>,
    /// What one run of each agent may use.
    #[serde(default)]
    pub run: RunLimits,
    /// How much each agent may have recorded.
    pub agent_quota: Limits,
    /// How much all agents together may have recorded.
    pub plane_quota: Limits,
    /// Degradations the operator accepts.
    pub accept: Vec<String>,
}

/// A connector that a plane's configuration names.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Connected {
    /// Its name.
    pub name: String,
    /// Agents that see its tools; `None` for all of the plane.
    pub agents: Option<BTreeSet<String>>,
    /// Names of its tools on the wire begin with its own.
    pub prefix: bool,
    /// Its tools that agents see, by the server's own names; `None` for all.
    pub tools: Option<BTreeSet<String>>,
    /// Calls a minute of each agent to it.
    pub calls_per_minute: u64,
    /// How often each agent may call single tools, by the server's own names.
    pub limits: BTreeMap<String, Rates>,
    /// What was approved; nothing where nothing was.
    pub pin: Option<Pin>,
    /// Why it cannot be used, as found at the start.
    pub trouble: Option<Trouble>,
}

/// What one agent may use, beside what every agent of its plane may.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// Calls a minute, of all tools.
    pub calls_per_minute: Option<u64>,
    /// What one run may use.
    pub run: RunLimits,
    /// Tools it sees, by connector; all that the connector shows where that is not named.
    pub connectors: BTreeMap<String, BTreeSet<String>>,
    /// It runs on this host, and what it is made of is pinned.
    #[serde(default)]
    pub pinned: bool,
}

/// Why a connector cannot be used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trouble {
    /// One sentence.
    pub why: String,
    /// What mends it.
    pub hint: String,
    /// What is not as it was approved, as `catalog::connector::compare` tells it; empty where
    /// nothing was compared. Something here quarantines the connector.
    pub changes: Vec<Value>,
}

impl Setup {
    /// All roles share one uid.
    pub fn one_user(&self) -> bool {
        self.separation == ONE_USER
    }
}

/// How `separation` says that all roles share one uid.
pub const ONE_USER: &str = "one user";
