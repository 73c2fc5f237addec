//! Skills, as agents are given them: a real folder (`tests/programs/skill`), the whole appliance, and
//! the official Python SDKs of both eras through `keepgate mcp`.

mod changed;
mod scripts;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{AGENT, Appliance, binary, eventually};

/// What an agent asks, a list of `[what, …]` on standard input, and what it is told.
const CLIENT: &str = r#"
import asyncio, json, sys

def plain(model):
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)

async def ask(client, what, *rest):
    if what == "tools":
        return [plain(tool) for tool in (await client.list_tools()).tools]
    if what == "prompts":
        return [plain(prompt) for prompt in (await client.list_prompts()).prompts]
    if what == "resources":
        return [plain(one) for one in (await client.list_resources()).resources]
    if what == "prompt":
        return plain(await client.get_prompt(*rest))
    if what == "read":
        return plain(await client.read_resource(*rest))
    return plain(await client.call_tool(*rest))

async def every(client, asked):
    told = []
    for one in asked:
        try:
            told.append(await ask(client, *one))
        except Exception as error:
            told.append({"error": str(error)})
    return told

async def session(words, asked):
    from mcp import ClientSession, StdioServerParameters
    from mcp.client.stdio import stdio_client
    server = StdioServerParameters(command=words[0], args=words[1:])
    async with stdio_client(server) as streams:
        async with ClientSession(*streams) as client:
            await client.initialize()
            return await every(client, asked)

async def stateless(words, asked):
    from mcp.client import Client
    from mcp.client.stdio import StdioServerParameters
    async with Client(StdioServerParameters(command=words[0], args=words[1:])) as client:
        assert client.protocol_version == "2026-07-28", client.protocol_version
        return await every(client, asked)

era = session if sys.argv[1] == "session" else stateless
print(json.dumps(asyncio.run(era(sys.argv[2:], json.load(sys.stdin)))))
"#;

const ERAS: [(&str, &str); 2] = [
    ("session", "KEEPGATE_PYTHON"),
    ("stateless", "KEEPGATE_PYTHON_2"),
];

/// An appliance with skills, and their folders.
struct World {
    appliance: Appliance,
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/skill")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    mode(to, 0o755);
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), &to).unwrap();
            mode(&to, 0o644);
        }
    }
}

impl World {
    /// Nothing serves yet, and there are no skills.
    fn new() -> Self {
        let appliance = Appliance::init("");
        fs::create_dir(appliance.path("skills")).unwrap();
        mode(&appliance.path("skills"), 0o755);
        Self { appliance }
    }

    fn folder(&self, name: &str) -> PathBuf {
        let dir = self.appliance.directory.path().canonicalize().unwrap();
        dir.join("skills").join(name)
    }

    /// Imports the skill under a name, with its manifest as `change` makes it, and vets it. All that
    /// it lists may be used by the agent.
    fn vetted(&self, name: &str, change: impl FnOnce(String) -> String) {
        let folder = self.folder(name);
        copy(&source(), &folder);
        let folder = folder.to_str().unwrap();
        self.appliance.must(&["connector", "import", name, folder]);
        let manifest = self
            .appliance
            .path("connectors")
            .join(format!("{name}.toml"));
        let text = fs::read_to_string(&manifest).unwrap();
        fs::write(&manifest, change(text)).unwrap();
        self.vet(name);
        let path = self.appliance.path("keepgate.toml");
        let text = fs::read_to_string(&path).unwrap();
        let used = format!("\n[planes.production.connectors.{name}]\nagents = [\"bot\"]\n");
        fs::write(path, text + &used).unwrap();
    }

    fn vet(&self, name: &str) {
        let done = self.appliance.cli(&["connector", "vet", name]);
        // Two skills of the same folder have tools of the same names, which is worth a word.
        assert!(matches!(done.status.code(), Some(0 | 3)), "{done:?}");
    }

    fn approve(&self, name: &str) {
        self.appliance
            .must(&["connector", "approve", name, "--by", "alice"]);
    }

    fn approved(&self, name: &str, change: impl FnOnce(String) -> String) {
        self.vetted(name, change);
        self.approve(name);
    }

    /// Serves the agent `bot`.
    fn serve(&mut self) {
        self.appliance.serve();
        self.appliance.enrol("bot");
    }

