//! What a keeper needs to know of a server to run it: made from an approved pin, and by nothing an
//! agent or a server says.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::wire::manifest::Manifest;
use crate::wire::messages::{Passing, Remote, UpstreamLimits};

/// A server as an operator approved it.
#[derive(Debug, Clone)]
pub struct Server {
    /// The connector's name.
    pub name: String,
    /// Digest of its pin, lower-case hex: a server of another pin is another server.
    pub digest: String,
    /// Names the set of secrets it works with; empty for none. One process never has two sets.
    pub secrets: String,
    /// How it is reached.
    pub launch: Launch,
    /// How much it may do.
    pub limits: UpstreamLimits,
    /// What it may ask of the agent.
    pub allow: Passing,
    /// How long it stays without a question.
    pub idle: Duration,
    /// Its tools: by name the SHA-256 of the JCS of the whole object, lower-case hex.
    pub tools: BTreeMap<String, String>,
    /// What it lists beside tools; nothing where that is not compared.
    pub beside: Option<Beside>,
}

/// Digests of what a server lists beside its tools, as `catalog::connector::digest::set` makes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beside {
    /// Of its prompts.
    pub prompts_sha256: String,
    /// Of its resources and their templates; of the templates alone where `data`.
    pub resources_sha256: String,
    /// Its resources are data, whose list is not compared.
    pub data: bool,
}

/// How a server is reached.
#[derive(Debug, Clone)]
pub enum Launch {
    /// A program in a foreign jail that lasts.
    Jailed {
        /// One of the manifests of the jailer's set-up.
        manifest: Box<Manifest>,
        /// Absolute path of the program inside of the jail.
        program: String,
        /// Arguments, `argv[0]` first.
        argv: Vec<String>,
    },
    /// A server somewhere else.
    Remote(Remote),
}

impl Server {
    /// One question at a time: while a jail's proxy serves, what leaves has to belong to one ticket.
    pub(super) fn takes_turns(&self) -> bool {
        match &self.launch {
            Launch::Jailed { manifest, .. } => !manifest.net.is_empty(),
            Launch::Remote(_) => false,
        }
    }
}
