//! Real servers of npm and PyPI, at fixed versions: installed, vetted, approved, and driven through
//! the gate. Tests reach no network: `scripts/test` fetched what the installers ask their registries
//! for, and KEEPGATE_REGISTRIES names where it lies.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::harness::{AGENT, Appliance, binary};

/// One of them.
struct Server {
    name: &'static str,
    package: &'static str,
    tools: usize,
    /// What it may change, beneath the directory `work`, and the words before that path.
    place: Option<(&'static str, &'static [&'static str])>,
    /// Tools that only read.
    reads: &'static [&'static str],
}

const SERVERS: [Server; 6] = [
    Server {
        name: "files",
        package: "npm:@modelcontextprotocol/server-filesystem@2026.8.31",
        tools: 14,
        place: Some(("", &[])),
        reads: &["read_text_file", "list_directory"],
    },
    Server {
        name: "everything",
        package: "npm:@modelcontextprotocol/server-everything@2026.8.31",
        tools: 13,
        place: None,
        reads: &["echo", "get-sum"],
    },
    Server {
        name: "memory",
        package: "npm:@modelcontextprotocol/server-memory@2026.8.31",
        tools: 9,
        place: None,
        reads: &["read_graph"],
    },
    Server {
        name: "git",
        package: "pypi:mcp-server-git@2026.10.19",
        tools: 12,
        place: Some(("repo", &["--repository"])),
        reads: &["git_status"],
    },
    Server {
        name: "fetch",
        package: "pypi:mcp-server-fetch@2026.10.24",
        tools: 1,
        place: None,
        reads: &["fetch"],
    },
    Server {
        name: "time",
        package: "pypi:mcp-server-time@2026.10.19",
        tools: 2,
        place: None,
        reads: &["get_current_time"],
    },
];

const CLIENT: &str = r#"
import asyncio, json, sys
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

async def main(binary, directory, work):
    server = StdioServerParameters(command=binary, args=["--dir", directory, "mcp", "--agent", "bot"])
    asked = [
        ("time__get_current_time", {"timezone": "Asia/Tokyo"}),
        ("git__git_status", {"repo_path": work + "/repo"}),
        ("fetch__fetch", {"url": "http://192.0.2.1/"}),
        ("files__read_text_file", {"path": work + "/hello.txt"}),
        ("files__read_text_file", {"path": "/etc/passwd"}),
        ("everything__echo", {"message": "through the gate"}),
        ("everything__get-sum", {"a": 19, "b": 23}),
        ("memory__read_graph", {}),
        ("memory__create_entities", {"entities": []}),
    ]
    async with stdio_client(server) as (read, write):
        async with ClientSession(read, write) as session:
            await session.initialize()
            tools = (await session.list_tools()).tools
            told = {"tools": len([tool for tool in tools if tool.name not in OWN]), "calls": []}
            for name, arguments in asked:
                result = await session.call_tool(name, arguments)
                text = " ".join(getattr(one, "text", "") for one in result.content)
                told["calls"].append([name, result.isError, text])
            told["prompts"] = len((await session.list_prompts()).prompts)
            told["resources"] = len((await session.list_resources()).resources)
            print(json.dumps(told))

OWN = {"file__read", "file__list", "file__write", "http__request"}
asyncio.run(main(*sys.argv[1:]))
"#;

/// In the order of the client's calls: whether it is an error, and what the answer holds.
const ANSWERS: [(bool, &str); 9] = [
    (false, "Asia/Tokyo"),
    (false, "nothing to commit"),
    (true, "Refused to fetch"),
    (false, "hello"),
    (true, "Access denied"),
    (false, "Echo: through the gate"),
    (false, "The sum of 19 and 23 is 42."),
    (false, "entities"),
    (true, "not_permitted"),
];

/// Installs and vets one; what it changes lies beneath `work`.
fn install(appliance: &Appliance, registries: &Path, work: &Path, server: &Server) {
    let name = server.name;
    let mut words = vec!["connector", "import", name, server.package];
    // Without the slash that joining nothing leaves.
    let place = |below: &str| work.join(below).components().collect::<PathBuf>();
    let place = server.place.map(|(below, before)| (place(below), before));
    if let Some((place, before)) = &place {
        let place = place.to_str().unwrap();
        words.extend(["--rw", place, "--"]);
        words.extend(*before);
        words.push(place);
    }
    let (cache, index) = (registries.join("npm"), registries.join("index.html"));
    let before = fs::read_to_string(registries.join("wanted/npm-before")).unwrap();
    let env: [(&str, &OsStr); 5] = [
        ("npm_config_cache", cache.as_ref()),
        ("npm_config_offline", "true".as_ref()),
        ("npm_config_before", before.trim().as_ref()),
        ("PIP_NO_INDEX", "1".as_ref()),
        ("PIP_FIND_LINKS", index.as_ref()),
    ];
    let done = appliance.cli_with(&env, &words);
    assert!(done.status.success(), "{words:?}: {done:?}");
    let manifest = appliance.path("connectors").join(format!("{name}.toml"));
    let mut text = fs::read_to_string(&manifest).unwrap();
    for tool in server.reads {
        let declared = |class: &str, back: &str| {
            format!("[tools.\"{tool}\"]\nclass = \"{class}\"\nreversibility = \"{back}\"")
        };
        let worst = declared("destructive", "irreversible");
        assert!(text.contains(&worst), "{tool}: {text}");
        text = text.replace(&worst, &declared("read", "reversible"));
    }
    fs::write(&manifest, text).unwrap();
    let output = appliance.cli(&["--json", "connector", "vet", name]);
    let vetted = serde_json::from_slice(&output.stdout);
    let vetted: Value = vetted.unwrap_or_else(|_| panic!("{name}: {output:?}"));
    assert_eq!(vetted["high"], 0, "{name}: {vetted:#}");
    let tools = vetted["tools"].as_object().unwrap().len();
    assert_eq!(tools, server.tools, "{name}");
}

#[test]
fn real_servers_are_installed_vetted_and_approved() {
    let registries = std::env::var_os("KEEPGATE_REGISTRIES")
        .expect("KEEPGATE_REGISTRIES must name what npm and pip install from; run scripts/test");
    let registries = PathBuf::from(registries);
    let python = std::env::var("KEEPGATE_PYTHON")
        .expect("KEEPGATE_PYTHON must name a Python with the `mcp` package; run scripts/test");
    let mut appliance = Appliance::init("");
    let dir = appliance.directory.path().canonicalize().unwrap();
    let work = dir.join("work");
    fs::create_dir(&work).unwrap();
    fs::write(work.join("hello.txt"), "hello\n").unwrap();
    let mut made = Command::new("git");
    made.args(["init", "--quiet"]).arg(work.join("repo"));
    assert!(made.status().unwrap().success());
    for place in [&work, &work.join("repo")] {
        fs::set_permissions(place, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut config = fs::read_to_string(appliance.path("keepgate.toml")).unwrap();
    for server in &SERVERS {
        install(&appliance, &registries, &work, server);
    }
    for server in &SERVERS {
        let name = server.name;
        appliance.must(&["connector", "approve", name, "--by", "alice"]);
        appliance.must(&["connector", "diff", name]);
        config += &format!("\n[planes.production.connectors.{name}]\nagents = [\"bot\"]\n");
    }
    fs::write(appliance.path("keepgate.toml"), config).unwrap();
    appliance.serve();
    appliance.enrol("bot");

    let done = Command::new(python)
        .args(["-I", "-c", CLIENT])
        .args([binary().as_path(), &dir, &work])
        .current_dir("/")
        .uid(AGENT)
        .gid(AGENT)
        .output()
        .unwrap();
    let said = appliance.diagnostics();
    assert!(done.status.success(), "{done:?}\n{said}");
    let told: Value = serde_json::from_slice(&done.stdout).unwrap();
    let tools: usize = SERVERS.iter().map(|server| server.tools).sum();
    assert_eq!(told["tools"], tools, "{told:#}");
    for ((error, text), call) in ANSWERS.iter().zip(told["calls"].as_array().unwrap()) {
        assert_eq!(call[1], *error, "{call}\n{said}");
        assert!(call[2].as_str().unwrap().contains(text), "{call}\n{said}");
    }
    assert_eq!(
        (&told["prompts"], &told["resources"]),
        (&5.into(), &8.into())
    );
    assert_eq!(
        appliance.entries("connector.quarantined"),
        Vec::<Value>::new()
    );
    appliance.stop();

    // A file of a wheel that is not what its package published.
    let file = appliance.path("state/connectors/time/tree/mcp_server_time/server.py");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text + "\n").unwrap();
    assert_eq!(
        appliance.cli(&["connector", "diff", "time"]).status.code(),
        Some(20)
    );
    let vetted = appliance.json(&["connector", "vet", "time"]);
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