    /// What the SDK of an era is told.
    fn asks(&self, (era, sdk): (&str, &str), asked: &Value) -> Vec<Value> {
        let python = std::env::var(sdk).unwrap_or_else(|_| {
            panic!("{sdk} must name a Python with the `mcp` package; run scripts/test")
        });
        let mut child = Command::new(python)
            .args(["-I", "-c", CLIENT, era])
            .arg(binary())
            .arg("--dir")
            .arg(self.appliance.directory.path())
            .args(["mcp", "--agent", "bot"])
            .current_dir("/")
            .uid(AGENT)
            .gid(AGENT)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        let text = asked.to_string();
        let feeds = std::thread::spawn(move || input.write_all(text.as_bytes()).unwrap());
        let done = child.wait_with_output().unwrap();
        feeds.join().unwrap();
        assert!(
            done.status.success(),
            "{}\n{}",
            String::from_utf8_lossy(&done.stderr),
            self.appliance.diagnostics()
        );
        serde_json::from_slice(&done.stdout).unwrap()
    }

    fn state(&self, name: &str) -> Value {
        let status = self.appliance.json(&["status"]);
        status["planes"]["production"]["connectors"][name].clone()
    }

    #[track_caller]
    fn quarantined(&self, name: &str, told: &str) {
        eventually("it is quarantined", || {
            self.state(name)["state"] == "quarantined"
        });
        let state = self.state(name);
        let why = state["why"].as_str().unwrap();
        assert!(why.contains(told), "{name}: {why}");
    }
}

/// Every script as one that only reads.
fn reads(text: String) -> String {
    text.replace(
        "class = \"destructive\"\nreversibility = \"irreversible\"",
        "class = \"read\"\nreversibility = \"reversible\"",
    )
}

fn names(listed: &Value, member: &str) -> Vec<String> {
    let all = listed.as_array().unwrap().iter();
    all.map(|one| one[member].as_str().unwrap().to_owned())
        .collect()
}

/// Standard output of a script, which did well.
#[track_caller]
fn stdout(told: &Value) -> &str {
    assert_eq!(told["isError"], false, "{told}");
    assert_eq!(told["structuredContent"]["exitCode"], 0, "{told}");
    told["structuredContent"]["stdout"].as_str().unwrap()
}

/// The same as JSON.
#[track_caller]
fn said(told: &Value) -> Value {
    serde_json::from_str(stdout(told)).unwrap()
}

#[test]
fn a_skill_is_listed_read_and_run_with_the_official_sdks() {
    let mut world = World::new();
    world.approved("reports", reads);
    world.serve();
    let text = fs::read_to_string(source().join("SKILL.md")).unwrap();
    let body = text.split("---\n").nth(2).unwrap();
    for era in ERAS {
        let asked = json!([
            ["tools"],
            ["prompts"],
            ["resources"],
            ["prompt", "reports__reports"],
            ["read", "skill://reports/SKILL.md"],
            ["read", "skill://reports/references/deep/limits%20of%20tables.md"],
            ["read", "skill://reports/assets/logo.png"],
            ["read", "skill://reports/scripts/echo.py"],
            ["read", "skill://reports/references/nothing.md"],
            ["call", "reports__echo", {"args": ["a"], "stdin": "figures"}],
            ["call", "reports__unlisted", {}],
        ]);
        let told = world.asks(era, &asked);
        let tools = names(&told[0], "name");
        let own: Vec<&str> = tools
            .iter()
            .filter_map(|name| name.strip_prefix("reports__"))
            .collect();
        assert_eq!(own, ["count", "echo", "try"], "{era:?}");
        assert_eq!(names(&told[1], "name"), ["reports__reports"]);
        assert_eq!(
            told[1][0]["description"],
            "Write monthly reports from figures, and check them."
        );
        assert_eq!(
            names(&told[2], "uri"),
            [
                "skill://reports/SKILL.md",
                "skill://reports/assets/logo.png",
                "skill://reports/references/deep/limits%20of%20tables.md",
                "skill://reports/references/layout.md",
            ]
        );
        let messages = &told[3]["messages"];
        assert_eq!(messages.as_array().unwrap().len(), 1);
        assert_eq!(messages[0]["role"], "user");
        assert_eq!(messages[0]["content"]["text"], body);
        assert_eq!(told[4]["contents"][0]["text"], text);
        assert_eq!(told[4]["contents"][0]["mimeType"], "text/markdown");
        assert_eq!(
            told[5]["contents"][0]["text"],
            "No table has more than 40 rows.\n"
        );
        assert_eq!(told[6]["contents"][0]["mimeType"], "image/png");
        let blob = told[6]["contents"][0]["blob"].as_str().unwrap();
        assert!(blob.starts_with("iVBORw0KGgo"), "{blob}");
        for refused in &told[7..9] {
            let why = refused["error"].as_str();
            let why = why.unwrap_or_else(|| panic!("{refused}"));
            assert!(why.contains("no resource"), "{why}");
        }
        let ran = said(&told[9]);
        assert_eq!(ran["args"], json!(["a"]));
        assert_eq!(ran["stdin"][0], 7);
        assert_eq!(ran["directory"], "/tmp");
        let variables = ran["environment"].to_string();
        assert!(!variables.contains("KEEPGATE"), "{variables}");
        let gone = told[10].to_string();
        assert!(gone.contains("unknown tool"), "{gone}");
    }
    // No other way of writing a name leads anywhere, whatever a client's library makes of it.
    let mut session = world.appliance.session("bot");
    for uri in [
        "skill://reports/references/../SKILL.md",
        "skill://reports/references/%2E%2E/scripts/echo.py",
        "skill://reports//SKILL.md",
        "skill://reports/SKILL%2Emd",
        "skill://reports/",
        "skill://other/SKILL.md",
        "file:///etc/passwd",
    ] {
        let told = session.request("resources/read", json!({"uri": uri}));
        assert_eq!(told["error"]["code"], -32002, "{uri}: {told}");
    }
    let wish = json!({"uri": "skill://reports/SKILL.md"});
    let told = session.request("resources/subscribe", wish);
    assert_eq!(told["result"], json!({}), "{told}");
    let told = session.request(
        "completion/complete",
        json!({"ref": {"type": "ref/prompt", "name": "reports__reports"},
               "argument": {"name": "x", "value": ""}}),
    );
    assert_eq!(told["result"]["completion"]["values"], json!([]), "{told}");
    // Reads are calls like any other: judged, and written down before and after.
    let tools: Vec<String> = world
        .appliance
        .entries("call.outcome")
        .iter()
        .map(|entry| entry["body"]["tool"].as_str().unwrap().to_owned())
        .collect();
    for (tool, times) in [
        ("reports.prompts/get", 2),
        ("reports.resources/read", 6),
        ("reports.echo", 2),
    ] {
        let own = tools.iter().filter(|name| *name == tool).count();
        assert_eq!(own, times, "{tool}: {tools:?}");
    }
    let entries = world.appliance.entries("call.outcome");
    let ran = entries
        .iter()
        .find(|entry| entry["body"]["tool"] == "reports.echo")
        .unwrap();
    assert_eq!(ran["body"]["connector"], "reports", "{ran}");
    assert_eq!(ran["body"]["jail"]["code"], 0, "{ran}");
}

