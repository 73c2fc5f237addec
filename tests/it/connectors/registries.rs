//! Real servers of npm and PyPI, at fixed versions: installed, vetted, approved, and driven through
//! the gate. Tests reach no network: `scripts/test` fetched what the installers ask their registries
//! for, and KEEPGATE_REGISTRIES names where it lies.

use std::ffi::OsStr;
mod clients;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

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
        reads: &[
            "echo",
            "get-structured-content",
            "get-sum",
            "get-tiny-image",
            "trigger-long-running-operation",
        ],
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

/// All six behind a gate, and who may use it.
struct Served {
    appliance: Appliance,
    /// What servers may change.
    work: PathBuf,
    /// A directory of the agent's user.
    home: PathBuf,
    /// Where an agent with [`Served::token`] is served.
    url: String,
    token: String,
    /// What the operator was told to paste for Claude Code: the one that starts a program, and the one
    /// with the token.
    pasted: [String; 2],
}

impl Served {
    /// What an agent without a token starts.
    fn command(&self) -> Vec<String> {
        let dir = self.appliance.directory.path().canonicalize().unwrap();
        let words = [binary(), "--dir".into(), dir, "mcp".into()];
        let words = words.map(|word| word.into_os_string().into_string().unwrap());
        let agent = ["--agent", "bot"].map(str::to_owned);
        words.into_iter().chain(agent).collect()
    }
}

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

/// Installs, vets, approves and serves all.
fn served() -> Served {
    let registries = clients::installed("KEEPGATE_REGISTRIES");
    let mut appliance = Appliance::init("");
    let dir = appliance.directory.path().canonicalize().unwrap();
    let (work, home) = (dir.join("work"), dir.join("home"));
    for place in [&work, &home] {
        fs::create_dir(place).unwrap();
    }
    chown(&home, Some(AGENT), Some(AGENT)).unwrap();
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
        config += &format!("\n[planes.production.connectors.{name}]\nagents = [\"*\"]\n");
    }
    // A port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    config += &format!("\n[planes.production.listen.local]\naddress = \"127.0.0.1:{port}\"\n");
    fs::write(appliance.path("keepgate.toml"), config).unwrap();
    appliance.serve();
    let bot = appliance.must(&["agent", "add", "bot", "--uid", &AGENT.to_string()]);
    let web = appliance.must(&["agent", "add", "web", "--token"]);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    Served {
        url: text(&web["url"]),
        token: text(&web["token"]),
        pasted: [&bot, &web].map(|told| text(&told["snippets"]["claude_code"])),
        appliance,
        work,
        home,
    }
}

#[test]
fn real_servers_serve_real_clients_until_a_file_changes() {
    let served = served();
    clients::all(&served);
    let appliance = &served.appliance;
    assert_eq!(
        appliance.entries("connector.quarantined"),
        Vec::<Value>::new()
    );

    // A file of a wheel that is not what its package published: the next start of its server, for an
    // agent that has none yet, takes it from all.
    appliance.enrol("late");
    let mut late = appliance.session("late");
    clients::hear_of(&served, "time", || {
        let file = appliance.path("state/connectors/time/tree/mcp_server_time/server.py");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text + "\n").unwrap();
        let zone = json!({"timezone": "Asia/Tokyo"});
        assert_eq!(late.fails("time__get_current_time", zone), "quarantined");
    });
    assert_eq!(appliance.entries("connector.quarantined").len(), 1);
    let mut appliance = served.appliance;
    appliance.stop();
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
