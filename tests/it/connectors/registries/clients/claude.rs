//! Claude Code: what it was told to add, it finds to be connected. It has no account and no network.

use std::fs;
use std::os::unix::fs::chown;
use std::process::Output;

use super::{as_agent, installed};
use crate::connectors::registries::Served;
use crate::harness::AGENT;

/// Adds the gate with what `keepgate agent add` prints, as it is, for each way; and once with a token
/// of nobody.
pub(super) fn lists_both(served: &Served) {
    let wrong = served.pasted[1].replace(&served.token, "keepgate_wrong");
    assert_ne!(wrong, served.pasted[1]);
    for (name, pasted, how) in [
        ("stdio", &served.pasted[0], "Connected"),
        ("http", &served.pasted[1], "Connected"),
        ("nobody", &wrong, "HTTP 401"),
    ] {
        // It adds for the directory it runs in.
        let project = served.home.join(name);
        fs::create_dir(&project).unwrap();
        chown(&project, Some(AGENT), Some(AGENT)).unwrap();
        let run = |command: &str| run(served, name, command);
        let added = run(pasted);
        assert!(added.status.success(), "{added:?}");
        let listed = run("claude mcp list");
        let said = String::from_utf8_lossy(&listed.stdout);
        let line = said.lines().find(|line| line.starts_with("keepgate: "));
        let line = line.unwrap_or_else(|| panic!("{name}: {listed:?}"));
        let log = served.appliance.diagnostics();
        assert!(line.contains(how), "{name}: {line}\n{log}");
    }
}

fn run(served: &Served, project: &str, command: &str) -> Output {
    let package = "node_modules/@anthropic-ai/claude-code-linux-x64";
    let place = installed("KEEPGATE_CLIENTS").join(package);
    as_agent(served, "/bin/sh".as_ref())
        .env("PATH", format!("{}:/usr/bin:/bin", place.display()))
        // As its documentation says for hosts without a way out.
        .env("DISABLE_AUTOUPDATER", "1")
        .env("DISABLE_ERROR_REPORTING", "1")
        .env("DISABLE_TELEMETRY", "1")
        .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1")
        .current_dir(served.home.join(project))
        .args(["-c", command])
        .output()
        .unwrap()
}