#[test]
fn a_skill_that_nobody_approved_serves_nothing() {
    let mut world = World::new();
    world.vetted("reports", reads);
    world.serve();
    for era in ERAS {
        let told = world.asks(
            era,
            &json!([
                ["tools"],
                ["prompts"],
                ["resources"],
                ["prompt", "reports__reports"],
                ["read", "skill://reports/SKILL.md"],
                ["call", "reports__echo", {}],
            ]),
        );
        let all = json!(told).to_string();
        for word in ["Monthly", "monthly", "skill://reports/references", "Count"] {
            assert!(!all.contains(word), "{word}: {all}");
        }
        let tools = names(&told[0], "name");
        assert!(
            tools.iter().all(|name| !name.starts_with("reports")),
            "{tools:?}"
        );
        for told in &told[3..] {
            assert!(
                told["isError"] == true || told["error"].is_string(),
                "{told}"
            );
        }
    }
    assert_eq!(world.state("reports")["state"], "unusable");
    assert_eq!(world.appliance.entries("call.intent").len(), 0);
}

#[test]
fn a_script_that_is_not_declared_harmless_is_not_run() {
    let mut world = World::new();
    world.approved("reports", |text| text);
    world.serve();
    let asked = json!([
        ["call", "reports__echo", {"args": ["x"]}],
        ["prompt", "reports__reports"],
    ]);
    // Permitted by policy is not enough.
    world.appliance.policy(
        "permit (principal, action == Action::\"reports__echo\", resource);\n\
         permit (principal, action in Action::\"read\", resource);",
    );
    let told = world.asks(ERAS[0], &asked);
    assert_eq!(told[0]["_meta"]["keepgate/class"], "rehearsed_not_executed");
    assert!(told[1]["messages"].is_array(), "{}", told[1]);
    world.appliance.must(&["mode", "live"]);
    let told = world.asks(ERAS[0], &asked);
    assert_eq!(told[0]["isError"], true, "{}", told[0]);
    assert_eq!(told[0]["_meta"]["keepgate/class"], "needs_person");
    let ran = world
        .appliance
        .entries("call.outcome")
        .iter()
        .filter(|entry| entry["body"]["jail"].is_object())
        .count();
    assert_eq!(ran, 0);
}

/// Processes of this host with `marker` among their arguments.
fn running(marker: &str) -> usize {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let own = all.filter(|entry| {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(marker)
    });
    own.count()
}
