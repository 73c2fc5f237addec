//! Skills, as agents are given them: a real folder (`tests/programs/skill`), the whole appliance, and
//! the official Python SDKs of both eras through `keepgate mcp`.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
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
fn a_script_gets_its_arguments_as_they_are() {
    let mut world = World::new();
    world.approved("reports", reads);
    world.serve();
    let odd = json!([
        "--",
        "-c",
        "",
        " ",
        "it's",
        "\"quoted\"",
        "$(id) `id` ${HOME}",
        "line\nbreak\r\n\ttab",
        "*",
        "a;b|c&d>e",
        "\\",
        "\u{1}\u{1b}[31m",
        "ä 漢 🙂 \u{202e}",
        "@file",
        "%s%n",
        "!!"
    ]);
    let megabyte = "0123456789abcdef".repeat(62_500);
    let full: Vec<String> = (0..60).map(|n| format!("{n:0600}")).collect();
    let asked = json!([
        ["call", "reports__echo", {"args": odd}],
        ["call", "reports__count", {"args": ["--", "a b", "'\n'"], "stdin": "1\n2\n3\n"}],
        ["call", "reports__echo", {"stdin": megabyte}],
        ["call", "reports__echo", {"args": full}],
        ["call", "reports__echo", {"args": [megabyte]}],
        ["call", "reports__echo", {"args": vec!["x".repeat(4096); 20]}],
        ["call", "reports__echo", {"args": ["a\u{0}b"]}],
        ["call", "reports__echo", {"args": vec![""; 65]}],
        ["call", "reports__echo", {"args": "one text"}],
        ["call", "reports__echo", {"arguments": []}],
    ]);
    let told = world.asks(ERAS[0], &asked);
    assert_eq!(said(&told[0])["args"], odd);
    assert_eq!(
        stdout(&told[1]),
        "3 arguments, 3 lines\n[--]\n[a\\ b]\n[$'\\'\\n\\'']\n"
    );
    let digest = ring::digest::digest(&ring::digest::SHA256, megabyte.as_bytes());
    let digest = keepgate::wire::text::hex(digest.as_ref());
    assert_eq!(said(&told[2])["stdin"], json!([1_000_000, digest]));
    assert_eq!(said(&told[3])["args"], json!(full));
    for (place, refused) in told.iter().enumerate().skip(4) {
        assert_eq!(refused["isError"], true, "{place}: {refused}");
        assert_eq!(
            refused["_meta"]["keepgate/class"], "bad_argument",
            "{place}: {refused}"
        );
        let text = refused["content"][0]["text"].as_str().unwrap();
        assert!(text.len() < 1_000, "{place}: {text:.2000}");
    }
    let ran = world.appliance.entries("call.outcome").len();
    assert_eq!(ran, 4, "what cannot be given was given");
}

