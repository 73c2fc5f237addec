//! What vetting found: the thing a person reads before saying yes. Everything in it that came from
//! outside is escaped, except the listed objects themselves.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::digest::{Listing, sha256};
use super::tree::Tree;
use crate::error::{Context, Error, Kind, Result};
use crate::sys::file::replace_durably;
use crate::time::Timestamp;
use crate::wire::text::escaped;

/// Longest report, in bytes.
pub const FILE_MAX: u64 = 64 << 20;
/// The form that is written.
pub const VERSION: u32 = 1;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Low,
    /// Worth a look; approval goes on without a word about it.
    Medium,
    /// Has to be accepted by name before the connector is approved.
    High,
}

impl Severity {
    /// The word in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// By what it is accepted: `RULE@SUBJECT`, plain ASCII.
    pub id: String,
    /// How bad.
    pub severity: Severity,
    /// Where: `tool x, /description`; escaped.
    pub place: String,
    /// What is wrong; escaped.
    pub what: String,
    /// The text it is about, escaped and cut.
    pub evidence: Option<String>,
    /// What to do about it.
    pub hint: String,
}

/// Which of the two eras of MCP a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Era {
    /// `initialize` and sessions: 2025-11-25 and older.
    Session,
    /// `server/discover`, no session: 2026-07-28.
    Stateless,
    /// No server at all: a skill's scripts.
    None,
}

impl Era {
    /// The word in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Stateless => "stateless",
            Self::None => "none",
        }
    }
}

/// What one vetting saw and found.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// [`VERSION`].
    pub version: u32,
    /// Name of the connector.
    pub connector: String,
    /// When it was vetted.
    pub at: Timestamp,
    /// Version of the Keepgate that did.
    pub keepgate: String,
    /// SHA-256 of the manifest's bytes, hexadecimal.
    pub manifest_sha256: String,
    /// What it executes.
    pub files: Vec<Tree>,
    /// What the server calls itself, escaped and cut.
    pub server: String,
    /// How it speaks.
    pub era: Era,
    /// Its tools, byte for byte.
    pub tools: BTreeMap<String, Box<RawValue>>,
    /// Digest of each.
    pub tool_digests: BTreeMap<String, String>,
    /// Digest of all.
    pub set_sha256: String,
    /// Its prompts.
    pub prompts: BTreeMap<String, Box<RawValue>>,
    /// Digest of all.
    pub prompts_sha256: String,
    /// Its resources and templates.
    pub resources: BTreeMap<String, Box<RawValue>>,
    /// Digest of all.
    pub resources_sha256: String,
    /// What was found, worst first.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Findings that keep it from being approved unless they are accepted by name.
    pub fn high(&self) -> impl Iterator<Item = &Finding> {
        let high = |finding: &&Finding| finding.severity == Severity::High;
        self.findings.iter().filter(high)
    }

    /// How many findings are of that severity.
    pub fn count(&self, severity: Severity) -> usize {
        let same = |finding: &&Finding| finding.severity == severity;
        self.findings.iter().filter(same).count()
    }

    /// The file's bytes.
    ///
    /// # Errors
    /// Fails where serialisation does.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec_pretty(self).context(|| "write the report".into())?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Writes the file `path`, on disk when it returns; gives the SHA-256 of its bytes.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(&self, path: &Path) -> Result<String> {
        let bytes = self.bytes()?;
        replace_durably(path, &bytes, 0o644)
            .context(|| format!("write `{}`", escaped(&path.to_string_lossy())))?;
        Ok(sha256(&bytes))
    }

    /// Reads a report's bytes, and checks that its digests are those of what it holds.
    ///
    /// # Errors
    /// Fails on anything but what [`Report::bytes`] gives.
    pub fn parse(bytes: &[u8], file: &str) -> Result<Self> {
        let wrong = |why: String| {
            Error::of(
                Kind::Usage,
                format!("the report `{file}` is damaged: {why}"),
            )
            .hint("vet it again: `keepgate connector vet NAME`")
        };
        let report: Self =
            serde_json::from_slice(bytes).map_err(|error| wrong(escaped(&error.to_string())))?;
        if report.version != VERSION {
            return Err(wrong(format!("it is of version {}", report.version)));
        }
        let values = |raw: &BTreeMap<String, Box<RawValue>>| raw.values().cloned().collect();
        let tools = Listing::tools(values(&report.tools)).map_err(|bad| wrong(bad.message()))?;
        let prompts =
            Listing::prompts(values(&report.prompts)).map_err(|bad| wrong(bad.message()))?;
        let resources =
            Listing::resources(values(&report.resources)).map_err(|bad| wrong(bad.message()))?;
        let same = tools.digests == report.tool_digests
            && tools.sha256() == report.set_sha256
            && prompts.sha256() == report.prompts_sha256
            && resources.sha256() == report.resources_sha256;
        match same {
            true => Ok(report),
            false => Err(wrong("its digests are not those of what it holds".into())),
        }
    }
}
