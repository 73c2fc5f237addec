//! Connectors: pinned packages of tools that are not Keepgate's own. An operator writes (or imports)
//! a manifest, looks at what vetting found, and approves; the approval holds digests of everything
//! that was looked at, and what differs from it later does not run.
//!
//! | file | content | written by |
//! |---|---|---|
//! | `CONFIG/connectors/NAME.toml` | the manifest: [`Connector`] | import, the operator |
//! | `CONFIG/connectors.lock` | what was approved: a [`Pin`] for each connector | approve |
//! | `STATE/connectors/NAME/` | packages, their record, the last report | import, vet |
//!
//! A manifest is TOML and read strictly; see [`manifest`] for every key.
#![forbid(unsafe_code)]

pub mod bundle;
pub mod compare;
pub mod composio;
pub mod digest;
pub mod installed;
pub mod listing;
pub mod lock;
pub mod manifest;
pub mod means;
pub mod report;
pub mod scan;
pub mod secret;
pub mod skill;
mod text;
pub mod tree;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub use crate::call::declared::{Declared, Label, Parameter};
pub use crate::call::rates::Rates;
pub use compare::{Change, Difference};
pub use lock::Lock;
pub use secret::{Placing, Slot};
pub use text::toml;
pub use tree::Tree;

use crate::time::Timestamp;
use crate::wire::manifest::Manifest;
pub use crate::wire::messages::Passing;

/// Most connectors of one install.
pub const CONNECTORS_MAX: usize = 256;
/// Most tools of one connector, and most prompts, resources and templates.
pub const LISTED_MAX: usize = 512;
/// Most tools a manifest declares, secrets, and parameters of one tool.
pub const MANY: usize = 512;

/// A connector, as its manifest says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connector {
    /// Its name here: first part of its tools' names.
    pub name: String,
    /// What people call it; its name where nothing is said.
    pub title: String,
    /// Version, as its publisher counts.
    pub version: Option<String>,
    /// Who publishes it: the name in a registry, a company.
    pub publisher: Option<String>,
    /// The package it was installed from.
    pub package: Option<Package>,
    /// How it is started, or where it is.
    pub launch: Launch,
    /// Secret slots by name.
    pub secrets: BTreeMap<String, Slot>,
    /// Declared tools by the names the server gives them. Ask [`Connector::declared`].
    pub tools: BTreeMap<String, Declared>,
    /// How much of it there may be.
    pub limits: ConnectorLimits,
    /// What the server may ask of an agent's client.
    pub allow: Passing,
    /// What its resources are.
    #[serde(default)]
    pub resources: Resources,
}

/// What the resources of a connector are. Templates of resources are pinned always.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resources {
    /// A part of the connector: what it lists is what was approved, at each start.
    #[default]
    Pinned,
    /// Data that comes and goes with its use, such as notes or files of a user: the list is not
    /// compared and not shown, and each is read by its URI, like any output that nobody vouches for.
    Data,
}

impl Resources {
    /// The word in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pinned => "pinned",
            Self::Data => "data",
        }
    }
}

/// A published package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// Where it was published.
    pub registry: Registry,
    /// Its name there.
    pub identifier: String,
    /// Its version, exactly.
    pub version: String,
    /// SHA-256 of the published archive, hexadecimal, where the publisher tells it.
    pub sha256: Option<String>,
}

/// A kind of package registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Registry {
    /// Packages of Node.
    Npm,
    /// Packages of Python.
    Pypi,
}

impl Registry {
    /// The word in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Npm => "npm",
            Self::Pypi => "pypi",
        }
    }
}

/// How a connector comes to be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Launch {
    /// An MCP server on standard input and output, in a foreign jail.
    Stdio {
        /// Absolute path of the program, as the jail sees it.
        program: PathBuf,
        /// Its name and arguments: `argv[0]` is the program's name.
        argv: Vec<String>,
        /// Files and directories that are pinned: what it executes, beyond the operating system's.
        files: Vec<PathBuf>,
        /// Its jail.
        jail: Manifest,
    },
    /// An MCP server elsewhere, over streamable HTTP.
    Remote {
        /// `https://…`, or `http://…` to a private network.
        url: String,
        /// Networks (CIDR) its address may be in although they are private.
        private: Vec<String>,
        /// SHA-256 of the server's certificate (DER), hexadecimal, where that is pinned.
        pin_sha256: Option<String>,
        /// Toolkits of Composio that all its tools belong to; see [`composio`].
        #[serde(default)]
        toolkits: Vec<String>,
    },
    /// A Claude Skill: a folder with instructions and scripts, each script a tool in a jail of its own
    /// for each call. See [`skill`].
    Skill {
        /// The folder, absolute.
        folder: PathBuf,
        /// Scripts by the name of their tool.
        scripts: BTreeMap<String, skill::Script>,
        /// The jail of each script.
        jail: Manifest,
    },
}

