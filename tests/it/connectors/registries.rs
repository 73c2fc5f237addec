//! Real servers from their registries, at fixed versions. Where a registry is not reached, the test
//! says so; `scripts/test` asks for them with KEEPGATE_REGISTRIES=1, and then they have to work.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::Gate;

/// Name, package, number of tools, whether it is given a directory.
const SERVERS: [(&str, &str, usize, bool); 6] = [
    (
        "files",
        "npm:@modelcontextprotocol/server-filesystem@2026.8.31",
        14,
        true,
    ),
    (
        "everything",
        "npm:@modelcontextprotocol/server-everything@2026.8.31",
        13,
        false,
    ),
    (
        "memory",
        "npm:@modelcontextprotocol/server-memory@2026.8.31",
        9,
        false,
    ),
    ("git", "pypi:mcp-server-git@2026.10.19", 12, false),
    ("fetch", "pypi:mcp-server-fetch@2026.10.24", 1, false),
    ("time", "pypi:mcp-server-time@2026.10.19", 2, false),
];

#[test]
fn real_servers_are_installed_vetted_and_approved() {
    if std::env::var_os("KEEPGATE_REGISTRIES").is_none() {
        eprintln!("KEEPGATE_REGISTRIES is not set: no package is installed here");
        return;
    }
    let gate = Gate::new();
    let work = gate.path("work");
    fs::create_dir(&work).unwrap();
    fs::set_permissions(&work, fs::Permissions::from_mode(0o755)).unwrap();
    let work = work.to_str().unwrap();
    for (name, package, tools, directory) in SERVERS {
        let mut words = vec!["import", name, package];
        if directory {
            words.extend(["--rw", work, "--", work]);
        }
        gate.ends(0, &words);
        let output = gate.run(&["vet", name, "--json"]);
        let vetted: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(vetted["high"], 0, "{name}: {vetted:#}");
        assert_eq!(vetted["tools"].as_object().unwrap().len(), tools, "{name}");
        gate.ends(0, &["approve", name, "--by", "alice"]);
        gate.ends(0, &["diff", name]);
    }
    // A file of a wheel that is not what its package published.
    let file = gate.path("gate/state/connectors/time/tree/mcp_server_time/server.py");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text + "\n").unwrap();
    gate.ends(20, &["diff", "time"]);
    let vetted = gate.json(10, &["vet", "time"]);
    let ids: Vec<&str> = vetted["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|one| one["id"].as_str())
        .collect();
    for id in [
        "changed-since-import@connector",
        "not-as-published@connector",
    ] {
        assert!(ids.contains(&id), "{ids:?}");
    }
}
