//! Between supervisor and roles, and what is known of agents.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Role;
use crate::error::Error;
use crate::time::Timestamp;

/// Supervisor to any role, on its control descriptor.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Control {
    /// First message: everything the role may know. Blob: the role's set-up as JSON.
    Setup,
    /// One end of a socket pair to a peer role comes with it, at start and after each restart of
    /// either side. The old link, if any, is dead.
    Link {
        /// Who holds the other end.
        peer: Role,
    },
    /// To front: a listening unix socket comes with it; every connection on it is `agent`.
    Listen {
        /// The enrolled agent.
        agent: String,
        /// The only uid that may connect (`SO_PEERCRED`).
        uid: u32,
    },
    /// To front: whoever proves this over HTTP is `agent`.
    Admit {
        /// The enrolled agent.
        agent: String,
        /// How it proves who it is; never a uid.
        proof: Proof,
    },
    /// To front: a listening TCP socket comes with it. Blob: a [`Door`] as JSON.
    Door,
    /// To front: close the listener and the connections of `agent`, and forget its proof.
    Unlisten {
        /// The revoked agent.
        agent: String,
    },
    /// To keeper: the agents that can connect now.
    Listening {
        /// Their names.
        agents: Vec<String>,
    },
    /// To keeper: what an agent of this host is. Blob: a [`Looked`] as JSON.
    Looked {
        /// Which.
        agent: String,
    },
    /// Stop in order: no new calls, finish or end those in flight.
    Stop,
}

/// Any role to the supervisor.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// Set-up and confinement are complete; the role serves.
    Ready,
    /// The role refuses to serve: it exits after this, or stays and refuses every order.
    Unfit {
        /// Why, for `status` and the operator.
        why: String,
        /// What mends it, where that is known.
        hint: Option<String>,
    },
    /// From jailer, before it is ready: it serves, but for these foreign manifests. A jailer that is
    /// started again looks at them anew.
    Partly {
        /// Their names; the first of them, where they are very many.
        manifests: Vec<String>,
    },
    /// From front: from now on whoever proves it is this agent ([`Control::Admit`] was obeyed).
    Admitted {
        /// Its name.
        agent: String,
    },
    /// From keeper: agents enrolled at this moment. The supervisor makes the missing listeners and
    /// removes the others.
    Agents {
        /// Name and proof of each.
        agents: Vec<(String, Proof)>,
    },
    /// From keeper: look at what this agent is made of; [`Control::Looked`] answers where its
    /// configuration says what that is.
    Look {
        /// Its name.
        agent: String,
    },
}

/// Longest [`Looked`] as JSON, in bytes.
pub const LOOKED_MAX: usize = 64 << 10;

/// What an agent of this host is, compared with what was pinned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Looked {
    /// What was pinned; nothing where nothing was.
    pub pinned: Option<PinnedRuntime>,
    /// Why it is not that; nothing where it is.
    pub why: Option<String>,
    /// What mends it.
    pub hint: Option<String>,
    /// What changed, as far as it is told.
    pub changes: Vec<Value>,
}

/// What was pinned of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinnedRuntime {
    /// Names this pin.
    pub digest: String,
    /// Who pinned it.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// The models it asks, by name.
    pub models: Vec<String>,
}

impl Looked {
    /// It is what was pinned.
    pub fn same(pinned: PinnedRuntime) -> Self {
        Self {
            pinned: Some(pinned),
            why: None,
            hint: None,
            changes: Vec::new(),
        }
    }

    /// It is not, or that cannot be known.
    pub fn unlike(pinned: Option<PinnedRuntime>, error: Error, changes: Vec<Value>) -> Self {
        Self {
            pinned,
            why: Some(error.message()),
            hint: error.hint_text().map(str::to_owned),
            changes,
        }
    }
}

/// How an agent proves who it is. One agent has one proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// It runs as this uid (`SO_PEERCRED` of its own unix socket).
    Uid(u32),
    /// It shows a token over HTTP, on this host.
    Token(Token),
    /// It shows a certificate over TLS, and signs with its key.
    Certificate(Certificate),
}

impl Proof {
    /// The word for its kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Uid(_) => "uid",
            Self::Token(_) => "token",
            Self::Certificate(_) => "certificate",
        }
    }
}

/// What is known of an agent's token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// SHA-256 of its text, lower-case hex.
    pub sha256: String,
}

/// What is known of an agent's certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// SHA-256 of its DER, lower-case hex.
    pub sha256: String,
    /// Not valid before this time, in seconds since 1970.
    pub from: i64,
    /// Not valid after this time, in seconds since 1970.
    pub until: i64,
}

/// Most [`Door`]s of a plane.
pub const DOORS_MAX: usize = 8;
/// Longest [`Door`] as JSON, in bytes: a chain of certificates, names and a key.
pub const DOOR_MAX: usize = 256 << 10;

/// A TCP socket on which agents speak MCP over HTTP, and under which names it is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Door {
    /// Its name in the configuration.
    pub name: String,
    /// What `Host` may say, in lower case; a name without a port stands for every port.
    pub hosts: Vec<String>,
    /// What `Origin` may say, in lower case.
    pub origins: Vec<String>,
    /// Certificates are asked for in place of tokens, and these are its own.
    pub tls: Option<DoorTls>,
}

/// A door's own certificate and key.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DoorTls {
    /// Its chain of certificates, PEM.
    pub chain: String,
    /// Its private key, PEM.
    pub key: String,
}

impl std::fmt::Debug for DoorTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DoorTls(..)")
    }
}