impl Launch {
    /// The word in reports.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Stdio { .. } => "stdio",
            Self::Remote { .. } => "remote",
            Self::Skill { .. } => "skill",
        }
    }

    /// The jail, where there is one.
    pub fn jail(&self) -> Option<&Manifest> {
        match self {
            Self::Stdio { jail, .. } | Self::Skill { jail, .. } => Some(jail),
            Self::Remote { .. } => None,
        }
    }

    /// What is pinned on this host.
    pub fn files(&self) -> Vec<&Path> {
        match self {
            Self::Stdio { files, .. } => files.iter().map(PathBuf::as_path).collect(),
            Self::Skill { folder, .. } => vec![folder],
            Self::Remote { .. } => Vec::new(),
        }
    }
}

/// How much of a connector there may be. All limits are of one agent's use of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectorLimits {
    /// Calls in any minute.
    pub calls_per_minute: u32,
    /// Calls at a time.
    pub calls_at_a_time: u32,
    /// Bytes of one result.
    pub result: u64,
    /// Milliseconds of one call.
    pub call_ms: u64,
    /// Milliseconds from its start until it has listed its tools.
    pub start_ms: u64,
    /// Milliseconds without a call after which a server is ended.
    pub idle_ms: u64,
    /// Notifications in any minute.
    pub notices_per_minute: u32,
}

impl Default for ConnectorLimits {
    fn default() -> Self {
        Self {
            calls_per_minute: 600,
            calls_at_a_time: 8,
            result: 1 << 20,
            call_ms: 60_000,
            start_ms: 30_000,
            idle_ms: 600_000,
            notices_per_minute: 600,
        }
    }
}

impl Connector {
    /// What is known of its tool `name`: the worst where nothing is declared.
    pub fn declared(&self, name: &str) -> Declared {
        self.tools.get(name).cloned().unwrap_or_default()
    }
}

/// What an operator approved: all a keeper needs to run a connector and to notice a change.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// The manifest as it was read.
    pub connector: Connector,
    /// SHA-256 of the manifest file's bytes, hexadecimal.
    pub manifest_sha256: String,
    /// What it executes.
    pub files: Vec<Tree>,
    /// By the server's own name: the complete tool object, byte for byte as the server sent it.
    pub tools: BTreeMap<String, Box<RawValue>>,
    /// SHA-256 of the canonical form (RFC 8785) of each, hexadecimal.
    pub tool_digests: BTreeMap<String, String>,
    /// SHA-256 over all of [`Pin::tool_digests`]; see [`digest::set`].
    pub set_sha256: String,
    /// Prompts as they were listed, by name; what they say is not pinned.
    pub prompts: BTreeMap<String, Box<RawValue>>,
    /// [`digest::set`] over them.
    pub prompts_sha256: String,
    /// Resources and their templates as they were listed, by URI; their content is not pinned.
    pub resources: BTreeMap<String, Box<RawValue>>,
    /// [`digest::set`] over them.
    pub resources_sha256: String,
    /// Who approved it.
    pub approved: Approval,
}

/// Who approved what, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// The person, as the operator wrote it.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// SHA-256 of the report that was approved, hexadecimal.
    pub report_sha256: String,
    /// Findings that were accepted by name.
    pub accepted: Vec<String>,
}

impl Pin {
    /// Resources and templates that are compared and shown: only the templates where its resources
    /// are data.
    pub fn listed_resources(&self) -> BTreeMap<String, Box<RawValue>> {
        let data = self.connector.resources == Resources::Data;
        let all = self.resources.iter();
        let kept = all.filter(|(_, raw)| !data || digest::is_template(raw));
        kept.map(|(name, raw)| (name.clone(), raw.clone()))
            .collect()
    }

    /// Whether it has any resources that can be read.
    pub fn has_resources(&self) -> bool {
        self.connector.resources == Resources::Data || !self.resources.is_empty()
    }

    /// SHA-256 over everything approved, the approval left out: names this pin in pools and logs.
    pub fn digest(&self) -> String {
        let mut parts = vec![
            self.manifest_sha256.as_str(),
            &self.set_sha256,
            &self.prompts_sha256,
            &self.resources_sha256,
        ];
        parts.extend(self.files.iter().map(|tree| tree.sha256.as_str()));
        digest::tagged("keepgate/v1/connector-pin", &parts)
    }
}
