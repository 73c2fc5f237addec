//! The official SDKs for Python and TypeScript, the generation of the session era and the one of the
//! stateless era. Programs in `tests/programs/clients` ask for all that each can ask for; what they
//! were told is compared here, and is the same for all.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use super::{Way, as_agent, installed, json, node};
use crate::connectors::registries::{SERVERS, Served};

/// An SDK.
struct Sdk {
    /// The program that uses it.
    program: &'static str,
    /// The variable that names its interpreter or its packages.
    of: &'static str,
    /// The revision of MCP it agrees on.
    version: &'static str,
    /// What the SDK itself says of a call that it no longer waits for.
    given_up: fn(&Value) -> bool,
}

const SDKS: [Sdk; 4] = [
    Sdk {
        program: "session.py",
        of: "KEEPGATE_PYTHON",
        version: "2025-11-25",
        given_up: |code| code == 408,
    },
    Sdk {
        program: "session.mjs",
        of: "KEEPGATE_NODE_PACKAGES",
        version: "2025-11-25",
        given_up: |code| code == -32001,
    },
    Sdk {
        program: "stateless.py",
        of: "KEEPGATE_PYTHON_2",
        version: "2026-07-28",
        given_up: |code| code == -32001,
    },
    Sdk {
        program: "stateless.mjs",
        of: "KEEPGATE_CLIENTS",
        version: "2026-07-28",
        given_up: |code| code == "REQUEST_TIMEOUT",
    },
];

/// A call, whether it is an error, and what the answer holds.
type Answer = (&'static str, Value, bool, &'static str);

fn calls(work: &Path) -> Vec<Answer> {
    let zone = json!({"timezone": "Asia/Tokyo"});
    let repository = json!({"repo_path": work.join("repo")});
    let hello = json!({"path": work.join("hello.txt")});
    let private = json!({"url": "http://192.0.2.1/"});
    let echo = json!({"message": "through the gate"});
    vec![
        ("time__get_current_time", zone, false, "Asia/Tokyo"),
        ("git__git_status", repository, false, "nothing to commit"),
        ("fetch__fetch", private, true, "Refused to fetch"),
        ("files__read_text_file", hello, false, "hello"),
        (
            "files__read_text_file",
            json!({"path": "/etc/passwd"}),
            true,
            "Access denied",
        ),
        ("everything__echo", echo, false, "Echo: through the gate"),
        (
            "everything__get-sum",
            json!({"a": 19, "b": 23}),
            false,
            "The sum of 19 and 23 is 42.",
        ),
        // What the server itself finds wrong with arguments.
        (
            "everything__get-sum",
            json!({"a": "nineteen", "b": 23}),
            true,
            "",
        ),
        ("memory__read_graph", json!({}), false, "entities"),
        (
            "memory__create_entities",
            json!({"entities": []}),
            true,
            "not_permitted",
        ),
        // Keepgate's own.
        (
            "file__read",
            json!({"path": "mail/hello.txt"}),
            false,
            "hello from the mailbox",
        ),
        (
            "file__read",
            json!({"path": "mail/none.txt"}),
            true,
            "not_found",
        ),
    ]
}

/// All of them, by one way.
pub(super) fn all(served: &Served, way: Way) {
    for sdk in &SDKS {
        asks(served, way, sdk);
    }
}

