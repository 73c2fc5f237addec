//! What carrying out a call takes: which files, which way out, which limits. Made from the call and
//! the operator's roots and rules; says nothing about whether it may happen.

use std::sync::Arc;
use std::time::Duration;

use ring::digest::{SHA256, digest};
use serde_json::Value;

use super::hands::Lease;
use super::skills::Job;
use super::upstreams::plan::{Launch, Server};
use crate::call::Call;
use crate::call::http::Target;
use crate::call::path::RootPath;
use crate::policy::Ground;
use crate::wire::messages::{FileOrder, Limits, OpenAs};
use crate::wire::text::hex;

/// Redirects followed at most.
const REDIRECTS: u8 = 5;
/// Response body bytes at most.
const RESPONSE_MAX: u64 = 2 << 20;

/// How a call is carried out.
#[derive(Debug)]
pub(super) enum Plan {
    /// The keeper answers itself: the names of the roots.
    Roots,
    /// A tool reads a file or directory.
    Read(FileOrder),
    /// A tool writes a file anew.
    Write {
        /// The file.
        file: FileOrder,
        /// SHA-256 of the new content, lower-case hex.
        sha256: String,
        /// Its length in bytes.
        len: u64,
    },
    /// A tool asks a server.
    Http {
        /// Its way out.
        lease: Lease,
        /// The request may change something at the other end.
        effect: bool,
    },
    /// A connector is asked.
    Foreign(Foreign),
}

/// What is asked of a connector.
#[derive(Debug)]
pub(super) enum Foreign {
    /// Its server is asked.
    Server(Upstream),
    /// It is a skill: one of its scripts, or a text.
    Skill(Job),
}

impl Foreign {
    /// It may change something.
    pub(super) fn effect(&self) -> bool {
        match self {
            Self::Server(upstream) => upstream.effect,
            Self::Skill(job) => job.effect,
        }
    }

    /// The same where it is declared to change nothing.
    pub(super) fn rehearsing(mut self) -> Self {
        let effect = match &mut self {
            Self::Server(upstream) => &mut upstream.effect,
            Self::Skill(job) => &mut job.effect,
        };
        *effect = false;
        self
    }

    /// Name of the connector, digest of its pin, and what is asked: a program, URL or script.
    pub(super) fn whom(&self) -> (&str, &str, String) {
        match self {
            Self::Server(Upstream { server, .. }) => {
                let to = match &server.launch {
                    Launch::Jailed { program, .. } => program,
                    Launch::Remote(remote) => &remote.url,
                };
                (&server.name, &server.digest, to.clone())
            }
            Self::Skill(job) => job.whom(),
        }
    }
}

/// How the server of a connector is asked.
#[derive(Debug)]
pub(super) struct Upstream {
    /// Which.
    pub(super) server: Arc<Server>,
    /// An MCP method.
    pub(super) method: &'static str,
    /// Raw JSON of `params`.
    pub(super) params: Vec<u8>,
    /// It may change something.
    pub(super) effect: bool,
    /// Time for all of it.
    pub(super) wall: Duration,
    /// Bytes of its result at most.
    pub(super) result: u64,
}

/// Why there is no plan: a call that schema and rules let through, but nothing can carry out.
#[derive(Debug)]
pub(super) struct Unplanned {
    /// The argument to blame.
    pub(super) argument: &'static str,
    /// What is wrong with it.
    pub(super) say: String,
}

impl Plan {
    /// The plan for a call.
    pub(super) fn of(call: &Call, ground: &Ground<'_>) -> Result<Self, Unplanned> {
        match call.tool().name() {
            "file.read" => Ok(Self::Read(file(call, ground, OpenAs::Read)?)),
            "file.list" if text(call, "path") == Some(".") => Ok(Self::Roots),
            "file.list" => Ok(Self::Read(file(call, ground, OpenAs::Directory)?)),
            "file.write" => {
                let file = file(call, ground, OpenAs::Replace)?;
                let bytes =
                    crate::tools::file::content(call.arguments()).map_err(|fault| Unplanned {
                        argument: "content",
                        say: fault.say,
                    })?;
                let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                Ok(Self::Write {
                    file,
                    sha256: hex(digest(&SHA256, &bytes).as_ref()),
                    len,
                })
            }
            "http.request" => http(call, ground),
            other => Err(Unplanned {
                argument: "name",
                say: format!("nothing here carries out `{other}`"),
            }),
        }
    }
}

/// Limits of the jail for a tool.
pub(super) fn limits(tool: &str) -> Limits {
    let wall_ms = if tool == "http.request" {
        30_000
    } else {
        10_000
    };
    Limits {
        wall_ms,
        cpu_s: 5,
        memory: 256 << 20,
        file: crate::tools::file::WRITE_MAX,
    }
}

fn http(call: &Call, ground: &Ground<'_>) -> Result<Plan, Unplanned> {
    let bad = |say: String| Unplanned {
        argument: "url",
        say,
    };
    let method = text(call, "method").unwrap_or("GET");
    let url = text(call, "url").unwrap_or_default();
    let target = Target::parse(method, url).map_err(|fault| bad(fault.to_string()))?;
    let body = text(call, "body").unwrap_or_default();
    // Policy has judged this host and no other, so a redirect may go nowhere else.
    let rules = ground
        .http
        .iter()
        .filter(|rule| rule.host == target.host())
        .cloned()
        .collect();
    let lease = Lease {
        rules,
        method: target.method().into(),
        url: target.url().into(),
        body_sha256: hex(digest(&SHA256, body.as_bytes()).as_ref()),
        bytes: RESPONSE_MAX,
        redirects: REDIRECTS,
    };
    Ok(Plan::Http {
        lease,
        effect: !matches!(target.method(), "GET" | "HEAD"),
    })
}

fn file(call: &Call, ground: &Ground<'_>, open: OpenAs) -> Result<FileOrder, Unplanned> {
    let bad = |say: String| Unplanned {
        argument: "path",
        say,
    };
    let path = RootPath::parse(text(call, "path").unwrap_or_default())
        .map_err(|fault| bad(fault.to_string()))?;
    let root = ground
        .roots
        .get(path.root())
        .ok_or_else(|| bad("no such root".into()))?;
    let relative = if path.rel().is_empty() {
        "."
    } else {
        path.rel()
    };
    Ok(FileOrder {
        root: root.path.clone(),
        path: relative.into(),
        open,
        uid: root.uid,
        gid: root.gid,
    })
}

fn text<'a>(call: &'a Call, name: &str) -> Option<&'a str> {
    call.arguments().get(name).and_then(Value::as_str)
}
