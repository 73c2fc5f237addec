//! Servers made with the official SDKs, unchanged.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use keepgate::keeper::upstreams::compare::pin;
use keepgate::keeper::upstreams::plan::Server;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::world::{World, server_of, shown, sources};

fn told(name: &str) -> PathBuf {
    let value = std::env::var_os(name);
    PathBuf::from(value.unwrap_or_else(|| panic!("{name} is not set; run scripts/test")))
}

#[derive(Deserialize)]
struct Listed<'a> {
    #[serde(borrow)]
    result: Tools<'a>,
}

#[derive(Deserialize)]
struct Tools<'a> {
    #[serde(borrow)]
    tools: Vec<&'a RawValue>,
}

/// What the server lists to a plain client, without Keepgate.
fn listed(argv: &[&str], env: &[(&str, &str)]) -> BTreeMap<String, String> {
    let mut child = Command::new(argv[0])
        .args(&argv[1..])
        .envs(env.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    for message in [
        json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
            "protocolVersion": "2025-06-18", "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"}}}),
        json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
        json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list", "params": {}}),
    ] {
        writeln!(input, "{message}").unwrap();
        if message["id"].is_u64() {
            line.clear();
            output.read_line(&mut line).unwrap();
        }
    }
    drop(input);
    child.wait().unwrap();
    let listed: Listed<'_> = serde_json::from_str(&line).unwrap();
    listed
        .result
        .tools
        .iter()
        .map(|tool| pin(tool).unwrap())
        .collect()
}

fn serves(world: &World, server: &Arc<Server>) {
    let sum = world.text("a", server, "add", &json!({"a": 20, "b": 22}));
    assert_eq!(sum, 42);
    let hidden = tempfile::NamedTempFile::new_in("/var/tmp").unwrap();
    std::fs::write(hidden.path(), "secret word").unwrap();
    let seen = world
        .call("a", server, "look", &json!({"path": hidden.path()}))
        .unwrap();
    assert_eq!(seen["isError"], true, "{seen}");
    assert!(!seen.to_string().contains("secret word"), "{seen}");
    assert_eq!(world.status("a")["starts"], 1);
}

#[test]
fn a_python_mcp_server_answers_through_egress() {
    let python = told("KEEPGATE_PYTHON");
    let packages = python.ancestors().nth(2).unwrap().to_owned();
    let script = sources().join("python/server.py").display().to_string();
    let argv = [python.to_str().unwrap(), "-I", &script];
    let manifest = shown(|manifest| manifest.ro.push(packages));
    let world = World::new(vec![manifest.clone()]);
    let server = server_of(&argv, listed(&argv, &[]), manifest, |_| {});
    serves(&world, &server);
}

#[test]
fn a_node_mcp_server_answers_through_egress() {
    let packages = told("KEEPGATE_NODE_PACKAGES");
    let text = packages.to_str().unwrap().to_owned();
    let script = sources().join("node/server.mjs").display().to_string();
    let argv = ["/usr/bin/node", &script];
    let manifest = shown(|manifest| {
        manifest.ro.push(packages);
        manifest.env.insert("PACKAGES".into(), text.clone());
    });
    let world = World::new(vec![manifest.clone()]);
    let server = server_of(
        &argv,
        listed(&argv, &[("PACKAGES", &text)]),
        manifest,
        |_| {},
    );
    serves(&world, &server);
}
