//! The MCP Inspector on the command line, in both eras.

use std::process::Output;

use serde_json::{Value, json};

use super::{Way, as_agent, installed, json, node};
use crate::connectors::registries::{SERVERS, Served};

/// How it ends where a tool says itself that it failed.
const TOOL_FAILED: i32 = 5;

/// One era after the other, by one way.
pub(super) fn all(served: &Served, way: Way) {
    for era in ["legacy", "modern"] {
        asks(served, way, era);
    }
}

fn asks(served: &Served, way: Way, era: &str) {
    let what = format!("inspector, {era}, over {way:?}");
    let result = |words: &[&str]| {
        let done = run(served, way, era, words);
        assert!(done.status.success(), "{what}: {words:?}: {done:?}");
        json(served, &what, &done)["result"].take()
    };
    let tools = result(&["--method", "tools/list"]);
    let all: usize = SERVERS.iter().map(|server| server.tools).sum();
    // Keepgate has four of its own.
    assert_eq!(tools["tools"].as_array().unwrap().len(), all + 4, "{what}");
    let call = ["--method", "tools/call", "--tool-name"];
    let sum = ["everything__get-sum", "--tool-arg", "a=19", "b=23"];
    let sum = result(&[&call[..], &sum].concat());
    assert_eq!(sum["content"][0]["text"], "The sum of 19 and 23 is 42.");
    let weather = [
        "everything__get-structured-content",
        "--tool-arg",
        "location=Chicago",
    ];
    let weather = result(&[&call[..], &weather].concat());
    assert_eq!(weather["structuredContent"]["humidity"], 82, "{what}");
    let uri = "demo://resource/dynamic/text/7";
    let read = result(&["--method", "resources/read", "--uri", uri]);
    let text = read["contents"][0]["text"].as_str().unwrap();
    assert!(text.starts_with("Resource 7"), "{what}: {text}");
    let prompt = [
        "--method",
        "prompts/get",
        "--prompt-name",
        "everything__args-prompt",
    ];
    let prompt = result(&[&prompt[..], &["--prompt-args", "city=Oslo"]].concat());
    assert_eq!(
        prompt["messages"][0]["content"]["text"], "What's weather in Oslo?",
        "{what}"
    );

    let refused = [
        "memory__create_entities",
        "--tool-args-json",
        r#"{"entities":[]}"#,
    ];
    let refused = run(served, way, era, &[&call[..], &refused].concat());
    assert_eq!(refused.status.code(), Some(TOOL_FAILED), "{refused:?}");
    let told: Value = json(served, &what, &refused);
    let class = &told["result"]["_meta"]["keepgate/class"];
    assert_eq!(class, "not_permitted", "{what}: {told}");
    let unknown = ["--method", "resources/read", "--uri", "no://resource"];
    let unknown = run(served, way, era, &unknown);
    assert_eq!(unknown.status.code(), Some(1), "{unknown:?}");
    let told: Value = serde_json::from_slice(&unknown.stderr).unwrap();
    let message = "there is no resource `no://resource`";
    assert_eq!(told["error"], json!({"code": "error", "message": message}));
}

/// Runs it once: each run is a connection, or a session, of its own.
fn run(served: &Served, way: Way, era: &str, words: &[&str]) -> Output {
    let package = "node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js";
    let mut command = as_agent(served, &node());
    command
        .arg(installed("KEEPGATE_CLIENTS").join(package))
        .arg("--cli")
        .args(words)
        // After those: some of its options take all words up to the next one.
        .args(["--format", "json", "--quiet", "--protocol-era", era]);
    match way {
        Way::Stdio => command.args(served.command()),
        Way::Http => command
            .args(["--transport", "http", "--server-url", &served.url])
            .args([
                "--header",
                &format!("Authorization: Bearer {}", served.token),
            ]),
    };
    command.output().unwrap()
}
