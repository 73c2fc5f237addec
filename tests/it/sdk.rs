//! The official Python MCP SDK as a client. `KEEPGATE_PYTHON` names an interpreter that has it;
//! `scripts/test` makes one.

use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::harness::{AGENT, Appliance, binary};

const CLIENT: &str = r#"
import asyncio, json, sys
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

async def main(binary, directory):
    server = StdioServerParameters(command=binary, args=["--dir", directory, "mcp", "--agent", "a"])
    async with stdio_client(server) as (read, write):
        async with ClientSession(read, write) as session:
            hello = await session.initialize()
            tools = await session.list_tools()
            good = await session.call_tool("file__read", {"path": "mail/hello.txt"})
            bad = await session.call_tool("http__request", {"method": "GET", "url": "https://collector.example/x"})
            print(json.dumps({
                "version": hello.protocolVersion,
                "tools": sorted(tool.name for tool in tools.tools),
                "text": good.structuredContent["text"],
                "good": good.isError,
                "bad": bad.isError,
                "refusal": bad.content[0].text,
            }))

asyncio.run(main(sys.argv[1], sys.argv[2]))
"#;

#[test]
fn the_official_python_sdk_makes_an_allowed_and_a_refused_call() {
    let python = std::env::var("KEEPGATE_PYTHON")
        .expect("KEEPGATE_PYTHON must name a Python with the `mcp` package; run scripts/test");
    let appliance = Appliance::start("");
    appliance.enrol("a");
    let done = Command::new(python)
        .args(["-I", "-c", CLIENT])
        .arg(binary())
        .arg(appliance.directory.path())
        .current_dir("/")
        .uid(AGENT)
        .gid(AGENT)
        .output()
        .unwrap();
    assert!(
        done.status.success(),
        "{done:?}\n{}",
        appliance.diagnostics()
    );
    let told: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(told["tools"].as_array().unwrap().len(), 4, "{told}");
    assert_eq!(told["text"], "hello from the mailbox\n");
    assert_eq!((&told["good"], &told["bad"]), (&false.into(), &true.into()));
    assert!(
        told["refusal"]
            .as_str()
            .unwrap()
            .starts_with("host_not_allowed"),
        "{told}"
    );
}