/// A client that waits for news.
pub(super) struct Watching {
    what: String,
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Watching {
    /// The SDKs for TypeScript by one way; both are told of changes by now.
    pub(super) fn start(served: &Served, way: Way) -> Vec<Self> {
        let sdks = SDKS.iter().filter(|sdk| sdk.program.ends_with(".mjs"));
        let mut all: Vec<Self> = sdks
            .map(|sdk| {
                let mut asked = place(served, way);
                asked["watch"] = true.into();
                let mut command = program(served, sdk);
                let command = command.arg(asked.to_string()).stdout(Stdio::piped());
                let mut child = command.spawn().unwrap();
                Self {
                    what: format!("{} over {way:?}", sdk.program),
                    output: BufReader::new(child.stdout.take().unwrap()),
                    child,
                }
            })
            .collect();
        for one in &mut all {
            assert_eq!(one.line(), "listening", "{}", one.what);
        }
        all
    }

    /// Waits until it is told of a change; the tools that it sees then.
    pub(super) fn sees(mut self) -> (String, Vec<String>) {
        let line = self.line();
        let tools = serde_json::from_str(&line);
        let tools = tools.unwrap_or_else(|error| panic!("{}: {error}: {line}", self.what));
        let ended = self.child.wait().unwrap();
        assert!(ended.success(), "{}: {ended}", self.what);
        (std::mem::take(&mut self.what), tools)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Where a client finds the gate.
fn place(served: &Served, way: Way) -> Value {
    match way {
        Way::Stdio => json!({"command": served.command()}),
        Way::Http => json!({"url": served.url, "token": served.token}),
    }
}

fn asks(served: &Served, way: Way, sdk: &Sdk) {
    let what = format!("{} over {way:?}", sdk.program);
    let calls = calls(&served.work);
    let mut asked = place(served, way);
    asked["calls"] = calls.iter().map(|call| json!([call.0, call.1])).collect();
    asked["reads"] = json!({
        "resource": "demo://resource/static/document/features.md",
        "templated": "demo://resource/dynamic/text/7",
    });
    let done = program(served, sdk)
        .arg(asked.to_string())
        .output()
        .unwrap();
    let said = || {
        let error = String::from_utf8_lossy(&done.stderr);
        format!("{what}: {error}\n{}", served.appliance.diagnostics())
    };
    assert!(done.status.success(), "{}", said());
    let told = json(served, &what, &done);

    assert_eq!(told["version"], sdk.version, "{what}");
    assert_eq!(told["server"], "keepgate", "{what}");
    let can = json!(["completions", "logging", "prompts", "resources", "tools"]);
    assert_eq!(told["can"], can, "{what}");
    let tools = told["tools"].as_array().unwrap();
    let named = |prefix: &str| {
        let begins = |tool: &&Value| tool.as_str().unwrap().starts_with(prefix);
        tools.iter().filter(begins).count()
    };
    for server in &SERVERS {
        let own = named(&format!("{}__", server.name));
        assert_eq!(own, server.tools, "{what}: {}: {told:#}", server.name);
    }
    let told_of = told["calls"].as_array().unwrap();
    assert_eq!(told_of.len(), calls.len(), "{what}");
    for ((name, _, error, holds), call) in calls.iter().zip(told_of) {
        assert_eq!(call[0], *error, "{name}: {call}\n{}", said());
        let text = call[1].as_str().unwrap();
        assert!(text.contains(holds), "{name}: {call}\n{}", said());
    }
    let weather = json!({"temperature": 36, "conditions": "Light rain / drizzle", "humidity": 82});
    assert_eq!(told["structured"], weather, "{what}");
    assert_eq!(told["kinds"], json!(["text", "image", "text"]), "{what}");

    let prompts = json!([
        "everything__args-prompt",
        "everything__completable-prompt",
        "everything__resource-prompt",
        "everything__simple-prompt",
        "fetch__fetch"
    ]);
    assert_eq!(told["prompts"], prompts, "{what}");
    assert_eq!(told["prompt"], "What's weather in Oslo?", "{what}");
    assert_eq!(told["resources"], 8, "{what}");
    assert_eq!(told["templates"], 2, "{what}");
    for (member, holds) in [
        ("resource", "# Everything Server"),
        ("templated", "Resource 7"),
    ] {
        let text = told[member].as_str().unwrap();
        assert!(text.starts_with(holds), "{what}: {text}");
    }
    assert_eq!(told["completed"], json!(["Alice", "7"]), "{what}");

    // Steps as whole numbers or not, as each language writes them. The last one is sent right before
    // the answer: some SDKs do not tell of it where they read both at once.
    let steps: Vec<[f64; 2]> = serde_json::from_value(told["progress"].clone()).unwrap();
    let all = [[1.0, 2.0], [2.0, 2.0]];
    assert!(
        !steps.is_empty() && all.starts_with(&steps),
        "{what}: {steps:?}"
    );
    assert!(
        (sdk.given_up)(&told["given_up"]),
        "{what}: {}",
        told["given_up"]
    );
    assert_eq!(
        told["cursors"],
        json!([-32602, -32602, -32602, -32602]),
        "{what}"
    );
    let missing = match sdk.version {
        "2026-07-28" => -32602,
        _ => -32002,
    };
    for (member, code) in [
        ("no_tool", -32602),
        ("no_prompt", -32602),
        ("no_resource", missing),
        ("bad_prompt", -32602),
    ] {
        assert_eq!(told[member], code, "{what}: {member}");
    }
    assert_eq!(told["after"], "Echo: still here", "{what}");
    // What the SDK had to complain about on the way.
    assert!(
        told["wrong"].as_array().is_none_or(Vec::is_empty),
        "{what}: {}",
        told["wrong"]
    );
}

/// The program, ready to run with what it is to ask for.
fn program(served: &Served, sdk: &Sdk) -> Command {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/programs/clients")
        .join(sdk.program);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let place: PathBuf = installed(sdk.of);
    if sdk.program.ends_with(".py") {
        let mut command = as_agent(served, &place);
        command.args(["-I", "-c", &text]);
        return command;
    }
    let mut command = as_agent(served, &node());
    // Where it finds its packages.
    command
        .current_dir(place)
        .args(["--input-type=module", "--eval", &text]);
    command
}