#[test]
fn how_a_script_ends_is_what_the_agent_is_told() {
    let mut world = World::new();
    world.approved("reports", reads);
    // Time for what ends by itself is plenty, and there is little for what does not.
    world.approved("short", |text| {
        reads(text).replace("call_s = 60", "call_s = 2")
    });
    world.approved("large", |text| {
        reads(text).replace("result_kib = 1024", "result_kib = 16384")
    });
    world.serve();
    let asked = json!([
        ["call", "reports__echo", {"args": ["--exit", "3"]}],
        ["call", "reports__try", {"args": ["signal", "11"]}],
        ["call", "short__try", {"args": ["sleep", "x"]}],
        ["call", "reports__try", {"args": ["flood", "x"]}],
        ["call", "large__try", {"args": ["flood", "x"]}],
        ["call", "reports__try", {"args": ["bytes", "x"]}],
        ["call", "reports__try", {"args": ["fork", "x"]}],
        ["call", "reports__try", {"args": ["leave", "x"]}],
        ["call", "reports__try", {"args": ["leave", "x"]}],
        ["call", "reports__try", {"args": []}],
    ]);
    let told = world.asks(ERAS[0], &asked);
    let structured = |place: usize| &told[place]["structuredContent"];
    let failed = |place: usize, ended: &str, code: i64| {
        let told = &told[place];
        assert_eq!(told["isError"], true, "{told:.2000}");
        assert_eq!(structured(place)["ended"], ended, "{told:.2000}");
        assert_eq!(structured(place)["exitCode"], code, "{told:.2000}");
    };
    failed(0, "exit", 3);
    assert_eq!(structured(0)["stderr"], "as you wish\n");
    assert!(structured(0)["stdout"].as_str().unwrap().contains("--exit"));
    let words: Vec<&str> = told[0]["content"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["text"].as_str().unwrap())
        .collect();
    assert_eq!(
        words[1..],
        ["standard error:\nas you wish\n", "exit status 3"]
    );
    failed(1, "signal", 139);
    failed(2, "time", 137);
    assert_eq!(told[2]["_meta"]["keepgate/class"], "timed_out");
    for place in [3, 4] {
        failed(place, "output", 137);
        assert_eq!(structured(place)["truncated"], true);
        assert_eq!(told[place]["_meta"]["keepgate/class"], "result_too_large");
        let length = told[place].to_string().len();
        assert!((300 << 10..4 << 20).contains(&length), "{length}");
    }
    assert!(told[3].to_string().len() < 1 << 20);
    assert!(stdout(&told[5]).contains('\u{fffd}'));
    assert_eq!(stdout(&told[6]), "left\n");
    // Nothing of one call is there in the next.
    for place in [7, 8] {
        assert_eq!(said(&told[place])["got"], "found False");
    }
    failed(9, "exit", 1);
    assert!(
        structured(9)["stderr"]
            .as_str()
            .unwrap()
            .contains("IndexError")
    );
    let entries = world.appliance.entries("call.outcome");
    let of = |class: &str| {
        let own = entries.iter().filter(|one| one["body"]["class"] == class);
        own.map(|one| one["body"]["status"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(of("timed_out"), ["failed"]);
    assert_eq!(of("result_too_large"), ["failed", "failed"]);
    let marker = world.folder("").display().to_string();
    eventually("no jail is left", || running(&marker) == 0);
}

#[test]
fn a_script_reaches_nothing_beyond_its_jail() {
    let mut world = World::new();
    world.approved("reports", reads);
    world.approved("other", reads);
    world.serve();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let path = |name: &str| world.appliance.path(name).display().to_string();
    let own = world.folder("reports").join("SKILL.md");
    let other = world.folder("other").join("SKILL.md");
    let ways = [
        json!(["read", path("mail/hello.txt")]),
        json!(["read", path("keepgate.toml")]),
        json!(["read", other]),
        json!(["read", "/etc/shadow"]),
        json!(["read", "/proc/1/environ"]),
        json!(["write", own]),
        json!(["write", "/usr/bin/python3"]),
        json!(["reach", "127.0.0.1", port]),
        json!(["reach", "192.0.2.1", "80"]),
        json!(["reach", "example.invalid", "80"]),
        json!(["read", own]),
    ];
    let asked: Vec<Value> = ways
        .iter()
        .map(|way| json!(["call", "reports__try", {"args": way}]))
        .collect();
    let told = world.asks(ERAS[1], &json!(asked));
    let (may, may_not) = told.split_last().unwrap();
    for (way, told) in ways.iter().zip(may_not) {
        let said = said(told);
        assert!(said["refused"].is_string(), "{way}: {said}");
    }
    // The probe can read: what it is shown.
    assert!(said(may)["got"].as_str().unwrap().contains("reports"));
    assert_eq!(
        listener.accept().unwrap_err().kind(),
        std::io::ErrorKind::WouldBlock
    );
    assert_eq!(
        fs::read(&own).unwrap(),
        fs::read(source().join("SKILL.md")).unwrap()
    );
}

/// One change of an approved skill while it is served, and what has to name it.
type Pull = (&'static str, fn(&Path), &'static str);

const PULLS: [Pull; 6] = [
    (
        "script",
        |folder| {
            let path = folder.join("scripts/echo.py");
            fs::write(&path, "print('pulled')\n").unwrap();
        },
        "scripts/echo.py",
    ),
    (
        "same-length",
        |folder| {
            let path = folder.join("SKILL.md");
            let text = fs::read_to_string(&path).unwrap();
            fs::write(&path, text.replace("Count the", "Pull! the")).unwrap();
        },
        "SKILL.md",
    ),
    (
        "reference",
        |folder| fs::write(folder.join("references/layout.md"), "pulled").unwrap(),
        "references/layout.md",
    ),
    (
        "added",
        |folder| fs::write(folder.join("scripts/json.py"), "print('pulled')\n").unwrap(),
        "scripts/json.py",
    ),
    (
        "link",
        |folder| {
            let path = folder.join("assets/logo.png");
            fs::remove_file(&path).unwrap();
            std::os::unix::fs::symlink("/etc/passwd", path).unwrap();
        },
        "assets/logo.png",
    ),
    (
        "mode",
        |folder| mode(&folder.join("scripts/count.sh"), 0o755),
        "scripts/count.sh",
    ),
];

#[test]
fn what_changed_after_the_approval_is_neither_run_nor_served() {
    let mut world = World::new();
    for (name, ..) in PULLS {
        world.approved(name, reads);
    }
    world.approved("steady", reads);
    world.serve();
    let every = |name: &str| {
        json!([
            ["call", format!("{name}__echo"), {}],
            ["prompt", format!("{name}__reports")],
            ["read", format!("skill://{name}/SKILL.md")],
            ["read", format!("skill://{name}/references/layout.md")],
            ["read", format!("skill://{name}/assets/logo.png")],
        ])
    };
    let refused = |told: &Value| told["isError"] == true || told.get("error").is_some();
    // Which of the five is asked first makes no difference: the first one finds out.
    for (turn, (name, pull, told)) in PULLS.iter().enumerate() {
        let before = world.asks(ERAS[0], &every(name));
        assert!(!before.iter().any(refused), "{name}: {before:?}");
        pull(&world.folder(name));
        let mut asked = every(name);
        asked.as_array_mut().unwrap().rotate_left(turn % 5);
        let after = world.asks(ERAS[0], &asked);
        assert!(after.iter().all(refused), "{name}: {after:?}");
        let first = after[0].to_string();
        assert!(first.contains("quarantined"), "{name}: {first}");
        let all = json!(after).to_string();
        assert!(
            !all.contains("pulled") && !all.contains("root:"),
            "{name}: {all}"
        );
        world.quarantined(name, told);
    }
    let listed = world.asks(ERAS[0], &json!([["tools"], ["prompts"], ["resources"]]));
    let own = |listed: &Value, member: &str| -> Vec<String> {
        let mut all = names(listed, member);
        all.retain(|name| !name.starts_with("file__") && !name.starts_with("http__"));
        all
    };
    assert_eq!(
        own(&listed[0], "name"),
        ["steady__count", "steady__echo", "steady__try"]
    );
    assert_eq!(own(&listed[1], "name"), ["steady__reports"]);
    assert_eq!(own(&listed[2], "uri").len(), 4);
    let entries = world.appliance.entries("connector.quarantined");
    assert_eq!(entries.len(), PULLS.len());
    let steady = world.asks(ERAS[1], &every("steady"));
    assert!(!steady.iter().any(refused), "{steady:?}");

    // What was there before lifts nothing, and a new approval does.
    copy(&source(), &world.folder("script"));
    let still = world.asks(ERAS[0], &every("script"));
    assert!(still.iter().all(refused), "{still:?}");
    fs::write(world.folder("script").join("references/layout.md"), "new").unwrap();
    world.vet("script");
    world.approve("script");
    world.appliance.reload();
    eventually("the approval is taken over", || {
        world.state("script")["state"] == "approved" && world.appliance.serving()
    });
    let anew = world.asks(ERAS[0], &every("script"));
    assert!(!anew.iter().any(refused), "{anew:?}");
    assert_eq!(anew[3]["contents"][0]["text"], "new");
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

#[test]
fn scripts_have_the_limits_of_their_manifest() {
    let mut world = World::new();
    world.approved("reports", |text| {
        reads(text)
            .replace("calls_at_a_time = 8", "calls_at_a_time = 1")
            .replace("call_s = 60", "call_s = 5")
    });
    world.approved("few", |text| {
        reads(text).replace("calls_per_minute = 600", "calls_per_minute = 2")
    });
    world.serve();
    let mut session = world.appliance.session("bot");
    let sleeps = json!({"name": "reports__try", "arguments": {"args": ["sleep", "x"]}});
    let both = [
        session.ask("tools/call", sleeps.clone()),
        session.ask("tools/call", sleeps),
    ];
    let mut classes = Vec::new();
    while classes.len() < both.len() {
        let told = session.next();
        if both.iter().any(|id| told["id"] == *id) {
            let class = &told["result"]["_meta"]["keepgate/class"];
            classes.push(class.as_str().unwrap().to_owned());
        }
    }
    assert_eq!(classes, ["busy", "timed_out"]);
    for class in [None, None, Some("over_quota")] {
        let told = session.call("few__echo", json!({}));
        assert_eq!(told["_meta"]["keepgate/class"].as_str(), class, "{told}");
    }
}

#[test]
fn a_script_goes_where_its_manifest_says_and_nowhere_else() {
    let listed = web("figures");
    let other = web("secrets");
    let mut world = World::new();
    world.approved("reports", |text| {
        let to = format!(
            "net = [{{ host = \"127.0.0.1\", port = {listed}, private = [\"127.0.0.1/32\"] }}]"
        );
        reads(text).replace("net = []", &to)
    });
    world.serve();
    let url = |port| format!("http://127.0.0.1:{port}/");
    let asked = json!([
        ["call", "reports__try", {"args": ["fetch", url(listed)]}],
        ["call", "reports__try", {"args": ["fetch", url(other)]}],
        ["call", "reports__try", {"args": ["reach", "127.0.0.1", other.to_string()]}],
    ]);
    let told = world.asks(ERAS[0], &asked);
    assert_eq!(said(&told[0])["got"], "figures");
    for refused in &told[1..] {
        assert!(said(refused)["refused"].is_string(), "{refused}");
    }
    // What left and what was to leave is written down.
    let entries = world.appliance.entries("call.outcome");
    let went = entries.iter().map(|one| one["body"]["hops"].to_string());
    let went: String = went.collect();
    assert!(went.contains(&listed.to_string()), "{went}");
}

/// Answers every request with a text; gives its port.
fn web(text: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|len| len > 2) {
                line.clear();
            }
            let length = text.len();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n");
            drop(write!(stream, "{head}Connection: close\r\n\r\n{text}"));
        }
    });
    port
}

#[test]
fn scripts_that_run_end_when_their_skill_is_quarantined() {
    let mut world = World::new();
    world.approved("reports", reads);
    world.serve();
    let mut session = world.appliance.session("bot");
    let sleeps = json!({"name": "reports__try", "arguments": {"args": ["sleep", "x"]}});
    let sleeps = session.ask("tools/call", sleeps);
    eventually("the script runs", || {
        let marker = world.folder("reports").join("scripts/try.py");
        running(marker.to_str().unwrap()) > 0
    });
    fs::write(world.folder("reports").join("references/layout.md"), "new").unwrap();
    let reads = session.ask("resources/read", json!({"uri": "skill://reports/SKILL.md"}));
    let mut open = vec![sleeps, reads];
    while !open.is_empty() {
        let told = session.next();
        let id = told["id"].as_u64();
        if id == Some(sleeps) {
            assert_eq!(told["result"]["isError"], true, "{told}");
            assert_eq!(
                told["result"]["structuredContent"]["ended"], "killed",
                "{told}"
            );
        } else if id == Some(reads) {
            let why = told["error"]["message"].as_str().unwrap();
            assert!(why.contains("quarantined"), "{told}");
        }
        open.retain(|one| Some(*one) != id);
    }
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
